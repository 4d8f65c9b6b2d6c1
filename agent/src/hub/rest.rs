//! When memory is given back: a little after much has happened, when nothing else is about to.
//!
//! Pure. Giving back takes the hub's thread for a moment and lets go of code that the next step needs, so
//! that it waits for the end of a storm; but not for longer than some time, because a storm may not end.
//! Once it is done, nothing wakes anybody until much has happened again.

use std::time::Duration;

use rsv_supervise::Tick;

/// So many steps leave memory behind that is worth giving back: some twenty programs have started.
const MUCH: u32 = 64;

/// By then the other tasks are done with it, too.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// In a storm without an end it is done once in so long.
const LONGEST: Duration = Duration::from_secs(30);

/// Counts the steps of machines.
#[derive(Debug)]
pub(super) struct Rest {
    /// Since memory was last given back.
    steps: u32,
    next: Option<Next>,
}

/// A moment at which it may be done.
#[derive(Debug)]
struct Next {
    at: Tick,
    /// What was counted by then: it is put off when more has come.
    steps: u32,
    /// It is put off no further.
    latest: Tick,
}

impl Rest {
    pub(super) fn new() -> Self {
        Self {
            // The agent's own start is much, too.
            steps: MUCH,
            next: None,
        }
    }

    /// A machine has taken a step.
    pub(super) fn count(&mut self) {
        self.steps = self.steps.saturating_add(1);
    }

    /// Whether memory is to be given back now. `is_calm`: no machine waits for a moment to come.
    pub(super) fn is_due(&mut self, now: Tick, is_calm: bool) -> bool {
        let Some(next) = &mut self.next else {
            if self.steps >= MUCH && is_calm {
                self.next = Some(Next {
                    at: now + AFTERWARDS,
                    steps: self.steps,
                    latest: now + LONGEST,
                });
            }
            return false;
        };
        if now < next.at {
            return false;
        }
        let is_over = is_calm && next.steps == self.steps;
        if !is_over && now < next.latest {
            next.at = now + AFTERWARDS;
            next.steps = self.steps;
            return false;
        }
        *self = Self {
            steps: 0,
            next: None,
        };
        true
    }

    /// When [`Rest::is_due`] wants to be asked although nothing happens.
    pub(super) fn deadline(&self) -> Option<Tick> {
        self.next.as_ref().map(|next| next.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Tick {
        Tick::new(Duration::from_millis(milliseconds))
    }

    #[test]
    fn memory_is_given_back_once_after_a_storm_and_nobody_is_woken_afterwards() {
        let mut rest = Rest::new();
        // A step every tenth of a second, for ten seconds.
        for n in 0..100 {
            rest.count();
            assert!(!rest.is_due(at(n * 100), true), "{n}");
        }
        let mut given = Vec::new();
        while let Some(deadline) = rest.deadline() {
            if rest.is_due(deadline, true) {
                given.push(deadline);
            }
        }
        assert!(
            matches!(given[..], [once] if (at(10_400)..=at(10_900)).contains(&once)),
            "{given:?}"
        );
        assert!(!rest.is_due(at(100_000), true));
        assert_eq!(rest.deadline(), None);
    }

    #[test]
    fn a_storm_without_an_end_has_it_done_now_and_then() {
        let mut rest = Rest::new();
        let mut n_given = 0;
        for n in 0..3000 {
            rest.count();
            // Something is about to happen nine times in ten.
            n_given += u32::from(rest.is_due(at(n * 100), n % 10 == 0));
        }
        let most = 300 / u32::try_from(LONGEST.as_secs()).unwrap();
        assert!((most / 2..=most).contains(&n_given), "{n_given}");
    }

    #[test]
    fn a_few_steps_leave_nothing_behind_and_what_is_about_to_happen_is_waited_for() {
        let mut rest = Rest::new();
        assert!(!rest.is_due(at(0), false));
        assert_eq!(
            rest.deadline(),
            None,
            "the machines have deadlines of their own"
        );
        assert!(!rest.is_due(at(1000), true));
        assert_eq!(rest.deadline(), Some(at(1500)));
        assert!(rest.is_due(at(1500), true));
        for n in 0..u64::from(MUCH) - 1 {
            rest.count();
            assert!(!rest.is_due(at(2000 + n), true));
        }
        assert_eq!(rest.deadline(), None);
    }
}
