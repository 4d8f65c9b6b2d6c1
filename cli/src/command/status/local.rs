//! `status` of this machine: supervisorctl's lines and exit codes.

use std::{fmt::Write as _, time::SystemTime};

use rsv_proto::{
    process::{description, display_name, hold_words, state_word},
    select::ProgramPattern,
    wire::{
        GetStatusRequest, GetStatusResponse, HostStatus, ListenerStage, ProcessState, ProcessStatus,
    },
};

use super::{fleet::headline, is_down, only, report, wide};
use crate::{
    args::{Form, Output, StatusArgs},
    error::{Exit, Failure},
    invocation::Invocation,
    json,
    table::{Cell, Table},
    ui::printable,
};

/// The narrowest that the column of names is.
const NAME_WIDTH: usize = 30;

/// Shows programs in lexical order, or in the order in which they are named.
pub(super) async fn status(invocation: &mut Invocation, args: StatusArgs) -> Result<Exit, Failure> {
    let agent = match invocation.agent().await {
        Ok(agent) => agent,
        Err(unconnected) => return Err(unconnected.say_for_status(&mut invocation.ui)?),
    };
    let names = match args.programs.iter().any(|name| name == "all") {
        true => Vec::new(),
        false => args.programs,
    };
    let request = GetStatusRequest {
        hosts: None,
        programs: names.clone(),
    };
    let GetStatusResponse { hosts, notice, .. } = agent.carrier.whole_status(request).await?;
    if !notice.is_empty() {
        invocation.ui.warning(&notice);
    }
    let mut host = merged(hosts);
    let warnings = [
        outdated_words(&host.programs),
        deaf_words(&host.programs),
        logless_words(&host.programs),
    ];
    for warning in warnings.into_iter().flatten() {
        invocation.ui.warning(&warning);
    }
    let summary = headline(std::slice::from_ref(&host)).0;
    only(std::slice::from_mut(&mut host), &args.states);
    let selection = select(&names, &host.programs);
    let now = SystemTime::now();
    match invocation.ui.output() {
        Output::Table if args.summary => invocation.ui.line(&summary)?,
        Output::Table => {
            // Names are for scripts, which take each line for one.
            match invocation.ui.form() {
                Form::Name => complain(invocation, &selection),
                _ => invocation.ui.bytes(selection.errors.as_bytes())?,
            }
            let text = match invocation.ui.form() {
                Form::Wide => wide_table(&selection.shown, now).render(invocation.ui.color()),
                Form::Name => name_lines(&selection.shown),
                Form::Table | Form::Json | Form::Jsonl => render(&selection.shown, now),
            };
            invocation.ui.bytes(text.as_bytes())?;
        }
        Output::Json => {
            let mut status = json::Status::new(Vec::new(), report::programs(&host, now).collect());
            status.unmatched = selection.unmatched.clone();
            json::print(&mut invocation.ui, &status)?;
        }
        Output::Jsonl => {
            let programs: Vec<_> = report::programs(&host, now).collect();
            json::print_lines(&mut invocation.ui, &programs)?;
            complain(invocation, &selection);
        }
    }
    Ok(selection.exit())
}

/// Says beside the result which names mean nothing.
fn complain(invocation: &mut Invocation, selection: &Selection<'_>) {
    for line in selection.errors.lines() {
        invocation.ui.say(&format!("rsv: {line}"));
    }
}

/// What to say when programs run as an earlier configuration had them.
fn outdated_words(programs: &[ProcessStatus]) -> Option<String> {
    let outdated = programs.iter().filter(|program| program.outdated);
    let names: Vec<String> = outdated
        .map(|program| display_name(&program.group, &program.name))
        .collect();
    let (first, others) = names.split_first()?;
    let who = match others.len() {
        0 => format!("{first} runs"),
        1 => format!("{first} and {} run", others[0]),
        more => format!("{first} and {more} others run"),
    };
    Some(format!(
        "{who} as before the configuration was changed; 'rsv update' restarts what differs"
    ))
}

/// What to say when event listeners get no events, because they have broken the protocol.
fn deaf_words(programs: &[ProcessStatus]) -> Option<String> {
    let is_deaf = |program: &&ProcessStatus| {
        let listener = program.listener.as_ref();
        listener.is_some_and(|listener| listener.stage() == ListenerStage::Unknown)
    };
    let deaf = programs.iter().filter(is_deaf);
    let names: Vec<String> = deaf.map(|p| display_name(&p.group, &p.name)).collect();
    let (first, others) = names.split_first()?;
    let who = match others.len() {
        0 => format!("{first} does"),
        1 => format!("{first} and {} do", others[0]),
        more => format!("{first} and {more} others do"),
    };
    Some(format!(
        "{who} not keep to the event listener protocol; 'rsv maintail' says how"
    ))
}

