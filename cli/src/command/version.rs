//! `version`: of the agents, not of this command.

use rsv_proto::wire::{Host, HostSelection, HostState, ListHostsResponse};

use super::status::tell_of_not_enrolled;
use crate::{
    args::Output,
    error::{Exit, Failure},
    fold::{fold_lines, folded, render_lines},
    invocation::{Invocation, Scope, no_hosts},
    json,
    ui::printable,
};

/// Shows versions.
pub(super) async fn run(invocation: &mut Invocation, words: &[String]) -> Result<Exit, Failure> {
    match invocation.scope()? {
        Scope::Local => local(invocation, words).await,
        Scope::Fleet(_) if !words.is_empty() => Err(Failure::usage("`version` takes no program")),
        Scope::Fleet(hosts) => fleet(invocation, hosts).await,
    }
}

async fn local(invocation: &mut Invocation, words: &[String]) -> Result<Exit, Failure> {
    if !words.is_empty() {
        let text = "Error: version accepts no arguments\nversion\t\t\tthe version of the agent";
        return invocation.ui.complaint(text, Exit::Failed);
    }
    let agent = match invocation.agent().await {
        Ok(agent) => agent,
        Err(unconnected) => return Err(unconnected.say(&mut invocation.ui)?),
    };
    let answer = agent.carrier.version().await?;
    let version = answer.version;
    match invocation.ui.output() {
        Output::Table => invocation.ui.line(&printable(&version))?,
        Output::Json | Output::Jsonl => {
            let agent = json::Version {
                host: None,
                version: Some(version),
                notice: json::text(&answer.notice),
            };
            json::print(&mut invocation.ui, &json::Versions::new(vec![agent]))?;
        }
    }
    Ok(Exit::Done)
}

async fn fleet(invocation: &mut Invocation, selection: HostSelection) -> Result<Exit, Failure> {
    let server = invocation.controller().await?;
    let ListHostsResponse { hosts, missing } = server.hosts(selection.clone()).await?;
    if hosts.is_empty() {
        return Err(no_hosts(&selection));
    }
    let version = |version: &str| json::text(version);
    let away: Vec<String> = hosts
        .iter()
        .filter(|h| is_away(h))
        .map(|h| h.name.clone())
        .collect();
    match invocation.ui.output() {
        Output::Table => {
            let said = hosts.into_iter().map(|host| {
                let words = match version(&host.version) {
                    Some(words) if is_away(&host) => format!("{words} when last seen"),
                    Some(words) => words,
                    None => "not known".to_owned(),
                };
                (host.name, words)
            });
            let fold = invocation.global.fold;
            let text = render_lines(&fold_lines(said.collect(), fold), fold);
            invocation.ui.bytes(text.as_bytes())?;
        }
        Output::Json | Output::Jsonl => {
            let agents = hosts.into_iter().map(|host| json::Version {
                version: version(&host.version),
                notice: is_away(&host).then(|| AWAY.to_owned()),
                host: Some(host.name),
            });
            let agents = agents.collect();
            json::print(&mut invocation.ui, &json::Versions::new(agents))?;
        }
    }
    if !away.is_empty() {
        let words = format!("{}: {AWAY}", folded(&away));
        invocation.ui.warning(&words);
    }
    let exit = tell_of_not_enrolled(&mut invocation.ui, &missing);
    Ok(match exit {
        Exit::Done if !away.is_empty() => Exit::SomeUnreachable,
        exit => exit,
    })
}

/// What is said of a host whose agent may be another one by now.
const AWAY: &str = "unreachable, as it was when last seen";

fn is_away(host: &Host) -> bool {
    matches!(
        host.state(),
        HostState::Unreachable | HostState::Never | HostState::Revoked
    )
}
