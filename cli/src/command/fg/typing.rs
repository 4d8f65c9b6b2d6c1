//! Lines from standard input, read on a thread of their own so that output goes on meanwhile.

use std::{
    io::{self, BufRead as _, IsTerminal as _},
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::mpsc;

/// How long the thread waits on a terminal before it looks whether it is still wanted: it must not take
/// a line that is typed for what comes after.
const LOOK: u16 = 100;

/// What is typed.
pub(super) struct Typing {
    lines: mpsc::Receiver<Vec<u8>>,
    is_over: Arc<AtomicBool>,
}

impl Typing {
    /// Begins to read.
    pub(super) fn begin() -> Self {
        // One line waits while another one is written; the next stay where they come from.
        let (sender, lines) = mpsc::channel(1);
        let is_over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_over);
        thread::spawn(move || read(&sender, &stop));
        Self { lines, is_over }
    }

    /// The next line, with its end; none after the last. Cancel-safe.
    pub(super) async fn line(&mut self) -> Option<Vec<u8>> {
        self.lines.recv().await
    }
}

impl Drop for Typing {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn read(lines: &mpsc::Sender<Vec<u8>>, stop: &AtomicBool) {
    let stdin = io::stdin();
    while !stop.load(Ordering::Relaxed) {
        if stdin.is_terminal() && !is_typed(&stdin) {
            continue;
        }
        let mut line = Vec::new();
        match stdin.lock().read_until(b'\n', &mut line) {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        if line.last() != Some(&b'\n') {
            line.push(b'\n');
        }
        if lines.blocking_send(line).is_err() {
            return;
        }
    }
}

/// Whether a line is there, after a short wait.
fn is_typed(stdin: &io::Stdin) -> bool {
    let mut descriptors = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    // What cannot be waited for is read, and says then what is wrong.
    poll(&mut descriptors, PollTimeout::from(LOOK)) != Ok(0)
}
