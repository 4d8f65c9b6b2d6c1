//! An action on programs of this machine, with the lines and exit codes of supervisorctl.
//!
//! Several names are done one after the other, as people who write `start db app` expect. A
//! restart of any number of programs is one action of the agent: it goes on when this run dies.

use std::collections::HashSet;

use rsv_proto::{
    process::display_name,
    select::ProgramPattern,
    wire::{
        ActRequest, GetStatusRequest, Outcome, Refusal, Step, TargetResult, act_response::Event,
    },
};

use super::{Asked, joined, verdict};
use crate::{
    args::Output,
    carrier::Carrier,
    error::{Exit, Failure},
    invocation::Invocation,
    json,
    ui::printable,
};

/// Stands for a signal that does not exist. It is asked for all the same: which programs refuse it, and
/// whether there are any, is the other side's to say.
pub(super) const NO_SUCH_SIGNAL: i32 = -1;

/// Does it, and shows what came of it.
pub(super) async fn act(
    invocation: &mut Invocation,
    asked: Asked,
    programs: Vec<String>,
) -> Result<Exit, Failure> {
    let agent = match invocation.agent().await {
        Ok(agent) => agent,
        Err(unconnected) => return Err(unconnected.say(&mut invocation.ui)?),
    };
    if programs.is_empty() {
        return usage(invocation, asked);
    }
    let names = match programs.iter().any(|name| name == "all") {
        true => vec!["all".to_owned()],
        false => programs,
    };
    if invocation.global.dry_run {
        return foretell(invocation, &agent.carrier, asked, names).await;
    }
    let mut report = Report::new(asked);
    if asked == Asked::Restart {
        let results = ask(invocation, &agent.carrier, asked, names.clone(), "").await?;
        report.add(invocation, &lines_of_restart(&names, &results), &results)?;
    } else {
        for (i, name) in names.into_iter().enumerate() {
            let suffix = format!("/{i}");
            let pattern = vec![name.clone()];
            let mut results =
                ask(invocation, &agent.carrier, asked, pattern.clone(), &suffix).await?;
            if asked == Asked::Signal(NO_SUCH_SIGNAL) && !names_one(&name) {
                let live = live(&agent.carrier, pattern).await?;
                results.retain(|r| r.refusal() != Refusal::BadSignal || live.contains(&r.program));
            }
            let lines: Vec<Line> = results
                .iter()
                .filter_map(|result| line(asked, names_one(&name), result))
                .collect();
            report.add(invocation, &lines, &results)?;
        }
    }
    report.finish(invocation)
}

/// Says what would be done, and which names mean nothing.
async fn foretell(
    invocation: &mut Invocation,
    server: &Carrier,
    asked: Asked,
    mut names: Vec<String>,
) -> Result<Exit, Failure> {
    let request = GetStatusRequest {
        programs: names.clone(),
        ..Default::default()
    };
    let hosts = server.status(request).await?;
    let unknown: Vec<TargetResult> = hosts
        .into_iter()
        .flat_map(|host| host.unmatched)
        .map(|unmatched| TargetResult {
            program: unmatched.pattern,
            outcome: Outcome::Failed.into(),
            refusal: unmatched.refusal,
            ..Default::default()
        })
        .collect();
    names.retain(|name| unknown.iter().all(|it| it.program != *name));
    let mut exit = Exit::Done;
    let mut lines = Vec::new();
    if !names.is_empty() {
        lines.push(format!("would {} {}", asked.word(), names.join(" ")));
    }
    for result in &unknown {
        let line = error_line(asked, result);
        exit = line.exit;
        lines.push(line.text);
    }
    if invocation.ui.output().is_text() {
        lines.iter().try_for_each(|line| invocation.ui.line(line))?;
        return Ok(exit);
    }
    let plan = json::Plan {
        schema: format!("rsv/{}/v1", asked.word()),
        dry_run: true,
        hosts: Vec::new(),
        programs: names,
        targets: Vec::new(),
        impossible: unknown
            .iter()
            .map(|it| verdict::target(asked, it))
            .collect(),
    };
    json::print(&mut invocation.ui, &plan)?;
    Ok(exit)
}

/// The programs of a pattern that have a process: of many, only those are signalled.
async fn live(server: &Carrier, programs: Vec<String>) -> Result<HashSet<String>, Failure> {
    let request = GetStatusRequest {
        programs,
        ..Default::default()
    };
    let hosts = server.status(request).await?;
    let programs = hosts.into_iter().flat_map(|host| host.programs);
    let live = programs.filter(|program| program.pid.is_some());
    Ok(live.map(|p| display_name(&p.group, &p.name)).collect())
}

