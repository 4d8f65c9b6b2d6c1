//! What is known of a process besides its machine, and the note in which both outlive the agent.
//!
//! A record is brought up to date by the machine's effects alone, so that it tells the same story.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rsv_proto::time::to_wire;
use rsv_proto::wire;
use rsv_supervise::{
    Autorestart, Change, Effect, Ended, Entered, Exit, Failure, Phase, Policy, Reason, Retries,
    Scope, State, Tick,
};
use serde::{Deserialize, Serialize};

use super::handle::Key;
use super::slot::Slot;
use crate::capture::{LogSpec, LogTarget, SyslogTarget};
use crate::listeners::Noted;
use crate::spec::Program;

/// What people are shown of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub(super) state: State,
    pub(super) pid: Option<u32>,
    started_at: Option<SystemTime>,
    stopped_at: Option<SystemTime>,
    changed_at: SystemTime,
    exit: Option<Exit>,
    spawn_error: String,
    reason: String,
    tries: u32,
    spawns: u64,
}

/// What the keeper keeps for the next agent. A field added later takes a default, so that the notes
/// of an older agent can still be read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) phase: Phase,
    pub(super) record: Record,
    pub(super) stop: StopNote,
    pub(super) stdout: LogNote,
    #[serde(default)]
    pub(super) stderr: Option<LogNote>,
    /// What the latest process was started as; absent: an older agent has started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) started_as: Option<u64>,
    /// Where it stands as an event listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) listening: Option<Noted>,
}

/// How to stop a process whose configuration is gone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StopNote {
    signal: i32,
    wait: Duration,
    scope: Scope,
    kill_scope: Scope,
}

/// Where the output goes of a process whose configuration is gone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LogNote {
    path: Option<PathBuf>,
    #[serde(default)]
    is_private: bool,
    maxbytes: u64,
    backups: u32,
    strip_ansi: bool,
    #[serde(default)]
    capture_maxbytes: u64,
    #[serde(default)]
    events: bool,
    #[serde(default)]
    protocol: bool,
    /// The name and the socket.
    #[serde(default)]
    syslog: Option<(String, PathBuf)>,
    ledger_dir: Option<PathBuf>,
}

impl Record {
    /// A process of which nothing has happened yet.
    pub(super) fn new() -> Self {
        Self::since(SystemTime::now())
    }

    /// The same, told at this moment.
    pub fn since(now: SystemTime) -> Self {
        Self {
            state: State::Stopped,
            pid: None,
            started_at: None,
            stopped_at: None,
            changed_at: now,
            exit: None,
            spawn_error: String::new(),
            reason: String::new(),
            tries: 0,
            spawns: 0,
        }
    }

    /// A process that is refused before it ever ran.
    pub(super) fn refused(why: &str) -> Self {
        let spawn_error = why.to_owned();
        let reason = "its configuration is refused".to_owned();
        Self {
            state: State::Fatal,
            spawn_error,
            reason,
            ..Self::new()
        }
    }

    /// Takes in one effect; says whether anything shown has changed. `wall` is the time of day at a moment.
    pub fn apply(&mut self, effect: &Effect, wall: impl Fn(Tick) -> SystemTime) -> bool {
        match effect {
            Effect::Spawned { pid, at, .. } => {
                self.pid = Some(*pid);
                self.started_at = Some(wall(*at));
                self.spawns = self.spawns.saturating_add(1);
                true
            }
            Effect::Transition(change) => {
                self.change(change, wall(change.at));
                true
            }
            Effect::Spawn { .. } | Effect::Signal { .. } => false,
        }
    }

    fn change(&mut self, change: &Change, at: SystemTime) {
        self.state = change.to.state();
        self.changed_at = at;
        self.reason = change.reason.to_string();
        match &change.to {
            Entered::Starting { tries } => {
                self.pid = None;
                self.tries = *tries;
                self.spawn_error.clear();
            }
            Entered::Running { .. } => self.tries = 0,
            Entered::Backoff { tries } => {
                self.tries = *tries;
                self.failed(&change.reason);
            }
            Entered::Stopped { ended } => {
                self.tries = 0;
                self.ended(ended.map(|ended| ended.exit));
            }
            Entered::Exited(Ended { exit, expected, .. }) => {
                self.ended(Some(*exit));
                let (exit, expected) = (*exit, *expected);
                self.spawn_error = Failure::Ended { exit, expected }.spawn_error();
            }
            Entered::Fatal => {
                self.tries = 0;
                self.gave_up(&change.reason);
            }
            Entered::Stopping { .. } | Entered::Unknown { .. } => {}
        }
    }

    fn failed(&mut self, reason: &Reason) {
        let Reason::Failed(failure) = reason else {
            return;
        };
        self.spawn_error = failure.spawn_error();
        match failure {
            Failure::ExitedTooQuickly { exit } => self.ended(Some(*exit)),
            Failure::NotSpawned { .. } | Failure::Ended { .. } => {}
        }
    }

