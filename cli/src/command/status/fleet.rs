//! `status` of the fleet: one line that answers "is it fine?", then problems, then the rest.
//!
//! A host that cannot be reached is always shown, with what was last known of it and how old that
//! is; it is never shown as if it were so now.

use std::time::SystemTime;

use jiff::{Timestamp, tz::TimeZone};
use rsv_proto::{
    process::{description, display_name, hold_words, state_word},
    time::{age, from_wire, local_zone},
    wire::{
        GetStatusRequest, Hold, HostSelection, HostState, HostStatus, ProcessState, ProcessStatus,
    },
};

use super::{
    is_down, is_reachable, named_nowhere, not_enrolled, only, report, tell_of_not_enrolled, wide,
};
use crate::{
    args::{Fold, Form, Output, StatusArgs},
    command::host::desired_words,
    error::{Exit, Failure},
    fold::folded,
    invocation::{Invocation, no_hosts},
    json,
    table::{Cell, Table},
    ui::{BAD, FAINT, GOOD, MOVING, age_words, count, paint},
};

/// Shows the state of programs of hosts.
pub(super) async fn status(
    invocation: &mut Invocation,
    selection: HostSelection,
    args: StatusArgs,
) -> Result<Exit, Failure> {
    let server = invocation.controller().await?;
    let request = GetStatusRequest {
        hosts: Some(selection.clone()),
        programs: args.programs,
    };
    let mut hosts = server.status(request).await?;
    if hosts.is_empty() {
        return Err(no_hosts(&selection));
    }
    let now = SystemTime::now();
    let known = hosts.iter().filter(|host| host.as_of.is_some());
    let nowhere = named_nowhere(&known.collect::<Vec<_>>());
    let unknown = not_enrolled(&hosts);
    let summary = headline(&hosts);
    only(&mut hosts, &args.states);
    match invocation.ui.output() {
        Output::Table if args.summary => {
            let text = painted(&summary, invocation.ui.color());
            invocation.ui.line(&text)?;
        }
        Output::Table if invocation.ui.form() == Form::Name => {
            invocation.ui.names(wide::names(&hosts))?;
        }
        Output::Table => {
            let zone = local_zone();
            let shape = Shape {
                fold: invocation.global.fold,
                is_wide: invocation.ui.form() == Form::Wide,
            };
            let color = invocation.ui.color();
            let text = render(&summary, &hosts, now, &zone, shape, color);
            invocation.ui.bytes(text.as_bytes())?;
        }
        Output::Json => {
            let mut status = json::Status::new(
                hosts.iter().map(report::host).collect(),
                hosts
                    .iter()
                    .flat_map(|h| report::programs(h, now))
                    .collect(),
            );
            status.unmatched = nowhere.iter().cloned().collect();
            json::print(&mut invocation.ui, &status)?;
        }
        Output::Jsonl => {
            let programs = hosts.iter().flat_map(|h| report::programs(h, now));
            let programs: Vec<_> = programs.collect();
            json::print_lines(&mut invocation.ui, &programs)?;
        }
    }
    for host in hosts.iter().filter(|host| !host.conflict.is_empty()) {
        let text = format!("{} is used twice: {}", host.host, host.conflict);
        invocation.ui.warning(&text);
    }
    tell_of_not_enrolled(&mut invocation.ui, &unknown);
    for pattern in &nowhere {
        let line = format!("no host has a program `{pattern}`");
        invocation.ui.warning(&line);
    }
    Ok(exit_of(&hosts, !nowhere.is_empty() || !unknown.is_empty()))
}

/// A program that is down outweighs a name that means nothing, and that a host which is silent.
fn exit_of(hosts: &[HostStatus], unknown_names: bool) -> Exit {
    let (answering, silent): (Vec<&HostStatus>, Vec<&HostStatus>) =
        hosts.iter().partition(|host| is_reachable(host));
    let mut programs = answering.iter().flat_map(|host| &host.programs);
    if programs.any(|program| is_down(program.state())) {
        Exit::NotAllUp
    } else if unknown_names {
        Exit::NoAnswer
    } else if silent.is_empty() {
        Exit::Done
    } else {
        Exit::SomeUnreachable
    }
}

