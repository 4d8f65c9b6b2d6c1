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

/// The events of one action so far; none before it is accepted, and grows until `Finished`.
type Operation = watch::Receiver<Vec<Event>>;

/// What there is under a key.
enum Entered {
    /// An action that was begun, or is about to be.
    Joined(Operation),
    /// Nothing was: it is ours now, until the sender is dropped without an event.
    First(watch::Sender<Vec<Event>>, Operation),
}

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
    // What only looks does nothing that could be repeated.
    let key = match request.dry_run {
        true => String::new(),
        false => request.idempotency_key.clone(),
    };
    let (sender, operation) = loop {
        match operations.enter(&key) {
            Entered::First(sender, operation) => break (sender, operation),
            Entered::Joined(mut operation) => {
                let accepted = operation.wait_for(|events| !events.is_empty());
                let is_accepted = accepted.await.is_ok();
                if is_accepted {
                    return Ok(events(operation).map(as_joined).boxed());
                }
                // Whoever came first has gone before the action was begun.
            }
        }
    };
    // What the action will reach is settled before it is accepted.
    let resolved = hub.resolve(&request.programs).await.map_err(ended)?;
    push(&sender, accepted());
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
    /// Finds what there is under a key, or takes the key, in one step: nobody comes in between.
    fn enter(&self, key: &str) -> Entered {
        let (sender, operation) = watch::channel(Vec::new());
        if key.is_empty() {
            return Entered::First(sender, operation);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, begun, operation)| {
            begun.elapsed() < REMEMBERED && !was_given_up(operation)
        });
        if let Some((.., operation)) = known.iter().find(|(known, ..)| known == key) {
            return Entered::Joined(operation.clone());
        }
        known.push_back((key.to_owned(), Instant::now(), operation.clone()));
        if known.len() > KEYS {
            known.pop_front();
        }
        Entered::First(sender, operation)
    }
}

/// Whether the request that took the key has failed before its action was begun.
fn was_given_up(operation: &Operation) -> bool {
    operation.has_changed().is_err() && operation.borrow().is_empty()
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
        let is_first = |key: &str| match operations.enter(key) {
            Entered::First(sender, _) => {
                push(&sender, accepted());
                true
            }
            Entered::Joined(_) => false,
        };
        assert!(is_first("") && is_first(""));
        for n in 0..=KEYS {
            assert!(is_first(&n.to_string()));
        }
        assert!(!is_first("1"));
        assert!(is_first("0"));
    }

    fn keyed() -> ActRequest {
        let stop = rsv_proto::wire::StopAction {};
        ActRequest {
            programs: vec!["app".into()],
            action: Some(rsv_proto::wire::Action {
                verb: Some(rsv_proto::wire::action::Verb::Stop(stop)),
            }),
            idempotency_key: "k".into(),
            ..Default::default()
        }
    }

    fn is_joined(responses: &[ActResponse]) -> bool {
        matches!(
            &responses[0].event,
            Some(Event::Accepted(accepted)) if accepted.joined
        )
    }

    #[tokio::test]
    async fn two_requests_with_one_key_at_the_same_time_are_one_action() {
        let (mut hub, operations) = (crate::hub::fake::start(1, &["app"]), Operations::default());
        let (one, other) = tokio::join!(
            begin(&hub.handle, &operations, keyed()),
            begin(&hub.handle, &operations, keyed()),
        );
        let one: Vec<_> = one.unwrap().collect().await;
        let other: Vec<_> = other.unwrap().collect().await;
        assert!(!is_joined(&one) && is_joined(&other), "{one:?} {other:?}");
        assert!(hub.acts.try_recv().is_ok());
        assert!(hub.acts.try_recv().is_err(), "it was done once");
    }

    #[tokio::test]
    async fn a_key_whose_request_went_away_before_it_was_accepted_is_free_again() {
        use futures_util::FutureExt as _;

        let (mut hub, operations) = (crate::hub::fake::start(1, &["app"]), Operations::default());
        let mut gone = Box::pin(begin(&hub.handle, &operations, keyed()));
        assert!(gone.as_mut().now_or_never().is_none());
        let mut waits = Box::pin(begin(&hub.handle, &operations, keyed()));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(gone);
        let events: Vec<_> = waits.await.unwrap().collect().await;
        assert!(!is_joined(&events), "{events:?}");
        assert!(hub.acts.try_recv().is_ok());
        let again = begin(&hub.handle, &operations, keyed()).await.unwrap();
        assert!(is_joined(&again.collect::<Vec<_>>().await));
        assert!(hub.acts.try_recv().is_err());
    }
}