/// `signal` without a signal or without programs, and, where nothing is to be done, with a signal that
/// does not exist.
pub(super) async fn refuse_signal(
    invocation: &mut Invocation,
    name: Option<String>,
    programs: &[String],
) -> Result<Exit, Failure> {
    if let Err(unconnected) = invocation.agent().await {
        return Err(unconnected.say(&mut invocation.ui)?);
    }
    if name.is_none() || programs.is_empty() {
        return usage(invocation, Asked::Signal(0));
    }
    for program in programs {
        let line = format!("{program}: ERROR (bad signal name)");
        invocation.ui.complaint(&line, Exit::Failed)?;
    }
    Ok(Exit::Failed)
}

fn usage(invocation: &mut Invocation, asked: Asked) -> Result<Exit, Failure> {
    let word = asked.word();
    let (needs, form, exit) = match asked {
        Asked::Start => ("a process name", "NAME...", Exit::Usage),
        Asked::Stop
        | Asked::Restart
        | Asked::Update
        | Asked::Reread
        | Asked::Clear
        | Asked::Add
        | Asked::Remove
        | Asked::Reload
        | Asked::Shutdown => ("a process name", "NAME...", Exit::Failed),
        Asked::Signal(_) => (
            "a signal name and a process name",
            "SIGNAL NAME...",
            Exit::Failed,
        ),
    };
    let text = format!(
        "Error: {word} requires {needs}\n\
         {word} {form}\t\tNAME is a program, GROUP:PROGRAM, GROUP:*, or all"
    );
    invocation.ui.complaint(&text, exit)
}

/// One action on what one list of names means, to its end.
async fn ask(
    invocation: &mut Invocation,
    server: &Carrier,
    asked: Asked,
    programs: Vec<String>,
    key_suffix: &str,
) -> Result<Vec<TargetResult>, Failure> {
    let key = invocation.global.id.as_ref();
    let request = ActRequest {
        programs,
        action: Some(asked.action()),
        deadline: invocation.deadline(),
        timeout: invocation.timeout(),
        idempotency_key: key
            .map(|id| format!("{id}{key_suffix}"))
            .unwrap_or_default(),
        ..Default::default()
    };
    let mut events = server.act(request).await?;
    let goes_on = format!("interrupted: the agent goes on to {}", asked.word());
    invocation.on_interrupt = server.goes_on().then_some(goes_on);
    let mut results: Vec<TargetResult> = Vec::new();
    while let Some(response) = events.next().await.map_err(may_go_on)? {
        match response.event {
            Some(Event::Result(result)) => results.push(result),
            Some(Event::Finished(_)) => {
                invocation.on_interrupt = None;
                // Signals are sent in the order of starting, and answered in it. Anything else ends
                // in no order that anybody can rely on.
                if !matches!(asked, Asked::Signal(_)) {
                    sort(&mut results);
                }
                return Ok(results);
            }
            Some(Event::Accepted(accepted)) => joined(invocation, &accepted),
            Some(Event::Progress(_)) | None => {}
        }
    }
    Err(may_go_on(Failure::new(
        Exit::NoAnswer,
        "the agent went away",
    )))
}

/// By name, but what was tried and failed comes after what could not even be tried, as it happens: the
/// last failure decides the exit code.
fn sort(results: &mut [TargetResult]) {
    let has_failed_late = |it: &TargetResult| {
        let refusal = it.refusal();
        matches!(refusal, Refusal::SpawnError | Refusal::AbnormalTermination)
    };
    results.sort_by_cached_key(|it| (has_failed_late(it), it.program.clone()));
}

/// A connection that is lost under an action: the agent has taken it up, and may go on with it.
fn may_go_on(failure: Failure) -> Failure {
    match failure.exit {
        Exit::NoAnswer => Failure {
            exit: Exit::GaveUpWaiting,
            ..failure.hint("what it was asked may still be done: `rsv status` tells")
        },
        _ => failure,
    }
}

/// A line as supervisorctl prints it.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    text: String,
    exit: Exit,
}

/// What has been shown so far.
struct Report {
    asked: Asked,
    exit: Exit,
    targets: Vec<json::Target>,
}

impl Report {
    fn new(asked: Asked) -> Self {
        Self {
            asked,
            exit: Exit::Done,
            targets: Vec::new(),
        }
    }

    /// Shows lines at once, keeps results for JSON. The last failure decides the exit code.
    fn add(
        &mut self,
        invocation: &mut Invocation,
        lines: &[Line],
        results: &[TargetResult],
    ) -> Result<(), Failure> {
        for line in lines {
            if line.exit != Exit::Done {
                self.exit = line.exit;
            }
            if invocation.ui.output().is_text() {
                invocation.ui.line(&line.text)?;
                invocation.ui.flush()?;
            }
        }
        let targets = results.iter().map(|r| verdict::target(self.asked, r));
        self.targets.extend(targets);
        Ok(())
    }

    fn finish(self, invocation: &mut Invocation) -> Result<Exit, Failure> {
        match invocation.ui.output() {
            Output::Table => {}
            Output::Json => {
                let action = json::Action {
                    schema: format!("rsv/{}/v1", self.asked.word()),
                    operation: None,
                    outcome: match self.exit {
                        Exit::Done => "done",
                        _ => "failed",
                    },
                    targets: self.targets,
                };
                json::print(&mut invocation.ui, &action)?;
            }
            Output::Jsonl => json::print_lines(&mut invocation.ui, &self.targets)?,
        }
        Ok(self.exit)
    }
}

