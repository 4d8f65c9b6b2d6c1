//! The client and a keeper that the test plays.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rsv_keeper::message::{FromKeeper, Ready, Report, Request, ToKeeper};
use rsv_keeper::packet;
use rustix::net::Shutdown;

use super::*;

/// The patience of these tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// Takes the next agent in, which is told that nothing is held.
fn admit(door: &OwnedFd) -> OwnedFd {
    let mut polled = [rustix::event::PollFd::new(
        door,
        rustix::event::PollFlags::IN,
    )];
    rustix::event::poll(&mut polled, None).unwrap();
    let agent = rustix::net::accept(door).unwrap();
    let hello = packet::recv::<ToKeeper>(agent.as_fd()).unwrap().unwrap().0;
    assert!(matches!(hello.request, Some(Request::Hello(_))));
    let ready = FromKeeper {
        report: Some(Report::Ready(Ready {})),
    };
    packet::send(agent.as_fd(), &ready, &[]).unwrap();
    agent
}

fn options(socket: &Path) -> KeeperOptions {
    KeeperOptions {
        binary: KeeperBinary::Foreign,
        ..KeeperOptions::new(socket.to_owned())
    }
}

#[test]
fn a_keeper_that_is_lost_again_and_again_is_come_back_to_more_slowly() {
    let mut losses = Losses::default();
    let soon = Duration::from_millis(3);
    let first = [soon; 6].map(|after| losses.count(after));
    assert_eq!(first, [0, 0, 1, 2, 2, 2]);
    assert_eq!(PAUSES[2], Duration::from_millis(200));
    assert_eq!(losses.count(SOON), 0, "that one was well");
    assert_eq!(losses.count(soon), 0);
}

#[tokio::test]
async fn a_dismissed_agent_hangs_up_before_it_attaches_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keeper.sock");
    let door = packet::bind(&path).unwrap();
    let keeper = std::thread::spawn(move || {
        let first = admit(&door);
        rustix::net::shutdown(&first, Shutdown::Write).unwrap();
        // As a keeper that has one agent at a time, it lets nobody else in before that.
        while packet::recv::<ToKeeper>(first.as_fd()).unwrap().is_some() {}
        admit(&door)
    });
    let (client, mut inputs) = connect(options(&path)).await.unwrap();
    let client = tokio::spawn(client.run());
    let mut heard = Vec::new();
    let listening = async {
        while heard.len() < 3 {
            heard.push(inputs.recv().await.unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, listening).await.unwrap();
    // The hub may be slow to let go of the first connection.
    assert!(matches!(
        heard.as_slice(),
        [
            KeeperInput::Attached(_),
            KeeperInput::Lost,
            KeeperInput::Attached(_)
        ]
    ));
    drop((inputs, keeper.join().unwrap()));
    client.await.unwrap();
}

#[tokio::test]
async fn a_connection_that_the_hub_has_ended_is_followed_by_another_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keeper.sock");
    let door = packet::bind(&path).unwrap();
    let keeper = std::thread::spawn(move || {
        let first = admit(&door);
        while packet::recv::<ToKeeper>(first.as_fd()).unwrap().is_some() {}
        admit(&door)
    });
    let (client, mut inputs) = connect(options(&path)).await.unwrap();
    let client = tokio::spawn(client.run());
    let port = KeeperPort::new();
    let following = async {
        let Some(KeeperInput::Attached(attached)) = inputs.recv().await else {
            panic!("not attached")
        };
        port.install(attached.connection);
        port.end();
        assert!(matches!(inputs.recv().await, Some(KeeperInput::Lost)));
        let again = inputs.recv().await;
        assert!(matches!(again, Some(KeeperInput::Attached(_))));
    };
    tokio::time::timeout(PATIENCE, following).await.unwrap();
    drop((inputs, keeper.join().unwrap()));
    client.await.unwrap();
}

#[tokio::test]
async fn a_keeper_that_lets_nobody_in_is_waited_for_as_long_as_patience_lasts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keeper.sock");
    let door = packet::bind(&path).unwrap();
    let mut crowd = Vec::new();
    while let Ok(socket) = packet::connect(&path) {
        crowd.push(socket);
    }
    let short = KeeperOptions {
        patience: Duration::from_millis(20),
        ..options(&path)
    };
    let error = connect(short).await.unwrap_err();
    assert!(matches!(error, KeeperError::Connect { .. }), "{error}");
    let keeper = std::thread::spawn(move || {
        for _ in 0..crowd.len() {
            rustix::net::accept(&door).unwrap();
        }
        admit(&door)
    });
    let attaching = tokio::time::timeout(PATIENCE, connect(options(&path)));
    let (client, inputs) = attaching.await.unwrap().unwrap();
    drop((client, inputs, keeper.join().unwrap()));
}
