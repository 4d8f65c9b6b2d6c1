//! One connection: HTTP/1 over it, and how far its present request is.
//!
//! A connection may be idle for as long as its client likes, because Supervisor's clients keep
//! theirs and do not expect it to end. A request that has begun must arrive within a time.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::debug;

use super::bind::Accepted;
use super::site::Gate;

/// From the first byte of a request to the end of its head.
const HEAD: Duration = Duration::from_secs(20);

/// The head of a request. Clients send some hundred bytes.
const HEAD_BYTES: usize = 16 * 1024;

/// What is read ahead.
const BUFFER: usize = 64 * 1024;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Between requests.
    Idle { since: Instant },
    /// The head of a request has begun to arrive.
    Receiving { since: Instant },
    /// A request is being answered.
    Answering,
}

/// The stage of one connection, shared by who moves it and who watches it.
#[derive(Debug, Clone)]
pub(super) struct Stages(Arc<watch::Sender<Stage>>);

/// Holds a connection in the stage of answering.
#[derive(Debug)]
pub(super) struct Busy(Stages);

impl Stages {
    pub(super) fn new() -> Self {
        let since = Instant::now();
        Self(Arc::new(watch::Sender::new(Stage::Idle { since })))
    }

    /// Since when the connection is idle, if it is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        match *self.0.borrow() {
            Stage::Idle { since } => Some(since),
            Stage::Receiving { .. } | Stage::Answering => None,
        }
    }

    /// Bytes have come.
    fn received(&self) {
        if self.idle_since().is_some() {
            let since = Instant::now();
            self.0.send_replace(Stage::Receiving { since });
        }
    }

    fn answering(&self) -> Busy {
        self.0.send_replace(Stage::Answering);
        Busy(self.clone())
    }

    /// Returns when a request has taken too long to arrive.
    async fn overdue(&self) {
        let mut changes = self.0.subscribe();
        loop {
            let stage = *changes.borrow_and_update();
            let changed = changes.changed();
            match stage {
                Stage::Receiving { since } => {
                    if tokio::time::timeout_at(since + HEAD, changed)
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
                // The sender is held here: there is always another change.
                Stage::Idle { .. } | Stage::Answering => drop(changed.await),
            }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let since = Instant::now();
        self.0.0.send_replace(Stage::Idle { since });
    }
}

/// Serves a connection to its end.
pub(super) async fn serve(stream: Accepted, gate: Arc<Gate>, stages: Stages) {
    let io = TokioIo::new(Watched {
        stream,
        stages: stages.clone(),
    });
    let service = service_fn(|request| {
        let (busy, gate) = (stages.answering(), Arc::clone(&gate));
        async move {
            let response = gate.answer(request).await;
            Ok::<_, std::convert::Infallible>(response.map(|body| body.keeping(busy)))
        }
    });
    let connection = http1::Builder::new()
        .max_header_size(HEAD_BYTES)
        .max_buf_size(BUFFER)
        .serve_connection(io, service);
    tokio::select! {
        served = connection => if let Err(error) = served {
            debug!(%error, "a connection of a client has ended early");
        },
        () = stages.overdue() => debug!("a client was too slow with its request"),
    }
}

/// A stream that notes when bytes come.
struct Watched {
    stream: Accepted,
    stages: Stages,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.stages.received();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
