//! What is to be sent to the keeper, in order, without ever waiting.
//!
//! A packet goes out at once when the socket has room, which is nearly always. Otherwise it and all
//! that follow it wait here, and the hub goes on reading reports: a keeper that has answers to tell
//! stops reading requests until they are read. At most a handful of packets per program are ever
//! under way (a spawn, a signal, a note, an acknowledgement), so the number of programs bounds it.
//!
//! While there is no keeper nothing is kept: all that matters is told to the next one anew.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rsv_keeper::message::{Request, ToKeeper};
use rsv_keeper::packet;
use tokio::time::Instant;

use crate::keeper_client::{Drains, KeeperPort, NewConnection};

/// Packets for which room is kept while none waits.
const FEW: usize = 16;

/// How often it is tried again where no event says when that makes sense.
const LOOK: Duration = Duration::from_millis(20);

/// The hub's way to the keeper.
#[derive(Debug)]
pub(super) struct Outbox {
    port: KeeperPort,
    is_connected: bool,
    waiting: VecDeque<(ToKeeper, Vec<Arc<OwnedFd>>)>,
    /// The socket is full, which is the one thing whose end is an event.
    is_full: bool,
    /// When to try again otherwise.
    look_at: Instant,
}

/// What is waited for before what waits is tried again. The moment in it stays the same however often the
/// wait for it is begun anew.
#[derive(Debug)]
pub(super) struct Room {
    port: KeeperPort,
    is_full: bool,
    look_at: Instant,
}

impl Outbox {
    pub(super) fn new(port: KeeperPort) -> Self {
        Self {
            port,
            is_connected: false,
            waiting: VecDeque::new(),
            is_full: false,
            look_at: Instant::now(),
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// The same, when something has to be told ahead of everything: see [`KeeperPort::install_after`].
    pub(super) fn connect_after(
        &mut self,
        connection: NewConnection,
        first: impl FnOnce(&NewConnection, &Drains),
    ) {
        self.port.install_after(connection, first);
        self.is_connected = true;
    }

    /// Everything goes to this keeper from now on.
    pub(super) fn connect(&mut self, connection: NewConnection) {
        self.port.install(connection);
        self.is_connected = true;
    }

    /// The keeper has gone, and what it was to be told with it.
    pub(super) fn disconnect(&mut self) {
        self.port.disconnect();
        self.is_connected = false;
        self.waiting.clear();
    }

    /// Something waits for room.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How many packets wait for room.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Sends, or keeps it until there is room.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a message that no keeper takes. Anything else that may happen is the end
    /// of the connection, which is told elsewhere.
    pub(super) fn send(&mut self, request: Request, fds: Vec<Arc<OwnedFd>>) -> io::Result<()> {
        let message = ToKeeper {
            request: Some(request),
        };
        packet::check(&message, fds.len())?;
        if self.is_connected {
            self.waiting.push_back((message, fds));
            // What waits already waits for room, and only that is a reason to try again.
            if self.waiting.len() == 1 {
                self.flush();
            }
        }
        Ok(())
    }

    /// As [`Outbox::send`], for what is always small.
    pub(super) fn tell(&mut self, request: Request) {
        if let Err(error) = self.send(request, Vec::new()) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "too large for the keeper"
            );
        }
    }

    /// Sends what there is room for.
    pub(super) fn flush(&mut self) {
        while let Some((message, fds)) = self.waiting.front() {
            let borrowed: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
            if let Err(error) = self.port.try_send(message, &borrowed) {
                return self.could_not_send(&error);
            }
            self.waiting.pop_front();
        }
        // Room for a thousand packets is needed at most when everything starts.
        self.waiting.shrink_to(FEW);
        self.port.has_room();
    }

    fn could_not_send(&mut self, error: &io::Error) {
        self.look_at = Instant::now() + LOOK;
        self.is_full = error.kind() == io::ErrorKind::WouldBlock;
        if self.is_full || is_short(error) {
            return;
        }
        if !is_gone(error) {
            let error = error as &dyn std::error::Error;
            tracing::error!(error, "the keeper cannot be told; attaching to it again");
        }
        // Whatever was to be sent is asked for again when another connection is there.
        self.waiting.clear();
        self.port.end();
    }

