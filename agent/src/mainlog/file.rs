//! A log file that is rotated by size, with Supervisor's names: `.1` is the latest of the old ones.
//!
//! Also stands for what cannot be rotated: standard output, a device, the system's log.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// Where the system's log listens.
const SYSLOG_SOCKET: &str = "/dev/log";

/// Facility "daemon", severity "info": what syslog(3) callers of this kind use.
const SYSLOG_PRIORITY: &str = "<30>";

/// The length of the time stamp and level in front of a message, which the system's log has itself.
const STAMP: usize = "2026-01-01 00:00:00,000 ".len();

/// The length of the level in front of a message.
const LEVEL: usize = "INFO ".len();

/// An open log.
#[derive(Debug)]
pub struct LogFile {
    output: Output,
}

#[derive(Debug)]
enum Output {
    Rotated(Rotated),
    /// Written as it is and never reopened.
    Plain(File),
    Syslog {
        socket: UnixDatagram,
        path: PathBuf,
    },
}

#[derive(Debug)]
struct Rotated {
    path: PathBuf,
    maxbytes: u64,
    backups: u32,
    file: File,
    size: u64,
    /// The open file has become number one, and nothing stands under the name of the log yet.
    is_moved: bool,
    open: fn(&Path) -> io::Result<File>,
}

impl LogFile {
    /// Opens a file for appending; `maxbytes` 0 means that it is never rotated. Devices, pipes and
    /// the names of the standard streams are written as they are.
    ///
    /// # Errors
    ///
    /// What opening says.
    pub fn open(path: &Path, maxbytes: u64, backups: u32) -> io::Result<Self> {
        // Opening these by name fails when they are sockets, as under a service manager.
        match path.to_str() {
            Some("/dev/stdout") => return Self::stdout(),
            Some("/dev/stderr") => return Self::duplicate(io::stderr().as_fd()),
            _ => {}
        }
        let file = append_to(path)?;
        let metadata = file.metadata()?;
        let kind = metadata.file_type();
        if kind.is_char_device() || kind.is_fifo() || kind.is_block_device() {
            return Ok(Self {
                output: Output::Plain(file),
            });
        }
        let path = std::path::absolute(path)?;
        let rotated = Rotated {
            path,
            maxbytes,
            backups,
            file,
            size: metadata.len(),
            is_moved: false,
            open: append_to,
        };
        Ok(Self {
            output: Output::Rotated(rotated),
        })
    }

    /// This process's standard output.
    ///
    /// # Errors
    ///
    /// When it is closed.
    pub fn stdout() -> io::Result<Self> {
        Self::duplicate(io::stdout().as_fd())
    }

    /// The system's log.
    ///
    /// # Errors
    ///
    /// When nothing listens on `/dev/log`.
    pub fn syslog() -> io::Result<Self> {
        Self::syslog_at(Path::new(SYSLOG_SOCKET))
    }

    fn syslog_at(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        let path = path.to_path_buf();
        Ok(Self {
            output: Output::Syslog { socket, path },
        })
    }

    fn duplicate(stream: std::os::fd::BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self {
            output: Output::Plain(File::from(stream.try_clone_to_owned()?)),
        })
    }

    pub(super) fn write(&mut self, line: &str) -> io::Result<()> {
        match &mut self.output {
            Output::Rotated(rotated) => rotated.write(line),
            Output::Plain(file) => file.write_all(line.as_bytes()),
            Output::Syslog { socket, path } => {
                let message = line.get(STAMP..).unwrap_or(line).trim_end();
                // The output of a program has many lines, each of which is one there.
                let mut lines = message.split('\n');
                send(socket, path, lines.next().unwrap_or_default())?;
                let level = message.get(..LEVEL).unwrap_or_default();
                lines.try_for_each(|line| send(socket, path, &format!("{level}{line}")))
            }
        }
    }

    pub(super) fn reopen(&mut self) -> io::Result<()> {
        match &mut self.output {
            Output::Rotated(rotated) => rotated.reopen(),
            Output::Plain(_) | Output::Syslog { .. } => Ok(()),
        }
    }
}

/// Sends a line to the system's log.
fn send(socket: &UnixDatagram, path: &Path, message: &str) -> io::Result<()> {
    let pid = std::process::id();
    let packet = format!("{SYSLOG_PRIORITY}rsv-agent[{pid}]: {message}");
    if socket.send(packet.as_bytes()).is_ok() {
        return Ok(());
    }
    // Whoever listened has gone; the next one has another socket under the same name.
    socket.connect(path)?;
    socket.send(packet.as_bytes()).map(drop)
}

impl Rotated {
    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.is_moved {
            // Until that works the lines go on behind those before them.
            self.reopen().ok();
        }
        self.file.write_all(line.as_bytes())?;
        self.size += line.len() as u64;
        if self.maxbytes > 0 && self.size >= self.maxbytes && !self.is_moved {
            // The line itself is written, and nothing of it is lost.
            if let Err(error) = self.rotate() {
                self.tell(&error);
            }
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        // What fails is tried again when as much has come once more: each try may move the old ones on.
        self.size = 0;
        if self.backups == 0 {
            return self.file.set_len(0);
        }
        for number in (1..self.backups).rev() {
            rename_if_there(&self.numbered(number), &self.numbered(number + 1))?;
        }
        rename_if_there(&self.path, &self.numbered(1))?;
        self.is_moved = true;
        self.reopen()
    }

