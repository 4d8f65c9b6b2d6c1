//! What has happened in the fleet, in one order: the latest events, for every reader at its own pace.
//!
//! Pure but for `journal`, which keeps them for the next run. Invariants: numbers grow, by one within a run,
//! and a controller that starts later begins above those of one that started earlier; what is kept is bounded,
//! and a reader of more is told that there was more.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rsv_proto::{
    name::HostName,
    time::to_wire,
    wire::{Event, event::What},
};

mod journal;

pub use journal::{Journal, Pen};

/// Events that are kept, at some 500 bytes each: an hour of a busy fleet, and 8 MB.
const CAPACITY: usize = 16_384;

/// Numbers between the beginnings of two controllers that start a millisecond apart: more than happens,
/// and few enough that JSON holds a number exactly until the year 2109.
const PER_MILLISECOND: u64 = 1 << 11;

/// The most events that are said to be lost: of another controller's nobody knows how many there were.
const MANY: u64 = 1 << 20;

/// The most events in one page, some 100 kB.
const PAGE: usize = 256;

/// The order of events.
#[derive(Debug)]
pub struct Events {
    ring: VecDeque<Arc<Event>>,
    next: u64,
    pen: Pen,
}

/// Some events.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventPage {
    /// In order.
    pub events: Vec<Arc<Event>>,
    /// Events between the asked one and the first of these that are not kept.
    pub lost: u64,
    /// What to ask for next.
    pub next: u64,
}

impl Events {
    /// Those that earlier runs have told, for a controller that starts now. Each new one is left to the pen.
    pub fn new(now: SystemTime, told: Vec<Event>, pen: Pen) -> Self {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let behind = told.last().map_or(0, |last| last.seq.saturating_add(1));
        Self {
            ring: told.into_iter().map(Arc::new).collect(),
            next: millis.saturating_mul(PER_MILLISECOND).max(behind),
            pen,
        }
    }

    /// Appends an event; of no host when it is about the fleet.
    pub fn push(&mut self, now: SystemTime, host: Option<&HostName>, what: What) {
        if self.ring.len() == CAPACITY {
            self.ring.pop_front();
        }
        let event = Arc::new(Event {
            seq: self.next,
            at: Some(to_wire(now)),
            host: host.map(ToString::to_string).unwrap_or_default(),
            what: Some(what),
        });
        self.pen.put(&event);
        self.ring.push_back(event);
        self.next += 1;
    }

    /// The number of the next event.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The number of the oldest event that is kept, or of the next when there is none.
    pub fn oldest(&self) -> u64 {
        self.ring.front().map_or(self.next, |event| event.seq)
    }

    /// A page that begins with this number. One that lies ahead of all is of a controller with another
    /// clock: it begins with what comes next.
    pub fn page(&self, from: u64) -> EventPage {
        let start = self.ring.partition_point(|event| event.seq < from);
        let events: Vec<_> = self.ring.range(start..).take(PAGE).cloned().collect();
        let last = events.last().or(self.ring.back());
        EventPage {
            next: last.map_or(self.next, |last| last.seq + 1),
            lost: self.lost(from, start),
            events,
        }
    }

    /// How many events between this number and the one at this place of the ring cannot be had. Between the
    /// last of one run and the first of the next there are none: only who has seen more than is kept of a run
    /// has lost some.
    fn lost(&self, from: u64, start: usize) -> u64 {
        let before = start.checked_sub(1).and_then(|at| self.ring.get(at));
        match before {
            Some(before) if from > before.seq.saturating_add(1) => MANY,
            Some(_) => 0,
            None if from > self.oldest() => MANY,
            None => (self.oldest() - from).min(MANY),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rsv_proto::wire::event::HostChanged;

    use super::*;

    fn some(n: usize) -> Events {
        let mut events = started(1000, Vec::new());
        happen(&mut events, n);
        events
    }

    fn started(second: u64, told: Vec<Event>) -> Events {
        let now = UNIX_EPOCH + Duration::from_secs(second);
        Events::new(now, told, Pen::new().0)
    }

    fn happen(events: &mut Events, n: usize) {
        for _ in 0..n {
            let host = "web01".parse().unwrap();
            events.push(UNIX_EPOCH, Some(&host), What::Link(HostChanged::default()));
        }
    }

    fn kept(events: &Events) -> Vec<Event> {
        let ring = events.ring.iter();
        ring.map(|event| Event::clone(event)).collect()
    }

    fn numbers(page: &EventPage) -> Vec<u64> {
        page.events.iter().map(|event| event.seq).collect()
    }

    #[test]
    fn a_reader_gets_each_event_once_in_order() {
        let events = some(PAGE + 2);
        let first = events.oldest();
        let page = events.page(first);
        assert_eq!((page.events.len(), page.lost), (PAGE, 0));
        let rest = events.page(page.next);
        assert_eq!(numbers(&rest), [page.next, page.next + 1]);
        let end = events.page(rest.next);
        assert_eq!(
            end,
            EventPage {
                next: events.next(),
                ..Default::default()
            }
        );
    }

    #[test]
    fn who_asks_for_what_is_gone_is_told_how_much() {
        let events = some(CAPACITY + 10);
        let first = events.next() - CAPACITY as u64 - 10;
        let page = events.page(first);
        assert_eq!((page.lost, page.events[0].seq), (10, first + 10));
        assert_eq!(events.page(0).lost, MANY, "of another controller");
        assert_eq!(events.page(u64::MAX).next, events.next());
    }

    #[test]
    fn a_later_controller_numbers_above_an_earlier_one() {
        let busy = some(CAPACITY);
        let later = Events::new(
            UNIX_EPOCH + Duration::from_millis(1_000_000 + 20),
            Vec::new(),
            Pen::new().0,
        );
        assert!(later.next() > busy.next());
        assert!(
            started(4_380_000_000, Vec::new()).next() < 1 << 53,
            "exact in JSON"
        );
    }

    #[test]
    fn a_reader_goes_on_over_a_restart_without_a_loss() {
        let before = some(3);
        let seen = before.oldest() + 1;
        for second in [2000, 1] {
            let mut after = started(second, kept(&before));
            happen(&mut after, 2);
            let page = after.page(seen);
            assert_eq!(
                (page.events.len(), page.lost),
                (4, 0),
                "also by a clock that was set back"
            );
            assert!(numbers(&page).is_sorted_by(|a, b| a < b));
            let page = after.page(before.next());
            assert_eq!((page.events.len(), page.lost), (2, 0));
        }
    }

    #[test]
    fn who_has_seen_more_than_was_kept_over_a_restart_is_told() {
        let before = some(3);
        let mut told = kept(&before);
        told.pop();
        let mut after = started(2000, told);
        let page = after.page(before.next());
        assert_eq!((page.events.len(), page.lost), (0, MANY));
        assert_eq!(after.page(page.next).lost, 0, "once");
        happen(&mut after, 1);
        let page = after.page(page.next);
        assert_eq!((page.events.len(), page.lost), (1, 0));
        assert_eq!(
            after.page(after.next() + 1).lost,
            MANY,
            "of another controller"
        );
    }
}
