//! Every enrolled host, and what its session means: who takes over from whom, what is stale, what has
//! to be asked again.
//!
//! Pure: `apply(now, input)` gives the changes that a driver carries out. Invariants: a host has at most
//! one session; a host that is not heard from is unreachable, never stopped; what comes from a session
//! that has been replaced is ignored.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use rsv_proto::{
    limits::{MISSED_HEARTBEATS, PROTOCOL},
    name::HostName,
    time::{from_wire, to_wire},
    wire::{
        AgentHeartbeat, Command, CommandResult, ControllerHeartbeat, Dismiss, Event, Hello,
        OpenLog, ResultAck, Resync, Welcome, agent_message::Message as Word,
        controller_message::Message as Order, event::What,
    },
};

use crate::{
    desired::HostDesired,
    host::{Enrolment, Host, HostView, LastKnown, SessionId, Verdict, plain},
    moment::Moment,
    standing::{Bars, Former, Revoked},
    store::CertificateRecord,
};

mod admission;

use admission::Admission;

/// Into how many parts a heartbeat's interval is cut: each part serves its share of the sessions, and
/// all are looked at for silence.
const PHASES: u64 = 4;

/// How long an agent that was sent away waits before it dials again.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The same for a session that broke and only has to begin anew.
const RETRY_SOON: Duration = Duration::from_millis(500);

/// Every enrolled host.
#[derive(Debug)]
pub struct Fleet {
    controller: String,
    interval: Duration,
    hosts: BTreeMap<HostName, Host>,
    /// Hosts that were removed and may come back.
    former: BTreeMap<HostName, Former>,
    /// When the sessions are looked at next, and how often they have been.
    next_look: Duration,
    looks: u64,
    attached: u64,
    admission: Admission,
}

/// What can happen to a fleet.
#[derive(Debug)]
pub enum Input {
    /// A host got an identity; it may have had one before.
    Enrolled(HostName, Enrolment),
    /// A host's certificate was renewed.
    Renewed(HostName, CertificateRecord),
    /// Operators have changed what is kept of a host.
    Changed(HostName, Enrolment),
    /// A host was removed.
    Removed(HostName, Former),
    /// This is wanted of a host from now on.
    Desired(HostName, HostDesired),
    /// An agent that was [admitted](Fleet::admit) has greeted.
    Attached(HostName, SessionId, Hello),
    /// An agent said something in its session.
    Said(HostName, SessionId, Word),
    /// A session's stream has ended, for this reason.
    Ended(HostName, SessionId, String),
    /// Time has passed.
    Elapsed,
    /// The controller stops.
    Closing(String),
}

/// What is to be done, or has become true.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Tell an agent something.
    Tell(SessionId, Order),
    /// End a session's stream, after what it was told.
    Drop(SessionId),
    /// End a session's stream with this as the reason.
    Refuse(SessionId, Refused),
    /// A session has begun.
    Up(HostName),
    /// A session is over, for this reason.
    Down(HostName, String),
    /// A host answered a command.
    Answered(HostName, CommandResult),
    /// A host keeps to what is wanted of it, up to this number.
    Obeys(HostName, u64),
    /// A host's epoch is to be remembered.
    Epoch(HostName, u64),
    /// Something has happened to a program of a host.
    Happened(HostName, What),
    /// The programs of a host are known again as a whole.
    Seen(HostName),
    /// Something that a person should look at: this host, and why.
    Suspicious(HostName, String),
}

/// Why an agent gets no session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The name is not (or no longer) in the fleet.
    #[error("host `{0}` is not enrolled here")]
    NotEnrolled(HostName),
    /// Its certificate is one that was revoked.
    #[error("the certificate of host `{0}` has been revoked")]
    Revoked(HostName),
    /// It was removed, and its certificate is good: it is to be enrolled anew.
    #[error("host `{0}` was removed here")]
    Former(HostName),
    /// No common revision of the protocol.
    #[error(
        "the agent speaks protocol revisions {theirs_min} to {theirs_max}, this controller {} to {}",
        PROTOCOL.start(),
        PROTOCOL.end()
    )]
    Protocol {
        /// The agent's oldest.
        theirs_min: u32,
        /// The agent's newest.
        theirs_max: u32,
    },
}

/// A host without a session was to be told something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotConnected(pub String);

