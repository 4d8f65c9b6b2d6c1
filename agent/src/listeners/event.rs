//! Events as listeners get them: a kind, and a payload in Supervisor's words.

use std::borrow::Cow;

use rsv_config::EventKind;
use rsv_keeper::message::Channel;
use rsv_supervise::{Change, Entered};

use crate::capture::CaptureEvent;
use crate::hub::Key;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// The most special kind that it is of.
    pub kind: EventKind,
    /// What it says.
    pub payload: Vec<u8>,
}

/// The periods of ticks, in seconds, and their kinds.
pub(crate) const TICKS: [(u64, EventKind); 3] = [
    (5, EventKind::TICK_5),
    (60, EventKind::TICK_60),
    (3600, EventKind::TICK_3600),
];

impl Event {
    fn new(kind: EventKind, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            kind,
            payload: payload.into(),
        }
    }

    /// A process has changed its state.
    pub(crate) fn of_change(key: &Key, change: &Change) -> Self {
        let (kind, rest) = match &change.to {
            Entered::Stopped { ended } => {
                let pid = ended.map_or(0, |ended| ended.pid);
                (EventKind::PROCESS_STATE_STOPPED, format!(" pid:{pid}"))
            }
            Entered::Starting { tries } => {
                (EventKind::PROCESS_STATE_STARTING, format!(" tries:{tries}"))
            }
            Entered::Running { pid } => (EventKind::PROCESS_STATE_RUNNING, format!(" pid:{pid}")),
            Entered::Backoff { tries } => {
                (EventKind::PROCESS_STATE_BACKOFF, format!(" tries:{tries}"))
            }
            Entered::Stopping { pid } => {
                let pid = pid.unwrap_or(0);
                (EventKind::PROCESS_STATE_STOPPING, format!(" pid:{pid}"))
            }
            Entered::Exited(ended) => {
                let expected = u8::from(ended.expected);
                let rest = format!(" expected:{expected} pid:{}", ended.pid);
                (EventKind::PROCESS_STATE_EXITED, rest)
            }
            Entered::Fatal => (EventKind::PROCESS_STATE_FATAL, String::new()),
            Entered::Unknown { .. } => (EventKind::PROCESS_STATE_UNKNOWN, String::new()),
        };
        let Key { group, name } = key;
        let from = change.from;
        Self::new(
            kind,
            format!("processname:{name} groupname:{group} from_state:{from}{rest}"),
        )
    }

    /// A program has written something.
    pub(crate) fn of_output(event: &CaptureEvent) -> Option<Self> {
        let (CaptureEvent::Log(written) | CaptureEvent::Communication(written)) = event else {
            return None;
        };
        let Key { group, name } = Key::from_run_key(&written.run.key)?;
        let pid = written.pid.unwrap_or(0);
        let who = format!("processname:{name} groupname:{group} pid:{pid}");
        let (kind, head) = match (event, written.channel) {
            (CaptureEvent::Log(_), Channel::Stdout) => (
                EventKind::PROCESS_LOG_STDOUT,
                format!("{who} channel:stdout\n"),
            ),
            (CaptureEvent::Log(_), Channel::Stderr) => (
                EventKind::PROCESS_LOG_STDERR,
                format!("{who} channel:stderr\n"),
            ),
            (CaptureEvent::Communication(_), Channel::Stdout) => {
                (EventKind::PROCESS_COMMUNICATION_STDOUT, format!("{who}\n"))
            }
            (CaptureEvent::Communication(_), Channel::Stderr) => {
                (EventKind::PROCESS_COMMUNICATION_STDERR, format!("{who}\n"))
            }
            (CaptureEvent::Protocol(_) | CaptureEvent::Taken(_), _) | (_, Channel::Stdin) => {
                return None;
            }
        };
        let mut payload = head.into_bytes();
        payload.extend_from_slice(&text(&written.data));
        Some(Self::new(kind, payload))
    }

    /// A client has something to say.
    pub(crate) fn remote(kind: &str, data: &[u8]) -> Self {
        let mut payload = format!("type:{kind}\n").into_bytes();
        payload.extend_from_slice(data);
        Self::new(EventKind::REMOTE_COMMUNICATION, payload)
    }

    /// The agent is up.
    pub(crate) fn running() -> Self {
        Self::new(EventKind::SUPERVISOR_STATE_CHANGE_RUNNING, "")
    }

    /// The agent is about to end.
    pub(crate) fn stopping() -> Self {
        Self::new(EventKind::SUPERVISOR_STATE_CHANGE_STOPPING, "")
    }

    /// A period has begun, so many seconds after the epoch.
    pub(crate) fn tick(kind: EventKind, when: u64) -> Self {
        Self::new(kind, format!("when:{when}"))
    }

    /// A group is supervised from now on.
    pub(crate) fn group_added(group: &str) -> Self {
        Self::new(
            EventKind::PROCESS_GROUP_ADDED,
            format!("groupname:{group}\n"),
        )
    }

    /// A group is not supervised any more.
    pub(crate) fn group_removed(group: &str) -> Self {
        let payload = format!("groupname:{group}\n");
        Self::new(EventKind::PROCESS_GROUP_REMOVED, payload)
    }
}

