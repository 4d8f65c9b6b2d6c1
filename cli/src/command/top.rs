//! `top`: programs in a table that goes on, with keys to act on them.
//!
//! [`model`] decides what a key or an event means, [`view`] draws; this owns the terminal, and carries
//! out what the model asks for.

mod model;
mod view;

use std::time::{Duration, SystemTime};

use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event as TerminalEvent, KeyEventKind},
};
use rsv_proto::{
    select::exactly,
    wire::{
        ActRequest, ActResponse, HostSelection, TailRequest, TailResponse,
        act_response::Event as Acted, tail_response::Event as Told,
    },
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use self::model::{Asked, Input, Model, Place};
use super::act;
use crate::{
    args::TopArgs,
    carrier::Carrier,
    client::Events,
    error::{Exit, Failure},
    invocation::{Invocation, Scope},
    live::{Live, News, connect},
};

/// How often ages are drawn anew.
const TICK: Duration = Duration::from_secs(1);

/// Keys that wait; a person does not type faster than they are read.
const KEYS: usize = 64;

/// The bytes of output that following begins with.
const FOLLOW_BYTES: u64 = 4096;

/// Shows the table until it is left.
pub(super) async fn run(invocation: &mut Invocation, args: TopArgs) -> Result<Exit, Failure> {
    if !invocation.ui.out_is_terminal() || !invocation.ui.can_ask() {
        return Err(Failure::usage("`top` needs a terminal")
            .hint("`rsv status -w` and `rsv events -f` do without one"));
    }
    let scope = invocation.scope()?;
    let (live, picture) = Live::open(invocation, &scope, &args.programs).await?;
    let server = connect(invocation, &scope).await?;
    let mut model = Model::new(picture, matches!(scope, Scope::Fleet(_)));
    model.color = invocation.ui.color();
    let mut top = Top {
        live,
        server,
        model,
        action: None,
        verb: act::Asked::Restart,
        tail: None,
    };
    let mut terminal = ratatui::try_init()?;
    let shown = top.show(invocation, &mut terminal).await;
    ratatui::restore();
    shown.map(|()| Exit::Done)
}

/// What is open.
struct Top {
    live: Live,
    server: Carrier,
    model: Model,
    action: Option<Events<ActResponse>>,
    /// The verb of the action.
    verb: act::Asked,
    tail: Option<Events<TailResponse>>,
}

/// What a turn of the loop is about.
enum Turn {
    News(News),
    Terminal(TerminalEvent),
    Acted(Result<Option<ActResponse>, Failure>),
    Told(Result<Option<TailResponse>, Failure>),
    Tick,
    /// The terminal has gone.
    Closed,
}

impl Top {
    async fn show(
        &mut self,
        invocation: &mut Invocation,
        terminal: &mut DefaultTerminal,
    ) -> Result<(), Failure> {
        let mut keys = keys();
        loop {
            let now = SystemTime::now();
            terminal.draw(|frame| view::draw(frame, &mut self.model, now))?;
            let tick = Instant::now() + TICK;
            let turn = tokio::select! {
                key = keys.recv() => key.map_or(Turn::Closed, Turn::Terminal),
                news = self.live.next() => Turn::News(news),
                acted = next(&mut self.action) => Turn::Acted(acted),
                told = next(&mut self.tail) => Turn::Told(told),
                () = sleep_until(tick) => Turn::Tick,
            };
            let input = match turn {
                Turn::Closed => Input::Nothing,
                Turn::Tick => continue,
                Turn::Terminal(TerminalEvent::Key(key)) if key.kind == KeyEventKind::Press => {
                    Input::Key(key)
                }
                Turn::Terminal(_) => continue,
                Turn::News(News::Happened(events)) => Input::Happened(events),
                Turn::News(News::Lost(failure)) => Input::Lost(failure.to_string()),
                Turn::News(News::Missed | News::Retry) => {
                    let Some(picture) = self.live.again(invocation).await else {
                        continue;
                    };
                    self.server = connect(invocation, &invocation.scope()?).await?;
                    Input::Whole(picture)
                }
                Turn::Acted(acted) => self.acted(acted),
                Turn::Told(told) => self.told(told),
            };
            for asked in self.model.handle(input) {
                match asked {
                    Asked::Quit => return Ok(()),
                    Asked::Again => {
                        if let Some(picture) = self.live.again(invocation).await {
                            self.model.handle(Input::Whole(picture));
                        }
                    }
                    Asked::Act(place, verb) => self.act(place, verb).await,
                    Asked::Follow(place) => self.follow(place).await,
                    Asked::Unfollow => self.tail = None,
                }
            }
        }
    }

    async fn act(&mut self, place: Place, verb: act::Asked) {
        let request = ActRequest {
            hosts: place.selection(),
            programs: vec![place.operand()],
            action: Some(verb.action()),
            ..Default::default()
        };
        self.verb = verb;
        match self.server.act(request).await {
            Ok(events) => self.action = Some(events),
            Err(failure) => {
                self.model.handle(Input::Said(failure.to_string()));
            }
        }
    }

    fn acted(&mut self, acted: Result<Option<ActResponse>, Failure>) -> Input {
        let event = match acted {
            Ok(Some(response)) => response.event,
            Ok(None) => {
                self.action = None;
                None
            }
            Err(failure) => {
                self.action = None;
                return Input::Said(failure.to_string());
            }
        };
        match event {
            Some(Acted::Result(result)) => Input::Said(act::result_line(self.verb, &result)),
            _ => Input::Nothing,
        }
    }

    async fn follow(&mut self, place: Place) {
        let request = TailRequest {
            hosts: place.selection(),
            programs: vec![place.operand()],
            follow: true,
            bytes: Some(FOLLOW_BYTES),
            ..Default::default()
        };
        match self.server.tail(request).await {
            Ok(events) => self.tail = Some(events),
            Err(failure) => {
                self.model.handle(Input::Said(failure.to_string()));
            }
        }
    }

    fn told(&mut self, told: Result<Option<TailResponse>, Failure>) -> Input {
        match told.map(|told| told.and_then(|response| response.event)) {
            Ok(Some(Told::Chunk(chunk))) => Input::Output(chunk.data),
            Ok(Some(Told::Gap(gap))) => {
                Input::Output(format!("-- gap: {} --\n", gap.reason).into_bytes())
            }
            Ok(Some(Told::Away(away))) => {
                Input::Output(format!("-- {}, waiting --\n", away.reason).into_bytes())
            }
            // Nobody asks for a moment here.
            Ok(Some(Told::Begin(_))) => Input::Nothing,
            Ok(Some(Told::Back(_))) => Input::Output(b"-- back --\n".to_vec()),
            Ok(Some(Told::End(end))) => {
                self.tail = None;
                Input::Output(format!("-- the end: {} --\n", end.reason).into_bytes())
            }
            Ok(None) => {
                self.tail = None;
                Input::Nothing
            }
            Err(failure) => {
                self.tail = None;
                Input::Output(format!("-- {failure} --\n").into_bytes())
            }
        }
    }
}

impl Place {
    fn selection(&self) -> Option<HostSelection> {
        self.host.clone().map(|host| HostSelection {
            include: vec![host],
            ..Default::default()
        })
    }

    /// The program, as a controller takes it for nothing else.
    fn operand(&self) -> String {
        match self.host {
            Some(_) => exactly(&self.program),
            None => self.program.clone(),
        }
    }
}

/// What the terminal says, read on a thread of its own: reading a terminal waits.
fn keys() -> mpsc::Receiver<TerminalEvent> {
    let (sender, keys) = mpsc::channel(KEYS);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    keys
}

/// The next item of a stream that may not be there; then never.
async fn next<T>(events: &mut Option<Events<T>>) -> Result<Option<T>, Failure> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}
