//! A thread that writes lines, behind a queue that never makes its callers wait.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::file::LogFile;

/// Lines that may wait. A start of a thousand programs logs some two thousand lines, and the thread
/// writes them as they come; only a disk that hangs fills this, and then some 200 KiB are enough.
const QUEUE: usize = 1024;

/// What the output of programs that waits may come to in bytes, so that it leaves room for lines and
/// takes little memory. What is more is dropped and counted: it is in the program's own log.
const OUTPUT: usize = 1024 * 1024;

/// What a record of output counts for at least: half of the queue is all that it may take.
const LEAST: usize = OUTPUT / (QUEUE / 2);

/// How long the thread lets lines come together. Whoever logs wakes it only when it waits for the first
/// of them, and many lines come at once; the queue holds more than come meanwhile.
const GATHERING: Duration = Duration::from_millis(2);

/// How long a flush waits for a destination that hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// The front of the writing thread. Cheap to clone; the thread ends with the last front.
#[derive(Debug, Clone)]
pub struct Sink {
    queue: SyncSender<Order>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Lines that are lost and not yet told.
    dropped: AtomicU64,
    /// What the output of programs that waits counts for.
    output: AtomicUsize,
    /// The file is to be closed and opened before the next line.
    reopen: AtomicBool,
    /// How often something was written, for those who follow.
    written: watch::Sender<u64>,
}

#[derive(Debug)]
enum Order {
    Line(String),
    /// What programs have written.
    Output(String),
    /// Something in [`Shared`] is to be looked at.
    Nudge,
    Flush(SyncSender<()>),
}

