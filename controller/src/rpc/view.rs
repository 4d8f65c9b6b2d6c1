//! Hosts and their programs as the wire shows them.

use prost::Message as _;
use rsv_proto::{
    name::HostName,
    select::{ProgramPattern, Settled},
    time::{duration_to_wire, to_wire},
    wire::{
        GetStatusResponse, Host, HostState, HostStatus, ProcessState, ProcessStatus, Refusal,
        UnmatchedProgram,
    },
};
use tonic::Status;

use crate::{
    host::{HostView, Programs, is_connected},
    hub::View,
    operands::{Kind, concern, on_host, settle},
    standing::Revoked,
};

/// A page is closed when it has grown to this size: a quarter of the limit of a message, so that one
/// more host of the largest usual size still fits.
const PAGE_BYTES: usize = 1024 * 1024;

/// The most program patterns in one request.
const MAX_PATTERNS: usize = 1000;

/// The longest program pattern: a pattern of hosts, two names and their colons.
const MAX_PATTERN: usize = 1024;

/// Program patterns of a request, settled on its hosts; none means every program.
#[derive(Debug)]
pub(super) struct Wanted(Vec<Settled>);

/// Whether the patterns of a request could be some.
pub(super) fn check_patterns(patterns: &[String]) -> Result<(), Status> {
    if patterns.len() > MAX_PATTERNS {
        let text = format!(
            "{} program patterns, {MAX_PATTERNS} are accepted",
            patterns.len()
        );
        return Err(Status::invalid_argument(text));
    }
    if let Some(long) = patterns.iter().find(|p| p.len() > MAX_PATTERN) {
        let text = format!(
            "a program pattern of {} characters, {MAX_PATTERN} are accepted",
            long.len()
        );
        return Err(Status::invalid_argument(text));
    }
    let is_bad = |p: &&String| p.is_empty() || p.contains(char::is_control);
    match patterns.iter().find(is_bad) {
        Some(bad) => {
            let text = format!("`{}` is not a program pattern", bad.escape_debug());
            Err(Status::invalid_argument(text))
        }
        None => Ok(()),
    }
}

impl Wanted {
    /// Settles the patterns of a request on the hosts of a view, and leaves in it those that are meant.
    pub(super) fn settle(patterns: &[String], view: &mut View) -> Result<Self, Status> {
        check_patterns(patterns)?;
        let hosts = view.hosts.iter();
        let known = hosts.map(|host| (&host.name, host.programs.as_deref()));
        let settled = settle(patterns, Kind::Processes, known)?;
        if !settled.is_empty() {
            view.hosts.retain(|host| concern(&settled, &host.name));
        }
        Ok(Self(settled))
    }

    /// Those of a host, as patterns that say nothing of hosts.
    pub(super) fn on_host(&self, host: &HostName) -> Vec<String> {
        on_host(&self.0, host)
    }

    /// As they are understood.
    pub(super) fn texts(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// Whether a program of a host is wanted.
    pub(super) fn matches(&self, host: &str, group: &str, name: &str) -> bool {
        let means = |one: &Settled| one.on_host(host).is_some_and(|p| p.matches(group, name));
        self.0.is_empty() || self.0.iter().any(means)
    }

    /// Patterns that name no program of a host, which has these.
    pub(super) fn unmatched(&self, host: &str, programs: &Programs) -> Vec<(&Settled, Refusal)> {
        let own = self.0.iter();
        let own = own.filter_map(|one| Some((one, one.on_host(host)?)));
        let is_unmatched = |pattern: &ProgramPattern| {
            *pattern != ProgramPattern::All
                && !programs
                    .keys()
                    .any(|(group, name)| pattern.matches(group, name))
        };
        let unmatched = own.filter(|(_, pattern)| is_unmatched(pattern));
        unmatched
            .map(|(one, pattern)| {
                let refusal = match pattern {
                    ProgramPattern::Group(_) => Refusal::NoSuchGroup,
                    ProgramPattern::All
                    | ProgramPattern::Exact { .. }
                    | ProgramPattern::Glob(_) => Refusal::NoSuchProcess,
                };
                (one, refusal)
            })
            .collect()
    }
}

/// The status of hosts, a page after the other; pages are made as they are read.
#[derive(Debug)]
pub(super) struct StatusPages {
    hosts: std::vec::IntoIter<HostView>,
    missing: std::vec::IntoIter<String>,
    wanted: Wanted,
    is_first: bool,
}

impl StatusPages {
    /// Of these hosts, these programs.
    pub(super) fn new(mut view: View, programs: &[String]) -> Result<Self, Status> {
        let wanted = Wanted::settle(programs, &mut view)?;
        Ok(Self {
            hosts: view.hosts.into_iter(),
            missing: view.missing.into_iter(),
            wanted,
            is_first: true,
        })
    }

