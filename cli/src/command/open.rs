//! `open`: another server, whose programs are shown. At the prompt what follows is asked of it.

use super::{here, status};
use crate::{
    args::StatusArgs,
    error::{Exit, Failure},
    invocation::Invocation,
};

/// Shows what is there. That it is not all up, or not there, is seen and no failure.
pub(super) async fn run(invocation: &mut Invocation, words: &[String]) -> Result<Exit, Failure> {
    here::only_here(invocation, "open")?;
    let url = words.join(" ");
    if !is_server(&url) {
        let text = "ERROR: url must be http:// or unix://";
        return invocation.ui.complaint(text, Exit::Failed);
    }
    invocation.global.serverurl = Some(url);
    match status::run(invocation, StatusArgs::default()).await {
        Ok(_seen) => Ok(Exit::Done),
        Err(failure) => Err(Failure {
            exit: exit_of(&failure),
            ..failure
        }),
    }
}

/// That nobody is there, or who speaks another interface, is seen; anything else is an error.
fn exit_of(failure: &Failure) -> Exit {
    match (failure.exit, &failure.message) {
        (Exit::BrokenPipe, _) => Exit::BrokenPipe,
        (_, None) | (Exit::Incompatible | Exit::NotAllUp, _) => Exit::Done,
        (_, Some(_)) => Exit::Failed,
    }
}

/// Whether a URL may be that of a server.
pub(crate) fn is_server(url: &str) -> bool {
    ["http:", "unix:"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
}
