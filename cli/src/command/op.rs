//! `op`: operations, which belong to the controller and outlive the command line that began them.

use std::time::SystemTime;

use rsv_proto::{
    time::{age, duration_from_wire, from_wire},
    wire::{
        ListOperationsRequest, Operation, OperationState, RetryOperationRequest,
        WatchOperationRequest, control_operation_request::Control,
    },
};

use super::act::{self, Report, count_words};
use crate::{
    args::{Form, OpVerb, Output},
    error::{Exit, Failure},
    invocation::Invocation,
    json,
    table::{Cell, Table},
    ui::{BAD, GOOD, MOVING, age_words, count, printable},
};

/// Runs one of them.
pub(super) async fn run(invocation: &mut Invocation, verb: OpVerb) -> Result<Exit, Failure> {
    match verb {
        OpVerb::Ls { active, lines } => list(invocation, active, lines).await,
        OpVerb::Show { id } => show(invocation, id).await,
        OpVerb::Watch { id } => watch(invocation, id, true).await,
        OpVerb::Pause { id } => controlled(invocation, id, "op-pause", Control::Pause).await,
        OpVerb::Resume { id } => controlled(invocation, id, "op-resume", Control::Resume).await,
        OpVerb::Cancel { id } => controlled(invocation, id, "op-cancel", Control::Cancel).await,
        OpVerb::Retry { id, failed } => retry(invocation, id, failed).await,
    }
}

async fn list(invocation: &mut Invocation, active: bool, limit: u32) -> Result<Exit, Failure> {
    let server = invocation.controller().await?;
    let request = ListOperationsRequest { active, limit };
    let operations = server.operations(request).await?;
    match invocation.ui.output() {
        Output::Table if operations.is_empty() => {
            invocation.ui.note(match active {
                true => "no operation is under way",
                false => "no operation is known",
            });
        }
        Output::Table if invocation.ui.form() == Form::Name => {
            invocation.ui.names(operations.into_iter().map(|o| o.id))?;
        }
        Output::Table => {
            let text = table(&operations, SystemTime::now()).render(invocation.ui.color());
            invocation.ui.bytes(text.as_bytes())?;
        }
        Output::Json => {
            let operations = operations.iter().map(report).collect();
            json::print(&mut invocation.ui, &json::Operations::new(operations))?;
        }
        Output::Jsonl => {
            let operations: Vec<_> = operations.iter().map(report).collect();
            json::print_lines(&mut invocation.ui, &operations)?;
        }
    }
    Ok(Exit::Done)
}

async fn show(invocation: &mut Invocation, id: String) -> Result<Exit, Failure> {
    let server = invocation.controller().await?;
    let operation = server.operation(id).await?;
    if !invocation.ui.output().is_text() {
        let shown = json::OneOperation::new("op-show", report(&operation));
        json::print(&mut invocation.ui, &shown)?;
        return Ok(Exit::Done);
    }
    for line in lines(&operation, SystemTime::now()) {
        invocation.ui.line(&printable(&line))?;
    }
    invocation.ui.line("")?;
    watch(invocation, operation.id, false).await?;
    Ok(Exit::Done)
}

/// Follows an operation, or shows what there is of it so far.
async fn watch(invocation: &mut Invocation, id: String, follow: bool) -> Result<Exit, Failure> {
    let server = invocation.controller().await?;
    let request = WatchOperationRequest {
        operation: id,
        from_now: false,
        follow,
    };
    let events = server.watch_operation(request).await?;
    followed(invocation, "op-watch", events, follow).await
}

async fn retry(
    invocation: &mut Invocation,
    operation: String,
    failed_only: bool,
) -> Result<Exit, Failure> {
    let server = invocation.controller().await?;
    let request = RetryOperationRequest {
        operation,
        failed_only,
        idempotency_key: invocation.global.id.clone().unwrap_or_default(),
        detach: invocation.global.detach,
    };
    let events = server.retry_operation(request).await?;
    followed(invocation, "op-retry", events, true).await
}

