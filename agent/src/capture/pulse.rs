//! Whether the capture thread gets on: since when it has been at one piece of work.
//!
//! It waits for nothing but the disk, so a piece of work that lasts is a disk that does not answer.
//! A thread that is stuck cannot say so; whoever wants to know reads it here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A piece of work takes microseconds. This long, people should know.
const PATIENCE: Duration = Duration::from_secs(3);

/// The beginning of the present piece of work.
#[derive(Debug)]
pub(super) struct Pulse {
    origin: Instant,
    /// In milliseconds since `origin`, and one more; 0: there is nothing to do.
    busy_since: AtomicU64,
}

impl Pulse {
    pub(super) fn new(origin: Instant) -> Self {
        Self {
            origin,
            busy_since: AtomicU64::new(0),
        }
    }

    /// A piece of work begins.
    pub(super) fn work(&self, now: Instant) {
        let since = now.saturating_duration_since(self.origin).as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX - 1) + 1;
        self.busy_since.store(since, Ordering::Relaxed);
    }

    /// All is done.
    pub(super) fn rest(&self) {
        self.busy_since.store(0, Ordering::Relaxed);
    }

    /// For how long nothing has got on, when that is longer than it should be.
    pub(super) fn stuck_for(&self, now: Instant) -> Option<Duration> {
        let since = self.busy_since.load(Ordering::Relaxed).checked_sub(1)?;
        let since = self.origin + Duration::from_millis(since);
        let stuck = now.saturating_duration_since(since);
        (stuck >= PATIENCE).then_some(stuck)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_long_piece_of_work_is_worth_a_word_and_the_next_one_ends_it() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let pulse = Pulse::new(start);
        assert_eq!(pulse.stuck_for(at(100)), None);
        pulse.work(at(100));
        assert_eq!(pulse.stuck_for(at(102)), None);
        assert_eq!(pulse.stuck_for(at(112)), Some(Duration::from_secs(12)));
        pulse.work(at(112));
        assert_eq!(pulse.stuck_for(at(113)), None);
        assert_eq!(pulse.stuck_for(at(120)), Some(Duration::from_secs(8)));
        pulse.rest();
        assert_eq!(pulse.stuck_for(at(200)), None);
    }
}
