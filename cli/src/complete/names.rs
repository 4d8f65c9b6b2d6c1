//! Asking an agent or a controller for the names that can be offered.

use std::collections::BTreeMap;

use rsv_proto::{
    process::{display_name, state_word},
    wire::{GetStatusRequest, Host, HostSelection, HostStatus, ListOperationsRequest, Operation},
};

use super::grammar::{Place, Wanted};
use crate::{
    args::Global,
    client::Server,
    context::Installed,
    invocation::{Invocation, Scope},
    ui::Ui,
};

/// Operations that are offered: the newest ones.
const OPERATIONS: u32 = 50;

/// Names, each with what is known of it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Names {
    pub(super) hosts: Vec<Host>,
    pub(super) processes: Vec<(String, String)>,
    /// Of the fleet: its hosts with their processes.
    pub(super) by_host: Vec<HostStatus>,
    pub(super) groups: Vec<(String, String)>,
    pub(super) operations: Vec<(String, String)>,
    pub(super) contexts: Vec<(String, String)>,
}

/// What is asked, and whom.
#[derive(Debug)]
pub(super) struct Question {
    wanted: Wanted,
    global: Global,
}

/// What has to be asked for a place; absent: nothing.
pub(super) fn question(place: &Place) -> Option<Question> {
    match place.wanted {
        Wanted::Hosts
        | Wanted::Labels
        | Wanted::Processes
        | Wanted::Groups
        | Wanted::Operations
        | Wanted::Contexts => Some(Question {
            wanted: place.wanted.clone(),
            global: place.global()?,
        }),
        Wanted::Nothing | Wanted::Words(_) | Wanted::List(_) | Wanted::Files => None,
    }
}

/// Asks. What cannot be asked is not known, and nothing is said in the middle of a line.
pub(super) async fn ask(question: &Question) -> Names {
    let Question { wanted, global } = question;
    let mut names = Names::default();
    match wanted {
        Wanted::Hosts | Wanted::Labels => names.hosts = hosts(global).await.unwrap_or_default(),
        Wanted::Processes | Wanted::Groups => {
            let status = status(global).await.unwrap_or_default();
            (names.processes, names.groups) = processes(&status);
            names.by_host = status;
            names.by_host.retain(|host| !host.host.is_empty());
        }
        Wanted::Operations => names.operations = operations(global).await.unwrap_or_default(),
        Wanted::Contexts => names.contexts = contexts(global),
        Wanted::Nothing | Wanted::Words(_) | Wanted::List(_) | Wanted::Files => {}
    }
    names
}

/// A run that says nothing.
fn silent(global: &Global) -> Invocation {
    Invocation::new(Global {
        quiet: true,
        verbose: false,
        ..global.clone()
    })
}

async fn controller(global: &Global) -> Option<Server> {
    silent(global).controller().await.ok()
}

async fn hosts(global: &Global) -> Option<Vec<Host>> {
    let all = HostSelection {
        all: true,
        ..Default::default()
    };
    let listed = controller(global).await?.hosts(all).await.ok()?;
    Some(listed.hosts)
}

async fn status(global: &Global) -> Option<Vec<HostStatus>> {
    let invocation = silent(global);
    let (server, hosts) = match invocation.scope().ok()? {
        Scope::Local => (invocation.agent().await.ok()?.carrier, None),
        Scope::Fleet(hosts) => (controller(global).await?.into(), Some(hosts)),
    };
    let programs = Vec::new();
    server
        .status(GetStatusRequest { hosts, programs })
        .await
        .ok()
}

async fn operations(global: &Global) -> Option<Vec<(String, String)>> {
    let request = ListOperationsRequest {
        limit: OPERATIONS,
        ..Default::default()
    };
    let operations = controller(global).await?.operations(request).await.ok()?;
    let described = |operation: Operation| {
        let about = format!(
            "{} on {} hosts",
            operation.programs.join(" "),
            operation.hosts
        );
        (operation.id, about)
    };
    Some(operations.into_iter().map(described).collect())
}

fn contexts(global: &Global) -> Vec<(String, String)> {
    let mut ui = Ui::new(&silent(global).global);
    let Ok(installed) = Installed::read(&mut ui) else {
        return Vec::new();
    };
    let current = installed.current_name();
    let described = |name: &String| {
        let about = if current == Some(name) { "in use" } else { "" };
        (name.clone(), about.to_owned())
    };
    installed
        .entries()
        .iter()
        .map(|(name, _)| described(name))
        .collect()
}

/// Names, each with what is known of it.
pub(super) type Described = Vec<(String, String)>;

/// Processes and `GROUP:*`, and groups, each with the states that there are of it.
pub(super) fn processes<'a>(
    hosts: impl IntoIterator<Item = &'a HostStatus>,
) -> (Described, Described) {
    let mut processes: BTreeMap<String, BTreeMap<&'static str, usize>> = BTreeMap::new();
    let mut groups = processes.clone();
    let all = hosts.into_iter().flat_map(|host| &host.programs);
    for process in all {
        let word = state_word(process.state());
        let name = display_name(&process.group, &process.name);
        if name != process.group {
            let whole = processes.entry(format!("{}:*", process.group));
            *whole.or_default().entry(word).or_default() += 1;
        }
        *processes.entry(name).or_default().entry(word).or_default() += 1;
        let group = groups.entry(process.group.clone());
        *group.or_default().entry(word).or_default() += 1;
    }
    (described(processes), described(groups))
}

fn described(states: BTreeMap<String, BTreeMap<&'static str, usize>>) -> Described {
    let words = |states: BTreeMap<&'static str, usize>| match states.len() {
        1 if states.values().all(|count| *count == 1) => states.keys().copied().collect(),
        _ => {
            let counts = states
                .iter()
                .map(|(state, count)| format!("{count} {state}"));
            counts.collect::<Vec<_>>().join(", ")
        }
    };
    let described = states
        .into_iter()
        .map(|(name, states)| (name, words(states)));
    described.collect()
}

#[cfg(test)]
mod tests {
    use rsv_proto::wire::{ProcessState, ProcessStatus};

    use super::*;

    #[test]
    fn processes_of_many_hosts_are_offered_once_with_their_states() {
        let host = |states: [ProcessState; 2]| HostStatus {
            programs: ["app", "side"]
                .into_iter()
                .zip(states)
                .map(|(name, state)| ProcessStatus {
                    group: "web".into(),
                    name: name.into(),
                    state: state.into(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        let hosts = [
            host([ProcessState::Running, ProcessState::Running]),
            host([ProcessState::Running, ProcessState::Fatal]),
        ];
        let (processes, groups) = processes(&hosts);
        let pair = |name: &str, about: &str| (name.to_owned(), about.to_owned());
        assert_eq!(
            processes,
            [
                pair("web:*", "1 FATAL, 3 RUNNING"),
                pair("web:app", "2 RUNNING"),
                pair("web:side", "1 FATAL, 1 RUNNING"),
            ]
        );
        assert_eq!(groups, [pair("web", "1 FATAL, 3 RUNNING")]);
    }
}
