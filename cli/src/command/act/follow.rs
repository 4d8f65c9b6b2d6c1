//! An operation of the controller as it is followed: batch by batch on standard error, and at the end
//! what came of each target on standard output.

use std::{collections::BTreeMap, time::Duration};

use rsv_proto::{
    time::duration_from_wire,
    wire::{
        ActResponse, Gate, OnFail, OperationState, OutcomeCounts, Rollout, TargetResult,
        act_response::{Accepted, BatchEnded, Event, Finished, Progress, progress::What},
    },
};

use super::{Asked, joined, verdict};
use crate::{
    args::{Fold, Output},
    client::Events,
    error::{Exit, Failure},
    fold::{fold_lines, folded, render_lines},
    invocation::Invocation,
    json,
    ui::{BAD, age_words, count, paint, printable},
};

/// What is known of an operation so far.
#[derive(Debug, Default)]
pub(in crate::command) struct Report {
    /// The verb that it is told by, when that is not the action's own.
    verb: Option<&'static str>,
    pub(super) asked: Option<Asked>,
    pub(super) operation: Option<String>,
    pub(super) hosts: Vec<String>,
    results: Vec<TargetResult>,
    /// Hosts that have not answered in time.
    late: BTreeMap<String, Late>,
    batches: u32,
    budget: u32,
    is_in_batch: bool,
    /// Why no host is asked, as it was said last.
    waits: String,
    /// Why no further host is asked, as long as the line of its batch is to come.
    stopping: Option<String>,
    end: Option<End>,
}

/// A host that is connected and has not answered in time: what becomes of it is not known.
#[derive(Debug)]
struct Late {
    programs: Vec<String>,
    after: Duration,
}

/// How it ended.
#[derive(Debug)]
struct End {
    state: OperationState,
    reason: String,
    rolled_back_by: String,
    elapsed: Duration,
}

impl Report {
    /// Of an action that is about to be asked for.
    pub(in crate::command) fn of(asked: Asked) -> Self {
        Self {
            asked: Some(asked),
            ..Self::default()
        }
    }

    fn takes(&mut self, step: &Progress) {
        match &step.what {
            Some(What::BatchBegun(_)) => self.is_in_batch = true,
            Some(What::BatchEnded(_)) => self.is_in_batch = false,
            Some(What::Late(late)) => {
                let after = late.after.as_ref().and_then(duration_from_wire);
                let known = Late {
                    programs: late.programs.clone(),
                    after: after.unwrap_or_default(),
                };
                self.late.insert(late.host.clone(), known);
            }
            Some(What::Paused(_) | What::Resumed(_) | What::Stopping(_) | What::Waits(_))
            | None => {}
        }
    }

    /// Whether nothing else is to come but from hosts that are late.
    fn waits_for_the_late_alone(&self) -> bool {
        let has_ended = |host: &String| self.results.iter().any(|r| r.host == *host);
        let is_covered = |host: &String| self.late.contains_key(host) || has_ended(host);
        !self.is_in_batch && !self.late.is_empty() && self.hosts.iter().all(is_covered)
    }

    /// Every target of which anything is known, in words and in the form of JSON.
    fn targets(&self, asked: Asked) -> Vec<json::Target> {
        let ended = self.results.iter().map(|r| verdict::target(asked, r));
        let late = self.late.iter().flat_map(|(host, late)| late.targets(host));
        ended.chain(late).collect()
    }

    /// Of an operation that somebody has begun, told by this verb.
    pub(in crate::command) fn of_another(verb: &'static str) -> Self {
        Self {
            verb: Some(verb),
            ..Self::default()
        }
    }
}