async fn followed(
    invocation: &mut Invocation,
    verb: &'static str,
    events: crate::client::Events<rsv_proto::wire::ActResponse>,
    to_the_end: bool,
) -> Result<Exit, Failure> {
    let mut report = Report::of_another(verb);
    let limit = invocation.global.wait;
    let watched = act::follow(invocation, events, &mut report, limit).await;
    let exit = act::show(invocation, &report)?;
    match watched {
        // Without an end there is only what there is so far.
        Err(_) if !to_the_end => Ok(exit),
        watched => watched.map(|()| exit),
    }
}

async fn controlled(
    invocation: &mut Invocation,
    id: String,
    verb: &str,
    control: Control,
) -> Result<Exit, Failure> {
    let server = invocation.controller().await?;
    let operation = server.control_operation(id, control).await?;
    match invocation.ui.output().is_text() {
        true => invocation.ui.line(&printable(&said(&operation)))?,
        false => {
            let controlled = json::OneOperation::new(verb, report(&operation));
            json::print(&mut invocation.ui, &controlled)?;
        }
    }
    Ok(Exit::Done)
}

/// Pauses, resumes or cancels an operation, and says how it stands.
pub(crate) async fn control(
    invocation: &mut Invocation,
    operation: String,
    control: Control,
) -> Result<String, Failure> {
    let server = invocation.controller().await?;
    let operation = server.control_operation(operation, control).await?;
    Ok(printable(&said(&operation)).into_owned())
}

fn said(operation: &Operation) -> String {
    let mut words = format!("op {}: {}", operation.id, state_word(operation.state()));
    if operation.state() == OperationState::Stopping {
        words.push_str(", what is under way is finished");
    }
    words
}

fn state_word(state: OperationState) -> &'static str {
    match state {
        OperationState::Running => "running",
        OperationState::Paused => "paused",
        OperationState::Stopping => "stopping",
        OperationState::Finished => "finished",
        OperationState::Aborted => "aborted",
        OperationState::Cancelled => "cancelled",
        OperationState::Unspecified => "unknown",
    }
}

/// What it does, as it was typed.
fn action_words(operation: &Operation) -> String {
    let asked = operation.action.and_then(act::Asked::of);
    let verb = asked.map_or("?", act::Asked::word);
    format!("{verb} {}", operation.programs.join(" "))
}

fn table(operations: &[Operation], now: SystemTime) -> Table {
    let header = [
        "ID", "STATE", "ACTION", "HOSTS", "BATCH", "RESULT", "BY", "BEGUN",
    ];
    let mut table = Table::new(&header);
    for operation in operations {
        let counts = operation.counts.unwrap_or_default();
        let is_clean = counts.failed + counts.unreachable + counts.expired + counts.denied == 0;
        let style = match operation.state() {
            OperationState::Finished if is_clean => GOOD,
            OperationState::Running | OperationState::Stopping => MOVING,
            _ => BAD,
        };
        let begun = operation.submitted.as_ref().and_then(from_wire);
        let begun = begun.map_or_else(
            || "-".to_owned(),
            |at| format!("{} ago", age_words(age(at, now))),
        );
        table.row(vec![
            Cell::new(&operation.id),
            Cell::styled(state_word(operation.state()), style),
            Cell::new(action_words(operation)),
            Cell::new(operation.hosts.to_string()),
            Cell::new(format!("{}/{}", operation.batch, operation.batches)),
            Cell::new(match count_words(&counts) {
                words if words.is_empty() => "-".to_owned(),
                words => words,
            }),
            Cell::new(&operation.actor),
            Cell::new(begun),
        ]);
    }
    table
}

