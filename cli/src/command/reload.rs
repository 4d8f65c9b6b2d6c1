//! `reload`: everything is stopped, the configuration read again, and started anew. A configuration
//! that would be refused is, before anything is stopped.

use super::here;
use crate::{
    args::Output,
    error::{Exit, Failure},
    invocation::Invocation,
    json,
};

/// Asks for it; answered when it has begun.
pub(super) async fn run(invocation: &mut Invocation, words: &[String]) -> Result<Exit, Failure> {
    let server = here::agent(invocation, "reload").await?;
    let about = "stops everything and starts anew with the configuration as it is now";
    if let Some(exit) = here::no_arguments(invocation, "reload", about, words)? {
        return Ok(exit);
    }
    let reload = server.reload().await?;
    let is_begun = reload.refusal.is_none() && !reload.shutting_down;
    let exit = match is_begun {
        true => Exit::Done,
        false => Exit::Failed,
    };
    if invocation.ui.output() != Output::Table {
        let object = json::Reload {
            schema: "rsv/reload/v1",
            outcome: match (&reload.refusal, reload.shutting_down) {
                (Some(_), _) => "refused",
                (None, true) => "shutting_down",
                (None, false) => "done",
            },
            error: reload.refusal.as_ref().map(here::refusal_json),
        };
        json::print(&mut invocation.ui, &object)?;
    } else if let Some(refusal) = &reload.refusal {
        here::cannot_reread(invocation, refusal)?;
    } else if reload.shutting_down {
        invocation.ui.line("ERROR: already shutting down")?;
    } else {
        invocation.ui.line("Restarted supervisord")?;
    }
    Ok(exit)
}
