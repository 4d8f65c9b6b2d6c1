//! The stream of output: shown as it comes, and taken up again where it broke off when it is
//! followed.
//!
//! A place in a log outlives the connection, the controller and the agent, so nothing is lost or
//! repeated over their restarts; what the other side cannot give any more it says as a gap.

use std::{collections::BTreeSet, time::Duration};

use rsv_proto::{
    time::local_zone,
    wire::{
        Channel, Cursor, GetStatusRequest, TailRequest, TailResponse,
        tail_response::{End, Event},
    },
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    away::Away,
    begins::Begins,
    bookmark::Bookmark,
    display::Display,
    feed::{Feed, LONGEST_PAUSE, PAUSE, connections},
    is_clean,
    order::Order,
    places::{Call, Known, Places, Source},
    source_name, why,
};
use crate::{
    carrier::Carrier,
    command::status::is_away,
    error::{Exit, Failure},
    invocation::Invocation,
    ui::printable,
};

/// How long a follower waits for the agent of this machine: longer than a restart of it takes.
const PATIENCE_LOCALLY: Duration = Duration::from_secs(60);
/// How long it waits for a controller, whose machine may have to start anew.
const PATIENCE: Duration = Duration::from_secs(600);

/// The most programs that are read at a time unless more are asked for.
const STREAMS: usize = 100;

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

/// Shows everything that comes, and gives each program with how its source ended. What a bookmark has is
/// gone on with.
pub(super) async fn show(
    invocation: &mut Invocation,
    server: Carrier,
    display: &mut Display,
    asked: Asked,
    bookmark: Option<Bookmark>,
) -> Result<Vec<(String, End)>, Failure> {
    let request = &asked.request;
    let mut shown = Shown {
        order: Order::new(request.follow || asked.single),
        // Without it the bookmark is a little behind.
        termination: bookmark
            .as_ref()
            .and_then(|_| signal(SignalKind::terminate()).ok()),
        bookmark,
        begins: Begins::new(request.since.is_some()),
        ..Shown::default()
    };
    let mut feed = begun(invocation, server, &asked, &mut shown).await?;
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
    shown.touched = shown.places.sources().cloned().collect();
    shown.flush(invocation, display)?;
    if let Some(bookmark) = &mut shown.bookmark {
        bookmark.write()?;
    }
    Ok(std::mem::take(&mut shown.ends))
}

/// The first call or calls: one for everything, or one for each source when some of them go on where an
/// earlier run has ended.
async fn begun(
    invocation: &mut Invocation,
    server: Carrier,
    asked: &Asked,
    shown: &mut Shown,
) -> Result<Feed, Failure> {
    let request = &asked.request;
    let earlier = shown.bookmark.as_ref().map(Bookmark::places);
    if let Some(earlier) = earlier.filter(|places| !places.is_empty()) {
        let known = look(&server, request).await?;
        shown.places.restore(earlier, &known);
        if !shown.places.is_empty() {
            let calls = shown.places.resume(request, &known);
            let most = match request.max_streams {
                0 => STREAMS,
                most => most as usize,
            };
            if calls.len() > most {
                let text = format!(
                    "{} programs match, at most {most} are read at a time",
                    calls.len()
                );
                return Err(Failure::usage(text).hint("--max-streams N, up to 1000"));
            }
            return of_each(invocation, asked.via, server, calls).await;
        }
    }
    let events = server.tail(request.clone()).await?;
    Ok(Feed::of_all(events, request.follow))
}

/// What has been shown so far.
#[derive(Debug, Default)]
struct Shown {
    ends: Vec<(String, End)>,
    places: Places,
    order: Order,
    away: Away,
    bookmark: Option<Bookmark>,
    /// Heard only where there is something to be kept.
    termination: Option<Signal>,
    /// Of these something has been shown since the output was flushed.
    touched: BTreeSet<Source>,
    begins: Begins,
}

/// What happens next.
enum Turn {
    Piece(Option<Result<TailResponse, Failure>>),
    /// Somebody ends this process in order.
    Ended,
    /// The bookmark is to be written.
    Write,
}

