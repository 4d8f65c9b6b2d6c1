//! What of a host outlives the controller: the last that was known of it, to be told with its age until
//! the host is heard again.
//!
//! Pure. Invariant: what was recalled is never taken for the truth of a session: that begins with a
//! snapshot of its own, and what differs from what was recalled has happened meanwhile.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::SystemTime,
};

use rsv_proto::{
    digest::Digest,
    wire::{
        Configured,
        event::{ProcessChanged, What},
    },
};

use super::{
    Host, Link, MAX_LABELS, MAX_PROGRAMS, Programs,
    picture::{Knowledge, is_possible},
    plain,
};

/// The last that was known of a host at some moment.
#[derive(Debug, Clone, PartialEq)]
pub struct LastKnown {
    /// It had a session then.
    pub is_connected: bool,
    /// Its picture was the truth then.
    pub is_live: bool,
    /// When anything had last been heard from it.
    pub last_seen: SystemTime,
    /// The agent's version.
    pub version: String,
    /// Labels of its own configuration.
    pub labels: BTreeMap<String, String>,
    /// The number of what it had said it keeps to.
    pub obeyed: Option<u64>,
    /// The configuration in force on it.
    pub configured: Option<Configured>,
    /// Its programs; absent: they were not known.
    pub picture: Option<Picture>,
}

/// The programs of a host, and which word of its agent made them so.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Names the agent's process.
    pub instance: String,
    /// Of the agent's start.
    pub epoch: u64,
    /// The number of its latest change.
    pub seq: u64,
    /// When it was true.
    pub as_of: SystemTime,
    /// The programs.
    pub programs: Arc<Programs>,
}

/// Stands for all that is noted of a host: of two equal ones the second need not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(u64);

impl LastKnown {
    /// As it was at a later moment at which nothing but the time had changed.
    #[must_use]
    pub fn still(mut self, at: SystemTime) -> Self {
        if self.is_connected {
            self.last_seen = self.last_seen.max(at);
        }
        if let Some(picture) = self.picture.as_mut().filter(|_| self.is_live) {
            picture.as_of = picture.as_of.max(at);
        }
        self
    }

    /// Whether it could have come from an agent.
    pub fn is_possible(&self) -> bool {
        let programs = self.picture.as_ref().map(|picture| &picture.programs);
        programs.is_none_or(|programs| {
            programs.len() <= MAX_PROGRAMS && programs.values().all(is_possible)
        })
    }

    /// The times count only where they stand still.
    fn mark(&self) -> Mark {
        let mut hasher = DefaultHasher::new();
        let fixed = |is_moving: bool, at: SystemTime| (!is_moving).then_some(at);
        (self.is_connected, self.is_live).hash(&mut hasher);
        fixed(self.is_connected, self.last_seen).hash(&mut hasher);
        (&self.version, &self.labels, self.obeyed).hash(&mut hasher);
        let configured = self.configured.map(|c| (c.generation, c.digest));
        configured.hash(&mut hasher);
        let picture = self.picture.as_ref();
        let picture = picture.map(|p| (&p.instance, p.epoch, p.seq, fixed(self.is_live, p.as_of)));
        picture.hash(&mut hasher);
        Mark(hasher.finish())
    }
}

impl Host {
    /// Takes in what was noted of a host that has not been heard from yet.
    pub fn recall(&mut self, last: LastKnown) {
        let Link::Down { .. } = self.link else {
            return;
        };
        self.noted = Some(last.mark());
        self.last_seen = Some(last.last_seen);
        self.version = plain(&last.version);
        let labels = last.labels.iter().take(MAX_LABELS);
        self.own_labels = labels
            .map(|(key, value)| (plain(key), plain(value)))
            .collect();
        self.obeyed = last.obeyed;
        self.configured = last.configured;
        self.knowledge = last.picture.map(|picture| Knowledge {
            instance: picture.instance,
            epoch: picture.epoch,
            seq: picture.seq,
            as_of: picture.as_of,
            digest: Digest::of(picture.programs.values()),
            programs: picture.programs,
            is_recalled: true,
        });
    }

    /// Takes in what had happened to a program of it, at a moment after it was noted.
    pub fn recall_event(&mut self, at: SystemTime, what: &What) {
        let known = self.knowledge.as_mut();
        let Some(known) = known.filter(|known| known.is_recalled && at >= known.as_of) else {
            return;
        };
        let programs = Arc::make_mut(&mut known.programs);
        let replaced = match what {
            What::Changed(ProcessChanged { now: Some(now), .. }) if is_possible(now) => {
                known.digest.add(now);
                programs.insert((now.group.clone(), now.name.clone()), now.clone())
            }
            What::Removed(gone) => programs.remove(&(gone.group.clone(), gone.name.clone())),
            _ => return,
        };
        if let Some(replaced) = replaced {
            known.digest.remove(&replaced);
        }
        known.as_of = at;
    }

    /// What is to be noted of it; absent: nothing has been heard from it, or the same is noted already. It
    /// counts as noted from now on.
    pub fn take_unnoted(&mut self) -> Option<LastKnown> {
        let last = self.last_known()?;
        let mark = Some(last.mark());
        let is_new = self.noted != mark;
        self.noted = mark;
        is_new.then_some(last)
    }

    /// Whether anything is noted of it.
    pub fn is_noted(&self) -> bool {
        self.noted.is_some()
    }

    /// What was noted of it is lost.
    pub fn forget_noted(&mut self) {
        self.noted = None;
    }

