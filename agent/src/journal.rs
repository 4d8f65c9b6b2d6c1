//! State changes with sequence numbers, for every watcher.
//!
//! The hub is the only writer. Each change gets the next number of this agent's epoch, without
//! holes; a bounded ring keeps the latest ones. A reader takes them at its own pace and is told
//! [`Item::Lagged`] when the ring has gone on without it: it then takes a snapshot from the hub and
//! goes on after that snapshot's number. Nothing here waits for a reader, and nobody can slow down
//! the hub by reading slowly.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use prost::Message as _;
use rsv_proto::wire;
use tokio::sync::watch;

/// How many changes are kept, at some 150 bytes each. A start of a thousand programs makes three
/// thousand; a watcher that falls behind by more than this is better served by a snapshot, which is
/// then the smaller answer.
pub const CAPACITY: usize = 1024;

/// The ring of changes. Cloning gives another front of the same ring.
#[derive(Clone, Debug)]
pub struct Journal {
    shared: Arc<Shared>,
}

/// One watcher's place in the ring.
#[derive(Debug)]
pub struct JournalReader {
    shared: Arc<Shared>,
    newest: watch::Receiver<u64>,
    next: u64,
}

/// What a reader gets.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every item is a change, taken one at a time"
)]
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// The next change.
    Delta(wire::Delta),
    /// Changes between the reader's place and the oldest one kept are gone: take a snapshot, then
    /// [`JournalReader::resume_after`] its number. Said again until that is done.
    Lagged,
    /// The hub has gone; nothing comes any more.
    Ended,
}

#[derive(Debug)]
struct Shared {
    epoch: u64,
    capacity: usize,
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
    ended: watch::Sender<bool>,
}

/// The latest changes as they go over the wire, which is a third of what they are otherwise.
#[derive(Debug, Default)]
struct Ring {
    deltas: VecDeque<Box<[u8]>>,
    /// The number of the newest; 0: there is none.
    newest: u64,
}

