//! Opening what output goes to, whatever it is, without ever waiting for it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens for writing at explicit offsets, makes the file if it is missing, and never waits: for a
/// reader of a pipe, or for a line of a terminal.
pub(super) fn open_for_writing(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let flags = i32::try_from(flags).map_err(|_| io::ErrorKind::InvalidInput)?;
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
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
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
