//! How a process is shown: its name, the word for its state, and Supervisor's description.

use std::time::SystemTime;

use crate::{
    time::{age, from_wire},
    wire::{ExitStatus, Hold, ProcessState, ProcessStatus, exit_status::Kind},
};

/// The name people see and type: `name`, or `group:name` when they differ.
pub fn display_name(group: &str, name: &str) -> String {
    if group == name {
        name.to_owned()
    } else {
        format!("{group}:{name}")
    }
}

/// The state's word in Supervisor's spelling.
pub fn state_word(state: ProcessState) -> &'static str {
    match state {
        ProcessState::Stopped => "STOPPED",
        ProcessState::Starting => "STARTING",
        ProcessState::Running => "RUNNING",
        ProcessState::Backoff => "BACKOFF",
        ProcessState::Stopping => "STOPPING",
        ProcessState::Exited => "EXITED",
        ProcessState::Fatal => "FATAL",
        ProcessState::Unknown | ProcessState::Unspecified => "UNKNOWN",
    }
}

/// Why something is wanted to be down, in a clause for people.
pub fn hold_words(hold: &Hold) -> String {
    let mut words = match hold.whole_host {
        true => "host drained".to_owned(),
        false => "disabled".to_owned(),
    };
    if !hold.actor.is_empty() {
        words.push_str(" by ");
        words.push_str(&hold.actor);
    }
    if !hold.reason.is_empty() {
        words.push_str(": ");
        words.push_str(&hold.reason);
    }
    words
}

/// What stands behind the state in a status line, as Supervisor words it. Times are shown in the
/// local time zone.
pub fn description(status: &ProcessStatus, now: SystemTime) -> String {
    match status.state() {
        ProcessState::Running => running_description(status, now),
        ProcessState::Fatal | ProcessState::Backoff if status.spawn_error.is_empty() => {
            let name = display_name(&status.group, &status.name);
            format!("unknown error (try \"tail {name}\")")
        }
        ProcessState::Fatal | ProcessState::Backoff => status.spawn_error.clone(),
        ProcessState::Stopped | ProcessState::Exited => ended_description(status),
        ProcessState::Starting
        | ProcessState::Stopping
        | ProcessState::Unknown
        | ProcessState::Unspecified => String::new(),
    }
}

/// How a process ended, in words: `exit status 1`, `terminated by SIGKILL`.
pub fn exit_words(exit: &ExitStatus) -> String {
    match exit.kind {
        Some(Kind::Code(code)) => format!("exit status {code}"),
        Some(Kind::Signal(signal)) => format!("terminated by {}", signal_name(signal)),
        None => "exit status unknown".to_owned(),
    }
}

/// A signal's name as people write it, such as `SIGKILL`; `signal 40` for one without a name.
pub fn signal_name(signal: i32) -> String {
    let name = usize::try_from(signal)
        .ok()
        .and_then(|n| SIGNALS.get(n.wrapping_sub(1)));
    name.map_or_else(|| format!("signal {signal}"), |name| format!("SIG{name}"))
}

/// Linux's names of signals, beginning with number 1.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

fn running_description(status: &ProcessStatus, now: SystemTime) -> String {
    let started = status.started_at.as_ref().and_then(from_wire);
    let uptime = started.map_or(0, |at| age(at, now).as_secs());
    format!(
        "pid {}, uptime {}",
        status.pid.unwrap_or(0),
        uptime_words(uptime)
    )
}

/// Seconds as Python prints a timedelta: `1 day, 2:03:04`.
pub fn uptime_words(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    match days {
        0 => clock,
        1 => format!("1 day, {clock}"),
        _ => format!("{days} days, {clock}"),
    }
}

fn ended_description(status: &ProcessStatus) -> String {
    if status.started_at.is_none() {
        return "Not started".to_owned();
    }
    let ended = status
        .stopped_at
        .or(status.changed_at)
        .as_ref()
        .and_then(from_wire);
    let Some(ended) = ended.and_then(|at| jiff::Timestamp::try_from(at).ok()) else {
        return String::new();
    };
    ended
        .to_zoned(crate::time::local_zone())
        .strftime("%b %d %I:%M %p")
        .to_string()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::time::to_wire;

    #[test]
    fn a_running_process_shows_pid_and_uptime() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let status = ProcessStatus {
            state: ProcessState::Running.into(),
            pid: Some(42),
            started_at: Some(to_wire(now - Duration::from_secs(93_784))),
            ..Default::default()
        };
        assert_eq!(description(&status, now), "pid 42, uptime 1 day, 2:03:04");
        assert_eq!(uptime_words(2 * 86_400 + 1), "2 days, 0:00:01");
    }

    #[test]
    fn signals_have_the_names_people_know() {
        assert_eq!(signal_name(9), "SIGKILL");
        assert_eq!(signal_name(15), "SIGTERM");
        assert_eq!(signal_name(0), "signal 0");
        assert_eq!(signal_name(40), "signal 40");
    }

    #[test]
    fn a_process_that_never_ran_says_so() {
        let status = ProcessStatus {
            state: ProcessState::Stopped.into(),
            ..Default::default()
        };
        assert_eq!(description(&status, UNIX_EPOCH), "Not started");
    }

    #[test]
    fn a_failure_without_words_points_to_the_log() {
        let status = ProcessStatus {
            group: "g".into(),
            name: "p".into(),
            state: ProcessState::Fatal.into(),
            ..Default::default()
        };
        assert_eq!(
            description(&status, UNIX_EPOCH),
            "unknown error (try \"tail g:p\")"
        );
    }
}
