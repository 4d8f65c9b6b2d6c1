//! Gives one command to the hub and waits for its results, inside a span of the caller's trace.

use prost::Message as _;
use rsv_proto::wire::{self, Outcome, action::Verb};
use rsv_proto::{limits, telemetry};
use tokio::sync::mpsc;
use tracing::{Instrument as _, Span, info, info_span};

use super::one_result;
use crate::hub::{ActOn, HubHandle};

/// Begins a command; returns when the hub has it, so that commands begin in the order in which they
/// came. The result goes to `finished`.
pub(super) async fn begin(
    hub: HubHandle,
    command: wire::Command,
    finished: mpsc::Sender<wire::CommandResult>,
) {
    let wire::Command {
        id,
        programs,
        action,
        actor,
        traceparent,
        tracestate,
        ..
    } = command;
    let action = action.unwrap_or_default();
    let span = action_span(&action, &programs);
    telemetry::set_parent(&span, telemetry::context_from(&traceparent, &tracestate));
    span.record("rsv.command.id", &id);
    let request = ActOn {
        programs,
        action,
        actor,
    };
    let begun = hub.act(request).instrument(span.clone()).await;
    let wait = async move {
        let result = match begun {
            Ok(results) => wire::CommandResult {
                id,
                results: collected(results).await,
            },
            Err(gone) => one_result(&id, Outcome::Failed, gone.to_string()),
        };
        info!(id = %result.id, n = result.results.len(), "command finished");
        // The owner ends with the agent.
        finished.send(within_limits(result)).await.ok();
    };
    tokio::spawn(wait.instrument(span));
}

/// The span of an action that is done here, as a child of whatever asked for it.
pub(crate) fn action_span(action: &wire::Action, programs: &[String]) -> Span {
    let name = match action.verb {
        Some(Verb::Start(_)) => "rsv.process.start",
        Some(Verb::Stop(_)) => "rsv.process.stop",
        Some(Verb::Restart(_)) => "rsv.process.restart",
        Some(Verb::Signal(_)) => "rsv.process.signal",
        None => "rsv.process.action",
    };
    info_span!(
        "rsv.process",
        otel.name = name,
        otel.kind = "internal",
        rsv.program.name = programs.join(","),
        rsv.command.id = tracing::field::Empty,
    )
}

async fn collected(mut results: mpsc::Receiver<wire::TargetResult>) -> Vec<wire::TargetResult> {
    let mut all = Vec::new();
    while let Some(result) = results.recv().await {
        all.push(result);
    }
    all
}

/// Outcomes always fit into a message; the words beside them are given up when they do not.
fn within_limits(mut result: wire::CommandResult) -> wire::CommandResult {
    if result.encoded_len() > limits::MESSAGE_BYTES / 2 {
        result
            .results
            .iter_mut()
            .for_each(|target| target.detail.clear());
    }
    result
}
