//! The verbs at a server of XML-RPC: a Supervisor, or an agent whose own socket cannot be used.
//!
//! * `endpoint`: where it listens, and who the caller is there
//! * `http`: one request and its answer
//! * `answers`: what it says, in the messages that the verbs know. Pure
//! * `follow`: a log as it grows
//! * `act`, `output`, `update`: the verbs that take more than one call, in supervisorctl's order
//!
//! Nothing here prints: the verbs cannot tell it from an agent's own service.

mod act;
mod answers;
mod endpoint;
mod follow;
mod http;
mod output;
mod update;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rsv_proto::{
    select::ProgramPattern,
    wire::{
        AvailableProcess, ConfigurationRefusal, GetVersionResponse, GroupOutcome, HostStatus,
        PlannedGroup, ReloadResponse, RereadResponse, ShutdownResponse, WatchEventsResponse,
        WriteStdinRequest, WriteStdinResponse, planned_group::Kind,
    },
    xmlrpc::{Call, Fault, Value, answer, call},
};
use tokio::{sync::mpsc, time::timeout};

use crate::{
    client::Events,
    error::{Exit, Failure},
};

use http::Trouble;

pub(crate) use endpoint::{Endpoint, Login};

/// The interface that is spoken.
const API_VERSION: &str = "3.0";

/// How long a server may take to say which interface it speaks. It does one thing at a time, and may
/// be at something else.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often it is looked at by who watches: it does not say by itself what happens.
const LOOK: Duration = Duration::from_secs(1);

/// Answers that wait to be shown; when full the calls wait.
const WAITING: usize = 16;

/// Numbers of faults.
mod code {
    pub(super) const UNKNOWN_METHOD: i64 = 1;
    pub(super) const SHUTDOWN_STATE: i64 = 6;
    pub(super) const BAD_NAME: i64 = 10;
    pub(super) const BAD_SIGNAL: i64 = 11;
    pub(super) const NO_FILE: i64 = 20;
    pub(super) const NOT_EXECUTABLE: i64 = 21;
    pub(super) const FAILED: i64 = 30;
    pub(super) const ABNORMAL_TERMINATION: i64 = 40;
    pub(super) const SPAWN_ERROR: i64 = 50;
    pub(super) const ALREADY_STARTED: i64 = 60;
    pub(super) const NOT_RUNNING: i64 = 70;
    pub(super) const SUCCESS: i64 = 80;
    pub(super) const ALREADY_ADDED: i64 = 90;
    pub(super) const STILL_RUNNING: i64 = 91;
    pub(super) const CANT_REREAD: i64 = 92;
}

/// A server of XML-RPC.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    endpoint: Arc<Endpoint>,
    /// How long results may take; absent: as long as they do.
    timeout: Option<Duration>,
}

/// Why there is no server to speak to.
#[derive(Debug)]
pub(crate) enum Unreached {
    /// No socket at the place.
    Missing,
    /// Nobody listens there.
    Refused,
    /// It wants to know who asks.
    Unauthorized(Failure),
    /// Anything else.
    Other(Failure),
}

/// Why a call has no result.
enum Unanswered {
    Fault(Fault),
    Failure(Failure),
}

type Answer<T> = Result<T, Unanswered>;

impl From<Unanswered> for Failure {
    /// A fault that the verb does not expect.
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Failure(failure) => failure,
            Unanswered::Fault(fault) => {
                Self::new(Exit::Failed, format!("the server refuses: {}", fault.text))
            }
        }
    }
}

