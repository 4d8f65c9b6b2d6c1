//! One enrolled host as the controller knows it: its link, its last snapshot, and when that was true.
//!
//! Pure: [`Fleet`](crate::fleet::Fleet) feeds it. Invariant: what is known of the programs is replaced
//! as a whole by a complete snapshot, or moved on by the delta with the next number; never otherwise.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rsv_proto::{
    name::HostName,
    wire::{Configured, Desired, Hello, HostState, ProcessStatus},
};
use uuid::Uuid;

use crate::{
    desired::HostDesired,
    moment::Moment,
    standing::{Revoked, Trust},
    store::CertificateRecord,
};

mod last;
mod picture;
mod rivals;

pub use last::{LastKnown, Picture};
pub use picture::{MAX_PROGRAMS, Verdict};

use last::Mark;
use picture::{Knowledge, Sync};
use rivals::Rivals;

/// The most labels that an agent may give its own host.
const MAX_LABELS: usize = 64;

/// The longest of an agent's own words that are shown to people.
const MAX_WORDS: usize = 200;

/// Names one session of one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(pub Uuid);

/// The processes of a host by group and name, in the order in which they are shown. Shared, so that a
/// reader can take them along without a copy.
pub type Programs = BTreeMap<(String, String), ProcessStatus>;

/// What enrolment says of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Enrolment {
    /// Put on the host by its tokens and by operators.
    pub labels: BTreeMap<String, String>,
    /// When its certificate ends; absent: not known.
    pub certificate_expires: Option<SystemTime>,
    /// The epoch of its latest session; absent: it has had none since it was enrolled.
    pub last_epoch: Option<u64>,
    /// Of two, the one with the higher number is the later word.
    pub revision: u64,
    /// Which of its certificates are good.
    pub trust: Trust,
}

/// One host, ready to be shown.
#[derive(Debug, Clone)]
pub struct HostView {
    /// Its name.
    pub name: HostName,
    /// What is known of the link to it.
    pub state: HostState,
    /// When anything was last heard from it; absent: never.
    pub last_seen: Option<SystemTime>,
    /// Labels of its tokens, of operators, and of its own configuration.
    pub labels: BTreeMap<String, String>,
    /// The agent's version; empty: not known.
    pub version: String,
    /// Its programs; absent: not known.
    pub programs: Option<Arc<Programs>>,
    /// When `programs` was true.
    pub as_of: Option<SystemTime>,
    /// When its certificate ends.
    pub certificate_expires: Option<SystemTime>,
    /// Round trip of the latest heartbeat.
    pub round_trip: Option<Duration>,
    /// Why it is unreachable, for people; empty when it is not.
    pub reason: String,
    /// Why its identity seems to be used twice, for people; empty: it does not.
    pub conflict: String,
    /// What is wanted of it.
    pub desired: Arc<HostDesired>,
    /// The number of what it has said it keeps to; absent: not known.
    pub obeyed: Option<u64>,
    /// Why its certificates are refused; absent: they are not.
    pub revoked: Option<Revoked>,
    /// The configuration in force on it, as last said; absent: not known.
    pub configured: Option<Configured>,
}

/// One enrolled host.
#[derive(Debug, Clone)]
pub struct Host {
    enrolment: Enrolment,
    own_labels: BTreeMap<String, String>,
    link: Link,
    knowledge: Option<Knowledge>,
    last_seen: Option<SystemTime>,
    version: String,
    rivals: Rivals,
    desired: Arc<HostDesired>,
    obeyed: Option<u64>,
    configured: Option<Configured>,
    /// What was last noted of it for a later run of the controller; absent: nothing.
    noted: Option<Mark>,
}

/// The link to a host.
#[derive(Debug, Clone)]
enum Link {
    /// Enrolled, and not seen since.
    Never,
    /// A session is open.
    Up(Session),
    /// No session.
    Down {
        /// Why, for people.
        reason: String,
    },
}

/// An open session.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// Names the agent's process.
    pub instance: String,
    /// Of the agent's start.
    pub epoch: u64,
    /// The tick at which anything was last heard.
    pub heard: Duration,
    /// Which of the fleet's ticks sends it a heartbeat.
    pub phase: u64,
    round_trip: Option<Duration>,
    /// What the latest heartbeat said the agent had sent.
    claimed: Option<u64>,
    sync: Sync,
}

