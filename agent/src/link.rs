//! The session to the controller. The agent dials; no port is opened on a host.
//!
//! One task dials, attaches and dials again ([`backoff`]); [`session`] decides, `connection`
//! carries out; `commands` owns what the controller orders, over all sessions; log bytes go on a
//! connection of their own; certificates are renewed on the way. Nothing here touches a program:
//! whatever happens to the link, the hub does not notice.

pub mod backoff;
mod bulk;
pub mod clock;
pub mod commands;
mod connection;
mod look;
mod refusal;
mod renewal;
pub mod session;

use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rsv_proto::{dial, digest::DigestMirror, telemetry::ClientCalls, tls};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::transport::Channel;
use tracing::{error, info, warn};

use crate::capture::Capture;
use crate::desired::{DesiredFile, DesiredHandle};
use crate::hub::HubHandle;
use crate::identity::{HostIdentity, StateDir};
use crate::local::DaemonAsk;
use crate::mainlog::MainLog;
use crate::roster::RosterHandle;
use commands::CommandsHandle;
pub(crate) use commands::action_span;
use connection::{Outcome, Over, Peer};
use refusal::Refusal;
use session::End;

/// How often a host that has not joined looks whether it has meanwhile, where the kernel does not tell
/// of changes in the state directory. Joining is done by another process, and its only trace is the
/// file.
const LOOK: Duration = Duration::from_secs(2);

/// How often it looks all the same.
const SELDOM: Duration = Duration::from_secs(600);

/// How long the end of the agent waits until what became of the last commands is on the disk.
const NOTING: Duration = Duration::from_secs(2);

/// What the agent tells of itself.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The kernel's id of this boot.
    pub boot_id: String,
    /// Random, new at each start.
    pub instance: String,
    /// The configured labels.
    pub labels: HashMap<String, String>,
}

/// What the link needs.
#[derive(Debug)]
pub struct LinkOptions {
    /// `HOST:PORT` of the controllers; empty: those that were stored when the host joined.
    pub controllers: Vec<String>,
    /// Where the identity is.
    pub state: StateDir,
    /// What to tell.
    pub facts: Facts,
    /// Who does what is ordered.
    pub owners: Owners,
    /// What to run in order to join, for the log.
    pub join_command: String,
}

/// Whom the link asks.
#[derive(Debug, Clone)]
pub struct Owners {
    /// The owner of every process.
    pub hub: HubHandle,
    /// The owner of every log.
    pub capture: Capture,
    /// The owner of what is configured.
    pub roster: RosterHandle,
    /// The file of the agent's own log, if it is one.
    pub main_log: Option<PathBuf>,
    /// The agent's own log, which tells when there is more of it.
    pub log: MainLog,
    /// Ends the agent, or starts it anew.
    pub daemon: mpsc::Sender<DaemonAsk>,
}

/// The front of the link.
#[derive(Debug)]
pub struct LinkHandle {
    leave: watch::Sender<Option<String>>,
    task: JoinHandle<()>,
}

/// What the sessions share.
#[derive(Debug)]
struct Link {
    controllers: Vec<String>,
    state: StateDir,
    facts: Facts,
    owners: Owners,
    commands: CommandsHandle,
    desired: DesiredHandle,
    calls: ClientCalls,
}

/// Tells the link when and why to leave.
#[derive(Debug)]
struct Leave(watch::Receiver<Option<String>>);

/// Starts the link. Must be called inside the runtime.
pub fn start(options: LinkOptions) -> LinkHandle {
    let (leave, told) = watch::channel(None);
    let LinkOptions {
        controllers,
        state,
        facts,
        owners,
        join_command,
    } = options;
    let commands = CommandsHandle::start(state.path(), &facts.boot_id, owners.clone());
    let desired = DesiredHandle::start(DesiredFile::new(state.path()), owners.hub.clone());
    let link = Link {
        controllers,
        state,
        facts,
        owners,
        commands,
        desired,
        calls: ClientCalls::new(),
    };
    let task = tokio::spawn(async move {
        let mut leave = Leave(told);
        if let Some(identity) = link.joined(&mut leave, &join_command).await {
            link.dial(identity, &mut leave).await;
        }
        // Also when there was nobody to tell: of what is not noted as done the next agent would do more.
        if timeout(NOTING, link.commands.settled()).await.is_err() {
            warn!("what became of the last commands could not be noted in time");
        }
    });
    LinkHandle { leave, task }
}

