//! What both ends of a wire of rsv agree on.
//!
//! * [`wire`]: the generated messages and services
//! * [`name`]: names of hosts, parsed once and valid ever after
//! * [`select`]: patterns of hosts and of programs, parsed and matched in one place
//! * [`fold`]: many host names as one short text
//! * [`process`]: how a process is shown: names, states, descriptions
//! * [`digest`]: whether both ends of a session know the same
//! * [`identity`]: how a certificate names a role and a host
//! * [`tls`]: mutual TLS 1.3 from certificates and keys in memory
//! * [`dial`]: one connection to a peer
//! * [`context`]: what an operator needs to reach a fleet
//! * [`time`]: moments and durations as the wire carries them
//! * [`token`]: the text with which a host joins
//! * [`limits`]: bounds and intervals that both ends keep
//! * [`xmlrpc`]: the codec of Supervisor's interface, for both ends
//! * [`telemetry`]: logs, traces, and the trace context in gRPC metadata

pub mod context;
pub mod dial;
pub mod digest;
pub mod fold;
pub mod identity;
pub mod limits;
pub mod name;
pub mod plan;
pub mod process;
pub mod select;
pub mod telemetry;
pub mod time;
pub mod tls;
pub mod token;
pub mod wire;
pub mod xmlrpc;