impl Host {
    /// A host that is enrolled, and of which nothing has been heard since the controller started.
    pub fn new(enrolment: Enrolment) -> Self {
        let link = match (&enrolment.trust.revoked, enrolment.last_epoch) {
            (Some(revoked), _) => Link::Down {
                reason: revoked.words(),
            },
            (None, None) => Link::Never,
            (None, Some(_)) => Link::Down {
                reason: "not heard from since the controller started".into(),
            },
        };
        Self {
            enrolment,
            own_labels: BTreeMap::new(),
            link,
            knowledge: None,
            last_seen: None,
            version: String::new(),
            rivals: Rivals::default(),
            desired: Arc::default(),
            obeyed: None,
            configured: None,
            noted: None,
        }
    }

    /// Takes over what a new enrolment says, unless a later word is known.
    pub fn enrol(&mut self, enrolment: Enrolment) {
        if enrolment.revision < self.enrolment.revision {
            return;
        }
        let was_revoked = self.enrolment.trust.revoked.is_some();
        if was_revoked && enrolment.trust.revoked.is_none() {
            self.link = Link::Never;
        }
        self.enrolment = enrolment;
    }

    /// Takes over what operators have changed, unless a later word is known; whether it is revoked and
    /// has a session.
    pub fn change(&mut self, enrolment: Enrolment) -> bool {
        if enrolment.revision < self.enrolment.revision {
            return false;
        }
        let last_epoch = self.enrolment.last_epoch;
        self.enrolment = Enrolment {
            last_epoch,
            ..enrolment
        };
        let Some(revoked) = &self.enrolment.trust.revoked else {
            return false;
        };
        if let Link::Up(_) = self.link {
            return true;
        }
        self.link = Link::Down {
            reason: revoked.words(),
        };
        false
    }

    /// Notes a renewed certificate.
    pub fn renew(&mut self, certificate: &CertificateRecord) {
        self.enrolment.certificate_expires = Some(certificate.expires());
        self.enrolment.trust.renewed(&certificate.serial);
    }

    /// Which of its certificates are good.
    pub fn trust(&self) -> &Trust {
        &self.enrolment.trust
    }

    /// The number of the latest word on its enrolment.
    pub fn revision(&self) -> u64 {
        self.enrolment.revision
    }

    /// Notes which configuration is in force on it.
    pub fn configure(&mut self, configured: Configured) {
        self.configured = Some(configured);
    }

    /// Takes in what is wanted of it; whether that is newer than what was known.
    pub fn desire(&mut self, desired: HostDesired) -> bool {
        let is_newer = desired.generation > self.desired.generation;
        if is_newer {
            self.desired = Arc::new(desired);
        }
        is_newer
    }

    /// What its agent is to be told is wanted; absent: nothing ever was.
    pub fn desired(&self) -> Option<Desired> {
        (self.desired.generation > 0).then(|| self.desired.to_wire())
    }

    /// Notes what it keeps to.
    pub fn obeys(&mut self, generation: u64) {
        self.obeyed = Some(generation);
    }

    /// The number of what it has said it keeps to; absent: not known.
    pub fn obeyed(&self) -> Option<u64> {
        self.obeyed
    }

    /// The open session.
    pub fn session(&self) -> Option<&Session> {
        match &self.link {
            Link::Up(session) => Some(session),
            Link::Never | Link::Down { .. } => None,
        }
    }