    fn next_host(&mut self) -> Option<HostStatus> {
        let known = self.hosts.next().map(|host| status(&host, &self.wanted));
        known.or_else(|| self.missing.next().map(not_enrolled))
    }
}

impl Iterator for StatusPages {
    type Item = GetStatusResponse;

    fn next(&mut self) -> Option<GetStatusResponse> {
        let mut page = GetStatusResponse::default();
        let mut size = 0;
        while size < PAGE_BYTES
            && let Some(host) = self.next_host()
        {
            size += host.encoded_len();
            page.hosts.push(host);
        }
        let is_first = std::mem::take(&mut self.is_first);
        if is_first {
            page.programs = self.wanted.texts();
        }
        (is_first || !page.hosts.is_empty()).then_some(page)
    }
}

/// A host in a list.
pub(super) fn host(view: HostView) -> Host {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let programs = view.programs.as_deref();
    let up = |p: &Programs| {
        p.values()
            .filter(|p| p.state() == ProcessState::Running)
            .count()
    };
    Host {
        name: view.name.to_string(),
        state: view.state.into(),
        last_seen: view.last_seen.map(to_wire),
        labels: view.labels.into_iter().collect(),
        version: view.version,
        programs_up: programs.map(|p| count(up(p))),
        programs_total: programs.map(|p| count(p.len())),
        certificate_expires: view.certificate_expires.map(to_wire),
        round_trip: view.round_trip.map(duration_to_wire),
        reason: view.reason,
        conflict: view.conflict,
        drained: view.desired.drain(),
        desired_generation: view.desired.generation,
        obeyed_generation: view.obeyed,
        revoked: view.revoked.as_ref().map(Revoked::to_wire),
        configured: view.configured,
    }
}

fn status(view: &HostView, wanted: &Wanted) -> HostStatus {
    let known = view.programs.as_deref();
    let programs = known.into_iter().flatten();
    let name = view.name.as_str();
    HostStatus {
        host: view.name.to_string(),
        state: view.state.into(),
        as_of: view.as_of.map(to_wire),
        programs: programs
            .filter(|((group, program), _)| wanted.matches(name, group, program))
            .map(|(_, program)| shown(view, program))
            .collect(),
        // Of a host whose programs are not known nothing can be said to be missing.
        unmatched: known
            .map(|programs| wanted.unmatched(name, programs))
            .unwrap_or_default()
            .into_iter()
            .map(|(pattern, refusal)| UnmatchedProgram {
                pattern: pattern.to_string(),
                refusal: refusal.into(),
            })
            .collect(),
        reason: view.reason.clone(),
        conflict: view.conflict.clone(),
        desired_generation: view.desired.generation,
        obeyed_generation: view.obeyed,
    }
}

/// A program as it is shown: a connected host says itself what it holds back; of one that is away it is
/// told what it will be when it returns.
fn shown(view: &HostView, program: &ProcessStatus) -> ProcessStatus {
    let mut program = program.clone();
    if !is_connected(view.state) {
        program.hold = view.desired.hold(&program.group, &program.name);
    }
    program
}

fn not_enrolled(host: String) -> HostStatus {
    HostStatus {
        host,
        state: HostState::Unspecified.into(),
        reason: "no host of this name is enrolled".into(),
        ..Default::default()
    }
}