impl LinkHandle {
    /// Takes leave of the controller, for a bounded time, and ends the link.
    pub async fn leave(self, reason: &str) {
        self.leave.send_replace(Some(reason.to_owned()));
        if let Err(error) = self.task.await {
            warn!(%error, "the link has failed");
        }
    }
}

impl Leave {
    /// Waits for the reason to leave. Safe to cancel.
    async fn reason(&mut self) -> String {
        match self.0.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // The front was dropped without a word: the agent is being taken apart.
            Err(_) => String::from("the agent ends"),
        }
    }

    /// Waits; whether to go on.
    async fn pause(&mut self, pause: Duration) -> bool {
        tokio::select! {
            _ = self.reason() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }
}

impl Link {
    /// Waits until the host has an identity; absent: the agent leaves.
    async fn joined(&self, leave: &mut Leave, join_command: &str) -> Option<HostIdentity> {
        let mut said = String::new();
        // Before the first look, so that nothing falls between the two.
        let changes = self.state.changes();
        loop {
            let state = self.state.clone();
            match tokio::task::spawn_blocking(move || state.load_identity()).await {
                Ok(Ok(Some(identity))) => {
                    let (host, domain) = (&identity.name, &identity.trust_domain);
                    info!(%host, %domain, "this host has an identity");
                    return Some(identity);
                }
                Ok(Ok(None)) if said.is_empty() && !self.controllers.is_empty() => {
                    said = format!("run `{join_command}`");
                    warn!(hint = %said, "this host has not joined its fleet: programs run, no controller knows");
                }
                Ok(Err(error)) if said != error.to_string() => {
                    said = error.to_string();
                    let hint = error.hint();
                    error!(
                        error = &error as &dyn Error,
                        hint, "cannot load the identity"
                    );
                }
                Ok(_) | Err(_) => {}
            }
            let is_to_look = match &changes {
                Ok(changes) => tokio::select! {
                    _ = leave.reason() => false,
                    () = changes.identity() => true,
                    // The directory may have been replaced as a whole.
                    () = tokio::time::sleep(SELDOM) => true,
                },
                Err(_) => leave.pause(LOOK).await,
            };
            if !is_to_look {
                return None;
            }
        }
    }

    /// Dials until the agent leaves.
    async fn dial(&self, mut identity: HostIdentity, leave: &mut Leave) {
        let mut trouble = Trouble::default();
        let mut addresses = self.addresses(&identity);
        let mut turn = 0;
        let mut mirror = DigestMirror::default();
        // A connection that is ready: the one that a renewal has made.
        let mut ready: Option<(String, Channel)> = None;
        let changes = self.state.changes();
        loop {
            let address = match &ready {
                Some((address, _)) => address.clone(),
                None if addresses.is_empty() => {
                    warn!("no controller is configured, and none was known when this host joined");
                    return drop(leave.reason().await);
                }
                None => addresses[turn % addresses.len()].clone(),
            };
            let channel = ready.take().map(|(_, channel)| channel);
            match self
                .visit(&address, &identity, channel, leave, &mut mirror)
                .await
            {
                Ok(Outcome {
                    over: Over::Left, ..
                }) => return,
                Ok(Outcome {
                    over: Over::Renewed(renewed),
                    ..
                }) => {
                    identity = renewed.identity;
                    ready = Some((address, renewed.channel));
                    continue;
                }
                Ok(outcome) => trouble.ended(&address, &outcome),
                Err(failure) => trouble.failed(&address, &failure),
            }
            turn += 1;
            if turn % addresses.len() == 0 {
                shuffle(&mut addresses);
            }
            let pause = leave.pause(trouble.pause(addresses.len(), jitter()));
            let goes_on = match &changes {
                Ok(changes) if trouble.is_refused => tokio::select! {
                    goes_on = pause => goes_on,
                    () = changes.identity() => true,
                },
                Ok(_) | Err(_) => pause.await,
            };
            if !goes_on {
                return;
            }
            // Somebody may have joined again, such as after a revocation.
            identity = self.latest(identity).await;
        }
    }

