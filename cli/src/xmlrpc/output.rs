//! Output: the end of a log by a call, and what comes after it by the server's stream of the log.

use rsv_proto::{
    process::display_name,
    select::ProgramPattern,
    wire::{
        Channel, Refusal, TailMainLogRequest, TailMainLogResponse, TailRequest, TailResponse,
        tail_response::{Chunk, End, Event},
    },
    xmlrpc::Value,
};
use tokio::sync::mpsc;

use super::{Answer, Remote, Unanswered, WAITING, answers, code, follow::Following, http::Trouble};
use crate::{client::Events, error::Failure};

/// The bytes that a tail begins with when nothing is said.
const BYTES: u64 = 1600;

/// Where a number of lines is looked for at first: so many bytes from the end.
const LOOK_FOR_LINES: u64 = 64 << 10;

type Pieces = mpsc::Sender<Result<TailResponse, Failure>>;

/// How a source ended.
enum Ended {
    Well,
    /// It cannot be read.
    Refused(Refusal),
}

impl Remote {
    /// Refuses output that XML-RPC has no words for.
    pub(crate) fn check_tail(request: &TailRequest) -> Result<(), Failure> {
        let TailRequest {
            follow,
            lines,
            since,
            ..
        } = request;
        check(*follow, lines.is_some(), since.is_some())
    }

    /// As `check_tail`.
    pub(crate) fn check_main_log(request: &TailMainLogRequest) -> Result<(), Failure> {
        let TailMainLogRequest {
            follow,
            lines,
            since,
            ..
        } = request;
        check(*follow, lines.is_some(), since.is_some())
    }

    /// Begins to read output, of which `check_tail` has nothing to say.
    pub(crate) async fn tail(&self, request: TailRequest) -> Result<Events<TailResponse>, Failure> {
        let mut programs = Vec::new();
        for pattern in &request.programs {
            match ProgramPattern::parse(pattern) {
                ProgramPattern::Exact { group, name } => programs.push((group, name)),
                several => programs.extend(self.matching(&several).await?),
            }
        }
        let programs = programs
            .iter()
            .map(|(group, name)| display_name(group, name));
        let programs: Vec<String> = programs.collect();
        let (sender, events) = mpsc::channel(WAITING);
        let remote = self.clone();
        tokio::spawn(async move {
            for program in programs {
                let reading = remote
                    .clone()
                    .read(program, request.clone(), sender.clone());
                match request.follow {
                    true => drop(tokio::spawn(reading)),
                    false => reading.await,
                }
            }
        });
        Ok(Events::queued(events))
    }

    /// Begins to read the server's own log, of which `check_main_log` has nothing to say; none when it has none.
    pub(crate) async fn main_log(
        &self,
        request: TailMainLogRequest,
    ) -> Result<Option<Events<TailMainLogResponse>>, Failure> {
        let (sender, events) = mpsc::channel(WAITING);
        if !request.follow {
            let Some(text) = self.end_of_main_log(&request).await? else {
                return Ok(None);
            };
            let data = text.into_bytes();
            let piece = TailMainLogResponse {
                data,
                truncated: false,
            };
            // There is room, and somebody there.
            drop(sender.send(Ok(piece)).await);
            return Ok(Some(Events::queued(events)));
        }
        let mut log = match Following::open(&self.endpoint, "/mainlogtail").await {
            Ok(log) => log,
            Err(Trouble::Status(::http::StatusCode::NOT_FOUND)) => return Ok(None),
            Err(trouble) => return Err(self.failure(trouble)),
        };
        let remote = self.clone();
        tokio::spawn(async move {
            loop {
                let piece = match log.next().await {
                    Ok(Some(piece)) => Ok(TailMainLogResponse {
                        data: piece.bytes.to_vec(),
                        truncated: piece.truncated,
                    }),
                    Ok(None) => return,
                    Err(trouble) => Err(remote.failure(trouble)),
                };
                let is_over = piece.is_err();
                if sender.send(piece).await.is_err() || is_over {
                    return;
                }
            }
        });
        Ok(Some(Events::queued(events)))
    }

