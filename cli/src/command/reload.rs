//! `reload`: everything is stopped, the configuration read again, and started anew. A configuration
//! that would be refused is, before anything is stopped.

use super::{act, here};
use crate::{
    args::{AgentArgs, Output},
    error::{Exit, Failure},
    invocation::{Invocation, Scope},
    json,
};

/// Asks for it; on this machine answered when it has begun, by hosts when it is done.
pub(super) async fn run(invocation: &mut Invocation, args: AgentArgs) -> Result<Exit, Failure> {
    let AgentArgs { rollout, words } = args;
    if let Scope::Fleet(hosts) = invocation.scope()? {
        here::no_words("reload", &words)?;
        let asked = act::Asked::Reload;
        return act::on_fleet(invocation, asked, Vec::new(), hosts, &rollout).await;
    }
    act::no_rollout(&rollout)?;
    let server = here::agent(invocation, "reload").await?;
    let about = "stops everything and starts anew with the configuration as it is now";
    if let Some(exit) = here::no_arguments(invocation, "reload", about, &words)? {
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