/// How a page is laid out.
#[derive(Debug, Clone, Copy)]
struct Shape {
    fold: Fold,
    is_wide: bool,
}

/// The first line, in its colour.
fn painted((headline, is_fine): &(String, bool), color: bool) -> String {
    paint(color, if *is_fine { GOOD } else { BAD }, headline).into_owned()
}

/// The page as it is watched.
pub(super) fn page(
    hosts: &[HostStatus],
    states: &[ProcessState],
    now: SystemTime,
    invocation: &Invocation,
) -> String {
    let summary = headline(hosts);
    let mut hosts = hosts.to_vec();
    only(&mut hosts, states);
    let shape = Shape {
        fold: invocation.global.fold,
        is_wide: invocation.ui.form() == Form::Wide,
    };
    let color = invocation.ui.color();
    render(&summary, &hosts, now, &local_zone(), shape, color)
}

/// The whole page.
fn render(
    summary: &(String, bool),
    hosts: &[HostStatus],
    now: SystemTime,
    zone: &TimeZone,
    shape: Shape,
    color: bool,
) -> String {
    let mut text = painted(summary, color);
    text.push('\n');
    let table = match shape.fold {
        Fold::Always => folded_table(hosts, now, zone),
        Fold::Auto | Fold::Never => table(hosts, now, zone, shape.is_wide),
    };
    if !table.is_empty() {
        text.push_str(&table.render(color));
    }
    if shape.is_wide {
        text.extend(hosts.iter().filter_map(lagging).map(|line| line + "\n"));
    }
    text
}

/// What is said of a host that does not keep, or is not known to, to what is wanted of it.
fn lagging(host: &HostStatus) -> Option<String> {
    let (wanted, obeyed) = (host.desired_generation, host.obeyed_generation);
    let lags = wanted > obeyed.unwrap_or(0);
    lags.then(|| format!("{}: desired {}", host.host, desired_words(wanted, obeyed)))
}

/// The answer to "is it fine?", and whether it is yes.
pub(in crate::command) fn headline(hosts: &[HostStatus]) -> (String, bool) {
    let silent = |state: HostState| hosts.iter().filter(|h| h.state() == state).count();
    let (unreachable, never) = (silent(HostState::Unreachable), silent(HostState::Never));
    let answering = hosts.iter().filter(|h| is_reachable(h));
    let programs: Vec<&ProcessStatus> = answering.flat_map(|h| &h.programs).collect();
    let in_trouble = programs.iter().filter(|p| is_in_trouble(p)).count();
    let cannot_log = programs.iter().filter(|p| !p.log_trouble.is_empty());
    let cannot_log = cannot_log.count();
    let mut problems = Vec::new();
    if unreachable > 0 {
        problems.push(format!("{} unreachable", count(unreachable, "host")));
    }
    let revoked = silent(HostState::Revoked);
    if revoked > 0 {
        problems.push(format!("{} revoked", count(revoked, "host")));
    }
    if never > 0 {
        problems.push(format!("{} never seen", count(never, "host")));
    }
    let twice = hosts.iter().filter(|h| !h.conflict.is_empty()).count();
    if twice > 0 {
        problems.push(format!("{} used twice", count(twice, "host")));
    }
    let unknown = not_enrolled(hosts).len();
    if unknown > 0 {
        problems.push(format!("{} not enrolled", count(unknown, "host")));
    }
    if in_trouble > 0 {
        let all = count(programs.len(), "program");
        problems.push(format!("{in_trouble} of {all} not running"));
    }
    if cannot_log > 0 {
        let programs = count(cannot_log, "program");
        problems.push(format!("{programs} with log trouble"));
    }
    if !problems.is_empty() {
        problems.extend(held_back(&programs));
        return (format!("PROBLEMS: {}", problems.join(", ")), false);
    }
    let subject = format!(
        "{}, {}",
        count(hosts.len(), "host"),
        count(programs.len(), "program")
    );
    (format!("{subject}{}", standing(&programs)), true)
}

