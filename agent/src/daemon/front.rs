//! The front for Supervisor's clients, as the daemon starts and ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rsv_config::{Config, HttpServer, MAIN_RPC_FACTORY};
use tokio::sync::mpsc;
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

/// The running front.
#[derive(Debug)]
pub(super) struct Front {
    servers: Servers,
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

impl Front {
    pub(super) fn start(
        bound: Vec<Bound>,
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
        Ok(Self { servers, ending })
    }

    /// From now on clients are told that everything is being stopped.
    pub(super) fn end_is_near(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    pub(super) async fn stop(self) {
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
