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

use crate::keeper_client::{Drains, KeeperPort, NewConnection};

/// Packets for which room is kept while none waits.
const FEW: usize = 16;

/// How often room is looked for when there is no descriptor to wait with.
const LOOK: Duration = Duration::from_millis(20);

/// The hub's way to the keeper.
#[derive(Debug)]
pub(super) struct Outbox {
    port: KeeperPort,
    is_connected: bool,
    waiting: VecDeque<(ToKeeper, Vec<Arc<OwnedFd>>)>,
}

impl Outbox {
    pub(super) fn new(port: KeeperPort) -> Self {
        Self {
            port,
            is_connected: false,
            waiting: VecDeque::new(),
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
        if prost::Message::encoded_len(&message) > rsv_keeper::message::MESSAGE_LIMIT {
            return Err(io::ErrorKind::InvalidInput.into());
        }
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
            match self.port.try_send(message, &borrowed) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_out_of_room(&error) => return,
                Err(error) if packet::is_malformed(&error) || is_refused(&error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "cannot be sent");
                }
                // The keeper has gone; the listening task is about to say so.
                Err(_) => {
                    self.waiting.clear();
                    return;
                }
            }
            self.waiting.pop_front();
        }
        // Room for a thousand packets is needed at most when everything starts.
        self.waiting.shrink_to(FEW);
        self.port.has_room();
    }

    /// Waits until there may be room.
    pub(super) async fn room(port: KeeperPort) {
        match port.writable().await {
            Ok(()) => {}
            // The end of the connection clears what waits.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                std::future::pending::<()>().await;
            }
            // Not to be watched without a descriptor: it is looked for.
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }

    pub(super) fn port(&self) -> &KeeperPort {
        &self.port
    }
}

fn is_refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}

/// Too many descriptors are under way; the keeper takes them out as it reads.
fn is_out_of_room(error: &io::Error) -> bool {
    let crowded = [libc::ETOOMANYREFS, libc::ENOBUFS, libc::ENOMEM];
    error
        .raw_os_error()
        .is_some_and(|code| crowded.contains(&code))
}
