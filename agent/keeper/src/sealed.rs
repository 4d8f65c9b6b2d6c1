//! Bytes in a memfd that nobody can change any more.
//!
//! Large messages travel in one, and a keeper leaves its state to its next image in one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};

/// What a reader wants to be sealed: content and size.
const SEALS: SealFlags = SealFlags::WRITE
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW);

/// Why the content of a descriptor cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// It is something else, or could still be changed.
    #[error("not a sealed memfd")]
    NotSealed,
    /// There is nothing in it, or more than the reader wants.
    #[error("sealed memfd of {size} bytes, where 1 to {limit} are expected")]
    Size {
        /// What it holds.
        size: u64,
        /// What the reader takes.
        limit: usize,
    },
    /// The system refused.
    #[error("cannot read sealed memfd")]
    Io(#[from] io::Error),
}

/// Puts bytes into a new, sealed memfd, which is closed on exec.
///
/// # Errors
///
/// What the system says when there is no memory or no free descriptor.
pub fn seal(bytes: &[u8]) -> io::Result<OwnedFd> {
    let memfd = rustix::fs::memfd_create("rsv", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut done = 0;
    while done < bytes.len() {
        done += rustix::io::pwrite(&memfd, &bytes[done..], done as u64)?;
    }
    rustix::fs::fcntl_add_seals(memfd.as_fd(), SEALS)?;
    Ok(memfd)
}

/// Reads what [`seal`] wrote, from a descriptor that somebody else may have made. Never waits.
///
/// # Errors
///
/// The descriptor is no sealed memfd, or holds nothing or more than `limit` bytes.
pub fn unseal(memfd: BorrowedFd<'_>, limit: usize) -> Result<Vec<u8>, UnsealError> {
    // Only a memfd has seals, so this also keeps us from reading a pipe, which could wait.
    let seals = rustix::fs::fcntl_get_seals(memfd).map_err(|_| UnsealError::NotSealed)?;
    if !seals.contains(SEALS) {
        return Err(UnsealError::NotSealed);
    }
    let stat = rustix::fs::fstat(memfd).map_err(io::Error::from)?;
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let wanted = usize::try_from(size).unwrap_or(usize::MAX);
    if wanted == 0 || wanted > limit {
        return Err(UnsealError::Size { size, limit });
    }
    let mut bytes = vec![0; wanted];
    let mut done = 0;
    while done < wanted {
        let read = rustix::io::pread(memfd, &mut bytes[done..], done as u64);
        match read.map_err(io::Error::from)? {
            0 => {
                return Err(UnsealError::Size {
                    size: done as u64,
                    limit,
                });
            }
            n => done += n,
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sealed_bytes_within_the_limit_are_taken() {
        let sealed = seal(b"content").unwrap();
        assert_eq!(unseal(sealed.as_fd(), 7).unwrap(), b"content");
        assert!(matches!(
            unseal(sealed.as_fd(), 6),
            Err(UnsealError::Size { size: 7, limit: 6 })
        ));
        assert!(rustix::io::pwrite(&sealed, b"x", 0).is_err());
        let empty = seal(b"").unwrap();
        assert!(matches!(
            unseal(empty.as_fd(), 7),
            Err(UnsealError::Size { size: 0, .. })
        ));
        let open = rustix::fs::memfd_create("x", MemfdFlags::ALLOW_SEALING).unwrap();
        assert!(matches!(
            unseal(open.as_fd(), 7),
            Err(UnsealError::NotSealed)
        ));
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        assert!(matches!(
            unseal(reader.as_fd(), 7),
            Err(UnsealError::NotSealed)
        ));
    }
}