    /// One connection, from dialling to its end.
    async fn visit(
        &self,
        address: &str,
        identity: &HostIdentity,
        channel: Option<Channel>,
        leave: &mut Leave,
        mirror: &mut DigestMirror,
    ) -> Result<Outcome, Failure> {
        let now = SystemTime::now();
        if identity
            .validity()
            .is_some_and(|validity| validity.not_after < now)
        {
            return Err(Failure::Expired);
        }
        let tls = tls::client_config(&identity.credentials).map_err(Failure::Credentials)?;
        let channel = match channel {
            Some(channel) => channel,
            None => tokio::select! {
                dialled = dial::dial(address, Arc::clone(&tls)) => dialled.map_err(Failure::Dial)?,
                _ = leave.reason() => return Ok(Outcome { was_open: false, over: Over::Left }),
            },
        };
        let peer = Peer {
            address: address.to_owned(),
            identity: identity.clone(),
            tls,
        };
        Ok(connection::attach(self, leave, &peer, channel, mirror).await)
    }

    /// The controllers in an order of this host's own, so that a fleet spreads over them.
    fn addresses(&self, identity: &HostIdentity) -> Vec<String> {
        let configured = &self.controllers;
        let stored = &identity.controllers;
        let mut addresses = if configured.is_empty() {
            stored.clone()
        } else {
            configured.clone()
        };
        shuffle(&mut addresses);
        addresses
    }

    async fn latest(&self, identity: HostIdentity) -> HostIdentity {
        let state = self.state.clone();
        let loaded = tokio::task::spawn_blocking(move || state.load_identity()).await;
        // Whatever is wrong with the file now, the one in memory has worked.
        loaded
            .ok()
            .and_then(Result::ok)
            .flatten()
            .unwrap_or(identity)
    }
}

/// Why there was no connection.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("this host's certificate has expired")]
    Expired,
    #[error(transparent)]
    Credentials(tls::TlsError),
    #[error(transparent)]
    Dial(dial::DialError),
}

/// What has gone wrong since the last session, so that the log tells it once and the pauses grow.
#[derive(Debug, Default)]
struct Trouble {
    failures: u32,
    /// What the log has been told.
    told: String,
    asked: Option<Duration>,
    is_refused: bool,
}

impl Trouble {
    fn ended(&mut self, address: &str, outcome: &Outcome) {
        if outcome.was_open {
            *self = Self::default();
        }
        self.asked = None;
        let refusal = match &outcome.over {
            Over::Session(End::Dismissed { retry_after, .. }) => {
                self.asked = Some(*retry_after);
                None
            }
            Over::Failed(status) => refusal::of_status(status),
            _ => None,
        };
        let reason = match &outcome.over {
            Over::Session(end) => end.to_string(),
            Over::Failed(status) if status.source().is_some() => {
                format!("the connection broke: {}", status.message())
            }
            Over::Failed(status) => status.message().to_owned(),
            Over::Closed | Over::Left | Over::Renewed(_) => "the controller went away".to_owned(),
        };
        self.tell(address, &reason, refusal);
    }

    fn failed(&mut self, address: &str, failure: &Failure) {
        self.asked = None;
        let refusal = match failure {
            Failure::Expired => Some(Refusal::Ours),
            Failure::Credentials(_) => Some(Refusal::Ours),
            Failure::Dial(error) => refusal::of_error(error),
        };
        self.tell(address, &with_causes(failure), refusal);
    }

    fn tell(&mut self, peer: &str, reason: &str, refusal: Option<Refusal>) {
        self.failures = self.failures.saturating_add(1);
        self.is_refused = refusal.is_some();
        if self.told == reason {
            return;
        }
        reason.clone_into(&mut self.told);
        match refusal {
            Some(refusal) => error!(peer, reason, hint = refusal.hint(), "no session"),
            None => info!(peer, reason, "no session with the controller"),
        }
    }

    /// How long to wait; all controllers are tried before pauses grow.
    fn pause(&self, controllers: usize, jitter: f64) -> Duration {
        if let Some(asked) = self.asked {
            return backoff::asked_pause(asked, jitter);
        }
        if self.is_refused {
            return backoff::slow_pause(jitter);
        }
        let rounds =
            self.failures.saturating_sub(1) / u32::try_from(controllers.max(1)).unwrap_or(1);
        backoff::pause(rounds, jitter)
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Randomness from 0 to 1. Without any, hosts only lose their spreading.
fn jitter() -> f64 {
    getrandom::u32().map_or(0.5, |n| f64::from(n) / f64::from(u32::MAX))
}

fn shuffle<T>(items: &mut [T]) {
    for end in (1..items.len()).rev() {
        let place = (jitter() * (end + 1) as f64) as usize;
        items.swap(end, place.min(end));
    }
}

#[cfg(test)]
mod tests;
