//! A host: what is on its disk, its keeper, and its agent while that lives.

use std::time::Duration;

use rsv_agent::link::commands::ledger;
use rsv_proto::{name::HostName, wire};

use super::{
    agent::Agent,
    file::File,
    flaw::Flaw,
    keeper::{Keeper, Post},
    world::{Event, Stage},
};

/// What outlives everything but a lost disk.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) epoch: u64,
    pub(super) commands: Vec<ledger::Record>,
    pub(super) desired: wire::Desired,
    pub(super) file: File,
}

/// A host.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) number: usize,
    pub(super) name: HostName,
    pub(super) disk: Disk,
    pub(super) keeper: Keeper,
    pub(super) agent: Option<Agent>,
    /// How often the host and its agent were started.
    pub(super) boots: u64,
    pub(super) starts: u64,
    pub(super) booted: Duration,
    /// While it boots nothing is started.
    pub(super) down_until: Duration,
    /// How many changes the agent's journal keeps.
    pub(super) kept: usize,
}

impl Host {
    pub(super) fn new(number: usize, stage: &mut Stage) -> Self {
        let name = format!("h{:02}", number + 1).parse();
        let disk = Disk {
            file: File::new(number),
            ..Disk::default()
        };
        stage.witness.described(number, &disk.file);
        Self {
            number,
            name: name.expect("a letter and digits are a name"),
            disk,
            keeper: Keeper::default(),
            agent: None,
            boots: 1,
            starts: 0,
            booted: Duration::ZERO,
            down_until: Duration::ZERO,
            kept: stage.dice.one_of(&[4, 64, rsv_agent::journal::CAPACITY]),
        }
    }

    pub(super) fn post(&self) -> Post {
        Post {
            host: self.number,
            boot: self.boots,
            agent: self.agent.as_ref().map(|agent| agent.number),
        }
    }

    /// The kernel's name of this boot.
    pub(super) fn boot_id(&self) -> String {
        format!("{}-{}", self.name, self.boots)
    }

    /// Kills the agent; what was being written may or may not be on the disk.
    pub(super) fn kill_agent(&mut self, stage: &mut Stage) {
        let Some(agent) = self.agent.take() else {
            return;
        };
        if let Some(record) = agent.half_written()
            && stage.dice.chance(500)
        {
            self.disk.commands.push(record);
        }
        if stage.flaw == Some(Flaw::Forgetfulness) {
            let is_begun = |record: &ledger::Record| matches!(record, ledger::Record::Begun { .. });
            self.disk.commands.retain(|record| !is_begun(record));
        }
        stage.cut_all(Some(self.number));
        let post = self.post();
        self.keeper.take_over(stage, post);
    }

    /// Somebody edits the configuration.
    pub(super) fn edit(&mut self, stage: &mut Stage) {
        self.disk.file.edit(self.number, &mut stage.dice);
        stage.witness.described(self.number, &self.disk.file);
    }

    /// The host goes down with all that runs on it, and comes up again.
    pub(super) fn reboot(&mut self, stage: &mut Stage) {
        self.kill_agent(stage);
        self.keeper.go();
        self.boots += 1;
        let pause = stage.dice.millis(3_000, 15_000);
        self.down_until = stage.schedule.now() + pause;
        self.booted = self.down_until - Duration::from_secs(2);
        stage.witness.ended(self.number, false);
        stage.schedule.after(pause, Event::StartAgent(self.number));
    }
}
