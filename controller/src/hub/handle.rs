//! What can be asked of the hub, and the front through which others ask.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use prost::Message as _;
use rsv_proto::{
    name::HostName,
    wire::{
        Action, ControllerMessage, Hello, HostSelection, OpenLog, Operation, OperationState,
        Outcome, ServeLogRequest, TargetResult, agent_message::Message as Word,
    },
};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::DropGuard;
use tonic::{Status, Streaming};

use super::{
    operations::{OperationError, SubmitError},
    submit::target,
};
use crate::{
    desired::HostDesired,
    events::EventPage,
    fleet::{NotConnected, Refused},
    host::{Enrolment, HostView, SessionId},
    operation::{Deed, Patience, Plan, Rollout, Told, action},
    standing::{Bars, Former},
    store::CertificateRecord,
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
    Renewed(HostName, CertificateRecord),
    /// An agent offers the log it was asked for.
    Log(HostName, String, Arrival),
}

/// An agent that greets.
#[derive(Debug)]
pub struct Attach {
    /// From its certificate.
    pub host: HostName,
    /// The serial number of that, in hexadecimal.
    pub serial: String,
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
#[derive(Debug, Clone, Default)]
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
    /// Of which programs, as they were typed.
    pub programs: Vec<String>,
    /// What.
    pub deed: Deed,
    /// The signal, if that is what is sent.
    pub signal: i32,
    /// In which steps.
    pub rollout: Rollout,
    /// How long to wait.
    pub patience: Patience,
    /// How many hosts it must be.
    pub expect_hosts: Option<u32>,
    /// Only resolve.
    pub is_dry_run: bool,
    /// The same key joins the same operation; empty: none.
    pub key: String,
    /// The operation whose targets these are; empty: they are resolved.
    pub retry_of: String,
    /// W3C trace context of the caller.
    pub trace: (String, String),
}

impl Submission {
    /// The same for submissions that ask for the same.
    pub fn digest(&self) -> String {
        let what = (
            self.selection.encode_to_vec(),
            &self.programs,
            self.deed,
            self.signal,
            self.rollout,
            &self.retry_of,
        );
        // Texts, numbers and lists can always be written.
        let bytes = serde_json::to_vec(&what).unwrap_or_default();
        STANDARD_NO_PAD.encode(Sha256::digest(bytes))
    }
}

/// Somebody who wants to try again what failed.
#[derive(Debug, Clone)]
pub struct Retry {
    /// Names the new operation.
    pub id: String,
    /// The earlier one, as it was said.
    pub operation: String,
    /// Leave out what was never attempted.
    pub failed_only: bool,
    /// Who asks.
    pub actor: String,
    /// The same key joins the same operation; empty: none.
    pub key: String,
    /// W3C trace context of the caller.
    pub trace: (String, String),
}

/// What can be done to an operation that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Ask no further host for now.
    Pause,
    /// Go on.
    Resume,
    /// Ask no further host at all.
    Cancel,
}

impl Control {
    /// The word as it is typed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
        }
    }
}

/// The operation after it was controlled.
pub type Controlled = Result<Operation, OperationError>;

/// An operation that has been accepted.
#[derive(Debug)]
pub struct Submitted {
    /// Its name; an earlier one's when the key was known.
    pub id: String,
    /// The hosts it reaches.
    pub hosts: Vec<HostName>,
    /// What else is told of it first.
    pub brief: Brief,
    /// How much of its story is not to be told any more.
    pub told: usize,
    /// Changes whenever there is more to read; absent: nothing will be done.
    pub news: Option<watch::Receiver<u64>>,
}