/// Whether a name means one program, of which everything is said; of a group or of all, those for
/// which nothing had to be done are passed over.
fn names_one(name: &str) -> bool {
    matches!(ProgramPattern::parse(name), ProgramPattern::Exact { .. })
}

/// The line of one result; none when there is nothing to say.
fn line(asked: Asked, named: bool, result: &TargetResult) -> Option<Line> {
    let done = match asked {
        Asked::Start => "started",
        Asked::Stop | Asked::Restart => "stopped",
        Asked::Signal(_) => "signalled",
        // On this machine these are no actions.
        Asked::Update
        | Asked::Reread
        | Asked::Clear
        | Asked::Add
        | Asked::Remove
        | Asked::Reload
        | Asked::Shutdown => "done",
    };
    let nothing_to_do = matches!(
        (asked, result.refusal()),
        (Asked::Start, Refusal::AlreadyStarted)
            | (Asked::Stop | Asked::Signal(_), Refusal::NotRunning)
    );
    if nothing_to_do && !named {
        return None;
    }
    if result.outcome() == Outcome::Done && !nothing_to_do {
        let text = format!("{}: {done}", printable(&result.program));
        return Some(Line {
            text,
            exit: Exit::Done,
        });
    }
    Some(error_line(asked, result))
}

fn error_line(asked: Asked, result: &TargetResult) -> Line {
    let name = match result.refusal() {
        // supervisorctl names the group alone.
        Refusal::NoSuchGroup => result.program.trim_end_matches('*').trim_end_matches(':'),
        _ => result.program.as_str(),
    };
    let words = match result.outcome() {
        Outcome::Expired => "expired".to_owned(),
        Outcome::Unreachable => "no answer".to_owned(),
        Outcome::Denied => "denied".to_owned(),
        Outcome::NotAttempted => "not attempted".to_owned(),
        Outcome::Done | Outcome::Failed | Outcome::Unspecified => {
            verdict::refusal_words(result.refusal(), &result.detail)
        }
    };
    Line {
        text: format!("{}: ERROR ({})", printable(name), printable(&words)),
        exit: exit_of(asked, result.refusal()),
    }
}

fn exit_of(asked: Asked, refusal: Refusal) -> Exit {
    match (asked, refusal) {
        (_, Refusal::AlreadyStarted) | (Asked::Stop, Refusal::NotRunning) => Exit::Done,
        (Asked::Start, Refusal::NoSuchGroup) => Exit::Usage,
        (Asked::Signal(_), Refusal::NotRunning)
        | (_, Refusal::SpawnError | Refusal::AbnormalTermination) => Exit::NotRunning,
        _ => Exit::Failed,
    }
}

/// The lines of a restart: every stop, then every start, each in the order of the names.
fn lines_of_restart(names: &[String], results: &[TargetResult]) -> Vec<Line> {
    let ordered = in_order(names, results);
    let stops = ordered.iter().filter_map(|(named, result)| {
        let stopped = result.steps().any(|step| step == Step::Stopped);
        let as_stop = TargetResult {
            outcome: if stopped {
                Outcome::Done
            } else {
                Outcome::Failed
            }
            .into(),
            refusal: match (stopped, is_unknown(result)) {
                (true, _) => Refusal::Unspecified,
                (false, true) => result.refusal(),
                (false, false) => Refusal::NotRunning,
            }
            .into(),
            ..(*result).clone()
        };
        line(Asked::Stop, *named, &as_stop)
    });
    let starts = ordered
        .iter()
        .filter_map(|(named, result)| line(Asked::Start, *named, result));
    stops.chain(starts).collect()
}

fn is_unknown(result: &TargetResult) -> bool {
    matches!(
        result.refusal(),
        Refusal::NoSuchProcess | Refusal::NoSuchGroup
    )
}

/// Each result once, at the place of the first name that means it, and whether that name means it
/// alone. What no name explains comes last.
fn in_order<'a>(names: &[String], results: &'a [TargetResult]) -> Vec<(bool, &'a TargetResult)> {
    let place = |result: &TargetResult| {
        let (group, name) = match result.program.split_once(':') {
            Some((group, name)) => (group, name),
            None => (result.program.as_str(), result.program.as_str()),
        };
        names.iter().position(|pattern| {
            *pattern == result.program || ProgramPattern::parse(pattern).matches(group, name)
        })
    };
    let mut ordered: Vec<(Option<usize>, &TargetResult)> = results
        .iter()
        .map(|result| (place(result), result))
        .collect();
    ordered.sort_by_key(|(place, _)| place.unwrap_or(usize::MAX));
    ordered
        .into_iter()
        .map(|(place, result)| (place.is_none_or(|i| names_one(&names[i])), result))
        .collect()
}

#[cfg(test)]
mod tests;
