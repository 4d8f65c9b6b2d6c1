//! What has happened in the fleet, in one order: the latest events, for every reader at its own pace.
//!
//! Pure. Invariants: numbers grow by one, and a controller that starts later begins above those of one
//! that started earlier; what is kept is bounded, and a reader of more is told how many it cannot have.

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
    /// No events yet, for a controller that starts now.
    pub fn new(now: SystemTime) -> Self {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Self {
            ring: VecDeque::new(),
            next: millis.saturating_mul(PER_MILLISECOND),
        }
    }

    /// Appends an event; of no host when it is about the fleet.
    pub fn push(&mut self, now: SystemTime, host: Option<&HostName>, what: What) {
        if self.ring.len() == CAPACITY {
            self.ring.pop_front();
        }
        self.ring.push_back(Arc::new(Event {
            seq: self.next,
            at: Some(to_wire(now)),
            host: host.map(ToString::to_string).unwrap_or_default(),
            what: Some(what),
        }));
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
        let oldest = self.oldest();
        let start = from.clamp(oldest, self.next);
        let skipped = usize::try_from(start - oldest).unwrap_or(usize::MAX);
        let events: Vec<_> = self.ring.iter().skip(skipped).take(PAGE).cloned().collect();
        EventPage {
            next: start + events.len() as u64,
            lost: oldest.saturating_sub(from).min(MANY),
            events,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rsv_proto::wire::event::HostChanged;

    use super::*;

    fn some(n: usize) -> Events {
        let mut events = Events::new(UNIX_EPOCH + Duration::from_secs(1000));
        for _ in 0..n {
            let host = "web01".parse().unwrap();
            events.push(UNIX_EPOCH, Some(&host), What::Link(HostChanged::default()));
        }
        events
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
        let later = Events::new(UNIX_EPOCH + Duration::from_millis(1_000_000 + 20));
        assert!(later.next() > busy.next());
        let largest = UNIX_EPOCH + Duration::from_secs(4_380_000_000);
        assert!(Events::new(largest).next() < 1 << 53, "exact in JSON");
    }
}
