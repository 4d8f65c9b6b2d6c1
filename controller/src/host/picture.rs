//! The picture of a host's programs that its session keeps true: snapshots, deltas numbered without gaps,
//! and heartbeats whose digest would tell that something is missing.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rsv_proto::{
    digest::Digest,
    wire::{
        AgentHeartbeat, Delta, Hello, ProcessState, ProcessStatus, SnapshotChunk,
        delta::Change,
        event::{ProcessChanged, ProcessRemoved, What},
    },
};

use super::{Host, Link, Programs};
use crate::moment::Moment;

/// The most processes that one host may have: far beyond any real host, and a bound for what a
/// broken agent can make the controller remember.
pub const MAX_PROGRAMS: usize = 20_000;

/// The longest name of a program or a group.
const MAX_NAME: usize = 255;

/// What a host's message asks of the session it came in.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Nothing more.
    Fine,
    /// Nothing more; this has happened to its programs.
    News(Vec<What>),
    /// Nothing more: the picture is whole, and this has happened since the one before.
    Whole(Vec<What>),
    /// The controller's picture is broken: a full snapshot is needed, for this reason.
    Resync(String),
    /// The session cannot go on, for this reason.
    Broken(String),
}

/// How far the session's picture of the programs is.
#[derive(Debug, Clone)]
pub(super) enum Sync {
    /// A snapshot was asked for; deltas of the old numbering are of no use.
    Awaiting,
    /// Some chunks of the snapshot at `seq` are here.
    Loading { seq: u64, programs: Programs },
    /// `Host::knowledge` is the truth, and each delta moves it on.
    Live,
}

/// The programs of a host as last told in full.
#[derive(Debug, Clone)]
pub(super) struct Knowledge {
    pub(super) instance: String,
    pub(super) epoch: u64,
    pub(super) seq: u64,
    pub(super) as_of: SystemTime,
    pub(super) programs: Arc<Programs>,
    /// Of `programs`, moved on with them.
    pub(super) digest: Digest,
    /// An earlier run of the controller knew it: it is shown, and no session goes on from it.
    pub(super) is_recalled: bool,
}

impl Host {
    /// Takes a part of a snapshot.
    pub fn snapshot(&mut self, now: Moment, chunk: SnapshotChunk) -> Verdict {
        let Link::Up(session) = &mut self.link else {
            return Verdict::Fine;
        };
        if chunk.epoch != session.epoch {
            return Verdict::Broken(format!("a snapshot of epoch {}", chunk.epoch));
        }
        let mut programs = match std::mem::replace(&mut session.sync, Sync::Awaiting) {
            Sync::Loading { seq, programs } if seq == chunk.seq => programs,
            Sync::Loading { .. } | Sync::Awaiting | Sync::Live => Programs::new(),
        };
        if let Some(refused) = chunk.programs.iter().find_map(check_name) {
            return refused;
        }
        programs.extend(
            chunk
                .programs
                .into_iter()
                .map(|p| ((p.group.clone(), p.name.clone()), p)),
        );
        if programs.len() > MAX_PROGRAMS {
            return Verdict::Broken(format!("more than {MAX_PROGRAMS} programs"));
        }
        if !chunk.last {
            session.sync = Sync::Loading {
                seq: chunk.seq,
                programs,
            };
            return Verdict::Fine;
        }
        let digest = Digest::of(programs.values());
        if chunk.digest.is_some_and(|theirs| theirs != digest.value()) {
            return Verdict::Resync("the snapshot is not what its digest says".into());
        }
        session.sync = Sync::Live;
        // The first word of a host's programs is no news of them; what an earlier run of the controller has
        // told was one.
        let old = self.knowledge.as_ref();
        let news = old.map(|old| differences(&old.programs, &programs));
        self.knowledge = Some(Knowledge {
            instance: session.instance.clone(),
            epoch: session.epoch,
            seq: chunk.seq,
            as_of: now.wall,
            programs: Arc::new(programs),
            digest,
            is_recalled: false,
        });
        Verdict::Whole(news.unwrap_or_default())
    }

