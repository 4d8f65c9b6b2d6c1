//! What the capture thread has to tell the keeper.
//!
//! A trait, so that the thread can be tested without a keeper.

use std::io;
use std::os::fd::BorrowedFd;

use rsv_keeper::message::{Channel, Request, Run, Stream};

use crate::keeper_client::KeeperPort;

/// The two messages about streams. Called on the capture thread only; may wait a bounded time.
pub trait DrainPort: Send + 'static {
    /// From now on the stream is drained into `file` when no agent is there.
    ///
    /// # Errors
    ///
    /// `NotConnected`, `BrokenPipe` or `ConnectionReset` when there is no keeper; anything else
    /// when there is one that could not be told.
    fn drain_to(&self, run: &Run, channel: Channel, file: BorrowedFd<'_>) -> io::Result<()>;

    /// The stream has come to its end.
    ///
    /// # Errors
    ///
    /// As [`DrainPort::drain_to`].
    fn close_stream(&self, run: &Run, channel: Channel) -> io::Result<()>;
}

impl DrainPort for KeeperPort {
    fn drain_to(&self, run: &Run, channel: Channel, file: BorrowedFd<'_>) -> io::Result<()> {
        KeeperPort::drain_to(self, run, channel, file)
    }

    fn close_stream(&self, run: &Run, channel: Channel) -> io::Result<()> {
        self.send(Request::CloseStream(stream(run, channel)), &[])
    }
}

/// Nobody listens at the other end: what should have been told is told to the next keeper.
pub(super) fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    matches!(error.kind(), NotConnected | BrokenPipe | ConnectionReset)
}

fn stream(run: &Run, channel: Channel) -> Stream {
    Stream {
        run: run.clone(),
        channel: channel.into(),
    }
}
