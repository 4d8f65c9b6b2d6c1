//! Commands that end the agent: `shutdown` is answered when everything is stopped, `reload` by the next agent.

use rsv_proto::{
    process::display_name,
    wire::{self, Outcome, ProcessState, Refusal, TargetResult},
};

use super::{
    configuration::{done, failed, refused_whole, started},
    ledger::Begun,
};
use crate::{
    hub::{HubGone, HubHandle},
    link::Owners,
    local::{self, DaemonAsk},
};

/// Stops everything and starts anew; comes back only when that does not happen.
pub(super) async fn reload(owners: &Owners) -> Vec<TargetResult> {
    let reload = local::reload(&owners.roster, &owners.daemon).await;
    match reload.refusal {
        Some(refusal) => vec![refused_whole(&refusal)],
        None if reload.shutting_down => vec![is_ending()],
        None => std::future::pending().await,
    }
}

/// Stops everything and ends the agent; comes back when everything is stopped.
pub(super) async fn shutdown(owners: &Owners) -> Vec<TargetResult> {
    match owners.daemon.try_send(DaemonAsk::Shutdown) {
        Ok(()) => {
            owners.hub.subscribe().ended().await;
            shut_down()
        }
        // Whatever waits there ends this agent.
        Err(_) => vec![is_ending()],
    }
}

/// What is said of a shutdown when everything is stopped.
pub fn shut_down() -> Vec<TargetResult> {
    vec![said("shut down")]
}

/// Whether the agent has been started anew since a reload began: nothing that ran before runs any more.
pub fn is_reloaded(begun: &Begun, now: &wire::HostStatus) -> bool {
    let runs = |name: &str, pid: u32| {
        let is_it = |p: &&wire::ProcessStatus| display_name(&p.group, &p.name) == name;
        now.programs.iter().find(is_it).and_then(|p| p.pid) == Some(pid)
    };
    !begun.before.iter().any(|(name, pid)| runs(name, *pid))
}

/// What the new agent says of a reload: that it is there, and which programs are not.
pub(super) async fn reloaded(hub: &HubHandle, actor: String) -> Result<Vec<TargetResult>, HubGone> {
    let (mut results, coming) = arrived(&hub.status(&[]).await?);
    let started = started(hub, coming, actor).await.into_iter();
    results.extend(started.filter(|result| result.outcome() != Outcome::Done));
    Ok(results)
}

/// What is said of a reload as soon as the new agent is there, and the programs that are on their way up.
pub fn arrived(now: &wire::HostStatus) -> (Vec<TargetResult>, Vec<String>) {
    let mut results = vec![said("reloaded")];
    results.extend(now.programs.iter().filter_map(fatal));
    let coming = now.programs.iter().filter(|program| {
        matches!(
            program.state(),
            ProcessState::Starting | ProcessState::Backoff
        )
    });
    let coming = coming.map(|p| display_name(&p.group, &p.name)).collect();
    (results, coming)
}

fn fatal(program: &wire::ProcessStatus) -> Option<TargetResult> {
    let name = display_name(&program.group, &program.name);
    let is_fatal = program.state() == ProcessState::Fatal;
    is_fatal.then(|| failed(&name, Refusal::SpawnError, program.spawn_error.clone()))
}

fn said(words: &str) -> TargetResult {
    TargetResult {
        detail: words.to_owned(),
        ..done(&[])
    }
}

/// What is said of what comes when everything is being stopped.
pub fn is_ending() -> TargetResult {
    failed("", Refusal::ShuttingDown, String::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::session::Order;

    #[test]
    fn a_reload_has_happened_when_nothing_of_before_runs() {
        let order = Order {
            command: wire::Command::default(),
            due: None,
        };
        for (before, now, expected) in [
            (&[("app", 7)][..], &[("app", 7)][..], false),
            (&[("app", 7)], &[("app", 8)], true),
            (&[("app", 7)], &[], true),
            (&[("app", 7), ("web", 8)], &[("app", 9), ("web", 8)], false),
            (&[("app", 0)], &[("app", 7)], true),
            // A process id may come to another program.
            (&[("app", 7)], &[("web", 7)], true),
        ] {
            let before = before.iter().map(|(name, pid)| ((*name).to_owned(), *pid));
            let begun = Begun::new("boot", &order, before.collect());
            let programs = now.iter().map(|(name, pid)| wire::ProcessStatus {
                group: (*name).to_owned(),
                name: (*name).to_owned(),
                pid: Some(*pid),
                ..Default::default()
            });
            let now = wire::HostStatus {
                programs: programs.collect(),
                ..Default::default()
            };
            assert_eq!(is_reloaded(&begun, &now), expected, "{begun:?} {now:?}");
        }
    }
}
