//! The two clocks of the hub: the machines' ticks, and the time of day that people are shown.

use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};
use rsv_supervise::Tick;

/// Now, as machines count: since the boot of the host, the same for every agent and the keeper.
pub(super) fn now() -> Tick {
    // Linux has this clock always, so that the origin is never what is seen.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Tick::ZERO, |time| Tick::new(time.into()))
}

/// The moment that the keeper names in nanoseconds.
pub(super) fn tick_of(nanoseconds: u64) -> Tick {
    Tick::new(Duration::from_nanos(nanoseconds))
}

/// The time of day at a moment in the past. Taken once for each moment and then kept, so that a
/// clock set later does not move what was said.
pub(super) fn wall(at: Tick) -> SystemTime {
    let now_wall = SystemTime::now();
    now_wall.checked_sub(now().since(at)).unwrap_or(now_wall)
}

/// The runtime's name for a moment to come.
pub(super) fn instant(at: Tick) -> tokio::time::Instant {
    tokio::time::Instant::now() + at.since(now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_an_hour_ago_is_an_hour_ago_on_the_wall() {
        let now = now();
        let hour = Duration::from_secs(3600);
        let earlier = Tick::new(now.since_origin().saturating_sub(hour));
        let shown = SystemTime::now().duration_since(wall(earlier)).unwrap();
        assert!(shown >= now.since(earlier) && shown < now.since(earlier) + hour);
    }
}
