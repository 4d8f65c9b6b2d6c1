//! Another set of programs while everything runs: what comes, what goes, what is restarted and what
//! only gets other rules.
//!
//! A program that has to be restarted is stopped by its former rules and gets the new ones as soon as
//! the stop is under way: one operation, so that whatever starts it next starts the new one. What only
//! gets other rules is never touched; its log is brought in line while it is written.

use std::collections::{BTreeMap, BTreeSet};

use rsv_proto::wire;
use rsv_supervise::{Ask as MachineAsk, Attempt, Autorestart, Event, Phase, Retries};
use tokio::sync::mpsc;

use super::decide::Exchange;
use super::handle::Key;
use super::record::Record;
use super::slot::{LogState, Slot, SlotLog, SpawnStage, logs_of, rules};
use super::stopping::Course;
use super::{Core, decide, verdicts};
use crate::spec::Program;

/// One change of what the hub supervises.
#[derive(Clone, Debug)]
pub enum ProgramChange {
    /// It is configured from now on. Started if it is to autostart; one that runs already, because a
    /// former configuration had it, runs on.
    Add(Program),
    /// It is another program from now on. Restarted if it runs; if not, it is as if it were new.
    Restart(Program),
    /// It gets other rules and runs on.
    Adjust(Program),
    /// It is stopped if it runs, and then it is gone.
    Remove(Key),
}

/// The latest attempts of programs that have gone. The keeper may still hold a run of theirs, so that
/// one who comes back under the same name must not count from the beginning.
pub(super) type Retired = BTreeMap<Key, Attempt>;

type Results = mpsc::Sender<wire::TargetResult>;

impl Core {
    /// Carries out changes. The receiver gives one result for each program that has to be stopped, and
    /// ends when all are. What stops is told so in the reverse order of starting.
    pub(super) fn reconfigure(
        &mut self,
        changes: Vec<ProgramChange>,
    ) -> mpsc::Receiver<wire::TargetResult> {
        let (results, receiver) = mpsc::channel(changes.len().max(1));
        if !matches!(self.course, Course::Serving) {
            for change in &changes {
                let refusal = wire::Refusal::ShuttingDown;
                verdicts::send(
                    &results,
                    verdicts::failed(change.key().to_string(), refusal, ""),
                );
            }
            return receiver;
        }
        let (mut ending, mut going_on) = (Vec::new(), Vec::new());
        for change in changes {
            match change {
                ProgramChange::Remove(_) | ProgramChange::Restart(_) => ending.push(change),
                ProgramChange::Add(_) | ProgramChange::Adjust(_) => going_on.push(change),
            }
        }
        let place = |key: &Key| self.order.iter().position(|known| known == key);
        ending.sort_by_key(|change| std::cmp::Reverse(place(change.key())));
        for change in ending {
            match change {
                ProgramChange::Remove(key) => self.retire(&key, &results),
                ProgramChange::Restart(program) => self.exchange(program, &results),
                ProgramChange::Add(_) | ProgramChange::Adjust(_) => {}
            }
        }
        let mut added = BTreeSet::new();
        for change in going_on {
            match change {
                ProgramChange::Add(program) => added.extend(self.add(program)),
                ProgramChange::Adjust(program) => self.adjust(program),
                ProgramChange::Remove(_) | ProgramChange::Restart(_) => {}
            }
        }
        self.put_in_order();
        let in_order = self.order.iter().filter(|key| added.contains(key));
        for key in in_order.cloned().collect::<Vec<_>>() {
            self.start_new(&key);
        }
        receiver
    }

