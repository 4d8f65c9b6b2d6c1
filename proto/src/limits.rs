//! Bounds and intervals that both ends of a wire keep.

use std::time::Duration;

/// The protocol revisions that this code speaks, oldest and newest. Revision 2 carries digests.
pub const PROTOCOL: std::ops::RangeInclusive<u32> = 1..=2;

/// From this revision on, snapshots and heartbeats carry a digest.
pub const DIGEST_REVISION: u32 = 2;

/// The largest gRPC message in either direction.
pub const MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// The most bytes of output in one chunk.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// The most processes in one chunk of a snapshot: at some 500 bytes each, a small part of
/// [`MESSAGE_BYTES`].
pub const SNAPSHOT_CHUNK: usize = 500;

/// How often each side of a session says that it lives, unless configured otherwise.
pub const HEARTBEAT: Duration = Duration::from_secs(5);

/// After so many silent intervals a session is over.
pub const MISSED_HEARTBEATS: u32 = 3;

/// HTTP/2 keepalive on every connection: finds a peer that is gone although its socket is open.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long a keepalive may remain unanswered.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a TCP connection may take to open, TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a host may begin with a command when its caller does not say.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(30);