    /// A process that did well enough each time has not failed by its last end alone.
    fn gave_up(&mut self, reason: &Reason) {
        let Reason::GaveUp(gave_up) = reason else {
            return;
        };
        let parts = [gave_up.spawn_error(), std::mem::take(&mut self.spawn_error)];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        self.spawn_error = parts.join("; ");
    }

    fn ended(&mut self, exit: Option<Exit>) {
        self.pid = None;
        if exit.is_some() {
            self.exit = exit;
            self.stopped_at = Some(self.changed_at);
        }
    }

    /// What is shown, for a process of this name.
    pub fn status(&self, key: &Key) -> wire::ProcessStatus {
        wire::ProcessStatus {
            group: key.group.clone(),
            name: key.name.clone(),
            state: wire_state(self.state).into(),
            pid: self.pid,
            started_at: self.started_at.map(to_wire),
            stopped_at: self.stopped_at.map(to_wire),
            changed_at: Some(to_wire(self.changed_at)),
            exit: self.exit.map(wire_exit),
            spawn_error: self.spawn_error.clone(),
            reason: self.reason.clone(),
            tries: self.tries,
            restarts: self.spawns.saturating_sub(1),
            has_stdout_log: false,
            has_stderr_log: false,
            log_trouble: String::new(),
            log_trouble_since: None,
            log_dropped_bytes: 0,
            outdated: false,
            listener: None,
            hold: None,
        }
    }
}

impl Note {
    pub(super) fn of(slot: &Slot) -> Self {
        let program = &slot.program;
        let policy = &program.policy;
        Self {
            phase: slot.phase.clone(),
            record: slot.record.clone(),
            stop: StopNote {
                signal: policy.stopsignal,
                wait: policy.stopwaitsecs,
                scope: policy.stop_scope,
                kill_scope: policy.kill_scope,
            },
            stdout: LogNote::of(&program.stdout),
            stderr: program.stderr.as_deref().map(LogNote::of),
            started_as: slot.started_as,
            listening: slot.listening,
        }
    }

    /// As the keeper keeps it.
    pub(super) fn encode(&self) -> Vec<u8> {
        // Strings for keys and no value that JSON lacks: there is nothing that cannot be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// A program that runs and is no longer configured: it is kept as it is until it ends.
    pub(super) fn into_program(self, key: Key) -> Program {
        let StopNote {
            signal,
            wait,
            scope,
            kill_scope,
        } = self.stop;
        Program {
            key,
            group_priority: 999,
            priority: 999,
            policy: Policy {
                autostart: false,
                autorestart: Autorestart::Never,
                startretries: Retries::Limit(0),
                stopsignal: signal,
                stopwaitsecs: wait,
                stop_scope: scope,
                kill_scope,
                ..Policy::default()
            },
            launch: Err("it is no longer configured".to_owned()),
            stdout: self.stdout.into_spec().into(),
            stderr: self.stderr.map(|note| note.into_spec().into()),
            fingerprint: 0,
            socket: None,
        }
    }
}

impl LogNote {
    fn of(spec: &LogSpec) -> Self {
        let path = match &spec.target {
            LogTarget::File { path } | LogTarget::Private { path } => Some(path.clone()),
            LogTarget::Null => None,
        };
        let syslog = spec.syslog.as_ref();
        Self {
            path,
            is_private: matches!(spec.target, LogTarget::Private { .. }),
            maxbytes: spec.maxbytes,
            backups: spec.backups,
            strip_ansi: spec.strip_ansi,
            capture_maxbytes: spec.capture_maxbytes,
            events: spec.events,
            protocol: spec.protocol,
            syslog: syslog.map(|syslog| (syslog.name.clone(), syslog.socket.clone())),
            ledger_dir: spec.ledger_dir.clone(),
        }
    }

