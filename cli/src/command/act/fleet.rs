//! An action on hosts of the fleet: one operation of the controller, watched to its end.

use std::time::Duration;

use rsv_proto::{
    time::duration_from_wire,
    wire::{
        ActRequest, ActResponse, HostSelection, TargetResult,
        act_response::{Accepted, Event},
    },
};

use super::{Asked, care, joined, verdict};
use crate::{
    args::{Fold, Output},
    client::{Events, Server},
    error::{Exit, Failure},
    fold::{fold_lines, folded, render_lines},
    invocation::{GRACE, Invocation, no_hosts},
    json,
    ui::{age_words, count},
};

/// Does it, and shows what came of it.
pub(super) async fn act(
    invocation: &mut Invocation,
    asked: Asked,
    programs: Vec<String>,
    hosts: HostSelection,
) -> Result<Exit, Failure> {
    let server = invocation.controller().await?;
    let request = ActRequest {
        hosts: Some(hosts.clone()),
        programs,
        action: Some(asked.action()),
        deadline: invocation.deadline(),
        timeout: invocation.timeout(),
        expect_hosts: invocation.global.expect,
        dry_run: invocation.global.dry_run,
        idempotency_key: invocation.global.id.clone().unwrap_or_default(),
    };
    if request.dry_run {
        return plan(invocation, &server, asked, request).await;
    }
    let request = with_care(invocation, &server, asked, request).await?;
    let mut report = Report::default();
    let watched = watch(invocation, &server, request, &mut report).await;
    if watched.is_ok() && report.hosts.is_empty() {
        return Err(no_hosts(&hosts));
    }
    let exit = show(invocation, asked, &report)?;
    watched.map(|()| exit)
}

/// What is known of the operation so far.
#[derive(Debug, Default)]
struct Report {
    operation: Option<String>,
    hosts: Vec<String>,
    results: Vec<TargetResult>,
    elapsed: Option<Duration>,
}

/// Only says which hosts would be reached.
async fn plan(
    invocation: &mut Invocation,
    server: &Server,
    asked: Asked,
    request: ActRequest,
) -> Result<Exit, Failure> {
    let selection = request.hosts.clone().unwrap_or_default();
    let programs = request.programs.clone();
    let hosts = resolve(server, request).await?;
    if hosts.is_empty() {
        return Err(no_hosts(&selection));
    }
    let word = asked.word();
    if !invocation.ui.output().is_text() {
        let plan = json::Plan {
            schema: format!("rsv/{word}/v1"),
            dry_run: true,
            hosts,
            programs,
        };
        json::print(&mut invocation.ui, &plan)?;
        return Ok(Exit::Done);
    }
    let what = programs.join(" ");
    let many = count(hosts.len(), "host");
    let line = format!("would {word} {what} on {many}: {}", folded(&hosts));
    invocation.ui.line(&line)?;
    Ok(Exit::Done)
}

/// The hosts that a request reaches.
async fn resolve(server: &Server, request: ActRequest) -> Result<Vec<String>, Failure> {
    let dry = ActRequest {
        dry_run: true,
        ..request
    };
    let mut events = server.act(dry).await?;
    while let Some(response) = events.next().await? {
        if let Some(Event::Accepted(accepted)) = response.event {
            return Ok(accepted.hosts);
        }
    }
    Ok(Vec::new())
}

/// Confirms what has to be confirmed, and then holds the operation to the confirmed number.
async fn with_care(
    invocation: &mut Invocation,
    server: &Server,
    asked: Asked,
    mut request: ActRequest,
) -> Result<ActRequest, Failure> {
    let selection = request.hosts.clone().unwrap_or_default();
    let is_confirmed = invocation.global.yes || request.expect_hosts.is_some();
    if is_confirmed {
        return Ok(request);
    }
    let above = care::confirm_above(invocation)?;
    if !care::must_count(asked, &request.programs, &selection, above) {
        return Ok(request);
    }
    let hosts = resolve(server, request.clone()).await?;
    if hosts.is_empty() {
        return Err(no_hosts(&selection));
    }
    if care::is_grave(asked, &request.programs, hosts.len(), above) {
        care::confirm(invocation, asked, &request.programs, hosts.len())?;
        request.expect_hosts = u32::try_from(hosts.len()).ok();
    }
    Ok(request)
}

/// Follows the operation to its end, which must come.
async fn watch(
    invocation: &mut Invocation,
    server: &Server,
    request: ActRequest,
    report: &mut Report,
) -> Result<(), Failure> {
    let limit = invocation.global.timeout.map(|timeout| timeout + GRACE);
    let mut events = server.act(request).await?;
    let watched = async {
        while let Some(event) = next(&mut events).await? {
            match event {
                Event::Accepted(accepted) => begin(invocation, report, accepted),
                Event::Result(result) => {
                    report.results.push(result);
                    progress(invocation, report);
                }
                Event::Finished(finished) => {
                    let elapsed = finished.elapsed.as_ref().and_then(duration_from_wire);
                    report.elapsed = Some(elapsed.unwrap_or_default());
                    return Ok(());
                }
            }
        }
        Err(Failure::new(
            Exit::GaveUpWaiting,
            "the controller went away",
        ))
    };
    let ended = match limit {
        Some(limit) => tokio::time::timeout(limit, watched)
            .await
            .unwrap_or_else(|_late| {
                let words = format!("no end within {}", age_words(limit));
                Err(Failure::new(Exit::GaveUpWaiting, words))
            }),
        None => watched.await,
    };
    invocation.on_interrupt = None;
    ended.map_err(|failure| goes_on(report, failure))
}

