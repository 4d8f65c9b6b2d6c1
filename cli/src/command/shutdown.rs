//! `shutdown`: ends the agent of this machine and its programs.

use crate::{
    error::{Exit, Failure},
    invocation::{Invocation, Scope},
    json,
};

/// Asks for the shutdown; answered when it has begun.
pub(super) async fn run(invocation: &mut Invocation, words: &[String]) -> Result<Exit, Failure> {
    if let Scope::Fleet(_) = invocation.scope()? {
        return Err(Failure::usage(
            "`shutdown` reaches the agent of this machine, not hosts of the fleet",
        )
        .hint("stop programs of hosts with: rsv -H SEL stop all"));
    }
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
