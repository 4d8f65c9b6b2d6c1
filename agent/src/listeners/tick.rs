//! When ticks are due. Pure: the wall clock is an argument.

use std::time::Duration;

use super::event::{Event, TICKS};

/// A clock that is set is noticed after so long at the latest.
const LONGEST: Duration = Duration::from_secs(60);

/// The period that each kind of tick is in.
#[derive(Debug)]
pub(super) struct Ticks([u64; TICKS.len()]);

impl Ticks {
    /// Begins in the present periods, which give no tick. `now`: since the epoch.
    pub(super) fn new(now: Duration) -> Self {
        Self(TICKS.map(|(period, _)| begin(period, now)))
    }

    /// The ticks of the periods that have begun since this was asked last.
    pub(super) fn take(&mut self, now: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        for ((period, kind), last) in TICKS.into_iter().zip(&mut self.0) {
            let this = begin(period, now);
            if this != *last {
                *last = this;
                events.push(Event::tick(kind, this));
            }
        }
        events
    }
}

/// How long it is until the next period begins of a kind that is wanted; absent when none is.
pub(super) fn until_next(
    now: Duration,
    is_wanted: impl Fn(rsv_config::EventKind) -> bool,
) -> Option<Duration> {
    let wanted = TICKS.into_iter().filter(|(_, kind)| is_wanted(*kind));
    let until = |period| Duration::from_secs(begin(period, now) + period).saturating_sub(now);
    let next = wanted.map(|(period, _)| until(period)).min()?;
    Some(next.min(LONGEST))
}

fn begin(period: u64, now: Duration) -> u64 {
    now.as_secs() - now.as_secs() % period
}

#[cfg(test)]
mod tests {
    use rsv_config::EventKind;

    use super::*;

    fn names(events: &[Event]) -> Vec<String> {
        let words = |event: &Event| {
            let payload = String::from_utf8_lossy(&event.payload);
            format!("{} {payload}", event.kind.name())
        };
        events.iter().map(words).collect()
    }

    #[test]
    fn a_tick_comes_with_each_new_period_and_none_at_the_start() {
        let at = Duration::from_millis;
        let mut ticks = Ticks::new(at(3_599_000));
        assert!(ticks.take(at(3_599_999)).is_empty());
        assert_eq!(
            names(&ticks.take(at(3_600_001))),
            [
                "TICK_5 when:3600",
                "TICK_60 when:3600",
                "TICK_3600 when:3600"
            ]
        );
        assert!(ticks.take(at(3_604_999)).is_empty());
        assert_eq!(names(&ticks.take(at(3_617_000))), ["TICK_5 when:3615"]);
        // The clock was set back.
        assert_eq!(names(&ticks.take(at(3_601_000))), ["TICK_5 when:3600"]);
    }

    #[test]
    fn only_what_is_wanted_is_waited_for() {
        let now = Duration::from_millis(7_001_500);
        let until = |kinds: &[EventKind]| until_next(now, |kind| kinds.contains(&kind));
        assert_eq!(until(&[]), None);
        let five = until(&[EventKind::TICK_5, EventKind::TICK_60]);
        assert_eq!(five, Some(Duration::from_millis(3500)));
        assert_eq!(
            until(&[EventKind::TICK_60]),
            Some(Duration::from_millis(18_500))
        );
        assert_eq!(until(&[EventKind::TICK_3600]), Some(LONGEST));
    }
}