    fn last_known(&self) -> Option<LastKnown> {
        let picture = self.knowledge.as_ref().map(|known| Picture {
            instance: known.instance.clone(),
            epoch: known.epoch,
            seq: known.seq,
            as_of: known.as_of,
            programs: Arc::clone(&known.programs),
        });
        Some(LastKnown {
            is_connected: self.session().is_some(),
            is_live: self.is_live(),
            last_seen: self.last_seen?,
            version: self.version.clone(),
            labels: self.own_labels.clone(),
            obeyed: self.obeyed,
            configured: self.configured,
            picture,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rsv_proto::wire::{
        Hello, HostState, ProcessState, ProcessStatus, SnapshotChunk, event::ProcessRemoved,
    };
    use uuid::Uuid;

    use super::{
        super::{Enrolment, SessionId, Verdict},
        *,
    };
    use crate::moment::Moment;

    fn now() -> Moment {
        Moment {
            tick: Duration::from_secs(1000),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        }
    }

    fn enrolled(last_epoch: Option<u64>) -> Host {
        Host::new(Enrolment {
            last_epoch,
            ..Enrolment::default()
        })
    }

    fn greet(host: &mut Host) -> Option<u64> {
        let hello = Hello {
            epoch: 1,
            instance: "i1".into(),
            newest_seq: 9,
            version: "9.9".into(),
            labels: [("role".into(), "web".into())].into(),
            desired_generation: Some(4),
            ..Hello::default()
        };
        host.attach(now(), SessionId(Uuid::from_u128(1)), &hello, 0)
    }

    fn app(state: ProcessState) -> ProcessStatus {
        ProcessStatus {
            group: "app".into(),
            name: "app".into(),
            state: state.into(),
            ..ProcessStatus::default()
        }
    }

    fn changed(from: ProcessState, to: ProcessState) -> What {
        What::Changed(ProcessChanged {
            from: from.into(),
            now: Some(app(to)),
        })
    }

    fn tell(host: &mut Host, state: ProcessState) -> Verdict {
        host.snapshot(
            now(),
            SnapshotChunk {
                epoch: 1,
                seq: 7,
                programs: vec![app(state)],
                last: true,
                digest: None,
            },
        )
    }

    /// A host as a later run of the controller knows it before it is heard.
    fn recalled() -> Host {
        let mut before = enrolled(Some(1));
        greet(&mut before);
        tell(&mut before, ProcessState::Running);
        let mut host = enrolled(Some(1));
        host.recall(before.take_unnoted().unwrap());
        host
    }

    #[test]
    fn a_recalled_host_is_shown_as_it_was_last_known() {
        let view = recalled().view(
            now().after(Duration::from_secs(60)),
            &"web01".parse().unwrap(),
        );
        assert_eq!(view.state, HostState::Unreachable);
        assert_eq!(view.last_seen, Some(now().wall));
        assert_eq!(view.as_of, Some(now().wall));
        assert_eq!(view.version, "9.9");
        assert_eq!(view.labels["role"], "web");
        assert_eq!(view.obeyed, Some(4));
        assert_eq!(view.programs.unwrap().len(), 1);
    }

    #[test]
    fn its_session_begins_with_a_snapshot_and_what_differs_has_happened_meanwhile() {
        let mut host = recalled();
        assert_eq!(greet(&mut host), None);
        assert!(!host.is_live());
        let news = tell(&mut host, ProcessState::Stopped);
        let stopped = changed(ProcessState::Running, ProcessState::Stopped);
        assert_eq!(news, Verdict::Whole(vec![stopped]));
        host.detach("lost");
        assert_eq!(greet(&mut host), Some(7), "what it said itself is built on");
    }

    #[test]
    fn what_was_told_after_it_was_noted_is_known_and_is_no_news_again() {
        let second = Duration::from_secs(1);
        let mut host = recalled();
        let stopped = changed(ProcessState::Running, ProcessState::Stopped);
        host.recall_event(now().wall + second, &stopped);
        let early = changed(ProcessState::Starting, ProcessState::Running);
        host.recall_event(now().wall, &early);
        assert_eq!(host.programs().unwrap().len(), 1);
        greet(&mut host);
        let news = tell(&mut host, ProcessState::Stopped);
        assert_eq!(news, Verdict::Whole(Vec::new()));
        let removed = What::Removed(ProcessRemoved {
            group: "app".into(),
            name: "app".into(),
        });
        host.recall_event(now().wall + 2 * second, &removed);
        assert_eq!(host.programs().unwrap().len(), 1, "it is live");
        let mut host = recalled();
        host.recall_event(now().wall + second, &removed);
        greet(&mut host);
        let news = tell(&mut host, ProcessState::Running);
        let new = changed(ProcessState::Unspecified, ProcessState::Running);
        assert_eq!(news, Verdict::Whole(vec![new]));
    }

    #[test]
    fn one_that_returns_as_it_was_need_not_be_noted_again() {
        let mut host = recalled();
        greet(&mut host);
        tell(&mut host, ProcessState::Running);
        assert_eq!(host.take_unnoted(), None);
        host.obeys(5);
        assert_eq!(host.take_unnoted().unwrap().obeyed, Some(5));
        host.detach("lost");
        assert!(!host.take_unnoted().unwrap().is_connected);
        assert_eq!(host.take_unnoted(), None);
    }

    #[test]
    fn a_host_that_was_enrolled_anew_is_not_what_it_was() {
        let last = recalled().take_unnoted().unwrap();
        let mut host = enrolled(None);
        host.recall(last);
        assert_eq!((host.state(), host.programs()), (HostState::Never, None));
    }
}