    fn reopen(&mut self) -> io::Result<()> {
        let file = (self.open)(&self.path)?;
        self.size = file.metadata()?.len();
        self.file = file;
        self.is_moved = false;
        Ok(())
    }

    /// Says in the log itself why it grows beyond its bound.
    fn tell(&mut self, error: &io::Error) {
        let stamp = super::now().strftime("%Y-%m-%d %H:%M:%S");
        let line = format!("{stamp},000 WARN this log cannot be rotated error={error}\n");
        // Where that cannot be written, the next line cannot be either, and that is counted.
        self.file.write_all(line.as_bytes()).ok();
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_full_file_becomes_number_one_and_the_oldest_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        let mut log = LogFile::open(&path, 6, 2).unwrap();
        for line in ["one__\n", "two__\n", "three\n", "4\n"] {
            log.write(line).unwrap();
        }
        let read = |suffix: &str| fs::read_to_string(format!("{}{suffix}", path.display())).ok();
        assert_eq!(read("").as_deref(), Some("4\n"));
        assert_eq!(read(".1").as_deref(), Some("three\n"));
        assert_eq!(read(".2").as_deref(), Some("two__\n"));
        assert_eq!(read(".3"), None);
    }

    #[test]
    fn without_backups_a_full_file_is_emptied_and_what_was_there_before_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        fs::write(&path, "12345").unwrap();
        let mut log = LogFile::open(&path, 6, 0).unwrap();
        log.write("6\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
        log.write("7\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "7\n");
    }

    #[test]
    fn a_log_that_was_moved_and_cannot_be_opened_moves_no_further_and_loses_no_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        let mut log = LogFile::open(&path, 6, 3).unwrap();
        let open = |log: &mut LogFile, open| match &mut log.output {
            Output::Rotated(rotated) => rotated.open = open,
            other => panic!("{other:?}"),
        };
        log.write("old___\n").unwrap();
        open(&mut log, |_| Err(rustix::io::Errno::MFILE.into()));
        for line in ["one___\n", "two___\n", "three_\n", "four__\n"] {
            log.write(line).unwrap();
        }
        let read = |suffix: &str| fs::read_to_string(format!("{}{suffix}", path.display())).ok();
        let moved = read(".1").unwrap();
        let told: Vec<&str> = moved.lines().filter(|l| l.contains(" WARN ")).collect();
        assert!(
            matches!(told[..], [line] if line.contains("this log cannot be rotated error=")),
            "{moved}"
        );
        let lines: Vec<&str> = moved.lines().filter(|l| !l.contains(" WARN ")).collect();
        assert_eq!(lines, ["one___", "two___", "three_", "four__"]);
        assert_eq!(read(".2").as_deref(), Some("old___\n"));
        assert_eq!((read(""), read(".3")), (None, None));
        open(&mut log, append_to);
        log.write("5\n").unwrap();
        assert_eq!(read("").as_deref(), Some("5\n"));
        assert_eq!(read(".1").as_deref(), Some(moved.as_str()));
    }

    #[test]
    fn a_log_that_cannot_be_moved_keeps_its_lines_and_is_tried_again_when_as_much_has_come() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        // A directory with something in it cannot be replaced.
        fs::create_dir_all(directory.path().join("a.log.1/x")).unwrap();
        let mut log = LogFile::open(&path, 6, 1).unwrap();
        for line in ["one___\n", "2\n", "3\n"] {
            log.write(line).unwrap();
        }
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("cannot be rotated").count(), 1, "{text}");
        assert!(text.ends_with("\n2\n3\n"), "{text}");
    }

    #[test]
    fn each_line_of_a_programs_output_is_one_in_the_systems_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let listener = UnixDatagram::bind(&path).unwrap();
        let mut log = LogFile::syslog_at(&path).unwrap();
        log.write("2026-01-01 00:00:00,000 DEBG 'x' stdout output:\none\n\ntwo\n\n")
            .unwrap();
        let pid = std::process::id();
        for line in ["'x' stdout output:", "one", "", "two"] {
            let mut packet = [0; 100];
            let length = listener.recv(&mut packet).unwrap();
            let expected = format!("<30>rsv-agent[{pid}]: DEBG {line}");
            assert_eq!(packet[..length], *expected.as_bytes());
        }
    }

    #[test]
    fn a_system_log_that_was_started_anew_gets_the_next_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let former = UnixDatagram::bind(&path).unwrap();
        let mut log = LogFile::syslog_at(&path).unwrap();
        log.write("2026-01-01 00:00:00,000 INFO one\n").unwrap();
        let mut packet = [0; 100];
        let length = former.recv(&mut packet).unwrap();
        let expected = format!("<30>rsv-agent[{}]: INFO one", std::process::id());
        assert_eq!(packet[..length], *expected.as_bytes());
        drop(former);
        fs::remove_file(&path).unwrap();
        log.write("2026-01-01 00:00:00,000 INFO lost\n")
            .unwrap_err();
        let next = UnixDatagram::bind(&path).unwrap();
        log.write("2026-01-01 00:00:00,000 INFO two\n").unwrap();
        assert!(next.recv(&mut packet).is_ok());
    }

    #[test]
    fn reopening_leaves_a_moved_file_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (path, moved) = (directory.path().join("a"), directory.path().join("b"));
        let mut log = LogFile::open(&path, 0, 0).unwrap();
        log.write("1\n").unwrap();
        fs::rename(&path, &moved).unwrap();
        log.reopen().unwrap();
        log.write("2\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n");
        assert_eq!(fs::read_to_string(&moved).unwrap(), "1\n");
    }
}
