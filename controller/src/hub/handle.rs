//! What can be asked of the hub, and the front through which others ask.

use std::time::{Duration, SystemTime};

use rsv_proto::{
    name::HostName,
    wire::{
        Action, ControllerMessage, Hello, HostSelection, OpenLog, ServeLogRequest, TargetResult,
        agent_message::Message as Word,
    },
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::DropGuard;
use tonic::{Status, Streaming};

use super::operations::SubmitError;
use crate::{
    events::EventPage,
    fleet::{NotConnected, Refused},
    host::{Enrolment, HostView, SessionId},
    operation::Patience,
    targets::SelectionError,
};

/// Words of agents that wait for the hub; when full, each session waits, and its agent with it.
pub(super) const WORDS: usize = 1024;

/// Questions of callers that wait for the hub; when full, a caller is told to come back.
pub(super) const ASKS: usize = 256;

/// Orders that wait for one agent's connection; an agent that is so far behind is cut off.
pub const ORDERS: usize = 512;

/// The sending end of a session's stream.
pub type Orders = mpsc::Sender<Result<ControllerMessage, Status>>;

/// What comes from agents: never dropped, always in order within a session.
#[derive(Debug)]
pub enum FromAgent {
    /// A greeting.
    Attach(Attach),
    /// Anything after it.
    Said(HostName, SessionId, Word),
    /// The stream has ended, for this reason.
    Ended(HostName, SessionId, String),
    /// A host got an identity.
    Enrolled(HostName, Enrolment),
    /// A host's certificate was renewed.
    Renewed(HostName, SystemTime),
    /// An agent offers the log it was asked for.
    Log(HostName, String, Arrival),
}

/// An agent that greets.
#[derive(Debug)]
pub struct Attach {
    /// From its certificate.
    pub host: HostName,
    /// A new name for the session.
    pub session: SessionId,
    /// Its greeting.
    pub hello: Hello,
    /// Where orders go.
    pub orders: Orders,
    /// Tells the reader of the session's words that the session is over.
    pub over: DropGuard,
    /// Whether there is a session.
    pub answer: oneshot::Sender<Result<(), Refused>>,
}

/// A log on its way from an agent. Dropping `reader` tells the agent that nobody reads any more.
#[derive(Debug)]
pub struct Arrival {
    /// The log; reading is what lets the agent send.
    pub items: Streaming<ServeLogRequest>,
    /// Held by the reader.
    pub reader: oneshot::Sender<()>,
}

/// Hosts as they are to be shown.
#[derive(Debug, Clone)]
pub struct View {
    /// In natural order.
    pub hosts: Vec<HostView>,
    /// Names that were said in full and that no enrolled host has.
    pub missing: Vec<String>,
}

/// An action to be done on many hosts.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Names the operation.
    pub id: String,
    /// Who asks.
    pub actor: String,
    /// Of which hosts.
    pub selection: HostSelection,
    /// Of which programs.
    pub programs: Vec<String>,
    /// What.
    pub action: Action,
    /// How long to wait.
    pub patience: Patience,
    /// How many hosts it must be.
    pub expect_hosts: Option<u32>,
    /// Only resolve.
    pub is_dry_run: bool,
    /// The same key joins the same operation; empty: none.
    pub key: String,
    /// W3C trace context of the caller.
    pub trace: (String, String),
}

/// An operation that has been accepted.
#[derive(Debug)]
pub struct Submitted {
    /// Its name; an earlier one's when the key was known.
    pub id: String,
    /// The hosts it reaches.
    pub hosts: Vec<HostName>,
    /// Changes whenever there is more to read; absent: nothing will be done.
    pub news: Option<watch::Receiver<usize>>,
}

/// Some results of an operation.
#[derive(Debug, Clone)]
pub struct Page {
    /// In the order in which they came.
    pub results: Vec<TargetResult>,
    /// How long it took; absent: there will be more.
    pub finished: Option<Duration>,
}

