//! `pid`: process ids, one a line.

use rsv_proto::{
    process::display_name,
    select::ProgramPattern,
    wire::{GetStatusRequest, HostSelection, HostStatus, ProcessStatus},
};

use crate::{
    args::Output,
    command::status,
    error::{Exit, Failure},
    fold::folded,
    invocation::{Invocation, Scope, no_hosts},
    json,
    table::{Cell, Table},
};

/// Shows process ids.
pub(super) async fn run(
    invocation: &mut Invocation,
    programs: Vec<String>,
) -> Result<Exit, Failure> {
    match invocation.scope()? {
        Scope::Local => local(invocation, programs).await,
        Scope::Fleet(hosts) => fleet(invocation, hosts, programs).await,
    }
}

async fn local(invocation: &mut Invocation, names: Vec<String>) -> Result<Exit, Failure> {
    let agent = match invocation.agent().await {
        Ok(agent) => agent,
        Err(unconnected) => return Err(unconnected.say(&mut invocation.ui)?),
    };
    if names.is_empty() {
        let pid = agent.carrier.version().await?.pid;
        return show(invocation, Some(pid), &Found::default());
    }
    let names = match names.iter().any(|name| name == "all") {
        true => Vec::new(),
        false => names,
    };
    let request = GetStatusRequest {
        hosts: None,
        programs: names.clone(),
    };
    let hosts = agent.carrier.status(request).await?;
    let processes: Vec<&ProcessStatus> = hosts.iter().flat_map(|h| &h.programs).collect();
    show(invocation, None, &find(&names, &processes))
}

/// What the names mean.
#[derive(Debug, Default)]
struct Found {
    lines: Vec<String>,
    pids: Vec<json::Pid>,
    unmatched: Vec<String>,
    exit: Option<Exit>,
}

/// With names, one that does not run or does not exist counts as a failure; the last one decides.
fn find(names: &[String], processes: &[&ProcessStatus]) -> Found {
    let mut found = Found::default();
    if names.is_empty() {
        processes.iter().for_each(|process| found.add(process));
        return found;
    }
    for name in names {
        let pattern = ProgramPattern::parse(name);
        // A whole group has no pid, as with supervisorctl; a glob is ours alone.
        let is_group = matches!(pattern, ProgramPattern::Group(_));
        let matching = processes
            .iter()
            .filter(|p| pattern.matches(&p.group, &p.name));
        let matching: Vec<&&ProcessStatus> = matching.filter(|_| !is_group).collect();
        if matching.is_empty() {
            found.lines.push(format!("No such process {name}"));
            found.unmatched.push(name.clone());
            found.exit = Some(Exit::Failed);
        }
        for process in matching {
            found.add(process);
            if process.pid.is_none() {
                found.exit = Some(Exit::NotRunning);
            }
        }
    }
    found
}

impl Found {
    fn add(&mut self, process: &ProcessStatus) {
        self.lines.push(process.pid.unwrap_or(0).to_string());
        self.pids.push(json::Pid {
            host: None,
            program: display_name(&process.group, &process.name),
            pid: process.pid,
        });
    }
}

fn show(invocation: &mut Invocation, agent: Option<u32>, found: &Found) -> Result<Exit, Failure> {
    let exit = found.exit.unwrap_or(Exit::Done);
    match invocation.ui.output() {
        Output::Table => {
            let agent = agent.map(|pid| pid.to_string());
            for line in agent.iter().chain(&found.lines) {
                invocation.ui.line(line)?;
            }
        }
        Output::Jsonl if agent.is_none() => json::print_lines(&mut invocation.ui, &found.pids)?,
        Output::Json | Output::Jsonl => {
            let pids = json::Pids::new(agent, &found.pids, &found.unmatched);
            json::print(&mut invocation.ui, &pids)?;
        }
    }
    Ok(exit)
}

