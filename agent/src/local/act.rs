//! One action asked for at the local socket.
//!
//! The action runs in a task of its own: it goes on when its reader has gone. With an idempotency
//! key it can be joined by another reader, who gets all of its events from the first one on.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{self, BoxStream, StreamExt as _};
use rsv_proto::time::{duration_from_wire, duration_to_wire};
use rsv_proto::wire::{
    ActRequest, ActResponse, Outcome, Refusal, TargetResult,
    act_response::{Accepted, Event, Finished},
};
use tokio::sync::{mpsc, watch};
use tonic::Status;
use tracing::Instrument as _;

use super::service::ended;
use crate::hub::{ActOn, HubHandle, Resolved, UnderWay};
use crate::link::action_span;

/// How long an idempotency key is remembered.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// How many keys are remembered; the oldest is forgotten first.
const KEYS: usize = 256;

/// The actions that can be joined by their key.
#[derive(Debug, Default)]
pub(super) struct Operations {
    known: Mutex<VecDeque<(String, Instant, Operation)>>,
}

/// The events of one action so far; grows until `Finished`.
type Operation = watch::Receiver<Vec<Event>>;

/// Begins an action, or joins the one with the same key, and gives its events.
pub(super) async fn begin(
    hub: &HubHandle,
    operations: &Operations,
    request: ActRequest,
) -> Result<BoxStream<'static, ActResponse>, Status> {
    if request.programs.is_empty() {
        return Err(Status::invalid_argument(
            "no program is named; every program is said as `all`",
        ));
    }
    if request
        .action
        .as_ref()
        .is_none_or(|action| action.verb.is_none())
    {
        return Err(Status::invalid_argument(
            "the action is not known to this agent",
        ));
    }
    if let Some(expected) = request.expect_hosts.filter(|expected| *expected != 1) {
        let text = format!("{expected} hosts were expected, and this is the socket of one");
        return Err(Status::failed_precondition(text));
    }
    if request.rollout.is_some() {
        let text = "this is the socket of one host: there are no batches on one host";
        return Err(Status::failed_precondition(text));
    }
    let key = request.idempotency_key.clone();
    if let Some(operation) = operations.find(&key) {
        return Ok(events(operation).map(as_joined).boxed());
    }
    // What the action will reach is settled before it is accepted.
    let resolved = hub.resolve(&request.programs).await.map_err(ended)?;
    let (sender, operation) = watch::channel(vec![accepted()]);
    operations.remember(key, operation.clone());
    if request.dry_run {
        push(
            &sender,
            Event::Finished(Finished {
                elapsed: Some(duration_to_wire(Duration::ZERO)),
                ..Default::default()
            }),
        );
    } else {
        tokio::spawn(run(hub.clone(), request, resolved, sender).in_current_span());
    }
    Ok(events(operation))
}

async fn run(
    hub: HubHandle,
    request: ActRequest,
    resolved: Resolved,
    events: watch::Sender<Vec<Event>>,
) {
    let started = Instant::now();
    let ActRequest {
        programs,
        action,
        timeout,
        ..
    } = request;
    let action = action.unwrap_or_default();
    let span = action_span(&action, &programs);
    let timeout = timeout.as_ref().and_then(duration_from_wire);
    let mut missing: HashSet<String> = resolved.keys.iter().map(ToString::to_string).collect();
    let waiting = async {
        let request = ActOn {
            programs,
            action,
            exactly: Vec::new(),
            actor: String::new(),
            under_way: UnderWay::Told,
        };
        let Ok(mut results) = hub.act(request).await else {
            return;
        };
        while let Some(result) = next(&mut results, started, timeout).await {
            missing.remove(&result.program);
            push(&events, Event::Result(result));
        }
    };
    waiting.instrument(span).await;
    let mut missing: Vec<String> = missing.into_iter().collect();
    missing.sort_unstable();
    for program in missing {
        push(&events, Event::Result(unanswered(program)));
    }
    push(
        &events,
        Event::Finished(Finished {
            elapsed: Some(duration_to_wire(started.elapsed())),
            ..Default::default()
        }),
    );
}

/// The next result; none when all are in or the time is up.
async fn next(
    results: &mut mpsc::Receiver<TargetResult>,
    started: Instant,
    timeout: Option<Duration>,
) -> Option<TargetResult> {
    match timeout {
        None => results.recv().await,
        Some(limit) => {
            let left = limit.saturating_sub(started.elapsed());
            tokio::time::timeout(left, results.recv())
                .await
                .ok()
                .flatten()
        }
    }
}

fn accepted() -> Event {
    Event::Accepted(Accepted {
        operation: uuid::Uuid::now_v7().to_string(),
        hosts: Vec::new(),
        ..Default::default()
    })
}

/// Tells a reader that what is accepted was begun earlier.
fn as_joined(mut response: ActResponse) -> ActResponse {
    if let Some(Event::Accepted(accepted)) = &mut response.event {
        accepted.joined = true;
    }
    response
}

/// Every target has a result, also one whose fate is not known here.
fn unanswered(program: String) -> TargetResult {
    TargetResult {
        program,
        outcome: Outcome::Unreachable.into(),
        refusal: Refusal::Unspecified.into(),
        detail: "no result in time; it may still come about".to_owned(),
        ..Default::default()
    }
}

fn push(events: &watch::Sender<Vec<Event>>, event: Event) {
    events.send_modify(|events| events.push(event));
}

/// All events from the first one on, up to the last.
fn events(operation: Operation) -> BoxStream<'static, ActResponse> {
    let from = (operation, 0);
    stream::unfold(from, |(mut operation, place)| async move {
        loop {
            let event = operation.borrow_and_update().get(place).cloned();
            if let Some(event) = event {
                return Some((ActResponse { event: Some(event) }, (operation, place + 1)));
            }
            // The sender ends after the last event.
            operation.changed().await.ok()?;
        }
    })
    .boxed()
}

impl Operations {
    fn find(&self, key: &str) -> Option<Operation> {
        if key.is_empty() {
            return None;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, begun, _)| begun.elapsed() < REMEMBERED);
        known
            .iter()
            .find(|(known, ..)| known == key)
            .map(|(.., operation)| operation.clone())
    }

    fn remember(&self, key: String, operation: Operation) {
        if key.is_empty() {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.push_back((key, Instant::now(), operation));
        if known.len() > KEYS {
            known.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_joining_reader_gets_all_events_from_the_first_one() {
        let (sender, operation) = watch::channel(vec![accepted()]);
        let early = events(operation.clone());
        push(&sender, Event::Result(unanswered("a".into())));
        push(&sender, Event::Finished(Finished::default()));
        drop(sender);
        let late = events(operation);
        let (early, late): (Vec<_>, Vec<_>) = (early.collect().await, late.collect().await);
        assert_eq!(early.len(), 3);
        assert_eq!(early, late);
    }

    #[test]
    fn keys_are_remembered_within_bounds_and_an_empty_one_never() {
        let operations = Operations::default();
        let (_sender, operation) = watch::channel(Vec::new());
        operations.remember(String::new(), operation.clone());
        assert!(operations.find("").is_none());
        for n in 0..=KEYS {
            operations.remember(n.to_string(), operation.clone());
        }
        assert!(operations.find("0").is_none());
        assert!(operations.find("1").is_some());
    }
}
