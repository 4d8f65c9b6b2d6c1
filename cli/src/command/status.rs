//! `status`: what programs do, on this machine in supervisorctl's form, on the fleet with a first
//! line that answers "is it fine?".

mod fleet;
mod local;
mod report;
mod watch;
mod wide;

pub(super) use {fleet::headline, report::exit_of};

use std::collections::BTreeSet;

use rsv_proto::{
    select::Settled,
    wire::{HostState, HostStatus, ProcessState},
};

use crate::{
    args::StatusArgs,
    error::{Exit, Failure},
    fold::folded,
    invocation::{Invocation, Scope},
    ui::Ui,
};

/// Shows the state of programs.
pub(super) async fn run(invocation: &mut Invocation, args: StatusArgs) -> Result<Exit, Failure> {
    match invocation.scope()? {
        scope if args.watch => watch::watch(invocation, scope, args).await,
        Scope::Local => local::status(invocation, args).await,
        Scope::Fleet(hosts) => fleet::status(invocation, hosts, args).await,
    }
}

/// Leaves only programs in these states; none: all.
fn only(hosts: &mut [HostStatus], states: &[ProcessState]) {
    if !states.is_empty() {
        for host in hosts {
            host.programs
                .retain(|program| states.contains(&program.state()));
        }
    }
}

/// Whether a state makes `status` exit with [`Exit::NotAllUp`].
fn is_down(state: ProcessState) -> bool {
    matches!(
        state,
        ProcessState::Stopped
            | ProcessState::Exited
            | ProcessState::Fatal
            | ProcessState::Unknown
            | ProcessState::Unspecified
    )
}

/// The patterns that name nothing on any of these hosts that they are of.
pub(super) fn named_nowhere(hosts: &[&HostStatus]) -> BTreeSet<String> {
    let lacks = |host: &HostStatus, pattern: &str| {
        let mut unmatched = host.unmatched.iter();
        unmatched.any(|unmatched| unmatched.pattern == pattern)
    };
    let is_nowhere = |pattern: &&String| {
        let settled = Settled::read(pattern);
        let mut concerned = hosts.iter().filter(|h| settled.on_host(&h.host).is_some());
        concerned.all(|host| lacks(host, pattern))
    };
    let said = hosts.iter().flat_map(|host| &host.unmatched);
    let said: BTreeSet<&String> = said.map(|unmatched| &unmatched.pattern).collect();
    said.into_iter().filter(is_nowhere).cloned().collect()
}

/// Whether what is shown of a host is true now.
pub(super) fn is_reachable(host: &HostStatus) -> bool {
    match host.state() {
        HostState::Connected | HostState::Draining => true,
        // An agent says neither its name nor what it is to itself.
        HostState::Unspecified => host.host.is_empty(),
        HostState::Unreachable | HostState::Never | HostState::Revoked => false,
    }
}

/// Whether a host is enrolled and cannot be asked.
pub(super) fn is_away(host: &HostStatus) -> bool {
    matches!(
        host.state(),
        HostState::Unreachable | HostState::Never | HostState::Revoked
    )
}

/// Names of hosts that were said in full and that no enrolled host has.
pub(super) fn not_enrolled(hosts: &[HostStatus]) -> Vec<String> {
    let unknown =
        |host: &&HostStatus| host.state() == HostState::Unspecified && !host.host.is_empty();
    let unknown = hosts.iter().filter(unknown);
    unknown.map(|host| host.host.clone()).collect()
}

/// Says which names of hosts mean nothing, and how a verb ends for which that is all that is wrong.
pub(super) fn tell_of_not_enrolled(ui: &mut Ui, names: &[String]) -> Exit {
    let what = match names.len() {
        0 => return Exit::Done,
        1 => "no host of this name is enrolled",
        _ => "no hosts of these names are enrolled",
    };
    ui.warning(&format!("{}: {what}", folded(names)));
    Exit::SomeFailed
}

#[cfg(test)]
mod tests {
    use rsv_proto::wire::UnmatchedProgram;

    use super::*;

    #[test]
    fn a_pattern_is_nowhere_when_every_host_that_it_is_of_lacks_it() {
        let host = |name: &str, unmatched: &[&str]| HostStatus {
            host: name.into(),
            unmatched: unmatched
                .iter()
                .map(|pattern| UnmatchedProgram {
                    pattern: (*pattern).into(),
                    refusal: 0,
                })
                .collect(),
            ..Default::default()
        };
        let web1 = host("web1", &["x", "y", "web*::z", "web1::w"]);
        let web2 = host("web2", &["x", "web*::z"]);
        let db1 = host("db1", &["x"]);
        let nowhere = named_nowhere(&[&web1, &web2, &db1]);
        assert_eq!(
            nowhere.into_iter().collect::<Vec<_>>(),
            ["web*::z", "web1::w", "x"]
        );
        assert!(named_nowhere(&[]).is_empty());
    }
}
