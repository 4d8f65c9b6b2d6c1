//! Time as the session sees it: a steady count that goes on while the host sleeps, and the wall
//! clock, which only ever goes on the wire.

use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};

/// One moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since the host booted, its sleep included.
    pub tick: Duration,
    /// The wall clock, which may jump.
    pub wall: SystemTime,
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        Self {
            tick: tick(),
            wall: SystemTime::now(),
        }
    }
}

/// The steady count now.
pub fn tick() -> Duration {
    // Every kernel that runs this has the clock; standing still would only delay a timer.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// The controller's clock in terms of our steady count: its wall clock was read at a known moment
/// between two of our ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControllerClock {
    tick: Duration,
    wall: SystemTime,
}

impl ControllerClock {
    /// From what the controller's wall clock showed between `asked` and `answered`.
    pub fn new(asked: Duration, answered: Duration, wall: SystemTime) -> Self {
        let tick = asked + answered.saturating_sub(asked) / 2;
        Self { tick, wall }
    }

    /// The tick at which the controller's clock shows `wall`; zero when that was before our boot.
    pub fn tick_of(&self, wall: SystemTime) -> Duration {
        match wall.duration_since(self.wall) {
            Ok(later) => self.tick.saturating_add(later),
            Err(earlier) => self.tick.saturating_sub(earlier.duration()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn the_controllers_clock_is_taken_from_the_middle_of_question_and_answer() {
        let s = Duration::from_secs;
        // The controller's clock is years away from ours; only differences count.
        let clock = ControllerClock::new(s(100), s(102), UNIX_EPOCH + s(1000));
        assert_eq!(clock.tick_of(UNIX_EPOCH + s(1000)), s(101));
        assert_eq!(clock.tick_of(UNIX_EPOCH + s(1030)), s(131));
        assert_eq!(clock.tick_of(UNIX_EPOCH + s(990)), s(91));
        assert_eq!(clock.tick_of(UNIX_EPOCH), Duration::ZERO);
    }

    #[test]
    fn the_tick_goes_forward() {
        let before = tick();
        assert!(before > Duration::ZERO);
        assert!(tick() >= before);
    }
}