/// The next event with something in it: one of a kind that this version does not know is skipped.
async fn next(events: &mut Events<ActResponse>) -> Result<Option<Event>, Failure> {
    while let Some(response) = events.next().await? {
        if let Some(event) = response.event {
            return Ok(Some(event));
        }
    }
    Ok(None)
}

fn begin(invocation: &mut Invocation, report: &mut Report, accepted: Accepted) {
    joined(invocation, &accepted);
    let words = count(accepted.hosts.len(), "host");
    invocation
        .ui
        .detail(&format!("op {}  {words}", accepted.operation));
    invocation.on_interrupt = Some(format!(
        "interrupted: operation {} goes on without its reader",
        accepted.operation
    ));
    report.operation = Some(accepted.operation);
    report.hosts = accepted.hosts;
    progress(invocation, report);
}

fn progress(invocation: &mut Invocation, report: &Report) {
    let operation = report.operation.as_deref().unwrap_or_default();
    let mut answered: Vec<&str> = report.results.iter().map(|r| r.host.as_str()).collect();
    answered.sort_unstable();
    answered.dedup();
    let (answered, all) = (answered.len(), report.hosts.len());
    invocation
        .ui
        .progress(&format!("op {operation}  {answered} of {all} hosts"));
}

/// A failure after the operation has begun: it goes on, and its id is what remains.
fn goes_on(report: &Report, failure: Failure) -> Failure {
    match &report.operation {
        Some(operation) => Failure {
            exit: Exit::GaveUpWaiting,
            hint: Some(format!("operation {operation} goes on without its reader")),
            ..failure
        },
        None => failure,
    }
}

/// Shows the results.
fn show(invocation: &mut Invocation, asked: Asked, report: &Report) -> Result<Exit, Failure> {
    let (exit, outcome) = verdict::verdict(&report.results, &report.hosts);
    let targets = || report.results.iter().map(|r| verdict::target(asked, r));
    match invocation.ui.output() {
        Output::Json => {
            let action = json::Action {
                schema: format!("rsv/{}/v1", asked.word()),
                operation: report.operation.clone(),
                outcome,
                targets: targets().collect(),
            };
            json::print(&mut invocation.ui, &action)?;
        }
        Output::Jsonl => {
            let targets: Vec<json::Target> = targets().collect();
            json::print_lines(&mut invocation.ui, &targets)?;
        }
        Output::Table => {
            let text = render(asked, &report.results, invocation.global.fold);
            invocation.ui.bytes(text.as_bytes())?;
        }
    }
    if let Some(elapsed) = report.elapsed {
        invocation.ui.detail(&format!("after {elapsed:.1?}"));
    }
    Ok(exit)
}

/// Results for people: what went well first, so that the last lines are what to look at.
fn render(asked: Asked, results: &[TargetResult], fold: Fold) -> String {
    let mut results: Vec<&TargetResult> = results.iter().collect();
    results.sort_by(|a, b| {
        let key = |r: &TargetResult| (r.outcome, r.refusal, r.program.clone());
        key(a).cmp(&key(b))
    });
    let said = results
        .iter()
        .map(|result| (result.host.clone(), verdict::words(asked, result)))
        .collect();
    render_lines(&fold_lines(said, fold), fold)
}

#[cfg(test)]
mod tests {
    use rsv_proto::wire::{Outcome, Refusal, Step};

    use super::*;

    #[test]
    fn outcomes_of_many_hosts_are_folded_with_problems_last() {
        let result = |host: &str, outcome: Outcome| TargetResult {
            host: host.into(),
            program: "app".into(),
            outcome: outcome.into(),
            ..Default::default()
        };
        let done = |host: &str| TargetResult {
            steps: vec![Step::Stopped.into(), Step::Started.into()],
            ..result(host, Outcome::Done)
        };
        let results = [
            TargetResult {
                program: String::new(),
                detail: "last heard of 12s ago".into(),
                ..result("web04", Outcome::Unreachable)
            },
            TargetResult {
                refusal: Refusal::SpawnError.into(),
                detail: "exit 127 \"app: not found\"".into(),
                steps: vec![Step::Stopped.into()],
                ..result("web02", Outcome::Failed)
            },
            done("web03"),
            done("web01"),
        ];
        insta::assert_snapshot!(render(Asked::Restart, &results, Fold::Auto), @r#"
        web[01,03]  (2)  app: stopped, started
        web02       (1)  app: stopped, ERROR (spawn error): exit 127 "app: not found"
        web04       (1)  unreachable: last heard of 12s ago
        "#);
    }
}