/// Follows an operation to its end, which must come within the limit.
pub(in crate::command) async fn follow(
    invocation: &mut Invocation,
    mut events: Events<ActResponse>,
    report: &mut Report,
    limit: Option<Duration>,
) -> Result<(), Failure> {
    let watched = async {
        while let Some(response) = events.next().await? {
            match response.event {
                Some(Event::Accepted(accepted)) => begin(invocation, report, accepted),
                Some(Event::Result(result)) => {
                    report.late.remove(&result.host);
                    report.results.push(result);
                    progress(invocation, report);
                }
                Some(Event::Progress(step)) => {
                    report.takes(&step);
                    told(invocation, report, &step);
                }
                Some(Event::Finished(finished)) => {
                    report.end = Some(End::of(finished));
                    return Ok(());
                }
                // Of a kind that this version does not know.
                None => {}
            }
            if invocation.global.detach && report.operation.is_some() {
                return Ok(());
            }
            if invocation.global.timeout.is_some() && report.waits_for_the_late_alone() {
                let late = count(report.late.len(), "host");
                let words = format!("no answer in time from {late}");
                return Err(Failure::new(Exit::GaveUpWaiting, words));
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
    if let Some(words) = report.stopping.take() {
        invocation.ui.note(&format!("  {words}"));
    }
    invocation.on_interrupt = None;
    invocation.operation = None;
    ended.map_err(|failure| goes_on(report, failure))
}

fn begin(invocation: &mut Invocation, report: &mut Report, accepted: Accepted) {
    joined(invocation, &accepted);
    report.asked = accepted.action.and_then(Asked::of).or(report.asked);
    report.batches = accepted.batches;
    report.budget = accepted.budget;
    let operation = &accepted.operation;
    let mut words = format!("op {operation}  {}", count(accepted.hosts.len(), "host"));
    if accepted.batches > 1 {
        words.push_str(&plan_words(&accepted));
        invocation.ui.note(&printable(&words));
    } else {
        invocation.ui.detail(&printable(&words));
    }
    invocation.on_interrupt = Some(format!(
        "interrupted: operation {operation} goes on without its reader; `rsv op watch {operation}` follows it"
    ));
    invocation.operation = Some(accepted.operation.clone());
    report.operation = Some(accepted.operation);
    report.hosts = accepted.hosts;
    progress(invocation, report);
}

/// How the operation goes about its hosts.
fn plan_words(accepted: &Accepted) -> String {
    let mut words = format!(", {} batches", accepted.batches);
    let rollout = accepted.rollout.unwrap_or_default();
    words.push_str(match rollout.gate() {
        Gate::Running => ", gate running",
        Gate::Healthy => ", gate healthy",
        Gate::None | Gate::Unspecified => "",
    });
    let soak = rollout.soak.as_ref().and_then(duration_from_wire);
    if let Some(soak) = soak.filter(|soak| !soak.is_zero()) {
        words.push_str(&format!(", soak {}", age_words(soak)));
    }
    words.push_str(&fail_words(&rollout, accepted.budget));
    words
}

fn fail_words(rollout: &Rollout, budget: u32) -> String {
    let then = match rollout.on_fail() {
        OnFail::Abort | OnFail::Unspecified => "abort",
        OnFail::Pause => "pause",
        OnFail::Rollback => "abort and undo",
        OnFail::Continue => return ", whatever fails".to_owned(),
    };
    format!(
        ", {then} after {}",
        count(budget.max(1) as usize, "failure")
    )
}

fn told(invocation: &mut Invocation, report: &mut Report, step: &Progress) {
    let color = invocation.ui.color();
    match &step.what {
        Some(What::BatchEnded(ended)) if report.batches > 1 => {
            let line = batch_line(ended, report.batches);
            match report.stopping.take() {
                Some(words) => invocation.ui.note(&format!("{line}   {words}")),
                None => invocation.ui.note(&line),
            }
        }
        Some(What::Paused(reason)) => {
            let id = report.operation.as_deref().unwrap_or_default();
            let words = format!("PAUSED: {}", printable(reason));
            let words = paint(color, BAD, &words).into_owned();
            invocation.ui.note(&format!(
                "  {words}; `rsv op resume {id}` goes on, `rsv op cancel {id}` ends it"
            ));
        }
        // Once: it may go on and be held back by the same many times.
        Some(What::Waits(reason)) if !reason.is_empty() && *reason != report.waits => {
            report.waits.clone_from(reason);
            let words = format!("  waits: {}", printable(reason));
            invocation.ui.note(&words);
        }
        Some(What::Resumed(who)) => invocation
            .ui
            .note(&format!("  resumed by {}", printable(who))),
        Some(What::Stopping(stopping)) => {
            let word = end_word(stopping.state());
            let words = format!("{word} ({})", printable(&stopping.reason));
            let words = paint(color, BAD, &words).into_owned();
            match report.is_in_batch && report.batches > 1 {
                true => report.stopping = Some(words),
                false => invocation.ui.note(&format!("  {words}")),
            }
        }
        Some(What::BatchEnded(_) | What::BatchBegun(_) | What::Late(_) | What::Waits(_)) | None => {
        }
    }
    progress(invocation, report);
}

/// `  [1/4] web[01-05]   ok 5          4.1s`
fn batch_line(ended: &BatchEnded, batches: u32) -> String {
    let counts = ended.counts.unwrap_or_default();
    let elapsed = ended.elapsed.as_ref().and_then(duration_from_wire);
    let canary = if ended.is_canary { " canary" } else { "" };
    format!(
        "  [{}/{batches}]{canary} {:<18} {:<24} {:.1}s",
        ended.number,
        folded(&ended.hosts),
        count_words(&counts),
        elapsed.unwrap_or_default().as_secs_f64()
    )
}

/// `ok 4  failed 1`
pub(in crate::command) fn count_words(counts: &OutcomeCounts) -> String {
    let parts = [
        ("ok", counts.done),
        ("failed", counts.failed),
        ("unreachable", counts.unreachable),
        ("expired", counts.expired),
        ("denied", counts.denied),
        ("not attempted", counts.not_attempted),
    ];
    let said = parts.iter().filter(|(_, n)| *n > 0);
    let said: Vec<String> = said.map(|(word, n)| format!("{word} {n}")).collect();
    said.join("  ")
}

fn end_word(state: OperationState) -> &'static str {
    match state {
        OperationState::Aborted => "ABORTED",
        OperationState::Cancelled => "CANCELLED",
        _ => "STOPPING",
    }
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
            hint: Some(format!(
                "operation {operation} goes on without its reader: `rsv op watch {operation}`"
            )),
            ..failure
        },
        None => failure,
    }
}

