//! When what is known of hosts is noted for the next run of the controller: a host that is lost, or of which
//! nothing is noted yet, within a second or two; everything that has changed once a minute; all at the end.
//!
//! It decides and hands over; its task waits for the disk. One batch is under way at a time, and what is not
//! in it stays with the fleet: nothing piles up here but the names of hosts.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use rsv_proto::name::HostName;
use tokio::sync::{mpsc, oneshot};

use crate::{fleet::Fleet, host::LastKnown, moment::Moment};

/// How often all that has changed is noted.
const ROUND: Duration = Duration::from_secs(60);

/// The pause before another batch, and how long those that are noted soon are gathered.
const SOON: Duration = Duration::from_secs(1);

/// The most hosts in one batch: the rest has its turn after [`SOON`].
const BATCH: usize = 1000;

/// A batch that is to be written.
#[derive(Debug)]
pub struct Noted {
    /// These hosts, as they are.
    pub hosts: Vec<(HostName, LastKnown)>,
    /// At this moment every other host was as it was last noted; absent: that is not so.
    pub still: Option<SystemTime>,
    /// Whether it is durable.
    pub done: oneshot::Sender<bool>,
}

/// What is to be noted, and when.
#[derive(Debug)]
pub(super) struct Notes {
    to_write: mpsc::Sender<Noted>,
    writing: Option<oneshot::Receiver<bool>>,
    soon: BTreeSet<HostName>,
    soon_at: Duration,
    round_at: Duration,
    /// The last batch, when it could not be handed over yet. Nothing follows it.
    last: Option<Noted>,
    is_over: bool,
}

impl Notes {
    pub(super) fn new(now: Moment, to_write: mpsc::Sender<Noted>) -> Self {
        Self {
            to_write,
            writing: None,
            soon: BTreeSet::new(),
            soon_at: Duration::ZERO,
            round_at: now.tick + ROUND,
            last: None,
            is_over: false,
        }
    }

    /// The tick at which [`elapsed`](Self::elapsed) is due; absent: never again.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let next = match self.soon.is_empty() {
            true => self.round_at,
            false => self.round_at.min(self.soon_at),
        };
        (!self.is_over).then_some(next)
    }

    /// A host is to be noted soon.
    pub(super) fn soon(&mut self, now: Moment, host: &HostName) {
        if self.soon.is_empty() {
            self.soon_at = now.tick + SOON;
        }
        self.soon.insert(host.clone());
    }

    /// Nothing is to be noted of a host any more.
    pub(super) fn forget(&mut self, host: &HostName) {
        self.soon.remove(host);
    }

    /// Hands over what is due.
    pub(super) fn elapsed(&mut self, now: Moment, fleet: &mut Fleet) {
        if self.deadline().is_none_or(|due| now.tick < due) {
            return;
        }
        match self.writing.as_mut().map(oneshot::Receiver::try_recv) {
            Some(Err(oneshot::error::TryRecvError::Empty)) => return self.put_off(now),
            Some(Ok(false) | Err(oneshot::error::TryRecvError::Closed)) => {
                return self.failed(now, fleet);
            }
            Some(Ok(true)) | None => self.writing = None,
        }
        let (hosts, still) = match now.tick >= self.round_at {
            true => self.round(now, fleet),
            false => (self.gathered(now, fleet), None),
        };
        if !hosts.is_empty() || still.is_some() {
            self.hand_over(now, fleet, hosts, still);
        }
    }

    /// The last batch of this run: of everything, while the hosts are still there.
    pub(super) fn close(&mut self, now: Moment, fleet: &mut Fleet) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let batch = Noted {
            hosts: fleet.take_unnoted(usize::MAX),
            still: Some(now.wall),
            done: oneshot::channel().0,
        };
        if let Err(mpsc::error::TrySendError::Full(batch)) = self.to_write.try_send(batch) {
            self.last = Some(batch);
        }
    }

    /// Waits until the last batch is handed over.
    pub(super) async fn finish(self) {
        if let Some(last) = self.last {
            drop(self.to_write.send(last).await);
        }
    }

    fn round(
        &mut self,
        now: Moment,
        fleet: &mut Fleet,
    ) -> (Vec<(HostName, LastKnown)>, Option<SystemTime>) {
        let hosts = fleet.take_unnoted(BATCH);
        if hosts.len() == BATCH {
            self.round_at = now.tick + SOON;
            return (hosts, None);
        }
        self.round_at = now.tick + ROUND;
        self.soon.clear();
        (hosts, Some(now.wall))
    }

    fn gathered(&mut self, now: Moment, fleet: &mut Fleet) -> Vec<(HostName, LastKnown)> {
        self.soon_at = now.tick + SOON;
        let mut hosts = Vec::new();
        while hosts.len() < BATCH
            && let Some(host) = self.soon.pop_first()
        {
            let last = fleet.take_unnoted_of(&host);
            hosts.extend(last.map(|last| (host, last)));
        }
        hosts
    }

    fn hand_over(
        &mut self,
        now: Moment,
        fleet: &mut Fleet,
        hosts: Vec<(HostName, LastKnown)>,
        still: Option<SystemTime>,
    ) {
        let (done, writing) = oneshot::channel();
        let batch = Noted { hosts, still, done };
        match self.to_write.try_send(batch) {
            Ok(()) => self.writing = Some(writing),
            Err(_) => self.failed(now, fleet),
        }
    }

    fn put_off(&mut self, now: Moment) {
        self.soon_at = self.soon_at.max(now.tick + SOON);
        self.round_at = self.round_at.max(now.tick + SOON);
    }

    /// Everything is noted again, with the next round.
    fn failed(&mut self, now: Moment, fleet: &mut Fleet) {
        self.writing = None;
        self.soon.clear();
        self.round_at = now.tick + ROUND;
        fleet.forget_noted();
    }
}

