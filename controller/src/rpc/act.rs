//! One action on many programs of many hosts, told to its caller as it goes.

use std::time::Duration;

use rsv_proto::{
    identity::Identity,
    limits::COMMAND_DEADLINE,
    telemetry,
    time::{duration_from_wire, duration_to_wire},
    wire::{
        ActRequest, ActResponse, Action, RetryOperationRequest, WatchOperationRequest,
        act_response::{
            Accepted, BatchBegun, BatchEnded, Event, Finished, Late, Progress, Stopping,
            progress::What,
        },
        action::Verb,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::Instrument as _;

use super::{Shared, selection, view::check_patterns};
use crate::{
    hub::{HubError, Retry, Submission, Submitted, new_id},
    operation::{
        Patience, Told, deed,
        wire::{counts, end_state, read, write},
    },
};

/// Events that wait for one caller. When full the operation's results wait where they are kept: a slow
/// caller costs nothing more, and holds up nobody.
const EVENTS: usize = 64;

/// The longest deadline and timeout: a command that is older is better given again.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The longest idempotency key.
const LONGEST_KEY: usize = 200;

/// The longest name of an operation, or beginning of one.
const LONGEST_NAME: usize = 64;

/// The longest trace context that is passed on: what its standard asks of everybody to carry.
const LONGEST_TRACE: usize = 512;

type Answers = ReceiverStream<Result<ActResponse, Status>>;

/// How a caller reads an operation.
#[derive(Debug, Clone, Copy)]
struct Reading {
    /// It is an earlier one than was submitted.
    joined: bool,
    /// To its end.
    to_the_end: bool,
    /// Nothing after what is accepted.
    detached: bool,
}

/// Submits an action and follows it.
pub(super) async fn act(
    shared: &Shared,
    actor: &Identity,
    trace: (String, String),
    request: ActRequest,
) -> Result<Answers, Status> {
    let detached = request.detach;
    let mut submission = submission(actor, request)?;
    let span = tracing::info_span!(
        "rsv.command",
        otel.kind = "internal",
        rsv.command.id = submission.id,
        rsv.command.kind = submission.deed.word(),
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
    let reading = Reading {
        joined: submitted.id != own_id,
        to_the_end: true,
        detached,
    };
    Ok(read_by(shared, submitted, reading, span))
}

/// Tries again what failed, and follows that.
pub(super) async fn retry(
    shared: &Shared,
    actor: &Identity,
    trace: (String, String),
    request: RetryOperationRequest,
) -> Result<Answers, Status> {
    check_key(&request.idempotency_key)?;
    let retry = Retry {
        id: new_id(),
        operation: named(request.operation)?,
        failed_only: request.failed_only,
        actor: actor.to_string(),
        key: request.idempotency_key,
        trace,
    };
    let own_id = retry.id.clone();
    let submitted = shared.hub.retry(retry).await??;
    let reading = Reading {
        joined: submitted.id != own_id,
        to_the_end: true,
        detached: request.detach,
    };
    Ok(read_by(
        shared,
        submitted,
        reading,
        tracing::Span::current(),
    ))
}

/// Follows an operation that somebody has submitted.
pub(super) async fn watch(
    shared: &Shared,
    request: WatchOperationRequest,
) -> Result<Answers, Status> {
    let operation = named(request.operation)?;
    let submitted = shared.hub.watch(operation, request.from_now).await??;
    let reading = Reading {
        joined: true,
        to_the_end: request.follow,
        detached: false,
    };
    Ok(read_by(
        shared,
        submitted,
        reading,
        tracing::Span::current(),
    ))
}

/// The name of an operation, or a beginning of it.
pub(super) fn named(operation: String) -> Result<String, Status> {
    let is_fine = (1..=LONGEST_NAME).contains(&operation.len())
        && operation.chars().all(|c| c.is_ascii_alphanumeric());
    let wrong = || {
        let text = "an operation is named by its id, letters and digits, or by a beginning of it";
        Status::invalid_argument(text)
    };
    is_fine.then_some(operation).ok_or_else(wrong)
}

fn read_by(
    shared: &Shared,
    submitted: Submitted,
    reading: Reading,
    span: tracing::Span,
) -> Answers {
    let (events, stream) = mpsc::channel(EVENTS);
    let shared = shared.clone();
    let reader = async move {
        let told = shared
            .stopping
            .run_until_cancelled(tell(&shared, submitted, reading, &events))
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
    ReceiverStream::new(stream)
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

/// Tells one caller what it wants to know. A caller that goes ends only this.
async fn tell(
    shared: &Shared,
    mut submitted: Submitted,
    reading: Reading,
    events: &mpsc::Sender<Result<ActResponse, Status>>,
) -> Result<(), Status> {
    let say = async |event| {
        events
            .send(Ok(ActResponse { event: Some(event) }))
            .await
            .is_ok()
    };
    let news = submitted.news.take();
    let mut told = submitted.told;
    let mut waited_for = None;
    let id = submitted.id.clone();
    if !say(accepted(submitted, reading.joined)).await || reading.detached {
        return Ok(());
    }
    let Some(mut news) = news else {
        let elapsed = Some(duration_to_wire(Duration::ZERO));
        say(Event::Finished(Finished {
            elapsed,
            ..Default::default()
        }))
        .await;
        return Ok(());
    };
    loop {
        news.mark_unchanged();
        let forgotten = || Status::not_found(format!("operation {id} is not known any more"));
        let page = shared.hub.story(&id, told).await?.ok_or_else(forgotten)?;
        told += page.told.len();
        for told in page.told {
            if !say(event(told)).await {
                return Ok(());
            }
        }
        if let Some(end) = page.end {
            say(Event::Finished(Finished {
                elapsed: Some(duration_to_wire(end.elapsed)),
                state: end.state.into(),
                reason: end.reason,
                rolled_back_by: end.rolled_back_by,
            }))
            .await;
            return Ok(());
        }
        if !page.is_all {
            continue;
        }
        if page.waits_for != waited_for {
            waited_for = page.waits_for;
            let what = What::Waits(waited_for.clone().unwrap_or_default());
            if !say(Event::Progress(Progress { what: Some(what) })).await {
                return Ok(());
            }
        }
        if !reading.to_the_end {
            return Ok(());
        }
        tokio::select! {
            changed = news.changed() => changed.map_err(|_| Status::from(HubError::Stopped))?,
            () = events.closed() => return Ok(()),
        }
    }
}

fn accepted(submitted: Submitted, joined: bool) -> Event {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let brief = submitted.brief;
    Event::Accepted(Accepted {
        operation: submitted.id,
        hosts: submitted.hosts.iter().map(ToString::to_string).collect(),
        joined,
        batches: number(brief.batches),
        rollout: Some(write(&brief.rollout)),
        budget: number(brief.budget),
        targets: brief.targets,
        action: Some(brief.action),
        programs: brief.programs,
    })
}

/// One thing of an operation's story for the wire.
fn event(told: Told) -> Event {
    let number = |n: usize| u32::try_from(n + 1).unwrap_or(u32::MAX);
    let names = |hosts: Vec<_>| {
        hosts
            .iter()
            .map(rsv_proto::name::HostName::to_string)
            .collect()
    };
    let what = match told {
        Told::Result(result) => return Event::Result(result),
        Told::Late {
            host,
            programs,
            after,
        } => What::Late(Late {
            host: host.to_string(),
            programs,
            after: Some(duration_to_wire(after)),
        }),
        Told::BatchBegun {
            number: n,
            is_canary,
            hosts,
        } => What::BatchBegun(BatchBegun {
            number: number(n),
            hosts: names(hosts),
            is_canary,
        }),
        Told::BatchEnded {
            number: n,
            is_canary,
            hosts,
            counts: of_batch,
            elapsed,
        } => What::BatchEnded(BatchEnded {
            number: number(n),
            hosts: names(hosts),
            counts: Some(counts(of_batch)),
            elapsed: Some(duration_to_wire(elapsed)),
            is_canary,
        }),
        Told::Paused(why) => What::Paused(why),
        Told::Resumed(who) => What::Resumed(who),
        Told::Stopping(why, reason) => What::Stopping(Stopping {
            state: end_state(why).into(),
            reason,
        }),
    };
    Event::Progress(Progress { what: Some(what) })
}

fn submission(actor: &Identity, request: ActRequest) -> Result<Submission, Status> {
    let wrong = Status::invalid_argument;
    if request.programs.is_empty() {
        return Err(wrong(
            "no programs are named; every program is said as `all`",
        ));
    }
    check_patterns(&request.programs)?;
    let action = request.action.unwrap_or_default();
    let (deed, signal) =
        deed(&action).ok_or_else(|| wrong("no action that this controller knows"))?;
    check(&action)?;
    check_key(&request.idempotency_key)?;
    let deadline = span_of(request.deadline, "deadline")?.unwrap_or(COMMAND_DEADLINE);
    Ok(Submission {
        id: new_id(),
        actor: actor.to_string(),
        selection: selection(request.hosts),
        programs: request.programs,
        deed,
        signal,
        rollout: read(request.rollout.as_ref(), deed).map_err(Status::invalid_argument)?,
        patience: Patience {
            deadline,
            timeout: span_of(request.timeout, "timeout")?,
        },
        expect_hosts: request.expect_hosts,
        is_dry_run: request.dry_run,
        key: request.idempotency_key,
        retry_of: String::new(),
        trace: (String::new(), String::new()),
    })
}

fn check_key(key: &str) -> Result<(), Status> {
    match key.len() > LONGEST_KEY {
        true => Err(Status::invalid_argument("the idempotency key is too long")),
        false => Ok(()),
    }
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
        let negative = || {
            Some(prost_types::Duration {
                seconds: -1,
                nanos: 0,
            })
        };
        let signal = |signal| {
            Some(Action {
                verb: Some(Verb::Signal(rsv_proto::wire::SignalAction { signal })),
            })
        };
        type Spoil<'a> = &'a dyn Fn(&mut ActRequest);
        let wrong: [(Spoil, &str); 8] = [
            (&|request| request.programs.clear(), "no programs"),
            (
                &|request| request.programs = vec!["a\u{1b}b".into()],
                "a\\u{1b}b",
            ),
            (&|request| request.action = None, "no action"),
            (&|request| request.action = signal(0), "1 to 64"),
            (&|request| request.action = signal(65), "1 to 64"),
            (&|request| request.deadline = negative(), "deadline"),
            (&|request| request.timeout = negative(), "timeout"),
            (
                &|request| request.idempotency_key = "k".repeat(201),
                "too long",
            ),
        ];
        for (spoil, reason) in wrong {
            let mut request = good.clone();
            spoil(&mut request);
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
