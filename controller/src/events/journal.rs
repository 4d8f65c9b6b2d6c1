//! Events on the disk, for the next run of the controller: what was told is told again after a restart, and
//! nothing that happened meanwhile is missed.
//!
//! A thread of its own appends: nobody waits for the disk, and no event for its predecessor. What a killed
//! controller had handed to the system is there; a machine that loses power may lose the latest. Two files
//! take turns, so that what is kept is bounded. Invariant: what can be read is one unbroken row of events.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use prost::Message as _;
use rsv_proto::wire::Event;
use tokio::sync::{mpsc, oneshot};

use super::CAPACITY;
use crate::files::FileError;

/// The file that grows, and the one that was full before it.
const YOUNG: &str = "events";
const OLD: &str = "events.old";

/// Events that wait for the disk, some 500 bytes each. Beyond, the row is broken: what was written before is
/// forgotten.
const WAITING: usize = 4096;

/// The most events that are written at once.
const BATCH: usize = 256;

/// Where the hub leaves events.
#[derive(Debug)]
pub struct Pen {
    to_write: mpsc::Sender<Line>,
    is_broken: bool,
}

/// An event, and whether those right before it are missing.
type Line = (Arc<Event>, bool);

/// The files.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    file: File,
    /// Events in the file that grows.
    events: usize,
    /// Nothing could be written: said once.
    is_in_trouble: bool,
}

impl Pen {
    /// A pen, and where its lines come out.
    pub fn new() -> (Self, mpsc::Receiver<Line>) {
        let (to_write, lines) = mpsc::channel(WAITING);
        let pen = Self {
            to_write,
            is_broken: false,
        };
        (pen, lines)
    }

    /// Leaves an event; never waits.
    pub(super) fn put(&mut self, event: &Arc<Event>) {
        let line = (Arc::clone(event), self.is_broken);
        self.is_broken = self.to_write.try_send(line).is_err();
    }
}

impl Journal {
    /// Opens the files of a state directory, with the events that are in them, in order.
    pub fn open(directory: &Path) -> Result<(Self, Vec<Event>), FileError> {
        let (mut events, old_end) = read(&directory.join(OLD))?;
        if old_end.is_torn {
            // What follows does not join on to what can be read.
            events.clear();
        }
        let path = directory.join(YOUNG);
        let (young, end) = read(&path)?;
        let journal = Self {
            file: appended(&path, end.good).map_err(|source| FileError::Write { path, source })?,
            directory: directory.to_owned(),
            events: young.len(),
            is_in_trouble: false,
        };
        events.extend(young);
        let surplus = events.len().saturating_sub(CAPACITY);
        Ok((journal, events.split_off(surplus)))
    }

    /// Writes what comes until nobody can leave anything any more; then the other end is dropped.
    pub fn start(self, lines: mpsc::Receiver<Line>) -> io::Result<oneshot::Receiver<()>> {
        let (done, ended) = oneshot::channel();
        let writer = thread::Builder::new().name("events".into());
        writer.spawn(move || {
            self.run(lines);
            drop::<oneshot::Sender<()>>(done);
        })?;
        Ok(ended)
    }

    fn run(mut self, mut lines: mpsc::Receiver<Line>) {
        let mut batch = Vec::new();
        while lines.blocking_recv_many(&mut batch, BATCH) > 0 {
            match self.write(&batch) {
                Ok(()) if self.is_in_trouble => {
                    self.is_in_trouble = false;
                    tracing::info!("events are written down again");
                }
                Ok(()) => {}
                Err(error) => self.failed(&error),
            }
            batch.clear();
        }
    }

    fn write(&mut self, lines: &[Line]) -> io::Result<()> {
        if self.is_in_trouble {
            self.begin_anew()?;
        }
        let mut bytes = Vec::new();
        for (event, is_behind_a_gap) in lines {
            if *is_behind_a_gap {
                bytes.clear();
                self.begin_anew()?;
            }
            event.encode_length_delimited(&mut bytes)?;
            self.events += 1;
        }
        self.file.write_all(&bytes)?;
        if self.events >= CAPACITY {
            self.turn()?;
        }
        Ok(())
    }

    /// The file is full: it becomes the old one.
    fn turn(&mut self) -> io::Result<()> {
        let young = self.directory.join(YOUNG);
        fs::rename(&young, self.directory.join(OLD))?;
        self.file = appended(&young, 0)?;
        self.events = 0;
        Ok(())
    }

