//! `status`: what programs do, on this machine in supervisorctl's form, on the fleet with a first
//! line that answers "is it fine?".

mod fleet;
mod local;
mod report;
mod wide;

pub(super) use report::exit_of;

use rsv_proto::wire::{HostState, ProcessState};

use crate::{
    error::{Exit, Failure},
    invocation::{Invocation, Scope},
};

/// Shows the state of programs.
pub(super) async fn run(
    invocation: &mut Invocation,
    programs: Vec<String>,
) -> Result<Exit, Failure> {
    match invocation.scope()? {
        Scope::Local => local::status(invocation, programs).await,
        Scope::Fleet(hosts) => fleet::status(invocation, hosts, programs).await,
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
