//! `status`: what programs do, on this machine in supervisorctl's form, on the fleet with a first
//! line that answers "is it fine?".

mod fleet;
mod local;
mod report;
mod watch;
mod wide;

pub(super) use {fleet::headline, report::exit_of};

use rsv_proto::wire::{HostState, HostStatus, ProcessState};

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

/// Whether what is shown of a host in this state is true now.
pub(super) fn is_reachable(state: HostState) -> bool {
    match state {
        HostState::Connected | HostState::Draining => true,
        // An agent does not say what it is to itself.
        HostState::Unspecified => true,
        HostState::Unreachable | HostState::Never => false,
    }
}
