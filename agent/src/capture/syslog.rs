//! Lines for the system's log: one datagram each, as syslog(3) sends them, and never a wait.
//!
//! A line that the system's log does not take is dropped and counted: it is a log of its own with its own
//! bounds, and no program is held up for it.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Facility "user", severity "info": the defaults of syslog(3).
const PRIORITY: u8 = 8 + 6;

/// The longest line. A longer one is sent in pieces, because a datagram has a limit, and most logs
/// keep no more of one.
const LINE: usize = 8 * 1024;

/// How long a log that is not there is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Where the lines of a stream go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogTarget {
    /// The name in front of each line.
    pub name: String,
    /// The socket on which the system's log listens.
    pub socket: PathBuf,
}

/// The socket of the system's log.
pub const SYSLOG_SOCKET: &str = "/dev/log";

/// The connection to one log. Shared by all streams that go there.
#[derive(Debug)]
pub(super) struct Syslog {
    path: PathBuf,
    socket: Option<UnixDatagram>,
    retry_at: Option<Instant>,
    pid: u32,
    stamp: (i64, String),
}

/// Puts the lines of one stream together.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
}

impl Syslog {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            socket: None,
            retry_at: None,
            pid: std::process::id(),
            stamp: (i64::MIN, String::new()),
        }
    }

    /// Sends one line.
    pub(super) fn send(&mut self, name: &str, line: &[u8], now: Instant) -> io::Result<()> {
        self.renew_stamp();
        let mut packet = format!(
            "<{PRIORITY}>{} rsv-agent[{}]: {name} ",
            self.stamp.1, self.pid
        )
        .into_bytes();
        packet.extend_from_slice(line);
        let socket = self.connected(now)?;
        let sent = socket.send(&packet);
        if let Err(error) = &sent
            && error.kind() != io::ErrorKind::WouldBlock
        {
            // Whoever listened has gone. The next one has another socket under the same name.
            self.socket = None;
            let again = self.connected(now)?.send(&packet);
            if again.is_err() {
                self.give_up(now);
            }
            return again.map(drop);
        }
        sent.map(drop)
    }

    fn connected(&mut self, now: Instant) -> io::Result<&UnixDatagram> {
        if self.socket.is_none() {
            if self.retry_at.is_some_and(|at| now < at) {
                return Err(io::ErrorKind::NotConnected.into());
            }
            match self.connect() {
                Ok(socket) => self.socket = Some(socket),
                Err(error) => {
                    self.give_up(now);
                    return Err(error);
                }
            }
        }
        self.socket
            .as_ref()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn connect(&self) -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(&self.path)?;
        Ok(socket)
    }

    fn give_up(&mut self, now: Instant) {
        self.socket = None;
        self.retry_at = Some(now + PAUSE);
    }

    /// The time of day as RFC 3164 has it, put into words once a second.
    fn renew_stamp(&mut self) {
        let now = jiff::Timestamp::now();
        if self.stamp.0 != now.as_second() {
            let zoned = now.to_zoned(rsv_proto::time::local_zone());
            self.stamp = (
                now.as_second(),
                zoned.strftime("%b %e %H:%M:%S").to_string(),
            );
        }
    }
}

impl Lines {
    /// Takes text in and gives out the lines that it completes, without their ends.
    pub(super) fn take(&mut self, text: &[u8], mut give: impl FnMut(&[u8])) {
        for piece in text.split_inclusive(|byte| *byte == b'\n') {
            let (line, is_ended) = match piece.strip_suffix(b"\n") {
                Some(line) => (line, true),
                None => (piece, false),
            };
            let mut left = line;
            while self.begun.len() + left.len() > LINE {
                let (fits, rest) = left.split_at(LINE - self.begun.len());
                self.begun.extend_from_slice(fits);
                left = rest;
                give(&self.begun);
                self.begun.clear();
            }
            if is_ended && self.begun.is_empty() {
                give(left);
                continue;
            }
            self.begun.extend_from_slice(left);
            if is_ended {
                give(&self.begun);
                self.begun.clear();
            }
        }
    }

    /// No more comes: a last line without its end is one.
    pub(super) fn finish(&mut self) -> Option<Vec<u8>> {
        let begun = std::mem::take(&mut self.begun);
        (!begun.is_empty()).then_some(begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut lines, mut given) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.take(piece, |line| given.push(line.to_vec()));
        }
        given.extend(lines.finish());
        given
    }

    #[test]
    fn lines_are_the_same_however_they_come() {
        let text = b"one\n\nthree\r\nlast";
        let expected: Vec<Vec<u8>> = vec![
            b"one".to_vec(),
            b"".to_vec(),
            b"three\r".to_vec(),
            b"last".to_vec(),
        ];
        for at in 0..=text.len() {
            assert_eq!(
                lines(&[&text[..at], &text[at..]]),
                expected,
                "split at {at}"
            );
        }
    }

    #[test]
    fn a_long_line_comes_in_pieces_of_bounded_size() {
        let text = vec![b'x'; LINE * 2 + 5];
        let pieces: Vec<&[u8]> = text.chunks(1000).collect();
        for given in [lines(&pieces), lines(&[&text])] {
            let sizes: Vec<usize> = given.iter().map(Vec::len).collect();
            assert_eq!(sizes, [LINE, LINE, 5]);
        }
    }

    #[test]
    fn a_datagram_is_what_syslog_sends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let listener = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::new(path);
        syslog.send("app", b"hello", Instant::now()).unwrap();
        let mut packet = [0; 200];
        let length = listener.recv(&mut packet).unwrap();
        let text = std::str::from_utf8(&packet[..length]).unwrap();
        let pid = std::process::id();
        let (head, tail) = text.split_at("<14>Jan  1 00:00:00".len());
        assert!(head.starts_with("<14>"), "{text}");
        assert_eq!(tail, format!(" rsv-agent[{pid}]: app hello"));
    }

    #[test]
    fn a_log_that_is_full_or_gone_is_an_error_and_never_a_wait() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut syslog = Syslog::new(path.clone());
        let mut now = Instant::now();
        syslog.send("app", b"x", now).unwrap_err();
        let listener = UnixDatagram::bind(&path).unwrap();
        syslog.send("app", b"it is left alone", now).unwrap_err();
        now += PAUSE;
        let full = (0..100_000).map(|_| syslog.send("app", b"x", now));
        let error = full.filter_map(Result::err).next().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(listener);
        std::fs::remove_file(&path).unwrap();
        let _next = UnixDatagram::bind(&path).unwrap();
        syslog.send("app", b"to the next one at once", now).unwrap();
    }
}
