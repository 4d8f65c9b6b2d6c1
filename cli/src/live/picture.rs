//! The state of programs of hosts, moved on by events. Pure.

use std::time::SystemTime;

use rsv_proto::{
    select::{ProgramPattern, Settled},
    time::to_wire,
    wire::{Event, HostState, HostStatus, ProcessStatus, event::What},
};

/// What is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Picture {
    hosts: Vec<HostStatus>,
    wanted: Vec<Settled>,
}

/// What an event means for a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Something that is shown has changed.
    Changed,
    /// Nothing that is shown has changed.
    None,
    /// It is about what the picture does not know: only a new picture helps.
    Unknown,
}

impl Picture {
    /// Of these hosts, and of these programs; none: all.
    pub(crate) fn new(hosts: Vec<HostStatus>, wanted: Vec<Settled>) -> Self {
        Self { hosts, wanted }
    }

    /// The hosts as they are now: what is reachable is true at this moment.
    pub(crate) fn hosts(&mut self, now: SystemTime) -> &[HostStatus] {
        let now = Some(to_wire(now));
        let live = |host: &&mut HostStatus| match host.state() {
            HostState::Connected | HostState::Draining => true,
            // This machine's own agent does not name itself.
            HostState::Unspecified => host.host.is_empty(),
            HostState::Unreachable | HostState::Never | HostState::Revoked => false,
        };
        for host in self.hosts.iter_mut().filter(live) {
            host.as_of = now;
        }
        &self.hosts
    }

    /// Moves the picture on.
    pub(crate) fn apply(&mut self, event: Event) -> Effect {
        let Event { at, host, what, .. } = event;
        let Some(what) = what else {
            return Effect::None;
        };
        if matches!(what, What::Operation(_)) {
            return Effect::None;
        }
        let Some(known) = self.hosts.iter_mut().find(|known| known.host == host) else {
            return match is_wanted(&self.wanted, &host, |_| true) {
                true => Effect::Unknown,
                false => Effect::None,
            };
        };
        match what {
            What::Changed(changed) => match changed.now {
                Some(now)
                    if is_wanted(&self.wanted, &host, |p| p.matches(&now.group, &now.name)) =>
                {
                    put(&mut known.programs, now);
                    Effect::Changed
                }
                _ => Effect::None,
            },
            What::Removed(removed) => {
                let before = known.programs.len();
                known
                    .programs
                    .retain(|p| (&p.group, &p.name) != (&removed.group, &removed.name));
                match known.programs.len() == before {
                    true => Effect::None,
                    false => Effect::Changed,
                }
            }
            What::Link(link) => {
                known.state = link.state;
                known.reason = link.reason;
                known.as_of = at;
                Effect::Changed
            }
            What::Operation(_) => Effect::None,
        }
    }
}

/// Whether something is wanted of a host that fulfils this.
fn is_wanted(wanted: &[Settled], host: &str, is: impl Fn(&ProgramPattern) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(|one| one.on_host(host).is_some_and(&is))
}

/// Replaces a program, or puts it into its place in the order.
fn put(programs: &mut Vec<ProcessStatus>, now: ProcessStatus) {
    let place = programs.binary_search_by(|known| {
        (known.group.as_str(), known.name.as_str()).cmp(&(&now.group, &now.name))
    });
    match place {
        Ok(at) => programs[at] = now,
        Err(at) => programs.insert(at, now),
    }
}

#[cfg(test)]
mod tests {
    use rsv_proto::wire::{
        ProcessState,
        event::{HostChanged, ProcessChanged, ProcessRemoved},
    };

    use super::*;

    fn program(name: &str, state: ProcessState) -> ProcessStatus {
        ProcessStatus {
            group: name.into(),
            name: name.into(),
            state: state.into(),
            ..Default::default()
        }
    }

    fn event(host: &str, what: What) -> Event {
        Event {
            host: host.into(),
            what: Some(what),
            ..Default::default()
        }
    }

    fn changed(host: &str, name: &str, state: ProcessState) -> Event {
        let now = Some(program(name, state));
        event(host, What::Changed(ProcessChanged { from: 0, now }))
    }

    fn some(programs: &[&str]) -> Picture {
        let host = |name: &str| HostStatus {
            host: name.into(),
            state: HostState::Connected.into(),
            programs: vec![program("b", ProcessState::Running)],
            ..Default::default()
        };
        let wanted = programs.iter().map(|text| Settled::read(text)).collect();
        Picture::new(vec![host("web1"), host("web2")], wanted)
    }

    fn shown(picture: &mut Picture) -> String {
        let hosts = picture.hosts(SystemTime::UNIX_EPOCH);
        let lines = hosts.iter().map(|host| {
            let programs = host.programs.iter();
            let programs: Vec<String> = programs
                .map(|p| format!("{}={:?}", p.name, p.state()))
                .collect();
            format!("{} {:?}: {}", host.host, host.state(), programs.join(" "))
        });
        lines.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn events_move_a_picture_on() {
        let mut picture = some(&[]);
        let stopped = changed("web1", "b", ProcessState::Stopped);
        assert_eq!(picture.apply(stopped), Effect::Changed);
        picture.apply(changed("web1", "a", ProcessState::Starting));
        let link = HostChanged {
            state: HostState::Unreachable.into(),
            reason: "silent".into(),
        };
        picture.apply(event("web2", What::Link(link)));
        assert_eq!(
            shown(&mut picture),
            "web1 Connected: a=Starting b=Stopped; web2 Unreachable: b=Running"
        );
        let removed = ProcessRemoved {
            group: "a".into(),
            name: "a".into(),
        };
        picture.apply(event("web1", What::Removed(removed)));
        assert!(shown(&mut picture).starts_with("web1 Connected: b=Stopped;"));
    }

    #[test]
    fn what_is_not_wanted_changes_nothing_and_an_unknown_host_asks_for_a_new_picture() {
        let mut picture = some(&["b"]);
        let other = changed("web1", "a", ProcessState::Fatal);
        assert_eq!(picture.apply(other), Effect::None);
        let stranger = changed("web9", "b", ProcessState::Fatal);
        assert_eq!(picture.apply(stranger), Effect::Unknown);
        assert_eq!(picture, some(&["b"]));
    }

    #[test]
    fn programs_of_some_hosts_are_nothing_to_the_others() {
        let wanted = ["web1::b", "web[2-3]::a"];
        for (host, name, effect) in [
            ("web1", "b", Effect::Changed),
            ("web1", "a", Effect::None),
            ("web2", "a", Effect::Changed),
            ("web3", "a", Effect::Unknown),
            ("web9", "b", Effect::None),
        ] {
            let event = changed(host, name, ProcessState::Fatal);
            assert_eq!(some(&wanted).apply(event), effect, "{host} {name}");
        }
    }
}