    /// Takes a change.
    pub fn delta(&mut self, delta: Delta) -> Verdict {
        let (Link::Up(session), Some(known)) = (&mut self.link, &mut self.knowledge) else {
            return Verdict::Fine;
        };
        if !matches!(session.sync, Sync::Live) {
            return Verdict::Fine;
        }
        let expected = known.seq.saturating_add(1);
        if delta.epoch != session.epoch || delta.seq > expected {
            session.sync = Sync::Awaiting;
            let (epoch, seq) = (delta.epoch, delta.seq);
            return Verdict::Resync(format!(
                "change {expected} expected, {seq} of epoch {epoch} came"
            ));
        }
        if delta.seq < expected {
            return Verdict::Fine;
        }
        if let Some(Change::Upsert(program)) = &delta.change
            && let Some(refused) = check_name(program)
        {
            return refused;
        }
        known.seq = delta.seq;
        let programs = Arc::make_mut(&mut known.programs);
        let news;
        let replaced = match delta.change {
            Some(Change::Upsert(p)) => {
                known.digest.add(&p);
                let key = (p.group.clone(), p.name.clone());
                news = changed(programs.get(&key), &p);
                programs.insert(key, p)
            }
            Some(Change::Remove(key)) => {
                let replaced = programs.remove(&(key.group, key.name));
                news = replaced.as_ref().map(removed);
                replaced
            }
            // A kind of change that this version does not know may matter: only the whole helps.
            None => {
                session.sync = Sync::Awaiting;
                return Verdict::Resync("a change of an unknown kind".into());
            }
        };
        if let Some(replaced) = replaced {
            known.digest.remove(&replaced);
        }
        if programs.len() > MAX_PROGRAMS {
            return Verdict::Broken(format!("more than {MAX_PROGRAMS} programs"));
        }
        Verdict::of(news.into_iter().collect())
    }

    /// Notes a heartbeat. A change that the previous heartbeat already counted and that is not here
    /// yet has been lost: an agent may count a change a moment before it sends it, not longer. At the
    /// same change both ends must know the same.
    pub fn heartbeat(&mut self, beat: &AgentHeartbeat, round_trip: Option<Duration>) -> Verdict {
        let Link::Up(session) = &mut self.link else {
            return Verdict::Fine;
        };
        if round_trip.is_some() {
            session.round_trip = round_trip;
        }
        let claimed = session.claimed.replace(beat.seq);
        let (Sync::Live, Some(known)) = (&session.sync, &self.knowledge) else {
            return Verdict::Fine;
        };
        let (seq, digest) = (known.seq, known.digest.value());
        let reason = if claimed.is_some_and(|claimed| claimed > seq) || beat.seq < seq {
            format!(
                "the agent stands at change {}, {seq} is known here",
                beat.seq
            )
        } else if beat.seq == seq && beat.digest.is_some_and(|theirs| theirs != digest) {
            format!("the agent's state after change {seq} is not what is known here")
        } else {
            return Verdict::Fine;
        };
        session.sync = Sync::Awaiting;
        session.claimed = None;
        Verdict::Resync(reason)
    }
}

impl Verdict {
    fn of(news: Vec<What>) -> Self {
        match news.is_empty() {
            true => Self::Fine,
            false => Self::News(news),
        }
    }
}

impl Knowledge {
    /// The number after which deltas of the greeting agent continue what is known, if they do.
    pub(super) fn resumable(&self, hello: &Hello) -> Option<u64> {
        let same = self.epoch == hello.epoch && self.instance == hello.instance;
        let kept = hello.oldest_seq <= self.seq.saturating_add(1) && self.seq <= hello.newest_seq;
        (same && kept && !self.is_recalled).then_some(self.seq)
    }
}

/// What has happened between two full states.
fn differences(old: &Programs, new: &Programs) -> Vec<What> {
    let gone = old.iter().filter(|(key, _)| !new.contains_key(key));
    let gone = gone.map(|(_, program)| removed(program));
    let now = new
        .iter()
        .filter_map(|(key, program)| changed(old.get(key), program));
    gone.chain(now).collect()
}

/// The event of a process that is new or has changed in what people watch for.
fn changed(old: Option<&ProcessStatus>, new: &ProcessStatus) -> Option<What> {
    let watched = |p: &ProcessStatus| (p.state, p.pid, p.started_at, p.log_trouble.clone());
    if old.is_some_and(|old| watched(old) == watched(new)) {
        return None;
    }
    Some(What::Changed(ProcessChanged {
        from: old
            .map_or(ProcessState::Unspecified, ProcessStatus::state)
            .into(),
        now: Some(new.clone()),
    }))
}

fn removed(program: &ProcessStatus) -> What {
    What::Removed(ProcessRemoved {
        group: program.group.clone(),
        name: program.name.clone(),
    })
}

/// Refuses a program that could not be shown or typed.
fn check_name(program: &ProcessStatus) -> Option<Verdict> {
    (!is_possible(program)).then(|| Verdict::Broken("a program with an impossible name".into()))
}

/// Whether a program can be shown and typed.
pub(super) fn is_possible(program: &ProcessStatus) -> bool {
    let is_fine =
        |name: &str| name.len() <= MAX_NAME && !name.is_empty() && !name.contains(char::is_control);
    is_fine(&program.group) && is_fine(&program.name)
}
