//! From a request for output to the stream of its pieces: the one way in which the local service
//! and the link to the controller read logs.
//!
//! Nothing is read ahead: each piece is read from disk when the consumer takes it.

use futures_util::FutureExt as _;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use rsv_keeper::message::Channel;
use rsv_proto::time::{from_wire, to_wire};
use rsv_proto::wire::{self, Refusal, delta::Change, tail_response::Event};
use uuid::Uuid;

use crate::hub::{HubGone, HubHandle, Key, Resolved};
use crate::journal::Item;
use crate::logbook::{Cursor, Follow, LogBook, TailEnd, TailItem, TailStart};

/// The most programs in one request: each holds an open file.
const MAX_SOURCES: usize = 256;

/// When a source ends by itself.
enum Until {
    /// All that there was has been read.
    Read,
    /// The program is not configured any more.
    Forgotten,
    /// The program is at rest.
    Stopped(HubHandle),
}

/// Why a request for output is refused as a whole.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The request contradicts itself or asks for too much.
    #[error("{0}")]
    Request(String),
    /// The agent is at its end.
    #[error(transparent)]
    Gone(#[from] HubGone),
}

/// The pieces of output that a request asks for, of all its programs as they come. Ends after the
/// `End` of the last one; a pattern that names nothing gives an `End` with its refusal.
///
/// # Errors
///
/// [`TailError`].
pub async fn open(
    hub: &HubHandle,
    logbook: &LogBook,
    request: &wire::TailRequest,
) -> Result<BoxStream<'static, wire::TailResponse>, TailError> {
    let start = start(request)?;
    let channel = match request.channel() {
        wire::Channel::Unspecified | wire::Channel::Stdout => Channel::Stdout,
        wire::Channel::Stderr => Channel::Stderr,
        wire::Channel::MainLog => return Err(refused("the main log is of no program".into())),
    };
    let end = match (request.follow, request.until_stopped) {
        (false, _) => Until::Read,
        (true, false) => Until::Forgotten,
        (true, true) => Until::Stopped(hub.clone()),
    };
    let resolved = hub.resolve(&request.programs).await?;
    let sources = resolved.keys.len();
    if matches!(start, TailStart::From(_)) && sources > 1 {
        return Err(refused(format!(
            "a cursor is for one program, not for {sources}"
        )));
    }
    if sources > MAX_SOURCES {
        return Err(refused(format!(
            "{sources} programs at once are more than {MAX_SOURCES}"
        )));
    }
    Ok(merged(logbook, resolved, channel, start, &end))
}

fn merged(
    logbook: &LogBook,
    resolved: Resolved,
    channel: Channel,
    start: TailStart,
    end: &Until,
) -> BoxStream<'static, wire::TailResponse> {
    let mut sources = Vec::new();
    for key in &resolved.keys {
        sources.push(source(logbook, key, channel, start, end));
    }
    let mut unmatched = Vec::new();
    for pattern in resolved.unmatched {
        let end = ended("no such program", pattern.refusal());
        unmatched.push(response(pattern.pattern, end));
    }
    stream::iter(unmatched)
        .chain(stream::select_all(sources))
        .boxed()
}

fn start(request: &wire::TailRequest) -> Result<TailStart, TailError> {
    if let Some(cursor) = &request.from {
        let log_id = Uuid::parse_str(&cursor.log_id)
            .map_err(|_| refused(format!("{:?} is not the id of a log", cursor.log_id)))?;
        return Ok(TailStart::From(Cursor {
            log_id,
            offset: cursor.offset,
        }));
    }
    if let Some(since) = &request.since {
        let since = from_wire(since).ok_or_else(|| refused("`since` is no moment".to_owned()))?;
        return Ok(TailStart::Since(since));
    }
    Ok(match (request.lines, request.bytes) {
        (Some(u64::MAX), _) | (None, Some(u64::MAX)) => TailStart::All,
        (Some(lines), _) => TailStart::Lines(lines),
        (None, Some(bytes)) => TailStart::Bytes(bytes),
        (None, None) => TailStart::default(),
    })
}

fn source(
    logbook: &LogBook,
    key: &Key,
    channel: Channel,
    start: TailStart,
    end: &Until,
) -> BoxStream<'static, wire::TailResponse> {
    let (program, run) = (key.to_string(), key.as_run_key());
    let items = match end {
        Until::Read => logbook.tail(&run, channel, start, Follow::No).boxed(),
        Until::Forgotten => logbook.tail(&run, channel, start, Follow::Yes).boxed(),
        Until::Stopped(hub) => {
            let stopped = at_rest(hub.clone(), key.clone()).boxed();
            logbook.tail_until(&run, channel, start, stopped).boxed()
        }
    };
    items
        .map(move |item| response(program.clone(), event(item)))
        .boxed()
}

