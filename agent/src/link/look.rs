//! What is read of a host on the connection for logs: output of programs, the agent's own log, and what
//! an update would do or could.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream, Stream};
use rsv_proto::wire::{
    self, Look, Refusal, ServeLogRequest, TailMainLogRequest,
    look_response::Seen,
    tail_response::Event,
    tail_response::{Chunk, Gap},
};

use super::Owners;
use crate::local;
use crate::roster::Keep;
use crate::tail;

/// What a reader is sent. A type of its own, as the compiler cannot see that a call which is given a
/// boxed stream may go to another thread.
pub(super) struct Messages(BoxStream<'static, ServeLogRequest>);

impl Stream for Messages {
    type Item = ServeLogRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

type Pieces = BoxStream<'static, ServeLogRequest>;

/// Everything that one reader gets: first which stream it is.
pub(super) async fn opened(owners: &Owners, open: wire::OpenLog) -> Messages {
    let first = ServeLogRequest {
        stream: open.stream.clone(),
        ..Default::default()
    };
    let pieces = pieces(owners, open).await;
    Messages(stream::iter([first]).chain(pieces).boxed())
}

async fn pieces(owners: &Owners, open: wire::OpenLog) -> Pieces {
    let look = open.look();
    let request = open.request.unwrap_or_default();
    match look {
        Look::Unspecified if request.channel() == wire::Channel::MainLog => {
            main_log(owners, request).await.map(item).boxed()
        }
        Look::Unspecified => {
            let logbook = owners.capture.logbook();
            let items = tail::open(&owners.hub, &logbook, &request).await;
            let items = items.unwrap_or_else(|error| refused(&error.to_string()));
            items.map(item).boxed()
        }
        Look::Plan => seen(Seen::Plan(local::reread(&owners.roster, Keep::No).await)),
        Look::Available => {
            let available = local::available(&owners.roster.standing());
            seen(Seen::Available(available))
        }
    }
}

async fn main_log(
    owners: &Owners,
    request: wire::TailRequest,
) -> BoxStream<'static, wire::TailResponse> {
    let request = TailMainLogRequest {
        follow: request.follow,
        bytes: request.bytes,
        lines: request.lines,
        since: request.since,
    };
    let path = owners.main_log.as_deref();
    match local::open_main_log(path, owners.log.written(), &request).await {
        Ok(pieces) => {
            let end = stream::iter([tail::ended("OK", Refusal::Unspecified)]);
            let events = pieces
                .flat_map(|piece| stream::iter(events(piece)))
                .chain(end);
            events
                .map(|event| tail::response(String::new(), event))
                .boxed()
        }
        Err(status) => refused(status.message()),
    }
}

/// The places of a main log have no numbers: it is a file like any other.
fn events(piece: Result<wire::TailMainLogResponse, tonic::Status>) -> Vec<Event> {
    match piece {
        Ok(wire::TailMainLogResponse { data, truncated }) => {
            let gap = truncated.then(|| {
                Event::Gap(Gap {
                    reason: "the file was emptied".to_owned(),
                    ..Default::default()
                })
            });
            let chunk = (!data.is_empty()).then_some(Event::Chunk(Chunk {
                data,
                ..Chunk::default()
            }));
            gap.into_iter().chain(chunk).collect()
        }
        Err(status) => vec![tail::ended(status.message(), Refusal::Other)],
    }
}

/// The one piece of a request that cannot be served.
fn refused(reason: &str) -> BoxStream<'static, wire::TailResponse> {
    let end = tail::ended(reason, Refusal::Other);
    stream::iter([tail::response(String::new(), end)]).boxed()
}

fn item(item: wire::TailResponse) -> ServeLogRequest {
    ServeLogRequest {
        item: Some(item),
        ..Default::default()
    }
}

fn seen(seen: Seen) -> Pieces {
    let seen = wire::LookResponse {
        host: String::new(),
        seen: Some(seen),
    };
    let message = ServeLogRequest {
        seen: Some(seen),
        ..Default::default()
    };
    stream::iter([message]).boxed()
}
