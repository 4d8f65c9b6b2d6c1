//! The owner of the controller's commands: each is carried out at most once, and answered for as
//! long as the controller asks.
//!
//! One task for the life of the agent, over all sessions. [`desk`] decides with [`ledger`], [`file`] keeps
//! what must survive the agent, [`run`] gives a command to the hub, [`resume`] finishes what a former
//! agent began.

pub mod configuration;
pub mod desk;
pub mod ending;
mod file;
pub mod ledger;
pub mod resume;
pub mod run;

pub(crate) use run::action_span;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rsv_proto::wire;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::Owners;
use super::clock::tick;
use super::session::Order;
use desk::{Desk, Todo};
use file::CommandFile;
use ledger::Record;

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
    /// Answered when all results of what runs are told, but those that are left to the next agent.
    Settle(oneshot::Sender<()>),
}

struct Commands {
    owners: Owners,
    desk: Desk,
    path: PathBuf,
    /// Absent while the file cannot be used: then commands run all the same, because a full disk is
    /// when `stop` is needed most.
    file: Option<CommandFile>,
    session: Option<mpsc::Sender<wire::CommandResult>>,
    /// Who waits until all results are told.
    settling: Vec<oneshot::Sender<()>>,
    /// Given to each running command to come back with.
    finished: mpsc::Sender<wire::CommandResult>,
}

impl CommandsHandle {
    /// Starts the task; what a former agent left in `directory` is taken over. It ends with the
    /// last front.
    pub(super) fn start(directory: &Path, boot: &str, owners: Owners) -> Self {
        let (asks, inbox) = mpsc::channel(QUEUE);
        let path = directory.join("commands");
        tokio::spawn(own(path, boot.to_owned(), owners, inbox));
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
                Ask::Opened(_) | Ask::Acknowledged(_) | Ask::Settle(_) => {
                    unreachable!("an order was sent")
                }
            })
    }

    /// Waits until all results of what runs are in the session's channel, but those that are left to the next
    /// agent. For the end of the hub, with which everything else ends, too.
    pub(super) async fn settled(&self) {
        let (settled, answer) = oneshot::channel();
        if self.asks.send(Ask::Settle(settled)).await.is_ok() {
            // Dropped with the owner: then nothing more comes.
            answer.await.ok();
        }
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

async fn own(path: PathBuf, boot: String, owners: Owners, mut asks: mpsc::Receiver<Ask>) {
    // As many as can run at once may finish at once.
    let (finished, mut outcomes) = mpsc::channel(ledger::MAX_RUNNING);
    let (file, records) = opened(path.clone()).await;
    let (desk, unfinished) = Desk::restored(&boot, records);
    for begun in unfinished {
        resume::begin(owners.clone(), begun, finished.clone());
    }
    let mut owner = Commands {
        owners,
        desk,
        path,
        file,
        session: None,
        settling: Vec::new(),
        finished,
    };
    loop {
        tokio::select! {
            ask = asks.recv() => match ask {
                Some(ask) => owner.handle(ask).await,
                None => return,
            },
            Some(result) = outcomes.recv() => {
                let todo = owner.desk.finished(result);
                owner.carry_out(todo).await;
            }
        }
        if owner.desk.is_settled() {
            for settled in owner.settling.drain(..) {
                // Whoever has gone does not wait.
                settled.send(()).ok();
            }
        }
    }
}

impl Commands {
    async fn handle(&mut self, ask: Ask) {
        let todo = match ask {
            Ask::Opened(session) => {
                self.session = Some(session);
                self.desk.opened()
            }
            Ask::Order(order) => self.ordered(order),
            Ask::Acknowledged(ids) => self.desk.acknowledged(&ids),
            Ask::Settle(settled) => {
                self.settling.push(settled);
                Vec::new()
            }
        };
        self.carry_out(todo).await;
    }

    fn ordered(&mut self, order: Order) -> Vec<Todo> {
        let wire::Command {
            id,
            operation,
            actor,
            ..
        } = order.command.clone();
        let todo = self.desk.ordered(tick(), order);
        match todo.last() {
            Some(Todo::Look(_)) => info!(%id, op = %operation, %actor, "command received"),
            Some(_) if matches!(todo[0], Todo::Keep(_)) => {
                warn!(%id, op = %operation, %actor, "command not run");
            }
            Some(_) | None => {}
        }
        todo
    }

    /// Does one thing after the other, and what follows from it.
    async fn carry_out(&mut self, todo: Vec<Todo>) {
        let mut queue = VecDeque::from(todo);
        while let Some(todo) = queue.pop_front() {
            match todo {
                Todo::Keep(record) => self.keep(record).await,
                Todo::Tell(result) => self.send(result),
                Todo::Look(order) => {
                    let before = run::before(&self.owners.hub, &order.command).await;
                    queue.extend(self.desk.looked(order, before));
                }
                Todo::Check(order) => queue.extend(self.desk.noted(tick(), order)),
                Todo::Run(command) => {
                    run::begin(self.owners.clone(), command, self.finished.clone()).await;
                }
            }
        }
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
        let all = file.is_long().then(|| self.desk.records());
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
