//! The way to the end: everything is stopped in order, or everything is left to the next agent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rsv_keeper::message::{Exit, Request, StopsAll};
use rsv_supervise::{Ask, Event, Phase, State, Tick};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::handle::Shutdown;
use super::remains::Remains;
use super::{Core, Feeds, Key, LAST_WORDS, verdicts};
use crate::listeners::FAREWELL;

/// What the hub is on.
#[derive(Debug)]
pub(super) enum Course {
    /// It serves.
    Serving,
    /// It stops every program.
    Stopping(Stopping),
    /// It ends.
    Done(Shutdown),
}

/// The programs to stop, level by level.
#[derive(Debug)]
pub(super) struct Stopping {
    /// Still to come; the next is the last one.
    levels: Vec<Vec<Key>>,
    /// Told to stop, and not yet at rest.
    waiting: BTreeSet<Key>,
    last_words: LastWords,
    /// When it is to be said again who is waited for.
    tell_at: Tick,
}

/// As often as Supervisor says it.
const BETWEEN_REPORTS: Duration = Duration::from_secs(3);

/// What event listeners are told before their own level is stopped: how the programs before them have
/// ended.
#[derive(Debug, Clone, Copy)]
enum LastWords {
    Unsaid,
    /// Not every listener has answered; at that moment they have had time enough.
    SaidUntil(Tick),
    Heard,
}

impl Course {
    /// Notes that the listeners have heard what they were told.
    pub(super) fn listeners_heard(&mut self) {
        if let Self::Stopping(stopping) = self
            && let LastWords::SaidUntil(_) = stopping.last_words
        {
            stopping.last_words = LastWords::Heard;
        }
    }

    /// When the listeners are not waited for any longer, or it is said again who is waited for.
    pub(super) fn deadline(&self) -> Option<Tick> {
        let Self::Stopping(stopping) = self else {
            return None;
        };
        let last_words = match stopping.last_words {
            LastWords::SaidUntil(at) => Some(at),
            LastWords::Unsaid | LastWords::Heard => None,
        };
        let report = (!stopping.waiting.is_empty()).then_some(stopping.tell_at);
        last_words.into_iter().chain(report).min()
    }

    /// Notes that a program may have come to rest.
    pub(super) fn at_rest(&mut self, key: &Key, phase: &Phase) {
        if let Self::Stopping(stopping) = self
            && phase.is_at_rest()
        {
            stopping.waiting.remove(key);
        }
    }
}

impl Core {
    pub(super) fn shut_down(&mut self, mode: Shutdown, done: oneshot::Sender<()>) {
        self.done.push(done);
        match (mode, &self.course) {
            (Shutdown::LeavePrograms, Course::Serving) => self.course = Course::Done(mode),
            // What has begun is brought to its end.
            (Shutdown::LeavePrograms, Course::Stopping(_) | Course::Done(_)) => {}
            (Shutdown::StopPrograms, _) => self.begin_stopping(),
        }
    }

    /// Begins to stop every program, unless that has begun.
    pub(super) fn begin_stopping(&mut self) {
        if !matches!(self.course, Course::Serving) {
            return;
        }
        let mut levels = BTreeMap::<i64, Vec<Key>>::new();
        // Within a level the reverse of the order of starting.
        for key in self.order.iter().rev() {
            if let Some(slot) = self.slots.get(key) {
                levels
                    .entry(slot.program.group_priority)
                    .or_default()
                    .push(key.clone());
            }
        }
        let levels = levels.into_values().collect();
        self.course = Course::Stopping(Stopping {
            levels,
            waiting: BTreeSet::new(),
            last_words: LastWords::Unsaid,
            tell_at: Tick::ZERO,
        });
        self.gear.is_ending = true;
        self.tell_intent();
        for key in self.keys_in(State::Backoff) {
            self.stop_machine(&key);
        }
    }

    /// Tells the keeper that everything is being stopped, before the first signal: should we die on
    /// the way, it finishes that.
    pub(super) fn tell_intent(&mut self) {
        if matches!(self.course, Course::Stopping(_)) {
            self.gear.outbox.tell(Request::StopsAll(StopsAll {}));
        }
    }

    /// Goes on with the end, and says from time to time who is waited for.
    pub(super) fn advance(&mut self, now: Tick) {
        self.descend(now);
        self.tell_who_is_waited_for(now);
    }