/// All that is known of one operation.
fn lines(operation: &Operation, now: SystemTime) -> Vec<String> {
    let begun = operation.submitted.as_ref().and_then(from_wire);
    let elapsed = operation.elapsed.as_ref().and_then(duration_from_wire);
    let mut lines = vec![
        format!("operation  {}", operation.id),
        format!("state      {}", state_word(operation.state())),
        format!("action     {}", action_words(operation)),
        format!("hosts      {}", count(operation.hosts as usize, "host")),
        format!("batch      {} of {}", operation.batch, operation.batches),
        format!("by         {}", operation.actor),
    ];
    let mut maybe = |name: &str, text: Option<String>| {
        lines.extend(
            text.filter(|text| !text.is_empty())
                .map(|text| format!("{name:<11}{text}")),
        );
    };
    maybe(
        "begun",
        begun.map(|at| format!("{} ago", age_words(age(at, now)))),
    );
    maybe("took", elapsed.map(age_words));
    maybe("result", operation.counts.as_ref().map(count_words));
    maybe(
        "pending",
        Some(operation.pending)
            .filter(|n| *n > 0)
            .map(|n| n.to_string()),
    );
    maybe("reason", Some(operation.reason.clone()));
    maybe("retry of", Some(operation.retry_of.clone()));
    maybe("undoes", Some(operation.rollback_of.clone()));
    maybe("undone by", Some(operation.rolled_back_by.clone()));
    maybe("key", Some(operation.idempotency_key.clone()));
    lines
}

fn report(operation: &Operation) -> json::Operation {
    let counts = operation.counts.unwrap_or_default();
    let elapsed = operation.elapsed.as_ref().and_then(duration_from_wire);
    json::Operation {
        id: operation.id.clone(),
        state: state_word(operation.state()),
        reason: json::text(&operation.reason),
        actor: operation.actor.clone(),
        action: action_words(operation),
        hosts: operation.hosts,
        pending: operation.pending,
        done: counts.done,
        failed: counts.failed,
        unreachable: counts.unreachable,
        expired: counts.expired,
        denied: counts.denied,
        not_attempted: counts.not_attempted,
        batch: operation.batch,
        batches: operation.batches,
        submitted: json::time(operation.submitted.as_ref()),
        elapsed_seconds: elapsed.map(|elapsed| elapsed.as_secs_f64()),
        retry_of: json::text(&operation.retry_of),
        rollback_of: json::text(&operation.rollback_of),
        rolled_back_by: json::text(&operation.rolled_back_by),
        key: json::text(&operation.idempotency_key),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use rsv_proto::{
        time::to_wire,
        wire::{Action, OutcomeCounts, RestartAction, action::Verb},
    };

    use super::*;

    fn some() -> Operation {
        Operation {
            id: "01JDG7M2".into(),
            state: OperationState::Aborted.into(),
            reason: "1 of 1 tolerated failures".into(),
            actor: "operator/admin".into(),
            action: Some(Action {
                verb: Some(Verb::Restart(RestartAction {})),
            }),
            programs: vec!["app".into()],
            hosts: 20,
            counts: Some(OutcomeCounts {
                done: 9,
                failed: 1,
                not_attempted: 10,
                ..Default::default()
            }),
            batch: 2,
            batches: 4,
            submitted: Some(to_wire(UNIX_EPOCH)),
            ..Default::default()
        }
    }

    #[test]
    fn operations_are_a_table_and_one_is_a_page() {
        let now = UNIX_EPOCH + Duration::from_secs(65);
        insta::assert_snapshot!(table(&[some()], now).render(false), @r"
        ID        STATE    ACTION       HOSTS  BATCH  RESULT                            BY              BEGUN
        01JDG7M2  aborted  restart app  20     2/4    ok 9  failed 1  not attempted 10  operator/admin  1m05s ago
        ");
        insta::assert_snapshot!(lines(&some(), now).join("\n"), @r"
        operation  01JDG7M2
        state      aborted
        action     restart app
        hosts      20 hosts
        batch      2 of 4
        by         operator/admin
        begun      1m05s ago
        result     ok 9  failed 1  not attempted 10
        reason     1 of 1 tolerated failures
        ");
    }
}