#[cfg(test)]
mod tests {
    use rsv_proto::{
        limits::PROTOCOL,
        wire::{
            AgentHeartbeat, Hello, ProcessStatus, SnapshotChunk, agent_message::Message as Word,
        },
    };
    use uuid::Uuid;

    use super::*;
    use crate::{
        fleet::Input,
        host::{Enrolment, SessionId},
    };

    /// A fleet whose notes are taken, and a clock.
    struct Story {
        fleet: Fleet,
        notes: Notes,
        batches: mpsc::Receiver<Noted>,
        now: Moment,
    }

    impl Story {
        fn new(n_hosts: usize) -> Self {
            let now = Moment {
                tick: Duration::from_secs(1000),
                wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            };
            let hosts = (0..n_hosts).map(|n| (name(n), Enrolment::default()));
            let (to_write, batches) = mpsc::channel(1);
            let mut story = Self {
                fleet: Fleet::new("ctl".into(), Duration::from_secs(5), hosts),
                notes: Notes::new(now, to_write),
                batches,
                now,
            };
            for n in 0..n_hosts {
                // Not all at once: they would be sent away.
                story.now = story.now.after(Duration::from_millis(20));
                let hello = Hello {
                    epoch: 1,
                    protocol_min: *PROTOCOL.start(),
                    protocol_max: *PROTOCOL.end(),
                    ..Hello::default()
                };
                story.apply(Input::Attached(name(n), id(n), hello));
                story.tell(n, 1);
            }
            story
        }

        fn apply(&mut self, input: Input) {
            drop(self.fleet.apply(self.now, input));
        }

        /// The whole of a host's programs at its change with this number.
        fn tell(&mut self, n: usize, seq: u64) {
            let app = ProcessStatus {
                group: "app".into(),
                name: "app".into(),
                ..ProcessStatus::default()
            };
            let chunk = SnapshotChunk {
                epoch: 1,
                seq,
                programs: vec![app],
                last: true,
                digest: None,
            };
            self.apply(Input::Said(name(n), id(n), Word::Snapshot(chunk)));
        }

        /// Lets time pass until something is due.
        fn due(&mut self) -> Option<Noted> {
            let due = self.notes.deadline().unwrap();
            self.now = self.now.after(due.saturating_sub(self.now.tick));
            self.notes.elapsed(self.now, &mut self.fleet);
            self.batches.try_recv().ok()
        }

        fn written(&mut self) -> (usize, bool) {
            let batch = self.due().expect("a batch is due");
            batch.done.send(true).unwrap();
            (batch.hosts.len(), batch.still == Some(self.now.wall))
        }
    }

    fn name(n: usize) -> HostName {
        format!("web{n:05}").parse().unwrap()
    }

    fn id(n: usize) -> SessionId {
        SessionId(Uuid::from_u128(n as u128))
    }

    #[test]
    fn a_round_notes_what_has_changed_and_says_that_the_rest_is_as_it_was() {
        let mut story = Story::new(3);
        assert_eq!(story.written(), (3, true));
        let began = story.now.tick;
        let beat = AgentHeartbeat {
            seq: 1,
            ..AgentHeartbeat::default()
        };
        story.apply(Input::Said(name(2), id(2), Word::Heartbeat(beat)));
        assert_eq!(story.written(), (0, true), "a heartbeat changes nothing");
        assert_eq!(story.now.tick, began + ROUND);
        story.tell(1, 2);
        assert_eq!(story.written(), (1, true));
        story.apply(Input::Ended(name(0), id(0), "lost".into()));
        assert_eq!(story.written(), (1, true));
        assert_eq!(
            story.written(),
            (0, true),
            "one that is away stays as it is"
        );
    }

    #[test]
    fn many_hosts_are_noted_in_batches_and_only_the_last_says_that_all_are() {
        let mut story = Story::new(BATCH + 1);
        assert_eq!(story.written(), (BATCH, false));
        let began = story.now.tick;
        assert_eq!(story.written(), (1, true));
        assert_eq!(story.now.tick, began + SOON);
    }

    #[test]
    fn while_a_batch_is_written_no_other_is_made_and_one_that_failed_is_made_again() {
        let mut story = Story::new(2);
        let slow = story.due().unwrap();
        story.tell(0, 2);
        story.notes.soon(story.now, &name(0));
        for _ in 0..5 {
            assert!(story.due().is_none());
        }
        slow.done.send(false).unwrap();
        assert!(story.due().is_none(), "the disk gets a pause");
        assert_eq!(story.written(), (2, true));
    }

    #[tokio::test]
    async fn the_last_batch_waits_for_the_one_that_is_being_taken() {
        let mut story = Story::new(2);
        let due = story.notes.deadline().unwrap();
        story.now = story.now.after(due.saturating_sub(story.now.tick));
        story.notes.elapsed(story.now, &mut story.fleet);
        story.tell(0, 2);
        story.notes.close(story.now, &mut story.fleet);
        assert_eq!(story.notes.deadline(), None);
        let finished = tokio::spawn(story.notes.finish());
        assert_eq!(story.batches.recv().await.unwrap().hosts.len(), 2);
        assert_eq!(story.batches.recv().await.unwrap().hosts.len(), 1);
        finished.await.unwrap();
    }
}
