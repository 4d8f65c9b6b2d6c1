//! One pool of event listeners: its events, and the processes that take them.
//!
//! Pure: what happens goes in together with the time, what is to be done comes out. An accepted event
//! is in the queue, with one process, delivered, or counted as dropped, and never in two of these.

mod member;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rsv_config::{EventKind, EventPool};
use serde::{Deserialize, Serialize};

use super::event::Event;
use super::protocol::{Nonsense, Parser, Said, Stage};
use crate::hub::Key;
use member::{Member, Queued, message};

/// How long the output of a process that has ended may still bring the result of its event.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// An event that is rejected again and again is offered after twice the wait each time, up to this.
const LONGEST_HOLD: Duration = Duration::from_secs(10);

/// The same for the restart of a process that breaks the protocol again and again.
const LONGEST_PENANCE: Duration = Duration::from_secs(60);

/// Something to be done for a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Write an event to a process, and note that it has one.
    Give {
        key: Key,
        attempt: u64,
        message: Vec<u8>,
    },
    /// Note that a process waits for an event.
    Ready { key: Key, attempt: u64 },
    /// What a process has said is understood, and what follows from it is noted: so many bytes may be
    /// taken out of its pipe. Answered by [`Pool::taken`].
    Understood {
        key: Key,
        attempt: u64,
        bytes: usize,
    },
    /// Start a process anew, if it is still in this attempt.
    Restart { key: Key, attempt: u64 },
    /// Write a line to the main log.
    Log(Line),
}

/// A line of the main log, at Supervisor's level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Warn(String),
    Error(String),
}

/// What the next agent has to know of a process that it takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Noted {
    /// It waits for an event.
    Ready,
    /// An event is being written to it, in more than one piece.
    Writing,
    /// It has an event.
    Busy,
}

/// One pool.
#[derive(Debug)]
pub(super) struct Pool {
    name: String,
    kinds: Vec<EventKind>,
    buffer_size: usize,
    queue: VecDeque<Queued>,
    members: BTreeMap<Key, Member>,
    next_serial: u64,
    counts: Counts,
    hold_until: Option<Instant>,
}

/// What has become of the events of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Delivered, with the result `OK`.
    pub delivered: u64,
    /// Offered and refused; they are offered again.
    pub rejected: u64,
    /// Dropped, because the buffer was full.
    pub dropped: u64,
}

impl Pool {
    pub(super) fn new(name: &str, pool: &EventPool) -> Self {
        let mut new = Self {
            name: name.to_owned(),
            kinds: Vec::new(),
            buffer_size: 1,
            queue: VecDeque::new(),
            members: BTreeMap::new(),
            next_serial: 0,
            counts: Counts::default(),
            hold_until: None,
        };
        new.configure(pool);
        new
    }

    /// Other rules; what waits goes on waiting.
    pub(super) fn configure(&mut self, pool: &EventPool) {
        self.kinds.clone_from(&pool.events);
        self.buffer_size = pool.buffer_size.max(1) as usize;
    }

    /// How many of the kinds it has subscribed to include this one: it gets the event as often.
    pub(super) fn subscriptions(&self, kind: EventKind) -> usize {
        let kinds = self.kinds.iter();
        kinds.filter(|known| known.includes(kind)).count()
    }

    /// Takes in an event.
    pub(super) fn accept(&mut self, serial: u64, event: &Arc<Event>) -> Vec<Effect> {
        let pool_serial = self.next_serial;
        self.next_serial += 1;
        let mut effects = Vec::new();
        for _ in 0..self.subscriptions(event.kind) {
            effects.extend(self.make_room());
            self.queue.push_back(Queued {
                serial,
                pool_serial,
                event: Arc::clone(event),
                rejections: 0,
            });
        }
        effects
    }

    /// A process is there, in this attempt; `stage`: where it stands in the protocol.
    pub(super) fn spawned(&mut self, key: &Key, attempt: u64, stage: Stage) -> Vec<Effect> {
        let member = self.member(key);
        if attempt <= member.attempt && member.is_alive {
            return Vec::new();
        }
        let mut effects = member.settle_debt(key);
        let event = member.event.take();
        *member = Member {
            attempt,
            is_alive: true,
            parser: Parser::at(stage),
            offences: member.offences,
            ..Member::default()
        };
        effects.extend(event.map_or_else(Vec::new, |event| self.put_back(event)));
        effects
    }

    /// It has been up long enough.
    pub(super) fn running(&mut self, key: &Key, attempt: u64) {
        let member = self.member(key);
        member.is_running = member.attempt == attempt && member.is_alive;
    }

    /// It is being stopped: it gets no more events.
    pub(super) fn stopping(&mut self, key: &Key) {
        self.member(key).is_running = false;
    }

