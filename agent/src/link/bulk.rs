//! Log bytes to the controller, on a connection of their own, so that a reader who is stuck never
//! holds up a command.
//!
//! One task per session; a connection is opened when the first reader comes, and another one when so many
//! share it that the controller would take no more calls on it. Each reader is one call, and reads from disk
//! only as far as its flow control allows.

use std::collections::BTreeMap;
use std::sync::Arc;

use rsv_proto::dial::{DialError, dial};
use rsv_proto::limits::MESSAGE_BYTES;
use rsv_proto::wire::{self, agent_link_client::AgentLinkClient};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tracing::{debug, info};

use super::{Owners, look};

/// Requests that may wait while a connection is being opened: all that one follower can ask for.
const QUEUE: usize = 1024;

/// Readers at once: somebody who follows as many programs as can be asked for, and others beside. Each may
/// hold some open files; more than this on one host is a mistake.
const MAX_READERS: usize = 1280;

/// Readers that share a connection; a controller serves up to 200 calls on one.
const SHARING: usize = 128;

/// Where logs are read, and how to reach who wants them.
#[derive(Clone, Debug)]
pub(super) struct LogSource {
    pub(super) owners: Owners,
    pub(super) address: String,
    pub(super) tls: Arc<rustls::ClientConfig>,
}

/// The front of the task; it and its readers end when this is dropped.
#[derive(Debug)]
pub(super) struct Bulk {
    requests: mpsc::Sender<wire::OpenLog>,
    _task: JoinSet<()>,
}

impl Bulk {
    /// Starts the task.
    pub(super) fn start(source: LogSource) -> Self {
        let (requests, inbox) = mpsc::channel(QUEUE);
        let mut task = JoinSet::new();
        task.spawn(serve(source, inbox));
        Self {
            requests,
            _task: task,
        }
    }

    /// Begins to serve a reader, unless too many are waiting; then its time runs out at the
    /// controller.
    pub(super) fn open(&self, request: wire::OpenLog) {
        if let Err(refused) = self.requests.try_send(request) {
            info!(stream = %refused.into_inner().stream, "too many readers wait for logs");
        }
    }
}

/// Connections by number, with how many readers each has.
#[derive(Debug, Default)]
struct Connections {
    open: BTreeMap<u64, (Channel, usize)>,
    latest: u64,
}

impl Connections {
    /// A place on a connection; one is opened when all are full.
    async fn take(&mut self, source: &LogSource) -> Result<(u64, Channel), DialError> {
        let mut open = self.open.iter_mut();
        if let Some((number, (channel, readers))) = open.find(|(_, (_, n))| *n < SHARING) {
            *readers += 1;
            return Ok((*number, channel.clone()));
        }
        let channel = dial(&source.address, Arc::clone(&source.tls)).await?;
        self.latest += 1;
        self.open.insert(self.latest, (channel.clone(), 1));
        Ok((self.latest, channel))
    }

    /// A reader has ended. A connection that failed one is not given to the next, and of idle ones one is
    /// kept.
    fn give_back(&mut self, number: u64, is_good: bool) {
        let Some((_, readers)) = self.open.get_mut(&number) else {
            return;
        };
        *readers -= 1;
        let is_idle = *readers == 0;
        if !is_good || is_idle && self.open.len() > 1 {
            self.open.remove(&number);
        }
    }
}

async fn serve(source: LogSource, mut requests: mpsc::Receiver<wire::OpenLog>) {
    let mut connections = Connections::default();
    let mut readers = JoinSet::new();
    loop {
        let request = tokio::select! {
            request = requests.recv() => request,
            Some(ended) = readers.join_next() => {
                match ended {
                    Ok((number, is_good)) => connections.give_back(number, is_good),
                    // It broke, and nobody knows where.
                    Err(_) => connections = Connections::default(),
                }
                continue;
            }
        };
        let Some(request) = request else { return };
        if readers.len() >= MAX_READERS {
            info!(stream = %request.stream, "too many readers of logs");
            continue;
        }
        match connections.take(&source).await {
            Ok((number, channel)) => {
                let source = source.clone();
                readers.spawn(async move { (number, read(source, channel, request).await) });
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                info!(error, "no connection for logs");
            }
        }
    }
}

/// Serves one reader to its end; whether that was a good one.
async fn read(source: LogSource, channel: Channel, open: wire::OpenLog) -> bool {
    let outgoing = look::opened(&source.owners, open).await;
    let mut client = AgentLinkClient::new(channel).max_decoding_message_size(MESSAGE_BYTES);
    let served = client.serve_log(outgoing).await;
    if let Err(status) = &served {
        debug!(error = %status, "a reader of a log has gone");
    }
    served.is_ok()
}