    fn into_spec(self) -> LogSpec {
        let target = match self.path {
            None => LogTarget::Null,
            Some(path) if self.is_private => LogTarget::Private { path },
            Some(path) => LogTarget::File { path },
        };
        let syslog = self.syslog;
        LogSpec {
            target,
            maxbytes: self.maxbytes,
            backups: self.backups,
            strip_ansi: self.strip_ansi,
            capture_maxbytes: self.capture_maxbytes,
            events: self.events,
            protocol: self.protocol,
            syslog: syslog.map(|(name, socket)| SyslogTarget { name, socket }),
            ledger_dir: self.ledger_dir,
        }
    }
}

fn wire_state(state: State) -> wire::ProcessState {
    match state {
        State::Stopped => wire::ProcessState::Stopped,
        State::Starting => wire::ProcessState::Starting,
        State::Running => wire::ProcessState::Running,
        State::Backoff => wire::ProcessState::Backoff,
        State::Stopping => wire::ProcessState::Stopping,
        State::Exited => wire::ProcessState::Exited,
        State::Fatal => wire::ProcessState::Fatal,
        State::Unknown => wire::ProcessState::Unknown,
    }
}

fn wire_exit(exit: Exit) -> wire::ExitStatus {
    let (kind, core_dumped) = match exit {
        Exit::Code(code) => (Some(wire::exit_status::Kind::Code(code.into())), false),
        Exit::Signal { signal, core } => (Some(wire::exit_status::Kind::Signal(signal)), core),
        Exit::Unknown => (None, false),
    };
    wire::ExitStatus { kind, core_dumped }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsv_supervise::{Attempt, Event, Observation, RestartWindow, step};

    use crate::hub::clock::wall;

    fn key() -> Key {
        Key {
            group: "g".into(),
            name: "p".into(),
        }
    }

    /// Runs a story through the machine and gives what is shown at its end.
    fn shown_after(events: Vec<Event>) -> wire::ProcessStatus {
        shown_by(&Policy::default(), events)
    }

    /// The same by another policy, whose `startsecs` is none.
    fn shown_by(policy: &Policy, events: Vec<Event>) -> wire::ProcessStatus {
        let policy = Policy {
            startsecs: Duration::ZERO,
            ..policy.clone()
        };
        let (mut phase, mut record) = (Phase::default(), Record::new());
        for event in events {
            let (next, effects) = step(phase, &policy, super::super::clock::now(), event);
            phase = next;
            for effect in &effects {
                record.apply(effect, wall);
            }
        }
        record.status(&key())
    }

    fn spawned(attempt: u64) -> Event {
        let (attempt, at) = (Attempt::new(attempt), Tick::ZERO);
        Event::Observed(Observation::Spawned {
            attempt,
            pid: 42,
            at,
        })
    }

    fn exited(attempt: u64, code: u8) -> Event {
        let (attempt, exit) = (Attempt::new(attempt), Exit::Code(code));
        let at = super::super::clock::now();
        Event::Observed(Observation::Exited { attempt, exit, at })
    }

    #[test]
    fn a_restart_after_a_crash_counts_and_shows_the_crash() {
        let shown = shown_after(vec![Event::Created, spawned(1), exited(1, 3), spawned(2)]);
        assert_eq!(shown.state(), wire::ProcessState::Running);
        assert_eq!((shown.pid, shown.restarts), (Some(42), 1));
        assert_eq!(
            shown.exit.unwrap().kind,
            Some(wire::exit_status::Kind::Code(3))
        );
        assert!(shown.stopped_at.is_some());
    }

    #[test]
    fn a_process_that_was_restarted_too_often_says_so_beside_its_last_end() {
        let policy = Policy {
            restart_window: RestartWindow::new(1, Duration::from_secs(60)),
            ..Policy::default()
        };
        let lives = [spawned(1), exited(1, 3), spawned(2), exited(2, 3)];
        let shown = shown_by(&policy, [Event::Created].into_iter().chain(lives).collect());
        assert_eq!(shown.state(), wire::ProcessState::Fatal);
        let text = "more than 1 restarts in 60s; Bad exit code 3";
        assert_eq!(shown.spawn_error, text);
        assert_eq!(shown.reason, "gave up: more than 1 restarts in 60s");
    }

    #[test]
    fn a_refused_spawn_shows_its_error_and_no_process() {
        let (attempt, why) = (Attempt::new(1), "can't find command 'x'".to_owned());
        let refused = Event::Observed(Observation::SpawnRefused { attempt, why });
        let shown = shown_after(vec![Event::Created, refused]);
        assert_eq!(shown.state(), wire::ProcessState::Backoff);
        assert_eq!((shown.pid, shown.tries), (None, 1));
        assert_eq!(shown.spawn_error, "can't find command 'x'");
        assert!(shown.started_at.is_none());
    }

    #[test]
    fn a_note_can_be_read_back() {
        let program = Program {
            key: key(),
            group_priority: 1,
            priority: 2,
            policy: Policy::default(),
            launch: Err("no".into()),
            stdout: LogSpec::file("/var/log/x", 10, 2).into(),
            stderr: None,
            fingerprint: 7,
            socket: None,
        };
        let mut slot = Slot::new(program.clone());
        (slot.started_as, slot.listening) = (Some(7), Some(Noted::Busy));
        let note = Note::of(&slot);
        let read = Note::decode(&note.encode()).unwrap();
        assert_eq!((&read.phase, &read.record), (&note.phase, &note.record));
        assert_eq!(
            (read.started_as, read.listening),
            (Some(7), Some(Noted::Busy))
        );
        let kept = read.into_program(key());
        assert_eq!(kept.stdout, program.stdout);
        assert_eq!(kept.policy.stopwaitsecs, program.policy.stopwaitsecs);
        assert!(!kept.policy.restarts_after(Exit::Code(1)));
    }
}
