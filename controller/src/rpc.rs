//! The services: from the wire to the hub and back. Nothing is decided here but whether a message makes
//! sense.

mod act;
mod admin;
mod desired;
mod enrollment;
mod events;
mod fleet;
mod hosts;
mod link;
mod look;
mod operations;
mod seam;
mod tail;
mod view;

use std::sync::Arc;

use rsv_proto::wire::HostSelection;
use tokio_util::sync::CancellationToken;

use crate::{ca::Authority, hub::HubHandle, store::Archive};

pub use admin::AdminService;
pub use enrollment::EnrollmentService;
pub use fleet::FleetService;
pub use link::LinkService;

/// What the services share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The owner of everything that lives.
    pub hub: HubHandle,
    /// What survives a restart.
    pub archive: Archive,
    /// Signs certificates.
    pub authority: Arc<Authority>,
    /// `HOST:PORT` as hosts are to reach this controller.
    pub address: Arc<str>,
    /// Ends what would otherwise last as long as its reader wants.
    pub stopping: CancellationToken,
}

/// A selection that was not sent is an empty one.
fn selection(hosts: Option<HostSelection>) -> HostSelection {
    hosts.unwrap_or_default()
}
