//! The directory in which the agent keeps what must survive it.
//!
//! Private to the agent's user. A lock on a file inside makes sure that one agent at a time uses it;
//! the kernel releases the lock with the process, however it ends.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::fcntl::{Flock, FlockArg};

/// The file whose lock says that an agent uses the directory; it holds that agent's process id.
const LOCK: &str = "lock";

/// The file with the number of the latest start.
const EPOCH: &str = "epoch";

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Something in it cannot be made, read or written.
    #[error("cannot {verb} `{}`", .path.display())]
    Io {
        /// What was attempted.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another agent has it.
    #[error("another rsv-agent (pid {pid}) runs with this state directory: `{}`", .path.display())]
    Locked {
        /// The process id in the lock file, or `?`.
        pid: String,
        /// The directory.
        path: PathBuf,
    },
    /// A file that is not what we write.
    #[error("`{}` is damaged", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StateError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run as its owner, or name another state_dir in [agent]"
            }
            Self::Io { source, .. } if source.raw_os_error() == Some(libc::ENOSPC) => {
                "the disk is full: make room"
            }
            Self::Io { .. } => "see that its parent directory exists and can be written to",
            Self::Locked { .. } => "stop that agent first, or name another state_dir in [agent]",
            Self::Damaged { .. } => "move the file away and join again",
        }
    }

    pub(super) fn io(verb: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            verb,
            path: path.to_owned(),
            source,
        }
    }
}

/// The state directory.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
}

/// Holds the state directory for this process; released when dropped.
#[derive(Debug)]
pub struct StateLock {
    file: Flock<File>,
}

impl StateDir {
    /// Makes the directory if it is missing, and private if it is ours.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`].
    pub fn open(path: &Path) -> Result<Self, StateError> {
        private_dir(path)?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the directory for this process.
    ///
    /// # Errors
    ///
    /// [`StateError::Locked`] when another agent has it, otherwise [`StateError::Io`].
    pub fn lock(&self) -> Result<StateLock, StateError> {
        let path = self.path.join(LOCK);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| StateError::io("open", &path, source))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(StateLock { file }),
            Err((file, nix::errno::Errno::EWOULDBLOCK)) => Err(StateError::Locked {
                pid: holder(file),
                path: self.path.clone(),
            }),
            Err((_, errno)) => Err(StateError::io("lock", &path, errno.into())),
        }
    }

    /// The number of this start: one more than the latest. Durable before it is returned, so that it is never
    /// given twice; if that cannot be, the reason is returned beside it. On a full disk the latest number is
    /// written over.
    ///
    /// The first number, and the next one after a damaged file, is the time in seconds: more than
    /// any number that was counted before, whatever was lost.
    pub fn next_epoch(&self, now: SystemTime) -> (u64, Option<StateError>) {
        let path = self.path.join(EPOCH);
        let counted = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse::<u64>().ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
            Err(source) => return (seconds(now), Some(StateError::io("read", &path, source))),
        };
        let next = counted
            .and_then(|n| n.checked_add(1))
            .unwrap_or_else(|| seconds(now));
        let text = format!("{next}\n");
        let written = write_atomically(&path, text.as_bytes())
            .or_else(|error| overwrite(&path, text.as_bytes()).map_err(|_| error));
        let trouble = written.map_err(|source| StateError::io("write", &path, source));
        (next, trouble.err())
    }
}

impl StateLock {
    /// Writes this process's id into the lock file, for people and for the next one who finds it
    /// locked. After a fork the child says so again.
    ///
    /// # Errors
    ///
    /// What writing says.
    pub fn sign(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        let pid = format!("{}\n", std::process::id());
        std::os::unix::fs::FileExt::write_all_at(&*self.file, pid.as_bytes(), 0)
    }
}

/// Makes a directory and its parents with mode 0700; an existing one that is ours is made private.
///
/// # Errors
///
/// [`StateError::Io`].
fn private_dir(path: &Path) -> Result<(), StateError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| StateError::io("make the directory", path, source))?;
    let mode = |source| StateError::io("use the directory", path, source);
    let open_to_others = fs::metadata(path).map_err(mode)?.permissions().mode() & 0o077 != 0;
    if open_to_others {
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(mode)?;
    }
    nix::unistd::access(path, nix::unistd::AccessFlags::W_OK)
        .map_err(|errno| StateError::io("write to the directory", path, errno.into()))
}

/// Replaces a file whole, with mode 0600: a reader sees the old one or the new one, also after a
/// power failure.
///
/// # Errors
///
/// What the system says; the old file is then still there.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut name = path
        .file_name()
        .ok_or(io::ErrorKind::InvalidInput)?
        .to_owned();
    name.push(".new");
    let temporary = directory.join(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}

/// Writes a file that is there where it is, which takes no more room of the disk.
fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    std::os::unix::fs::FileExt::write_all_at(&file, bytes, 0)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()
}

fn holder(mut file: File) -> String {
    let mut text = String::new();
    let known = file.read_to_string(&mut text).is_ok() && text.trim().parse::<u32>().is_ok();
    if known {
        text.trim().to_owned()
    } else {
        "?".to_owned()
    }
}

fn seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::from_secs(1))
        .as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_agent_at_a_time_and_the_second_is_told_who_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(&directory.path().join("a/state")).unwrap();
        let mut lock = state.lock().unwrap();
        lock.sign().unwrap();
        let error = state.lock().unwrap_err();
        let pid = std::process::id();
        assert!(error.to_string().starts_with(&format!(
            "another rsv-agent (pid {pid}) runs with this state directory"
        )));
        drop(lock);
        state.lock().unwrap();
    }

    #[test]
    fn the_directory_is_private_even_if_it_was_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        StateDir::open(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn each_start_counts_one_up_and_a_damaged_count_never_goes_back() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let next = |now| {
            let (number, trouble) = state.next_epoch(now);
            assert!(trouble.is_none(), "{trouble:?}");
            number
        };
        assert_eq!(next(now), 1_000_000);
        assert_eq!(next(now), 1_000_001);
        fs::write(directory.path().join(EPOCH), [0xff, 0xfe]).unwrap();
        let later = now + Duration::from_secs(60);
        assert_eq!(next(later), 1_000_060);
        assert_eq!(next(now), 1_000_061);
        // A new file cannot be written.
        fs::create_dir(directory.path().join("epoch.new")).unwrap();
        assert_eq!(next(now), 1_000_062);
        assert_eq!(next(now), 1_000_063);
    }

    #[test]
    fn a_start_whose_number_cannot_be_kept_has_one_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        fs::create_dir(directory.path().join(EPOCH)).unwrap();
        let (number, trouble) = state.next_epoch(UNIX_EPOCH + Duration::from_secs(1_000_000));
        assert_eq!(number, 1_000_000);
        let trouble = trouble.unwrap().to_string();
        assert!(trouble.contains("/epoch"), "{trouble}");
    }

    #[test]
    fn a_path_that_cannot_be_a_directory_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = StateDir::open(&file.join("state")).unwrap_err();
        assert!(
            error.to_string().contains(file.to_str().unwrap()),
            "{error}"
        );
    }
}