/// What to say when output does not get to where it should: such a program may wait with its next word, while all
/// else about it looks well.
fn logless_words(programs: &[ProcessStatus]) -> Option<String> {
    let logless: Vec<_> = programs
        .iter()
        .filter(|program| !program.log_trouble.is_empty())
        .collect();
    let (first, others) = logless.split_first()?;
    let name = |program: &ProcessStatus| display_name(&program.group, &program.name);
    let whose = match others.len() {
        0 => name(first),
        1 => format!("{} and {}", name(first), name(others[0])),
        more => format!("{} and {more} others", name(first)),
    };
    Some(format!(
        "output of {whose} does not get to where it should: {}",
        first.log_trouble
    ))
}

/// The lines as they are watched.
pub(super) fn page(hosts: &[HostStatus], states: &[ProcessState], now: SystemTime) -> String {
    let mut host = merged(hosts.to_vec());
    only(std::slice::from_mut(&mut host), states);
    render(&host.programs.iter().collect::<Vec<_>>(), now)
}

/// The agent speaks of its one host, perhaps in several pages.
fn merged(hosts: Vec<HostStatus>) -> HostStatus {
    let mut hosts = hosts.into_iter();
    let mut first = hosts.next().unwrap_or_default();
    first.programs.extend(hosts.flat_map(|host| host.programs));
    first
}

/// What the names mean.
#[derive(Debug, Default)]
struct Selection<'a> {
    /// In the order of the names; a name that comes twice is shown twice.
    shown: Vec<&'a ProcessStatus>,
    /// A line for each name that means nothing.
    errors: String,
    /// These names, as they were typed.
    unmatched: Vec<String>,
}

impl Selection<'_> {
    /// Something that is down outweighs a name that means nothing, as in supervisorctl.
    fn exit(&self) -> Exit {
        if self.shown.iter().any(|process| is_down(process.state())) {
            Exit::NotAllUp
        } else if self.unmatched.is_empty() {
            Exit::Done
        } else {
            Exit::NoAnswer
        }
    }
}

fn select<'a>(names: &[String], processes: &'a [ProcessStatus]) -> Selection<'a> {
    if names.is_empty() {
        return Selection {
            shown: processes.iter().collect(),
            ..Default::default()
        };
    }
    let mut selection = Selection::default();
    for name in names {
        let pattern = ProgramPattern::parse(name);
        let before = selection.shown.len();
        let matching = processes
            .iter()
            .filter(|p| pattern.matches(&p.group, &p.name));
        selection.shown.extend(matching);
        if selection.shown.len() > before {
            continue;
        }
        let (said, what) = match &pattern {
            ProgramPattern::Group(group) => (group.as_str(), "group"),
            _ => (name.as_str(), "process"),
        };
        let said = printable(said);
        // Writing to a string cannot fail.
        let _written = writeln!(selection.errors, "{said}: ERROR (no such {what})");
        selection.unmatched.push(name.clone());
    }
    selection
}

/// With more columns than supervisorctl has.
fn wide_table(processes: &[&ProcessStatus], now: SystemTime) -> Table {
    let has_listeners = processes.iter().any(|p| p.listener.is_some());
    let listener: &[&str] = if has_listeners {
        &[wide::LISTENER]
    } else {
        &[]
    };
    let (names, rest) = (["PROGRAM", "STATE"], ["DESCRIPTION"]);
    let header = [&names[..], &wide::HEADER, listener, &rest].concat();
    let mut table = Table::new(&header);
    for process in processes {
        let mut cells = vec![
            Cell::new(display_name(&process.group, &process.name)),
            Cell::new(state_word(process.state())),
        ];
        cells.extend(wide::cells(process, now));
        if has_listeners {
            cells.push(wide::listener_cell(process));
        }
        cells.push(Cell::new(wide::words(process, now)));
        table.row(cells);
    }
    table
}

/// Supervisor's description, and why it is wanted to be down, which Supervisor does not know.
fn words(process: &ProcessStatus, now: SystemTime) -> String {
    let described = Some(description(process, now)).filter(|words| !words.is_empty());
    let hold = process.hold.as_ref().map(hold_words);
    let said: Vec<String> = described.into_iter().chain(hold).collect();
    said.join("; ")
}

/// The names alone, one a line.
fn name_lines(processes: &[&ProcessStatus]) -> String {
    let names = processes.iter().map(|p| display_name(&p.group, &p.name));
    names
        .map(|name| format!("{}\n", printable(&name)))
        .collect()
}

