//! What the keeper reports and what becomes of the logs, turned into events of machines.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rsv_keeper::message::{Channel, Exited, Refused, Signalled};
use rsv_proto::wire;
use rsv_supervise::{Attempt, Event, Exit, Observation};

use super::gear::SentSignal;
use super::logs::LogInput;
use super::slot::{LogState, Readiness, SpawnStage};
use super::{Core, Key, clock, verdicts};
use crate::capture::LogSpec;
use crate::keeper_client::{HeldRun, KeeperInput};
use crate::listeners::Notice;
use crate::spec::{SpawnError, io_code, refused_text};

/// When a log that pipes wait for is tried again. Its programs are blocked meanwhile as soon as
/// their pipes are full, and nothing is lost.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

impl Core {
    pub(super) fn heard(&mut self, input: KeeperInput) {
        match input {
            KeeperInput::Attached(attached) => self.attached(attached),
            KeeperInput::Spawned(run) => self.spawned(run),
            KeeperInput::Refused(refused) => self.refused(&refused),
            KeeperInput::Exited(exited) => self.exited(exited),
            KeeperInput::Signalled(answer) => self.signalled(&answer),
            KeeperInput::Terminating => {
                tracing::warn!(host = self.gear.host, "the keeper was told to end");
                self.gear.listeners.tell(|| Notice::Stopping);
                self.begin_stopping();
            }
            KeeperInput::Lost => self.lost(),
        }
    }

    /// The keeper has gone. Its programs live on, and we hold their pipes.
    fn lost(&mut self) {
        self.gear.outbox.disconnect();
        self.alone = self.alone.lost(clock::now());
    }

    pub(super) fn spawned(&mut self, run: HeldRun) {
        let held = &run.held;
        let Some(slot) = key_of(&held.run.key).and_then(|key| self.slots.get_mut(&key)) else {
            tracing::error!(
                program = held.run.key,
                pid = held.pid,
                "a process of no program"
            );
            return;
        };
        let process = self.gear.take_in(slot, run);
        let held = &process.held;
        if held.run.attempt != slot.phase.attempt().get() {
            return;
        }
        let observation = Observation::Spawned {
            attempt: Attempt::new(held.run.attempt),
            pid: held.pid,
            at: clock::tick_of(held.spawned_at_ns),
        };
        let key = slot.program.key.clone();
        let was_live = slot.is_live();
        slot.spawn = SpawnStage::Idle;
        self.gear.count(was_live, slot.is_live());
        slot.process = Some(process);
        self.feed(&key, Event::Observed(observation));
    }

    fn refused(&mut self, refused: &Refused) {
        let Some(key) = key_of(&refused.run.key) else {
            return;
        };
        let slot = self.slots.get(&key);
        let launch = slot.and_then(|slot| slot.program.launch.as_ref().ok());
        let why = refused_text(refused, &key.name, launch);
        self.spawn_refused(&key, refused.run.attempt, why);
    }