/// How far programs run that give no trouble.
fn standing(programs: &[&ProcessStatus]) -> String {
    let held = held_back(programs);
    let moving = programs.iter().filter(|p| is_moving(p.state())).count();
    let moving = (moving > 0).then(|| format!("{moving} changing"));
    let others: Vec<String> = moving.into_iter().chain(held).collect();
    if programs.is_empty() {
        return String::new();
    }
    if others.is_empty() {
        return ": all running".to_owned();
    }
    let up = |p: &&&ProcessStatus| p.state() == ProcessState::Running;
    let up = programs.iter().filter(up).count();
    format!(": {up} running, {}", others.join(", "))
}

/// How many programs are down because somebody wants it so, by what holds them.
fn held_back(programs: &[&ProcessStatus]) -> Vec<String> {
    let down = programs.iter().filter(|p| is_trouble(p.state()));
    let (of_hosts, own): (Vec<&Hold>, Vec<&Hold>) = down
        .filter_map(|program| program.hold.as_ref())
        .partition(|hold| hold.whole_host);
    [(own.len(), "disabled"), (of_hosts.len(), "drained")]
        .into_iter()
        .filter(|(held, _)| *held > 0)
        .map(|(held, word)| format!("{held} {word}"))
        .collect()
}

/// Down, or trying in vain.
fn is_trouble(state: ProcessState) -> bool {
    is_down(state) || state == ProcessState::Backoff
}

/// The same, and nobody wants it to be down.
fn is_in_trouble(program: &ProcessStatus) -> bool {
    is_trouble(program.state()) && program.hold.is_none()
}

/// The same, or its output does not get into its log.
fn is_problem(program: &ProcessStatus) -> bool {
    is_in_trouble(program) || !program.log_trouble.is_empty()
}

fn is_moving(state: ProcessState) -> bool {
    matches!(state, ProcessState::Starting | ProcessState::Stopping)
}

const HEADER: [&str; 4] = ["HOST", "PROGRAM", "STATE", "DESCRIPTION"];

/// Silent hosts, then programs in trouble, then the rest; within each the order of hosts.
fn table(hosts: &[HostStatus], now: SystemTime, zone: &TimeZone, is_wide: bool) -> Table {
    let mut table = match is_wide {
        true => Table::new(&[&HEADER[..3], &wide::HEADER, &HEADER[3..]].concat()),
        false => Table::new(&HEADER),
    };
    let (answering, silent): (Vec<&HostStatus>, Vec<&HostStatus>) =
        hosts.iter().partition(|host| is_reachable(host));
    for host in silent {
        add_silent(&mut table, host, now, zone);
    }
    for wanted in [true, false] {
        for host in &answering {
            let programs = host.programs.iter();
            for program in programs.filter(|p| is_problem(p) == wanted) {
                let mut cells = vec![
                    Cell::new(&host.host),
                    Cell::new(display_name(&program.group, &program.name)),
                    state_cell(program.state()),
                ];
                if is_wide {
                    cells.extend(wide::cells(program, now));
                    cells.push(Cell::new(wide::words(program, now)));
                } else {
                    cells.push(Cell::new(words(program, now)));
                }
                table.row(cells);
            }
        }
    }
    table
}

/// Supervisor's description, what keeps the output from its log, and whether it is of yesterday.
pub(super) fn words(program: &ProcessStatus, now: SystemTime) -> String {
    let mut said = vec![description(program, now)];
    if !program.log_trouble.is_empty() {
        said.push(format!("log: {}", program.log_trouble));
    }
    if program.outdated {
        said.push("has an earlier configuration".to_owned());
    }
    said.extend(program.hold.as_ref().map(hold_words));
    said.retain(|part| !part.is_empty());
    said.join("; ")
}

