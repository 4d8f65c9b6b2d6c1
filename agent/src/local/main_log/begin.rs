//! Where the reading of a main log begins: so many bytes or lines from its end, or at a moment, also in files that
//! were rotated away.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// How much of a file is looked at together.
const BLOCK: u64 = 64 * 1024;

/// The characters of a line's time: `YYYY-MM-DD HH:MM:SS,mmm`.
const TIME: usize = 23;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// So many bytes before the end of the file that is written to.
    Bytes(u64),
    /// So many lines before the end.
    Lines(u64),
    /// With the first line of this moment or a later one.
    Since(SystemTime),
}

/// A place in one file.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) file: File,
    pub(super) offset: u64,
}

/// The files to read, the oldest first, and where in each; the last one is that which is written to. `zone`: that of
/// the times in the log.
pub(super) fn find(path: &Path, begin: Begin, zone: &TimeZone) -> io::Result<VecDeque<Place>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        // Nothing can be read back from a terminal or a device.
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut places = VecDeque::new();
    let (mut file, mut metadata, mut begin) = (file, metadata, begin);
    let mut number = 0;
    loop {
        let (offset, rest) = begin.in_file(&file, metadata.len(), zone)?;
        places.push_front(Place { file, offset });
        let Some(rest) = rest else {
            return Ok(places);
        };
        let former = metadata.ino();
        // One that was rotated away while it was looked at is met again under its next name.
        (file, metadata) = loop {
            number += 1;
            let Some(older) = rotated(path, number)? else {
                return Ok(places);
            };
            let metadata = older.metadata()?;
            if metadata.ino() != former {
                break (older, metadata);
            }
        };
        begin = rest;
    }
}

/// The file that was rotated away so many times.
fn rotated(path: &Path, times: u32) -> io::Result<Option<File>> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{times}"));
    match File::open(PathBuf::from(name)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Begin {
    /// The place in one file, and what is left for the file before it.
    fn in_file(self, file: &File, length: u64, zone: &TimeZone) -> io::Result<(u64, Option<Self>)> {
        match self {
            Self::Bytes(bytes) => Ok((length.saturating_sub(bytes), None)),
            Self::Lines(lines) => {
                let (offset, found) = last_lines(file, length, lines)?;
                let missing = Some(lines - found).filter(|missing| *missing > 0);
                Ok((offset, missing.map(Self::Lines)))
            }
            Self::Since(moment) => {
                let offset = first_since(file, moment, zone)?.unwrap_or(length);
                Ok((offset, (offset == 0).then_some(self)))
            }
        }
    }
}

/// Where the last lines begin, and how many of them there are. A last line without its end counts.
fn last_lines(file: &File, length: u64, wanted: u64) -> io::Result<(u64, u64)> {
    if wanted == 0 {
        return Ok((length, 0));
    }
    let (mut end, mut found) = (length, 0);
    while end > 0 {
        let begin = end.saturating_sub(BLOCK);
        let mut block = vec![0; usize::try_from(end - begin).unwrap_or(0)];
        file.read_exact_at(&mut block, begin)?;
        let breaks = block
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, byte)| **byte == b'\n');
        for (at, _) in breaks {
            let after = begin + at as u64 + 1;
            found += u64::from(after < length);
            if found == wanted {
                return Ok((after, found));
            }
        }
        end = begin;
    }
    Ok((0, found + u64::from(length > 0)))
}

/// Where the first line begins that was written then or later. A line without a time is of the one before it.
fn first_since(file: &File, moment: SystemTime, zone: &TimeZone) -> io::Result<Option<u64>> {
    let mut reader = BufReader::with_capacity(usize::try_from(BLOCK).unwrap_or(8192), file);
    let (mut at, mut line) = (0, Vec::new());
    loop {
        line.clear();
        let bytes = reader.read_until(b'\n', &mut line)?;
        if bytes == 0 {
            return Ok(None);
        }
        if time_of(&line, zone).is_some_and(|time| time >= moment) {
            return Ok(Some(at));
        }
        at += bytes as u64;
    }
}