impl Journal {
    /// An empty ring for an epoch. Its newest number is 0.
    pub fn new(epoch: u64, capacity: usize) -> Self {
        let shared = Shared {
            epoch,
            capacity: capacity.max(1),
            ring: Mutex::default(),
            newest: watch::Sender::new(0),
            ended: watch::Sender::new(false),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The epoch all numbers belong to.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    /// The number of the latest change; 0 before the first.
    pub fn newest_seq(&self) -> u64 {
        *self.shared.newest.borrow()
    }

    /// The number of the oldest change that can still be read; one more than the newest when there
    /// is none.
    pub fn oldest_seq(&self) -> u64 {
        self.shared.oldest()
    }

    /// Appends a change and returns its number.
    pub fn publish(&self, change: wire::delta::Change) -> u64 {
        let seq = self.newest_seq() + 1;
        let delta = wire::Delta {
            epoch: self.shared.epoch,
            seq,
            change: Some(change),
        };
        let delta = delta.encode_to_vec().into_boxed_slice();
        let mut ring = self.shared.lock();
        if ring.deltas.len() == self.shared.capacity {
            ring.deltas.pop_front();
        }
        ring.deltas.push_back(delta);
        ring.newest = seq;
        drop(ring);
        self.shared.newest.send_replace(seq);
        seq
    }

    /// Says to every reader that nothing comes any more, after what they have not read yet.
    pub fn end(&self) {
        self.shared.ended.send_replace(true);
        // Readers wait on the number only: this wakes them without changing it.
        self.shared.newest.send_modify(|_| ());
    }

    /// The number of the latest change, to be waited on by who only wants to know that there is one.
    /// Also marked as changed when the journal ends.
    pub fn numbers(&self) -> watch::Receiver<u64> {
        self.shared.newest.subscribe()
    }

    /// A reader of what comes from now on.
    pub fn subscribe(&self) -> JournalReader {
        self.subscribe_after(self.newest_seq())
    }

    /// A reader of what came after a number.
    pub fn subscribe_after(&self, seq: u64) -> JournalReader {
        JournalReader {
            shared: Arc::clone(&self.shared),
            newest: self.shared.newest.subscribe(),
            next: seq.saturating_add(1),
        }
    }
}

impl JournalReader {
    /// Waits for the next change. Safe to cancel: nothing is taken unless it is returned.
    pub async fn next(&mut self) -> Item {
        loop {
            let newest = *self.newest.borrow_and_update();
            if self.next <= newest {
                return self.take();
            }
            if self.next > newest.saturating_add(1) {
                return Item::Lagged;
            }
            if *self.shared.ended.borrow() || self.newest.changed().await.is_err() {
                return Item::Ended;
            }
        }
    }

    /// Waits for the end of the hub, whatever is still to be read. Safe to cancel.
    pub async fn ended(&self) {
        let mut ended = self.shared.ended.subscribe();
        // An error says that the sender is gone, and the reader itself holds it.
        ended.wait_for(|has_ended| *has_ended).await.ok();
    }

    /// Goes on with the change after this number, such as that of a snapshot just taken.
    pub fn resume_after(&mut self, seq: u64) {
        self.next = seq.saturating_add(1);
    }

    /// The number of the latest change, read or not.
    pub fn newest_seq(&self) -> u64 {
        *self.newest.borrow()
    }

    /// The number of the oldest change that can still be read.
    pub fn oldest_seq(&self) -> u64 {
        self.shared.oldest()
    }

    fn take(&mut self) -> Item {
        let ring = self.shared.lock();
        // What we have written ourselves can be read.
        let found = ring
            .get(self.next)
            .and_then(|delta| wire::Delta::decode(delta).ok());
        drop(ring);
        self.next += u64::from(found.is_some());
        found.map_or(Item::Lagged, Item::Delta)
    }
}

impl Shared {
    fn oldest(&self) -> u64 {
        self.lock().oldest()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ring> {
        // The ring is whole between any two statements that touch it, so a panic elsewhere leaves
        // nothing half done.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn oldest(&self) -> u64 {
        self.newest + 1 - self.deltas.len() as u64
    }

    fn get(&self, seq: u64) -> Option<&[u8]> {
        let place = usize::try_from(seq.checked_sub(self.oldest())?).ok()?;
        self.deltas.get(place).map(|delta| &**delta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(journal: &Journal, name: &str) -> u64 {
        let key = wire::ProcessKey {
            group: name.into(),
            name: name.into(),
        };
        journal.publish(wire::delta::Change::Remove(key))
    }

    fn seq(item: &Item) -> u64 {
        match item {
            Item::Delta(delta) => delta.seq,
            other => panic!("{other:?} is not a delta"),
        }
    }

    #[tokio::test]
    async fn a_reader_gets_each_change_once_in_order() {
        let journal = Journal::new(7, 8);
        let mut reader = journal.subscribe();
        for name in ["a", "b", "c"] {
            publish(&journal, name);
        }
        for expected in 1..=3 {
            let item = reader.next().await;
            assert_eq!(seq(&item), expected);
            assert!(matches!(item, Item::Delta(delta) if delta.epoch == 7));
        }
        assert_eq!((journal.oldest_seq(), journal.newest_seq()), (1, 3));
    }

    #[tokio::test]
    async fn who_falls_off_the_ring_is_told_and_goes_on_after_a_snapshot() {
        let journal = Journal::new(1, 2);
        let mut reader = journal.subscribe();
        for name in ["a", "b", "c"] {
            publish(&journal, name);
        }
        assert_eq!(journal.oldest_seq(), 2);
        assert_eq!(reader.next().await, Item::Lagged);
        assert_eq!(reader.next().await, Item::Lagged);
        reader.resume_after(journal.newest_seq());
        publish(&journal, "d");
        assert_eq!(seq(&reader.next().await), 4);
    }

    #[tokio::test]
    async fn reading_starts_at_any_number_that_is_kept_and_nowhere_else() {
        let journal = Journal::new(1, 2);
        for name in ["a", "b", "c"] {
            publish(&journal, name);
        }
        assert_eq!(seq(&journal.subscribe_after(1).next().await), 2);
        assert_eq!(journal.subscribe_after(0).next().await, Item::Lagged);
        assert_eq!(journal.subscribe_after(9).next().await, Item::Lagged);
    }

    #[tokio::test]
    async fn an_empty_ring_has_an_oldest_number_that_is_about_to_come() {
        let journal = Journal::new(1, 2);
        assert_eq!((journal.oldest_seq(), journal.newest_seq()), (1, 0));
    }

    #[tokio::test]
    async fn the_end_comes_after_what_was_published_before_it() {
        let journal = Journal::new(1, 2);
        let mut reader = journal.subscribe();
        publish(&journal, "a");
        journal.end();
        assert_eq!(seq(&reader.next().await), 1);
        assert_eq!(reader.next().await, Item::Ended);
    }

    #[tokio::test]
    async fn the_end_can_be_waited_for_without_reading() {
        let journal = Journal::new(1, 2);
        let reader = journal.subscribe();
        publish(&journal, "a");
        let wait = tokio::spawn(async move { reader.ended().await });
        tokio::task::yield_now().await;
        assert!(!wait.is_finished());
        journal.end();
        wait.await.unwrap();
    }

    #[tokio::test]
    async fn a_waiting_reader_wakes_for_a_change() {
        let journal = Journal::new(1, 2);
        let mut reader = journal.subscribe();
        let wait = tokio::spawn(async move { reader.next().await });
        tokio::task::yield_now().await;
        publish(&journal, "a");
        assert_eq!(seq(&wait.await.unwrap()), 1);
    }
}
