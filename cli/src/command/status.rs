//! `status`: what programs do, on this machine in supervisorctl's form, on the fleet with a first
//! line that answers "is it fine?".

mod fleet;
mod local;
mod report;

use rsv_proto::wire::ProcessState;

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
