//! The `Fleet` service for this one host, on a Unix socket.
//!
//! Who may call is decided at the door: the socket is 0600, and every caller must be the agent's
//! own user or root. Calls are translated to asks of the hub and back; nothing is decided here.

mod act;
mod clear;
mod configuration;
mod door;
mod events;
mod main_log;
mod service;
mod socket;
mod stdin;

use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use rsv_proto::limits::MESSAGE_BYTES;
use rsv_proto::wire::fleet_server::FleetServer;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Status};
use tracing::warn;

use crate::capture::Capture;
use crate::hub::HubHandle;
use crate::listeners::Listeners;
use crate::mainlog::MainLog;
use crate::roster::RosterHandle;
use crate::spare::Reserve;
pub(crate) use clear::clear;
pub(crate) use configuration::{available, reload, reread};
pub(crate) use main_log::open as open_main_log;
use service::LocalFleet;
pub use socket::{SocketError, bind};

/// Calls at once on one connection. The command line makes one or two.
const CALLS: usize = 64;

/// What a caller asks of the daemon itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DaemonAsk {
    /// Stop every program, then end.
    Shutdown,
    /// Stop every program, then start anew. The configuration has been checked.
    Restart,
}

/// Whom the service asks.
#[derive(Debug)]
pub struct Owners {
    /// The owner of every process.
    pub hub: HubHandle,
    /// The owner of every log.
    pub capture: Capture,
    /// The owner of what is configured.
    pub roster: RosterHandle,
    /// The one who tells event listeners.
    pub listeners: Listeners,
    /// The file of the agent's own log; absent: it goes elsewhere.
    pub main_log: Option<PathBuf>,
    /// The agent's own log, which tells when something was written.
    pub log: MainLog,
    /// The daemon. It closes the way to it when it is about to end.
    pub daemon: mpsc::Sender<DaemonAsk>,
}

/// The front of the running service.
#[derive(Debug)]
pub struct LocalHandle {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Starts the service on a bound socket, with the reserve that its callers may draw on. Must be called inside the runtime.
///
/// # Errors
///
/// When the socket cannot be watched.
pub fn serve(listener: UnixListener, reserve: Reserve, owners: Owners) -> io::Result<LocalHandle> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let incoming = Box::pin(door::callers(listener, reserve));
    let fleet = FleetServer::new(LocalFleet::new(owners)).max_decoding_message_size(MESSAGE_BYTES);
    let guarded = InterceptedService::new(fleet, admit);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = Server::builder()
        .concurrency_limit_per_connection(CALLS)
        .add_service(guarded)
        .serve_with_incoming_shutdown(incoming, async {
            // A dropped front stops the service as well.
            stopped.await.ok();
        });
    let task = tokio::spawn(async move {
        if let Err(error) = server.await {
            warn!(
                error = &error as &dyn std::error::Error,
                "the local socket is not served any more"
            );
        }
    });
    Ok(LocalHandle { stop, task })
}

impl LocalHandle {
    /// Takes no new calls and gives the present ones a moment to end.
    pub async fn stop(mut self) {
        // The service may have ended by itself.
        self.stop.send(()).ok();
        let moment = std::time::Duration::from_millis(500);
        if tokio::time::timeout(moment, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// Lets in the agent's own user and root.
fn admit(request: Request<()>) -> Result<Request<()>, Status> {
    let peer = request
        .extensions()
        .get::<UdsConnectInfo>()
        .and_then(|info| info.peer_cred);
    let own = nix::unistd::geteuid().as_raw();
    match peer.map(|peer| peer.uid()) {
        Some(uid) if uid == own || uid == 0 => Ok(request),
        Some(uid) => {
            warn!(uid, "a user who may not was refused at the local socket");
            Err(Status::permission_denied(
                "only the agent's own user and root may call",
            ))
        }
        None => Err(Status::permission_denied("the caller's user is not known")),
    }
}

#[cfg(test)]
mod tests;
