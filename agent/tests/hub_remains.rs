//! What a program leaves that ends by itself ends with the next stop, restart or removal.

#[path = "hub/fake.rs"]
mod fake;
#[path = "hub/rig.rs"]
mod rig;

use fake::FakeKeeper;
use rig::{Agent, Rig, eventually, is_alive, program, said, within};
use rsv_agent::hub::{Key, ProgramChange};
use rsv_agent::spec::Program;
use rsv_proto::wire::{Outcome, ProcessState, Refusal, Step};
use rsv_supervise::{Autorestart, Retries};

/// A program that leaves a daemon, says its number and ends.
fn leaving(rig: &Rig) -> Program {
    let script = "setsid sleep 1000 >/dev/null 2>&1 & echo $!";
    let mut program = rig.program("app", script);
    program.policy.autorestart = Autorestart::Never;
    program.policy.startsecs = std::time::Duration::ZERO;
    program
}

/// The number of the daemon of a start, counted from zero.
async fn daemon(rig: &Rig, start: usize) -> u32 {
    let number = || rig.log("app").lines().nth(start)?.parse().ok();
    eventually("the daemon", || number().is_some()).await;
    let number = number().expect("a number");
    assert!(is_alive(number));
    number
}

fn key() -> Key {
    let name = || "app".to_owned();
    Key {
        group: name(),
        name: name(),
    }
}

async fn removed(agent: &Agent) {
    let changes = vec![ProgramChange::Remove(key())];
    let mut results = agent.hub.reconfigure(changes).await.expect("the hub");
    while within(results.recv()).await.is_some() {}
}

#[tokio::test]
async fn a_stop_of_what_has_ended_ends_what_it_left() {
    let rig = Rig::with_keeper();
    let agent = rig.agent(vec![leaving(&rig)]).await;
    agent.until_state("app", ProcessState::Exited).await;
    let left = daemon(&rig, 0).await;
    let result = agent.halt("app").await;
    assert_eq!(said(&result), (Outcome::Done, Refusal::NotRunning, vec![]));
    assert!(!is_alive(left));
    agent.stop().await;
}

#[tokio::test]
async fn a_restart_and_a_removal_leave_nothing_of_what_was() {
    let rig = Rig::with_keeper();
    let agent = rig.agent(vec![leaving(&rig)]).await;
    agent.until_state("app", ProcessState::Exited).await;
    let first = daemon(&rig, 0).await;
    let result = agent.restart("app").await;
    assert_eq!(said(&result).2, [Step::Started]);
    assert!(!is_alive(first));
    let second = daemon(&rig, 1).await;
    agent.until_state("app", ProcessState::Exited).await;
    removed(&agent).await;
    assert!(!is_alive(second));
    assert!(agent.hub.status(&[]).await.unwrap().programs.is_empty());
    agent.stop().await;
}

#[tokio::test]
async fn what_failed_starts_have_left_ends_with_the_stop() {
    let rig = Rig::with_keeper();
    let mut program = leaving(&rig);
    program.policy.startsecs = std::time::Duration::from_secs(100);
    program.policy.startretries = Retries::Limit(100);
    let agent = rig.agent(vec![program]).await;
    agent.until_state("app", ProcessState::Backoff).await;
    let left = daemon(&rig, 0).await;
    let result = agent.halt("app").await;
    assert_eq!(result.outcome(), Outcome::Done);
    assert!(!is_alive(left));
    assert_eq!(agent.shown("app").await.state(), ProcessState::Stopped);
    agent.stop().await;
}

#[tokio::test]
async fn a_program_that_leaves_daemons_keeps_them() {
    let rig = Rig::with_keeper();
    let mut program = leaving(&rig);
    if let Ok(launch) = &mut program.launch {
        launch.leaves_daemons = true;
    }
    let agent = rig.agent(vec![program]).await;
    agent.until_state("app", ProcessState::Exited).await;
    let left = daemon(&rig, 0).await;
    assert_eq!(said(&agent.halt("app").await).1, Refusal::NotRunning);
    assert!(is_alive(left));
    agent.stop().await;
    rig::kill(left, rustix::process::Signal::KILL);
}

#[tokio::test]
async fn nothing_is_started_or_answered_before_nothing_is_left() {
    let rig = Rig::new();
    let mut keeper = FakeKeeper::reading(&rig.socket());
    let mut program = program("app", "exit 0");
    program.policy.autorestart = Autorestart::Never;
    program.policy.startsecs = std::time::Duration::ZERO;
    let agent = rig.agent(vec![program]).await;
    let run = keeper.spawn().await.run;
    keeper.spawned(&run, 70);
    keeper.exited(&run, 0);
    agent.until_state("app", ProcessState::Exited).await;
    let stop = agent.halt("app");
    tokio::pin!(stop);
    let asked = tokio::select! {
        signal = keeper.signal() => signal,
        result = &mut stop => panic!("answered too early: {result:?}"),
    };
    assert!(asked.ends_remainder && asked.run == run);
    let restart = agent.restart("app");
    tokio::pin!(restart);
    tokio::select! {
        result = &mut restart => panic!("answered too early: {result:?}"),
        _ = agent.until_state("app", ProcessState::Starting) => {}
    }
    keeper.nothing_waits();
    keeper.signalled(&asked, 0);
    assert_eq!(said(&within(&mut stop).await).1, Refusal::NotRunning);
    let run = keeper.spawn().await.run;
    assert_eq!(run.attempt, 2);
    keeper.spawned(&run, 71);
    assert_eq!(said(&within(&mut restart).await).2, [Step::Started]);
}
