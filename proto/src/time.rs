//! Moments and durations as the wire carries them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment for the wire.
pub fn to_wire(at: SystemTime) -> prost_types::Timestamp {
    at.into()
}

/// A moment from the wire; absent when it lies outside of what the system can represent.
pub fn from_wire(at: &prost_types::Timestamp) -> Option<SystemTime> {
    let seconds = u64::try_from(at.seconds).ok()?;
    let nanos = u32::try_from(at.nanos)
        .ok()
        .filter(|n| *n < 1_000_000_000)?;
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

/// A duration for the wire; one beyond what the wire can say becomes the longest.
pub fn duration_to_wire(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// A duration from the wire; absent when it is negative or malformed.
pub fn duration_from_wire(duration: &prost_types::Duration) -> Option<Duration> {
    let seconds = u64::try_from(duration.seconds).ok()?;
    let nanos = u32::try_from(duration.nanos)
        .ok()
        .filter(|n| *n < 1_000_000_000)?;
    Some(Duration::new(seconds, nanos))
}

/// How long ago `at` was; zero when it lies in the future.
pub fn age(at: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(at).unwrap_or_default()
}
