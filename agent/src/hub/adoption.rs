//! Putting machines back where they stood: a new agent, and a keeper that holds programs.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rsv_keeper::message::{Held, Note as HeldNote, Request};
use rsv_supervise::{Attempt, Found, Phase, State, adopt};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::observed::{exit_of, key_of};
use super::record::Note;
use super::slot::Slot;
use super::{Adoption, Core, Key, clock};
use crate::keeper_client::{Attached, HeldRun};
use crate::listeners::Notice;
use crate::spec::Program;

/// What a keeper holds, by key.
type Runs = BTreeMap<Key, Vec<HeldRun>>;

impl Core {
    /// A keeper is there.
    pub(super) fn attached(&mut self, attached: Attached) {
        match self.adoption {
            Adoption::Awaited => {
                self.adopt_all(attached);
                self.stop_held();
                self.adoption = Adoption::Done;
            }
            Adoption::Done => self.reattach(attached),
        }
    }

    /// The first keeper of this agent: takes over what it holds, then starts what was never started.
    fn adopt_all(&mut self, attached: Attached) {
        let Attached {
            connection,
            runs,
            notes,
            ..
        } = attached;
        self.gear.outbox.connect(connection);
        self.tell_intent();
        if !runs.is_empty() || !notes.is_empty() {
            self.gear.logs.keep_old();
        }
        let mut runs = by_key(runs);
        // Before anything is started: it is to share what the others have.
        for (key, run) in runs
            .iter()
            .flat_map(|(key, runs)| runs.iter().map(move |run| (key, run)))
        {
            self.adopt_socket(key, run);
        }
        let mut notes = readable(notes);
        for key in self.order.clone() {
            if let Some(slot) = self.slots.get(&key) {
                self.gear.know_logs(slot);
            }
            self.take_over(
                &key,
                notes.remove(&key),
                runs.remove(&key).unwrap_or_default(),
            );
        }
        for (key, runs) in runs {
            self.take_over_foreign(&key, notes.remove(&key), runs);
        }
        for key in notes.into_keys() {
            let (key, note) = (key.as_run_key(), Vec::new());
            self.gear.outbox.tell(Request::Note(HeldNote { key, note }));
        }
    }

    fn adopt_socket(&mut self, key: &Key, run: &HeldRun) {
        let configured = self
            .slots
            .get(key)
            .and_then(|slot| slot.program.socket.as_deref());
        if let Some(stdin) = &run.stdin {
            self.gear.sockets.adopt(key, configured, stdin.as_fd());
        }
    }

    /// Puts one machine back where it stood.
    fn take_over(&mut self, key: &Key, note: Option<Note>, runs: Vec<HeldRun>) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        if note.is_none() && runs.is_empty() && slot.program.launch.is_err() {
            return;
        }
        let mut phase = None;
        if let Some(note) = note {
            phase = Some(note.phase.clone());
            slot.record = note.record.clone();
            (slot.started_as, slot.listening) = (note.started_as, note.listening);
            if let Err(why) = &slot.program.launch {
                // The configuration says nothing that could be used; the note still knows.
                let (launch, noted) = (Err(why.clone()), note.into_program(key.clone()));
                let Program {
                    group_priority,
                    priority,
                    ..
                } = slot.program;
                slot.replace_program(Program {
                    launch,
                    group_priority,
                    priority,
                    ..noted
                });
                self.gear.know_logs(slot);
            }
        }
        let mut found = Found::Nothing;
        let mut done = Vec::new();
        let mut has_unread = false;
        for run in runs {
            let this = found_of(
                &run.held,
                phase.as_ref(),
                run.pidfd.as_ref().map(AsFd::as_fd),
            );
            if run.held.exit.is_some() {
                done.push(run.held.run.clone());
            }
            if is_later(&this, &found) {
                found = this;
                has_unread = run.stdout.as_ref().is_some_and(holds_bytes);
            }
            self.gear.hold(slot, run);
        }
        if matches!(found, Found::Nothing | Found::Ended { .. }) {
            slot.process = None;
        }
        self.resume(key, phase, found, has_unread);
        for run in done {
            self.gear.acknowledge(run);
        }
    }

    fn resume(&mut self, key: &Key, note: Option<Phase>, found: Found, has_unread: bool) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        if let Found::Alive { attempt, pid, .. } = &found {
            let (attempt, pid, host) = (attempt.get(), *pid, &self.gear.host);
            tracing::info!(host, program = %key, attempt, pid, "took over a running program");
        }
        let before = note.clone().unwrap_or_default();
        let policy = super::policy(slot, &self.course);
        let (phase, effects) = adopt(note, found, &policy, clock::now());
        drop(policy);
        let is_live = phase.pid().is_some();
        // The slot was not counted while its machine was not in place.
        self.gear.count(slot.is_live(), is_live);
        slot.phase = phase.clone();
        if is_live {
            let (listeners, noted) = (&self.gear.listeners, slot.listening);
            listeners.tell(|| Notice::Adopted {
                key: key.clone(),
                attempt: phase.attempt().get(),
                is_running: phase.state() == State::Running,
                noted,
                has_unread,
            });
        }
        if is_live {
            // It may have been configured otherwise since the run began.
            self.gear.tell_rules(slot);
        }
        self.settle(key, &before, phase, &effects);
    }

    /// A program that is not configured any more: kept until it ends.
    fn take_over_foreign(&mut self, key: &Key, note: Option<Note>, runs: Vec<HeldRun>) {
        let Some(note) = note else {
            tracing::error!(program = %key, "a process without a note is left alone");
            return;
        };
        let mut slot = Slot::new(note.clone().into_program(key.clone()));
        slot.is_configured = false;
        slot.hold = self.desired.hold(key).cloned();
        slot.phase = Phase::default();
        tracing::warn!(host = self.gear.host, program = %key, "runs and is no longer configured");
        self.gear.know_logs(&slot);
        self.slots.insert(key.clone(), Box::new(slot));
        self.order.push(key.clone());
        self.take_over(key, Some(note), runs);
    }
}

