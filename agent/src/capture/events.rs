//! What programs write, as events for whoever listens, and the bounded way there.
//!
//! The capture thread never waits for a listener: what does not fit is counted and dropped. Before a
//! listener is there, and after it has gone, nothing is even looked at on its account.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rsv_keeper::message::{Channel, Run};
use tokio::sync::mpsc::{self, Receiver, Sender, UnboundedReceiver, UnboundedSender};

/// Events under way. One look at a pipe makes at most one for output, and one for each communication
/// that ends in it.
const QUEUE: usize = 1024;

/// The bytes of all events under way: a second of a program that writes 4 MiB in it. A single event may
/// be larger, when it is the only one.
const BYTES: usize = 4 * 1024 * 1024;

/// Something that a program has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptureEvent {
    /// Output, as it went into the log: one event for each look at the pipe.
    Log(Written),
    /// A whole communication.
    Communication(Written),
    /// What an event listener says. It stays in its pipe, and nothing more of it is told, until
    /// [`super::Capture::understood`].
    Protocol(Written),
    /// What was understood is out of the pipe.
    Taken(Run),
}

/// What was written, and who wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The run of the program.
    pub run: Run,
    /// Its process, as far as that is known.
    pub pid: Option<u32>,
    /// To which of its streams.
    pub channel: Channel,
    /// The bytes.
    pub data: Vec<u8>,
    /// How many bytes before these are missing, because the communication was longer than its bound.
    pub dropped: u64,
}

/// The listener's end. Bounded by number and by bytes.
#[derive(Debug)]
pub struct CaptureEvents {
    queue: Receiver<CaptureEvent>,
    /// Comes first. Not bounded by a number: of each stream one message waits to be understood, and one
    /// says that the one before is taken, so the number of open pipes bounds it.
    protocol: UnboundedReceiver<CaptureEvent>,
    under_way: Arc<AtomicUsize>,
}

/// The thread's end.
#[derive(Debug)]
pub(crate) struct EventSender {
    queue: Sender<CaptureEvent>,
    protocol: UnboundedSender<CaptureEvent>,
    under_way: Arc<AtomicUsize>,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offered {
    /// It is under way.
    Sent,
    /// The listener is too slow.
    Dropped,
    /// The listener has gone.
    Gone,
}

/// Both ends.
pub(super) fn channel() -> (EventSender, CaptureEvents) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let under_way = Arc::new(AtomicUsize::new(0));
    let (protocol, messages) = mpsc::unbounded_channel();
    let sender = EventSender {
        queue: sender,
        protocol,
        under_way: Arc::clone(&under_way),
    };
    let events = CaptureEvents {
        queue: receiver,
        protocol: messages,
        under_way,
    };
    (sender, events)
}

impl CaptureEvents {
    /// The next event; nothing when the capture thread has ended.
    pub async fn next(&mut self) -> Option<CaptureEvent> {
        tokio::select! {
            biased;
            Some(message) = self.protocol.recv() => Some(message),
            event = self.queue.recv() => {
                let event = event?;
                self.under_way.fetch_sub(event.size(), Ordering::Relaxed);
                Some(event)
            }
        }
    }
}

impl CaptureEvents {
    /// What programs have written until now, besides what listeners say.
    pub fn waiting(&mut self) -> Vec<CaptureEvent> {
        let waiting = (0..self.queue.len()).filter_map(|_| self.queue.try_recv().ok());
        let waiting: Vec<CaptureEvent> = waiting.collect();
        let bytes = waiting.iter().map(CaptureEvent::size).sum();
        self.under_way.fetch_sub(bytes, Ordering::Relaxed);
        waiting
    }
}

impl CaptureEvent {
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Log(written) | Self::Communication(written) | Self::Protocol(written) => {
                written.data.len()
            }
            Self::Taken(_) => 0,
        }
    }
}

impl EventSender {
    /// Whether somebody listens.
    pub(super) fn is_heard(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Tells what belongs to the protocol of a listener, which is never dropped. Whether anybody hears
    /// it.
    pub(super) fn tell(&self, message: CaptureEvent) -> bool {
        self.protocol.send(message).is_ok()
    }

    pub(super) fn offer(&self, event: CaptureEvent) -> Offered {
        let size = event.size();
        // Only this end adds, so what is read here can only become less.
        let before = self.under_way.load(Ordering::Relaxed);
        if before > 0 && before + size > BYTES {
            return if self.is_heard() {
                Offered::Dropped
            } else {
                Offered::Gone
            };
        }
        self.under_way.fetch_add(size, Ordering::Relaxed);
        let Err(error) = self.queue.try_send(event) else {
            return Offered::Sent;
        };
        self.under_way.fetch_sub(size, Ordering::Relaxed);
        match error {
            mpsc::error::TrySendError::Full(_) => Offered::Dropped,
            mpsc::error::TrySendError::Closed(_) => Offered::Gone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(size: usize) -> CaptureEvent {
        CaptureEvent::Log(Written {
            run: Run::default(),
            pid: None,
            channel: Channel::Stdout,
            data: vec![0; size],
            dropped: 0,
        })
    }

    #[tokio::test]
    async fn a_slow_listener_has_a_bounded_backlog_and_catches_up() {
        let (sender, mut events) = channel();
        let half = BYTES / 2;
        assert_eq!(sender.offer(event(half)), Offered::Sent);
        assert_eq!(sender.offer(event(half)), Offered::Sent);
        assert_eq!(sender.offer(event(1)), Offered::Dropped);
        events.next().await.unwrap();
        assert_eq!(sender.offer(event(1)), Offered::Sent);
        for _ in 0..2 {
            events.next().await.unwrap();
        }
        let sent = (0..QUEUE * 2).filter(|_| sender.offer(event(0)) == Offered::Sent);
        assert_eq!(sent.count(), QUEUE);
    }

    #[test]
    fn one_event_of_any_size_goes_through() {
        let (sender, _events) = channel();
        assert_eq!(sender.offer(event(BYTES * 2)), Offered::Sent);
        assert_eq!(sender.offer(event(BYTES * 2)), Offered::Dropped);
    }

    #[test]
    fn a_listener_that_has_gone_is_noticed() {
        let (sender, events) = channel();
        assert!(sender.is_heard());
        drop(events);
        assert_eq!(sender.offer(event(1)), Offered::Gone);
        assert!(!sender.is_heard());
    }
}
