//! `--log-dir`: the output of each source in a file of its own, `HOST/PROGRAM.log`.
//!
//! What is there is never lost: files are appended to. Nothing is kept open and nothing waits here, so that
//! what was given to [`Files::write`] is in its file when it returns.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::error::{Exit, Failure};

/// The longest name of a file that common file systems take is 255 bytes.
const LONGEST: usize = 240;

/// A directory with a file for each source.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    /// Those that end in the middle of a line.
    open_lines: BTreeSet<PathBuf>,
}

impl Files {
    /// In this directory, which is made with the first file.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            open_lines: BTreeSet::new(),
        }
    }

    /// Appends bytes to the file of a source; each line that begins with them begins with `time`.
    pub(super) fn write(
        &mut self,
        host: &str,
        program: &str,
        data: &[u8],
        time: &str,
    ) -> Result<(), Failure> {
        let path = path_of(&self.directory, host, program);
        let is_open = self.open_lines.contains(&path);
        let written = append(&path, &stamped(data, time, is_open));
        written.map_err(|error| {
            let what = format!("cannot write `{}`", path.display());
            Failure::new(Exit::Failed, what).because(&error)
        })?;
        match data.last() {
            Some(b'\n') => self.open_lines.remove(&path),
            _ => self.open_lines.insert(path),
        };
        Ok(())
    }
}

fn append(path: &Path, data: &[u8]) -> io::Result<()> {
    let open = || OpenOptions::new().append(true).create(true).open(path);
    let mut file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().unwrap_or(path))?;
            open()?
        }
        file => file?,
    };
    file.write_all(data)
}

/// The file of a source.
fn path_of(directory: &Path, host: &str, program: &str) -> PathBuf {
    let program = match program {
        "" => "rsv-agent",
        program => program,
    };
    let file = format!("{}.log", safe(program));
    match host {
        "" => directory.join(file),
        host => directory.join(safe(host)).join(file),
    }
}

/// A name as that of a file: what could lead elsewhere, or mislead whoever looks at it, is spelled out.
fn safe(name: &str) -> String {
    let mut safe = String::new();
    for (at, letter) in name.char_indices() {
        let is_plain = letter.is_alphanumeric() || "-_:+@=,".contains(letter);
        match is_plain || (letter == '.' && at > 0) {
            true => safe.push(letter),
            // Writing to a string cannot fail.
            false => {
                let mut bytes = [0; 4];
                for byte in letter.encode_utf8(&mut bytes).bytes() {
                    let _written = write!(safe, "%{byte:02X}");
                }
            }
        }
    }
    if safe.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|&end| safe.is_char_boundary(end));
        safe.truncate(end.unwrap_or(0));
    }
    safe
}

/// Puts the time in front of each line that begins here.
fn stamped(data: &[u8], time: &str, is_open: bool) -> Vec<u8> {
    let mut stamped = Vec::with_capacity(data.len());
    for (at, line) in data.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if at > 0 || !is_open {
            stamped.extend_from_slice(time.as_bytes());
        }
        stamped.extend_from_slice(line);
    }
    stamped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_has_a_file_that_is_appended_to() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = Files::new(directory.path().join("logs"));
        files.write("web1", "app", b"one\ntw", "").unwrap();
        files.write("web2", "web:a", b"x\n", "").unwrap();
        files.write("web1", "app", b"o\n", "").unwrap();
        let mut again = Files::new(directory.path().join("logs"));
        again.write("web1", "app", b"three\n", "").unwrap();
        let read = |path: &str| fs::read_to_string(directory.path().join("logs").join(path));
        assert_eq!(read("web1/app.log").unwrap(), "one\ntwo\nthree\n");
        assert_eq!(read("web2/web:a.log").unwrap(), "x\n");
    }

    #[test]
    fn a_time_stands_before_lines_and_not_in_them() {
        assert_eq!(stamped(b"a\nb", "T ", false), b"T a\nT b");
        assert_eq!(stamped(b"b\nc\n", "T ", true), b"b\nT c\n");
    }

    #[test]
    fn no_name_leads_out_of_the_directory() {
        let directory = Path::new("/logs");
        for (host, program, path) in [
            ("web1", "app", "/logs/web1/app.log"),
            ("", "app", "/logs/app.log"),
            ("web1", "", "/logs/web1/rsv-agent.log"),
            (
                "..",
                "../../etc/passwd",
                "/logs/%2E./%2E.%2F..%2Fetc%2Fpasswd.log",
            ),
            ("a/b", "x\u{1b}[2J", "/logs/a%2Fb/x%1B%5B2J.log"),
            ("h", "50%", "/logs/h/50%25.log"),
            ("h", "größe", "/logs/h/größe.log"),
        ] {
            assert_eq!(path_of(directory, host, program), Path::new(path));
        }
        assert!(safe(&"ö/".repeat(200)).len() <= LONGEST);
    }

    #[test]
    fn what_cannot_be_written_is_said_with_its_path() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut files = Files::new(file.path().to_owned());
        let failure = files.write("web1", "app", b"x", "").unwrap_err();
        assert!(failure.to_string().contains("web1/app.log"), "{failure}");
    }
}
