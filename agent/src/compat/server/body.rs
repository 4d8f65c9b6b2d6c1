//! The body of an answer: known at once, or a stream for as long as the reader stays.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::BoxStream;
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};

use super::connection::Busy;

/// The body of an answer.
pub(crate) struct Body {
    content: Content,
    /// Until it has been taken, the connection is not idle.
    busy: Option<Busy>,
    is_patient: bool,
}

enum Content {
    Whole(Option<Bytes>),
    Stream(BoxStream<'static, Bytes>),
}

impl Body {
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        let content = Content::Whole(Some(bytes.into()));
        Self {
            content,
            busy: None,
            is_patient: false,
        }
    }

    pub(crate) fn stream(pieces: BoxStream<'static, Bytes>) -> Self {
        let content = Content::Stream(pieces);
        Self {
            content,
            busy: None,
            is_patient: false,
        }
    }

    /// Whether this goes on for as long as its reader likes, who may also pause.
    pub(super) fn is_patient(&self) -> bool {
        self.is_patient
    }

    /// A stream whose reader may pause for as long as it likes.
    pub(crate) fn patient_stream(pieces: BoxStream<'static, Bytes>) -> Self {
        Self {
            is_patient: true,
            ..Self::stream(pieces)
        }
    }

    pub(super) fn keeping(mut self, busy: Busy) -> Self {
        self.busy = Some(busy);
        self
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = match &mut self.content {
            Content::Whole(bytes) => bytes.take(),
            Content::Stream(pieces) => std::task::ready!(pieces.as_mut().poll_next(context)),
        };
        if piece.is_none() {
            self.busy = None;
        }
        Poll::Ready(piece.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Content::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            Content::Stream(_) => SizeHint::default(),
        }
    }
}

/// Why a request has no body that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is larger than allowed.
    TooLarge,
    /// The connection has ended.
    Broken,
}

/// Reads the body of a request for nothing: to its end, or so many bytes of it.
pub(super) async fn discard(mut incoming: Incoming, limit: usize) {
    let mut left = limit;
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut incoming).poll_frame(context));
        let Some(Ok(frame)) = frame.await else {
            return;
        };
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(less) => left = less,
            None => return,
        }
    }
}

/// The whole body of a request, if it is not larger than allowed.
pub(super) async fn collect(mut incoming: Incoming, limit: usize) -> Result<Vec<u8>, Refused> {
    let mut bytes = Vec::new();
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut incoming).poll_frame(context));
        let Some(frame) = frame.await else {
            return Ok(bytes);
        };
        let frame = frame.map_err(|_| Refused::Broken)?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > limit {
            return Err(Refused::TooLarge);
        }
        bytes.extend_from_slice(&data);
    }
}