    /// Goes on to the next level when one is at rest.
    fn descend(&mut self, now: Tick) {
        while let Course::Stopping(stopping) = &mut self.course
            && stopping.waiting.is_empty()
        {
            let is_listener = |key| self.slots.get(key).is_some_and(|s| s.listening.is_some());
            let has_listeners = stopping
                .levels
                .last()
                .is_some_and(|level| level.iter().any(is_listener));
            match stopping.last_words {
                LastWords::Unsaid if has_listeners && self.gear.listeners.last_words() => {
                    stopping.last_words = LastWords::SaidUntil(now + FAREWELL);
                    return;
                }
                LastWords::SaidUntil(at) if now < at => return,
                LastWords::Unsaid | LastWords::SaidUntil(_) | LastWords::Heard => {}
            }
            stopping.last_words = LastWords::Unsaid;
            let Some(level) = stopping.levels.pop() else {
                self.course = Course::Done(Shutdown::StopPrograms);
                return;
            };
            self.stop_level(level);
        }
    }

    fn stop_level(&mut self, mut level: Vec<Key>) {
        level.retain(|key| {
            self.slots
                .get(key)
                .is_some_and(|slot| !slot.phase.is_at_rest())
        });
        if level.is_empty() {
            return;
        }
        if let Course::Stopping(stopping) = &mut self.course {
            stopping.waiting = level.iter().cloned().collect();
        }
        for key in level {
            self.stop_machine(&key);
        }
    }

    /// In Supervisor's words: all that have not ended, on whatever level, in the order of starting.
    fn tell_who_is_waited_for(&mut self, now: Tick) {
        let Course::Stopping(stopping) = &mut self.course else {
            return;
        };
        if now < stopping.tell_at {
            return;
        }
        stopping.tell_at = now + BETWEEN_REPORTS;
        let slots = self.order.iter().filter_map(|key| self.slots.get(key));
        let unstopped = slots.filter(|slot| !slot.phase.is_at_rest());
        let names: Vec<_> = unstopped
            .map(|slot| slot.program.key.name.as_str())
            .collect();
        if !names.is_empty() {
            let names = names.join(", ");
            tracing::info!(host = self.gear.host, "waiting for {names} to die");
        }
    }

    fn stop_machine(&mut self, key: &Key) {
        if let Some(slot) = self.slots.get_mut(key) {
            let overtaken = slot.waiters.overtake(key, Ask::Stop);
            slot.answer(overtaken);
        }
        self.feed(key, Event::Asked(Ask::Stop));
    }

    fn keys_in(&self, state: State) -> Vec<Key> {
        let slots = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.phase.state() == state);
        slots.map(|(key, _)| key.clone()).collect()
    }

    /// The last words: what waits is sent, the capture stops, the keeper is told when nothing is
    /// left for it, and everybody who waits is answered.
    pub(super) async fn end(mut self, mode: Shutdown, mut feeds: Feeds) {
        // Whatever becomes of the keeper from here on, nobody is to look for another one.
        feeds.keeper.close();
        if timeout(LAST_WORDS, self.flush()).await.is_err() {
            tracing::warn!(
                host = self.gear.host,
                "the keeper does not read its last notes"
            );
        }
        let capture = self.gear.logs.capture().clone();
        let ended = self.gear.logs.auto();
        let ended = ended.filter(|_| mode == Shutdown::StopPrograms);
        let close = move || {
            let result = capture.detach_all();
            if let Some(auto) = ended {
                auto.renew();
            }
            result
        };
        match tokio::task::spawn_blocking(close).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the log files are not closed in order");
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the log files are not closed in order");
            }
        }
        if mode == Shutdown::StopPrograms {
            self.gear.outbox.tell(Request::Exit(Exit {}));
            self.gear.outbox.flush();
        }
        self.gear.outbox.disconnect();
        self.gear.journal.end();
        for slot in self.slots.values_mut() {
            slot.remains.take().into_iter().for_each(Remains::give_up);
            verdicts::send_all(slot.waiters.give_up(&slot.program.key));
        }
        for done in self.done {
            // Who asked may have gone.
            done.send(()).ok();
        }
    }

    async fn flush(&mut self) {
        while self.gear.outbox.is_connected() && self.gear.outbox.is_waiting() {
            self.gear.outbox.room().comes().await;
            self.gear.outbox.flush();
        }
    }
}