/// What callers ask.
#[derive(Debug)]
pub enum Ask {
    /// Hosts as they are to be shown.
    View(HostSelection, oneshot::Sender<Result<View, SelectionError>>),
    /// An action.
    Submit(
        Box<Submission>,
        oneshot::Sender<Result<Submitted, SubmitError>>,
    ),
    /// Results of an operation after the first so many; absent: it is not known any more.
    Results(String, usize, oneshot::Sender<Option<Page>>),
    /// Events from this number on, or from the oldest; beside them the number of the oldest.
    Events(Option<u64>, oneshot::Sender<(EventPage, u64)>),
    /// A log of a host, which will come as an [`Arrival`].
    OpenLog(
        HostName,
        OpenLog,
        oneshot::Sender<Arrival>,
        oneshot::Sender<Result<(), NotConnected>>,
    ),
    /// To be told when a host has a session.
    WhenConnected(HostName, oneshot::Sender<()>),
    /// To end all sessions, for this reason.
    Close(String, oneshot::Sender<()>),
}

/// Why the hub did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HubError {
    /// Too many questions at one time.
    #[error("the controller is busy")]
    Busy,
    /// The controller stops.
    #[error("the controller is shutting down")]
    Stopped,
}

/// The front of the hub.
#[derive(Debug, Clone)]
pub struct HubHandle {
    pub(super) words: mpsc::Sender<FromAgent>,
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) news: watch::Receiver<u64>,
}

impl HubHandle {
    /// Hands over what came from an agent; waits for its turn.
    pub async fn tell(&self, word: FromAgent) -> Result<(), HubError> {
        self.words.send(word).await.map_err(|_| HubError::Stopped)
    }

    /// Hosts as they are to be shown.
    pub async fn view(
        &self,
        selection: HostSelection,
    ) -> Result<Result<View, SelectionError>, HubError> {
        self.ask(|answer| Ask::View(selection, answer)).await
    }

    /// Submits an action.
    pub async fn submit(
        &self,
        submission: Submission,
    ) -> Result<Result<Submitted, SubmitError>, HubError> {
        self.ask(|answer| Ask::Submit(Box::new(submission), answer))
            .await
    }

    /// Results of an operation after the first so many.
    pub async fn results(&self, operation: &str, after: usize) -> Result<Option<Page>, HubError> {
        let (answer, page) = oneshot::channel();
        let ask = Ask::Results(operation.to_owned(), after, answer);
        // A reader of an operation that is under way waits; it was let in already.
        self.asks.send(ask).await.map_err(|_| HubError::Stopped)?;
        page.await.map_err(|_| HubError::Stopped)
    }

    /// Events from this number on, or from the oldest; beside them the number of the oldest.
    pub async fn events(&self, from: Option<u64>) -> Result<(EventPage, u64), HubError> {
        let (answer, page) = oneshot::channel();
        // A reader of events waits its turn; it was let in already.
        let ask = Ask::Events(from, answer);
        self.asks.send(ask).await.map_err(|_| HubError::Stopped)?;
        page.await.map_err(|_| HubError::Stopped)
    }

    /// Changes when there is a new event: the number of the one after it.
    pub fn event_news(&self) -> watch::Receiver<u64> {
        self.news.clone()
    }

    /// Asks a host for a log. The receiver gets it when the agent has dialled.
    pub async fn open_log(
        &self,
        host: HostName,
        request: OpenLog,
    ) -> Result<Result<oneshot::Receiver<Arrival>, NotConnected>, HubError> {
        let (arrival, log) = oneshot::channel();
        let asked = self
            .ask(|answer| Ask::OpenLog(host, request, arrival, answer))
            .await?;
        Ok(asked.map(|()| log))
    }

    /// Waits until a host has a session.
    pub async fn when_connected(&self, host: HostName) -> Result<(), HubError> {
        self.ask(|answer| Ask::WhenConnected(host, answer)).await
    }

    /// Ends all sessions.
    pub async fn close(&self, reason: &str) -> Result<(), HubError> {
        let (answer, closed) = oneshot::channel();
        let ask = Ask::Close(reason.to_owned(), answer);
        self.asks.send(ask).await.map_err(|_| HubError::Stopped)?;
        closed.await.map_err(|_| HubError::Stopped)
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, HubError> {
        let (answer, answered) = oneshot::channel();
        self.asks.try_send(ask(answer)).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => HubError::Busy,
            mpsc::error::TrySendError::Closed(_) => HubError::Stopped,
        })?;
        answered.await.map_err(|_| HubError::Stopped)
    }
}
