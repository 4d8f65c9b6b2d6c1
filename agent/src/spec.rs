//! From a configured process to what the hub supervises and the keeper starts.
//!
//! A [`Program`] is everything the agent needs to know of one process. Its [`Launch`] is turned into
//! the keeper's fully resolved `Spec` anew for each start, because the file system changes: the command is
//! split and its executable found, the environment put together. Users and their
//! groups are looked up once, when the program is loaded: that may ask a directory server, and a
//! restart must not wait for one. Every refusal carries Supervisor's own text.

mod auto_logs;
mod configured;
mod credentials;
mod error;
mod executable;
mod launch;
mod socket;

use std::sync::Arc;

use rsv_supervise::Policy;

use crate::capture::{LogSpec, LogTarget};
use crate::hub::Key;

pub use auto_logs::AutoLogs;
pub use configured::load;
pub use credentials::lookup as lookup_credentials;
pub use error::{SpawnError, refused_text};
pub(crate) use error::{code_name, io_code};
pub use launch::{Ambience, Launch};
pub use socket::{SocketAddress, SocketSpec};

/// One process to supervise.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its name.
    pub key: Key,
    /// Groups with a lower number start earlier and stop later.
    pub group_priority: i64,
    /// The same inside the group.
    pub priority: i64,
    /// The rules of its life.
    pub policy: Policy,
    /// How it is started, or why its configuration is refused.
    pub launch: Result<Launch, String>,
    /// Where its standard output goes.
    pub stdout: Arc<LogSpec>,
    /// Where its standard error goes; absent: where its standard output goes.
    pub stderr: Option<Arc<LogSpec>>,
    /// The digest of all that it is started with, see [`rsv_config::fingerprint`].
    pub fingerprint: u64,
    /// The socket that is its standard input; absent: that is a pipe.
    pub socket: Option<Arc<SocketSpec>>,
}

impl Program {
    /// The place in the order of starting.
    pub(crate) fn order(&self) -> (i64, &str, i64, &str) {
        (
            self.group_priority,
            &self.key.group,
            self.priority,
            &self.key.name,
        )
    }
}

/// Whether a log can be read back.
pub(crate) fn is_file(log: &LogSpec) -> bool {
    !matches!(log.target, LogTarget::Null)
}
