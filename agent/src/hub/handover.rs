//! Giving programs to a keeper that does not know them: theirs has died, and we hold their pipes and
//! pidfds.
//!
//! Nothing goes through the port before the new keeper has been told of every live program, so that
//! no signal and no drain file comes before the program it belongs to. Until then a second death, the agent's own,
//! would cost every program its pipes, so nothing is waited for, least of all the disk of a log.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use rsv_keeper::message::{Adopt, Channel, Held, Request, Run};
use rsv_supervise::Phase;

use super::Core;
use super::alone::Alone;
use super::observed::key_of;
use super::slot::{Slot, SpawnStage, keeps_stderr, stop_rule};
use crate::keeper_client::{Attached, Drains, HeldRun, NewConnection};

impl Core {
    /// Another keeper is there: it takes over what it does not hold and we do, and everything goes on.
    pub(super) fn reattach(&mut self, attached: Attached) {
        let Attached {
            connection,
            keeper_pid,
            runs,
            notes,
            ..
        } = attached;
        let slots = &self.slots;
        self.gear
            .outbox
            .connect_after(connection, |connection, drains| {
                let held: BTreeSet<&Run> = runs.iter().map(|run| &run.held.run).collect();
                for slot in slots.values() {
                    if slot.process.is_some() && !held.contains(&slot.run()) {
                        hand_over(slot, connection, drains);
                    }
                }
            });
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

/// Gives one live program to a keeper that does not know it.
fn hand_over(slot: &Slot, connection: &NewConnection, drains: &Drains) {
    let Some(process) = &slot.process else { return };
    let drain = |channel, pipe: &Option<_>| {
        let run_key = &process.held.run.key;
        pipe.as_ref().and_then(|_| drains.of(run_key, channel))
    };
    let stdout_drain = drain(Channel::Stdout, &process.stdout);
    let stderr_drain = drain(Channel::Stderr, &process.stderr);
    let held = Held {
        has_pidfd: process.pidfd.is_some(),
        has_stdin: process.stdin.is_some(),
        has_stdout: process.stdout.is_some(),
        has_stderr: process.stderr.is_some(),
        exit: None,
        ..process.held.clone()
    };
    let adopt = Adopt {
        held,
        stop: stop_rule(&slot.program.policy),
        note: slot.note(),
        has_stdout_drain: stdout_drain.is_some(),
        has_stderr_drain: stderr_drain.is_some(),
        cgroup: None,
        keeps_stdout: slot.program.stdout.is_looked_at(),
        keeps_stderr: keeps_stderr(&slot.program),
    };
    let own = [&process.pidfd, &process.stdin];
    let own = own.into_iter().flatten().map(AsFd::as_fd);
    let outputs = [&process.stdout, &process.stderr];
    let outputs = outputs.into_iter().flatten().map(AsFd::as_fd);
    let drains = [stdout_drain, stderr_drain].into_iter().flatten();
    let fds: Vec<_> = own.chain(outputs).chain(drains).collect();
    if let Err(error) = connection.send(Request::Adopt(adopt), &fds) {
        let error = &error as &dyn std::error::Error;
        tracing::error!(
            program = process.held.run.key,
            error,
            "the keeper does not take over a program"
        );
    }
}