    /// It has ended. Its output may still be under way.
    pub(super) fn ended(&mut self, key: &Key, attempt: u64, now: Instant) -> Vec<Effect> {
        let member = self.member(key);
        if member.attempt > attempt || !member.is_alive {
            return Vec::new();
        }
        member.is_alive = false;
        member.is_running = false;
        member.restart_at = None;
        member.last_words = member.event.is_some().then(|| now + LAST_WORDS);
        member.settle_debt(key)
    }

    /// It has written something.
    pub(super) fn wrote(
        &mut self,
        key: &Key,
        attempt: u64,
        bytes: &[u8],
        now: Instant,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if attempt > self.member(key).attempt {
            effects = self.spawned(key, attempt, Stage::Acknowledged);
        }
        let member = self.member(key);
        let understood = Effect::Understood {
            key: key.clone(),
            attempt,
            bytes: bytes.len(),
        };
        if member.attempt != attempt {
            effects.push(understood);
            return effects;
        }
        member.is_untaken = true;
        for said in member.parser.feed(bytes) {
            effects.extend(self.heard(key, said, now));
        }
        let member = self.member(key);
        if member.is_being_given {
            // What it means is noted after that it has the event.
            member.owed = bytes.len();
        } else {
            effects.push(understood);
        }
        effects
    }

    /// What it has said is out of its pipe.
    pub(super) fn taken(&mut self, key: &Key, attempt: u64) {
        let member = self.member(key);
        if member.attempt == attempt {
            member.is_untaken = false;
        }
    }

    /// A process of a former agent: where it stands is known from what that one has noted.
    pub(super) fn adopted(
        &mut self,
        key: &Key,
        attempt: u64,
        noted: Option<Noted>,
        has_unread: bool,
        now: Instant,
    ) -> Vec<Effect> {
        let stage = match noted {
            // An event that was just written is not noted yet, and its answer is nobody's.
            Some(Noted::Ready) if !has_unread => Stage::Adopted,
            Some(Noted::Ready | Noted::Busy) | None => Stage::Resuming,
            // It has the beginning of an event, and the rest is nowhere.
            Some(Noted::Writing) => Stage::Unknown,
        };
        let mut effects = self.spawned(key, attempt, stage);
        if stage == Stage::Unknown {
            let half = format!("{}: has half an event of the former agent", key.name);
            effects.push(Effect::Log(Line::Warn(half)));
            effects.extend(self.offend(key, now));
        }
        effects
    }

    /// Its event is written.
    pub(super) fn given(&mut self, key: &Key, attempt: u64) -> Vec<Effect> {
        let member = self.member(key);
        if member.attempt != attempt {
            return Vec::new();
        }
        member.is_being_given = false;
        let mut effects = Vec::new();
        if member.parser.stage() == Stage::Ready {
            let key = key.clone();
            effects.push(Effect::Ready { key, attempt });
        }
        effects.extend(member.settle_debt(key));
        effects
    }

    /// An event could not be written to it: it has closed its standard input.
    pub(super) fn unwritable(&mut self, key: &Key, attempt: u64, now: Instant) -> Vec<Effect> {
        let member = self.member(key);
        if member.attempt != attempt || !member.is_alive {
            return Vec::new();
        }
        member.is_being_given = false;
        let mut effects = member.settle_debt(key);
        let event = member.event.take();
        effects.extend(event.map_or_else(Vec::new, |event| self.put_back(event)));
        effects.push(Effect::Log(Line::Warn(format!(
            "{}: does not read events any more",
            key.name
        ))));
        effects.extend(self.offend(key, now));
        effects
    }

    /// What is due.
    pub(super) fn elapse(&mut self, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut back = Vec::new();
        for (key, member) in &mut self.members {
            if member.restart_at.is_some_and(|at| at <= now) {
                member.restart_at = None;
                effects.push(Effect::Restart {
                    key: key.clone(),
                    attempt: member.attempt,
                });
            }
            if member.last_words.is_some_and(|at| at <= now) {
                member.last_words = None;
                back.extend(member.event.take());
            }
        }
        for event in back {
            effects.extend(self.put_back(event));
        }
        effects
    }

    /// Gives events to whoever is ready, in order; what cannot be given holds up what is behind it.
    pub(super) fn dispatch(&mut self, server: &str, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.hold_until.is_some_and(|until| until > now) {
            return effects;
        }
        self.hold_until = None;
        let mut ready = self
            .members
            .iter_mut()
            .filter(|(_, member)| member.is_ready());
        while !self.queue.is_empty()
            && let Some((key, member)) = ready.next()
            && let Some(event) = self.queue.pop_front()
        {
            member.parser.give();
            member.is_being_given = true;
            effects.push(Effect::Give {
                key: key.clone(),
                attempt: member.attempt,
                message: message(server, &self.name, &event),
            });
            member.event = Some(event);
        }
        effects
    }