/// Waits until a process is down and nothing starts it by itself.
async fn at_rest(hub: HubHandle, key: Key) {
    let mut changes = hub.subscribe();
    loop {
        let Ok(status) = hub.status(&[key.as_run_key()]).await else {
            return;
        };
        if status.programs.iter().all(is_at_rest) {
            return;
        }
        loop {
            match changes.next().await {
                Item::Delta(delta) if !is_of(&delta, &key) => {}
                Item::Delta(_) => break,
                Item::Lagged => {
                    changes.resume_after(changes.newest_seq());
                    break;
                }
                Item::Ended => return,
            }
        }
    }
}

fn is_of(delta: &wire::Delta, key: &Key) -> bool {
    let (group, name) = match &delta.change {
        Some(Change::Upsert(now)) => (&now.group, &now.name),
        Some(Change::Remove(gone)) => (&gone.group, &gone.name),
        None => return false,
    };
    (group, name) == (&key.group, &key.name)
}

fn is_at_rest(process: &wire::ProcessStatus) -> bool {
    matches!(
        process.state(),
        wire::ProcessState::Stopped | wire::ProcessState::Exited | wire::ProcessState::Fatal
    )
}

fn event(item: TailItem) -> Event {
    use wire::tail_response::{Begin, Chunk, Gap};
    match item {
        TailItem::Begin {
            at,
            reaches_back,
            known_since,
        } => Event::Begin(Begin {
            at: Some(cursor(at)),
            reaches_back,
            known_since: known_since.map(to_wire),
        }),
        TailItem::Chunk { at, data, live } => Event::Chunk(Chunk {
            at: Some(cursor(at)),
            data,
            live,
        }),
        TailItem::Gap { at, bytes, reason } => Event::Gap(Gap {
            at: Some(cursor(at)),
            bytes,
            reason: reason.to_owned(),
        }),
        TailItem::End(end) => match end {
            TailEnd::Complete => ended("OK", Refusal::Unspecified),
            TailEnd::Forgotten => ended("no longer configured", Refusal::Unspecified),
            TailEnd::NoLog => ended("no log file", Refusal::NoFile),
            TailEnd::Unreadable { error } => ended(&error, Refusal::Other),
        },
    }
}

fn cursor(at: Cursor) -> wire::Cursor {
    wire::Cursor {
        log_id: at.log_id.to_string(),
        offset: at.offset,
    }
}

/// The end of a source, with a reason for people.
pub(crate) fn ended(reason: &str, refusal: Refusal) -> Event {
    Event::End(wire::tail_response::End {
        reason: reason.to_owned(),
        refusal: refusal.into(),
    })
}

/// A piece of one program's output; `host` is left to whoever knows it.
pub(crate) fn response(program: String, event: Event) -> wire::TailResponse {
    wire::TailResponse {
        host: String::new(),
        program,
        event: Some(event),
    }
}

fn refused(why: String) -> TailError {
    TailError::Request(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begins(request: &wire::TailRequest) -> TailStart {
        start(request).unwrap()
    }

    #[test]
    fn where_to_begin_is_bytes_unless_lines_or_a_place_are_given() {
        let request = wire::TailRequest::default();
        assert_eq!(begins(&request), TailStart::Bytes(1600));
        let bytes = wire::TailRequest {
            bytes: Some(5),
            ..request.clone()
        };
        assert_eq!(begins(&bytes), TailStart::Bytes(5));
        assert_eq!(
            begins(&wire::TailRequest {
                lines: Some(2),
                ..bytes.clone()
            }),
            TailStart::Lines(2)
        );
        let since = std::time::UNIX_EPOCH + std::time::Duration::from_secs(5);
        assert_eq!(
            begins(&wire::TailRequest {
                since: Some(to_wire(since)),
                ..bytes
            }),
            TailStart::Since(since)
        );
        let all = wire::TailRequest {
            bytes: Some(u64::MAX),
            ..request.clone()
        };
        assert_eq!(begins(&all), TailStart::All);
        let id = Uuid::from_u128(7);
        let from = Some(wire::Cursor {
            log_id: id.to_string(),
            offset: 9,
        });
        let place = Cursor {
            log_id: id,
            offset: 9,
        };
        assert_eq!(
            begins(&wire::TailRequest { from, ..request }),
            TailStart::From(place)
        );
    }

    #[test]
    fn a_place_that_cannot_be_one_is_refused() {
        let from = Some(wire::Cursor {
            log_id: "x\u{1b}".into(),
            offset: 0,
        });
        let error = start(&wire::TailRequest {
            from,
            ..Default::default()
        })
        .unwrap_err();
        assert_eq!(error.to_string(), "\"x\\u{1b}\" is not the id of a log");
    }
}