impl Fleet {
    /// A fleet of the enrolled hosts, none of them heard from yet.
    pub fn new(
        controller: String,
        interval: Duration,
        hosts: impl IntoIterator<Item = (HostName, Enrolment)>,
    ) -> Self {
        let hosts = hosts.into_iter().map(|(n, e)| (n, Host::new(e))).collect();
        Self {
            controller,
            interval,
            hosts,
            former: BTreeMap::new(),
            next_look: interval / PHASES as u32,
            looks: 0,
            attached: 0,
            admission: Admission::default(),
        }
    }

    /// Takes in what was wanted before the controller was started.
    pub fn restore(&mut self, desired: impl IntoIterator<Item = (HostName, HostDesired)>) {
        for (host, desired) in desired {
            if let Some(known) = self.hosts.get_mut(&host) {
                known.desire(desired);
            }
        }
    }

    /// Takes in which hosts were removed before the controller was started.
    pub fn restore_former(&mut self, former: impl IntoIterator<Item = (HostName, Former)>) {
        self.former.extend(former);
    }

    /// By host, where not every certificate that is signed is good.
    pub fn bars(&self) -> Bars {
        let hosts = self.hosts.iter().map(|(name, host)| (name, host.trust()));
        let former = self.former.iter();
        let former = former.map(|(name, former)| (name, &former.trust));
        let barred = hosts.chain(former).filter(|(_, trust)| !trust.is_open());
        barred
            .map(|(name, trust)| (name.to_string(), trust.clone()))
            .collect()
    }

    /// Takes in what an earlier run of the controller last knew of hosts.
    pub fn recall(&mut self, known: impl IntoIterator<Item = (HostName, LastKnown)>) {
        for (host, last) in known {
            if let Some(host) = self.hosts.get_mut(&host) {
                host.recall(last);
            }
        }
    }

    /// Takes in what had happened to the programs of hosts after they were noted, and was told.
    pub fn recall_events(&mut self, told: &[Event]) {
        for event in told {
            let host = event.host.parse::<HostName>().ok();
            let host = host.and_then(|name| self.hosts.get_mut(&name));
            let at = event.at.as_ref().and_then(from_wire);
            if let (Some(host), Some(at), Some(what)) = (host, at, &event.what) {
                host.recall_event(at, what);
            }
        }
    }

    /// Hosts of which something else is known than was noted, at most so many; they count as noted from
    /// now on.
    pub fn take_unnoted(&mut self, limit: usize) -> Vec<(HostName, LastKnown)> {
        let hosts = self.hosts.iter_mut();
        let unnoted = hosts.filter_map(|(name, host)| Some((name.clone(), host.take_unnoted()?)));
        unnoted.take(limit).collect()
    }

    /// The same of one host.
    pub fn take_unnoted_of(&mut self, host: &HostName) -> Option<LastKnown> {
        self.hosts.get_mut(host)?.take_unnoted()
    }

    /// What was noted is lost.
    pub fn forget_noted(&mut self) {
        self.hosts.values_mut().for_each(Host::forget_noted);
    }

    /// Whether an agent that greets so, with a certificate of this serial number, may have a session.
    pub fn admit(&self, host: &HostName, serial: &str, hello: &Hello) -> Result<(), Refused> {
        let known = self.hosts.get(host).map(Host::trust);
        let former = self.former.get(host).map(|former| &former.trust);
        match (known, former) {
            (Some(trust), _) | (None, Some(trust)) if !trust.accepts(serial) => {
                return Err(Refused::Revoked(host.clone()));
            }
            (Some(_), _) => {}
            (None, Some(_)) => return Err(Refused::Former(host.clone())),
            (None, None) => return Err(Refused::NotEnrolled(host.clone())),
        }
        if hello.protocol_max < *PROTOCOL.start() || hello.protocol_min > *PROTOCOL.end() {
            return Err(Refused::Protocol {
                theirs_min: hello.protocol_min,
                theirs_max: hello.protocol_max,
            });
        }
        Ok(())
    }

