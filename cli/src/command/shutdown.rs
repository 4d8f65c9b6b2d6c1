//! `shutdown`: ends an agent and its programs.

use super::{act, here};
use crate::{
    args::AgentArgs,
    error::{Exit, Failure},
    invocation::{Invocation, Scope},
    json,
};

/// Asks for the shutdown; on this machine answered when it has begun, by hosts when everything is stopped.
pub(super) async fn run(invocation: &mut Invocation, args: AgentArgs) -> Result<Exit, Failure> {
    let AgentArgs { rollout, words } = args;
    if let Scope::Fleet(hosts) = invocation.scope()? {
        here::no_words("shutdown", &words)?;
        let asked = act::Asked::Shutdown;
        return act::on_fleet(invocation, asked, Vec::new(), hosts, &rollout).await;
    }
    act::no_rollout(&rollout)?;
    if !words.is_empty() {
        let text = "Error: shutdown accepts no arguments\nshutdown\t\tends programs and agent";
        return invocation.ui.complaint(text, Exit::Failed);
    }
    let agent = match invocation.agent().await {
        Ok(agent) => agent,
        Err(unconnected) => return Err(unconnected.say_for_shutdown(&mut invocation.ui)?),
    };
    let (outcome, line) = match agent.carrier.shutdown().await?.shutting_down {
        true => ("shutting_down", "ERROR: already shutting down"),
        false => ("begun", "Shut down"),
    };
    if invocation.ui.output().is_text() {
        invocation.ui.line(line)?;
    } else {
        let schema = "rsv/shutdown/v1";
        json::print(&mut invocation.ui, &json::Shutdown { schema, outcome })?;
    }
    Ok(Exit::Done)
}
