//! Where the pieces of output come from: one call for all sources, or, once that broke off, one
//! for each of them. A task a call, and one bounded queue.

use std::time::Duration;

use rsv_proto::wire::{
    Refusal, TailRequest, TailResponse,
    tail_response::{End, Event},
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    is_clean,
    places::{Call, place_behind},
    refusal_of,
};
use crate::{
    carrier::Carrier,
    client::Events,
    error::{Exit, Failure},
};

/// The pause before the first attempt to take something up again, and the longest one.
pub(super) const PAUSE: Duration = Duration::from_millis(100);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long a source may be refused after the server has come back: it may not know it yet.
const REFUSED: Duration = Duration::from_secs(5);
/// How long its host may be out of reach then.
const OUT_OF_REACH: Duration = Duration::from_secs(600);

/// Pieces that wait to be shown; when full the calls wait, and with them the other side.
const PIECES: usize = 8;

/// Calls that share a connection: a controller serves up to 200 on one.
const SHARING: usize = 100;

type Pieces = mpsc::Sender<Result<TailResponse, Failure>>;

/// Pieces of output as they come. Dropping it ends its calls.
#[derive(Debug)]
pub(super) struct Feed {
    pieces: mpsc::Receiver<Result<TailResponse, Failure>>,
    /// Ended when dropped.
    _calls: JoinSet<()>,
}

impl Feed {
    /// Of one call for every source. A call that follows and ends without an end is a loss.
    pub(super) fn of_all(events: Events<TailResponse>, follows: bool) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES);
        let mut calls = JoinSet::new();
        calls.spawn(forward(events, follows, sender));
        Self {
            pieces,
            _calls: calls,
        }
    }

    /// Of one call for each source, of which each goes on by itself while its host comes back. The calls
    /// share these connections, of which there are [`connections`].
    pub(super) fn of_each(servers: &[Carrier], asked: Vec<Call>) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES);
        let mut calls = JoinSet::new();
        for (call, server) in asked.into_iter().zip(servers.iter().cycle()) {
            let (server, sender) = (server.clone(), sender.clone());
            match call {
                Call::One(request) => calls.spawn(follow(server, request, sender)),
                Call::Host(request) => calls.spawn(of_host(server, request, sender)),
            };
        }
        Self {
            pieces,
            _calls: calls,
        }
    }

    /// The next piece; none after the last. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Result<TailResponse, Failure>> {
        self.pieces.recv().await
    }
}

/// How many connections so many calls need.
pub(super) fn connections(calls: usize) -> usize {
    calls.div_ceil(SHARING).max(1)
}

/// Passes on what a host has, whatever that is when it comes.
async fn of_host(server: Carrier, request: TailRequest, pieces: Pieces) {
    let follows = request.follow;
    match server.tail(request).await {
        Ok(events) => forward(events, follows, pieces).await,
        Err(lost) => say(&pieces, Err(lost)).await,
    }
}

async fn forward(mut events: Events<TailResponse>, follows: bool, pieces: Pieces) {
    let mut has_ended = false;
    loop {
        let piece = match events.next().await {
            Ok(Some(response)) => {
                has_ended |= matches!(response.event, Some(Event::End(_)));
                Ok(response)
            }
            Ok(None) if follows && !has_ended => Err(broke_off()),
            Ok(None) => return,
            Err(lost) => Err(lost),
        };
        let is_over = piece.is_err();
        if pieces.send(piece).await.is_err() || is_over {
            return;
        }
    }
}

/// Reads one source until it ends for good, or the connection does.
async fn follow(server: Carrier, mut request: TailRequest, pieces: Pieces) {
    let mut pause = PAUSE;
    let mut since = Instant::now();
    loop {
        let mut events = match server.tail(request.clone()).await {
            Ok(events) => events,
            Err(lost) => return say(&pieces, Err(lost)).await,
        };
        loop {
            let response = match events.next().await {
                Ok(Some(response)) => response,
                Ok(None) => return say(&pieces, Err(broke_off())).await,
                Err(lost) => return say(&pieces, Err(lost)).await,
            };
            match &response.event {
                Some(Event::End(end)) if request.follow && since.elapsed() < patience(end) => {
                    break;
                }
                Some(Event::End(_)) => return say(&pieces, Ok(response)).await,
                Some(event) => {
                    if let Some(place) = place_behind(event) {
                        request.from = Some(place);
                        (request.bytes, request.lines, request.since) = (None, None, None);
                    }
                    (pause, since) = (PAUSE, Instant::now());
                }
                None => {}
            }
            if pieces.send(Ok(response)).await.is_err() {
                return;
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn say(pieces: &Pieces, last: Result<TailResponse, Failure>) {
    // Nobody may be there any more.
    drop(pieces.send(last).await);
}

/// How long a source with this end is tried again.
fn patience(end: &End) -> Duration {
    match refusal_of(end) {
        Some(Refusal::NoSuchProcess | Refusal::NoSuchGroup | Refusal::NoFile) => REFUSED,
        Some(_) => Duration::ZERO,
        None if is_clean(end) => Duration::ZERO,
        None => OUT_OF_REACH,
    }
}

fn broke_off() -> Failure {
    Failure::new(Exit::NoAnswer, "the output broke off")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_as_many_connections_as_they_need() {
        for (calls, wanted) in [(0, 1), (1, 1), (100, 1), (101, 2), (1000, 10)] {
            assert_eq!(connections(calls), wanted, "{calls}");
        }
    }
}
