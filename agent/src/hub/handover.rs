//! Giving programs to a keeper that does not know them: theirs has died, and we hold their pipes and
//! pidfds.
//!
//! Nothing goes through the port before the new keeper has been told of every live program, so that
//! no signal and no drain file comes before the program it belongs to.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use rsv_keeper::message::{Adopt, Channel, Held, Request, Run};
use rsv_supervise::Phase;

use super::alone::Alone;
use super::observed::key_of;
use super::slot::{SpawnStage, keeps_stderr, stop_rule};
use super::{Adoption, Core};
use crate::capture::AttachedStream;
use crate::keeper_client::{Attached, HeldRun, NewConnection};

/// The pipes of a run, as the capture gave them.
pub(super) type Streams = (Run, io::Result<Vec<AttachedStream>>);

impl Core {
    /// Another keeper is there. What it does not hold and we do is to be adopted by it; the pipes
    /// are with the capture thread, which may be busy with a disk.
    pub(super) fn collect(&mut self, attached: Attached) {
        let held: BTreeSet<&Run> = attached.runs.iter().map(|run| &run.held.run).collect();
        let ours = self
            .slots
            .values()
            .filter(|slot| slot.process.is_some())
            .map(|slot| slot.run());
        let runs: Vec<Run> = ours.filter(|run| !held.contains(run)).collect();
        let generation = self.gear.logs.collect_streams(runs);
        self.adoption = Adoption::Collecting {
            attached,
            generation,
        };
    }

    /// The pipes are there: the keeper takes over the programs, and everything goes on.
    pub(super) fn collected(&mut self, generation: u64, streams: Vec<Streams>) {
        match std::mem::replace(&mut self.adoption, Adoption::Done) {
            Adoption::Collecting {
                attached,
                generation: latest,
            } if latest == generation => {
                self.reattach(attached, streams);
            }
            // Gathered for a keeper that has gone again.
            other => self.adoption = other,
        }
    }

    fn reattach(&mut self, attached: Attached, streams: Vec<Streams>) {
        let Attached {
            connection,
            keeper_pid,
            runs,
            notes,
            ..
        } = attached;
        for (run, streams) in streams {
            self.hand_over(&connection, &run, streams);
        }
        self.gear.outbox.connect(connection);
        self.alone = Alone::No;
        self.without_keeper.store(false, Ordering::Relaxed);
        self.tell_intent();
        self.gear.logs.capture().announce();
        let host = &self.gear.host;
        tracing::info!(host, pid = keeper_pid, "another keeper has the programs");
        for run in runs {
            self.held_again(run);
        }
        let known: BTreeSet<String> = notes.into_iter().map(|note| note.key).collect();
        for slot in self.slots.values() {
            let is_new = slot.phase == Phase::default();
            if !is_new || known.contains(&slot.program.key.as_run_key()) {
                self.gear.note(slot);
            }
        }
        self.gear.repeat_signals();
        self.repeat_spawns();
    }

    /// Gives one live program to a keeper that does not know it.
    fn hand_over(
        &mut self,
        connection: &NewConnection,
        run: &Run,
        streams: io::Result<Vec<AttachedStream>>,
    ) {
        let Some(slot) = key_of(&run.key).and_then(|key| self.slots.get_mut(&key)) else {
            return;
        };
        let Some(process) = &slot.process else { return };
        let streams = streams.unwrap_or_else(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::error!(
                program = run.key,
                error,
                "the keeper does not get the pipes"
            );
            Vec::new()
        });
        let stream = |channel| streams.iter().find(|stream| stream.channel == channel);
        let (stdout, stderr) = (stream(Channel::Stdout), stream(Channel::Stderr));
        let held = Held {
            has_pidfd: process.pidfd.is_some(),
            has_stdin: process.stdin.is_some(),
            has_stdout: stdout.is_some(),
            has_stderr: stderr.is_some(),
            exit: None,
            ..process.held.clone()
        };
        let adopt = Adopt {
            held,
            stop: stop_rule(&slot.program.policy),
            note: slot.note(),
            has_stdout_drain: stdout.is_some(),
            has_stderr_drain: stderr.is_some(),
            cgroup: None,
            keeps_stdout: slot.program.stdout.is_looked_at(),
            keeps_stderr: keeps_stderr(&slot.program),
        };
        let own = [&process.pidfd, &process.stdin]
            .into_iter()
            .flatten()
            .map(AsFd::as_fd);
        let outputs = [stdout, stderr].into_iter().flatten();
        let pipes = outputs.clone().map(|stream| stream.pipe.as_fd());
        let drains = outputs.map(|stream| stream.drain.as_fd());
        let fds: Vec<_> = own.chain(pipes).chain(drains).collect();
        if let Err(error) = connection.send(Request::Adopt(adopt), &fds) {
            let error = &error as &dyn std::error::Error;
            tracing::error!(
                program = run.key,
                error,
                "the keeper does not take over a program"
            );
        }
    }

    /// A run that a keeper holds, told to an agent that may know it already.
    fn held_again(&mut self, run: HeldRun) {
        let Some(slot) = key_of(&run.held.run.key).and_then(|key| self.slots.get_mut(&key)) else {
            return;
        };
        let exit = run.held.exit.clone();
        if slot.run() == run.held.run && slot.phase.awaits_spawn() {
            self.spawned(run);
        }
        if let Some(exit) = exit {
            self.exited(exit);
        }
    }

    /// Asks again for every spawn that no keeper has answered.
    fn repeat_spawns(&mut self) {
        for key in self.order.clone() {
            let is_open = self.slots.get(&key).is_some_and(|slot| {
                let waits = [SpawnStage::AwaitingLogs, SpawnStage::AwaitingRemains];
                slot.phase.awaits_spawn() && !waits.contains(&slot.spawn)
            });
            if is_open {
                self.spawn_again(&key);
            }
        }
    }
}