impl super::gear::Gear {
    /// Takes the descriptors of a held run: pipes go to the capture, whether the process lives or
    /// not; the rest belongs to the latest run.
    fn hold(&mut self, slot: &mut Slot, run: HeldRun) {
        let process = self.take_in(slot, run);
        let known = slot
            .process
            .as_ref()
            .map_or(0, |process| process.held.run.attempt);
        if process.held.exit.is_none() && process.held.run.attempt >= known {
            slot.process = Some(process);
        }
    }
}

fn by_key(runs: Vec<HeldRun>) -> Runs {
    let mut sorted = Runs::new();
    for run in runs {
        if let Some(key) = key_of(&run.held.run.key) {
            sorted.entry(key).or_default().push(run);
        }
    }
    sorted
}

/// The notes that can be read. One that cannot is as good as none: its machine begins anew, or with
/// the process that is found.
fn readable(notes: Vec<HeldNote>) -> BTreeMap<Key, Note> {
    let mut readable = BTreeMap::new();
    for note in notes {
        let Some(key) = key_of(&note.key) else {
            continue;
        };
        match Note::decode(&note.note) {
            Ok(note) => {
                readable.insert(key, note);
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(program = %key, error, "the note of a program cannot be read");
            }
        }
    }
    readable
}

/// What a held run means to its machine. A run whose end was taken into account before is held for its
/// pipes alone, and means nothing.
fn found_of(held: &Held, note: Option<&Phase>, pidfd: Option<BorrowedFd<'_>>) -> Found {
    let (attempt, pid) = (Attempt::new(held.run.attempt), held.pid);
    let started = clock::tick_of(held.spawned_at_ns);
    if let Some(exited) = &held.exit {
        let (exit, at) = (exit_of(exited), clock::tick_of(exited.at_ns));
        return Found::Ended {
            attempt,
            pid,
            started,
            exit,
            at,
        };
    }
    let is_expected = note.is_none_or(|phase| {
        let has_process = phase.awaits_spawn() || phase.pid().is_some();
        attempt > phase.attempt() || (attempt == phase.attempt() && has_process)
    });
    if !is_expected && pidfd.is_some_and(has_ended) {
        return Found::Nothing;
    }
    Found::Alive {
        attempt,
        pid,
        started,
    }
}

/// Whether there is something in a pipe. One that cannot be asked may hold something.
fn holds_bytes(pipe: &OwnedFd) -> bool {
    !matches!(rustix::io::ioctl_fionread(pipe), Ok(0))
}

/// A pidfd is readable from the end of its process on.
pub(super) fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(rustix::event::poll(&mut polled, Some(&now)), Ok(1..))
}

/// Of several runs of one key the one with the highest number is the machine's.
fn is_later(this: &Found, than: &Found) -> bool {
    attempt_of(this) > attempt_of(than)
}

fn attempt_of(found: &Found) -> Option<Attempt> {
    match found {
        Found::Nothing => None,
        Found::Alive { attempt, .. }
        | Found::Ended { attempt, .. }
        | Found::Refused { attempt, .. } => Some(*attempt),
    }
}
