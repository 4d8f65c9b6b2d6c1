//! The stream of a tail: one item at a time, as the consumer takes them.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::{Stream, future::BoxFuture};
use tokio::sync::{oneshot, watch};

use super::index::{LogIndex, LogState, Progress};
use super::reader::{LineSearch, Piece, Reader};
use super::times::Since;
use super::{Cursor, Follow, TailEnd, TailItem, TailStart};
use crate::capture::command::{Command, Inbox, LogKey, PATIENCE};

/// Blocks that one search for the beginning of a line reads before it gives its thread away.
const BLOCKS: usize = 16;

/// The items of one tail.
pub(super) fn stream(
    inbox: Arc<Inbox>,
    log: LogKey,
    start: TailStart,
    follow: Follow,
    until: Option<BoxFuture<'static, ()>>,
) -> impl Stream<Item = TailItem> + Send + use<> {
    let tail = Tail {
        inbox,
        log,
        follow,
        until,
        state: State::New(start),
    };
    futures_util::stream::unfold(tail, |mut tail| async move {
        let item = tail.next().await?;
        Some((item, tail))
    })
}

struct Tail {
    inbox: Arc<Inbox>,
    log: LogKey,
    follow: Follow,
    /// What ends the following; absent: nothing does, or it has.
    until: Option<BoxFuture<'static, ()>>,
    state: State,
}

enum State {
    New(TailStart),
    Reading(Box<Place>),
    Ended,
}

/// A tail that has found its log.
struct Place {
    index: Arc<LogIndex>,
    changes: watch::Receiver<Progress>,
    /// On a blocking thread while it reads.
    reader: Option<Reader>,
    position: u64,
    /// Where the end was when the reading began.
    began: u64,
    /// Nothing at or above this is wanted.
    limit: u64,
    /// Items that come first.
    ready: VecDeque<TailItem>,
}

impl Tail {
    async fn next(&mut self) -> Option<TailItem> {
        loop {
            let step = match &mut self.state {
                State::New(start) => {
                    let start = *start;
                    self.begin(start).await
                }
                State::Reading(place) => match place.next().await {
                    Ok(None) => Ok(self.rest().await.map(TailItem::End)),
                    other => other,
                },
                State::Ended => return None,
            };
            let item = match step {
                Ok(None) => continue,
                Ok(Some(item)) => item,
                Err(error) => TailItem::End(TailEnd::Unreadable {
                    error: error.to_string(),
                }),
            };
            if matches!(item, TailItem::End(_)) {
                self.state = State::Ended;
            }
            return Some(item);
        }
    }

    async fn begin(&mut self, start: TailStart) -> io::Result<Option<TailItem>> {
        let Some(index) = self.find().await? else {
            return Ok(Some(TailItem::End(TailEnd::NoLog)));
        };
        self.state = State::Reading(Box::new(Place::at(index, start, self.follow).await?));
        Ok(None)
    }

    /// Asks the capture thread, which moves what is in the pipe first.
    async fn find(&mut self) -> io::Result<Option<Arc<LogIndex>>> {
        let (reply, answer) = oneshot::channel();
        self.inbox.tell(Command::Find {
            log: self.log.clone(),
            reply,
        });
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(index)) => Ok(index),
            Ok(Err(_)) => Err(io::Error::other("the capture thread has ended")),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the disk of the log files does not answer",
            )),
        }
    }

    /// Everything that is there has been read: waits for more, or says why nothing comes.
    async fn rest(&mut self) -> Option<TailEnd> {
        let State::Reading(place) = &mut self.state else {
            return None;
        };
        if self.follow == Follow::No {
            return Some(TailEnd::Complete);
        }
        match place.progress().state {
            LogState::Live => {
                let happened = async {
                    match &mut self.until {
                        Some(until) => until.await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    // The index is held here, so its sender lives.
                    changed = place.changes.changed() => changed.is_err().then_some(TailEnd::Forgotten),
                    () = happened => self.finish().await,
                }
            }
            LogState::Forgotten => Some(TailEnd::Forgotten),
            LogState::Replaced => self.move_over().await,
        }
    }

    /// What is there by now is the rest.
    async fn finish(&mut self) -> Option<TailEnd> {
        (self.until, self.follow) = (None, Follow::No);
        let index = match self.found().await {
            Ok(index) => index,
            Err(end) => return Some(end),
        };
        match &mut self.state {
            State::Reading(place) if Arc::ptr_eq(&place.index, &index) => {
                place.limit = index.progress().end;
                None
            }
            _ => self.go_on_with(index),
        }
    }

    async fn found(&mut self) -> Result<Arc<LogIndex>, TailEnd> {
        match self.find().await {
            Ok(Some(index)) => Ok(index),
            Ok(None) => Err(TailEnd::NoLog),
            Err(error) => Err(TailEnd::Unreadable {
                error: error.to_string(),
            }),
        }
    }

    /// The stream has got another file: goes on with that one from its beginning.
    async fn move_over(&mut self) -> Option<TailEnd> {
        match self.found().await {
            Ok(index) => self.go_on_with(index),
            Err(end) => Some(end),
        }
    }

    fn go_on_with(&mut self, index: Arc<LogIndex>) -> Option<TailEnd> {
        let mut place = Place::new(index, self.follow);
        let oldest = place.index.oldest();
        place.began = oldest;
        place.skip_to(oldest, None, "the output goes to another file");
        self.state = State::Reading(Box::new(place));
        None
    }
}