impl Late {
    fn words(&self) -> String {
        let after = humantime::format_duration(self.after);
        format!("no answer within {after}, it may still be under way")
    }

    fn targets(&self, host: &str) -> Vec<json::Target> {
        let target = |program: &str| json::Target {
            host: json::text(host),
            program: json::text(program),
            outcome: "unanswered",
            detail: self.words(),
        };
        match self.programs.is_empty() {
            true => vec![target("")],
            false => self.programs.iter().map(|p| target(p)).collect(),
        }
    }

    fn lines(&self, host: &str) -> Vec<(String, String)> {
        let line = |target: json::Target| match target.program {
            Some(program) => (host.to_owned(), format!("{program}: {}", target.detail)),
            None => (host.to_owned(), target.detail),
        };
        self.targets(host).into_iter().map(line).collect()
    }
}

impl End {
    fn of(finished: Finished) -> Self {
        let elapsed = finished.elapsed.as_ref().and_then(duration_from_wire);
        Self {
            state: finished.state(),
            elapsed: elapsed.unwrap_or_default(),
            reason: finished.reason,
            rolled_back_by: finished.rolled_back_by,
        }
    }
}

/// Shows the results, or the id of what was left to itself.
pub(in crate::command) fn show(
    invocation: &mut Invocation,
    report: &Report,
) -> Result<Exit, Failure> {
    let asked = report.asked.unwrap_or(Asked::Restart);
    let is_detached = invocation.global.detach && report.end.is_none();
    let (exit, outcome) = match is_detached {
        true => (Exit::Done, "detached"),
        false => ended(report),
    };
    let targets = || report.targets(asked);
    match invocation.ui.output() {
        Output::Json => {
            let action = json::Action {
                schema: format!("rsv/{}/v1", report.verb.unwrap_or(asked.word())),
                operation: report.operation.clone(),
                outcome,
                targets: targets(),
            };
            json::print(&mut invocation.ui, &action)?;
        }
        Output::Jsonl => {
            json::print_lines(&mut invocation.ui, &targets())?;
        }
        Output::Table if is_detached => {
            let id = report.operation.clone().unwrap_or_default();
            invocation.ui.line(&printable(&id))?;
        }
        Output::Table => {
            let text = render(asked, report, invocation.global.fold);
            invocation.ui.bytes(text.as_bytes())?;
        }
    }
    if let Some(end) = &report.end {
        invocation.ui.detail(&format!("after {:.1?}", end.elapsed));
        if !end.rolled_back_by.is_empty() {
            let id = &end.rolled_back_by;
            let words = format!("undone by operation {id}: `rsv op watch {id}` follows it");
            invocation.ui.note(&printable(&words));
        }
        if matches!(
            end.state,
            OperationState::Aborted | OperationState::Cancelled
        ) {
            invocation.ui.detail(&printable(&end.reason));
        }
    }
    Ok(exit)
}

