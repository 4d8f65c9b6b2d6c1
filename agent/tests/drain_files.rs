//! The file that a keeper drains a new run into is the newest one of its log, however short the time is
//! that the agent lives after asking for the run.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "hub/fake.rs"]
mod fake;
#[path = "hub/rig.rs"]
mod rig;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fake::FakeKeeper;
use rig::{Rig, eventually, program};
use rsv_agent::capture::LogSpec;
use rsv_keeper::message::{Request, Run};
use rsv_supervise::Autorestart;

fn inode_of(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().ino()
}

fn inode_at(file: &OwnedFd) -> u64 {
    rustix::fs::fstat(file).unwrap().st_ino
}

/// The next spawn and the file that its output is to be drained into.
async fn spawn(keeper: &mut FakeKeeper) -> (Run, u64) {
    loop {
        match keeper.next_with_descriptors().await {
            (Request::Spawn(spawn), fds) => {
                assert_eq!((spawn.has_stdout_drain, fds.len()), (true, 1));
                return (spawn.run, inode_at(&fds[0]));
            }
            (Request::Note(_) | Request::Ack(_) | Request::DrainTo(_), _) => {}
            (other, _) => panic!("a spawn was expected, not {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_restart_after_rotations_is_drained_into_the_newest_file() {
    let rig = Rig::new();
    let mut keeper = FakeKeeper::reading(&rig.socket());
    let log = rig.path("app.log");
    let mut app = program("app", "never run");
    app.stdout = LogSpec::file(&log, 10, 9).into();
    app.policy.autorestart = Autorestart::Always;
    let agent = rig.agent(vec![app]).await;
    // Each pipe stays open: what is left of a former run goes on writing.
    let mut writers = Vec::new();
    for round in 0..4 {
        let (run, drain) = spawn(&mut keeper).await;
        assert_eq!(drain, inode_of(&log), "round {round}");
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        keeper.spawned_with(&run, 4000 + round, &reader);
        writers.push(writer);
        for writer in &writers {
            let before = inode_of(&log);
            rustix::io::write(writer.as_fd(), b"0123456789ab").unwrap();
            eventually("a rotation", || log.exists() && inode_of(&log) != before).await;
        }
        keeper.exited(&run, 1);
    }
    agent.kill().await;
}
