//! What has happened on this host: the journal's changes as events, for one reader at its own pace.
//!
//! An event's number is made of the agent's epoch and the change's number in it, so that numbers grow over
//! restarts of the agent.

use std::collections::{HashMap, VecDeque};
use std::time::SystemTime;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use rsv_proto::select::ProgramPattern;
use rsv_proto::time::{from_wire, to_wire};
use rsv_proto::wire::{
    Delta, Event, EventKind, ProcessState, WatchEventsRequest, WatchEventsResponse,
    delta::Change,
    event::{ProcessChanged, ProcessRemoved, What},
    watch_events_request::Begin,
};
use tonic::Status;

use crate::journal::{Item, Journal, JournalReader};

/// Numbers between two epochs: four million changes, which take a crash loop weeks. An epoch is about the
/// second of the first start, so that numbers stay exact in JSON.
const PER_EPOCH: u64 = 1 << 22;

/// How many of the latest events there are when nothing is said.
const LATEST: usize = 100;

/// The most of the latest events that can be asked for: more than the journal keeps.
const MOST_LATEST: u32 = 10_000;

/// The most patterns in one request, and the longest of them: two names and a colon.
const MAX_PATTERNS: usize = 1000;
const MAX_PATTERN: usize = 511;

/// A reader's place, and what it has been told.
struct Watch {
    reader: JournalReader,
    epoch: u64,
    /// The number of the next change to be read.
    next: u64,
    /// Without `follow`: the last change to be read.
    end: Option<u64>,
    wanted: Wanted,
    /// The states that were told last.
    states: HashMap<(String, String), ProcessState>,
}

/// Which events a reader wants.
struct Wanted {
    programs: Vec<ProgramPattern>,
    states: Vec<ProcessState>,
    /// Of processes; nothing else happens here.
    has_kind: bool,
    since: Option<SystemTime>,
}

type Answers = BoxStream<'static, Result<WatchEventsResponse, Status>>;

/// Begins to read. The first answer is there at once.
pub(super) fn watch(journal: &Journal, request: &WatchEventsRequest) -> Result<Answers, Status> {
    let wanted = Wanted::parse(request)?;
    let (epoch, oldest, newest) = (journal.epoch(), journal.oldest_seq(), journal.newest_seq());
    let from = match request.begin {
        Some(Begin::From(number)) => number.saturating_sub(epoch * PER_EPOCH).min(newest + 1),
        _ => oldest,
    };
    let start = from.max(oldest);
    let mut watch = Watch {
        reader: journal.subscribe_after(start - 1),
        epoch,
        next: start,
        end: Some(newest),
        wanted,
        states: HashMap::new(),
    };
    let latest = match request.begin {
        Some(Begin::From(_) | Begin::Since(_)) => usize::MAX,
        Some(Begin::Latest(n)) => n.min(MOST_LATEST) as usize,
        None => LATEST,
    };
    let follow = request.follow;
    let lost = start - from;
    let answers = async move {
        let mut first = watch.backlog(latest).await;
        first.lost += lost;
        watch.end = None;
        let rest = match follow {
            true => stream::unfold(watch, Watch::answer).boxed(),
            false => stream::empty().boxed(),
        };
        stream::iter([Ok(first)]).chain(rest)
    };
    Ok(stream::once(answers).flatten().boxed())
}

impl Watch {
    /// What there is already: of it, at most so many of the latest.
    async fn backlog(&mut self, latest: usize) -> WatchEventsResponse {
        let mut events = VecDeque::new();
        let mut lost = 0;
        while self.end.is_some_and(|end| self.next <= end) {
            match self.reader.next().await {
                Item::Delta(delta) => events.extend(self.event(delta)),
                Item::Lagged => lost += self.skip(),
                Item::Ended => break,
            }
            if events.len() > latest {
                events.pop_front();
            }
        }
        self.response(events.into(), lost)
    }

    /// The next event that is wanted, or what was lost; absent: nothing comes any more.
    async fn answer(mut self) -> Option<(Result<WatchEventsResponse, Status>, Self)> {
        loop {
            let (events, lost) = match self.reader.next().await {
                Item::Delta(delta) => (self.event(delta).into_iter().collect(), 0),
                Item::Lagged => (Vec::new(), self.skip()),
                Item::Ended => return None,
            };
            if lost > 0 || !events.is_empty() {
                return Some((Ok(self.response(events, lost)), self));
            }
        }
    }

    /// Goes on with the oldest change that is kept; returns how many are lost.
    fn skip(&mut self) -> u64 {
        let oldest = self.reader.oldest_seq();
        let lost = oldest.saturating_sub(self.next);
        self.next = oldest;
        self.reader.resume_after(oldest - 1);
        lost
    }

    fn response(&self, events: Vec<Event>, lost: u64) -> WatchEventsResponse {
        WatchEventsResponse {
            events,
            lost,
            next: self.epoch * PER_EPOCH + self.next,
        }
    }

    fn event(&mut self, delta: Delta) -> Option<Event> {
        let seq = self.epoch * PER_EPOCH + delta.seq;
        self.next = delta.seq + 1;
        let (at, what) = match delta.change? {
            Change::Upsert(now) => {
                let key = (now.group.clone(), now.name.clone());
                let from = self.states.insert(key, now.state());
                let changed = ProcessChanged {
                    from: from.unwrap_or_default().into(),
                    now: Some(now),
                };
                let at = changed.now.as_ref().and_then(|now| now.changed_at);
                (at, What::Changed(changed))
            }
            Change::Remove(key) => {
                let (group, name) = (key.group, key.name);
                self.states.remove(&(group.clone(), name.clone()));
                (None, What::Removed(ProcessRemoved { group, name }))
            }
        };
        let event = Event {
            seq,
            at: Some(at.unwrap_or_else(|| to_wire(SystemTime::now()))),
            host: String::new(),
            what: Some(what),
        };
        self.wanted.wants(&event).then_some(event)
    }
}