    /// Forgets what was written: what follows does not join on to it.
    fn begin_anew(&mut self) -> io::Result<()> {
        match fs::remove_file(self.directory.join(OLD)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.file = appended(&self.directory.join(YOUNG), 0)?;
        self.events = 0;
        Ok(())
    }

    fn failed(&mut self, error: &io::Error) {
        if !self.is_in_trouble {
            let path = self.directory.join(YOUNG);
            let path = path.display();
            tracing::error!(%path, %error, "cannot write events down; it is tried again with the next");
        }
        self.is_in_trouble = true;
    }
}

/// A file to append to, that has so many bytes.
fn appended(path: &Path, length: u64) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).mode(0o600).open(path)?;
    file.set_len(length)?;
    Ok(file)
}

/// How far a file can be read.
struct End {
    good: u64,
    is_torn: bool,
}

/// The events of a file, up to what cannot be read; none when there is no file.
fn read(path: &Path) -> Result<(Vec<Event>, End), FileError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(source) => {
            let path = path.to_owned();
            return Err(FileError::Read { path, source });
        }
    };
    let mut rest = bytes.as_slice();
    let (mut events, mut good) = (Vec::<Event>::new(), 0);
    while !rest.is_empty() {
        let Ok(event) = Event::decode_length_delimited(&mut rest) else {
            break;
        };
        if events.last().is_some_and(|last| last.seq >= event.seq) {
            break;
        }
        events.push(event);
        good = bytes.len() - rest.len();
    }
    let is_torn = good < bytes.len();
    if is_torn {
        tracing::warn!(path = %path.display(), "the end of what was written of events cannot be read");
    }
    let good = good as u64;
    Ok((events, End { good, is_torn }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64) -> Line {
        let event = Event {
            seq,
            host: "web01".into(),
            ..Event::default()
        };
        (Arc::new(event), false)
    }

    fn numbers(directory: &Path) -> Vec<u64> {
        let (_, events) = Journal::open(directory).unwrap();
        events.iter().map(|event| event.seq).collect()
    }

    #[test]
    fn what_was_written_is_read_by_the_next_run_and_gone_on_with() {
        let directory = tempfile::tempdir().unwrap();
        for seqs in [1..3, 3..4] {
            let (mut journal, _) = Journal::open(directory.path()).unwrap();
            let lines: Vec<Line> = seqs.map(line).collect();
            journal.write(&lines).unwrap();
        }
        assert_eq!(numbers(directory.path()), [1, 2, 3]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(directory.path()).unwrap();
        let all = 3 * CAPACITY as u64 + 5;
        for first in (0..all).step_by(BATCH) {
            let lines: Vec<Line> = (first..all.min(first + BATCH as u64)).map(line).collect();
            journal.write(&lines).unwrap();
        }
        let kept = numbers(directory.path());
        assert_eq!(kept.len(), CAPACITY);
        assert_eq!(kept.last(), Some(&(all - 1)));
        let files = fs::read_dir(directory.path()).unwrap();
        assert_eq!(files.count(), 2);
    }

    #[test]
    fn a_torn_end_is_cut_off_and_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(directory.path()).unwrap();
        journal.write(&[line(1), line(2)]).unwrap();
        let path = directory.path().join(YOUNG);
        let length = fs::metadata(&path).unwrap().len();
        appended(&path, length - 1).unwrap();
        let (mut journal, events) = Journal::open(directory.path()).unwrap();
        assert_eq!(events.len(), 1);
        journal.write(&[line(7)]).unwrap();
        assert_eq!(numbers(directory.path()), [1, 7]);
    }

    #[test]
    fn behind_a_gap_the_row_begins_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(directory.path()).unwrap();
        journal.write(&[line(1)]).unwrap();
        let (event, _) = line(4);
        journal.write(&[line(2), (event, true), line(5)]).unwrap();
        assert_eq!(numbers(directory.path()), [4, 5]);
        // A turn in between leaves an old file that does not join on either.
        journal.turn().unwrap();
        journal.failed(&io::Error::other("no space"));
        journal.write(&[line(9)]).unwrap();
        assert_eq!(numbers(directory.path()), [9]);
    }

    #[test]
    fn a_pen_never_waits_and_says_what_is_missing() {
        let (mut pen, mut lines) = Pen::new();
        for seq in 0..=WAITING as u64 {
            pen.put(&line(seq).0);
        }
        assert!(!lines.try_recv().unwrap().1);
        pen.put(&line(9999).0);
        let mut last = None;
        while let Ok(line) = lines.try_recv() {
            last = Some((line.0.seq, line.1));
        }
        assert_eq!(last, Some((9999, true)));
    }
}