impl Remote {
    /// Asks the server whether it speaks the interface that is spoken here.
    pub(crate) async fn connect(
        endpoint: Endpoint,
        limit: Option<Duration>,
    ) -> Result<Self, Unreached> {
        let remote = Self {
            endpoint: Arc::new(endpoint),
            timeout: limit,
        };
        let asked = remote.request("supervisor.getVersion", Vec::new());
        let answered = timeout(limit.unwrap_or(PATIENCE), asked).await;
        let late = || Unreached::Other(remote.silent(limit.unwrap_or(PATIENCE)));
        match answered.map_err(|_late| late())? {
            Ok(Ok(Value::String(version))) if version == API_VERSION => Ok(remote),
            Ok(Ok(version)) => Err(Unreached::Other(other_version(&version))),
            Ok(Err(fault)) if fault.code == code::UNKNOWN_METHOD => {
                Err(Unreached::Other(no_interface()))
            }
            // What each verb says of a server at its end is the verb's own.
            Ok(Err(fault)) if fault.code == code::SHUTDOWN_STATE => Ok(remote),
            Ok(Err(fault)) => Err(Unreached::Other(Unanswered::Fault(fault).into())),
            Err(trouble) => Err(remote.unreached(trouble)),
        }
    }

    /// Its version and its process id.
    pub(crate) async fn version(&self) -> Result<GetVersionResponse, Failure> {
        let version = self.call("getSupervisorVersion", Vec::new()).await?;
        let pid = self.call("getPID", Vec::new()).await?;
        Ok(GetVersionResponse {
            version: answers::text(&version),
            pid: answers::number(&pid).try_into().unwrap_or_default(),
            ..Default::default()
        })
    }

    /// The state of the programs that these patterns mean; of all when there are none.
    pub(crate) async fn status(&self, patterns: &[String]) -> Result<Vec<HostStatus>, Failure> {
        let infos = self.call("getAllProcessInfo", Vec::new()).await?;
        let now = std::time::SystemTime::now();
        let mut programs = answers::processes(&infos, now);
        let mut unmatched = Vec::new();
        if !patterns.is_empty() {
            let read = patterns.iter().map(|text| ProgramPattern::parse(text));
            let read: Vec<_> = read.collect();
            unmatched = answers::unmatched(patterns, &programs);
            programs.retain(|p| read.iter().any(|wanted| wanted.matches(&p.group, &p.name)));
        }
        Ok(vec![HostStatus {
            programs,
            unmatched,
            ..Default::default()
        }])
    }

