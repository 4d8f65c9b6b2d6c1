//! Being told when the host gets an identity.
//!
//! The kernel tells of files that get a name in the state directory; the file is renamed into place
//! when it is complete. So an agent that waits to be joined does nothing until then.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::StateDir;
use super::store::FILE;
use crate::os::readiness;

/// Room for some events of names of any length.
const ROOM: usize = 4096;

/// News of a state directory.
#[derive(Debug)]
pub struct Changes(AsyncFd<OwnedFd>);

impl StateDir {
    /// News of this directory from now on. Inside a runtime only.
    ///
    /// # Errors
    ///
    /// What the system says: this user has too many of these, or it has none.
    pub fn changes(&self) -> io::Result<Changes> {
        let news = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let what = WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB;
        inotify::add_watch(&news, self.path(), what)?;
        readiness::watch(news, Interest::READABLE).map(Changes)
    }
}

impl Changes {
    /// Waits until the identity may be another one. Safe to cancel.
    pub async fn identity(&self) {
        loop {
            let Ok(mut ready) = self.0.readable().await else {
                // The runtime is at its end.
                return std::future::pending().await;
            };
            match self.read() {
                Ok(true) => return,
                Ok(false) => {}
                Err(Errno::AGAIN) => ready.clear_ready(),
                // It cannot be said what has changed: that may be it.
                Err(_) => return ready.clear_ready(),
            }
        }
    }

    /// Whether one of the next news is of the identity.
    fn read(&self) -> Result<bool, Errno> {
        let mut room = [MaybeUninit::uninit(); ROOM];
        let mut reader = inotify::Reader::new(self.0.get_ref(), &mut room);
        let mut is_meant = false;
        loop {
            let event = reader.next()?;
            is_meant |= event
                .file_name()
                .is_none_or(|name| name.to_bytes() == FILE.as_bytes());
            if reader.is_buffer_empty() {
                return Ok(is_meant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_identity_is_news() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        let changes = state.changes().unwrap();
        std::fs::write(directory.path().join("other"), "x").unwrap();
        let mut waiting = Box::pin(changes.identity());
        let first = futures_util::poll!(&mut waiting);
        assert!(first.is_pending());
        std::fs::write(directory.path().join("new"), "x").unwrap();
        std::fs::rename(directory.path().join("new"), directory.path().join(FILE)).unwrap();
        waiting.await;
    }
}
