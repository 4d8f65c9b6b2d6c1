//! Sending to the keeper, from any thread.
//!
//! The port also knows the newest drain file of each log. A spawn is put together from what its log was
//! opened as, and by the time it is sent the log may have been rotated: then the keeper, should we die
//! before the new run's pipes are taken over, would drain them into a file that is an old one. So a spawn
//! gets the newest file at the moment in which it is sent.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rsv_keeper::message::{Channel, Request, Run, Spawn, Stream, ToKeeper};
use rsv_keeper::packet;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::Shutdown;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::os::readiness;

/// How long one packet may wait for room in the socket. The keeper reads whenever it is awake, so a
/// longer wait means that it does not run at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// The one way to send to the keeper. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct KeeperPort {
    connection: Arc<Mutex<Option<Connection>>>,
    /// The connection once more, watched for room, while somebody waits for that. It would wake the
    /// runtime with every packet that the keeper reads.
    room: Arc<Mutex<Option<Connection>>>,
    drains: Arc<Mutex<Drains>>,
}

/// The newest drain file of each log, while it is open.
#[derive(Debug, Default)]
pub struct Drains {
    files: HashMap<(String, Channel), (Moment, Arc<OwnedFd>)>,
    last: Moment,
}

/// Orders what becomes known of drain files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// A connected, non-blocking socket, watched for what can be read.
pub(super) type Connection = Arc<AsyncFd<OwnedFd>>;

/// A connection that is not in the port yet.
#[derive(Debug)]
pub struct NewConnection(pub(super) Connection);

impl NewConnection {
    /// One over a connected, non-blocking socket.
    #[cfg(test)]
    pub(crate) fn over(socket: OwnedFd) -> Self {
        let watched = readiness::watch(socket, Interest::READABLE);
        Self(Arc::new(watched.unwrap()))
    }

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
        let socket = connection.get_ref().as_fd();
        let Some(Request::Spawn(spawn)) = &message.request else {
            return packet::send(socket, message, fds);
        };
        // Held while it is sent, so that no file becomes the newest one before the keeper has this one:
        // what it is told of that file comes later and counts for the new run too.
        let drains = lock(&self.drains);
        packet::send(socket, message, &drains.newest(spawn, fds))
    }

    /// From now on the stream, and those of the key's other runs, are drained into this file.
    ///
    /// # Errors
    ///
    /// As [`KeeperPort::send`]. While there is no keeper the file is known all the same.
    pub fn drain_to(&self, run: &Run, channel: Channel, file: BorrowedFd<'_>) -> io::Result<()> {
        let copy = file.try_clone_to_owned()?;
        lock(&self.drains).know(&run.key, channel, copy);
        let stream = Stream {
            run: run.clone(),
            channel: channel.into(),
        };
        self.send(Request::DrainTo(stream), &[file])
    }

    /// Now, for [`KeeperPort::offer_drain`].
    pub fn moment(&self) -> Moment {
        lock(&self.drains).last
    }

    /// A log was opened with this file, which was asked for at `since`. Counts unless a newer one has
    /// become known from then on.
    ///
    /// # Errors
    ///
    /// There is no free descriptor.
    pub fn offer_drain(
        &self,
        key: &str,
        channel: Channel,
        file: BorrowedFd<'_>,
        since: Moment,
    ) -> io::Result<()> {
        let copy = file.try_clone_to_owned()?;
        let mut drains = lock(&self.drains);
        let known = drains.files.get(&(key.to_owned(), channel));
        if known.is_none_or(|(at, _)| *at <= since) {
            drains.know(key, channel, copy);
        }
        Ok(())
    }

    /// The newest drain file of a log. Nobody else keeps one: an old file, removed by now, would take up
    /// its room on the disk for as long.
    pub fn drain(&self, key: &str, channel: Channel) -> Option<Arc<OwnedFd>> {
        let drains = lock(&self.drains);
        let known = drains.files.get(&(key.to_owned(), channel));
        known.map(|(_, file)| Arc::clone(file))
    }

    /// A log is open with this file, which may be an old one by now: it counts when no other is known.
    pub fn settle_drain(&self, key: &str, channel: Channel, file: OwnedFd) {
        let mut drains = lock(&self.drains);
        if !drains.files.contains_key(&(key.to_owned(), channel)) {
            drains.know(key, channel, file);
        }
    }

    /// The logs of a key are closed.
    pub fn forget_drains(&self, key: &str) {
        let mut drains = lock(&self.drains);
        for channel in [Channel::Stdout, Channel::Stderr] {
            drains.files.remove(&(key.to_owned(), channel));
        }
    }

    /// Waits until the socket has room, or the connection has gone. To be waited for until all is sent,
    /// and then [`KeeperPort::has_room`].
    ///
    /// # Errors
    ///
    /// `NotConnected` while there is no keeper; what the system says when there is no free descriptor.
    pub async fn writable(&self) -> io::Result<()> {
        let watched = self.watched_for_room()?;
        // Room is looked for by sending; the next wait is to be for a new event.
        watched.writable().await?.clear_ready();
        Ok(())
    }

    /// Nobody waits for room any more.
    pub fn has_room(&self) {
        *lock(&self.room) = None;
    }

    fn watched_for_room(&self) -> io::Result<Connection> {
        let connection = self.connection().ok_or(io::ErrorKind::NotConnected)?;
        let mut room = lock(&self.room);
        if let Some(watched) = room.as_ref() {
            return Ok(Arc::clone(watched));
        }
        let copy = connection.get_ref().try_clone()?;
        let watched = Arc::new(readiness::watch(copy, Interest::WRITABLE)?);
        *room = Some(Arc::clone(&watched));
        Ok(watched)
    }

    /// From now on everything goes through this connection.
    pub fn install(&self, connection: NewConnection) {
        self.has_room();
        *lock(&self.connection) = Some(connection.0);
    }

    /// The same, after what `first` sends ahead of everything. Until all that is there no file becomes the newest
    /// one of its log: it would be told to nobody, and the keeper would drain into the former one.
    pub fn install_after(
        &self,
        connection: NewConnection,
        first: impl FnOnce(&NewConnection, &Drains),
    ) {
        let drains = lock(&self.drains);
        first(&connection, &drains);
        self.install(connection);
    }

    /// Ends the connection, which cannot be used any more. The listening task sees that, and attaches again.
    pub fn end(&self) {
        if let Some(connection) = self.connection() {
            // It fails when the other end has closed it.
            rustix::net::shutdown(connection.get_ref(), Shutdown::Both).ok();
        }
    }

    /// There is no keeper until the next [`KeeperPort::install`].
    pub fn disconnect(&self) {
        self.has_room();
        *lock(&self.connection) = None;
    }

    fn connection(&self) -> Option<Connection> {
        lock(&self.connection).clone()
    }
}

