//! Opening what output goes to, whatever it is, without ever waiting for it.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// So often a private file that comes and goes while it is opened is tried for.
const TRIES: usize = 8;

/// Whose a log file may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// A name that a person has chosen: whatever is there is meant, and the umask says who reads it.
    Named,
    /// A name of the agent's, perhaps where everybody may make files: a regular file of its user that
    /// nobody else reads, or nothing.
    Private,
}

impl Access {
    /// Opens for writing at explicit offsets, makes the file if it is missing, and never waits: for a
    /// reader of a pipe, or for a line of a terminal.
    pub(super) fn open(self, path: &Path) -> io::Result<File> {
        match self {
            Self::Named => open_named(path),
            Self::Private => open_private(path),
        }
    }
}

fn flags(flags: OFlags) -> io::Result<i32> {
    i32::try_from(flags.bits()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Never through a link, and never a file that was made by another user in between.
fn open_private(path: &Path) -> io::Result<File> {
    let flags = flags(OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW)?;
    let mut there = OpenOptions::new();
    there.read(true).write(true).custom_flags(flags);
    let mut new = there.clone();
    new.create_new(true).mode(0o600);
    for _ in 0..TRIES {
        match there.open(path) {
            Ok(file) => return check_private(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                return Err(foreign());
            }
            Err(error) => return Err(error),
        }
        match new.open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other,
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// A second name may be somebody's trick to have a file of ours written to.
fn check_private(file: File) -> io::Result<File> {
    let found = file.metadata()?;
    let is_ours = found.uid() == rustix::process::geteuid().as_raw();
    if !found.is_file() || !is_ours || found.nlink() > 1 {
        return Err(foreign());
    }
    if found.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

fn foreign() -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        "somebody else has put something there",
    )
}

fn open_named(path: &Path) -> io::Result<File> {
    let flags = flags(OFlags::NONBLOCK | OFlags::NOCTTY)?;
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .custom_flags(flags);
    let mut both = options.clone();
    both.read(true);
    let kind = std::fs::metadata(path)
        .ok()
        .map(|metadata| metadata.file_type());
    if kind.is_none_or(|kind| kind.is_file()) {
        // Reading tells whether a line has ended; a file that we may only write to will do.
        return match both.open(path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => options.open(path),
            other => other,
        };
    }
    match options.open(path) {
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
            // A pipe that nobody reads from yet can be opened if we might read from it.
            if kind.is_some_and(|kind| kind.is_fifo()) {
                both.open(path)
            } else {
                inherited(path, error)
            }
        }
        other => other,
    }
}

/// A socket that we were started with, under its name in `/dev` or `/proc`: it cannot be opened, only
/// copied.
fn inherited(path: &Path, error: io::Error) -> io::Result<File> {
    let descriptor = match path.to_str() {
        Some("/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1") => {
            io::stdout().as_fd().try_clone_to_owned()
        }
        Some("/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2") => {
            io::stderr().as_fd().try_clone_to_owned()
        }
        _ => return Err(error),
    };
    descriptor.map(File::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        (directory, path)
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    fn check_refused(path: &Path) {
        let error = Access::Private.open(path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
    }

    #[test]
    fn a_private_file_is_read_by_nobody_else_and_opened_again() {
        let (_directory, path) = place();
        Access::Private.open(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        std::fs::write(&path, "kept").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        Access::Private.open(&path).unwrap();
        assert_eq!(mode(&path), 0o600, "it was open to others");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept");
    }

    #[test]
    fn a_private_file_is_never_opened_through_a_link() {
        let (directory, path) = place();
        let victim = directory.path().join("victim");
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        check_refused(&path);
        assert!(!victim.exists());
        std::fs::write(&victim, "").unwrap();
        std::fs::set_permissions(&victim, Permissions::from_mode(0o644)).unwrap();
        check_refused(&path);
        std::fs::remove_file(&path).unwrap();
        std::fs::hard_link(&victim, &path).unwrap();
        check_refused(&path);
        assert_eq!(mode(&victim), 0o644);
    }

    #[test]
    fn a_private_file_is_a_regular_one() {
        let (_directory, path) = place();
        let fifo = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, fifo, 0).unwrap();
        check_refused(&path);
    }

    #[test]
    fn a_private_file_is_not_another_users() {
        let (_directory, path) = place();
        std::fs::write(&path, "").unwrap();
        // Only root can make a file somebody else's.
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
            check_refused(&path);
        }
    }
}
