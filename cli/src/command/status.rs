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
    invocation::{Invocation, Scope},
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

/// Whether what is shown of a host in this state is true now.
pub(super) fn is_reachable(state: HostState) -> bool {
    match state {
        HostState::Connected | HostState::Draining => true,
        // An agent does not say what it is to itself.
        HostState::Unspecified => true,
        HostState::Unreachable | HostState::Never => false,
    }
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
