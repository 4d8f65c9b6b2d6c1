//! Time: what is to happen when. What is due at one moment happens in the order in which it was planned.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The time of day at the beginning of every run.
const MORNING: Duration = Duration::from_secs(1_700_000_000);

/// What is to happen.
#[derive(Debug)]
pub(super) struct Schedule<E> {
    now: Duration,
    planned: BTreeMap<(Duration, u64), E>,
    last: u64,
}

impl<E> Schedule<E> {
    pub(super) fn new() -> Self {
        Self {
            now: Duration::ZERO,
            planned: BTreeMap::new(),
            last: 0,
        }
    }

    /// Since the beginning of the run.
    pub(super) fn now(&self) -> Duration {
        self.now
    }

    /// The time of day.
    pub(super) fn wall(&self) -> SystemTime {
        UNIX_EPOCH + MORNING + self.now
    }

    pub(super) fn at(&mut self, at: Duration, event: E) {
        self.last += 1;
        self.planned.insert((at.max(self.now), self.last), event);
    }

    pub(super) fn after(&mut self, pause: Duration, event: E) {
        self.at(self.now + pause, event);
    }

    /// Goes on to what comes next.
    pub(super) fn next(&mut self) -> Option<E> {
        let ((at, _), event) = self.planned.pop_first()?;
        self.now = at;
        Some(event)
    }
}
