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
            exit: Exit::Done,
            ..failure
        }),
    }
}

/// Whether a URL may be that of a server.
pub(crate) fn is_server(url: &str) -> bool {
    ["http:", "unix:"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
}
