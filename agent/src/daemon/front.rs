//! The front for Supervisor's clients, as the daemon starts and ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rsv_config::{Config, HttpServer, MAIN_RPC_FACTORY};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::capture::Capture;
use crate::compat::live::{Live, View};
use crate::compat::server::{self, BindError, Bound, Servers, Site};
use crate::failure::Failure;
use crate::hub::HubHandle;
use crate::listeners::Listeners;
use crate::local::DaemonAsk;
use crate::mainlog::{MainLog, SUPERVISOR};
use crate::roster::RosterHandle;
use crate::spare::Reserve;

/// How often a server that could not be bound is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// The running front.
#[derive(Debug)]
pub(super) struct Front {
    servers: Servers,
    /// Tries those again that could not be had; absent: there are none.
    late: Option<JoinHandle<()>>,
    ending: Arc<AtomicBool>,
}

/// The owners that the front asks.
pub(super) struct Owners {
    pub(super) hub: HubHandle,
    pub(super) capture: Capture,
    pub(super) log: MainLog,
    pub(super) roster: RosterHandle,
    pub(super) listeners: Listeners,
    pub(super) daemon: mpsc::Sender<DaemonAsk>,
}

/// Binds the configured servers, with Supervisor's words for what Supervisor refuses too.
pub(super) fn bind(servers: &[HttpServer]) -> Result<Vec<Bound>, Failure> {
    server::bind(servers).map_err(|error: BindError| match error.hint() {
        Some(hint) => Failure::unusable(error.to_string()).hint(hint),
        None => Failure::usage(error),
    })
}

/// As [`bind`], for programs that are to be taken over whatever is missing: those that can be bound, and
/// those that cannot.
pub(super) fn bind_what_can_be(
    servers: &[HttpServer],
    troubles: &mut Vec<String>,
) -> (Vec<Bound>, Vec<HttpServer>) {
    let (mut bound, mut unbound) = (Vec::new(), Vec::new());
    for one in servers {
        match server::bind(std::slice::from_ref(one)) {
            Ok(had) => bound.extend(had),
            Err(error) => {
                troubles.push(format!("a server is missing and tried again: {error}"));
                unbound.push(one.clone());
            }
        }
    }
    (bound, unbound)
}

/// Serves what could not be bound as soon as it can be.
async fn serve_late(mut unbound: Vec<HttpServer>, reserve: Reserve, site: Arc<Site>) {
    // As long as they are held they serve.
    let mut serving = Vec::new();
    while !unbound.is_empty() {
        tokio::time::sleep(AGAIN).await;
        let (bound, still) = bind_what_can_be(&unbound, &mut Vec::new());
        unbound = still;
        if bound.is_empty() {
            continue;
        }
        match server::serve(bound, &reserve, &site) {
            Ok(servers) => {
                info!("a server that was missing is there");
                serving.push(servers);
            }
            Err(error) => warn!(%error, "a server cannot be had"),
        }
    }
    std::future::pending::<()>().await;
}

impl Front {
    pub(super) fn start(
        bound: Vec<Bound>,
        unbound: Vec<HttpServer>,
        reserve: &Reserve,
        owners: Owners,
    ) -> Result<Self, Failure> {
        let namespaces = namespaces(&owners.roster.standing().config);
        let ending = Arc::new(AtomicBool::new(false));
        let live = Live {
            hub: owners.hub,
            capture: owners.capture,
            log: owners.log,
            roster: owners.roster,
            listeners: owners.listeners,
            daemon: owners.daemon,
            ending: Arc::clone(&ending),
            view: View::default(),
        };
        let site = Arc::new(Site::new(Arc::new(live), namespaces));
        let servers = server::serve(bound, reserve, &site)
            .map_err(|error| Failure::failed(format!("cannot serve clients: {error}")))?;
        let late =
            (!unbound.is_empty()).then(|| tokio::spawn(serve_late(unbound, reserve.clone(), site)));
        Ok(Self {
            servers,
            late,
            ending,
        })
    }

    /// From now on clients are told that everything is being stopped.
    pub(super) fn end_is_near(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    pub(super) async fn stop(self) {
        if let Some(late) = self.late {
            // Its servers end with it.
            late.abort();
        }
        self.servers.stop().await;
    }
}

/// The names under which Supervisor's own interface is configured.
fn namespaces(config: &Config) -> Vec<String> {
    let mut names = Vec::new();
    for plugin in &config.rpc_interfaces {
        let name = &plugin.name;
        if plugin.factory == MAIN_RPC_FACTORY {
            info!(target: SUPERVISOR, "RPC interface '{name}' initialized");
            names.push(name.clone());
        } else {
            let factory = &plugin.factory;
            warn!(%name, %factory, "an RPC interface in Python is not provided");
        }
    }
    names
}
