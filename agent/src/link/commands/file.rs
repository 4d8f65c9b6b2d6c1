//! The notes on commands that outlive the agent: one JSON record a line, appended.
//!
//! Written without fsync: the page cache survives a killed agent, and after a power failure every
//! command that had been given is past its deadline. All of this blocks.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::ledger::Record;
use crate::identity::state::write_atomically;

/// A file above this size is written anew with what is still remembered.
const LONG: u64 = 1024 * 1024;

/// The open file.
#[derive(Debug)]
pub(super) struct CommandFile {
    path: PathBuf,
    file: File,
    size: u64,
    /// The size below which writing anew would gain nothing.
    floor: u64,
}

impl CommandFile {
    /// Opens the file and reads its records. A line that cannot be read is skipped: it is the last
    /// one of an agent that was killed while it wrote.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Vec<Record>)> {
        let text = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        let lines = text.split(|byte| *byte == b'\n');
        let records = lines
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect();
        let mut opened = Self {
            path: path.to_owned(),
            file: append_to(path)?,
            size: 0,
            floor: 0,
        };
        opened.size = text.len() as u64;
        if text.last().is_some_and(|byte| *byte != b'\n') {
            opened.write(b"\n")?;
        }
        Ok((opened, records))
    }

    /// Whether it is time for [`CommandFile::replace`].
    pub(super) fn is_long(&self) -> bool {
        self.size > LONG.max(2 * self.floor)
    }

    /// Appends a record.
    pub(super) fn append(&mut self, record: &Record) -> io::Result<()> {
        self.write(&line(record)?)
    }

    /// Writes the file anew.
    pub(super) fn replace(&mut self, records: Vec<Record>) -> io::Result<()> {
        let mut text = Vec::new();
        for record in records {
            text.extend(line(&record)?);
        }
        write_atomically(&self.path, &text)?;
        self.file = append_to(&self.path)?;
        self.size = text.len() as u64;
        self.floor = self.size;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }
}

fn line(record: &Record) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    Ok(line)
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(id: &str) -> Record {
        Record::Begun {
            id: id.into(),
            begun: None,
        }
    }

    #[test]
    fn records_are_read_back_in_order_over_a_torn_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("commands");
        let (mut file, records) = CommandFile::open(&path).unwrap();
        assert!(records.is_empty());
        file.append(&begun("a")).unwrap();
        file.write(b"{\"begun\":{\"i").unwrap();
        drop(file);
        let (mut file, records) = CommandFile::open(&path).unwrap();
        assert_eq!(records, [begun("a")]);
        file.append(&begun("b")).unwrap();
        assert_eq!(
            CommandFile::open(&path).unwrap().1,
            [begun("a"), begun("b")]
        );
    }

    #[test]
    fn a_long_file_is_written_anew_and_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("commands");
        let (mut file, _) = CommandFile::open(&path).unwrap();
        while !file.is_long() {
            file.append(&begun(&"x".repeat(1000))).unwrap();
        }
        file.replace(vec![begun("a")]).unwrap();
        file.append(&begun("b")).unwrap();
        assert!(!file.is_long());
        assert_eq!(
            CommandFile::open(&path).unwrap().1,
            [begun("a"), begun("b")]
        );
    }
}