impl Place {
    fn new(index: Arc<LogIndex>, follow: Follow) -> Self {
        let changes = index.subscribe();
        let end = index.progress().end;
        let limit = if follow == Follow::Yes { u64::MAX } else { end };
        let reader = Some(Reader::new(Arc::clone(&index)));
        Self {
            index,
            changes,
            reader,
            position: end,
            began: end,
            limit,
            ready: VecDeque::new(),
        }
    }

    async fn at(index: Arc<LogIndex>, start: TailStart, follow: Follow) -> io::Result<Self> {
        let mut place = Self::new(index, follow);
        let (end, oldest) = (place.position, place.index.oldest());
        match start {
            TailStart::All => place.position = oldest,
            TailStart::Bytes(bytes) => {
                place.position = place.readable(end.saturating_sub(bytes));
            }
            TailStart::Since(at) => place.begin_since(at).await?,
            TailStart::Lines(lines) => place.position = place.line_start(end, lines).await?,
            TailStart::From(cursor) if cursor.log_id != place.index.log_id => {
                place.skip_to(oldest, None, "the bytes are numbered anew");
            }
            TailStart::From(cursor) if cursor.offset > end => {
                place.skip_to(end, None, "the file was cut short while nobody looked");
            }
            TailStart::From(cursor) => place.position = cursor.offset,
        }
        Ok(place)
    }

    /// Begins with what has come in since a moment. Where that is not known, the times of files have to do.
    async fn begin_since(&mut self, at: SystemTime) -> io::Result<()> {
        let since = self.index.times().since(at);
        let (begin, reaches_back, known_since) = match since {
            Since::From(position) => (position, true, None),
            // Before the first byte there was nothing.
            Since::Unknown(Some(first)) if first.end == 0 => (0, true, None),
            Since::Unknown(first) => {
                let written = self
                    .on_thread(move |reader| Ok(reader.written_since(at)))
                    .await?;
                let begin = first.map_or(written, |first| first.end.min(written));
                (begin, false, first.and_then(|first| first.moment()))
            }
        };
        self.position = begin.min(self.position);
        self.ready.push_back(TailItem::Begin {
            at: self.cursor(),
            reaches_back,
            known_since,
        });
        Ok(())
    }

    /// The nearest place at or after this one that can be read.
    fn readable(&self, position: u64) -> u64 {
        match self.index.place(position) {
            super::index::Place::Lost { resume, .. } => resume,
            _ => position,
        }
    }

    async fn line_start(&mut self, end: u64, lines: u64) -> io::Result<u64> {
        let mut search = LineSearch::new(end, lines);
        loop {
            let (found, searched) = self
                .on_thread(move |reader| {
                    for _ in 0..BLOCKS {
                        if let Some(start) = search.step(reader)? {
                            return Ok((Some(start), search));
                        }
                    }
                    Ok((None, search))
                })
                .await?;
            search = searched;
            if let Some(start) = found {
                return Ok(start);
            }
        }
    }

    /// The next item, or none at the end of what there is.
    async fn next(&mut self) -> io::Result<Option<TailItem>> {
        if let Some(item) = self.ready.pop_front() {
            return Ok(Some(item));
        }
        // What comes after this look wakes the wait that may follow.
        self.changes.borrow_and_update();
        let (position, limit) = (self.position, self.limit);
        if position >= limit {
            return Ok(None);
        }
        loop {
            match self
                .on_thread(move |reader| reader.read(position, limit))
                .await?
            {
                Piece::Data(data) => {
                    let at = self.cursor();
                    let live = at.offset >= self.began;
                    self.position += data.len() as u64;
                    return Ok(Some(TailItem::Chunk { at, data, live }));
                }
                Piece::Lost { resume, reason } => {
                    self.skip_to(resume, Some(resume - position), reason);
                    return Ok(self.ready.pop_front());
                }
                Piece::AtEnd => return Ok(None),
                Piece::Again => {}
            }
        }
    }

    fn progress(&self) -> Progress {
        *self.changes.borrow()
    }

    fn skip_to(&mut self, position: u64, bytes: Option<u64>, reason: &'static str) {
        self.position = position;
        self.ready.push_back(TailItem::Gap {
            at: self.cursor(),
            bytes,
            reason,
        });
    }

    fn cursor(&self) -> Cursor {
        Cursor {
            log_id: self.index.log_id,
            offset: self.position,
        }
    }

    async fn on_thread<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Reader) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let index = &self.index;
        let mut reader = self
            .reader
            .take()
            .unwrap_or_else(|| Reader::new(Arc::clone(index)));
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&mut reader);
            (reader, result)
        });
        let (reader, result) = done.await.map_err(io::Error::other)?;
        self.reader = Some(reader);
        result
    }
}
