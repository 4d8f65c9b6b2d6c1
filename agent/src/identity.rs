//! Who this host is, and what the agent keeps on disk about itself.
//!
//! * [`changes`]: being told when there is an identity
//! * [`state`]: the state directory: one agent at a time, the counter of starts
//! * [`store`]: the host's key, certificate and controllers, in one file
//! * [`request`]: a new key and the request for its certificate
//!
//! The identity is one file, replaced whole by a rename: a key and a certificate that do not belong
//! together cannot be found there, whatever interrupted the writing.

pub mod changes;
pub mod request;
pub mod state;
pub mod store;

pub use state::{StateDir, StateError, StateLock};
pub use store::{HostIdentity, Validity};
