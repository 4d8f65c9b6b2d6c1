//! The hub with real processes under a real keeper.

#[path = "hub/rig.rs"]
mod rig;

use std::time::Duration;

use rig::{PATIENCE, Rig, eventually, is_alive, kill, said, within};
use rsv_agent::hub::Shutdown;
use rsv_agent::keeper_client::{KeeperBinary, KeeperError, KeeperOptions};
use rsv_proto::wire::{Outcome, ProcessState, Refusal, Step, exit_status};
use rsv_supervise::Autorestart;
use rustix::process::Signal;

#[tokio::test]
async fn a_program_starts_by_itself_and_its_output_is_in_its_log() {
    let rig = Rig::with_keeper();
    let agent = rig
        .agent(vec![rig.program("app", "echo hello; exec sleep 1000")])
        .await;
    let shown = agent.until_state("app", ProcessState::Running).await;
    assert!(shown.started_at.is_some() && shown.has_stdout_log);
    eventually("the log", || rig.log("app") == "hello\n").await;
    agent.stop().await;
}

#[tokio::test]
async fn a_killed_program_is_back_at_once() {
    let rig = Rig::with_keeper();
    let mut program = rig.program("app", "exec sleep 1000");
    program.policy.autorestart = Autorestart::Always;
    let agent = rig.agent(vec![program]).await;
    let mut pid = agent
        .until_state("app", ProcessState::Running)
        .await
        .pid
        .unwrap();
    // The first lives are shorter than a second, and only one such life is restarted without delay.
    agent
        .until("app", |shown| shown.restarts == 0 && shown.pid == Some(pid))
        .await;
    kill(pid, Signal::KILL);
    let shown = agent
        .until("app", |shown| {
            assert_ne!(
                shown.state(),
                ProcessState::Backoff,
                "it is not waited with"
            );
            shown.restarts == 1 && shown.pid.is_some_and(|new| new != pid)
        })
        .await;
    assert_eq!(shown.exit.unwrap().kind, Some(exit_status::Kind::Signal(9)));
    pid = shown.pid.unwrap();
    assert!(is_alive(pid));
    agent.stop().await;
}

#[tokio::test]
async fn a_stop_is_answered_when_the_process_is_gone() {
    let rig = Rig::with_keeper();
    let agent = rig.agent(vec![rig.program("app", "exec sleep 1000")]).await;
    let pid = agent
        .until_state("app", ProcessState::Running)
        .await
        .pid
        .unwrap();
    let result = agent.halt("app").await;
    assert_eq!(
        said(&result),
        (Outcome::Done, Refusal::Unspecified, vec![Step::Stopped])
    );
    assert!(!is_alive(pid));
    let again = agent.halt("app").await;
    assert_eq!(said(&again), (Outcome::Done, Refusal::NotRunning, vec![]));
    let started = agent.start("app").await;
    assert_eq!(
        said(&started),
        (Outcome::Done, Refusal::Unspecified, vec![Step::Started])
    );
    let again = agent.start("app").await;
    assert_eq!(
        said(&again),
        (Outcome::Done, Refusal::AlreadyStarted, vec![])
    );
    agent.stop().await;
}

#[tokio::test]
async fn a_program_that_ignores_the_stop_signal_is_killed() {
    let rig = Rig::with_keeper();
    let script = "trap \"\" TERM; echo ready; while :; do sleep 1000; done";
    let mut program = rig.program("deaf", script);
    program.policy.stopwaitsecs = Duration::from_millis(50);
    program.policy.kill_scope = rsv_supervise::Scope::Group;
    let agent = rig.agent(vec![program]).await;
    let pid = agent
        .until_state("deaf", ProcessState::Running)
        .await
        .pid
        .unwrap();
    eventually("the trap", || rig.log("deaf").contains("ready")).await;
    let result = agent.halt("deaf").await;
    assert_eq!(
        said(&result),
        (Outcome::Done, Refusal::Unspecified, vec![Step::Stopped])
    );
    assert!(!is_alive(pid));
    let shown = agent.shown("deaf").await;
    assert_eq!(shown.exit.unwrap().kind, Some(exit_status::Kind::Signal(9)));
    agent.stop().await;
}