    /// What is to be waited for before [`Outbox::flush`].
    pub(super) fn room(&self) -> Room {
        Room {
            port: self.port.clone(),
            is_full: self.is_full,
            look_at: self.look_at,
        }
    }

    pub(super) fn port(&self) -> &KeeperPort {
        &self.port
    }
}

impl Room {
    /// Waits until there may be room.
    pub(super) async fn comes(self) {
        if self.is_full {
            match self.port.writable().await {
                Ok(()) => return,
                // The end of the connection clears what waits.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                    std::future::pending::<()>().await;
                }
                // Not to be watched without a descriptor.
                Err(_) => {}
            }
        }
        tokio::time::sleep_until(self.look_at).await;
    }
}

/// The keeper has gone; the listening task is about to say so.
fn is_gone(error: &io::Error) -> bool {
    let gone = [
        io::ErrorKind::BrokenPipe,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::NotConnected,
    ];
    gone.contains(&error.kind())
}

/// The system has no room for what is sent: too many descriptors are under way, which the keeper takes out
/// as it reads, or there is no memory, or no descriptor for a large message. The socket is not full.
fn is_short(error: &io::Error) -> bool {
    error
        .raw_os_error()
        .is_some_and(|code| packet::SHORTAGES.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsv_keeper::message::Exit;
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    use tokio::time::timeout;

    /// An outbox with something that could not be sent, and the keeper's end of its connection.
    fn with_one_waiting(why: i32) -> (Outbox, OwnedFd) {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::NONBLOCK);
        let pair = rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None);
        let (near, far) = pair.unwrap();
        let mut outbox = Outbox::new(KeeperPort::new());
        outbox.connect(NewConnection::over(near));
        let message = ToKeeper {
            request: Some(Request::Exit(Exit {})),
        };
        outbox.waiting.push_back((message, Vec::new()));
        outbox.could_not_send(&io::Error::from_raw_os_error(why));
        (outbox, far)
    }

    #[tokio::test(start_paused = true)]
    async fn what_found_no_room_though_the_socket_has_some_is_tried_again_soon() {
        for why in [
            libc::ETOOMANYREFS,
            libc::ENOBUFS,
            libc::ENOMEM,
            libc::EMFILE,
        ] {
            let (mut outbox, far) = with_one_waiting(why);
            // More often than once: a socket is told to be writable when it begins to be watched.
            for _ in 0..2 {
                outbox.could_not_send(&io::Error::from_raw_os_error(why));
                let began = Instant::now();
                // Whatever else happens, more often than it is tried.
                while timeout(LOOK / 4, outbox.room().comes()).await.is_err() {
                    assert!(began.elapsed() <= LOOK, "it is never tried again");
                }
            }
            outbox.flush();
            assert!(!outbox.is_waiting());
            let sent = packet::recv::<ToKeeper>(far.as_fd()).unwrap().unwrap().0;
            assert!(matches!(sent.request, Some(Request::Exit(_))));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_socket_is_waited_for_by_its_event_alone() {
        let (mut outbox, far) = with_one_waiting(libc::EAGAIN);
        while outbox.waiting() <= 1 {
            outbox.flush();
            outbox.tell(Request::Exit(Exit {}));
        }
        let waits = timeout(LOOK * 100, outbox.room().comes()).await;
        assert!(waits.is_err(), "nothing has been read");
        while packet::recv::<ToKeeper>(far.as_fd()).is_ok() {}
        let comes = timeout(LOOK * 100, outbox.room().comes()).await;
        assert!(comes.is_ok(), "there is room");
        outbox.flush();
        assert!(!outbox.is_waiting());
    }

    #[tokio::test]
    async fn what_can_never_be_sent_ends_the_connection_instead_of_being_lost() {
        let (outbox, far) = with_one_waiting(libc::EIO);
        assert!(!outbox.is_waiting());
        assert!(packet::recv::<ToKeeper>(far.as_fd()).unwrap().is_none());
    }
}
