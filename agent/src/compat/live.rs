//! The agent itself, as the front for Supervisor's clients sees it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt as _;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use rsv_keeper::message::Channel;
use rsv_proto::wire;
use tokio::sync::{mpsc, watch};
use tracing::info;

use super::supervision::{Answer, Configured, Denied, End, Reread, Supervision};
use crate::capture::Capture;
use crate::hub::{ActOn, HubGone, HubHandle, Key};
use crate::local::DaemonAsk;
use crate::logbook::{Follow, TailItem, TailStart};
use crate::mainlog::{MainLog, SUPERVISOR};

/// The agent.
#[derive(Debug)]
pub struct Live {
    /// The owner of every process.
    pub hub: HubHandle,
    /// The owner of every log.
    pub capture: Capture,
    /// The main log.
    pub log: MainLog,
    /// What is configured now.
    pub configured: watch::Receiver<Arc<Configured>>,
    /// The daemon.
    pub daemon: mpsc::Sender<DaemonAsk>,
    /// Set when everything is being stopped.
    pub ending: Arc<AtomicBool>,
}

impl From<HubGone> for Denied {
    fn from(HubGone: HubGone) -> Self {
        Self::Ending
    }
}

impl Supervision for Live {
    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    fn configured(&self) -> Arc<Configured> {
        Arc::clone(&self.configured.borrow())
    }

    fn processes(&self) -> Answer<'_, Vec<wire::ProcessStatus>> {
        async { Ok(self.hub.snapshot().await?.programs) }.boxed()
    }

    fn act(
        &self,
        keys: &[Key],
        verb: wire::action::Verb,
    ) -> Answer<'_, mpsc::Receiver<wire::TargetResult>> {
        let request = ActOn {
            programs: keys.iter().map(Key::as_run_key).collect(),
            action: wire::Action { verb: Some(verb) },
            actor: "a client of Supervisor's interface".to_owned(),
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

    fn write_stdin(&self, _: &Key, _: Vec<u8>) -> Answer<'_, ()> {
        not_yet("writing to the standard input of a program")
    }

    fn announce(&self, _: String, _: Vec<u8>) -> Answer<'_, ()> {
        not_yet("publishing events")
    }

    fn reread(&self) -> Answer<'_, Reread> {
        not_yet("reading the configuration again")
    }

    fn add_group(&self, name: &str) -> Answer<'_, ()> {
        let configured = self.configured();
        if configured.groups.contains(name) {
            return denied(Denied::AlreadyAdded);
        }
        match configured.config.group(name) {
            Some(_) => not_yet("adding a group"),
            None => denied(Denied::NoSuchGroup),
        }
    }

    fn remove_group(&self, name: &str) -> Answer<'_, ()> {
        if !self.configured().groups.contains(name) {
            return denied(Denied::NoSuchGroup);
        }
        let name = name.to_owned();
        async move {
            let processes = self.processes().await?;
            let mut members = processes.iter().filter(|process| process.group == name);
            match members.any(|process| !is_at_rest(process.state())) {
                true => Err(Denied::StillRunning),
                false => not_yet("removing a group").await,
            }
        }
        .boxed()
    }

    fn end(&self, how: End) -> Result<(), Denied> {
        if how == End::Restart {
            return Err(Denied::Failed(unsupported("starting itself anew")));
        }
        match self.daemon.try_send(DaemonAsk::Shutdown) {
            // One that is waiting already does the same.
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => {
                self.ending.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Denied::Ending),
        }
    }
}

fn is_at_rest(state: wire::ProcessState) -> bool {
    use wire::ProcessState as S;
    matches!(state, S::Stopped | S::Exited | S::Fatal | S::Unknown)
}

fn denied<T: Send + 'static>(denied: Denied) -> Answer<'static, T> {
    std::future::ready(Err(denied)).boxed()
}

fn not_yet<T: Send + 'static>(what: &str) -> Answer<'static, T> {
    denied(Denied::Failed(unsupported(what)))
}

fn unsupported(what: &str) -> String {
    format!("{what} is not supported by this agent")
}

/// Runs what waits for the disk off the runtime's own thread.
async fn blocking(
    work: impl FnOnce() -> std::io::Result<()> + Send + 'static,
) -> Result<(), Denied> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Err(Denied::NoFile),
        Ok(Err(error)) => Err(Denied::Failed(error.to_string())),
        Err(error) => Err(Denied::Failed(error.to_string())),
    }
}