#[tokio::test]
async fn while_there_is_no_keeper_a_stop_still_stops_and_the_end_ends() {
    let mut rig = Rig::with_keeper();
    let deaf = "trap '' TERM; echo ready; while :; do sleep 1000; done";
    let mut deaf = rig.program("deaf", deaf);
    deaf.policy.stopwaitsecs = Duration::from_millis(50);
    deaf.policy.kill_scope = rsv_supervise::Scope::Group;
    let programs = vec![
        rig.program("app", "exec sleep 1000"),
        rig.program("other", "exec sleep 1000"),
        deaf,
    ];
    let agent = rig.agent(programs).await;
    let mut pids = Vec::new();
    for name in ["app", "other", "deaf"] {
        let shown = agent.until_state(name, ProcessState::Running).await;
        pids.push(shown.pid.unwrap());
    }
    eventually("the trap", || rig.log("deaf").contains("ready")).await;
    rig.kill_keeper();
    let result = agent.halt("app").await;
    assert_eq!(said(&result).2, [Step::Stopped]);
    assert!(!is_alive(pids[0]));
    assert!(agent.hub.is_without_keeper());
    // At rest already, and nobody there who could say what it has left.
    assert_eq!(said(&agent.halt("app").await).1, Refusal::NotRunning);
    let result = agent.halt("deaf").await;
    assert_eq!(said(&result).2, [Step::Stopped]);
    assert!(!is_alive(pids[2]));
    agent.stop().await;
    assert!(!is_alive(pids[1]));
}

#[tokio::test]
async fn a_signal_reaches_the_process_and_is_answered() {
    let rig = Rig::with_keeper();
    let script = "trap \"echo got it\" USR1; echo ready; while :; do sleep 0.01; done";
    let agent = rig.agent(vec![rig.program("app", script)]).await;
    eventually("the trap", || rig.log("app").contains("ready")).await;
    let result = agent.signal("app", 10).await;
    assert_eq!(
        said(&result),
        (Outcome::Done, Refusal::Unspecified, vec![Step::Signalled])
    );
    eventually("the signal", || rig.log("app").contains("got it")).await;
    let bad = agent.signal("app", 99).await;
    assert_eq!(said(&bad), (Outcome::Failed, Refusal::BadSignal, vec![]));
    agent.halt("app").await;
    let gone = agent.signal("app", 10).await;
    assert_eq!(said(&gone), (Outcome::Failed, Refusal::NotRunning, vec![]));
    agent.stop().await;
}

#[tokio::test]
async fn what_the_keeper_cannot_start_is_told_with_its_reason() {
    let rig = Rig::with_keeper();
    let mut program = rig.program("lost", "exec sleep 1000");
    program.policy.autostart = false;
    program.launch.as_mut().unwrap().directory = Some("/nonexistent".into());
    program.launch.as_mut().unwrap().command = "/bin/sleep 1000".into();
    let agent = rig.agent(vec![program]).await;
    let result = agent.start("lost").await;
    assert_eq!(
        said(&result),
        (Outcome::Failed, Refusal::SpawnError, vec![])
    );
    assert_eq!(result.detail, "couldn't chdir to /nonexistent: ENOENT");
    agent.stop().await;
}

#[tokio::test]
async fn an_unwritable_log_refuses_the_start_and_nothing_else() {
    let rig = Rig::with_keeper();
    let mut bad = rig.program("bad", "exec sleep 1000");
    bad.policy.autostart = false;
    bad.stdout = rsv_agent::capture::LogSpec::file("/nonexistent/dir/x.log", 0, 0).into();
    let agent = rig
        .agent(vec![bad, rig.program("good", "exec sleep 1000")])
        .await;
    agent.until_state("good", ProcessState::Running).await;
    let result = agent.start("bad").await;
    assert_eq!(
        said(&result),
        (Outcome::Failed, Refusal::SpawnError, vec![])
    );
    assert_eq!(
        result.detail,
        "unknown error making dispatchers for 'bad': ENOENT"
    );
    agent.stop().await;
}