/// The exit code of an operation that has ended, and the word for it in JSON.
fn ended(report: &Report) -> (Exit, &'static str) {
    match report.end.as_ref().map(|end| end.state) {
        Some(OperationState::Aborted) => (Exit::Aborted, "aborted"),
        Some(OperationState::Cancelled) => (Exit::Aborted, "cancelled"),
        None if !report.late.is_empty() => (Exit::GaveUpWaiting, "unanswered"),
        _ => verdict::verdict(&report.results, &report.hosts),
    }
}

/// Results for people: what went well first, so that the last lines are what to look at.
fn render(asked: Asked, report: &Report, fold: Fold) -> String {
    let mut results: Vec<&TargetResult> = report.results.iter().collect();
    results.sort_by(|a, b| {
        let key = |r: &TargetResult| (r.outcome, r.refusal, r.program.clone());
        key(a).cmp(&key(b))
    });
    let ended = results
        .iter()
        .map(|result| (result.host.clone(), verdict::words(asked, result)));
    let late = report.late.iter().flat_map(|(host, late)| late.lines(host));
    let said = ended.chain(late).collect();
    render_lines(&fold_lines(said, fold), fold)
}

#[cfg(test)]
mod tests {
    use rsv_proto::{
        time::duration_to_wire,
        wire::{Outcome, Refusal, Step},
    };

    use super::*;

    #[test]
    fn a_batch_is_a_line() {
        let counts = OutcomeCounts {
            done: 4,
            failed: 1,
            ..Default::default()
        };
        let ended = BatchEnded {
            number: 2,
            hosts: (6..=10).map(|n| format!("web{n:02}")).collect(),
            counts: Some(counts),
            elapsed: Some(duration_to_wire(Duration::from_millis(9800))),
            is_canary: false,
        };
        assert_eq!(
            batch_line(&ended, 4),
            "  [2/4] web[06-10]         ok 4  failed 1           9.8s"
        );
    }

    #[test]
    fn the_plan_is_said_in_one_line() {
        let rollout = Rollout {
            gate: Gate::Healthy.into(),
            soak: Some(duration_to_wire(Duration::from_secs(2))),
            ..Default::default()
        };
        let accepted = Accepted {
            batches: 4,
            budget: 1,
            rollout: Some(rollout),
            ..Default::default()
        };
        assert_eq!(
            plan_words(&accepted),
            ", 4 batches, gate healthy, soak 2s, abort after 1 failure"
        );
    }

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
        let results = vec![
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
        let late = Late {
            programs: vec!["app".into()],
            after: Duration::from_millis(500),
        };
        let report = Report {
            results,
            hosts: (1..=5).map(|n| format!("web0{n}")).collect(),
            late: [("web05".into(), late)].into(),
            ..Report::default()
        };
        assert!(report.waits_for_the_late_alone());
        assert_eq!(ended(&report), (Exit::GaveUpWaiting, "unanswered"));
        assert_eq!(report.targets(Asked::Restart)[4].outcome, "unanswered");
        insta::assert_snapshot!(render(Asked::Restart, &report, Fold::Auto), @r#"
        web[01,03]  (2)  app: stopped, started
        web02       (1)  app: stopped, ERROR (spawn error): exit 127 "app: not found"
        web04       (1)  unreachable: last heard of 12s ago
        web05       (1)  app: no answer within 500ms, it may still be under way
        "#);
    }
}
