//! One action on many programs of many hosts, told to its caller as it goes.

use std::time::Duration;

use rsv_proto::{
    identity::Identity,
    limits::COMMAND_DEADLINE,
    telemetry,
    time::{duration_from_wire, duration_to_wire},
    wire::{
        ActRequest, ActResponse, Action, act_response,
        act_response::{Accepted, Finished},
        action::Verb,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::Instrument as _;

use super::{Shared, selection, view::Wanted};
use crate::{
    audit,
    hub::{HubError, Submission, Submitted},
    operation::Patience,
};

/// Events that wait for one caller. When full the operation's results wait where they are kept: a slow
/// caller costs nothing more, and holds up nobody.
const EVENTS: usize = 64;

/// The longest deadline and timeout: a command that is older is better given again.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The longest idempotency key.
const LONGEST_KEY: usize = 200;

/// The longest trace context that is passed on: what its standard asks of everybody to carry.
const LONGEST_TRACE: usize = 512;

/// Submits an action and follows it.
pub(super) async fn act(
    shared: &Shared,
    actor: &Identity,
    trace: (String, String),
    request: ActRequest,
) -> Result<ReceiverStream<Result<ActResponse, Status>>, Status> {
    let mut submission = submission(actor, request)?;
    let span = tracing::info_span!(
        "rsv.command",
        otel.kind = "internal",
        rsv.command.id = submission.id,
        rsv.command.kind = audit::verb(&submission.action),
        rsv.command.targets = tracing::field::Empty,
    );
    let own = span.in_scope(telemetry::traceparent);
    // Without traces of its own a controller passes the caller's on.
    submission.trace = if own.0.is_empty() { trace } else { own };
    let own_id = submission.id.clone();
    let submitted = shared
        .hub
        .submit(submission)
        .instrument(span.clone())
        .await??;
    span.record("rsv.command.targets", submitted.hosts.len());
    let joined = submitted.id != own_id;
    let (events, stream) = mpsc::channel(EVENTS);
    let shared = shared.clone();
    let reader = async move {
        let told = shared
            .stopping
            .run_until_cancelled(tell(&shared, submitted, joined, &events))
            .await;
        let failed = match told {
            Some(Ok(())) => return,
            Some(Err(status)) => status,
            None => Status::unavailable("the controller is shutting down; what was begun goes on"),
        };
        // A caller that has gone needs no reason.
        drop(events.send(Err(failed)).await);
    };
    tokio::spawn(reader.instrument(span));
    Ok(ReceiverStream::new(stream))
}

/// The trace context that a caller sent; empty texts when it sent none that is sensible.
pub(super) fn callers_trace(metadata: &tonic::metadata::MetadataMap) -> (String, String) {
    let text = |key| {
        let value = metadata.get(key).and_then(|value| value.to_str().ok());
        value
            .filter(|text| text.len() <= LONGEST_TRACE)
            .unwrap_or_default()
            .to_owned()
    };
    (text("traceparent"), text("tracestate"))
}

/// Tells one caller everything, from the beginning. A caller that goes ends only this.
async fn tell(
    shared: &Shared,
    submitted: Submitted,
    joined: bool,
    events: &mpsc::Sender<Result<ActResponse, Status>>,
) -> Result<(), Status> {
    use act_response::Event;
    let Submitted { id, hosts, news } = submitted;
    let say = async |event| {
        events
            .send(Ok(ActResponse { event: Some(event) }))
            .await
            .is_ok()
    };
    let hosts = hosts.iter().map(ToString::to_string).collect();
    if !say(Event::Accepted(Accepted {
        operation: id.clone(),
        hosts,
        joined,
    }))
    .await
    {
        return Ok(());
    }
    let Some(mut news) = news else {
        let elapsed = Some(duration_to_wire(Duration::ZERO));
        say(Event::Finished(Finished { elapsed })).await;
        return Ok(());
    };
    let mut told = 0;
    loop {
        news.mark_unchanged();
        let forgotten = || Status::not_found(format!("operation {id} is not known any more"));
        let page = shared.hub.results(&id, told).await?.ok_or_else(forgotten)?;
        told += page.results.len();
        let is_empty = page.results.is_empty();
        for result in page.results {
            if !say(Event::Result(result)).await {
                return Ok(());
            }
        }
        if let Some(elapsed) = page.finished {
            let elapsed = Some(duration_to_wire(elapsed));
            say(Event::Finished(Finished { elapsed })).await;
            return Ok(());
        }
        if is_empty {
            tokio::select! {
                changed = news.changed() => changed.map_err(|_| Status::from(HubError::Stopped))?,
                () = events.closed() => return Ok(()),
            }
        }
    }
}

fn submission(actor: &Identity, request: ActRequest) -> Result<Submission, Status> {
    let wrong = Status::invalid_argument;
    if request.programs.is_empty() {
        return Err(wrong(
            "no programs are named; every program is said as `all`",
        ));
    }
    Wanted::parse(&request.programs)?;
    let action = request.action.filter(|a| a.verb.is_some());
    let action = action.ok_or_else(|| wrong("no action that this controller knows"))?;
    check(&action)?;
    if request.idempotency_key.len() > LONGEST_KEY {
        return Err(wrong("the idempotency key is too long"));
    }
    let deadline = span_of(request.deadline, "deadline")?.unwrap_or(COMMAND_DEADLINE);
    Ok(Submission {
        id: new_id(),
        actor: actor.to_string(),
        selection: selection(request.hosts),
        programs: request.programs,
        action,
        patience: Patience {
            deadline,
            timeout: span_of(request.timeout, "timeout")?,
        },
        expect_hosts: request.expect_hosts,
        is_dry_run: request.dry_run,
        key: request.idempotency_key,
        trace: (String::new(), String::new()),
    })
}

fn check(action: &Action) -> Result<(), Status> {
    match &action.verb {
        Some(Verb::Signal(s)) if !(1..=64).contains(&s.signal) => {
            let text = format!("{} is not a signal; accepted: 1 to 64", s.signal);
            Err(Status::invalid_argument(text))
        }
        _ => Ok(()),
    }
}

/// A duration of a request, within what makes sense.
fn span_of(
    duration: Option<prost_types::Duration>,
    what: &str,
) -> Result<Option<Duration>, Status> {
    let Some(duration) = duration else {
        return Ok(None);
    };
    let duration = duration_from_wire(&duration).filter(|d| !d.is_zero() && *d <= LONGEST);
    let wrong =
        || Status::invalid_argument(format!("the {what} must be more than 0 and at most 24h"));
    duration.map(Some).ok_or_else(wrong)
}

/// A new operation's name: unique, sorted by time, and short enough to be read out (Crockford's
/// alphabet, which has no letters that look like digits).
fn new_id() -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let number = uuid::Uuid::now_v7().as_u128();
    let digit = |i: u32| char::from(ALPHABET[(number >> (5 * i) & 31) as usize]);
    (0..26).rev().map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_operations_are_sorted_by_time_and_have_26_letters() {
        let names: Vec<String> = (0..100).map(|_| new_id()).collect();
        assert!(names.is_sorted(), "{names:?}");
        assert!(names.iter().all(|n| n.len() == 26));
    }

    #[test]
    fn requests_that_make_no_sense_are_refused_with_the_reason() {
        let actor: Identity = "rsv://test/operator/admin".parse().unwrap();
        let stop = Action {
            verb: Some(Verb::Stop(Default::default())),
        };
        let good = ActRequest {
            programs: vec!["app".into()],
            action: Some(stop),
            ..Default::default()
        };
        assert!(submission(&actor, good.clone()).is_ok());
        let signal = |signal| Action {
            verb: Some(Verb::Signal(rsv_proto::wire::SignalAction { signal })),
        };
        let negative = prost_types::Duration {
            seconds: -1,
            nanos: 0,
        };
        for (request, reason) in [
            (
                ActRequest {
                    programs: vec![],
                    ..good.clone()
                },
                "no programs",
            ),
            (
                ActRequest {
                    programs: vec!["a\u{1b}b".into()],
                    ..good.clone()
                },
                "a\\u{1b}b",
            ),
            (
                ActRequest {
                    action: None,
                    ..good.clone()
                },
                "no action",
            ),
            (
                ActRequest {
                    action: Some(signal(0)),
                    ..good.clone()
                },
                "1 to 64",
            ),
            (
                ActRequest {
                    action: Some(signal(65)),
                    ..good.clone()
                },
                "1 to 64",
            ),
            (
                ActRequest {
                    deadline: Some(negative),
                    ..good.clone()
                },
                "deadline",
            ),
            (
                ActRequest {
                    timeout: Some(negative),
                    ..good.clone()
                },
                "timeout",
            ),
            (
                ActRequest {
                    idempotency_key: "k".repeat(201),
                    ..good
                },
                "too long",
            ),
        ] {
            let status = submission(&actor, request).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(
                status.message().contains(reason),
                "{}: {reason}",
                status.message()
            );
        }
    }
}