async fn fleet(
    invocation: &mut Invocation,
    selection: HostSelection,
    programs: Vec<String>,
) -> Result<Exit, Failure> {
    let server = invocation.controller().await?;
    let request = GetStatusRequest {
        hosts: Some(selection.clone()),
        programs,
    };
    let hosts = server.status(request).await?;
    if hosts.is_empty() {
        return Err(no_hosts(&selection));
    }
    let answering: Vec<&HostStatus> = hosts.iter().filter(|h| status::is_reachable(h)).collect();
    let silent: Vec<&HostStatus> = hosts.iter().filter(|h| status::is_away(h)).collect();
    let unknown = status::not_enrolled(&hosts);
    let pids = pids_of(&answering);
    let nowhere: Vec<String> = status::named_nowhere(&answering).into_iter().collect();
    if pids.is_empty()
        && silent.is_empty()
        && !nowhere.is_empty()
        && invocation.ui.output().is_text()
    {
        let text = format!("no host has a program `{}`", nowhere.join("`, `"));
        return Err(Failure::new(Exit::NoTarget, text));
    }
    match invocation.ui.output() {
        Output::Table => {
            let text = table(&pids).render(invocation.ui.color());
            invocation.ui.bytes(text.as_bytes())?;
        }
        Output::Json => json::print(&mut invocation.ui, &json::Pids::new(None, &pids, &nowhere))?,
        Output::Jsonl => json::print_lines(&mut invocation.ui, &pids)?,
    }
    let silent: Vec<String> = silent.into_iter().map(|host| host.host.clone()).collect();
    if !silent.is_empty() {
        let names = folded(&silent);
        invocation.ui.warning(&format!("{names}: unreachable"));
    }
    for pattern in &nowhere {
        let text = format!("no host has a program `{pattern}`");
        invocation.ui.warning(&text);
    }
    let names = match status::tell_of_not_enrolled(&mut invocation.ui, &unknown) {
        _ if pids.is_empty() && silent.is_empty() && !nowhere.is_empty() => Exit::NoTarget,
        Exit::Done if !nowhere.is_empty() => Exit::SomeFailed,
        exit => exit,
    };
    Ok(match pids.iter().all(|pid| pid.pid.is_some()) {
        false => Exit::NotRunning,
        true if names == Exit::Done && !silent.is_empty() => Exit::SomeUnreachable,
        true => names,
    })
}

/// What is true now: a process id that was last known of a silent host may be another's by now.
fn pids_of(hosts: &[&HostStatus]) -> Vec<json::Pid> {
    let of = |host: &HostStatus, process: &ProcessStatus| json::Pid {
        host: json::text(&host.host),
        program: display_name(&process.group, &process.name),
        pid: process.pid,
    };
    let pids = hosts
        .iter()
        .flat_map(|host| host.programs.iter().map(|process| of(host, process)));
    pids.collect()
}

fn table(pids: &[json::Pid]) -> Table {
    let mut table = Table::new(&["HOST", "PROGRAM", "PID"]);
    for pid in pids {
        table.row(vec![
            Cell::new(pid.host.as_deref().unwrap_or_default()),
            Cell::new(&pid.program),
            Cell::new(pid.pid.unwrap_or(0).to_string()),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_run_has_zero_and_a_code() {
        let process = |name: &str, pid: Option<u32>| ProcessStatus {
            group: name.into(),
            name: name.into(),
            pid,
            ..Default::default()
        };
        let (up, off) = (process("up", Some(7)), process("off", None));
        let all = [&off, &up];
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (asked, lines, exit) in [
            (vec![], vec!["0", "7"], None),
            (vec!["up"], vec!["7"], None),
            (vec!["off"], vec!["0"], Some(Exit::NotRunning)),
            (
                vec!["off", "x"],
                vec!["0", "No such process x"],
                Some(Exit::Failed),
            ),
            (
                vec!["up:*"],
                vec!["No such process up:*"],
                Some(Exit::Failed),
            ),
        ] {
            let found = find(&names(&asked), &all);
            assert_eq!(found.lines, lines, "{asked:?}");
            assert_eq!(found.exit, exit, "{asked:?}");
        }
    }
}
