//! The pages for people: the state of every process with what can be done about it, and the end of
//! a log. Rendered here, complete without a script, and everything that is not ours is escaped.

mod act;
mod form;
mod html;
mod live;
mod row;
mod session;
mod status;
mod tail;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Semaphore;

use super::rpc::Rpc;
use super::supervision::Supervision;
pub(crate) use form::decode;
use session::Sessions;

/// The style sheet of the pages.
pub(crate) const STYLE: &str = include_str!("pages/style.css");

/// What makes the status page update itself. Every page is complete without it.
pub(crate) const SCRIPT: &str = include_str!("pages/live.js");

/// The sign of the pages in a browser's tab.
pub(crate) const ICON: &str = include_str!("pages/icon.svg");

/// The pages over an agent.
#[derive(Debug)]
pub(crate) struct Pages {
    supervision: Arc<dyn Supervision>,
    rpc: Rpc,
    sessions: Sessions,
    /// The places for pages that update themselves.
    streams: Arc<Semaphore>,
}

impl Pages {
    pub(crate) fn new(supervision: Arc<dyn Supervision>, rpc: Rpc) -> Self {
        Self {
            supervision,
            rpc,
            sessions: Sessions::new(),
            streams: Arc::new(Semaphore::new(live::STREAMS)),
        }
    }
}

/// A moment as HTTP writes it.
pub(crate) fn http_date(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at)
        .map(|at| at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
        .unwrap_or_default()
}

/// Now, as `ctime` writes it.
fn ctime() -> String {
    jiff::Timestamp::now()
        .to_zoned(rsv_proto::time::local_zone())
        .strftime("%a %b %e %H:%M:%S %Y")
        .to_string()
}