    /// Moves the fleet on by one input.
    pub fn apply(&mut self, now: Moment, input: Input) -> Vec<Change> {
        match input {
            Input::Enrolled(host, enrolment) => self.enrolled(host, enrolment),
            Input::Renewed(host, certificate) => {
                if let Some(host) = self.hosts.get_mut(&host) {
                    host.renew(&certificate);
                }
                Vec::new()
            }
            Input::Changed(host, enrolment) => self.changed(host, enrolment),
            Input::Removed(host, former) => self.removed(host, former),
            Input::Desired(host, desired) => self.desired(&host, desired),
            Input::Attached(host, session, hello) => self.attached(now, host, session, &hello),
            Input::Said(host, session, word) => self.said(now, host, session, word),
            Input::Ended(host, session, reason) => self.ended(host, session, reason),
            Input::Elapsed => self.elapsed(now),
            Input::Closing(reason) => self.closing(&reason),
        }
    }

    /// The tick at which [`Input::Elapsed`] is due.
    pub fn deadline(&self) -> Duration {
        self.next_look
    }

    /// The names of all hosts, in natural order.
    pub fn names(&self) -> impl Iterator<Item = &HostName> {
        self.hosts.keys()
    }

    /// What is known of one host; absent: it is not enrolled.
    pub fn host(&self, name: &HostName) -> Option<&Host> {
        self.hosts.get(name)
    }

    /// One host as it is to be shown.
    pub fn view(&self, now: Moment, host: &HostName) -> Option<HostView> {
        self.hosts.get(host).map(|h| h.view(now, host))
    }

    /// Whether a host has a session.
    pub fn is_connected(&self, host: &HostName) -> bool {
        self.session_of(host).is_some()
    }

    /// How many hosts there are, and how many of them have a session.
    pub fn count(&self) -> (usize, usize) {
        let connected = self.hosts.values().filter(|h| h.session().is_some());
        (self.hosts.len(), connected.count())
    }

    /// What it takes to give a host a command.
    pub fn command(&self, host: &HostName, command: Command) -> Result<Change, NotConnected> {
        self.order(host, Order::Command(command))
    }

    /// What it takes to ask a host for a log.
    pub fn open_log(&self, host: &HostName, request: OpenLog) -> Result<Change, NotConnected> {
        self.order(host, Order::OpenLog(request))
    }

    fn order(&self, host: &HostName, order: Order) -> Result<Change, NotConnected> {
        let why = || NotConnected(self.why_unreachable(host));
        self.session_of(host)
            .map(|id| Change::Tell(id, order))
            .ok_or_else(why)
    }

    /// Why a host has no session; absent: it has one.
    pub fn unreachable(&self, host: &HostName) -> Option<String> {
        (!self.is_connected(host)).then(|| self.why_unreachable(host))
    }

    fn why_unreachable(&self, host: &HostName) -> String {
        let Some(known) = self.hosts.get(host) else {
            return "not enrolled".into();
        };
        known
            .down_reason()
            .unwrap_or("never seen since it was enrolled")
            .to_owned()
    }

    fn session_of(&self, host: &HostName) -> Option<SessionId> {
        self.hosts.get(host)?.session().map(|s| s.id)
    }

    fn enrolled(&mut self, host: HostName, enrolment: Enrolment) -> Vec<Change> {
        let former = self.former.get(&host).map(|former| former.revision);
        if former.is_some_and(|removed| enrolment.revision < removed) {
            return Vec::new();
        }
        let former = self.former.remove(&host);
        let known = match self.hosts.entry(host) {
            Entry::Occupied(known) => {
                let known = known.into_mut();
                known.enrol(enrolment);
                known
            }
            Entry::Vacant(place) => place.insert(Host::new(enrolment)),
        };
        if let Some(nothing) = former.and_then(|former| former.no_longer_desired()) {
            known.desire(nothing);
        }
        Vec::new()
    }

    fn changed(&mut self, host: HostName, enrolment: Enrolment) -> Vec<Change> {
        let Some(known) = self.hosts.get_mut(&host) else {
            return Vec::new();
        };
        let words = enrolment.trust.revoked.as_ref().map(Revoked::words);
        if !known.change(enrolment) {
            return Vec::new();
        }
        let session = known.session().map(|session| session.id);
        let cut = session.map(|id| Change::Refuse(id, Refused::Revoked(host.clone())));
        let down = self.down(host, words.unwrap_or_default());
        cut.into_iter().chain(down).collect()
    }