    /// The spawn of this attempt came to nothing.
    pub(super) fn spawn_refused(&mut self, key: &Key, attempt: u64, why: String) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        if slot.phase.attempt().get() != attempt {
            return;
        }
        let was_live = slot.is_live();
        slot.spawn = SpawnStage::Idle;
        self.gear.count(was_live, slot.is_live());
        let attempt = Attempt::new(attempt);
        self.feed(
            key,
            Event::Observed(Observation::SpawnRefused { attempt, why }),
        );
    }

    pub(super) fn exited(&mut self, exited: Exited) {
        if let Some(key) = key_of(&exited.run.key) {
            let observation = Observation::Exited {
                attempt: Attempt::new(exited.run.attempt),
                exit: exit_of(&exited),
                at: clock::tick_of(exited.at_ns),
            };
            self.feed(&key, Event::Observed(observation));
        }
        // After the note of the step, so that an exit is never forgotten before it is noted.
        self.gear.acknowledge(exited.run);
    }

    pub(super) fn signalled(&mut self, answer: &Signalled) {
        let Some(SentSignal {
            key,
            message,
            asker,
        }) = self.gear.answered(answer.request)
        else {
            return;
        };
        if self.remains_ended(&key, answer.request) {
            return;
        }
        match (answer.errno, asker) {
            (0, Some(asker)) => {
                let steps = vec![wire::Step::Signalled.into()];
                verdicts::send(
                    &asker,
                    wire::TargetResult {
                        steps,
                        ..verdicts::done(&key)
                    },
                );
            }
            (libc::ESRCH, Some(asker)) => {
                let refusal = wire::Refusal::NotRunning;
                verdicts::send(&asker, verdicts::failed(key.to_string(), refusal, ""));
            }
            (errno, Some(asker)) => {
                let (refusal, detail) = (wire::Refusal::Other, crate::spec::code_name(errno));
                verdicts::send(&asker, verdicts::failed(key.to_string(), refusal, detail));
            }
            // No such process: its exit is about to be told.
            (0 | libc::ESRCH, None) => {}
            (errno, None) => {
                let attempt = Attempt::new(message.run.attempt);
                let why = crate::spec::code_name(errno);
                self.feed(
                    &key,
                    Event::Observed(Observation::SignalFailed { attempt, why }),
                );
            }
        }
    }

    pub(super) fn log_input(&mut self, input: LogInput) {
        match input {
            LogInput::Opened {
                key,
                channel,
                spec,
                result,
            } => self.log_opened(&key, channel, &spec, result),
            LogInput::Idle => self.gear.logs.idle(),
            LogInput::Trouble(trouble) => self.log_trouble(trouble),
        }
    }

    fn log_opened(
        &mut self,
        key: &Key,
        channel: Channel,
        spec: &Arc<LogSpec>,
        result: std::io::Result<OwnedFd>,
    ) {
        let Some(slot) = self.slots.get_mut(key) else {
            return self.gear.logs.capture().forget(&key.as_run_key());
        };
        // A log that is kept otherwise by now has been asked for again, or nobody needs it.
        if slot.log_mut(channel).is_none_or(|log| log.spec != *spec) {
            return;
        }
        match result {
            Ok(file) => self.gear.opened(slot, channel, file),
            Err(error) => self.log_failed(key, channel, &error),
        }
        self.logs_came(key);
    }

    fn log_trouble(&mut self, trouble: crate::capture::LogTrouble) {
        // A log of a program that is gone by now is nobody's.
        let key = Key::from_run_key(&trouble.key);
        if let Some(slot) = key.and_then(|key| self.slots.get_mut(&key)) {
            slot.health.note(trouble);
            self.gear.show(slot);
        }
    }

    fn log_failed(&mut self, key: &Key, channel: Channel, error: &std::io::Error) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let Some(log) = slot.log_mut(channel) else {
            return;
        };
        log.state = LogState::Failed(io_code(error));
        if log.parked.is_empty() {
            return;
        }
        tracing::error!(
            host = self.gear.host,
            program = %key,
            error = error as &dyn std::error::Error,
            "the log of a running program cannot be opened; trying again"
        );
        slot.reopen_at = Some(clock::now() + REOPEN_AFTER);
        self.gear.set_timer(slot);
        if slot.health.cannot_open(channel, error) {
            self.gear.show(slot);
        }
    }

    /// Goes on with a spawn that waited for its logs.
    fn logs_came(&mut self, key: &Key) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        if slot.spawn != SpawnStage::AwaitingLogs {
            if slot.phase.is_at_rest() {
                self.gear.close_logs(slot);
            }
            return;
        }
        let attempt = slot.phase.attempt().get();
        let is_wanted = matches!(slot.phase, rsv_supervise::Phase::Spawning { .. });
        let name = key.name.clone();
        let refusal = match slot.readiness() {
            Readiness::Pending => return,
            Readiness::Failed(code) => Some(SpawnError::Log { name, code }.to_string()),
            Readiness::Ready if !is_wanted => Some("stopped before it was spawned".to_owned()),
            Readiness::Ready => self
                .gear
                .send_spawn(slot)
                .err()
                .map(|error| error.to_string()),
        };
        if let Some(why) = refusal {
            self.spawn_refused(key, attempt, why);
        }
    }
}

/// The key of a slot; none for a spelling that is not ours.
pub(super) fn key_of(run_key: &str) -> Option<Key> {
    let key = Key::from_run_key(run_key);
    if key.is_none() {
        tracing::warn!(
            program = run_key,
            "the keeper names a program that cannot be ours"
        );
    }
    key
}

pub(super) fn exit_of(exited: &Exited) -> Exit {
    match (exited.code, exited.signal) {
        (Some(code), _) => u8::try_from(code).map_or(Exit::Unknown, Exit::Code),
        (None, Some(signal)) => Exit::Signal {
            signal,
            core: exited.core_dumped,
        },
        (None, None) => Exit::Unknown,
    }
}