impl Submitted {
    /// Of a submission that is only resolved.
    pub(super) fn only_resolved(
        submission: &Submission,
        programs: Vec<String>,
        plan: &Plan,
    ) -> Self {
        let asked = plan.parts.iter().filter(|part| part.away.is_none());
        let asked: Vec<HostName> = asked.map(|part| part.host.clone()).collect();
        let targets = plan.parts.iter().flat_map(|part| match &part.programs {
            None => vec![target(&part.host, String::new())],
            Some(programs) => programs
                .iter()
                .map(|program| target(&part.host, program.to_string()))
                .collect(),
        });
        let targets: Vec<TargetResult> = targets.collect();
        let budget = plan.rollout.max_fail.of(targets.len());
        let targets = targets.into_iter().chain(impossible(plan)).collect();
        Self {
            id: submission.id.clone(),
            hosts: plan.parts.iter().map(|part| part.host.clone()).collect(),
            brief: Brief {
                batches: plan.rollout.batches(&plan.id, asked).len(),
                rollout: plan.rollout,
                budget,
                action: action(plan.deed, submission.signal),
                programs,
                targets,
            },
            told: 0,
            news: None,
        }
    }
}

/// What is named and is not there, as it would end.
fn impossible(plan: &Plan) -> impl Iterator<Item = TargetResult> + '_ {
    let unmatched = plan.parts.iter().flat_map(|part| {
        part.unmatched.iter().map(|row| TargetResult {
            outcome: row.outcome,
            refusal: row.refusal,
            detail: row.detail.clone(),
            ..target(&part.host, row.program.clone())
        })
    });
    let missing = plan.missing.iter().map(|host| TargetResult {
        host: host.clone(),
        outcome: Outcome::NotAttempted.into(),
        detail: "no host of this name is enrolled".to_owned(),
        ..Default::default()
    });
    unmatched.chain(missing)
}

/// How an operation goes about its hosts.
#[derive(Debug, Clone)]
pub struct Brief {
    /// In how many batches.
    pub batches: usize,
    /// In which steps.
    pub rollout: Rollout,
    /// So many failed targets are too many.
    pub budget: usize,
    /// What is done.
    pub action: Action,
    /// Of which programs, as they are understood.
    pub programs: Vec<String>,
    /// The exact targets, for a dry run.
    pub targets: Vec<TargetResult>,
}

/// Some of the story of an operation.
#[derive(Debug, Clone)]
pub struct Page {
    /// In the order in which it came.
    pub told: Vec<Told>,
    /// There is no more at this moment.
    pub is_all: bool,
    /// Why no host is asked at this moment, although nothing of the operation is under way.
    pub waits_for: Option<String>,
    /// Absent: there will be more.
    pub end: Option<End>,
}

/// The end of an operation.
#[derive(Debug, Clone)]
pub struct End {
    /// How long it took.
    pub elapsed: Duration,
    /// FINISHED, ABORTED or CANCELLED.
    pub state: OperationState,
    /// Why it ended early; empty: it did not.
    pub reason: String,
    /// What undoes it; empty: nothing.
    pub rolled_back_by: String,
}