impl Drains {
    /// The file of a log; nothing while it is not open.
    pub fn of(&self, key: &str, channel: Channel) -> Option<BorrowedFd<'_>> {
        let known = self.files.get(&(key.to_owned(), channel));
        known.map(|(_, file)| file.as_fd())
    }

    fn know(&mut self, key: &str, channel: Channel, file: OwnedFd) {
        self.last.0 += 1;
        let known = (self.last, Arc::new(file));
        self.files.insert((key.to_owned(), channel), known);
    }

    /// The descriptors of a spawn, with the newest drain files. They are the last ones.
    fn newest<'a>(&'a self, spawn: &Spawn, fds: &[BorrowedFd<'a>]) -> Vec<BorrowedFd<'a>> {
        let mut fds = fds.to_vec();
        let flags = [
            (Channel::Stderr, spawn.has_stderr_drain),
            (Channel::Stdout, spawn.has_stdout_drain),
        ];
        let attached = flags.into_iter().filter(|(_, is_attached)| *is_attached);
        for ((channel, _), fd) in attached.zip(fds.iter_mut().rev()) {
            if let Some((_, file)) = self.files.get(&(spawn.run.key.clone(), channel)) {
                *fd = file.as_fd();
            }
        }
        fds
    }
}

/// What is behind these locks is only ever replaced whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn inode(file: impl AsFd) -> u64 {
        rustix::fs::fstat(file).unwrap().st_ino
    }

    /// A spawn with a given standard input and both drain files.
    fn spawn() -> Spawn {
        Spawn {
            run: Run {
                key: "a:a".into(),
                attempt: 2,
            },
            has_stdout_drain: true,
            has_stderr_drain: true,
            ..Spawn::default()
        }
    }

    #[test]
    fn a_spawn_gets_the_newest_drain_files_and_keeps_its_other_descriptors() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(directory.path().join(name)).unwrap();
        let (given, stdout, stderr, newer) = (file("i"), file("o"), file("e"), file("n"));
        let port = KeeperPort::new();
        let fds = [given.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let sent = |port: &KeeperPort| {
            let drains = lock(&port.drains);
            let fds = drains.newest(&spawn(), &fds);
            fds.into_iter().map(inode).collect::<Vec<_>>()
        };
        let before = [inode(&given), inode(&stdout), inode(&stderr)];
        assert_eq!(sent(&port), before);
        let run = spawn().run;
        let told = port.drain_to(&run, Channel::Stdout, newer.as_fd());
        assert_eq!(told.unwrap_err().kind(), io::ErrorKind::NotConnected);
        assert_eq!(sent(&port), [before[0], inode(&newer), before[2]]);
        port.forget_drains("a:a");
        assert_eq!(sent(&port), before);
    }

    #[test]
    fn a_file_that_was_opened_before_a_rotation_is_not_the_newest_one() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(directory.path().join(name)).unwrap();
        let (opened, rotated) = (file("opened"), file("rotated"));
        let port = KeeperPort::new();
        let run = spawn().run;
        let newest = || inode(&*lock(&port.drains).files[&("a:a".into(), Channel::Stdout)].1);
        let offer = |since| port.offer_drain("a:a", Channel::Stdout, opened.as_fd(), since);
        let asked = port.moment();
        port.drain_to(&run, Channel::Stdout, rotated.as_fd())
            .unwrap_err();
        offer(asked).unwrap();
        assert_eq!(newest(), inode(&rotated));
        offer(port.moment()).unwrap();
        assert_eq!(newest(), inode(&opened));
    }
}
