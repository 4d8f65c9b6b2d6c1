//! One conversation with one keeper: the greeting, then reports.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rsv_keeper::message::{FromKeeper, Hello, PROTOCOL, Reexec, Report, Request, ToKeeper};
use rsv_keeper::packet::{self, Receiver};
use rustix::net::Shutdown;
use tokio::io::Interest;
use tokio::time::timeout;

use super::port::Connection;
use super::{Attached, HeldRun, KeeperError, KeeperInput, NewConnection};
use crate::os::readiness;

/// How long the keeper may be silent in the greeting. It answers in microseconds unless it does not
/// run at all.
const SILENCE: Duration = Duration::from_secs(10);

/// The receiving side of a connection.
#[derive(Debug)]
pub(super) struct Session {
    connection: Connection,
    receiver: Receiver,
}

/// Says hello and takes in all that the keeper holds.
pub(super) async fn greet(
    socket: OwnedFd,
    path: &Path,
) -> Result<(Session, Attached), KeeperError> {
    let broken = |source| KeeperError::Connect {
        socket: path.to_owned(),
        source,
    };
    let hello = Hello {
        protocol: PROTOCOL,
        agent_pid: std::process::id(),
    };
    let hello = ToKeeper {
        request: Some(Request::Hello(hello)),
    };
    packet::send(socket.as_fd(), &hello, &[]).map_err(broken)?;
    rustix::io::ioctl_fionbio(&socket, true).map_err(|errno| broken(errno.into()))?;
    let watched = readiness::watch(socket, Interest::READABLE).map_err(broken)?;
    let connection = Arc::new(watched);
    let mut session = Session {
        connection,
        receiver: Receiver::default(),
    };
    let attached = session.take_stock(path).await?;
    Ok((session, attached))
}

impl Session {
    /// The next input; `Some(None)` for a packet that means nothing to us, `None` when the keeper
    /// has gone. Safe to cancel.
    pub(super) async fn recv(&mut self) -> Option<Option<KeeperInput>> {
        let (report, fds) = self.packet().await?;
        Some(report.and_then(|report| KeeperInput::from_report(report, fds)))
    }

    /// Ends the connection, for whoever else still holds it, too.
    pub(super) fn end(self) {
        // It fails when the other end has closed it.
        rustix::net::shutdown(self.socket(), Shutdown::Both).ok();
    }

    /// The connection itself.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.connection.get_ref().as_fd()
    }

    /// Has the keeper replace itself, whether it can or not. It ends the connection.
    pub(super) async fn ask_reexec(
        mut self,
        executable: &Path,
        path: &Path,
    ) -> Result<(), KeeperError> {
        let request = Request::Reexec(Reexec {
            executable: executable.as_os_str().as_bytes().to_vec(),
        });
        let sent = NewConnection(Arc::clone(&self.connection)).send(request, &[]);
        sent.map_err(|source| KeeperError::Connect {
            socket: path.to_owned(),
            source,
        })?;
        let gone = async { while self.packet().await.is_some() {} };
        let ended = timeout(SILENCE, gone).await;
        ended.map_err(|_| KeeperError::Silent(path.to_owned()))
    }

    async fn take_stock(&mut self, path: &Path) -> Result<Attached, KeeperError> {
        let mut attached = Attached {
            connection: NewConnection(Arc::clone(&self.connection)),
            keeper_pid: 0,
            version: String::new(),
            runs: Vec::new(),
            notes: Vec::new(),
        };
        loop {
            let next = timeout(SILENCE, self.packet()).await;
            let next = next.map_err(|_| KeeperError::Silent(path.to_owned()))?;
            let (report, fds) = next.ok_or_else(|| KeeperError::Closed(path.to_owned()))?;
            match report {
                Some(Report::Welcome(welcome)) => {
                    attached.keeper_pid = welcome.keeper_pid;
                    attached.version = welcome.version;
                }
                Some(Report::Held(held)) => attached.runs.push(HeldRun::new(held, fds)),
                Some(Report::HeldNote(note)) => attached.notes.push(note),
                Some(Report::Ready(_)) => return Ok(attached),
                Some(Report::Busy(busy)) => {
                    let (socket, pid) = (path.to_owned(), busy.agent_pid);
                    return Err(KeeperError::Busy { socket, pid });
                }
                // A newer keeper may say more in its greeting.
                Some(_) | None => {}
            }
        }
    }

    /// One packet; `None` when the keeper has gone.
    async fn packet(&mut self) -> Option<(Option<Report>, Vec<OwnedFd>)> {
        loop {
            let mut ready = self.connection.readable().await.ok()?;
            let receiver = &mut self.receiver;
            let received =
                ready.try_io(|socket| receiver.recv::<FromKeeper>(socket.get_ref().as_fd()));
            match received {
                Ok(Ok(Some((message, fds)))) => return Some((message.report, fds)),
                Ok(Ok(None)) => return None,
                Ok(Err(error)) if packet::is_malformed(&error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "skipped a report");
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "keeper connection"
                    );
                    return None;
                }
                Err(_would_block) => {}
            }
        }
    }
}
