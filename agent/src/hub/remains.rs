//! What a program has left that does not run any more: a stop, a restart or a removal ends it before it is
//! answered.
//!
//! A machine knows nothing of it: it rests. So the answers to whoever asks are held back until the keeper
//! has said that nothing is left, and so is a spawn.

use rsv_keeper::message::{Scope, Signal};
use rsv_proto::wire;
use rsv_supervise::{Attempt, Event, Observation, Phase};
use tokio::sync::mpsc;

use super::gear::{Gear, SentSignal};
use super::slot::{Slot, SpawnStage};
use super::verdicts::{self, Answers};
use super::{Core, Key};

/// Where the results of an action go.
type Results = mpsc::Sender<wire::TargetResult>;

/// The end of what is left, under way.
#[derive(Debug)]
pub(super) struct Remains {
    /// The keeper's answer to it is the end.
    request: u64,
    /// What is said then.
    answers: Answers<Results>,
    /// Who is told nothing but that it is over, by the end of the channel.
    waiting: Vec<Results>,
}

impl Remains {
    /// The hub ends: what was done is said.
    pub(super) fn give_up(self) {
        verdicts::send_all(self.answers);
    }
}

impl Slot {
    /// Whether something may be left of it that a stop is to end.
    fn may_have_left_something(&self) -> bool {
        let has_no_process = self.phase.is_at_rest() || matches!(self.phase, Phase::Backoff { .. });
        has_no_process && self.phase.attempt() != Attempt::NONE && !leaves_daemons(self)
    }

    /// Gives answers to who asked, now or when nothing is left any more.
    pub(super) fn answer(&mut self, answers: Answers<Results>) {
        match &mut self.remains {
            Some(remains) => remains.answers.extend(answers),
            None => verdicts::send_all(answers),
        }
    }

    /// Keeps who asked waiting until nothing is left.
    pub(super) fn await_remains(&mut self, results: &Results) {
        if let Some(remains) = &mut self.remains {
            remains.waiting.push(results.clone());
        }
    }
}

fn leaves_daemons(slot: &Slot) -> bool {
    let launch = slot.program.launch.as_ref();
    launch.is_ok_and(|launch| launch.leaves_daemons)
}

impl Gear {
    /// Begins to end what a program has left that does not run, unless that is under way.
    pub(super) fn end_remains(&mut self, slot: &mut Slot) {
        if slot.remains.is_none() && slot.may_have_left_something() {
            self.begin_to_end_remains(slot);
        }
    }

    /// The socket of a program that is to be spawned is somebody else's. That may be a former run of it
    /// that nobody has told of: such as one that lives on after agent and keeper have died together. Once
    /// for each attempt it is ended first. Says whether that is so.
    pub(super) fn clears_the_way(&mut self, slot: &mut Slot) -> bool {
        let attempt = slot.phase.attempt();
        if leaves_daemons(slot) || slot.cleared_for == Some(attempt) {
            return false;
        }
        slot.cleared_for = Some(attempt);
        tracing::info!(
            host = self.host,
            program = %slot.program.key,
            "its socket is in use; what a former run may have left is ended"
        );
        self.begin_to_end_remains(slot);
        slot.spawn = SpawnStage::AwaitingRemains;
        true
    }

    fn begin_to_end_remains(&mut self, slot: &mut Slot) {
        let message = Signal {
            run: slot.run(),
            signal: libc::SIGTERM,
            scope: Scope::Tree.into(),
            request: 0,
            ends_run: true,
            ends_remainder: true,
        };
        let key = slot.program.key.clone();
        let request = self.signal(SentSignal {
            key,
            message,
            asker: None,
        });
        slot.remains = Some(Remains {
            request,
            answers: Vec::new(),
            waiting: Vec::new(),
        });
    }
}

impl Core {
    /// A signal was answered. Says whether it was for what is left of a program.
    pub(super) fn remains_ended(&mut self, key: &Key, request: u64) -> bool {
        let Some(slot) = self.slots.get_mut(key) else {
            return false;
        };
        let Some(remains) = slot.remains.take_if(|remains| remains.request == request) else {
            return false;
        };
        verdicts::send_all(remains.answers);
        if slot.spawn == SpawnStage::AwaitingRemains {
            self.spawn_again(key);
        } else if !slot.is_configured && slot.phase.is_at_rest() {
            self.remove(key);
        }
        true
    }

    /// Begins anew with a spawn that the keeper has not been asked for, or has not answered.
    pub(super) fn spawn_again(&mut self, key: &Key) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let attempt = slot.phase.attempt();
        let was_live = slot.is_live();
        slot.spawn = SpawnStage::Idle;
        self.gear.count(was_live, slot.is_live());
        let is_wanted = matches!(slot.phase, Phase::Spawning { .. });
        let was_live = slot.is_live();
        let refusal = if is_wanted {
            self.gear
                .begin_spawn(slot)
                .err()
                .map(|error| error.to_string())
        } else {
            Some("stopped before it was spawned".to_owned())
        };
        self.gear.count(was_live, slot.is_live());
        if let Some(why) = refusal {
            let refused = Observation::SpawnRefused { attempt, why };
            self.feed(key, Event::Observed(refused));
        }
    }
}
