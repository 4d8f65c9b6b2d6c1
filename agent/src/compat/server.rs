//! Supervisor's HTTP front: sockets, connections, and who may come in.
//!
//! [`bind`] makes the sockets before any thread exists, so that a port in use is said at once;
//! [`serve`] runs them. What a stranger can hold is bounded: connections by number, a request by
//! size and by time, an answer by what it is made of.

mod auth;
mod bind;
mod body;
mod connection;
mod reply;
mod route;
mod site;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tracing::{error, warn};

use crate::mainlog::CRITICAL;
use crate::spare::{Reserve, Seat};
use bind::{Accepted, Listener};
pub use bind::{BindError, Bound, bind, refusal};
pub(crate) use body::Body;
use connection::Stages;
pub(crate) use reply::{Reply, html, put, reply, see_other};
use site::Gate;
pub use site::Site;

/// Connections of one server. Clients keep one each; when a new one comes and all are taken, the
/// one that was idle for longest is closed, or one whose reader has paused, or the one whose request has
/// been arriving for longest, and if there is none the new one.
const CONNECTIONS: usize = 256;

/// The running servers.
#[derive(Debug)]
pub struct Servers {
    running: Vec<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// Runs bound servers, with the reserve that their clients may draw on. Must be called inside the runtime.
///
/// # Errors
///
/// When a socket cannot be watched.
pub fn serve(bound: Vec<Bound>, reserve: &Reserve, site: &Arc<Site>) -> io::Result<Servers> {
    let mut running = Vec::with_capacity(bound.len());
    for one in bound {
        let section = &one.section;
        if one.credentials.is_none() {
            error!(
                target: CRITICAL,
                "Server '{}' running without any HTTP authentication checking",
                kind(section)
            );
        }
        let gate = Arc::new(Gate::new(Arc::clone(site), &one));
        let (listener, name) = one.listen()?;
        let reserve = reserve.clone();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = accept(listener, reserve, gate) => {}
                // A dropped front stops the server as well.
                _ = stopped => {}
            }
            drop(name);
        });
        running.push((stop, task));
    }
    Ok(Servers { running })
}

impl Servers {
    /// Ends the servers with all their connections, and removes the names of their sockets.
    pub async fn stop(self) {
        for (stop, task) in self.running {
            // A server that has ended by itself is one that is stopped.
            stop.send(()).ok();
            if let Err(error) = task.await {
                warn!(%error, "a server for clients has failed");
            }
        }
    }
}

/// The kind of a section, as Supervisor's line names it.
fn kind(section: &str) -> &str {
    section.split(':').next().unwrap_or(section)
}

/// The connections of one server.
#[derive(Debug, Default)]
struct Open {
    tasks: JoinSet<u64>,
    stages: HashMap<u64, (tokio::task::AbortHandle, Stages)>,
    last: u64,
}

async fn accept(listener: Listener, reserve: Reserve, gate: Arc<Gate>) {
    let mut open = Open::default();
    loop {
        tokio::select! {
            (stream, seat) = reserve.accept(|| listener.accept()) => {
                open.take(stream, seat, &gate);
            }
            Some(ended) = open.tasks.join_next_with_id(), if !open.tasks.is_empty() => {
                open.forget(ended.map(|(_, number)| number));
            }
        }
    }
}

impl Open {
    fn take(&mut self, stream: Accepted, seat: Seat, gate: &Arc<Gate>) {
        if self.stages.len() >= CONNECTIONS && !self.evict() {
            return;
        }
        self.last += 1;
        let (number, stages) = (self.last, Stages::new());
        let serving = connection::serve(stream, Arc::clone(gate), stages.clone());
        let task = self.tasks.spawn(async move {
            serving.await;
            drop(seat);
            number
        });
        self.stages.insert(number, (task, stages));
    }

    /// Closes the connection that can be spared most; whether there was one.
    fn evict(&mut self) -> bool {
        let spare = self.stages.iter();
        let spare =
            spare.filter_map(|(number, (_, stages))| Some((stages.spare_since()?, *number)));
        let Some((_, number)) = spare.min() else {
            return false;
        };
        if let Some((task, _)) = self.stages.remove(&number) {
            task.abort();
        }
        true
    }

    fn forget(&mut self, ended: Result<u64, tokio::task::JoinError>) {
        match ended {
            Ok(number) => drop(self.stages.remove(&number)),
            Err(error) => {
                if error.is_panic() {
                    error!(%error, "a connection of a client has failed");
                }
                self.stages.retain(|_, (task, _)| !task.is_finished());
            }
        }
    }
}
