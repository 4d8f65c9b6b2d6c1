//! The stream of output: shown as it comes, and taken up again where it broke off when it is
//! followed.
//!
//! A place in a log outlives the connection, the controller and the agent, so nothing is lost or
//! repeated over their restarts; what the other side cannot give any more it says as a gap.

use std::time::Duration;

use rsv_proto::wire::{
    Channel, GetStatusRequest, HostStatus, TailRequest, TailResponse,
    tail_response::{End, Event},
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    away::Away,
    display::Display,
    feed::{Feed, LONGEST_PAUSE, PAUSE},
    is_clean,
    order::Order,
    places::Places,
    source_name, why,
};
use crate::{
    carrier::Carrier,
    command::status::is_reachable,
    error::{Exit, Failure},
    invocation::Invocation,
    ui::printable,
};

/// How long a follower waits for the agent of this machine: longer than a restart of it takes.
const PATIENCE_LOCALLY: Duration = Duration::from_secs(60);
/// How long it waits for a controller, whose machine may have to start anew.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long a server that has come back may take to say that it is there.
const ANSWER: Duration = Duration::from_secs(5);

/// How long hosts may take to come back to a controller that has come back.
const SETTLE: Duration = Duration::from_secs(5);

/// Where output comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    /// The agent of this machine.
    Agent,
    /// A controller of the fleet.
    Controller,
}

impl Via {
    fn name(self) -> &'static str {
        match self {
            Self::Agent => "the agent",
            Self::Controller => "the controller",
        }
    }

    fn patience(self) -> Duration {
        match self {
            Self::Agent => PATIENCE_LOCALLY,
            Self::Controller => PATIENCE,
        }
    }
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
    server: Carrier,
    display: &mut Display,
    asked: Asked,
) -> Result<Vec<(String, End)>, Failure> {
    let request = &asked.request;
    let events = server.tail(request.clone()).await?;
    let mut feed = Feed::of_all(events, request.follow);
    let mut shown = Shown {
        order: Order::new(request.follow || asked.single),
        ..Shown::default()
    };
    let mut since = Instant::now();
    loop {
        let read = shown.all(invocation, display, &mut feed).await;
        for response in shown.order.rest() {
            shown.one(invocation, display, response)?;
        }
        let lost = match read {
            Ok(()) => break,
            Err(lost) if lost.exit == Exit::NoAnswer && request.follow => lost,
            Err(failure) => return Err(failure),
        };
        shown.places.broke_off(since.elapsed());
        shown.away = Away::default();
        feed = again(invocation, &asked, &shown.places, lost).await?;
        since = Instant::now();
    }
    display.finish(&mut invocation.ui)?;
    Ok(shown.ends)
}

/// What has been shown so far.
#[derive(Debug, Default)]
struct Shown {
    ends: Vec<(String, End)>,
    places: Places,
    order: Order,
    away: Away,
}

impl Shown {
    /// Shows what comes until the feed ends.
    async fn all(
        &mut self,
        invocation: &mut Invocation,
        display: &mut Display,
        feed: &mut Feed,
    ) -> Result<(), Failure> {
        while let Some(response) = feed.next().await {
            for response in self.order.pass(response?) {
                self.one(invocation, display, response)?;
            }
            invocation.ui.flush()?;
        }
        Ok(())
    }

    /// Shows one piece. A host's source that ends badly is said at once: others may go on for long.
    fn one(
        &mut self,
        invocation: &mut Invocation,
        display: &mut Display,
        response: TailResponse,
    ) -> Result<(), Failure> {
        self.places.note(&response);
        let TailResponse {
            host,
            program,
            event,
        } = response;
        let ui = &mut invocation.ui;
        match event {
            Some(Event::Chunk(chunk)) => display.chunk(ui, &host, &program, &chunk)?,
            Some(Event::Gap(gap)) => display.gap(ui, &host, &program, &gap)?,
            Some(Event::Away(away)) if self.away.leave(&host, &program) => {
                let (host, reason) = (printable(&host), printable(&away.reason));
                ui.note(&format!("-- {host}: {reason}, waiting --"));
            }
            Some(Event::Back(_)) if self.away.is_back(&host, &program) => {
                ui.note(&format!("-- {}: back --", printable(&host)));
            }
            Some(Event::End(end)) => {
                self.away.is_back(&host, &program);
                display.end(ui, &host, &program)?;
                if is_clean(&end) {
                    display.read_all(ui, &host, &program)?;
                }
                if !host.is_empty() && !is_clean(&end) {
                    let source = source_name(&host, &program);
                    ui.warning(&format!("{source}: {}", why(&end)));
                }
                self.ends.push((program, end));
            }
            Some(Event::Away(_) | Event::Back(_)) | None => {}
        }
        Ok(())
    }
}

/// Waits for the server to come back, and takes up every source at its place.
async fn again(
    invocation: &mut Invocation,
    asked: &Asked,
    places: &Places,
    lost: Failure,
) -> Result<Feed, Failure> {
    let via = asked.via;
    let words = format!("-- lost {}, waiting --", via.name());
    invocation.ui.note(&words);
    invocation.ui.detail(&lost.to_string());
    let until = Instant::now() + invocation.global.timeout.unwrap_or(via.patience());
    let mut pause = PAUSE;
    while Instant::now() < until {
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        let failure = match resumed(invocation, asked, places).await {
            Ok(feed) => {
                invocation.ui.note("-- back --");
                return Ok(feed);
            }
            Err(failure) => failure,
        };
        // One that is about to be there fails in many ways; one that refuses us will go on to.
        if !matches!(
            failure.exit,
            Exit::NoAnswer | Exit::NotRunning | Exit::Failed
        ) {
            return Err(failure);
        }
    }
    Err(lost)
}

async fn resumed(
    invocation: &mut Invocation,
    asked: &Asked,
    places: &Places,
) -> Result<Feed, Failure> {
    let server = match asked.via {
        Via::Agent => invocation.agent().await.map_err(Failure::from)?.carrier,
        Via::Controller => invocation.controller().await?.into(),
    };
    in_time(server.version()).await?;
    if asked.request.channel() == Channel::MainLog {
        // It has no places: what is written from now on.
        let request = TailRequest {
            bytes: Some(0),
            ..asked.request.clone()
        };
        let events = in_time(server.tail(request)).await?;
        return Ok(Feed::of_all(events, asked.request.follow));
    }
    let requests = match asked.single {
        true => vec![places.resume_single(&asked.request)],
        false => {
            let hosts = known(&server, &asked.request).await?;
            for host in places.out_of_reach(&hosts) {
                let words = format!("{host}: out of reach, its output is not followed");
                invocation.ui.warning(&words);
            }
            places.resume(&asked.request, &hosts)
        }
    };
    Ok(Feed::of_each(&server, requests))
}

/// What the server knows of the programs that are followed. A controller that has just started
/// waits for its hosts first.
async fn known(server: &Carrier, request: &TailRequest) -> Result<Vec<HostStatus>, Failure> {
    let until = Instant::now() + SETTLE;
    loop {
        let asked = GetStatusRequest {
            hosts: request.hosts.clone(),
            programs: request.programs.clone(),
        };
        let hosts = in_time(server.status(asked)).await?;
        if hosts.iter().all(|host| is_reachable(host.state())) || Instant::now() >= until {
            return Ok(hosts);
        }
        sleep(PAUSE).await;
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(ANSWER, answer)
        .await
        .unwrap_or_else(|_late| Err(Failure::new(Exit::NoAnswer, "no answer")))
}
