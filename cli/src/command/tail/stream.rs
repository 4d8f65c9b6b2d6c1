//! The stream of output: shown as it comes, and taken up again where it broke when one source is
//! followed.
//!
//! A place in a log outlives the connection, the controller and the agent, so nothing is lost or
//! repeated over their restarts; what the other side cannot give any more it says as a gap.

use std::time::Duration;

use rsv_proto::wire::{
    Cursor, TailRequest, TailResponse,
    tail_response::{End, Event},
};
use tokio::time::{Instant, sleep};

use super::{display::Display, is_clean, refusal_of, source_name, why};
use crate::{
    client::{Events, Server},
    error::{Exit, Failure},
    invocation::Invocation,
};

/// How long a followed source may be out of reach before the follower is told: longer than the
/// restart of an agent or a controller, shorter than a person's patience.
const PATIENCE: Duration = Duration::from_secs(30);

/// The pause before the first attempt to take a stream up again, and the longest one.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Where output comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    /// The agent of this machine.
    Agent,
    /// A controller of the fleet.
    Controller,
}

/// Output that is asked for.
pub(super) struct Asked {
    pub(super) via: Via,
    pub(super) request: TailRequest,
    /// Whether there can only be one source.
    pub(super) single: bool,
}

/// Shows everything that comes, and gives each program with how its source ended.
pub(super) async fn show(
    invocation: &mut Invocation,
    server: Server,
    display: &mut Display,
    asked: Asked,
) -> Result<Vec<(String, End)>, Failure> {
    let Asked {
        via,
        mut request,
        single,
    } = asked;
    let mut events = server.tail(request.clone()).await?;
    let mut shown = Shown {
        resumes: request.follow && single,
        ..Shown::default()
    };
    loop {
        let lost = match shown.all(invocation, display, &mut events).await {
            // A followed source says when it ends.
            Ok(()) if shown.resumes && shown.ends.is_empty() => {
                Failure::new(Exit::NoAnswer, "the output broke off")
            }
            Ok(()) => break,
            Err(failure) => failure,
        };
        if lost.exit != Exit::NoAnswer || !shown.resumes {
            return Err(lost);
        }
        invocation.ui.detail(&format!("{lost}; trying again"));
        if let Some(place) = shown.place.clone() {
            request.from = Some(place);
            (request.bytes, request.lines) = (None, None);
        }
        events = again(invocation, via, &request, lost).await?;
    }
    display.finish(&mut invocation.ui)?;
    Ok(shown.ends)
}

/// What has been shown so far.
#[derive(Debug, Default)]
struct Shown {
    ends: Vec<(String, End)>,
    /// Whether a source that breaks off is taken up again.
    resumes: bool,
    /// Where the only source goes on.
    place: Option<Cursor>,
}

impl Shown {
    /// Shows what comes until the stream ends. A host's source that ends badly is said at once:
    /// others may go on for long.
    async fn all(
        &mut self,
        invocation: &mut Invocation,
        display: &mut Display,
        events: &mut Events<TailResponse>,
    ) -> Result<(), Failure> {
        while let Some(response) = events.next().await? {
            let TailResponse {
                host,
                program,
                event,
            } = response;
            let ui = &mut invocation.ui;
            match event {
                Some(Event::Chunk(chunk)) => {
                    display.chunk(ui, &host, &program, &chunk)?;
                    self.place = chunk.at.map(|at| behind(at, chunk.data.len()));
                }
                Some(Event::Gap(gap)) => {
                    display.gap(ui, &host, &program, &gap)?;
                    self.place = gap.at;
                }
                Some(Event::End(end)) if self.is_pause(&end) => {
                    return Err(Failure::new(Exit::NoAnswer, why(&end)));
                }
                Some(Event::End(end)) => {
                    display.end(ui, &host, &program)?;
                    if !host.is_empty() && !is_clean(&end) {
                        let source = source_name(&host, &program);
                        ui.warning(&format!("{source}: {}", why(&end)));
                    }
                    self.ends.push((program, end));
                }
                None => {}
            }
            ui.flush()?;
        }
        Ok(())
    }

    /// Whether an end is that of a host which is out of reach, while it was being followed.
    fn is_pause(&self, end: &End) -> bool {
        let is_out_of_reach = refusal_of(end).is_none() && !is_clean(end);
        self.resumes && self.place.is_some() && is_out_of_reach
    }
}

fn behind(at: Cursor, length: usize) -> Cursor {
    Cursor {
        offset: at.offset.saturating_add(length as u64),
        ..at
    }
}

/// Asks again until there is an answer or patience ends; then what was lost is the failure.
async fn again(
    invocation: &mut Invocation,
    via: Via,
    request: &TailRequest,
    lost: Failure,
) -> Result<Events<TailResponse>, Failure> {
    let until = Instant::now() + PATIENCE;
    let mut pause = PAUSE;
    while Instant::now() < until {
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        let failure = match open(invocation, via, request).await {
            Ok(events) => return Ok(events),
            Err(failure) => failure,
        };
        if !matches!(failure.exit, Exit::NoAnswer | Exit::NotRunning) {
            return Err(failure);
        }
    }
    Err(lost)
}

async fn open(
    invocation: &mut Invocation,
    via: Via,
    request: &TailRequest,
) -> Result<Events<TailResponse>, Failure> {
    let server = match via {
        Via::Agent => invocation.agent().await.map_err(Failure::from)?.server,
        Via::Controller => invocation.controller().await?,
    };
    server.tail(request.clone()).await
}
