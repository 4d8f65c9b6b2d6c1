//! One log line for each change of a process, in Supervisor's words where it has them.
//!
//! The fields carry the facts for machines; the message is the line that people and their scripts
//! know from Supervisor's main log, at Supervisor's level.

use rsv_supervise::{Change, Effect, Ended, Entered, Failure, GaveUp, Reason, Scope, signal_name};
use tracing::{debug, info, warn};

use super::handle::Key;

const SIGKILL: i32 = 9;

/// Writes the line of an effect, if it has one.
pub(super) fn log(host: &str, key: &Key, pid: Option<u32>, effect: &Effect) {
    match effect {
        Effect::Spawned { attempt, pid, .. } => {
            let attempt = attempt.get();
            info!(host, program = %key, attempt, pid, "spawned: '{}' with pid {pid}", key.name);
        }
        Effect::Transition(change) => transition(host, key, pid, change),
        Effect::Spawn { attempt, reason } => {
            debug!(host, program = %key, attempt = attempt.get(), %reason, "spawn");
        }
        Effect::Signal {
            attempt,
            signal,
            scope,
            reason,
        } => {
            let (attempt, pid) = (attempt.get(), pid.unwrap_or(0));
            if let Some(message) = last_signal(&key.name, pid, *signal, reason) {
                warn!(host, program = %key, attempt, pid, %reason, "{message}");
            }
            let message = killing(&key.name, pid, *signal, *scope);
            debug!(host, program = %key, attempt, %reason, "{message}");
        }
    }
}

fn transition(host: &str, key: &Key, pid: Option<u32>, change: &Change) {
    let Some((severity, message)) = message(&key.name, change) else {
        return;
    };
    let (attempt, reason) = (change.attempt.get(), &change.reason);
    let (from, to) = (change.from, change.to.state());
    match severity {
        Severity::Warn => {
            warn!(host, program = %key, attempt, pid, %from, %to, %reason, "{message}");
        }
        Severity::Info => {
            info!(host, program = %key, attempt, pid, %from, %to, %reason, "{message}");
        }
    }
}

/// The line of a signal that comes because the one before has not ended the process.
fn last_signal(name: &str, pid: u32, signal: i32, reason: &Reason) -> Option<String> {
    let is_last = signal == SIGKILL && matches!(reason, Reason::StopTimedOut { .. });
    is_last.then(|| format!("killing '{name}' ({pid}) with SIGKILL"))
}

/// The line of any signal, which also says whom it reaches.
fn killing(name: &str, pid: u32, signal: i32, scope: Scope) -> String {
    let whom = match scope {
        Scope::Process => "",
        Scope::Group => "process group ",
    };
    let signal = signal_name(signal).map_or_else(|| signal.to_string(), str::to_owned);
    format!("killing {name} (pid {pid}) {whom}with signal {signal}")
}

/// Whether this says that one process is waited for, which is left out where all are named together.
pub(super) fn is_of_stopping(effect: &Effect) -> bool {
    matches!(effect, Effect::Transition(change) if matches!(change.to, Entered::Stopping { .. }))
}

/// How much a line is worth, as in Supervisor's main log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    Info,
    Warn,
}

/// The line of a transition. Entering STARTING has none: the spawn that follows has.
fn message(name: &str, change: &Change) -> Option<(Severity, String)> {
    let reason = &change.reason;
    Some(match (&change.to, reason) {
        (Entered::Starting { .. }, _) => return None,
        (Entered::Running { .. }, Reason::StayedUp { startsecs }) => {
            let startsecs = startsecs.as_secs();
            let text = format!(
                "success: {name} entered RUNNING state, process has stayed up for > than \
                 {startsecs} seconds (startsecs)"
            );
            (Severity::Info, text)
        }
        (
            Entered::Exited(Ended {
                exit,
                expected: true,
                ..
            }),
            _,
        ) => (Severity::Info, format!("exited: {name} ({exit}; expected)")),
        (
            Entered::Exited(Ended {
                exit,
                expected: false,
                ..
            }),
            _,
        )
        | (Entered::Backoff { .. }, Reason::Failed(Failure::ExitedTooQuickly { exit })) => (
            Severity::Warn,
            format!("exited: {name} ({exit}; not expected)"),
        ),
        (Entered::Backoff { .. }, Reason::Failed(Failure::NotSpawned { why })) => {
            (Severity::Info, format!("spawnerr: {why}"))
        }
        (Entered::Stopped { ended: Some(ended) }, _) => {
            let severity = if ended.expected {
                Severity::Info
            } else {
                Severity::Warn
            };
            (severity, format!("stopped: {name} ({})", ended.exit))
        }
        (Entered::Stopped { ended: None }, _) => (Severity::Info, format!("stopped: {name}")),
        (Entered::Stopping { .. }, _) => (Severity::Info, format!("waiting for {name} to stop")),
        (Entered::Fatal, Reason::GaveUp(gave_up)) => {
            let text = after_all(gave_up);
            let text = format!("gave up: {name} entered FATAL state, {text}");
            (Severity::Info, text)
        }
        (Entered::Fatal, _) => (
            Severity::Info,
            format!("gave up: {name} entered FATAL state, {reason}"),
        ),
        (Entered::Unknown { .. }, _) => (
            Severity::Warn,
            format!("{name} entered UNKNOWN state, {reason}"),
        ),
        (Entered::Running { .. } | Entered::Backoff { .. }, _) => {
            let state = change.to.state();
            (
                Severity::Info,
                format!("{name} entered {state} state, {reason}"),
            )
        }
    })
}

