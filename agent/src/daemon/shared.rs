//! What is handed to each way into the agent: the same handles, as each one takes them.

use std::path::PathBuf;

use tokio::sync::mpsc;

use super::front::Owners;
use crate::capture::Capture;
use crate::hub::HubHandle;
use crate::link;
use crate::listeners::Listeners;
use crate::local::{self, DaemonAsk};
use crate::mainlog::MainLog;
use crate::roster::RosterHandle;

/// What each way in needs of the rest.
pub(super) struct Shared {
    pub(super) hub: HubHandle,
    pub(super) capture: Capture,
    pub(super) roster: RosterHandle,
    pub(super) listeners: Listeners,
    pub(super) main_log: Option<PathBuf>,
    pub(super) log: MainLog,
    pub(super) daemon: mpsc::Sender<DaemonAsk>,
}

impl Shared {
    pub(super) fn for_front(&self) -> Owners {
        Owners {
            hub: self.hub.clone(),
            capture: self.capture.clone(),
            log: self.log.clone(),
            roster: self.roster.clone(),
            listeners: self.listeners.clone(),
            daemon: self.daemon.clone(),
        }
    }

    pub(super) fn for_link(&self) -> link::Owners {
        link::Owners {
            hub: self.hub.clone(),
            capture: self.capture.clone(),
            roster: self.roster.clone(),
            main_log: self.main_log.clone(),
            log: self.log.clone(),
            daemon: self.daemon.clone(),
        }
    }

    pub(super) fn for_local(&self) -> local::Owners {
        local::Owners {
            hub: self.hub.clone(),
            capture: self.capture.clone(),
            roster: self.roster.clone(),
            listeners: self.listeners.clone(),
            main_log: self.main_log.clone(),
            log: self.log.clone(),
            daemon: self.daemon.clone(),
        }
    }
}