    /// The last bytes or lines of the server's own log; none when it has none.
    async fn end_of_main_log(
        &self,
        request: &TailMainLogRequest,
    ) -> Result<Option<String>, Failure> {
        let mut bytes = match request.lines {
            None => request.bytes.unwrap_or(BYTES),
            Some(_) => LOOK_FOR_LINES,
        };
        loop {
            let mut text = match self.call("readLog", last(bytes)).await {
                Ok(text) => answers::text(&text),
                Err(Unanswered::Fault(fault)) if fault.code == code::NO_FILE => return Ok(None),
                Err(unanswered) => return Err(unanswered.into()),
            };
            let Some(lines) = request.lines else {
                return Ok(Some(text));
            };
            match begin_of_lines(&text, lines) {
                None if text.len() as u64 >= bytes => bytes = bytes.saturating_mul(4),
                begin => {
                    text.drain(..begin.unwrap_or(0));
                    return Ok(Some(text));
                }
            }
        }
    }

    /// Reads one log to its end, or for as long as it is followed.
    async fn read(self, program: String, request: TailRequest, pieces: Pieces) {
        let read = match request.follow {
            true => self.follow(&program, request.channel(), &pieces).await,
            false => self.end_of(&program, &request, &pieces).await,
        };
        let refusal = match read {
            Ok(Ended::Well) => Refusal::Unspecified,
            Ok(Ended::Refused(refusal)) => refusal,
            Err(failure) => {
                // Nobody may be there any more.
                return drop(pieces.send(Err(failure.into())).await);
            }
        };
        let reason = match refusal {
            Refusal::Unspecified => "OK".to_owned(),
            _ => String::new(),
        };
        let refusal = refusal.into();
        let end = Event::End(End { reason, refusal });
        // As above.
        drop(pieces.send(Ok(response(&program, end))).await);
    }

    async fn end_of(&self, program: &str, request: &TailRequest, pieces: &Pieces) -> Answer<Ended> {
        let text = match request.lines {
            None => self.last_bytes(program, request.channel(), request.bytes.unwrap_or(BYTES)),
            Some(_) => self.last_bytes(program, request.channel(), LOOK_FOR_LINES),
        };
        let mut text = match text.await? {
            Ok(text) => text,
            Err(refusal) => return Ok(Ended::Refused(refusal)),
        };
        if let Some(lines) = request.lines {
            let mut looked = LOOK_FOR_LINES;
            while begin_of_lines(&text, lines).is_none() && text.len() as u64 >= looked {
                looked = looked.saturating_mul(4);
                text = match self.last_bytes(program, request.channel(), looked).await? {
                    Ok(text) => text,
                    Err(refusal) => return Ok(Ended::Refused(refusal)),
                };
            }
            let begin = begin_of_lines(&text, lines).unwrap_or(0);
            text.drain(..begin);
        }
        let chunk = chunk(text.into_bytes());
        // Nobody may be there any more.
        drop(pieces.send(Ok(response(program, chunk))).await);
        Ok(Ended::Well)
    }

    /// The last bytes of a log, as text.
    async fn last_bytes(
        &self,
        program: &str,
        channel: Channel,
        bytes: u64,
    ) -> Answer<Result<String, Refusal>> {
        let method = match channel {
            Channel::Stderr => "readProcessStderrLog",
            Channel::Stdout | Channel::Unspecified | Channel::MainLog => "readProcessStdoutLog",
        };
        let mut params = vec![program.into()];
        params.extend(last(bytes));
        match self.call(method, params).await {
            Ok(text) => Ok(Ok(answers::text(&text))),
            Err(Unanswered::Fault(fault)) => match fault.code {
                code::NO_FILE => Ok(Err(Refusal::NoFile)),
                code::BAD_NAME => Ok(Err(Refusal::NoSuchProcess)),
                code::FAILED => Ok(Err(Refusal::Other)),
                _ => Err(Unanswered::Fault(fault)),
            },
            Err(failure) => Err(failure),
        }
    }