#[tokio::test]
async fn stopping_everything_ends_the_keeper_too() {
    let mut rig = Rig::with_keeper();
    let mut first = rig.program("first", "exec sleep 1000");
    first.group_priority = 1;
    let agent = rig
        .agent(vec![first, rig.program("second", "exec sleep 1000")])
        .await;
    let first = agent
        .until_state("first", ProcessState::Running)
        .await
        .pid
        .unwrap();
    let second = agent
        .until_state("second", ProcessState::Running)
        .await
        .pid
        .unwrap();
    agent.stop().await;
    assert!(!is_alive(first) && !is_alive(second));
    rig.keeper_ends().await;
}

#[tokio::test]
async fn a_keeper_that_is_told_to_end_has_the_agent_stop_everything() {
    let mut rig = Rig::with_keeper();
    let agent = rig.agent(vec![rig.program("app", "exec sleep 1000")]).await;
    let pid = agent
        .until_state("app", ProcessState::Running)
        .await
        .pid
        .unwrap();
    rig.terminate_keeper();
    assert_eq!(within(agent.task).await.unwrap(), Shutdown::StopPrograms);
    assert!(!is_alive(pid));
    rig.keeper_ends().await;
}

#[tokio::test]
async fn a_keeper_is_started_when_none_answers_and_outlives_the_agent() {
    let mut rig = Rig::new();
    let options = KeeperOptions {
        binary: KeeperBinary::File(rig::keeper_binary()),
        patience: PATIENCE,
        ..KeeperOptions::new(rig.socket())
    };
    let programs = || vec![rig.program("app", "exec sleep 1000")];
    let agent = rig
        .agent_with(programs(), options.clone(), None)
        .await
        .unwrap();
    let pid = agent.until_state("app", ProcessState::Running).await.pid;
    agent.kill().await;
    let agent = rig.agent_with(programs(), options, None).await.unwrap();
    assert_eq!(agent.shown("app").await.pid, pid);
    agent.stop().await;
    eventually("the keeper's end", || !rig.socket().exists()).await;
    rig.forget_keeper();
}

#[tokio::test]
async fn a_keeper_that_was_started_by_others_meanwhile_is_taken() {
    let mut rig = Rig::new();
    // Ends at once, as one does that finds another; and that one answers a moment later.
    let late = rig.path("late-keeper");
    let keeper = rig::keeper_binary();
    let script = format!("#!/bin/sh\nsetsid {} \"$@\" &\nexit 1\n", keeper.display());
    rig::executable::write_executable(&late, &script);
    let options = KeeperOptions {
        binary: KeeperBinary::File(late),
        patience: PATIENCE,
        ..KeeperOptions::new(rig.socket())
    };
    let programs = vec![rig.program("app", "exec sleep 1000")];
    let agent = rig.agent_with(programs, options, None).await.unwrap();
    agent.until_state("app", ProcessState::Running).await;
    agent.stop().await;
    eventually("the keeper's end", || !rig.socket().exists()).await;
    rig.forget_keeper();
}

#[tokio::test]
async fn a_second_agent_is_told_who_is_there() {
    let rig = Rig::with_keeper();
    let agent = rig.agent(Vec::new()).await;
    let options = KeeperOptions {
        patience: Duration::from_millis(50),
        ..rig.options()
    };
    let error = rig.agent_with(Vec::new(), options, None).await.unwrap_err();
    assert!(
        matches!(error, KeeperError::Busy { pid, .. } if pid == std::process::id()),
        "{error}"
    );
    agent.stop().await;
}

#[tokio::test]
async fn no_keeper_to_start_is_a_clear_error() {
    let rig = Rig::new();
    let binary = KeeperBinary::File("/bin/false".into());
    let options = KeeperOptions {
        binary,
        patience: PATIENCE,
        ..KeeperOptions::new(rig.socket())
    };
    let error = rig.agent_with(Vec::new(), options, None).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("`/bin/false` ended (exit status: 1) before it answered"),
        "{text}"
    );
}

#[tokio::test]
async fn the_last_output_before_the_end_of_everything_is_in_the_log() {
    let rig = Rig::with_keeper();
    let script = "trap \"seq 1 9000; exit\" TERM; echo ready; while :; do sleep 0.01; done";
    let agent = rig.agent(vec![rig.program("app", script)]).await;
    eventually("the trap", || rig.log("app").contains("ready")).await;
    agent.stop().await;
    let log = rig.log("app");
    assert!(
        log.ends_with("\n8999\n9000\n"),
        "it ends with {:?}",
        log.lines().next_back()
    );
}