impl Sink {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(name: &str, file: LogFile) -> io::Result<Self> {
        let (queue, orders) = sync_channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || write_all(file, &orders, &seen))?;
        Ok(Self { queue, shared })
    }

    /// Queues a line, or counts it as dropped.
    pub fn offer(&self, line: &str) {
        if self.queue.try_send(Order::Line(line.to_owned())).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Queues output of a program, or counts it as dropped. One that is larger than all that may wait
    /// is taken when nothing does.
    pub(super) fn offer_output(&self, record: &str) {
        let waiting = &self.shared.output;
        let cost = cost(record);
        let before = waiting.fetch_add(cost, Ordering::Relaxed);
        let fits = before == 0 || before + cost <= OUTPUT;
        if !fits
            || self
                .queue
                .try_send(Order::Output(record.to_owned()))
                .is_err()
        {
            waiting.fetch_sub(cost, Ordering::Relaxed);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Marks that something has been written.
    pub(super) fn written(&self) -> watch::Receiver<u64> {
        self.shared.written.subscribe()
    }

    /// Has the file closed and opened again before anything else is written.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        // When the queue is full the thread is awake anyway.
        self.queue.try_send(Order::Nudge).ok();
    }

    /// Waits, for a bounded time, until the lines before are written.
    pub fn flush(&self) {
        let (done, finished) = sync_channel(1);
        let mut order = Order::Flush(done);
        let started = Instant::now();
        while let Err(TrySendError::Full(back)) = self.queue.try_send(order) {
            if started.elapsed() > PATIENCE {
                return;
            }
            order = back;
            thread::sleep(Duration::from_millis(10));
        }
        // Running out of patience is the answer for a destination that hangs.
        finished.recv_timeout(PATIENCE).ok();
    }
}

fn write_all(mut file: LogFile, orders: &Receiver<Order>, shared: &Shared) {
    while let Ok(first) = orders.recv() {
        let mut next = Some(first);
        let mut is_urgent = false;
        while let Some(order) = next {
            is_urgent |= !matches!(order, Order::Line(_) | Order::Output(_));
            obey(&mut file, order, shared);
            next = orders.try_recv().ok();
        }
        shared.written.send_modify(|number| *number += 1);
        if !is_urgent {
            thread::sleep(GATHERING);
        }
    }
}

fn obey(file: &mut LogFile, order: Order, shared: &Shared) {
    if shared.reopen.swap(false, Ordering::AcqRel) && file.reopen().is_err() {
        // The old file goes on to be written; the next order tries again.
        shared.reopen.store(true, Ordering::Release);
    }
    report_dropped(file, &shared.dropped);
    match order {
        Order::Line(line) => write(file, &line, shared),
        Order::Output(record) => {
            write(file, &record, shared);
            shared.output.fetch_sub(cost(&record), Ordering::Relaxed);
        }
        Order::Nudge => {}
        // Nobody waits any more when the answer cannot be given.
        Order::Flush(done) => drop(done.send(())),
    }
}

fn write(file: &mut LogFile, text: &str, shared: &Shared) {
    if file.write(text).is_err() {
        // A full disk: the loss is counted and told when there is room again.
        shared.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

fn cost(record: &str) -> usize {
    record.len().max(LEAST)
}

fn report_dropped(file: &mut LogFile, dropped: &AtomicU64) {
    let n = dropped.swap(0, Ordering::Relaxed);
    if n == 0 {
        return;
    }
    let stamp = super::now().strftime("%Y-%m-%d %H:%M:%S").to_string();
    let line = format!("{stamp},000 WARN lines of this log could not be written n_dropped={n}\n");
    if file.write(&line).is_err() {
        dropped.fetch_add(n, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_destination_that_hangs_makes_nobody_wait_and_the_loss_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        nix::unistd::mkfifo(
            &path,
            nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR,
        )
        .unwrap();
        // Opened for both, so that opening for writing does not wait for a reader.
        let mut reader = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let sink = Sink::start("test-hung", LogFile::open(&path, 0, 0).unwrap()).unwrap();
        let line = format!("{}\n", "x".repeat(255));
        // The pipe takes 64 KiB and the queue its number of lines; the rest has nowhere to go.
        let offered = QUEUE + 1024;
        for _ in 0..offered {
            sink.offer(&line);
        }
        // The loss may be told already, if the thread came late to the queue.
        let reading = thread::spawn(move || {
            let mut text = String::new();
            let mut buffer = [0; 4096];
            while !text.contains("n_dropped=") {
                let n = reader.read(&mut buffer).unwrap();
                text.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
            }
            text
        });
        // One more order makes the thread look at the counter.
        sink.flush();
        assert!(
            reading
                .join()
                .unwrap()
                .contains("WARN lines of this log could not be written")
        );
    }
    #[test]
    fn output_that_waits_is_bounded_and_leaves_room_for_lines() {
        let directory = tempfile::tempdir().unwrap();
        for size in [1, 100_000] {
            let path = directory.path().join(size.to_string());
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
            // Nobody reads: what is written hangs as soon as the pipe is full.
            let both = std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open(&path)
                .unwrap();
            let sink = Sink::start("test-hung", LogFile::open(&path, 0, 0).unwrap()).unwrap();
            sink.offer(&"x".repeat(128 * 1024));
            while rustix::io::ioctl_fionread(&both).unwrap() < 4096 {
                thread::yield_now();
            }
            for _ in 0..2 * QUEUE {
                sink.offer_output(&"x".repeat(size));
            }
            let waiting = sink.shared.output.load(Ordering::Relaxed);
            assert!((OUTPUT / 2..=OUTPUT).contains(&waiting), "{waiting}");
            let dropped = sink.shared.dropped.load(Ordering::Relaxed);
            assert!(dropped >= (QUEUE + QUEUE / 2) as u64, "{dropped}");
            sink.offer("a line\n");
            assert_eq!(sink.shared.dropped.load(Ordering::Relaxed), dropped);
        }
    }

    #[test]
    fn output_counts_no_more_when_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let sink = Sink::start("test", LogFile::open(&path, 0, 0).unwrap()).unwrap();
        let large = "x".repeat(2 * OUTPUT);
        for _ in 0..3 {
            sink.offer_output(&large);
            sink.flush();
        }
        assert_eq!(std::fs::metadata(path).unwrap().len(), 6 * OUTPUT as u64);
        assert_eq!(sink.shared.output.load(Ordering::Relaxed), 0);
    }
}
