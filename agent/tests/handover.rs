//! Programs whose keeper has died: what the next one is given, and what is shown while there is none.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that goes wrong"
)]

#[path = "capture_support/disk.rs"]
mod disk;
#[path = "hub/rig.rs"]
mod rig;

use disk::Disk;
use rig::{Rig, eventually, kill, within};
use rsv_agent::capture::LogSpec;
use rsv_agent::keeper_client::{self, KeeperInput};
use rsv_proto::wire::{Outcome, ProcessState, exit_status};
use rsv_supervise::Autorestart;
use rustix::process::Signal;

/// Whether the keeper holds the standard output of the one program that it has. The agent has gone.
async fn keeper_has_the_pipe(rig: &Rig) -> bool {
    let (_client, mut inputs) = keeper_client::connect(rig.options()).await.unwrap();
    let Some(KeeperInput::Attached(attached)) = within(inputs.recv()).await else {
        panic!("a keeper is there");
    };
    let [run] = &attached.runs[..] else {
        panic!("{:?}", attached.runs);
    };
    run.stdout.is_some()
}

#[tokio::test]
async fn a_hung_disk_does_not_keep_the_pipes_from_the_next_keeper() {
    let mut rig = Rig::with_keeper();
    let Some(disk) = Disk::mount(rig.directory.path()) else {
        return;
    };
    let gate = rig.path("gate");
    let wait = format!("until [ -e {} ]; do sleep 0.01; done", gate.display());
    let mut program = rig.program("app", &format!("{wait}; echo a line; exec sleep 1000"));
    program.stdout = LogSpec::file(disk.directory.join("app.log"), 0, 0).into();
    let agent = rig.agent(vec![program]).await;
    agent.until_state("app", ProcessState::Running).await;
    disk.freeze();
    std::fs::write(gate, "").unwrap();
    // The thread of the logs has taken the line to the disk, and does not come back.
    eventually("the disk hangs", || agent.capture.stuck_for().is_some()).await;
    rig.kill_keeper();
    rig.start_keeper();
    // Answered only by a keeper that knows the process.
    let answered = agent.signal("app", Signal::CONT.as_raw()).await;
    assert_eq!(answered.outcome(), Outcome::Done);
    agent.kill().await;
    assert!(keeper_has_the_pipe(&rig).await);
    disk.thaw();
}

#[tokio::test]
async fn the_next_keeper_gets_pipes_whose_log_cannot_be_opened() {
    let mut rig = Rig::with_keeper();
    let directory = rig.path("logs");
    std::fs::create_dir(&directory).unwrap();
    let mut program = rig.program("app", "exec sleep 1000");
    program.stdout = LogSpec::file(directory.join("app.log"), 0, 0).into();
    let agent = rig.agent(vec![program.clone()]).await;
    agent.until_state("app", ProcessState::Running).await;
    agent.kill().await;
    std::fs::remove_dir_all(&directory).unwrap();
    let agent = rig.agent(vec![program]).await;
    agent
        .until("app", |shown| !shown.log_trouble.is_empty())
        .await;
    rig.kill_keeper();
    rig.start_keeper();
    let answered = agent.signal("app", Signal::CONT.as_raw()).await;
    assert_eq!(answered.outcome(), Outcome::Done);
    agent.kill().await;
    assert!(keeper_has_the_pipe(&rig).await);
}

#[tokio::test]
async fn a_program_that_ends_while_no_keeper_comes_is_not_shown_as_running() {
    let mut rig = Rig::with_keeper();
    let mut back = rig.program("back", "exec sleep 1000");
    back.policy.autorestart = Autorestart::Always;
    let mut app = rig.program("app", "exec sleep 1000");
    app.policy.autorestart = Autorestart::Never;
    let agent = rig.agent(vec![app, back]).await;
    let app = agent.until_state("app", ProcessState::Running).await;
    let back = agent.until_state("back", ProcessState::Running).await;
    rig.kill_keeper();
    kill(app.pid.unwrap(), Signal::KILL);
    kill(back.pid.unwrap(), Signal::KILL);
    let shown = agent.until_state("app", ProcessState::Exited).await;
    let told = shown.exit.unwrap().kind;
    // A kernel before 6.15 tells nobody but the parent.
    assert!(
        told.is_none() || told == Some(exit_status::Kind::Signal(9)),
        "{told:?}"
    );
    let waits = agent.until("back", |shown| shown.pid.is_none()).await;
    assert_eq!(waits.state(), ProcessState::Starting);
    rig.start_keeper();
    let again = agent.until_state("back", ProcessState::Running).await;
    assert_ne!(again.pid, back.pid);
    assert_eq!(agent.shown("app").await.state(), ProcessState::Exited);
    agent.stop().await;
}
