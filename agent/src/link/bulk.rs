//! Log bytes to the controller, on a connection of their own, so that a reader who is stuck never
//! holds up a command.
//!
//! One task per session; the connection is opened when the first reader comes and shared by all.
//! Each reader is one call, and reads from disk only as far as its flow control allows.

use std::sync::Arc;

use rsv_proto::limits::MESSAGE_BYTES;
use rsv_proto::wire::{self, agent_link_client::AgentLinkClient};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tracing::{debug, info};

use super::{Owners, look};

/// Requests that may wait while the connection is being opened.
const QUEUE: usize = 64;

/// Readers at once. Each may hold some open files; more than this on one host is a mistake.
const MAX_READERS: usize = 256;

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

async fn serve(source: LogSource, mut requests: mpsc::Receiver<wire::OpenLog>) {
    let mut connection: Option<Channel> = None;
    let mut readers = JoinSet::new();
    loop {
        let request = tokio::select! {
            request = requests.recv() => request,
            Some(ended) = readers.join_next() => {
                // A connection that failed one reader is not given to the next.
                if !matches!(ended, Ok(Ok(()))) {
                    connection = None;
                }
                continue;
            }
        };
        let Some(request) = request else { return };
        if readers.len() >= MAX_READERS {
            info!(stream = %request.stream, "too many readers of logs");
            continue;
        }
        let channel = match connection.take() {
            Some(channel) => channel,
            None => match rsv_proto::dial::dial(&source.address, Arc::clone(&source.tls)).await {
                Ok(channel) => channel,
                Err(error) => {
                    info!(
                        error = &error as &dyn std::error::Error,
                        "no connection for logs"
                    );
                    continue;
                }
            },
        };
        connection = Some(channel.clone());
        readers.spawn(read(source.clone(), channel, request));
    }
}

/// Serves one reader to its end.
async fn read(source: LogSource, channel: Channel, open: wire::OpenLog) -> Result<(), ()> {
    let outgoing = look::opened(&source.owners, open).await;
    let mut client = AgentLinkClient::new(channel).max_decoding_message_size(MESSAGE_BYTES);
    let served = client.serve_log(outgoing).await;
    served
        .map(drop)
        .map_err(|status| debug!(error = %status, "a reader of a log has gone"))
}