impl Wanted {
    fn parse(request: &WatchEventsRequest) -> Result<Self, Status> {
        let programs = &request.programs;
        let is_fine = |pattern: &String| {
            !pattern.is_empty()
                && pattern.len() <= MAX_PATTERN
                && !pattern.contains(char::is_control)
        };
        if programs.len() > MAX_PATTERNS || !programs.iter().all(is_fine) {
            return Err(Status::invalid_argument(
                "the program patterns are too many, or one of them is none",
            ));
        }
        let kinds: Vec<EventKind> = request.kinds().collect();
        Ok(Self {
            programs: programs.iter().map(|p| ProgramPattern::parse(p)).collect(),
            states: request.states().collect(),
            has_kind: kinds.is_empty() || kinds.contains(&EventKind::Process),
            since: match &request.begin {
                Some(Begin::Since(at)) => from_wire(at),
                _ => None,
            },
        })
    }

    fn wants(&self, event: &Event) -> bool {
        let (group, name, state) = match &event.what {
            Some(What::Changed(ProcessChanged { now: Some(now), .. })) => {
                (&now.group, &now.name, Some(now.state()))
            }
            Some(What::Removed(removed)) => (&removed.group, &removed.name, None),
            _ => return false,
        };
        let at = event.at.as_ref().and_then(from_wire);
        let is_early = self
            .since
            .is_some_and(|since| at.is_some_and(|at| at < since));
        let is_meant =
            self.programs.is_empty() || self.programs.iter().any(|p| p.matches(group, name));
        let has_state = self.states.is_empty() || state.is_some_and(|s| self.states.contains(&s));
        self.has_kind && is_meant && has_state && !is_early
    }
}

#[cfg(test)]
mod tests {
    use rsv_proto::wire::{ProcessKey, ProcessStatus};

    use super::*;

    fn publish(journal: &Journal, name: &str, state: ProcessState) {
        journal.publish(Change::Upsert(ProcessStatus {
            group: name.into(),
            name: name.into(),
            state: state.into(),
            ..Default::default()
        }));
    }

    fn request(begin: Option<Begin>) -> WatchEventsRequest {
        WatchEventsRequest {
            begin,
            ..Default::default()
        }
    }

    /// Events in short.
    fn words(answer: &WatchEventsResponse) -> Vec<String> {
        let word = |event: &Event| match &event.what {
            Some(What::Changed(changed)) => {
                let now = changed.now.clone().unwrap_or_default();
                format!("{} {:?} -> {:?}", now.name, changed.from(), now.state())
            }
            Some(What::Removed(removed)) => format!("{} removed", removed.name),
            other => panic!("{other:?}"),
        };
        answer.events.iter().map(word).collect()
    }

    async fn all(journal: &Journal, request: &WatchEventsRequest) -> WatchEventsResponse {
        let answers: Vec<_> = watch(journal, request).unwrap().collect().await;
        assert_eq!(answers.len(), 1, "without `follow` there is one answer");
        answers.into_iter().next().unwrap().unwrap()
    }

    #[tokio::test]
    async fn what_has_happened_is_told_in_order_with_the_state_before() {
        let journal = Journal::new(7, 16);
        publish(&journal, "a", ProcessState::Starting);
        publish(&journal, "b", ProcessState::Starting);
        publish(&journal, "a", ProcessState::Running);
        let (group, name) = ("b".into(), "b".into());
        journal.publish(Change::Remove(ProcessKey { group, name }));
        let answer = all(&journal, &request(None)).await;
        assert_eq!(
            words(&answer),
            [
                "a Unspecified -> Starting",
                "b Unspecified -> Starting",
                "a Starting -> Running",
                "b removed"
            ]
        );
        assert_eq!(answer.events[0].seq, 7 * PER_EPOCH + 1);
        assert_eq!(answer.next, 7 * PER_EPOCH + 5);
        let latest = all(&journal, &request(Some(Begin::Latest(1)))).await;
        assert_eq!(words(&latest), ["b removed"]);
        let from = all(&journal, &request(Some(Begin::From(answer.next - 2)))).await;
        assert_eq!(words(&from), ["a Unspecified -> Running", "b removed"]);
        let of_a = WatchEventsRequest {
            programs: vec!["a".into()],
            states: vec![ProcessState::Running.into()],
            ..request(None)
        };
        assert_eq!(
            words(&all(&journal, &of_a).await),
            ["a Starting -> Running"]
        );
    }

    #[tokio::test]
    async fn a_follower_gets_what_comes_and_is_told_what_it_missed() {
        let journal = Journal::new(1, 2);
        for _ in 0..3 {
            publish(&journal, "a", ProcessState::Running);
        }
        let follow = WatchEventsRequest {
            follow: true,
            ..request(Some(Begin::From(PER_EPOCH + 1)))
        };
        let mut answers = watch(&journal, &follow).unwrap();
        let first = answers.next().await.unwrap().unwrap();
        assert_eq!((first.lost, first.events.len()), (1, 2));
        for name in ["b", "c", "d"] {
            publish(&journal, name, ProcessState::Fatal);
        }
        let missed = answers.next().await.unwrap().unwrap();
        assert_eq!((missed.lost, missed.events.len()), (1, 0));
        let next = answers.next().await.unwrap().unwrap();
        assert_eq!(words(&next), ["c Unspecified -> Fatal"]);
        journal.end();
        assert_eq!(
            words(&answers.next().await.unwrap().unwrap()),
            ["d Unspecified -> Fatal"]
        );
        assert!(answers.next().await.is_none());
    }
}