/// When a line was written. Of an hour that clocks show twice it is the second one, so that nothing is left out.
fn time_of(line: &[u8], zone: &TimeZone) -> Option<SystemTime> {
    let text = std::str::from_utf8(line.get(..TIME)?).ok()?;
    let (seconds, millis) = text.split_once(',')?;
    let shown = DateTime::strptime("%Y-%m-%d %H:%M:%S", seconds).ok()?;
    let zoned = zone.to_ambiguous_zoned(shown).later().ok()?;
    let millis = millis.parse().ok().map(Duration::from_millis)?;
    SystemTime::from(zoned.timestamp()).checked_add(millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Seek as _};

    /// A log of three files with two lines each, one a minute from 10:00 on.
    fn log() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("main.log");
        for (suffix, minutes) in [(".2", [0, 1]), (".1", [2, 3]), ("", [4, 5])] {
            let lines = minutes.map(|n| format!("2026-11-27 10:0{n}:00,500 INFO {n}\n"));
            std::fs::write(format!("{}{suffix}", path.display()), lines.concat()).unwrap();
        }
        (directory, path)
    }

    /// The last characters of the lines that are read.
    fn read(path: &Path, begin: Begin, zone: &TimeZone) -> String {
        let mut read = String::new();
        for Place { mut file, offset } in find(path, begin, zone).unwrap() {
            let mut text = String::new();
            file.seek(io::SeekFrom::Start(offset)).unwrap();
            file.read_to_string(&mut text).unwrap();
            read.extend(text.lines().filter_map(|line| line.chars().last()));
        }
        read
    }

    #[test]
    fn lines_are_counted_from_the_end_over_rotated_files() {
        let (_directory, path) = log();
        let read = |lines| read(&path, Begin::Lines(lines), &TimeZone::UTC);
        let expected = ["", "5", "45", "345", "2345", "12345", "012345", "012345"];
        for (lines, expected) in (0..).zip(expected) {
            assert_eq!(read(lines), expected, "{lines} lines");
        }
        assert_eq!(read(u64::MAX), "012345");
    }

    #[test]
    fn a_file_that_is_met_again_under_its_next_name_is_read_once() {
        let (directory, path) = log();
        std::fs::remove_file(directory.path().join("main.log.1")).unwrap();
        std::fs::hard_link(&path, directory.path().join("main.log.1")).unwrap();
        let all = read(&path, Begin::Lines(10), &TimeZone::UTC);
        assert_eq!(all, "0145");
        let start = Begin::Since(SystemTime::UNIX_EPOCH);
        assert_eq!(read(&path, start, &TimeZone::UTC), "0145");
    }

    #[test]
    fn a_last_line_that_has_not_ended_is_one() {
        let (_directory, path) = log();
        std::fs::write(&path, "a\nb").unwrap();
        assert_eq!(read(&path, Begin::Lines(1), &TimeZone::UTC), "b");
        std::fs::write(&path, "").unwrap();
        assert_eq!(read(&path, Begin::Lines(1), &TimeZone::UTC), "3");
    }

    #[test]
    fn long_lines_are_found_over_blocks() {
        let (_directory, path) = log();
        let long = "x".repeat(3 * usize::try_from(BLOCK).unwrap());
        std::fs::write(&path, format!("{long}a\n{long}b\n")).unwrap();
        assert_eq!(read(&path, Begin::Lines(1), &TimeZone::UTC), "b");
        assert_eq!(read(&path, Begin::Lines(2), &TimeZone::UTC), "ab");
    }

    #[test]
    fn it_begins_with_the_first_line_since_a_moment() {
        let (_directory, path) = log();
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let since = |text: &str| {
            let moment: jiff::Timestamp = text.parse().unwrap();
            read(&path, Begin::Since(moment.into()), &zone)
        };
        assert_eq!(since("2026-11-27T08:04:00Z"), "45");
        assert_eq!(since("2026-11-27T08:04:00.500Z"), "45");
        assert_eq!(since("2026-11-27T08:04:00.501Z"), "5");
        assert_eq!(since("2026-11-27T08:01:30Z"), "2345");
        assert_eq!(since("2026-11-27T08:30:00Z"), "");
        assert_eq!(since("1970-01-01T00:00:00Z"), "012345");
    }

    #[test]
    fn a_line_without_a_time_is_no_beginning() {
        let (_directory, path) = log();
        let lines =
            "\u{fffd}\n2026-11-27 10:59\n2026-13-99 10:00:00,000 x\n2026-11-27 11:00:00,000 a\nb\n";
        std::fs::write(&path, lines).unwrap();
        let moment: jiff::Timestamp = "2026-11-27T10:30:00Z".parse().unwrap();
        assert_eq!(
            read(&path, Begin::Since(moment.into()), &TimeZone::UTC),
            "ab"
        );
    }
}