/// Why it is not tried again.
fn after_all(gave_up: &GaveUp) -> String {
    match gave_up {
        GaveUp::Retries { .. } => "too many start retries too quickly".to_owned(),
        GaveUp::Window { .. } => gave_up.spawn_error(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use rsv_supervise::{Attempt, Exit, State, Tick};

    fn check(to: Entered, reason: Reason, severity: Severity, line: &str) {
        let (attempt, from, at) = (Attempt::new(1), State::Starting, Tick::ZERO);
        let change = Change {
            attempt,
            from,
            to,
            at,
            reason,
        };
        assert_eq!(message("x", &change), Some((severity, line.to_owned())));
    }

    #[test]
    fn the_lines_of_signals_are_supervisors() {
        let stopwaitsecs = Duration::from_secs(1);
        let timed_out = Reason::StopTimedOut { stopwaitsecs };
        let last = |signal, reason| last_signal("x", 7, signal, reason);
        let killed = Some("killing 'x' (7) with SIGKILL".to_owned());
        assert_eq!(last(SIGKILL, &timed_out), killed);
        assert_eq!(last(SIGKILL, &Reason::AskedToStop), None);
        assert_eq!(
            killing("x", 7, SIGKILL, Scope::Group),
            "killing x (pid 7) process group with signal SIGKILL"
        );
        assert_eq!(
            killing("x", 7, 15, Scope::Process),
            "killing x (pid 7) with signal SIGTERM"
        );
        assert_eq!(
            killing("x", 7, 40, Scope::Process),
            "killing x (pid 7) with signal 40"
        );
    }

    #[test]
    fn the_lines_are_supervisors() {
        let pid = 7;
        let exit = Exit::Code(0);
        let ended = Ended {
            pid,
            exit,
            expected: true,
        };
        let killed = Exit::Signal {
            signal: 9,
            core: true,
        };
        let crashed = Ended {
            pid,
            exit: killed,
            expected: false,
        };
        check(
            Entered::Running { pid },
            Reason::StayedUp {
                startsecs: Duration::from_secs(1),
            },
            Severity::Info,
            "success: x entered RUNNING state, process has stayed up for > than 1 seconds (startsecs)",
        );
        check(
            Entered::Exited(ended),
            Reason::Ended {
                exit,
                expected: true,
            },
            Severity::Info,
            "exited: x (exit status 0; expected)",
        );
        check(
            Entered::Exited(crashed),
            Reason::Ended {
                exit: killed,
                expected: false,
            },
            Severity::Warn,
            "exited: x (terminated by SIGKILL (core dumped); not expected)",
        );
        check(
            Entered::Backoff { tries: 1 },
            Reason::Failed(Failure::ExitedTooQuickly {
                exit: Exit::Code(1),
            }),
            Severity::Warn,
            "exited: x (exit status 1; not expected)",
        );
        check(
            Entered::Backoff { tries: 1 },
            Reason::Failed(Failure::NotSpawned {
                why: "can't find command 'x'".into(),
            }),
            Severity::Info,
            "spawnerr: can't find command 'x'",
        );
        check(
            Entered::Stopped { ended: Some(ended) },
            Reason::Stopped { exit: Some(exit) },
            Severity::Info,
            "stopped: x (exit status 0)",
        );
        check(
            Entered::Fatal,
            Reason::GaveUp(GaveUp::Retries { tries: 4 }),
            Severity::Info,
            "gave up: x entered FATAL state, too many start retries too quickly",
        );
        check(
            Entered::Fatal,
            Reason::GaveUp(GaveUp::Window {
                count: 3,
                window: Duration::from_secs(60),
            }),
            Severity::Info,
            "gave up: x entered FATAL state, more than 3 restarts in 60s",
        );
    }
}
