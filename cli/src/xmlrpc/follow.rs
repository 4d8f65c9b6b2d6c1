//! A log that is followed by the server's stream of it.
//!
//! A Supervisor cuts the connection when somebody truncates the log. The stream is opened anew then: it
//! begins with the last bytes of the log, of which those that have been told are left out. In doubt they are
//! told again.

use std::time::Duration;

use hyper::body::{Bytes, Incoming};
use tokio::time::sleep;

use super::{
    Endpoint,
    http::{self, Trouble},
};

/// The last bytes of a log that a stream begins with.
const WINDOW: usize = 1024;

/// Before a stream is opened anew: as long as a Supervisor waits between two looks at a log.
const PAUSE: Duration = Duration::from_millis(100);

/// Some bytes of the log.
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    /// They came in while the log was followed.
    pub(super) live: bool,
    /// The log was truncated before them.
    pub(super) truncated: bool,
}

/// The stream.
pub(super) struct Following {
    endpoint: Endpoint,
    path: String,
    body: Incoming,
    told: Told,
    /// The body has said nothing so far.
    is_new: bool,
}

/// What has been told of a log.
#[derive(Debug, Default)]
struct Told {
    bytes: u64,
    /// The last of them, as many as a stream begins with.
    end: Vec<u8>,
}

impl Following {
    pub(super) async fn open(endpoint: &Endpoint, path: &str) -> Result<Self, Trouble> {
        Ok(Self {
            body: http::get(endpoint, path).await?,
            endpoint: endpoint.clone(),
            path: path.to_owned(),
            told: Told::default(),
            is_new: true,
        })
    }

    /// What comes next; none when the server ends the log in order. It is safe to give this up only with
    /// the whole stream.
    pub(super) async fn next(&mut self) -> Result<Option<Piece>, Trouble> {
        loop {
            match http::next(&mut self.body).await {
                Ok(None) => return Ok(None),
                Ok(Some(bytes)) => {
                    if let Some(piece) = self.piece(&bytes) {
                        return Ok(Some(piece));
                    }
                }
                // One that is cut again before it has said anything is no truncated log.
                Err(Trouble::Broken(error)) if !self.is_new => {
                    sleep(PAUSE).await;
                    match http::get(&self.endpoint, &self.path).await {
                        Ok(body) => self.body = body,
                        Err(_gone) => return Err(Trouble::Broken(error)),
                    }
                    self.is_new = true;
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }

    fn piece(&mut self, bytes: &Bytes) -> Option<Piece> {
        let (is_first, live) = (std::mem::take(&mut self.is_new), self.told.bytes > 0);
        let known = match is_first && live {
            true => self.told.of(bytes),
            false => 0,
        };
        let new = bytes.slice(known..);
        self.told.note(&new);
        (!new.is_empty()).then_some(Piece {
            bytes: new,
            live,
            truncated: is_first && live && known == 0,
        })
    }
}

impl Told {
    fn note(&mut self, bytes: &[u8]) {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        self.end.extend_from_slice(bytes);
        let rest = self.end.len().saturating_sub(WINDOW);
        self.end.drain(..rest);
    }

    /// How many of the bytes that a stream begins with have been told.
    fn of(&self, begin: &[u8]) -> usize {
        if begin.len() < WINDOW {
            // That is the whole log: the same one if it begins with all that was told.
            let is_same = self.bytes == self.end.len() as u64 && begin.starts_with(&self.end);
            return if is_same { self.end.len() } else { 0 };
        }
        // A short piece that is alike is another one.
        let alike = |len: &usize| self.end.ends_with(&begin[..*len]);
        let longest = self.end.len().min(begin.len());
        (WINDOW / 2..=longest).rev().find(alike).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(numbers: std::ops::Range<u32>) -> Vec<u8> {
        let lines = numbers.map(|number| format!("line {number:04}\n"));
        lines.collect::<String>().into_bytes()
    }

    fn window(log: &[u8]) -> &[u8] {
        &log[log.len().saturating_sub(WINDOW)..]
    }

    fn check(told: &[u8], log: &[u8], new: &[u8]) {
        let mut known = Told::default();
        for piece in told.chunks(100) {
            known.note(piece);
        }
        let begin = window(log);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(text(&begin[known.of(begin)..]), text(new));
    }

    #[test]
    fn what_has_been_told_of_the_same_log_is_left_out() {
        check(&lines(0..5), &lines(0..7), &lines(5..7));
        check(&lines(0..5), &lines(0..5), b"");
        check(&lines(0..500), &lines(0..520), &lines(500..520));
        check(&lines(0..500), &lines(0..500), b"");
    }

    #[test]
    fn all_of_a_truncated_log_is_new() {
        check(&lines(0..500), b"", b"");
        check(&lines(0..500), &lines(500..502), &lines(500..502));
        check(&lines(0..3), &lines(0..2), &lines(0..2));
        check(&lines(0..500), &lines(500..900), window(&lines(500..900)));
        check(b"tick\ntick\ntick\n", b"tick\n", b"tick\n");
    }
}
