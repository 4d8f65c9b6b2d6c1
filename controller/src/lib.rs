//! The aggregate of every host: `rsv-controller`.
//!
//! * [`args`]: the command line
//! * [`ca`]: the fleet's certificate authority
//! * [`credentials`]: the controller's own certificate on disk
//! * [`files`]: files that only their owner may read
//! * [`fleet`]: every enrolled host and its session; pure
//! * [`host`]: one host as it is known; pure
//! * [`init`]: makes a new fleet
//! * [`moment`]: the time of a decision, told from outside
//! * [`settings`]: what a controller runs with
//! * [`store`]: what must be known after a restart
//! * [`token`]: join tokens, and when one is good; pure

pub mod args;
pub mod ca;
pub mod credentials;
pub mod files;
pub mod fleet;
pub mod host;
pub mod init;
pub mod moment;
pub mod settings;
pub mod store;
pub mod token;