    /// The open session, to be changed.
    pub fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.link {
            Link::Up(session) => Some(session),
            Link::Never | Link::Down { .. } => None,
        }
    }

    /// Whether the agent that greets, and another one, use this host's identity at the same time; then
    /// why that is so. To be asked before the greeting changes anything.
    pub fn rivalry(&mut self, now: Moment, hello: &Hello) -> Option<String> {
        let open = match &self.link {
            Link::Up(session) => Some((session.instance.as_str(), session.epoch)),
            Link::Never | Link::Down { .. } => None,
        };
        self.rivals.greet(now, open, hello)
    }

    /// Opens a session; the caller has ended an older one. Returns the number after which the agent
    /// is to send deltas; absent: a snapshot is needed.
    pub fn attach(&mut self, now: Moment, id: SessionId, hello: &Hello, phase: u64) -> Option<u64> {
        let resume = self
            .knowledge
            .as_ref()
            .and_then(|known| known.resumable(hello));
        self.link = Link::Up(Session {
            id,
            instance: hello.instance.clone(),
            epoch: hello.epoch,
            heard: now.tick,
            phase,
            round_trip: None,
            claimed: None,
            sync: if resume.is_some() {
                Sync::Live
            } else {
                Sync::Awaiting
            },
        });
        self.enrolment.last_epoch = Some(hello.epoch);
        self.obeyed = hello.desired_generation;
        self.configured = hello.configured;
        let labels = hello.labels.iter().take(MAX_LABELS);
        self.own_labels = labels
            .map(|(key, value)| (plain(key), plain(value)))
            .collect();
        self.version = plain(&hello.version);
        self.last_seen = Some(now.wall);
        resume
    }

    /// Closes the session. What was known stays, with the moment at which it was true.
    pub fn detach(&mut self, reason: &str) {
        self.link = Link::Down {
            reason: reason.to_owned(),
        };
    }

    /// Notes that something was heard in the open session.
    pub fn heard(&mut self, now: Moment) {
        let Link::Up(session) = &mut self.link else {
            return;
        };
        session.heard = now.tick;
        self.last_seen = Some(now.wall);
        if let (Sync::Live, Some(known)) = (&session.sync, &mut self.knowledge) {
            known.as_of = now.wall;
        }
    }

    /// What is known of the link to it.
    pub fn state(&self) -> HostState {
        match &self.link {
            _ if self.enrolment.trust.revoked.is_some() => HostState::Revoked,
            Link::Never => HostState::Never,
            Link::Up(_) if self.desired.is_drained() => HostState::Draining,
            Link::Up(_) => HostState::Connected,
            Link::Down { .. } => HostState::Unreachable,
        }
    }

    /// Its programs as last told; absent: they are not known.
    pub fn programs(&self) -> Option<&Programs> {
        self.knowledge.as_ref().map(|known| &*known.programs)
    }

    /// Whether what is known of its programs is so at this moment.
    pub fn is_live(&self) -> bool {
        self.session()
            .is_some_and(|session| matches!(session.sync, Sync::Live))
    }

    /// Labels of its own configuration, and over them those of its tokens and of operators.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.own_labels.clone();
        labels.extend(self.enrolment.labels.clone());
        labels
    }

    /// The host as it is to be shown.
    pub fn view(&self, now: Moment, name: &HostName) -> HostView {
        let session = self.session();
        let live = session.is_some_and(|s| matches!(s.sync, Sync::Live));
        let known = self.knowledge.as_ref();
        HostView {
            name: name.clone(),
            state: self.state(),
            last_seen: self.last_seen,
            labels: self.labels(),
            version: self.version.clone(),
            programs: known.map(|k| Arc::clone(&k.programs)),
            as_of: known.map(|k| if live { now.wall } else { k.as_of }),
            certificate_expires: self.enrolment.certificate_expires,
            round_trip: session.and_then(|s| s.round_trip),
            reason: self.down_reason().unwrap_or_default().to_owned(),
            conflict: self.rivals.conflict(now),
            desired: Arc::clone(&self.desired),
            obeyed: self.obeyed,
            revoked: self.enrolment.trust.revoked.clone(),
            configured: self.configured,
        }
    }

    /// Why there is no session; absent when there is one, or when there has never been one.
    pub fn down_reason(&self) -> Option<&str> {
        match &self.link {
            Link::Down { reason } => Some(reason),
            Link::Never | Link::Up(_) => None,
        }
    }

    /// The highest epoch heard of.
    pub fn last_epoch(&self) -> Option<u64> {
        self.enrolment.last_epoch
    }
}

/// Whether a host in this state has a session.
pub fn is_connected(state: HostState) -> bool {
    match state {
        HostState::Connected | HostState::Draining => true,
        HostState::Unreachable | HostState::Never | HostState::Revoked | HostState::Unspecified => {
            false
        }
    }
}

/// What an agent says of itself, fit to be shown: bounded, and without anything that moves a cursor.
pub fn plain(words: &str) -> String {
    let shown = |c: char| if c.is_control() { '?' } else { c };
    words.chars().take(MAX_WORDS).map(shown).collect()
}
