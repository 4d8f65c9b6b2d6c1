//! What is asked of the hub: states, names, actions.

use std::os::fd::OwnedFd;
use std::time::SystemTime;

use rsv_proto::time::to_wire;
use rsv_proto::wire;
use rsv_supervise::{Ask as MachineAsk, Event};
use tokio::sync::mpsc;
use wire::action::Verb;

use super::decide::Deed;
use super::gear::SentSignal;
use super::handle::{ActOn, Ask, Key, NoStdin, Resolved, Snapshot, UnderWay};
use super::stopping::Course;
use super::verdicts::Refused;
use super::{Core, decide, verdicts};
use crate::desired::hold_words;
use crate::listeners::Noted;
use crate::spec::SpawnError;

/// Where the results of one action go.
type Results = mpsc::Sender<wire::TargetResult>;

impl Core {
    pub(super) fn asked(&mut self, ask: Ask) {
        // An answer that nobody waits for any more is not missed.
        match ask {
            Ask::Act { request, results } => {
                let receiver = self.act(&request);
                drop(results.send(receiver));
            }
            Ask::Status { patterns, answer } => drop(answer.send(self.status(&patterns))),
            Ask::Snapshot { answer } => drop(answer.send(self.snapshot())),
            Ask::Resolve { patterns, answer } => drop(answer.send(self.resolve(&patterns))),
            Ask::Reconfigure { changes, results } => {
                let receiver = self.reconfigure(changes);
                drop(results.send(receiver));
            }
            Ask::Stdin {
                key,
                attempt,
                answer,
            } => drop(answer.send(self.stdin_of(&key, attempt))),
            Ask::Listener {
                key,
                attempt,
                noted,
                done,
            } => {
                self.note_listener(&key, attempt, noted);
                done.send(()).ok();
            }
            Ask::Desire { desired, done } => {
                self.desire(desired);
                done.send(()).ok();
            }
            Ask::RestartRun { key, attempt } => self.restart_run(&key, attempt),
            Ask::ListenersHeard => self.course.listeners_heard(),
            Ask::Shutdown { mode, done } => self.shut_down(mode, done),
        }
    }

    fn stdin_of(&self, key: &Key, attempt: Option<u64>) -> Result<OwnedFd, NoStdin> {
        let slot = self.slots.get(key).ok_or(NoStdin::NoSuchProcess)?;
        let process = slot.process.as_ref().ok_or(NoStdin::NotRunning)?;
        if attempt.is_some_and(|attempt| attempt != process.held.run.attempt) {
            return Err(NoStdin::NotRunning);
        }
        let pipe = process
            .stdin
            .as_ref()
            .filter(|_| slot.program.socket.is_none());
        let stdin = pipe.ok_or(NoStdin::NoPipe)?;
        stdin.try_clone().map_err(|_| NoStdin::NoPipe)
    }

    fn restart_run(&mut self, key: &Key, attempt: u64) {
        let is_up = |slot: &super::slot::Slot| {
            slot.run().attempt == attempt
                && slot.phase.pid().is_some()
                && slot.phase.state().is_running()
        };
        if matches!(self.course, Course::Serving) && self.slots.get(key).is_some_and(|s| is_up(s)) {
            let (results, _) = mpsc::channel(1);
            let verb = Some(Verb::Restart(wire::RestartAction {}));
            self.act_on(key, verb, UnderWay::Told, &results);
        }
    }

    fn note_listener(&mut self, key: &Key, attempt: u64, noted: Noted) {
        if let Some(slot) = self.slots.get_mut(key)
            && slot.run().attempt == attempt
            && slot.phase.pid().is_some()
        {
            slot.listening = Some(noted);
            self.gear.note(slot);
        }
    }

    fn snapshot(&self) -> Snapshot {
        let journal = &self.gear.journal;
        let programs = self.slots.values().map(|slot| slot.status()).collect();
        Snapshot {
            epoch: journal.epoch(),
            seq: journal.newest_seq(),
            programs,
        }
    }

    /// What is shown of a process at this moment. Whether a disk answers is asked anew each time,
    /// because the thread that waits for it cannot tell.
    fn shown(&self, slot: &super::slot::Slot) -> wire::ProcessStatus {
        let mut status = slot.status();
        if let Some(stuck) = self.gear.logs.capture().stuck_for()
            && slot.is_live()
        {
            super::health::Health::show_stuck(&mut status, stuck, SystemTime::now());
        }
        status
    }

