//! Log bytes to the controller, on a connection of their own, so that a reader who is stuck never
//! holds up a command.
//!
//! One task per session; the connection is opened when the first reader comes and shared by all.
//! Each reader is one call, and reads from disk only as far as its flow control allows.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream, Stream};
use rsv_proto::limits::MESSAGE_BYTES;
use rsv_proto::wire::{self, Refusal, agent_link_client::AgentLinkClient};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tracing::{debug, info};

use crate::hub::HubHandle;
use crate::logbook::LogBook;
use crate::tail::{self, TailError};

/// Requests that may wait while the connection is being opened.
const QUEUE: usize = 64;

/// Readers at once. Each may hold some open files; more than this on one host is a mistake.
const MAX_READERS: usize = 256;

/// Where logs are read, and how to reach who wants them.
#[derive(Clone, Debug)]
pub(super) struct LogSource {
    pub(super) hub: HubHandle,
    pub(super) logbook: LogBook,
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
    let wire::OpenLog {
        stream: id,
        request,
    } = open;
    let request = request.unwrap_or_default();
    let items = match tail::open(&source.hub, &source.logbook, &request).await {
        Ok(items) => items,
        Err(error) => refused(&error),
    };
    let first = wire::ServeLogRequest {
        stream: id,
        item: None,
    };
    let outgoing = Framed {
        first: Some(first),
        items,
    };
    let mut client = AgentLinkClient::new(channel).max_decoding_message_size(MESSAGE_BYTES);
    let served = client.serve_log(outgoing).await;
    served
        .map(drop)
        .map_err(|status| debug!(error = %status, "a reader of a log has gone"))
}

/// The one piece of a request that cannot be served.
fn refused(error: &TailError) -> BoxStream<'static, wire::TailResponse> {
    let end = tail::ended(&error.to_string(), Refusal::Other);
    stream::iter([tail::response(String::new(), end)]).boxed()
}

/// What one reader is sent: first which reader it is for, then the pieces.
struct Framed {
    first: Option<wire::ServeLogRequest>,
    items: BoxStream<'static, wire::TailResponse>,
}

impl Stream for Framed {
    type Item = wire::ServeLogRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        let item = std::task::ready!(self.items.poll_next_unpin(cx));
        let framed = |item| wire::ServeLogRequest {
            stream: String::new(),
            item: Some(item),
        };
        Poll::Ready(item.map(framed))
    }
}
