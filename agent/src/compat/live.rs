//! The agent itself, as the front for Supervisor's clients sees it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use rsv_keeper::message::Channel;
use rsv_proto::wire::{self, GroupOutcome};
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::info;

use super::supervision::{Answer, Configured, Denied, End, Reread, Supervision};
use crate::capture::Capture;
use crate::hub::{ActOn, HubGone, HubHandle, Key, NoStdin, UnderWay};
use crate::listeners::Listeners;
use crate::local::DaemonAsk;
use crate::logbook::{Follow, TailItem, TailStart};
use crate::mainlog::{MainLog, SUPERVISOR, Written};
use crate::roster::{Keep, ReadError, RosterHandle, Standing};

/// How long a process may take to read what a client sends it. The client waits meanwhile.
const STDIN: Duration = Duration::from_secs(10);

/// The agent.
#[derive(Debug)]
pub struct Live {
    /// The owner of every process.
    pub hub: HubHandle,
    /// The owner of every log.
    pub capture: Capture,
    /// The main log.
    pub log: MainLog,
    /// The owner of what is configured.
    pub roster: RosterHandle,
    /// The one who tells event listeners.
    pub listeners: Listeners,
    /// The daemon.
    pub daemon: mpsc::Sender<DaemonAsk>,
    /// Set when everything is being stopped.
    pub ending: Arc<AtomicBool>,
    /// What was made of the roster's latest view.
    pub view: View,
}

/// A view of the roster, and what the front makes of it; made once for each change.
#[derive(Debug, Default)]
pub struct View(Mutex<Option<(Arc<Standing>, Arc<Configured>)>>);

impl View {
    fn of(&self, standing: Arc<Standing>) -> Arc<Configured> {
        let mut view = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, configured)) = &*view
            && Arc::ptr_eq(known, &standing)
        {
            return Arc::clone(configured);
        }
        let log_file = |key: &Key, channel| standing.log_file(key, channel);
        let config = Arc::clone(&standing.config);
        let configured = Arc::new(Configured::new(config, standing.active(), log_file));
        *view = Some((standing, Arc::clone(&configured)));
        configured
    }
}

impl From<HubGone> for Denied {
    fn from(HubGone: HubGone) -> Self {
        Self::Ending
    }
}

impl From<ReadError> for Denied {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Refused(refusal) => Self::Unreadable(refusal.text),
            ReadError::Gone(gone) => gone.into(),
        }
    }
}

impl Supervision for Live {
    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    fn configured(&self) -> Arc<Configured> {
        self.view.of(self.roster.standing())
    }