    /// One that has a session all the same has come while it was removed: it comes again, as a new one.
    fn removed(&mut self, host: HostName, former: Former) -> Vec<Change> {
        let later = |known: &Host| known.revision() > former.revision;
        if self.hosts.get(&host).is_some_and(later) {
            return Vec::new();
        }
        const REASON: &str = "this host was removed";
        let session = self.session_of(&host);
        let cut = session.map(|id| dismiss(id, REASON, RETRY_SOON));
        let mut changes = cut.unwrap_or_default();
        if session.is_some() {
            changes.extend(self.down(host.clone(), REASON.to_owned()));
        }
        self.hosts.remove(&host);
        self.former.insert(host, former);
        changes
    }

    fn attached(
        &mut self,
        now: Moment,
        host: HostName,
        id: SessionId,
        hello: &Hello,
    ) -> Vec<Change> {
        let phase = self.attached % PHASES;
        self.attached += 1;
        let Some(known) = self.hosts.get_mut(&host) else {
            return dismiss(id, "not enrolled", RETRY_AFTER);
        };
        if let Err(pause) = self.admission.admit(now.tick) {
            return dismiss(id, "many agents connect at once", pause);
        }
        let mut changes = Vec::new();
        if let Some(rivalry) = known.rivalry(now, hello) {
            changes.push(Change::Suspicious(host.clone(), rivalry));
        }
        if let Some(old) = known.session() {
            if old.instance != hello.instance && old.epoch > hello.epoch {
                let reason = format!("epoch {} of this host is connected already", old.epoch);
                changes.extend(dismiss(id, &reason, RETRY_AFTER));
                return changes;
            }
            changes.extend(dismiss(
                old.id,
                "a newer session has taken over",
                RETRY_AFTER,
            ));
        }
        let is_alone = known.session().is_none();
        if let Some(newest) = known.last_epoch().filter(|e| is_alone && *e > hello.epoch) {
            // Nobody else is there: a state directory was put back. The host is needed more than order.
            let text = format!(
                "epoch {} after epoch {newest}: was its state restored?",
                hello.epoch
            );
            changes.push(Change::Suspicious(host.clone(), text));
        }
        let is_new_epoch = known.last_epoch() != Some(hello.epoch);
        let resume_after = known.attach(now, id, hello, phase);
        changes.push(Change::Tell(
            id,
            Order::Welcome(Welcome {
                session: id.0.to_string(),
                controller: self.controller.clone(),
                protocol: hello.protocol_max.min(*PROTOCOL.end()),
                heartbeat_interval_ms: u32::try_from(self.interval.as_millis()).unwrap_or(u32::MAX),
                resume_after,
                sent_at: Some(to_wire(now.wall)),
                hello_sent_at: hello.sent_at,
            }),
        ));
        changes.push(Change::Tell(id, beat(now)));
        let desired = known.desired().map(Order::Desired);
        changes.extend(desired.map(|order| Change::Tell(id, order)));
        if is_new_epoch {
            changes.push(Change::Epoch(host.clone(), hello.epoch));
        }
        changes.push(Change::Up(host));
        changes
    }

    /// An older word than the known one is not passed on.
    fn desired(&mut self, host: &HostName, desired: HostDesired) -> Vec<Change> {
        let Some(known) = self.hosts.get_mut(host) else {
            return Vec::new();
        };
        if !known.desire(desired) {
            return Vec::new();
        }
        let told = known.session().map(|s| s.id).zip(known.desired());
        told.map(|(id, desired)| Change::Tell(id, Order::Desired(desired)))
            .into_iter()
            .collect()
    }