    async fn follow(&self, program: &str, channel: Channel, pieces: &Pieces) -> Answer<Ended> {
        let channel = match channel {
            Channel::Stderr => "stderr",
            Channel::Stdout | Channel::Unspecified | Channel::MainLog => "stdout",
        };
        let path = format!("/logtail/{}/{channel}", in_path(program));
        let mut log = match Following::open(&self.endpoint, &path).await {
            Ok(log) => log,
            Err(Trouble::Status(::http::StatusCode::NOT_FOUND | ::http::StatusCode::GONE)) => {
                return Ok(Ended::Refused(Refusal::NoFile));
            }
            Err(trouble) => return Err(Unanswered::Failure(self.failure(trouble))),
        };
        let failure = |trouble| Unanswered::Failure(self.failure(trouble));
        while let Some(piece) = log.next().await.map_err(failure)? {
            let chunk = Event::Chunk(Chunk {
                data: piece.bytes.to_vec(),
                live: piece.live,
                ..Chunk::default()
            });
            let chunk = response(program, chunk);
            if pieces.send(Ok(chunk)).await.is_err() {
                break;
            }
        }
        Ok(Ended::Well)
    }
}

/// Refuses what XML-RPC has no words for.
fn check(follow: bool, has_lines: bool, has_since: bool) -> Result<(), Failure> {
    if has_since {
        let text = "over XML-RPC nothing is known of when output was written";
        let hint = "leave out --since; an agent's own socket knows it, for its user and root";
        return Err(Failure::usage(text).hint(hint));
    }
    if follow && has_lines {
        let text = "over XML-RPC what is followed begins with its last 1024 bytes";
        return Err(Failure::usage(text).hint("leave out --lines, or -f"));
    }
    Ok(())
}

/// Offset and length of the last bytes of a log; of all there are for the largest number.
fn last(bytes: u64) -> Vec<Value> {
    let offset = i32::try_from(bytes).map_or(0, |bytes| -bytes);
    vec![offset.into(), 0.into()]
}

/// Where the last lines of a text begin; absent when it has not so many, of which the first may have
/// begun before it.
fn begin_of_lines(text: &str, lines: u64) -> Option<usize> {
    let lines = usize::try_from(lines).unwrap_or(usize::MAX);
    if lines == 0 {
        return Some(text.len());
    }
    let ended = text.strip_suffix('\n').unwrap_or(text);
    let newline = ended.rmatch_indices('\n').nth(lines - 1);
    newline.map(|(at, _)| at + 1)
}

/// A name as a part of a path.
fn in_path(name: &str) -> String {
    let mut path = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                path.push(byte.into());
            }
            other => path.push_str(&format!("%{other:02X}")),
        }
    }
    path
}

/// Bytes whose place nobody knows.
fn chunk(data: Vec<u8>) -> Event {
    Event::Chunk(Chunk {
        data,
        ..Chunk::default()
    })
}

fn response(program: &str, event: Event) -> TailResponse {
    TailResponse {
        host: String::new(),
        program: program.to_owned(),
        event: Some(event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_the_end() {
        for (text, lines, rest) in [
            ("a\nb\nc\n", 1, Some("c\n")),
            ("a\nb\nc\n", 2, Some("b\nc\n")),
            ("a\nb\nc", 2, Some("b\nc")),
            ("a\nb\n", 0, Some("")),
            ("a\nb\n", 2, None),
            ("", 1, None),
        ] {
            let begin = begin_of_lines(text, lines);
            assert_eq!(begin.map(|at| &text[at..]), rest, "{text:?} {lines}");
        }
    }

    #[test]
    fn the_largest_number_is_all_there_is() {
        assert_eq!(last(1600), [Value::Int(-1600), Value::Int(0)]);
        assert_eq!(last(u64::MAX), [Value::Int(0), Value::Int(0)]);
    }

    #[test]
    fn a_name_stays_one_part_of_a_path() {
        assert_eq!(in_path("g:p_1"), "g:p_1");
        assert_eq!(in_path("a b/c?"), "a%20b%2Fc%3F");
    }
}