/// Output as listeners can read it. Bytes that are no text are shown as Supervisor shows them, in
/// Python's notation.
fn text(data: &[u8]) -> Cow<'_, [u8]> {
    if std::str::from_utf8(data).is_ok() {
        return data.into();
    }
    let has_single_quotes_only = data.contains(&b'\'') && !data.contains(&b'"');
    let quote = if has_single_quotes_only { b'"' } else { b'\'' };
    let mut shown = b"Undecodable: b".to_vec();
    shown.push(quote);
    for byte in data {
        match byte {
            b'\n' | b'\r' | b'\t' | b'\\' => shown.extend(byte.escape_ascii()),
            byte if *byte == quote => shown.extend([b'\\', quote]),
            b' '..=b'~' => shown.push(*byte),
            _ => shown.extend(format!("\\x{byte:02x}").into_bytes()),
        }
    }
    shown.push(quote);
    shown.into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rsv_keeper::message::Run;
    use rsv_supervise::{Attempt, Ended, Exit, Reason, State, Tick};

    use super::*;
    use crate::capture::Written;

    fn key() -> Key {
        Key {
            group: "g".into(),
            name: "p".into(),
        }
    }

    #[test]
    fn each_change_has_supervisors_name_and_words() {
        let ended = |expected| Ended {
            pid: 7,
            exit: Exit::Code(0),
            expected,
        };
        for (from, to, name, words) in [
            (
                State::Stopped,
                Entered::Starting { tries: 0 },
                "STARTING",
                "STOPPED tries:0",
            ),
            (
                State::Starting,
                Entered::Running { pid: 7 },
                "RUNNING",
                "STARTING pid:7",
            ),
            (
                State::Starting,
                Entered::Backoff { tries: 2 },
                "BACKOFF",
                "STARTING tries:2",
            ),
            (
                State::Running,
                Entered::Stopping { pid: Some(7) },
                "STOPPING",
                "RUNNING pid:7",
            ),
            (
                State::Stopping,
                Entered::Stopped {
                    ended: Some(ended(true)),
                },
                "STOPPED",
                "STOPPING pid:7",
            ),
            (
                State::Backoff,
                Entered::Stopped { ended: None },
                "STOPPED",
                "BACKOFF pid:0",
            ),
            (
                State::Running,
                Entered::Exited(ended(true)),
                "EXITED",
                "RUNNING expected:1 pid:7",
            ),
            (
                State::Running,
                Entered::Exited(ended(false)),
                "EXITED",
                "RUNNING expected:0 pid:7",
            ),
            (State::Backoff, Entered::Fatal, "FATAL", "BACKOFF"),
            (
                State::Stopping,
                Entered::Unknown { pid: 7 },
                "UNKNOWN",
                "STOPPING",
            ),
        ] {
            let change = Change {
                attempt: Attempt::new(1),
                from,
                to,
                at: Tick::new(Duration::ZERO),
                reason: Reason::Autostart,
            };
            let event = Event::of_change(&key(), &change);
            assert_eq!(event.kind.name(), format!("PROCESS_STATE_{name}"));
            let payload = format!("processname:p groupname:g from_state:{words}");
            assert_eq!(String::from_utf8(event.payload).unwrap(), payload);
        }
    }

    #[test]
    fn output_is_passed_on_as_it_is() {
        let written = |channel| Written {
            run: Run {
                key: key().as_run_key(),
                attempt: 1,
            },
            pid: Some(9),
            channel,
            data: "aé\n".into(),
            dropped: 0,
        };
        for (event, name, head) in [
            (
                CaptureEvent::Log(written(Channel::Stderr)),
                "PROCESS_LOG_STDERR",
                "processname:p groupname:g pid:9 channel:stderr\n",
            ),
            (
                CaptureEvent::Communication(written(Channel::Stdout)),
                "PROCESS_COMMUNICATION_STDOUT",
                "processname:p groupname:g pid:9\n",
            ),
        ] {
            let event = Event::of_output(&event).unwrap();
            assert_eq!(event.kind.name(), name);
            assert_eq!(event.payload, format!("{head}aé\n").into_bytes());
        }
        let protocol = CaptureEvent::Protocol(written(Channel::Stdout));
        assert_eq!(Event::of_output(&protocol), None);
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_in_pythons_notation() {
        for (data, shown) in [
            (&b"\xff"[..], r"b'\xff'"),
            (b"a'\xff\n", r#"b"a'\xff\n""#),
            (b"'\"\\\t\r\x00\xff", r#"b'\'"\\\t\r\x00\xff'"#),
        ] {
            let expected = format!("Undecodable: {shown}");
            assert_eq!(String::from_utf8_lossy(&text(data)), expected);
        }
    }
}