    fn status(&self, patterns: &[String]) -> wire::HostStatus {
        let everything = ["all".to_owned()];
        let patterns = if patterns.is_empty() {
            &everything[..]
        } else {
            patterns
        };
        let Resolved {
            mut keys,
            unmatched,
        } = self.resolve(patterns);
        keys.sort();
        let programs = keys.iter().filter_map(|key| self.slots.get(key));
        wire::HostStatus {
            host: String::new(),
            state: wire::HostState::Connected.into(),
            as_of: Some(to_wire(SystemTime::now())),
            programs: programs.map(|slot| self.shown(slot)).collect(),
            unmatched,
            ..Default::default()
        }
    }

    fn resolve(&self, patterns: &[String]) -> Resolved {
        decide::resolve(&self.order, patterns)
    }

    fn act(&mut self, request: &ActOn) -> mpsc::Receiver<wire::TargetResult> {
        let Resolved {
            mut keys,
            unmatched,
        } = decide::resolve_exactly(&self.order, request);
        // Exactly one result comes from each target.
        let (results, receiver) = mpsc::channel((keys.len() + unmatched.len()).max(1));
        for wire::UnmatchedProgram { pattern, refusal } in unmatched {
            let refusal = wire::Refusal::try_from(refusal).unwrap_or_default();
            verdicts::send(&results, verdicts::failed(pattern, refusal, ""));
        }
        let verb = request.action.verb;
        if matches!(verb, Some(Verb::Stop(_))) {
            keys.reverse();
        }
        let (host, actor, n_targets) = (&self.gear.host, &request.actor, keys.len());
        tracing::debug!(host, actor, n_targets, ?verb, "asked to act");
        for key in keys {
            self.act_on(&key, verb, request.under_way, &results);
        }
        receiver
    }

    fn act_on(&mut self, key: &Key, verb: Option<Verb>, under_way: UnderWay, results: &Results) {
        if !matches!(self.course, Course::Serving) {
            let refusal = wire::Refusal::ShuttingDown;
            return verdicts::send(results, verdicts::failed(key.to_string(), refusal, ""));
        }
        let Some(slot) = self.slots.get(key) else {
            return;
        };
        let obstacle = || {
            let error = self.obstacle(key)?;
            Some((error.refusal(), error.to_string()))
        };
        match decide::deed(verb, under_way, &slot.phase, obstacle) {
            Deed::Refuse((refusal, detail)) => {
                verdicts::send(results, verdicts::failed(key.to_string(), refusal, detail));
            }
            Deed::Ask(ask, then_refuse) => self.ask_machine(key, ask, results, then_refuse),
            Deed::Join => {
                if let Some(slot) = self.slots.get_mut(key) {
                    slot.waiters.join(results.clone());
                }
            }
            Deed::Signal(signal) => self.send_signal(key, signal, results),
        }
    }

    /// Why a program cannot be started now, if it cannot.
    fn obstacle(&self, key: &Key) -> Option<SpawnError> {
        let slot = self.slots.get(key)?;
        if let Some(hold) = &slot.hold {
            return Some(SpawnError::Held(hold_words(key, hold)));
        }
        match &slot.program.launch {
            Err(why) => Some(SpawnError::Configuration(why.clone())),
            Ok(launch) => launch.check().err().or_else(|| {
                let limit = self.gear.is_full().filter(|_| slot.phase.is_at_rest())?;
                Some(SpawnError::TooMany {
                    name: key.name.clone(),
                    limit,
                })
            }),
        }
    }

    fn ask_machine(
        &mut self,
        key: &Key,
        ask: MachineAsk,
        results: &Results,
        then_refuse: Option<Refused>,
    ) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        if matches!(ask, MachineAsk::Stop | MachineAsk::Restart) {
            self.gear.end_remains(slot);
        }
        let asker = results.clone();
        let (goes_on, answers) = slot.waiters.ask(key, ask, &slot.phase, asker, then_refuse);
        slot.answer(answers);
        if goes_on {
            self.feed(key, Event::Asked(ask));
        }
    }

    fn send_signal(&mut self, key: &Key, signal: i32, results: &Results) {
        let Some(slot) = self.slots.get(key) else {
            return;
        };
        let scope = rsv_keeper::message::Scope::Process.into();
        let message = rsv_keeper::message::Signal {
            run: slot.run(),
            signal,
            scope,
            request: 0,
            ends_run: false,
            ends_remainder: false,
        };
        self.gear.signal(SentSignal {
            key: key.clone(),
            message,
            asker: Some(results.clone()),
        });
    }
}