    /// What takes the place of events: a word, at each look, that the picture is to be taken anew.
    pub(crate) fn looks(&self) -> Events<WatchEventsResponse> {
        let (sender, events) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            // The first one says that the stream is open.
            let mut answer = WatchEventsResponse::default();
            while sender.send(Ok(answer.clone())).await.is_ok() {
                answer.lost = 1;
                tokio::time::sleep(LOOK).await;
            }
        });
        Events::queued(events)
    }

    /// Has the server end everything and itself.
    pub(crate) async fn shutdown(&self) -> Result<ShutdownResponse, Failure> {
        match self.call("shutdown", Vec::new()).await {
            Ok(_true) => Ok(ShutdownResponse::default()),
            Err(Unanswered::Fault(fault)) if fault.code == code::SHUTDOWN_STATE => {
                Ok(ShutdownResponse {
                    shutting_down: true,
                })
            }
            Err(unanswered) => Err(unanswered.into()),
        }
    }

    /// Has the configuration read again.
    pub(crate) async fn reread(&self) -> Result<RereadResponse, Failure> {
        Ok(match self.changes().await? {
            Changes::ShuttingDown => RereadResponse {
                shutting_down: true,
                ..Default::default()
            },
            Changes::Refused(refusal) => RereadResponse {
                refusal: Some(refusal),
                ..Default::default()
            },
            Changes::Groups(groups) => RereadResponse {
                groups,
                ..Default::default()
            },
        })
    }

    /// Adds a group.
    pub(crate) async fn add_group(&self, name: String) -> Result<GroupOutcome, Failure> {
        self.group("addProcessGroup", name).await
    }

    /// Removes a group.
    pub(crate) async fn remove_group(&self, name: String) -> Result<GroupOutcome, Failure> {
        self.group("removeProcessGroup", name).await
    }

    /// Has the server start anew.
    pub(crate) async fn reload(&self) -> Result<ReloadResponse, Failure> {
        match self.call("restart", Vec::new()).await {
            Ok(_true) => Ok(ReloadResponse::default()),
            Err(Unanswered::Fault(fault)) if fault.code == code::SHUTDOWN_STATE => {
                Ok(ReloadResponse {
                    shutting_down: true,
                    ..Default::default()
                })
            }
            Err(unanswered) => Err(unanswered.into()),
        }
    }

    /// Every configured process.
    pub(crate) async fn available(&self) -> Result<Vec<AvailableProcess>, Failure> {
        match self.call("getAllConfigInfo", Vec::new()).await {
            Ok(infos) => Ok(answers::available(&infos)),
            Err(Unanswered::Fault(fault)) if fault.code == code::SHUTDOWN_STATE => {
                let line = "ERROR: supervisor shutting down";
                Err(Failure::new(Exit::Failed, "it is shutting down").said_as(line))
            }
            Err(unanswered) => Err(unanswered.into()),
        }
    }

    /// Writes to the standard input of a program.
    pub(crate) async fn write_stdin(
        &self,
        request: WriteStdinRequest,
    ) -> Result<WriteStdinResponse, Failure> {
        let text = String::from_utf8_lossy(&request.data).into_owned();
        let params = vec![request.program.into(), text.into()];
        match self.call("sendProcessStdin", params).await {
            Ok(_true) => Ok(WriteStdinResponse::default()),
            Err(Unanswered::Fault(fault)) => Ok(WriteStdinResponse {
                refusal: answers::refusal(fault.code).into(),
                detail: fault.text,
            }),
            Err(unanswered) => Err(unanswered.into()),
        }
    }

    async fn group(&self, method: &str, name: String) -> Result<GroupOutcome, Failure> {
        let fault = match self.call(method, vec![name.into()]).await {
            Ok(_true) => return Ok(GroupOutcome::Done),
            Err(Unanswered::Fault(fault)) => fault,
            Err(unanswered) => return Err(unanswered.into()),
        };
        Ok(match fault.code {
            code::SHUTDOWN_STATE => GroupOutcome::ShuttingDown,
            code::ALREADY_ADDED => GroupOutcome::AlreadyActive,
            code::STILL_RUNNING => GroupOutcome::StillRunning,
            code::BAD_NAME => GroupOutcome::NoSuchGroup,
            _ => return Err(Unanswered::Fault(fault).into()),
        })
    }

    /// What differs between the configuration and what is supervised, after it was read again.
    async fn changes(&self) -> Result<Changes, Failure> {
        let fault = match self.call("reloadConfig", Vec::new()).await {
            Ok(changes) => return Ok(Changes::Groups(answers::plan(&changes))),
            Err(Unanswered::Fault(fault)) => fault,
            Err(unanswered) => return Err(unanswered.into()),
        };
        match fault.code {
            code::SHUTDOWN_STATE => Ok(Changes::ShuttingDown),
            code::CANT_REREAD => Ok(Changes::Refused(ConfigurationRefusal {
                text: answers::detail(&fault.text).to_owned(),
                ..Default::default()
            })),
            _ => Err(Unanswered::Fault(fault).into()),
        }
    }

    /// One call of Supervisor's interface, which may take as long as the caller has.
    async fn call(&self, method: &str, params: Vec<Value>) -> Answer<Value> {
        let method = format!("supervisor.{method}");
        let asked = self.request(&method, params);
        let answered = match self.timeout {
            Some(limit) => timeout(limit, asked)
                .await
                .map_err(|_late| Unanswered::Failure(self.silent(limit)))?,
            None => asked.await,
        };
        match answered {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(fault)) => Err(Unanswered::Fault(fault)),
            Err(trouble) => Err(Unanswered::Failure(self.failure(trouble))),
        }
    }

    async fn request(
        &self,
        method: &str,
        params: Vec<Value>,
    ) -> Result<Result<Value, Fault>, Trouble> {
        let method = method.to_owned();
        let text = call(&Call { method, params });
        let body = http::post(&self.endpoint, text).await?;
        answer(&body).map_err(Trouble::Content)
    }

    fn unreached(&self, trouble: Trouble) -> Unreached {
        use std::io::ErrorKind::{ConnectionRefused, NotFound};
        match trouble {
            Trouble::Connect(error) if error.kind() == NotFound => Unreached::Missing,
            Trouble::Connect(error) if error.kind() == ConnectionRefused => Unreached::Refused,
            Trouble::Status(::http::StatusCode::UNAUTHORIZED) => {
                Unreached::Unauthorized(self.unauthorized())
            }
            other => Unreached::Other(self.failure(other)),
        }
    }

    fn failure(&self, trouble: Trouble) -> Failure {
        let url = self.endpoint.url();
        match trouble {
            Trouble::Connect(error) => {
                Failure::new(Exit::Failed, format!("cannot connect to {url}")).because(&error)
            }
            Trouble::Broken(error) => {
                let words = format!("{url} broke off before its answer");
                Failure::new(Exit::NoAnswer, words).because(&error)
            }
            Trouble::Status(::http::StatusCode::UNAUTHORIZED) => self.unauthorized(),
            Trouble::Status(status) => {
                let words = format!("{url} answers {status} and no XML-RPC");
                Failure::new(Exit::Failed, words).hint("is this the server of a supervisord?")
            }
            Trouble::Content(error) => {
                let words = format!("{url} answers something that is no XML-RPC");
                Failure::new(Exit::Failed, words).because(&error)
            }
            Trouble::TooLarge => Failure::new(
                Exit::Failed,
                format!("{url} answers more than {} MiB", http::LARGEST >> 20),
            ),
        }
    }

    fn unauthorized(&self) -> Failure {
        let words = "the server wants to know a user and a password";
        let hint = match self.endpoint.has_login() {
            true => {
                "user or password are not those of its [unix_http_server] or [inet_http_server]"
            }
            false => "set username and password in [supervisorctl], or use -u and -p",
        };
        Failure::new(Exit::Failed, words)
            .said_as("Server requires authentication")
            .hint(hint)
    }

    fn silent(&self, limit: Duration) -> Failure {
        let words = format!("{} does not answer within {limit:?}", self.endpoint.url());
        Failure::new(Exit::NoAnswer, words)
            .hint("it may be stopped or busy; --timeout 1m waits for longer")
    }
}

