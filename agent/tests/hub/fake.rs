//! A keeper played by the test: it says only what the test has it say.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]
#![expect(dead_code, reason = "each test file uses its own part of it")]

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rsv_keeper::message::{
    Exited, FromKeeper, Held, Note, Ready, Report, Request, Run, Signal, Signalled, Spawn,
    ToKeeper, Welcome,
};
use rsv_keeper::packet;
use rustix::event::{PollFd, PollFlags};
use tokio::sync::mpsc;

use crate::rig::within;

/// Requests that wait for the test. When it is full, no more are read, as a keeper does that is slow.
const REQUESTS: usize = 1024;

/// The test's end of the conversation.
pub(crate) struct FakeKeeper {
    requests: mpsc::Receiver<(Request, Vec<OwnedFd>)>,
    connection: std::sync::mpsc::Receiver<Arc<OwnedFd>>,
    socket: Option<Arc<OwnedFd>>,
    reading: std::sync::mpsc::SyncSender<()>,
}

impl FakeKeeper {
    /// Listens at a path, for one agent, which is told that nothing but these notes is held. Reads
    /// nothing before [`FakeKeeper::read`].
    pub(crate) fn listen(path: &Path, notes: Vec<Note>) -> Self {
        let listener = packet::bind(path).unwrap();
        let (sender, requests) = mpsc::channel(REQUESTS);
        let (connected, connection) = std::sync::mpsc::sync_channel(1);
        let (reading, read) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            wait(&listener);
            let socket = Arc::new(rustix::net::accept(&listener).unwrap());
            let hello = packet::recv::<ToKeeper>(socket.as_fd()).unwrap().unwrap().0;
            assert!(
                matches!(hello.request, Some(Request::Hello(_))),
                "{hello:?}"
            );
            let welcome = Welcome {
                protocol: 1,
                keeper_pid: 1,
                version: "fake".into(),
            };
            say(&socket, Report::Welcome(welcome));
            for note in notes {
                say(&socket, Report::HeldNote(note));
            }
            say(&socket, Report::Ready(Ready {}));
            connected.send(Arc::clone(&socket)).unwrap();
            read.recv().unwrap();
            while let Ok(Some((message, fds))) = packet::recv::<ToKeeper>(socket.as_fd()) {
                let request = (message.request.unwrap(), fds);
                if sender.blocking_send(request).is_err() {
                    return;
                }
            }
        });
        Self {
            requests,
            connection,
            socket: None,
            reading,
        }
    }

    /// Listens, and reads whatever comes.
    pub(crate) fn reading(path: &Path) -> Self {
        let keeper = Self::listen(path, Vec::new());
        keeper.read();
        keeper
    }

    /// From now on what the agent sends is read.
    pub(crate) fn read(&self) {
        self.reading.send(()).unwrap();
    }

    pub(crate) fn say(&mut self, report: Report) {
        let socket = self
            .socket
            .get_or_insert_with(|| self.connection.recv().unwrap());
        say(socket, report);
    }

    /// The next request.
    pub(crate) async fn next(&mut self) -> Request {
        self.next_with_descriptors().await.0
    }

    /// The next request with what is attached to it.
    pub(crate) async fn next_with_descriptors(&mut self) -> (Request, Vec<OwnedFd>) {
        within(self.requests.recv())
            .await
            .expect("the agent has gone")
    }

    /// The next request to start something; notes before it are passed over.
    pub(crate) async fn spawn(&mut self) -> Spawn {
        loop {
            match self.next().await {
                Request::Spawn(spawn) => return spawn,
                Request::Note(_) | Request::Ack(_) => {}
                other => panic!("a spawn was expected, not {other:?}"),
            }
        }
    }

    /// The next request to send a signal.
    pub(crate) async fn signal(&mut self) -> Signal {
        loop {
            match self.next().await {
                Request::Signal(signal) => return signal,
                Request::Note(_) | Request::Ack(_) => {}
                other => panic!("a signal was expected, not {other:?}"),
            }
        }
    }

    /// The agent says that it stops everything.
    pub(crate) async fn stops_all(&mut self) {
        loop {
            match self.next().await {
                Request::StopsAll(_) => return,
                Request::Note(_) | Request::Ack(_) => {}
                other => panic!("the beginning of the end was expected, not {other:?}"),
            }
        }
    }

    /// The next acknowledgement.
    pub(crate) async fn ack(&mut self) -> Run {
        loop {
            match self.next().await {
                Request::Ack(run) => return run,
                Request::Note(_) => {}
                other => panic!("an acknowledgement was expected, not {other:?}"),
            }
        }
    }

    /// Nothing but notes and acknowledgements has been asked since. What would have been is there,
    /// once the agent has answered something that was asked of it later.
    pub(crate) fn nothing_waits(&mut self) {
        while let Ok((request, _)) = self.requests.try_recv() {
            assert!(
                matches!(request, Request::Note(_) | Request::Ack(_)),
                "{request:?}"
            );
        }
    }

    pub(crate) fn spawned(&mut self, run: &Run, pid: u32) {
        self.say(Report::Spawned(Held {
            run: run.clone(),
            pid,
            spawned_at_ns: now_ns(),
            ..Held::default()
        }));
    }

    /// A program whose standard output is this pipe.
    pub(crate) fn spawned_with(&mut self, run: &Run, pid: u32, stdout: &OwnedFd) {
        let held = Held {
            run: run.clone(),
            pid,
            spawned_at_ns: now_ns(),
            has_stdout: true,
            ..Held::default()
        };
        let socket = self
            .socket
            .get_or_insert_with(|| self.connection.recv().unwrap());
        let message = FromKeeper {
            report: Some(Report::Spawned(held)),
        };
        packet::send(socket.as_fd(), &message, &[stdout.as_fd()]).unwrap();
    }

    pub(crate) fn exited(&mut self, run: &Run, code: i32) {
        let exited = Exited {
            run: run.clone(),
            code: Some(code),
            at_ns: now_ns(),
            ..Exited::default()
        };
        self.say(Report::Exited(exited));
    }

    pub(crate) fn signalled(&mut self, signal: &Signal, errno: i32) {
        self.say(Report::Signalled(Signalled {
            request: signal.request,
            errno,
        }));
    }
}

fn say(socket: &OwnedFd, report: Report) {
    packet::send(
        socket.as_fd(),
        &FromKeeper {
            report: Some(report),
        },
        &[],
    )
    .unwrap();
}

fn wait(listener: &OwnedFd) {
    let mut polled = [PollFd::new(listener, PollFlags::IN)];
    rustix::event::poll(&mut polled, None).unwrap();
}

fn now_ns() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    std::time::Duration::from(now)
        .as_nanos()
        .try_into()
        .unwrap()
}