/// The lines; trailing blanks are part of the form.
fn render(processes: &[&ProcessStatus], now: SystemTime) -> String {
    let names: Vec<String> = processes
        .iter()
        .map(|p| printable(&display_name(&p.group, &p.name)).into_owned())
        .collect();
    let longest = names.iter().map(|name| name.chars().count()).max();
    let width = longest.unwrap_or(0).max(NAME_WIDTH) + 3;
    let mut text = String::new();
    for (process, name) in processes.iter().zip(&names) {
        let state = state_word(process.state());
        let description = words(process, now);
        // Writing to a string cannot fail.
        let _written = writeln!(text, "{name:width$}{state:10}{}", printable(&description));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use rsv_proto::{time::to_wire, wire::ProcessState};

    use super::*;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn process(group: &str, name: &str, state: ProcessState) -> ProcessStatus {
        let up = state == ProcessState::Running;
        ProcessStatus {
            group: group.into(),
            name: name.into(),
            state: state.into(),
            pid: up.then_some(4242),
            started_at: up.then(|| to_wire(now() - Duration::from_secs(61))),
            ..Default::default()
        }
    }

    #[test]
    fn whose_output_gets_nowhere_is_named_with_the_reason() {
        let program = |name: &str, log_trouble: &str| ProcessStatus {
            log_trouble: log_trouble.into(),
            ..process(name, name, ProcessState::Running)
        };
        let mut programs = vec![program("fine", "")];
        assert_eq!(logless_words(&programs), None);
        for (name, whose) in [("a", "a"), ("b", "a and b"), ("c", "a and 2 others")] {
            programs.push(program(name, "no room"));
            let words = logless_words(&programs).unwrap();
            let expected = format!("output of {whose} does not get to where it should: no room");
            assert_eq!(words, expected);
        }
    }

    #[test]
    fn who_breaks_the_event_listener_protocol_is_named() {
        let listener = |name: &str, stage: ListenerStage| ProcessStatus {
            listener: Some(rsv_proto::wire::ListenerStatus {
                stage: stage.into(),
                ..Default::default()
            }),
            ..process(name, name, ProcessState::Running)
        };
        let (good, bad) = (ListenerStage::Ready, ListenerStage::Unknown);
        let mut programs = vec![
            listener("a", good),
            process("p", "p", ProcessState::Running),
        ];
        assert_eq!(deaf_words(&programs), None);
        for (name, who) in [
            ("b", "b does"),
            ("c", "b and c do"),
            ("d", "b and 2 others do"),
        ] {
            programs.push(listener(name, bad));
            let words = deaf_words(&programs).unwrap();
            assert!(words.starts_with(&format!("{who} not keep")), "{words}");
        }
    }

    fn processes() -> Vec<ProcessStatus> {
        vec![
            process("grp", "grp_00", ProcessState::Running),
            process("off", "off", ProcessState::Stopped),
            process("slow", "slow", ProcessState::Starting),
            process("up", "up", ProcessState::Running),
        ]
    }

    fn selected(names: &[&str]) -> (String, u8) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let processes = processes();
        let selection = select(&names, &processes);
        let text = format!("{}{}", selection.errors, render(&selection.shown, now()));
        (text, selection.exit() as u8)
    }

    #[test]
    fn lines_have_supervisorctls_columns() {
        let (text, exit) = selected(&[]);
        assert_eq!(exit, 3);
        assert_eq!(
            text,
            "grp:grp_00                       RUNNING   pid 4242, uptime 0:01:01\n\
             off                              STOPPED   Not started\n\
             slow                             STARTING  \n\
             up                               RUNNING   pid 4242, uptime 0:01:01\n"
        );
    }

    #[test]
    fn a_long_name_widens_the_column_for_all() {
        let name = "x".repeat(40);
        let long = process(&name, &name, ProcessState::Stopped);
        let short = process("a", "a", ProcessState::Stopped);
        let text = render(&[&short, &long], now());
        assert_eq!(text.lines().next().unwrap().find("STOPPED"), Some(43));
    }

    #[test]
    fn names_are_shown_in_their_order_with_unknown_ones_first() {
        for (names, lines, exit) in [
            (vec!["up"], vec!["up"], 0),
            (vec!["up", "up"], vec!["up", "up"], 0),
            (vec!["grp:*"], vec!["grp:grp_00"], 0),
            (vec!["grp:"], vec!["grp:grp_00"], 0),
            (vec!["grp"], vec!["grp: ERROR (no such process)"], 4),
            (vec!["nope:*"], vec!["nope: ERROR (no such group)"], 4),
            (vec!["g:x"], vec!["g:x: ERROR (no such process)"], 4),
            (
                vec!["off", "nope"],
                vec!["nope: ERROR (no such process)", "off"],
                3,
            ),
            (vec!["slow"], vec!["slow"], 0),
        ] {
            let (text, code) = selected(&names);
            assert_eq!(code, exit, "{names:?}");
            let starts = text
                .lines()
                .zip(&lines)
                .all(|(l, start)| l.starts_with(start));
            assert!(
                starts && text.lines().count() == lines.len(),
                "{names:?}: {text}"
            );
        }
    }
}
