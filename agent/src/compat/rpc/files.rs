//! Windows of bytes into log files, counted as Supervisor counts them.
//!
//! A file may be a pipe or a device by its name, so it is opened without waiting, and only what is
//! a regular file is read. A window is bounded: its bytes are held in memory.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::super::fault::{Fault, FaultCode};

/// The most bytes in one answer. Whoever wants more asks for the next window.
const MOST: u64 = 32 << 20;

/// The answer to a tail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The bytes, at most as many as were asked for.
    pub(crate) bytes: Vec<u8>,
    /// The size of the file: where to go on.
    pub(crate) offset: u64,
    /// There was more than fits.
    pub(crate) overflow: bool,
}

/// Bytes from an offset on; all to the end for a length of zero; the last ones for a negative
/// offset, and then the length must be zero.
pub(crate) async fn read_window(
    path: Option<PathBuf>,
    offset: i64,
    length: i64,
) -> Result<Vec<u8>, Fault> {
    let path = path.ok_or(FaultCode::NoFile)?;
    let failed = || Fault::from(FaultCode::Failed);
    let read = move || window(&path, offset, length);
    let read = tokio::task::spawn_blocking(read);
    read.await.map_err(|_| failed())?
}

/// Bytes from an offset on, or the last ones when there are more. No file: nothing.
pub(crate) async fn tail_window(path: Option<PathBuf>, offset: i64, length: i64) -> Tail {
    let Some(path) = path else {
        return Tail::default();
    };
    let read = tokio::task::spawn_blocking(move || last_window(&path, offset, length));
    match read.await {
        Ok(Ok(tail)) => tail,
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Tail::default(),
        _ => Tail {
            offset: u64::try_from(offset).unwrap_or(0),
            ..Tail::default()
        },
    }
}

fn window(path: &Path, offset: i64, length: i64) -> Result<Vec<u8>, Fault> {
    let opened = open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => FaultCode::NoFile.about(path.display().to_string()),
        _ => FaultCode::Failed.into(),
    });
    let (mut file, size) = opened?;
    if length < 0 || offset < 0 && length != 0 {
        return Err(FaultCode::BadArguments.into());
    }
    let (start, wanted) = match (offset, length) {
        (..0, _) => (size.saturating_sub(offset.unsigned_abs()), u64::MAX),
        (_, 0) => (offset.unsigned_abs(), u64::MAX),
        _ => (offset.unsigned_abs(), length.unsigned_abs()),
    };
    let there = size.saturating_sub(start).min(wanted);
    if there > MOST {
        let why = format!("{there} bytes are more than {MOST}, ask for less at once");
        return Err(FaultCode::Failed.about(why));
    }
    read(&mut file, start, there).map_err(|_| FaultCode::Failed.into())
}

fn last_window(path: &Path, offset: i64, length: i64) -> io::Result<Tail> {
    let (mut file, size) = open(path)?;
    let size_signed = i64::try_from(size).unwrap_or(i64::MAX);
    let end = offset.saturating_add(length);
    let overflow = size_signed > end;
    let offset = if overflow { size_signed - 1 } else { offset };
    let (start, wanted) = if offset.saturating_add(length) > size_signed {
        let wanted = if offset > size_signed - 1 { 0 } else { length };
        (size_signed.saturating_sub(wanted), wanted)
    } else {
        (offset, length)
    };
    let start = start.max(0).unsigned_abs();
    let there = size.saturating_sub(start);
    let there = there.min(wanted.max(0).unsigned_abs());
    // Who is led to the end gets the bytes before it, and is told of those that are left out.
    let left_out = there.saturating_sub(MOST);
    Ok(Tail {
        bytes: read(&mut file, start + left_out, there - left_out)?,
        offset: size,
        overflow: overflow || left_out > 0,
    })
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok((file, metadata.len()))
    } else {
        Err(io::ErrorKind::NotSeekable.into())
    }
}

fn read(file: &mut File, start: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if length == 0 {
        // The start may be where no file can reach.
        return Ok(bytes);
    }
    file.seek(SeekFrom::Start(start))?;
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        std::fs::write(&path, "hello\n").unwrap();
        (directory, path)
    }

    #[test]
    fn a_window_is_what_supervisor_reads() {
        let (_directory, path) = log();
        for (offset, length, text) in [
            (0, 0, "hello\n"),
            (1, 3, "ell"),
            (-3, 0, "lo\n"),
            (-100, 0, "hello\n"),
            (100, 0, ""),
            (4, 100, "o\n"),
        ] {
            let bytes = window(&path, offset, length).unwrap();
            assert_eq!(bytes, text.as_bytes(), "{offset} {length}");
        }
        for (offset, length) in [(-2, 3), (0, -1), (i64::MIN, 1)] {
            let fault = window(&path, offset, length).unwrap_err();
            assert_eq!(fault.text(), "BAD_ARGUMENTS");
        }
        assert_eq!(window(&path, i64::MIN, 0).unwrap(), b"hello\n");
        assert_eq!(window(&path, i64::MAX, i64::MAX).unwrap(), b"");
    }

    #[test]
    fn a_tail_is_what_supervisor_reads() {
        let (_directory, path) = log();
        for (offset, length, text, overflow) in [
            (0, 100, "hello\n", false),
            (0, 3, "lo\n", true),
            (6, 10, "", false),
            (4, 10, "hello\n", false),
            (0, 0, "", true),
            (i64::MAX, i64::MAX, "", false),
        ] {
            let tail = last_window(&path, offset, length).unwrap();
            assert_eq!(tail.bytes, text.as_bytes(), "{offset} {length}");
            assert_eq!(
                (tail.offset, tail.overflow),
                (6, overflow),
                "{offset} {length}"
            );
        }
        last_window(&path, i64::MIN, i64::MIN).unwrap();
    }

    #[test]
    fn a_tail_of_more_than_an_answer_holds_has_the_last_bytes_and_says_so() {
        let (_directory, path) = log();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(MOST + 5).unwrap();
        let tail = last_window(&path, 0, i64::MAX / 2).unwrap();
        assert_eq!((tail.offset, tail.overflow), (MOST + 5, true));
        assert_eq!(tail.bytes.len() as u64, MOST);
        assert!(
            tail.bytes.starts_with(b"\n\0"),
            "the first five are left out"
        );
        let fault = window(&path, 0, 0).unwrap_err();
        assert!(
            fault.text().starts_with("FAILED: 33554437 bytes"),
            "{}",
            fault.text()
        );
    }

    #[test]
    fn what_is_missing_or_no_file_is_said() {
        let (directory, path) = log();
        let missing = directory.path().join("b.log");
        let fault = window(&missing, 0, 0).unwrap_err();
        assert_eq!(fault.text(), format!("NO_FILE: {}", missing.display()));
        assert_eq!(window(directory.path(), 0, 0).unwrap_err().text(), "FAILED");
        drop(path);
    }
}
