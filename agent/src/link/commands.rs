//! The owner of the controller's commands: each is carried out at most once, and answered for as
//! long as the controller asks.
//!
//! One task for the life of the agent, over all sessions. [`ledger`] decides, [`file`] keeps what
//! must survive the agent, [`run`] gives a command to the hub.

mod file;
mod ledger;
mod resume;
mod run;

pub(crate) use run::action_span;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rsv_proto::wire;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::clock::tick;
use super::session::Order;
use crate::hub::HubHandle;
use file::CommandFile;
use ledger::{Begun, Ledger, Record, Verdict};

/// Commands and acknowledgements that may wait. They wait only while the disk is slow, and a
/// session that finds no room says so to the controller instead of waiting.
const QUEUE: usize = 256;

/// Results on their way to one session: all that the ledger can ever owe at once, so that the owner
/// never has to wait for a session.
pub(super) const RESULTS: usize = ledger::KEPT + ledger::MAX_RUNNING;

/// The front of the task.
#[derive(Debug, Clone)]
pub(super) struct CommandsHandle {
    asks: mpsc::Sender<Ask>,
}

#[derive(Debug)]
enum Ask {
    /// A session is open: what is owed goes there first, then each result as it comes.
    Opened(mpsc::Sender<wire::CommandResult>),
    Order(Order),
    Acknowledged(Vec<String>),
}

struct Commands {
    hub: HubHandle,
    ledger: Ledger,
    path: PathBuf,
    /// The host's boot.
    boot: String,
    /// Absent while the file cannot be used: then commands run all the same, because a full disk is
    /// when `stop` is needed most.
    file: Option<CommandFile>,
    session: Option<mpsc::Sender<wire::CommandResult>>,
    /// Given to each running command to come back with.
    finished: mpsc::Sender<wire::CommandResult>,
}

impl CommandsHandle {
    /// Starts the task; what a former agent left in `directory` is taken over. It ends with the
    /// last front.
    pub(super) fn start(directory: &Path, boot: &str, hub: HubHandle) -> Self {
        let (asks, inbox) = mpsc::channel(QUEUE);
        let path = directory.join("commands");
        tokio::spawn(own(path, boot.to_owned(), hub, inbox));
        Self { asks }
    }

    /// Tells of a new session, and gives the channel on which it gets its results.
    pub(super) async fn opened(&self) -> mpsc::Receiver<wire::CommandResult> {
        let (results, session) = mpsc::channel(RESULTS);
        // The owner ends after its fronts; if it has panicked the session simply gets no results.
        self.asks.send(Ask::Opened(results)).await.ok();
        session
    }

    /// Gives a command to the owner; comes back when there is no room.
    pub(super) fn order(&self, order: Order) -> Result<(), Box<Order>> {
        self.asks
            .try_send(Ask::Order(order))
            .map_err(|refused| match refused.into_inner() {
                Ask::Order(order) => Box::new(order),
                Ask::Opened(_) | Ask::Acknowledged(_) => unreachable!("an order was sent"),
            })
    }

    /// Tells that results are stored. Lost when there is no room: they are then sent once more.
    pub(super) fn acknowledged(&self, ids: Vec<String>) {
        self.asks.try_send(Ask::Acknowledged(ids)).ok();
    }
}

/// The whole of a command that has one fate on this host.
pub(super) fn one_result(id: &str, outcome: wire::Outcome, detail: String) -> wire::CommandResult {
    let result = wire::TargetResult {
        outcome: outcome.into(),
        detail,
        ..Default::default()
    };
    wire::CommandResult {
        id: id.to_owned(),
        results: vec![result],
    }
}

