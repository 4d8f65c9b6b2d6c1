//! Moments and durations as the wire carries them.

use std::{
    env, fs,
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jiff::tz::TimeZone;

/// Where a host says in which zone it is.
const LOCALTIME: &str = "/etc/localtime";

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

/// The zone of this process, as it is when first asked for: `TZ`, else the host's.
///
/// The file of the host is read as it is. Finding the name of the zone would mean to look through all
/// zones there are, which takes longer than a program needs to start.
pub fn local_zone() -> TimeZone {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    ZONE.get_or_init(|| {
        let host = || TimeZone::tzif("Local", &fs::read(LOCALTIME).ok()?).ok();
        match env::var_os("TZ") {
            Some(_) => TimeZone::system(),
            None => host().unwrap_or_else(TimeZone::system),
        }
    })
    .clone()
}

/// How long ago `at` was; zero when it lies in the future.
pub fn age(at: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(at).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_of_this_process_is_the_one_of_the_host() {
        for at in [0, 1_700_000_000, 1_720_000_000] {
            let at = jiff::Timestamp::from_second(at).unwrap();
            let offset = |zone: TimeZone| zone.to_offset(at);
            assert_eq!(offset(local_zone()), offset(TimeZone::system()));
        }
    }
}