    fn said(&mut self, now: Moment, host: HostName, id: SessionId, word: Word) -> Vec<Change> {
        let Some(known) = self.hosts.get_mut(&host) else {
            return Vec::new();
        };
        if known.session().map(|s| s.id) != Some(id) {
            return Vec::new();
        }
        known.heard(now);
        let verdict = match word {
            Word::Snapshot(chunk) => known.snapshot(now, chunk),
            Word::Delta(delta) => known.delta(delta),
            Word::Heartbeat(beat) => known.heartbeat(&beat, round_trip(now, &beat)),
            Word::Result(result) => {
                let ids = vec![result.id.clone()];
                let ack = Order::ResultAck(ResultAck { ids });
                return vec![Change::Answered(host, result), Change::Tell(id, ack)];
            }
            Word::Goodbye(goodbye) => {
                let mut changes = vec![Change::Drop(id)];
                changes.extend(self.down(host, plain(&goodbye.reason)));
                return changes;
            }
            Word::Obeyed(obeyed) => {
                known.obeys(obeyed.generation);
                return vec![Change::Obeys(host, obeyed.generation)];
            }
            Word::Configured(configured) => {
                known.configure(configured);
                return Vec::new();
            }
            Word::Hello(_) => Verdict::Broken("a second greeting".into()),
        };
        match verdict {
            Verdict::Fine => Vec::new(),
            Verdict::News(news) => happened(&host, news).collect(),
            Verdict::Whole(news) => {
                let seen = Change::Seen(host.clone());
                happened(&host, news).chain([seen]).collect()
            }
            Verdict::Resync(reason) => vec![Change::Tell(id, Order::Resync(Resync { reason }))],
            Verdict::Broken(reason) => {
                let mut changes = dismiss(id, &reason, RETRY_AFTER);
                changes.extend(self.down(host, reason));
                changes
            }
        }
    }

    fn ended(&mut self, host: HostName, id: SessionId, reason: String) -> Vec<Change> {
        if self.session_of(&host) != Some(id) {
            return Vec::new();
        }
        let mut changes = vec![Change::Drop(id)];
        changes.extend(self.down(host, reason));
        changes
    }

    fn down(&mut self, host: HostName, reason: String) -> Option<Change> {
        self.hosts.get_mut(&host)?.detach(&reason);
        Some(Change::Down(host, reason))
    }

    fn elapsed(&mut self, now: Moment) -> Vec<Change> {
        if now.tick < self.next_look {
            return Vec::new();
        }
        let part = self.interval / PHASES as u32;
        // This process itself stood still: what came meanwhile has not been read yet, so nobody may
        // be blamed for that time.
        let overslept = now.since(self.next_look);
        let pardon = if overslept > part {
            overslept
        } else {
            Duration::ZERO
        };
        self.next_look = now.tick + part;
        self.looks += 1;
        let patience = self.interval * MISSED_HEARTBEATS;
        let mut changes = Vec::new();
        let mut silent = Vec::new();
        for (name, host) in &mut self.hosts {
            let Some(session) = host.session_mut() else {
                continue;
            };
            session.heard += pardon;
            if now.since(session.heard) > patience {
                silent.push((name.clone(), session.id));
            } else if self.looks % PHASES == session.phase {
                changes.push(Change::Tell(session.id, beat(now)));
            }
        }
        for (name, id) in silent {
            let reason = format!("silent for {}", humantime::format_duration(patience));
            changes.extend(dismiss(id, &reason, RETRY_SOON));
            changes.extend(self.down(name, reason));
        }
        changes
    }

    fn closing(&mut self, reason: &str) -> Vec<Change> {
        let sessions = self
            .hosts
            .values()
            .filter_map(|h| h.session().map(|s| s.id));
        let changes: Vec<Change> = sessions
            .flat_map(|id| dismiss(id, reason, RETRY_SOON))
            .collect();
        for host in self.hosts.values_mut().filter(|h| h.session().is_some()) {
            host.detach(reason);
        }
        changes
    }
}

fn happened(host: &HostName, news: Vec<What>) -> impl Iterator<Item = Change> {
    news.into_iter()
        .map(|what| Change::Happened(host.clone(), what))
}

fn dismiss(id: SessionId, reason: &str, pause: Duration) -> Vec<Change> {
    let retry_after_ms = u32::try_from(pause.as_millis()).unwrap_or(u32::MAX);
    let dismiss = Dismiss {
        reason: reason.to_owned(),
        retry_after_ms,
    };
    vec![Change::Tell(id, Order::Dismiss(dismiss)), Change::Drop(id)]
}

fn beat(now: Moment) -> Order {
    Order::Heartbeat(ControllerHeartbeat {
        sent_at: Some(to_wire(now.wall)),
    })
}

/// How long the echoed heartbeat was on its way and back; absent when the agent does not say how long
/// it held it, or when a clock jumped.
fn round_trip(now: Moment, beat: &AgentHeartbeat) -> Option<Duration> {
    let sent = from_wire(beat.echo.as_ref()?)?;
    let held = rsv_proto::time::duration_from_wire(beat.echo_held.as_ref()?)?;
    now.wall.duration_since(sent).ok()?.checked_sub(held)
}

#[cfg(test)]
mod tests;