/// What `reloadConfig` says.
enum Changes {
    ShuttingDown,
    Refused(ConfigurationRefusal),
    /// First those that are gone, then the changed ones, then the new ones.
    Groups(Vec<PlannedGroup>),
}

fn of_kind(groups: &[PlannedGroup], kind: Kind) -> impl Iterator<Item = &PlannedGroup> {
    groups.iter().filter(move |group| group.kind() == kind)
}

/// Names that an update is narrowed to; none: all.
fn narrowed(groups: &[String]) -> BTreeSet<&str> {
    match groups.iter().any(|group| group == "all") {
        true => BTreeSet::new(),
        false => groups.iter().map(String::as_str).collect(),
    }
}

fn other_version(version: &Value) -> Failure {
    let line = format!(
        "Sorry, this version of supervisorctl expects to talk to a server with API version \
         {API_VERSION}, but the remote version is {}.",
        answers::text(version)
    );
    Failure::new(Exit::Incompatible, "the server speaks another interface").said_as(line)
}

fn no_interface() -> Failure {
    let line = "Sorry, supervisord responded but did not recognize the supervisor namespace commands \
                that supervisorctl uses to control it.  Please check that the \
                [rpcinterface:supervisor] section is enabled in the configuration file (see \
                sample.conf).";
    Failure::new(
        Exit::NotAllUp,
        "the server has no [rpcinterface:supervisor]",
    )
    .said_as(line)
}