async fn own(path: PathBuf, boot: String, hub: HubHandle, mut asks: mpsc::Receiver<Ask>) {
    // As many as can run at once may finish at once.
    let (finished, mut outcomes) = mpsc::channel(ledger::MAX_RUNNING);
    let (file, records) = opened(path.clone()).await;
    let (ledger, unfinished) = Ledger::restored(&boot, records);
    for begun in unfinished {
        resume::begin(hub.clone(), begun, finished.clone());
    }
    let mut owner = Commands {
        hub,
        ledger,
        path,
        boot,
        file,
        session: None,
        finished,
    };
    loop {
        tokio::select! {
            ask = asks.recv() => match ask {
                Some(ask) => owner.handle(ask).await,
                None => return,
            },
            Some(result) = outcomes.recv() => owner.finish(result).await,
        }
    }
}

impl Commands {
    async fn handle(&mut self, ask: Ask) {
        match ask {
            Ask::Opened(session) => {
                self.session = Some(session);
                for result in self.ledger.owed() {
                    self.send(result);
                }
            }
            Ask::Order(order) => self.order(order).await,
            Ask::Acknowledged(ids) => {
                if let Some(record) = self.ledger.acknowledge(&ids) {
                    self.keep(record).await;
                }
            }
        }
    }

    async fn order(&mut self, order: Order) {
        let wire::Command {
            id,
            operation,
            actor,
            ..
        } = &order.command;
        let verdict = self.ledger.receive(tick(), &order);
        match verdict {
            Verdict::Run => {}
            Verdict::Running => return,
            Verdict::Answered(result) => return self.send(result),
            Verdict::Refused(result) => {
                warn!(%id, op = %operation, %actor, "command not run");
                return self.finish(result).await;
            }
        }
        info!(%id, op = %operation, %actor, "command received");
        if let Some(record) = self.ledger.hear(order.command.term) {
            self.keep(record).await;
        }
        let before = run::before(&self.hub, &order.command).await;
        let begun = Begun::new(&self.boot, &order, before);
        self.ledger.note_begun(id, &begun);
        self.keep(Record::Begun {
            id: id.clone(),
            begun: Some(begun),
        })
        .await;
        // The disk may have been slow.
        if let Some(result) = ledger::expired(tick(), &order) {
            return self.finish(result).await;
        }
        run::begin(self.hub.clone(), order.command, self.finished.clone()).await;
    }

    async fn finish(&mut self, result: wire::CommandResult) {
        self.keep(Record::done(&result)).await;
        self.ledger.finish(result.clone());
        self.send(result);
    }

    fn send(&mut self, result: wire::CommandResult) {
        // Without a session, or with one that has just ended, the result stays owed.
        if self
            .session
            .as_ref()
            .is_some_and(|session| session.try_send(result).is_err())
        {
            self.session = None;
        }
    }

    async fn keep(&mut self, record: Record) {
        if self.file.is_none() {
            self.file = opened(self.path.clone()).await.0;
        }
        let Some(mut file) = self.file.take() else {
            return;
        };
        let all = file.is_long().then(|| self.ledger.records());
        let written = tokio::task::spawn_blocking(move || {
            let written = match all {
                // The new record comes after what it refers to.
                Some(all) => file.replace(all).and_then(|()| file.append(&record)),
                None => file.append(&record),
            };
            written.map(|()| file)
        });
        match written.await {
            Ok(Ok(file)) => self.file = Some(file),
            Ok(Err(error)) => warn!(%error, path = %self.path.display(), "cannot note a command"),
            Err(_) => {}
        }
    }
}

/// Opens the file and reads what is in it; a file that cannot be used is told, and is no reason to
/// refuse commands.
async fn opened(path: PathBuf) -> (Option<CommandFile>, Vec<Record>) {
    let shown = path.display().to_string();
    match tokio::task::spawn_blocking(move || CommandFile::open(&path)).await {
        Ok(Ok((file, records))) => (Some(file), records),
        Ok(Err(error)) => {
            warn!(%error, path = %shown, "cannot open the notes on commands");
            (None, Vec::new())
        }
        Err(_) => (None, Vec::new()),
    }
}

/// How late a command came, in words.
fn late(by: Duration) -> String {
    format!("came {:.1} s after its deadline", by.as_secs_f64())
}
