//! Sending to the keeper, from any thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rsv_keeper::message::{Request, ToKeeper};
use rsv_keeper::packet;
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::unix::AsyncFd;

/// How long one packet may wait for room in the socket. The keeper reads whenever it is awake, so a
/// longer wait means that it does not run at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// The one way to send to the keeper. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct KeeperPort {
    connection: Arc<Mutex<Option<Connection>>>,
}

/// A connected, non-blocking socket.
pub(super) type Connection = Arc<AsyncFd<OwnedFd>>;

/// A connection that is not in the port yet.
#[derive(Debug)]
pub struct NewConnection(pub(super) Connection);

impl NewConnection {
    /// Sends one message ahead of everything that goes through the port.
    ///
    /// # Errors
    ///
    /// As [`KeeperPort::send`].
    pub fn send(&self, request: Request, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        send_patiently(
            &self.0,
            &ToKeeper {
                request: Some(request),
            },
            fds,
        )
    }
}

impl KeeperPort {
    /// A port without a keeper behind it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends one request with its descriptors as one packet. Waits a bounded time for room.
    ///
    /// # Errors
    ///
    /// `NotConnected` while there is no keeper, `TimedOut` when it does not read; otherwise what the
    /// socket says. After an error nothing was sent.
    pub fn send(&self, request: Request, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let connection = self.connection().ok_or(io::ErrorKind::NotConnected)?;
        send_patiently(
            &connection,
            &ToKeeper {
                request: Some(request),
            },
            fds,
        )
    }

    /// As [`KeeperPort::send`], but `WouldBlock` when there is no room now.
    ///
    /// # Errors
    ///
    /// `NotConnected`, `WouldBlock`, or what the socket says. After an error nothing was sent.
    pub fn try_send(&self, message: &ToKeeper, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let connection = self.connection().ok_or(io::ErrorKind::NotConnected)?;
        packet::send(connection.get_ref().as_fd(), message, fds)
    }

    /// Waits until the socket has room, or the connection has gone.
    ///
    /// # Errors
    ///
    /// `NotConnected` while there is no keeper.
    pub async fn writable(&self) -> io::Result<()> {
        let connection = self.connection().ok_or(io::ErrorKind::NotConnected)?;
        let mut ready = connection.writable().await?;
        // Room is looked for by sending; the next wait is to be for a new event.
        ready.clear_ready();
        Ok(())
    }

    /// From now on everything goes through this connection.
    pub fn install(&self, connection: NewConnection) {
        *self.lock() = Some(connection.0);
    }

    /// There is no keeper until the next [`KeeperPort::install`].
    pub fn disconnect(&self) {
        *self.lock() = None;
    }

    fn connection(&self) -> Option<Connection> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        // The value is only ever replaced whole.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn send_patiently(
    connection: &Connection,
    message: &ToKeeper,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let socket = connection.get_ref().as_fd();
    let started = Instant::now();
    loop {
        match packet::send(socket, message, fds) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
        let left = PATIENCE.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        wait_writable(socket, left)?;
    }
}

fn wait_writable(socket: BorrowedFd<'_>, limit: Duration) -> io::Result<()> {
    let limit = Timespec::try_from(limit).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut polled = [PollFd::from_borrowed_fd(socket, PollFlags::OUT)];
    match rustix::event::poll(&mut polled, Some(&limit)) {
        Err(rustix::io::Errno::INTR) => Ok(()),
        other => Ok(other.map(|_| ())?),
    }
}