    /// Takes in a program. Gives its key when it may have to be started.
    fn add(&mut self, program: Program) -> Option<Key> {
        let key = program.key.clone();
        match self.slots.get_mut(&key) {
            Some(slot) if !slot.phase.is_at_rest() => {
                slot.is_configured = true;
                if let Err(why) = program.launch {
                    // What runs goes on by the rules that it has.
                    slot.program.launch = Err(why);
                    return None;
                }
                self.adjust(program);
                return None;
            }
            Some(_) => self.replace_at_rest(program),
            None => {
                let mut slot = Slot::new(program);
                slot.hold = self.desired.hold(&key).cloned();
                if let Phase::Stopped { attempt } = &mut slot.phase {
                    *attempt = self.retired.remove(&key).unwrap_or_default();
                }
                self.gear.know_logs(&slot);
                self.slots.insert(key.clone(), Box::new(slot));
            }
        }
        self.show(&key);
        Some(key)
    }

    /// Starts what is new, if it is to be started by itself.
    pub(super) fn start_new(&mut self, key: &Key) {
        let Some(slot) = self.slots.get(key) else {
            return;
        };
        let may_start = slot.program.launch.is_ok() && slot.hold.is_none();
        let event = decide::first_start(&slot.program.policy, &slot.phase);
        if let Some(event) = event.filter(|_| may_start) {
            self.feed(key, event);
        }
    }

    /// Other rules for what runs, or may run later.
    fn adjust(&mut self, program: Program) {
        let key = program.key.clone();
        let Some(slot) = self.slots.get_mut(&key) else {
            return;
        };
        let was_autostart = slot.program.policy.autostart;
        slot.exchange_logs(&program);
        let former = std::mem::replace(&mut slot.program, program);
        let is_other = rules(slot.run(), &former) != rules(slot.run(), &slot.program);
        if is_other && !slot.phase.is_at_rest() {
            self.gear.tell_rules(slot);
        }
        if slot.phase.is_at_rest() {
            self.gear.know_logs(slot);
        } else {
            self.gear.want_logs(slot);
        }
        let is_newly_autostart = slot.program.policy.autostart && !was_autostart;
        let is_fresh = matches!(
            slot.phase,
            Phase::Stopped {
                attempt: Attempt::NONE
            }
        );
        let is_given_up = matches!(slot.phase, Phase::Fatal { .. });
        self.feed(&key, Event::PolicyChanged);
        if let Some(slot) = self.slots.get(&key) {
            self.gear.note(slot);
        }
        // What was never started, or was given up under the former rules, has its chance.
        if (is_newly_autostart && is_fresh) || is_given_up {
            self.start_new(&key);
        }
    }

    /// Another program in the place of one.
    fn exchange(&mut self, program: Program, results: &Results) {
        let key = program.key.clone();
        let Some(slot) = self.slots.get_mut(&key) else {
            return;
        };
        let way = decide::exchange(&slot.phase);
        self.gear.end_remains(slot);
        if way == Exchange::AtRest {
            slot.await_remains(results);
            self.replace_at_rest(program);
            self.show(&key);
            return self.start_new(&key);
        }
        self.await_stop(&key, results);
        if way == Exchange::InBackoff {
            // At rest at once; what it is to be started as is not there yet.
            self.feed(&key, Event::Asked(MachineAsk::Stop));
            self.replace_at_rest(program);
            return self.feed(&key, Event::Asked(MachineAsk::Start));
        }
        if way == Exchange::Up {
            self.feed(&key, Event::Asked(MachineAsk::Restart));
        }
        let Some(slot) = self.slots.get_mut(&key) else {
            return;
        };
        slot.close_changed_logs(&program, self.gear.logs.capture());
        slot.is_configured = true;
        slot.program = program;
        if slot.spawn == SpawnStage::AwaitingLogs {
            self.gear.want_logs(slot);
        }
        self.gear.note(slot);
    }

