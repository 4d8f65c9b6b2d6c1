//! Reading and following what the capture thread writes.
//!
//! The bytes of a log are numbered from its beginning, over rotations and over restarts of the agent;
//! a [`Cursor`] is a place in that numbering. A reader goes from one file to the next by numbers,
//! never by names, and keeps the file that it reads open, so that a rotation under its hands changes
//! nothing. It is woken by the capture thread, reads on a blocking thread one chunk at a time as its
//! consumer takes them, and holds up nobody. What has been rotated away before it came there is a
//! [`TailItem::Gap`], never silence.
//!
//! `index` says which file holds which numbers, `times` when they came in, `reader` reads files, `tail` is the
//! stream.

pub(crate) mod index;
mod reader;
mod tail;
pub(crate) mod times;

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::{Stream, future::BoxFuture};
use rsv_keeper::message::Channel;
use uuid::Uuid;

use crate::capture::command::{Inbox, LogKey};

/// The most bytes in one chunk.
pub const CHUNK: usize = 64 * 1024;

/// What `tail` shows when nothing is asked for, as `supervisorctl` does.
pub const DEFAULT_BYTES: u64 = 1600;

/// A place in the output of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Names one unbroken numbering.
    pub log_id: Uuid,
    /// Bytes since it began.
    pub offset: u64,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailStart {
    /// So many bytes before the end.
    Bytes(u64),
    /// So many lines before the end. A last line without its end counts as one.
    Lines(u64),
    /// At the oldest byte that is still there.
    All,
    /// With what has come in since this moment, and a little before: nothing of it is left out. The first item is
    /// [`TailItem::Begin`].
    Since(SystemTime),
    /// Here. A place of another numbering, or one that is gone, begins with a gap.
    From(Cursor),
}

impl Default for TailStart {
    fn default() -> Self {
        Self::Bytes(DEFAULT_BYTES)
    }
}

/// What happens at the end of what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// The stream ends.
    No,
    /// It goes on with what comes, until the log is forgotten.
    Yes,
}

/// One piece of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TailItem {
    /// Where it begins, when a moment was asked for.
    Begin {
        /// The place.
        at: Cursor,
        /// Whether it is known when all of what there is came in, as far back as was asked.
        reaches_back: bool,
        /// If not, since when it is known; absent: not at all.
        known_since: Option<SystemTime>,
    },
    /// Bytes as the program wrote them; never empty, at most [`CHUNK`].
    Chunk {
        /// Where the first of them stands.
        at: Cursor,
        /// The bytes.
        data: Vec<u8>,
        /// They were written after the reading had begun.
        live: bool,
    },
    /// Bytes that are lost to this reader.
    Gap {
        /// Where reading goes on.
        at: Cursor,
        /// How many; absent: not known.
        bytes: Option<u64>,
        /// For people.
        reason: &'static str,
    },
    /// The last item.
    End(TailEnd),
}

/// Why nothing more comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TailEnd {
    /// All that there was has been given, and nobody asked to follow.
    Complete,
    /// The log is not configured any more.
    Forgotten,
    /// There is no log for this key and channel that could be read: it is not known, has a name of its own
    /// and was never written, its output is dropped, or it goes to a device.
    NoLog,
    /// A file could not be read.
    Unreadable {
        /// What happened, with its causes.
        error: String,
    },
}

/// Reads logs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LogBook {
    inbox: Arc<Inbox>,
}

impl LogBook {
    pub(crate) fn new(inbox: Arc<Inbox>) -> Self {
        Self { inbox }
    }

    /// The output of one stream from `start` on. Begins when first polled: then it has what the
    /// program had written by that moment. Needs a tokio runtime.
    pub fn tail(
        &self,
        key: &str,
        channel: Channel,
        start: TailStart,
        follow: Follow,
    ) -> impl Stream<Item = TailItem> + Send + use<> {
        let inbox = Arc::clone(&self.inbox);
        tail::stream(inbox, LogKey::new(key, channel), start, follow, None)
    }

    /// As [`LogBook::tail`] with [`Follow::Yes`], until something has happened: then it ends with what the
    /// program has written by that moment.
    pub fn tail_until(
        &self,
        key: &str,
        channel: Channel,
        start: TailStart,
        happened: BoxFuture<'static, ()>,
    ) -> impl Stream<Item = TailItem> + Send + use<> {
        let (inbox, log) = (Arc::clone(&self.inbox), LogKey::new(key, channel));
        tail::stream(inbox, log, start, Follow::Yes, Some(happened))
    }
}