fn add_silent(table: &mut Table, host: &HostStatus, now: SystemTime, zone: &TimeZone) {
    let as_of = host.as_of.as_ref().and_then(from_wire);
    let mut words = match (host.state(), as_of) {
        (HostState::Never, _) => "never seen".to_owned(),
        (HostState::Unspecified, _) => "not enrolled".to_owned(),
        (_, None) => "unreachable, nothing is known of it".to_owned(),
        (_, Some(at)) => format!(
            "unreachable since {} ({} ago)",
            clock(at, now, zone),
            age_words(age(at, now))
        ),
    };
    if !host.reason.is_empty() && host.state() != HostState::Unspecified {
        words.push_str(": ");
        words.push_str(&host.reason);
    }
    table.row(vec![Cell::new(&host.host), Cell::styled(words, BAD)]);
    for program in &host.programs {
        let known = as_of.map(|at| format!("last known {} ago", age_words(age(at, now))));
        let wanted = program.hold.as_ref().map(hold_words);
        let known: Vec<String> = known.into_iter().chain(wanted).collect();
        table.row(vec![
            Cell::new(&host.host),
            Cell::new(display_name(&program.group, &program.name)),
            Cell::styled(state_word(program.state()), FAINT),
            Cell::styled(known.join("; "), FAINT),
        ]);
    }
}

/// The time of day, with the date when it is not today's.
fn clock(at: SystemTime, now: SystemTime, zone: &TimeZone) -> String {
    let zoned = |at: SystemTime| Timestamp::try_from(at).map(|at| at.to_zoned(zone.clone()));
    match (zoned(at), zoned(now)) {
        (Ok(at), Ok(now)) if at.date() == now.date() => at.strftime("%H:%M:%S").to_string(),
        (Ok(at), _) => at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        (Err(_), _) => "at an unknown time".to_owned(),
    }
}

fn state_cell(state: ProcessState) -> Cell {
    let style = match state {
        ProcessState::Running => GOOD,
        ProcessState::Starting | ProcessState::Stopping => MOVING,
        _ => BAD,
    };
    Cell::styled(state_word(state), style)
}

/// Hosts on which a program is in one state.
struct Group {
    is_fine: bool,
    name: String,
    state: ProcessState,
    can_log: bool,
    hosts: Vec<String>,
}

impl Group {
    fn agrees(&self, other: &Self) -> bool {
        (&self.name, self.state, self.can_log) == (&other.name, other.state, other.can_log)
    }
}

/// One line for each program and state, with the hosts that agree on it.
fn folded_table(hosts: &[HostStatus], now: SystemTime, zone: &TimeZone) -> Table {
    let mut table = Table::new(&HEADER);
    let mut groups: Vec<Group> = Vec::new();
    for host in hosts {
        if !is_reachable(host) {
            // Silent hosts are not folded: each has its own age.
            add_silent(&mut table, host, now, zone);
            continue;
        }
        for program in &host.programs {
            let group = Group {
                is_fine: !is_problem(program),
                name: display_name(&program.group, &program.name),
                state: program.state(),
                can_log: program.log_trouble.is_empty(),
                hosts: vec![host.host.clone()],
            };
            match groups.iter_mut().find(|known| known.agrees(&group)) {
                Some(known) => known.hosts.extend(group.hosts),
                None => groups.push(group),
            }
        }
    }
    groups.sort_by(|a, b| (a.is_fine, &a.name).cmp(&(b.is_fine, &b.name)));
    for group in groups {
        let hosts = count(group.hosts.len(), "host");
        let words = if group.can_log {
            hosts
        } else {
            format!("{hosts}; log trouble")
        };
        table.row(vec![
            Cell::new(folded(&group.hosts)),
            Cell::new(group.name),
            state_cell(group.state),
            Cell::new(words),
        ]);
    }
    table
}

#[cfg(test)]
mod tests;
