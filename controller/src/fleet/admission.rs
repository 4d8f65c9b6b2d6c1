//! How many agents may begin a session at once, so that a whole fleet that comes back does not come back
//! in one second.

use std::time::Duration;

/// Sessions that may begin in a second: each brings a snapshot, and this many keep one core busy for a
/// part of that second.
const RATE: u32 = 500;

/// Sessions that may begin at once after a quiet time.
const BURST: u32 = 1000;

/// The longest pause that an agent is asked for.
const LONGEST: Duration = Duration::from_secs(30);

/// The time that one session takes from the budget.
const COST: Duration = Duration::from_nanos(1_000_000_000 / RATE as u64);

/// A budget of beginnings: a moment that each one moves on, and that may run ahead of the clock by a
/// burst.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// Up to this tick the budget is spent.
    spent: Duration,
    /// How many have been sent away since the budget last sufficed; each waits longer than the one before.
    refused: u32,
}

impl Admission {
    /// Lets a session begin, or says how long its agent is to wait: the later it came the longer, so that
    /// those who are sent away come back one after the other.
    pub(super) fn admit(&mut self, tick: Duration) -> Result<(), Duration> {
        let start = self.spent.max(tick);
        if start - tick > COST * BURST {
            self.refused += 1;
            let turn = start - tick + COST * self.refused;
            return Err(turn.min(LONGEST));
        }
        self.spent = start + COST;
        if start == tick {
            self.refused = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_in_and_a_storm_is_spread() {
        let mut admission = Admission::default();
        let now = Duration::from_secs(100);
        let storm: Vec<_> = (0..5000).map(|_| admission.admit(now)).collect();
        let admitted = storm.iter().filter(|turn| turn.is_ok()).count();
        assert_eq!(admitted, BURST as usize + 1);
        let pauses: Vec<Duration> = storm.into_iter().filter_map(Result::err).collect();
        assert!(pauses.is_sorted(), "who came later waits longer");
        assert!(pauses[0] > Duration::from_secs(1));
        assert!(pauses[pauses.len() - 1] <= LONGEST);
    }

    #[test]
    fn a_steady_flow_below_the_rate_never_waits() {
        let mut admission = Admission::default();
        for i in 0..10_000 {
            assert_eq!(admission.admit(COST * i), Ok(()));
        }
    }

    #[test]
    fn everybody_who_keeps_to_the_pause_gets_in() {
        let mut admission = Admission::default();
        let mut waiting: Vec<Duration> = vec![Duration::ZERO; 20_000];
        let mut rounds = 0;
        while !waiting.is_empty() {
            waiting.sort();
            waiting = waiting
                .iter()
                .filter_map(|&tick| admission.admit(tick).err().map(|pause| tick + pause))
                .collect();
            rounds += 1;
            assert!(rounds < 50, "{} still wait", waiting.len());
        }
    }
}
