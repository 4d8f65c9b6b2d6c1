//! One connection: HTTP/1 over it, and how far its present request is.
//!
//! A connection may be idle for as long as its client likes, because Supervisor's clients keep
//! theirs and do not expect it to end. A request that has begun must have its head within a time, and an
//! answer must be taken; only who follows a log may pause, until somebody else needs the room. What is
//! still arriving gives way, too: a stranger who sends slowly must not keep others out.

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

/// How long a reader may take none of an answer that is ready for it.
const STALL: Duration = Duration::from_secs(60);

/// After this time a reader that takes nothing makes room for others.
const PAUSE: Duration = Duration::from_secs(10);

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Between requests.
    Idle { since: Instant },
    /// The head of a request has begun to arrive.
    Receiving { since: Instant },
    /// Its head is here, and its body is not yet.
    Arriving { since: Instant },
    /// A request is being answered.
    Answering { is_patient: bool },
}

#[derive(Debug, Clone, Copy)]
struct Progress {
    stage: Stage,
    /// Since when nothing could be written, while there is something to write.
    stalled: Option<Instant>,
}

/// What is lost when a connection is closed: the least comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Loss {
    /// Nothing was asked.
    Nothing,
    /// The rest of an answer that is not taken.
    Answer,
    /// A request that has not arrived. Those of real clients take some milliseconds.
    Request,
}

/// How one connection is getting on, shared by who moves it and who watches it.
#[derive(Debug, Clone)]
pub(super) struct Stages(Arc<watch::Sender<Progress>>);

/// Holds a connection in the stages of a request whose head is here.
#[derive(Debug)]
pub(super) struct Busy(Stages);

impl Stages {
    pub(super) fn new() -> Self {
        let since = Instant::now();
        Self(Arc::new(watch::Sender::new(Progress {
            stage: Stage::Idle { since },
            stalled: None,
        })))
    }

    /// What is lost when the connection is closed now, and since when that is so; `None`: too much.
    pub(super) fn spare_since(&self) -> Option<(Loss, Instant)> {
        let progress = *self.0.borrow();
        match (progress.stage, progress.stalled) {
            (Stage::Idle { since }, _) => Some((Loss::Nothing, since)),
            (_, Some(since)) if since.elapsed() >= PAUSE => Some((Loss::Answer, since)),
            (Stage::Receiving { since } | Stage::Arriving { since }, _) => {
                Some((Loss::Request, since))
            }
            (Stage::Answering { .. }, _) => None,
        }
    }

    /// Bytes have come.
    fn received(&self) {
        self.0.send_if_modified(|progress| {
            let is_idle = matches!(progress.stage, Stage::Idle { .. });
            if is_idle {
                let since = Instant::now();
                progress.stage = Stage::Receiving { since };
            }
            is_idle
        });
    }

    /// Whether bytes that are ready could be written.
    fn written(&self, is_written: bool) {
        self.0.send_if_modified(|progress| {
            let is_news = progress.stalled.is_none() != is_written;
            if is_news {
                progress.stalled = (!is_written).then(Instant::now);
            }
            is_news
        });
    }

    /// The head of a request is here. Its age counts from its first byte.
    fn arriving(&self) -> Busy {
        let stage = self.0.borrow().stage;
        let since = match stage {
            Stage::Receiving { since } => since,
            _ => Instant::now(),
        };
        self.enter(Stage::Arriving { since });
        Busy(self.clone())
    }

    fn enter(&self, stage: Stage) {
        self.0.send_modify(|progress| progress.stage = stage);
    }

    /// Returns when a request has taken too long to arrive, or its answer to be taken.
    async fn overdue(&self) {
        let mut changes = self.0.subscribe();
        loop {
            let due = changes.borrow_and_update().due();
            let changed = changes.changed();
            match due {
                Some(due) => {
                    if tokio::time::timeout_at(due, changed).await.is_err() {
                        return;
                    }
                }
                // The sender is held here: there is always another change.
                None => drop(changed.await),
            }
        }
    }
}

impl Progress {
    fn due(&self) -> Option<Instant> {
        match (self.stage, self.stalled) {
            (Stage::Receiving { since }, _) => Some(since + HEAD),
            (Stage::Answering { is_patient: true }, _) | (_, None) => None,
            (_, Some(since)) => Some(since + STALL),
        }
    }
}

impl Busy {
    /// The whole request is here.
    pub(super) fn arrived(&self) {
        self.0.enter(Stage::Answering { is_patient: false });
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let since = Instant::now();
        self.0.enter(Stage::Idle { since });
    }
}

/// Serves a connection to its end.
pub(super) async fn serve(stream: Accepted, gate: Arc<Gate>, stages: Stages) {
    let io = TokioIo::new(Watched {
        stream,
        stages: stages.clone(),
    });
    let service = service_fn(|request| {
        let (busy, gate) = (stages.arriving(), Arc::clone(&gate));
        async move {
            let response = gate.answer(request, &busy).await;
            let is_patient = response.body().is_patient();
            busy.0.enter(Stage::Answering { is_patient });
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
        () = stages.overdue() => debug!("a client was too slow"),
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
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.stages.written(written.is_ready());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.stages.written(written.is_ready());
        written
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