    /// Ends what is not configured any more. It goes as soon as it is at rest.
    fn retire(&mut self, key: &Key, results: &Results) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        self.gear.end_remains(slot);
        slot.is_configured = false;
        slot.program.launch = Err("it is no longer configured".to_owned());
        slot.program.policy.autorestart = Autorestart::Never;
        slot.program.policy.startretries = Retries::Limit(0);
        if slot.phase.is_at_rest() {
            return match slot.remains {
                Some(_) => slot.await_remains(results),
                None => self.remove(key),
            };
        }
        self.await_stop(key, results);
        self.feed(key, Event::Asked(MachineAsk::Stop));
    }

    /// A result is given when the program is at rest. Whoever waits for it to start is told that it
    /// will not, or not as it was.
    fn await_stop(&mut self, key: &Key, results: &Results) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let (ask, asker) = (MachineAsk::Stop, results.clone());
        let (_, answers) = slot.waiters.ask(key, ask, &slot.phase, asker, None);
        slot.answer(answers);
    }

    /// Another program where nothing runs: its machine begins anew, but its attempts go on.
    fn replace_at_rest(&mut self, program: Program) {
        let key = program.key.clone();
        let Some(slot) = self.slots.get_mut(&key) else {
            return;
        };
        self.gear.close_logs(slot);
        let former = self.retired.remove(&key).unwrap_or_default();
        let attempt = slot.phase.attempt().max(former);
        slot.is_configured = true;
        match &program.launch {
            Ok(_) if matches!(slot.phase, Phase::Fatal { .. }) => {
                slot.phase = Phase::Stopped { attempt };
                slot.record = Record::new();
            }
            Ok(_) => {}
            Err(_) => {
                let fresh = Slot::new(program.clone());
                (slot.phase, slot.record) = (fresh.phase, fresh.record);
            }
        }
        slot.exchange_logs(&program);
        slot.program = program;
        self.gear.know_logs(slot);
        if slot.phase != Phase::default() {
            self.gear.note(slot);
        }
    }

    pub(super) fn show(&self, key: &Key) {
        if let Some(slot) = self.slots.get(key) {
            let shown = wire::delta::Change::Upsert(slot.status());
            self.gear.journal.publish(shown);
        }
    }

    /// The order of starting, with what is not configured any more at the end.
    pub(super) fn put_in_order(&mut self) {
        let mut slots: Vec<_> = self.slots.iter().collect();
        slots.sort_by_key(|(_, slot)| (!slot.is_configured, slot.program.order()));
        self.order = slots.into_iter().map(|(key, _)| key.clone()).collect();
    }
}

impl ProgramChange {
    /// The program that changes.
    pub fn key(&self) -> &Key {
        match self {
            Self::Add(program) | Self::Restart(program) | Self::Adjust(program) => &program.key,
            Self::Remove(key) => key,
        }
    }
}

impl Slot {
    /// The logs of another description. One that is kept in the same way stays open; any other is to
    /// be opened anew, and the pipes that wait for it go on waiting.
    fn exchange_logs(&mut self, program: &Program) {
        let mut former = std::mem::take(&mut self.logs);
        for wanted in logs_of(program) {
            let known = former.iter().position(|log| log.channel == wanted.channel);
            let Some(known) = known.map(|index| former.swap_remove(index)) else {
                self.logs.push(wanted);
                continue;
            };
            let is_same = known.spec == wanted.spec;
            self.logs.push(if is_same {
                known
            } else {
                SlotLog {
                    parked: known.parked,
                    ..wanted
                }
            });
        }
        // A stream that has no log of its own any more: it may still come from a live process.
        if !self.phase.is_at_rest() {
            self.logs.append(&mut former);
        }
    }

    /// As [`Slot::exchange_logs`], for a process that is about to end: what it still says belongs into
    /// the log that it has, and the next process opens its own.
    fn close_changed_logs(&mut self, program: &Program, capture: &crate::capture::Capture) {
        self.exchange_logs(program);
        let is_any_changed = self
            .logs
            .iter()
            .any(|log| matches!(log.state, LogState::Closed));
        if is_any_changed {
            for log in &mut self.logs {
                log.state = LogState::Closed;
            }
            capture.closed(&self.program.key.as_run_key());
        }
    }
}
