//! The pages for people: the state of every process with what can be done about it, and the end of
//! a log. Rendered here, complete without a script, and everything that is not ours is escaped.

mod act;
mod form;
mod html;
mod session;
mod status;
mod tail;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::SystemTime;

use super::rpc::Rpc;
use super::supervision::Supervision;
pub(crate) use form::decode;
use session::Sessions;

/// The style sheet of the pages.
pub(crate) const STYLE: &str = include_str!("pages/style.css");

/// The pages over an agent.
#[derive(Debug)]
pub(crate) struct Pages {
    supervision: Arc<dyn Supervision>,
    rpc: Rpc,
    sessions: Sessions,
}

impl Pages {
    pub(crate) fn new(supervision: Arc<dyn Supervision>, rpc: Rpc) -> Self {
        Self {
            supervision,
            rpc,
            sessions: Sessions::new(),
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
    jiff::Zoned::now()
        .strftime("%a %b %e %H:%M:%S %Y")
        .to_string()
}