    fn processes(&self) -> Answer<'_, Vec<wire::ProcessStatus>> {
        async { Ok(self.hub.snapshot().await?.programs) }.boxed()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.hub.journal().numbers()
    }

    fn notice(&self) -> String {
        self.roster.standing().notice.clone()
    }

    fn act(
        &self,
        keys: &[Key],
        verb: wire::action::Verb,
    ) -> Answer<'_, mpsc::Receiver<wire::TargetResult>> {
        let request = ActOn {
            programs: keys.iter().map(Key::as_run_key).collect(),
            action: wire::Action { verb: Some(verb) },
            exactly: Vec::new(),
            actor: "a client of Supervisor's interface".to_owned(),
            under_way: UnderWay::Told,
        };
        async { Ok(self.hub.act(request).await?) }.boxed()
    }

    fn follow(&self, key: &Key, channel: Channel, last: u64) -> BoxStream<'static, TailItem> {
        let start = TailStart::Bytes(last);
        let logbook = self.capture.logbook();
        logbook
            .tail(&key.as_run_key(), channel, start, Follow::Yes)
            .boxed()
    }

    fn main_log_written(&self) -> Written {
        self.log.written()
    }

    fn clear(&self, key: &Key) -> Answer<'_, ()> {
        let (capture, key) = (self.capture.clone(), key.as_run_key());
        blocking(move || capture.clear(&key)).boxed()
    }

    fn clear_main_log(&self) -> Answer<'_, ()> {
        let path = self.configured().main_log().cloned();
        let log = self.log.clone();
        async move {
            let path: PathBuf = path.ok_or(Denied::NoFile)?;
            blocking(move || std::fs::remove_file(path)).await?;
            info!(target: SUPERVISOR, "reopening log file");
            log.reopen();
            Ok(())
        }
        .boxed()
    }

    fn write_stdin(&self, key: &Key, bytes: Vec<u8>) -> Answer<'_, ()> {
        let key = key.clone();
        async move {
            let stdin = self.hub.stdin_of(&key).await?;
            let stdin = stdin.map_err(|none| match none {
                NoStdin::NoSuchProcess | NoStdin::NotRunning => Denied::NotRunning,
                NoStdin::NoPipe => Denied::NoFile,
            })?;
            write_all(stdin, &bytes).await
        }
        .boxed()
    }

    fn announce(&self, kind: String, data: Vec<u8>) -> Answer<'_, ()> {
        async move {
            self.listeners.announce(kind, data).await;
            Ok(())
        }
        .boxed()
    }

    fn reread(&self) -> Answer<'_, Reread> {
        async {
            let plan = self.roster.reread(Keep::Yes).await?.plan;
            Ok(Reread {
                added: plan.added,
                changed: plan.changed.into_iter().map(|group| group.name).collect(),
                removed: plan.removed,
            })
        }
        .boxed()
    }

    fn add_group(&self, name: &str) -> Answer<'_, ()> {
        let name = name.to_owned();
        async move { outcome(self.roster.add(&name).await?) }.boxed()
    }

    fn remove_group(&self, name: &str) -> Answer<'_, ()> {
        let name = name.to_owned();
        async move { outcome(self.roster.remove(&name).await?) }.boxed()
    }

    fn end(&self, how: End) -> Answer<'_, ()> {
        async move {
            let ask = match how {
                End::Exit => DaemonAsk::Shutdown,
                End::Restart => {
                    self.roster.check().await?;
                    DaemonAsk::Restart
                }
            };
            match self.daemon.try_send(ask) {
                // One that is waiting already ends this agent too.
                Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => {
                    self.ending.store(true, Ordering::Relaxed);
                    Ok(())
                }
                Err(mpsc::error::TrySendError::Closed(_)) => Err(Denied::Ending),
            }
        }
        .boxed()
    }
}

fn outcome(outcome: GroupOutcome) -> Result<(), Denied> {
    match outcome {
        GroupOutcome::Done => Ok(()),
        GroupOutcome::NoSuchGroup => Err(Denied::NoSuchGroup),
        GroupOutcome::AlreadyActive => Err(Denied::AlreadyAdded),
        GroupOutcome::StillRunning => Err(Denied::StillRunning),
        GroupOutcome::ShuttingDown => Err(Denied::Ending),
        GroupOutcome::Unspecified => Err(Denied::Failed(String::new())),
    }
}

/// Writes to a pipe that does not block, as far as its reader reads in time. What was written stays
/// written when the rest is given up.
pub(crate) async fn write_all(pipe: OwnedFd, bytes: &[u8]) -> Result<(), Denied> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::BrokenPipe => Denied::NoFile,
        _ => Denied::Failed(error.to_string()),
    };
    let mut pipe = pipe::Sender::from_owned_fd(pipe).map_err(failed)?;
    match timeout(STDIN, pipe.write_all(bytes)).await {
        Ok(written) => written.map_err(failed),
        Err(_) => Err(Denied::Failed(
            "the process does not read its input".to_owned(),
        )),
    }
}

/// Runs what waits for the disk off the runtime's own thread.
async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<(), Denied> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Err(Denied::NoFile),
        Ok(Err(error)) => Err(Denied::Failed(error.to_string())),
        Err(error) => Err(Denied::Failed(error.to_string())),
    }
}