/// A new operation's name: unique, sorted by time, and short enough to be read out (Crockford's
/// alphabet, which has no letters that look like digits).
pub fn new_id() -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let number = uuid::Uuid::now_v7().as_u128();
    let digit = |i: u32| char::from(ALPHABET[(number >> (5 * i) & 31) as usize]);
    (0..26).rev().map(digit).collect()
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
    /// Some of what an earlier operation did not achieve, once more.
    Retry(Box<Retry>, oneshot::Sender<Result<Submitted, SubmitError>>),
    /// To watch an operation: all of it, or what comes from now on.
    Watch(
        String,
        bool,
        oneshot::Sender<Result<Submitted, OperationError>>,
    ),
    /// The story of an operation after the first so much; absent: it is not known any more.
    Story(String, usize, oneshot::Sender<Option<Page>>),
    /// One operation.
    Operation(String, oneshot::Sender<Controlled>),
    /// The latest operations: only those under way, or all; at most so many.
    Operations(bool, usize, oneshot::Sender<Vec<Operation>>),
    /// To pause, resume or cancel an operation: by whom.
    Control(String, Control, String, oneshot::Sender<Controlled>),
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
    /// To be told when a host has no session, and why.
    WhenLost(HostName, oneshot::Sender<String>),
    /// To have hosts do what is wanted of them, which has been written down.
    Desire(Vec<(HostName, HostDesired)>, oneshot::Sender<()>),
    /// When a host keeps to what is wanted of it, by this number; dropped when it has no session.
    WhenObeyed(HostName, u64, oneshot::Sender<()>),
    /// To have what operators have changed of hosts take effect, which has been written down.
    Change(Vec<(HostName, Enrolment)>, oneshot::Sender<()>),
    /// To forget hosts, which has been written down.
    Remove(Vec<(HostName, Former)>, oneshot::Sender<()>),
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
    pub(super) bars: watch::Receiver<Arc<Bars>>,
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

    /// Tries again what failed.
    pub async fn retry(&self, retry: Retry) -> Result<Result<Submitted, SubmitError>, HubError> {
        self.ask(|answer| Ask::Retry(Box::new(retry), answer)).await
    }

    /// Watches an operation: all of it, or what comes from now on.
    pub async fn watch(
        &self,
        operation: String,
        from_now: bool,
    ) -> Result<Result<Submitted, OperationError>, HubError> {
        self.ask(|answer| Ask::Watch(operation, from_now, answer))
            .await
    }

    /// One operation.
    pub async fn operation(&self, operation: String) -> Result<Controlled, HubError> {
        self.ask(|answer| Ask::Operation(operation, answer)).await
    }

    /// The latest operations.
    pub async fn operations(
        &self,
        active_only: bool,
        limit: usize,
    ) -> Result<Vec<Operation>, HubError> {
        self.ask(|answer| Ask::Operations(active_only, limit, answer))
            .await
    }

    /// Pauses, resumes or cancels an operation; answered when that is written down.
    pub async fn control(
        &self,
        operation: String,
        control: Control,
        actor: String,
    ) -> Result<Controlled, HubError> {
        self.ask(|answer| Ask::Control(operation, control, actor, answer))
            .await
    }

    /// The story of an operation after the first so much.
    pub async fn story(&self, operation: &str, after: usize) -> Result<Option<Page>, HubError> {
        let (answer, page) = oneshot::channel();
        let ask = Ask::Story(operation.to_owned(), after, answer);
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

    /// Has hosts do what is wanted of them: those that are connected are told now, others when they return.
    pub async fn desire(&self, desired: Vec<(HostName, HostDesired)>) -> Result<(), HubError> {
        let (answer, told) = oneshot::channel();
        // It is written down: it must not be refused any more.
        let ask = Ask::Desire(desired, answer);
        self.asks.send(ask).await.map_err(|_| HubError::Stopped)?;
        told.await.map_err(|_| HubError::Stopped)
    }

    /// Has what operators have changed of hosts take effect.
    pub async fn change(&self, hosts: Vec<(HostName, Enrolment)>) -> Result<(), HubError> {
        let (answer, done) = oneshot::channel();
        // It is written down: it must not be refused any more.
        let ask = Ask::Change(hosts, answer);
        self.asks.send(ask).await.map_err(|_| HubError::Stopped)?;
        done.await.map_err(|_| HubError::Stopped)
    }

    /// Forgets hosts.
    pub async fn remove(&self, hosts: Vec<(HostName, Former)>) -> Result<(), HubError> {
        let (answer, done) = oneshot::channel();
        // As above.
        let ask = Ask::Remove(hosts, answer);
        self.asks.send(ask).await.map_err(|_| HubError::Stopped)?;
        done.await.map_err(|_| HubError::Stopped)
    }

    /// Of which hosts not every certificate is good.
    pub fn bars(&self) -> watch::Receiver<Arc<Bars>> {
        self.bars.clone()
    }

    /// Waits until a host keeps to what is wanted of it, by this number; an error: it is away, or goes.
    pub async fn when_obeyed(&self, host: HostName, generation: u64) -> Result<(), HubError> {
        let (answer, obeyed) = oneshot::channel();
        // It follows from what was let in already.
        let ask = Ask::WhenObeyed(host, generation, answer);
        self.asks.send(ask).await.map_err(|_| HubError::Stopped)?;
        obeyed.await.map_err(|_| HubError::Stopped)
    }

    /// Waits until a host has a session.
    pub async fn when_connected(&self, host: HostName) -> Result<(), HubError> {
        self.ask(|answer| Ask::WhenConnected(host, answer)).await
    }

    /// Waits until a host has no session; gives why.
    pub async fn when_lost(&self, host: HostName) -> Result<String, HubError> {
        self.ask(|answer| Ask::WhenLost(host, answer)).await
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
