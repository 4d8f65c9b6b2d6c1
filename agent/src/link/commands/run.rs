//! Gives one command to the hub and waits for its results, inside a span of the caller's trace.

use prost::Message as _;
use rsv_proto::wire::{self, Outcome, action::Verb};
use rsv_proto::{limits, process::display_name, telemetry};
use tokio::sync::mpsc;
use tracing::{Instrument as _, Span, info, info_span};

use super::configuration::{self, Deed};
use super::one_result;
use crate::hub::{ActOn, HubHandle, UnderWay};
use crate::link::Owners;

/// Begins a command; returns when the hub has it, so that commands begin in the order in which they
/// came. The result goes to `finished`.
pub(super) async fn begin(
    owners: Owners,
    command: wire::Command,
    finished: mpsc::Sender<wire::CommandResult>,
) {
    let request = request(&command);
    let deed = Deed::of(&request.action);
    let wire::Command {
        id,
        traceparent,
        tracestate,
        ..
    } = command;
    let span = action_span(&request.action, &request.programs);
    telemetry::set_parent(&span, telemetry::context_from(&traceparent, &tracestate));
    span.record("rsv.command.id", &id);
    if let Some(deed) = deed {
        let done = async move {
            let results = configuration::carry_out(&owners, deed, request.into()).await;
            end(wire::CommandResult { id, results }, finished).await;
        };
        // Its owners serve one after the other, also those who ask on the host itself.
        tokio::spawn(done.instrument(span));
        return;
    }
    let begun = owners.hub.act(request).instrument(span.clone()).await;
    let wait = async move {
        let result = match begun {
            Ok(results) => wire::CommandResult {
                id,
                results: collected(results).await,
            },
            Err(gone) => one_result(&id, Outcome::Failed, gone.to_string()),
        };
        end(result, finished).await;
    };
    tokio::spawn(wait.instrument(span));
}

async fn end(result: wire::CommandResult, finished: mpsc::Sender<wire::CommandResult>) {
    info!(id = %result.id, n = result.results.len(), "command finished");
    // The owner ends with the agent.
    finished.send(within_limits(result)).await.ok();
}

/// What a command asks of the hub.
pub fn request(command: &wire::Command) -> ActOn {
    ActOn {
        programs: command.programs.clone(),
        action: command.action.unwrap_or_default(),
        exactly: exactly(command),
        actor: command.actor.clone(),
        under_way: UnderWay::Awaited,
    }
}

/// The programs that a command is for exactly; none: all that its patterns name.
fn exactly(command: &wire::Command) -> Vec<String> {
    let precondition = command.precondition.as_ref();
    precondition.map_or_else(Vec::new, |precondition| precondition.targets.clone())
}

/// The programs that a command is for, each with its process id; 0: it has none.
pub(super) async fn before(hub: &HubHandle, command: &wire::Command) -> Vec<(String, u32)> {
    // A hub that has ended does not run the command either.
    let status = hub.status(&command.programs).await.unwrap_or_default();
    pids(command, &status)
}

/// The same from the status of the programs that its patterns name.
pub fn pids(command: &wire::Command, status: &wire::HostStatus) -> Vec<(String, u32)> {
    let exactly = exactly(command);
    let named = status.programs.iter().map(|program| {
        let name = display_name(&program.group, &program.name);
        (name, program.pid.unwrap_or(0))
    });
    named
        .filter(|(name, _)| exactly.is_empty() || exactly.contains(name))
        .collect()
}

/// The span of an action that is done here, as a child of whatever asked for it.
pub(crate) fn action_span(action: &wire::Action, programs: &[String]) -> Span {
    let name = match action.verb {
        Some(Verb::Start(_)) => "rsv.process.start",
        Some(Verb::Stop(_)) => "rsv.process.stop",
        Some(Verb::Restart(_)) => "rsv.process.restart",
        Some(Verb::Signal(_)) => "rsv.process.signal",
        Some(Verb::Update(_)) => "rsv.config.apply",
        Some(Verb::Reread(_)) => "rsv.config.read",
        Some(Verb::Add(_)) => "rsv.config.add",
        Some(Verb::Remove(_)) => "rsv.config.remove",
        Some(Verb::Clear(_)) => "rsv.log.clear",
        Some(Verb::Reload(_)) => "rsv.agent.reload",
        Some(Verb::Shutdown(_)) => "rsv.agent.shutdown",
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

/// All results of an action.
pub(super) async fn collected(
    mut results: mpsc::Receiver<wire::TargetResult>,
) -> Vec<wire::TargetResult> {
    let mut all = Vec::new();
    while let Some(result) = results.recv().await {
        all.push(result);
    }
    all
}

/// Outcomes always fit into a message; the words beside them are given up when they do not.
pub(super) fn within_limits(mut result: wire::CommandResult) -> wire::CommandResult {
    if result.encoded_len() > limits::MESSAGE_BYTES / 2 {
        result
            .results
            .iter_mut()
            .for_each(|target| target.detail.clear());
    }
    result
}
