//! A keeper whose file was replaced becomes that file when the next agent attaches.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "hub/rig.rs"]
mod rig;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use rig::{PATIENCE, Rig, eventually, is_alive};
use rsv_agent::keeper_client::{KeeperBinary, KeeperOptions};
use rsv_proto::wire::ProcessState;

/// Puts a keeper with `extra` bytes at its end in the place of whatever is there. Another process writes it:
/// one that is forked here meanwhile would hold it open for writing, and nothing could execute it.
fn place(file: &Path, extra: usize) {
    let new = file.with_extension("new");
    let written = Command::new("sh")
        .args(["-c", "cp \"$1\" \"$2\" && truncate -s +\"$3\" \"$2\"", "sh"])
        .args([&rig::keeper_binary(), &new])
        .arg(extra.to_string())
        .status();
    assert!(written.unwrap().success());
    std::fs::rename(&new, file).unwrap();
}

/// The keeper that listens at the rig's socket.
fn keeper_of(rig: &Rig) -> i32 {
    let socket = rsv_keeper::packet::connect(&rig.socket()).unwrap();
    let peer = nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::PeerCredentials);
    peer.unwrap().pid()
}

fn inode_of(path: impl AsRef<Path>) -> u64 {
    std::fs::metadata(path).unwrap().ino()
}

#[tokio::test]
async fn a_replaced_keeper_file_is_taken_up_with_the_next_agent_and_no_program_notices() {
    let mut rig = Rig::new();
    let file = rig.path("rsv-keeper");
    place(&file, 0);
    let options = KeeperOptions {
        binary: KeeperBinary::File(file.clone()),
        patience: PATIENCE,
        ..KeeperOptions::new(rig.socket())
    };
    let script = "n=0; while n=$((n+1)); do echo $n; sleep 0.002; done";
    let programs = || vec![rig.program("app", script)];
    let agent = rig
        .agent_with(programs(), options.clone(), None)
        .await
        .unwrap();
    let before = agent.until_state("app", ProcessState::Running).await;
    let keeper = keeper_of(&rig);
    let exe = format!("/proc/{keeper}/exe");
    for round in 1..4 {
        let lines = rig.log("app").lines().count();
        eventually("output", || rig.log("app").lines().count() > lines).await;
        let former = inode_of(&exe);
        place(&file, round);
        assert_ne!(inode_of(&file), former);
    }
    agent.kill().await;
    let agent = rig
        .agent_with(programs(), options.clone(), None)
        .await
        .unwrap();
    assert_eq!(keeper_of(&rig), keeper);
    assert_eq!(inode_of(&exe), inode_of(&file), "it runs the new file");
    assert_eq!(agent.shown("app").await, before);
    assert!(is_alive(before.pid.unwrap()));
    agent.kill().await;
    let taken = inode_of(&exe);
    place(&file, 3);
    let agent = rig.agent_with(programs(), options, None).await.unwrap();
    assert_eq!(inode_of(&exe), taken, "the same content is nothing new");
    let lines = rig.log("app").lines().count();
    eventually("output goes on", || rig.log("app").lines().count() > lines).await;
    agent.stop().await;
    let log = rig.log("app");
    for (number, line) in log.lines().enumerate() {
        assert_eq!(line, (number + 1).to_string());
    }
    eventually("the keeper's end", || !rig.socket().exists()).await;
    rig.forget_keeper();
}

#[tokio::test]
async fn a_keeper_that_somebody_else_starts_becomes_what_has_taken_its_files_place() {
    let rig = Rig::new();
    let file = rig.path("rsv-keeper");
    place(&file, 0);
    let mut keeper = Command::new(&file)
        .arg("--socket")
        .arg(rig.socket())
        .spawn()
        .unwrap();
    eventually("the keeper listens", || rig.socket().exists()).await;
    place(&file, 1);
    let agent = rig.agent(vec![rig.program("app", "exec sleep 1000")]).await;
    assert_eq!(
        inode_of(format!("/proc/{}/exe", keeper.id())),
        inode_of(&file)
    );
    agent.until_state("app", ProcessState::Running).await;
    agent.stop().await;
    assert!(keeper.wait().unwrap().success());
}