impl Shown {
    /// Shows what comes until the feed ends.
    async fn all(
        &mut self,
        invocation: &mut Invocation,
        display: &mut Display,
        feed: &mut Feed,
    ) -> Result<(), Failure> {
        loop {
            let due = self.bookmark.as_ref().and_then(Bookmark::due);
            let turn = tokio::select! {
                piece = feed.next() => Turn::Piece(piece),
                () = at(due) => Turn::Write,
                () = terminated(self.termination.as_mut()) => Turn::Ended,
            };
            match turn {
                Turn::Piece(None) => return Ok(()),
                Turn::Piece(Some(response)) => {
                    for response in self.order.pass(response?) {
                        self.one(invocation, display, response)?;
                    }
                    self.flush(invocation, display)?;
                }
                Turn::Ended => return Err(Failure::new(Exit::Interrupted, "terminated")),
                Turn::Write => {}
            }
            if let Some(bookmark) = &mut self.bookmark
                && bookmark.due().is_some_and(|due| due <= Instant::now())
            {
                bookmark.write()?;
            }
        }
    }

    /// Lets what is shown be seen, and notes how far that is.
    fn flush(&mut self, invocation: &mut Invocation, display: &Display) -> Result<(), Failure> {
        invocation.ui.flush()?;
        let touched = std::mem::take(&mut self.touched);
        let Some(bookmark) = &mut self.bookmark else {
            return Ok(());
        };
        for source in touched {
            if let Some(place) = self.places.of(&source) {
                let kept = display.kept(&source.0, &source.1);
                let place = Cursor {
                    log_id: place.log_id.clone(),
                    offset: place.offset.saturating_sub(kept as u64),
                };
                bookmark.put(source, place, Instant::now());
            }
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
        let source = (response.host.clone(), response.program.clone());
        if self.places.of(&source).is_some() {
            self.begins.goes_on(&source);
        }
        self.places.note(&response);
        if self.bookmark.is_some() {
            self.touched.insert(source.clone());
        }
        let TailResponse {
            host,
            program,
            event,
        } = response;
        let ui = &mut invocation.ui;
        let name = source_name(&host, &program);
        let words = event
            .as_ref()
            .and_then(|event| self.begins.words(&source, event, &name, local_zone));
        if let Some(words) = words {
            ui.note(&words);
        }
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
                    ui.warning(&format!("{name}: {}", why(&end)));
                }
                self.ends.push((program, end));
            }
            Some(Event::Begin(_) | Event::Away(_) | Event::Back(_)) | None => {}
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
    let server = reach(invocation, asked.via).await?;
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
        true => vec![Call::One(places.resume_single(&asked.request))],
        false => {
            let known = settled(&server, &asked.request).await?;
            places.resume(&asked.request, &known)
        }
    };
    of_each(invocation, asked.via, server, requests).await
}

/// A feed of these calls, with as many connections as they need.
async fn of_each(
    invocation: &mut Invocation,
    via: Via,
    server: Carrier,
    calls: Vec<Call>,
) -> Result<Feed, Failure> {
    let mut servers = vec![server];
    while servers.len() < connections(calls.len()) {
        servers.push(reach(invocation, via).await?);
    }
    Ok(Feed::of_each(&servers, calls))
}

async fn reach(invocation: &mut Invocation, via: Via) -> Result<Carrier, Failure> {
    match via {
        Via::Agent => Ok(invocation.agent().await.map_err(Failure::from)?.carrier),
        Via::Controller => Ok(invocation.controller().await?.into()),
    }
}

/// What the server knows of the programs that are followed. A controller that has just started
/// waits for its hosts first.
async fn settled(server: &Carrier, request: &TailRequest) -> Result<Known, Failure> {
    let until = Instant::now() + SETTLE;
    loop {
        let known = in_time(look(server, request)).await?;
        let mut hosts = known.hosts.iter();
        if !hosts.any(is_away) || Instant::now() >= until {
            return Ok(known);
        }
        sleep(PAUSE).await;
    }
}

/// What the server knows now.
async fn look(server: &Carrier, request: &TailRequest) -> Result<Known, Failure> {
    let asked = GetStatusRequest {
        hosts: request.hosts.clone(),
        programs: request.programs.clone(),
    };
    let (hosts, patterns) = server.understood(asked).await?;
    Ok(Known { hosts, patterns })
}

async fn terminated(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Never, when there is no such moment.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(ANSWER, answer)
        .await
        .unwrap_or_else(|_late| Err(Failure::new(Exit::NoAnswer, "no answer")))
}