    /// When [`Pool::elapse`] and [`Pool::dispatch`] have something to do although nothing happens.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        let members = self.members.values();
        let dues = members.flat_map(|member| [member.restart_at, member.last_words]);
        let hold = self.hold_until.filter(|_| !self.queue.is_empty());
        dues.chain([hold]).flatten().min()
    }

    /// Whether nobody has an event, or is about to get one.
    pub(super) fn is_quiet(&self) -> bool {
        let mut members = self.members.values();
        let is_any_up = self.members.values().any(Member::is_listening);
        members.all(|member| member.event.is_none()) && (self.queue.is_empty() || !is_any_up)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// How many events wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Where each of its living processes stands.
    pub(super) fn stages(&self) -> impl Iterator<Item = (&Key, Stage)> {
        let alive = self.members.iter().filter(|(_, member)| member.is_alive);
        alive.map(|(key, member)| (key, member.parser.stage()))
    }

    fn member(&mut self, key: &Key) -> &mut Member {
        self.members.entry(key.clone()).or_default()
    }

    fn heard(&mut self, key: &Key, said: Said, now: Instant) -> Vec<Effect> {
        let member = self.member(key);
        let attempt = member.attempt;
        match said {
            // It is said when that is done.
            Said::Ready if member.is_being_given => Vec::new(),
            Said::Ready => {
                let key = key.clone();
                vec![Effect::Ready { key, attempt }]
            }
            Said::Result(result) if result == b"OK" => {
                member.offences = 0;
                member.last_words = None;
                self.counts.delivered += u64::from(member.event.take().is_some());
                Vec::new()
            }
            Said::Result(_) => {
                member.last_words = None;
                let event = member.event.take();
                let rejected = format!("{}: event was rejected", key.name);
                let mut effects = vec![Effect::Log(Line::Warn(rejected))];
                effects.extend(event.map_or_else(Vec::new, |event| self.reject(event, now)));
                effects
            }
            Said::Nonsense(nonsense) => self.broken(key, &nonsense, now),
        }
    }

    /// It has broken the protocol.
    fn broken(&mut self, key: &Key, nonsense: &Nonsense, now: Instant) -> Vec<Effect> {
        let name = &key.name;
        let mut effects = Vec::new();
        if let Nonsense::ResultLine(line) = nonsense {
            let line = line.escape_ascii();
            let bad = format!("{name}: bad result line: '{line}'");
            effects.push(Effect::Log(Line::Warn(bad)));
        }
        effects.push(Effect::Log(Line::Warn(format!(
            "{name}: has entered the UNKNOWN state and will no longer receive events, this usually \
             indicates the process violated the eventlistener protocol"
        ))));
        let event = self.member(key).event.take();
        effects.extend(event.map_or_else(Vec::new, |event| self.reject(event, now)));
        effects.extend(self.offend(key, now));
        effects
    }

    /// Counts a breach: the process is started anew, at once the first time.
    fn offend(&mut self, key: &Key, now: Instant) -> Vec<Effect> {
        let member = self.member(key);
        member.parser.give_up();
        if !member.is_alive || member.restart_at.is_some() {
            return Vec::new();
        }
        let penance = doubled(Duration::from_secs(1), member.offences, LONGEST_PENANCE);
        member.offences = member.offences.saturating_add(1);
        if penance.is_zero() {
            return vec![Effect::Restart {
                key: key.clone(),
                attempt: member.attempt,
            }];
        }
        member.restart_at = Some(now + penance);
        Vec::new()
    }

    /// Offers an event again, at once the first time.
    fn reject(&mut self, mut event: Queued, now: Instant) -> Vec<Effect> {
        self.counts.rejected += 1;
        let hold = doubled(Duration::from_millis(100), event.rejections, LONGEST_HOLD);
        event.rejections = event.rejections.saturating_add(1);
        self.hold_until = (!hold.is_zero()).then(|| now + hold);
        self.put_back(event)
    }

    fn put_back(&mut self, event: Queued) -> Vec<Effect> {
        let effects = self.make_room();
        self.queue.push_front(event);
        effects
    }

    /// Drops the oldest event when there is no room.
    fn make_room(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        while self.queue.len() >= self.buffer_size
            && let Some(oldest) = self.queue.pop_front()
        {
            self.counts.dropped += 1;
            effects.push(Effect::Log(Line::Error(format!(
                "pool {} event buffer overflowed, discarding event {}",
                self.name, oldest.serial
            ))));
        }
        effects
    }
}

/// Nothing the first time, then `first`, and twice as much each time.
fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    match times.checked_sub(1) {
        None => Duration::ZERO,
        Some(times) => first.saturating_mul(1 << times.min(16)).min(longest),
    }
}

#[cfg(test)]
mod tests;
