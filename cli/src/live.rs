//! What programs do, kept up to date: a whole picture first, then what happens to it.
//!
//! [`picture`] decides what an event means; this drives the calls. A connection that is lost is made
//! again for as long as somebody looks, and the picture is then taken anew; meanwhile the looker is told.

mod picture;

use std::time::Duration;

use rsv_proto::wire::{
    Event, GetStatusRequest, WatchEventsRequest, WatchEventsResponse, watch_events_request::Begin,
};
use tokio::time::{Instant, sleep_until};

use crate::{
    carrier::Carrier,
    client::Events,
    error::Failure,
    invocation::{Invocation, Scope},
};

pub(crate) use picture::{Effect, Picture};

/// The pauses between attempts to reach a server again.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A view of programs that goes on.
pub(crate) struct Live {
    scope: Scope,
    programs: Vec<String>,
    feed: Feed,
}

/// Where what happens comes from.
enum Feed {
    Open(Box<Events<WatchEventsResponse>>),
    Lost { retry_at: Instant, pause: Duration },
}

/// What a looker hears.
pub(crate) enum News {
    /// These things have happened.
    Happened(Vec<Event>),
    /// Some things are missing: the picture has to be taken anew.
    Missed,
    /// The server is gone, for this reason.
    Lost(Failure),
    /// It is time to try to reach it again.
    Retry,
}

impl Live {
    /// The picture as it is, and what goes on from there.
    pub(crate) async fn open(
        invocation: &mut Invocation,
        scope: &Scope,
        programs: &[String],
    ) -> Result<(Self, Picture), Failure> {
        let server = connect(invocation, scope).await?;
        let (feed, picture) = begin(&server, scope, programs).await?;
        let live = Self {
            scope: scope.clone(),
            programs: programs.to_vec(),
            feed: Feed::Open(Box::new(feed)),
        };
        Ok((live, picture))
    }

    /// What happens next. Safe to cancel.
    pub(crate) async fn next(&mut self) -> News {
        let lost = match &mut self.feed {
            Feed::Lost { retry_at, .. } => {
                sleep_until(*retry_at).await;
                return News::Retry;
            }
            Feed::Open(feed) => match feed.next().await {
                Ok(Some(answer)) if answer.lost > 0 => return News::Missed,
                Ok(Some(answer)) => return News::Happened(answer.events),
                Ok(None) => Failure::new(crate::error::Exit::NoAnswer, "the connection ended"),
                Err(failure) => failure,
            },
        };
        self.lose(PAUSE);
        News::Lost(lost)
    }

    /// Takes the picture anew, over a new connection.
    pub(crate) async fn again(&mut self, invocation: &mut Invocation) -> Option<Picture> {
        let server = match &self.scope {
            Scope::Fleet(_) => invocation.controller().await.ok().map(Carrier::from),
            Scope::Local => invocation.agent().await.ok().map(|agent| agent.carrier),
        };
        let begun = match server {
            Some(server) => begin(&server, &self.scope, &self.programs).await.ok(),
            None => None,
        };
        let Some((feed, picture)) = begun else {
            let pause = match self.feed {
                Feed::Lost { pause, .. } => (pause * 2).min(LONGEST_PAUSE),
                Feed::Open(_) => PAUSE,
            };
            self.lose(pause);
            return None;
        };
        self.feed = Feed::Open(Box::new(feed));
        Some(picture)
    }

    fn lose(&mut self, pause: Duration) {
        self.feed = Feed::Lost {
            retry_at: Instant::now() + pause,
            pause,
        };
    }
}

/// The server of a scope, with supervisorctl's words when this machine has none.
pub(crate) async fn connect(
    invocation: &mut Invocation,
    scope: &Scope,
) -> Result<Carrier, Failure> {
    match scope {
        Scope::Fleet(_) => Ok(invocation.controller().await?.into()),
        Scope::Local => match invocation.agent().await {
            Ok(agent) => Ok(agent.carrier),
            Err(unconnected) => Err(unconnected.say(&mut invocation.ui)?),
        },
    }
}

/// Begins to listen, and then takes the picture: what happens in between is heard again, which changes
/// nothing.
async fn begin(
    server: &Carrier,
    scope: &Scope,
    programs: &[String],
) -> Result<(Events<WatchEventsResponse>, Picture), Failure> {
    let hosts = match scope {
        Scope::Fleet(hosts) => Some(hosts.clone()),
        Scope::Local => None,
    };
    let request = WatchEventsRequest {
        hosts: hosts.clone(),
        follow: true,
        begin: Some(Begin::Latest(0)),
        ..Default::default()
    };
    let mut feed = server.watch_events(request).await?;
    // The first answer says that the stream is open.
    feed.next().await?;
    let request = GetStatusRequest {
        hosts,
        programs: programs.to_vec(),
    };
    let (hosts, wanted) = server.understood(request).await?;
    Ok((feed, Picture::new(hosts, wanted)))
}
