//! What the hub says to a keeper, and what it answers to whoever asks; the keeper is the test.

#[path = "hub/fake.rs"]
mod fake;
#[path = "hub/rig.rs"]
mod rig;

use std::time::Duration;

use fake::FakeKeeper;
use rig::{Agent, Rig, program, said, within};
use rsv_agent::desired::Desired;
use rsv_agent::hub::{ActOn, Shutdown, UnderWay};
use rsv_agent::spec::Program;
use rsv_keeper::message::{Note, Refused, Report, Request, Stage};
use rsv_proto::wire::{self, Outcome, ProcessState, Refusal, Step, action::Verb};
use rsv_supervise::Autorestart;

const TERM: i32 = 15;

/// An agent for these programs and the keeper it talks to.
async fn pair(programs: Vec<Program>) -> (Rig, Agent, FakeKeeper) {
    let rig = Rig::new();
    let keeper = FakeKeeper::reading(&rig.socket());
    let agent = rig.agent(programs).await;
    (rig, agent, keeper)
}

fn sleeper(name: &str) -> Program {
    program(name, "exec sleep 1000")
}

fn manual(name: &str) -> Program {
    let mut program = sleeper(name);
    program.policy.autostart = false;
    program
}

/// Begins an action whose results are taken later.
async fn begin(
    agent: &Agent,
    name: &str,
    verb: Verb,
) -> tokio::sync::mpsc::Receiver<wire::TargetResult> {
    let action = wire::Action { verb: Some(verb) };
    let request = ActOn {
        programs: vec![name.to_owned()],
        action,
        ..ActOn::default()
    };
    agent.hub.act(request).await.expect("the hub is there")
}

fn start() -> Verb {
    Verb::Start(wire::StartAction {})
}

fn stop() -> Verb {
    Verb::Stop(wire::StopAction {})
}

fn restart() -> Verb {
    Verb::Restart(wire::RestartAction {})
}

#[tokio::test]
async fn a_spawn_carries_the_run_the_program_and_a_note() {
    let (_rig, agent, mut keeper) = pair(vec![sleeper("app")]).await;
    let spawn = keeper.spawn().await;
    assert_eq!((spawn.run.key.as_str(), spawn.run.attempt), ("app:app", 1));
    assert_eq!(
        spawn.spec.argv,
        [&b"/bin/sh"[..], b"-c", b"exec sleep 1000"]
    );
    assert!(!spawn.note.is_empty() && spawn.has_stdout_drain && !spawn.has_stderr_drain);
    assert_eq!(agent.shown("app").await.state(), ProcessState::Starting);
    keeper.spawned(&spawn.run, 4242);
    let shown = agent.until_state("app", ProcessState::Running).await;
    assert_eq!(shown.pid, Some(4242));
}

#[tokio::test]
async fn a_crashed_program_is_spawned_before_its_exit_is_acknowledged() {
    let mut program = sleeper("app");
    program.policy.autorestart = Autorestart::Always;
    let (_rig, agent, mut keeper) = pair(vec![program]).await;
    let first = keeper.spawn().await.run;
    keeper.spawned(&first, 4242);
    agent.until_state("app", ProcessState::Running).await;
    keeper.exited(&first, 1);
    let second = keeper.spawn().await.run;
    assert_eq!(second.attempt, 2);
    assert_eq!(keeper.next().await, Request::Ack(first));
}

#[tokio::test]
async fn everything_is_started_in_the_order_of_priorities() {
    let ordered = |name: &str, group, own| {
        let mut program = sleeper(name);
        (program.group_priority, program.priority) = (group, own);
        program
    };
    let programs = vec![
        ordered("d", 2, 1),
        ordered("c", 1, 999),
        ordered("b", 1, 1),
        ordered("a", 2, 1),
    ];
    let (_rig, _agent, mut keeper) = pair(programs).await;
    let mut names = Vec::new();
    for _ in 0..4 {
        names.push(keeper.spawn().await.run.key);
    }
    // The group comes before the process's own number, as in Supervisor.
    assert_eq!(names, ["b:b", "c:c", "a:a", "d:d"]);
}

#[tokio::test]
async fn a_level_is_stopped_only_when_the_one_above_is_at_rest() {
    let level = |name: &str, priority| {
        let mut program = sleeper(name);
        program.group_priority = priority;
        program
    };
    let programs = vec![level("low", 1), level("high", 9), level("high2", 9)];
    let (_rig, agent, mut keeper) = pair(programs).await;
    let mut runs = Vec::new();
    for pid in 1001..=1003 {
        let run = keeper.spawn().await.run;
        keeper.spawned(&run, pid);
        runs.push(run);
    }
    for name in ["low", "high", "high2"] {
        agent.until_state(name, ProcessState::Running).await;
    }
    let hub = agent.hub.clone();
    let shutdown = tokio::spawn(async move { hub.shutdown(Shutdown::StopPrograms).await });
    keeper.stops_all().await;
    let told = [keeper.signal().await.run, keeper.signal().await.run];
    assert!(
        told.iter().all(|run| run.key.starts_with("high")),
        "{told:?}"
    );
    assert_eq!(agent.shown("low").await.state(), ProcessState::Running);
    let refused = agent.start("low").await;
    assert_eq!(
        said(&refused),
        (Outcome::Failed, Refusal::ShuttingDown, vec![])
    );
    keeper.exited(&told[0], 0);
    keeper.exited(&told[1], 0);
    let last = keeper.signal().await;
    assert_eq!((last.run.key.as_str(), last.signal), ("low:low", TERM));
    keeper.exited(&last.run, 0);
    loop {
        match keeper.next().await {
            Request::Exit(_) => break,
            Request::Note(_) | Request::Ack(_) => {}
            other => panic!("the end was expected, not {other:?}"),
        }
    }
    within(shutdown).await.unwrap().unwrap();
    assert_eq!(within(agent.task).await.unwrap(), Shutdown::StopPrograms);
}

#[tokio::test]
async fn a_crash_while_everything_is_stopped_is_not_followed_by_a_start() {
    let mut low = sleeper("low");
    (low.group_priority, low.policy.autorestart) = (1, Autorestart::Always);
    let (_rig, agent, mut keeper) = pair(vec![low, sleeper("high")]).await;
    let low = keeper.spawn().await.run;
    keeper.spawned(&low, 1001);
    let high = keeper.spawn().await.run;
    keeper.spawned(&high, 1002);
    agent.until_state("low", ProcessState::Running).await;
    agent.until_state("high", ProcessState::Running).await;
    let hub = agent.hub.clone();
    let shutdown = tokio::spawn(async move { hub.shutdown(Shutdown::StopPrograms).await });
    keeper.stops_all().await;
    assert_eq!(keeper.signal().await.run, high);
    keeper.exited(&low, 1);
    agent.until_state("low", ProcessState::Exited).await;
    keeper.exited(&high, 0);
    assert_eq!(keeper.ack().await, low);
    assert_eq!(keeper.ack().await, high);
    assert!(matches!(keeper.next().await, Request::Exit(_)));
    within(shutdown).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_restart_is_one_action_with_both_its_steps() {
    let (_rig, agent, mut keeper) = pair(vec![sleeper("app")]).await;
    let first = keeper.spawn().await.run;
    keeper.spawned(&first, 1001);
    agent.until_state("app", ProcessState::Running).await;
    let mut results = begin(&agent, "app", restart()).await;
    let signal = keeper.signal().await;
    assert_eq!((signal.signal, &signal.run), (TERM, &first));
    keeper.exited(&first, 0);
    let second = keeper.spawn().await.run;
    keeper.spawned(&second, 1002);
    let result = within(results.recv()).await.unwrap();
    let steps = vec![Step::Stopped, Step::Started];
    assert_eq!(said(&result), (Outcome::Done, Refusal::Unspecified, steps));
    assert!(within(results.recv()).await.is_none());
}

#[tokio::test]
async fn a_restart_of_what_cannot_start_again_stops_it_and_says_so() {
    let rig = Rig::new();
    let mut keeper = FakeKeeper::reading(&rig.socket());
    let binary = rig.path("app");
    std::fs::copy("/bin/sleep", &binary).unwrap();
    let mut app = sleeper("app");
    app.launch.as_mut().unwrap().command = format!("{} 1000", binary.display());
    let agent = rig.agent(vec![app]).await;
    let run = keeper.spawn().await.run;
    keeper.spawned(&run, 1001);
    agent.until_state("app", ProcessState::Running).await;
    std::fs::remove_file(&binary).unwrap();
    let started = agent.start("app").await;
    assert_eq!(said(&started), (Outcome::Failed, Refusal::NoFile, vec![]));
    let mut results = begin(&agent, "app", restart()).await;
    keeper.signal().await;
    keeper.exited(&run, 0);
    let result = within(results.recv()).await.unwrap();
    assert_eq!(
        said(&result),
        (Outcome::Failed, Refusal::NoFile, vec![Step::Stopped])
    );
    assert_eq!(
        result.detail,
        format!("can't find command '{}'", binary.display())
    );
    assert_eq!(agent.shown("app").await.state(), ProcessState::Stopped);
}

#[tokio::test]
async fn a_start_of_the_fleet_waits_for_one_that_is_under_way() {
    let (_rig, agent, mut keeper) = pair(vec![manual("app")]).await;
    let mut first = begin(&agent, "app", start()).await;
    let run = keeper.spawn().await.run;
    let fleet = ActOn {
        programs: vec!["app".to_owned()],
        action: wire::Action {
            verb: Some(start()),
        },
        under_way: UnderWay::Awaited,
        ..ActOn::default()
    };
    let mut second = agent.hub.act(fleet).await.unwrap();
    // As Supervisor answers; the hub has come to the other one before.
    let told = agent.start("app").await;
    let already = || (Outcome::Done, Refusal::AlreadyStarted, vec![]);
    assert_eq!(said(&told), already());
    assert!(second.try_recv().is_err(), "it is not up yet");
    keeper.spawned(&run, 1001);
    let done = within(first.recv()).await.unwrap();
    assert_eq!(done.outcome(), Outcome::Done);
    assert_eq!(said(&within(second.recv()).await.unwrap()), already());
}

#[tokio::test]
async fn a_stop_overtakes_a_start_that_is_not_done() {
    let mut app = manual("app");
    app.policy.startsecs = Duration::from_secs(3600);
    let (_rig, agent, mut keeper) = pair(vec![app]).await;
    let mut started = begin(&agent, "app", start()).await;
    let run = keeper.spawn().await.run;
    keeper.spawned(&run, 1001);
    agent.until("app", |shown| shown.pid.is_some()).await;
    let mut stopped = begin(&agent, "app", stop()).await;
    let overtaken = within(started.recv()).await.unwrap();
    assert_eq!(
        said(&overtaken),
        (Outcome::Failed, Refusal::Superseded, vec![])
    );
    keeper.signal().await;
    keeper.exited(&run, 0);
    let result = within(stopped.recv()).await.unwrap();
    assert_eq!(
        said(&result),
        (Outcome::Done, Refusal::Unspecified, vec![Step::Stopped])
    );
}

#[tokio::test]
async fn a_start_that_ends_too_quickly_is_a_spawn_error() {
    let mut app = manual("app");
    app.policy.startsecs = Duration::from_secs(3600);
    let (_rig, agent, mut keeper) = pair(vec![app]).await;
    let mut results = begin(&agent, "app", start()).await;
    let run = keeper.spawn().await.run;
    keeper.spawned(&run, 1001);
    keeper.exited(&run, 1);
    let result = within(results.recv()).await.unwrap();
    assert_eq!(
        said(&result),
        (Outcome::Failed, Refusal::SpawnError, vec![])
    );
    assert_eq!(
        result.detail,
        "Exited too quickly (process log may have details)"
    );
    // It is waited with for a second, which may be over.
    let state = agent.shown("app").await.state();
    assert!(
        matches!(state, ProcessState::Backoff | ProcessState::Starting),
        "{state:?}"
    );
}

#[tokio::test]
async fn a_refused_spawn_is_told_in_supervisors_words() {
    let (_rig, agent, mut keeper) = pair(vec![manual("app")]).await;
    let mut results = begin(&agent, "app", start()).await;
    let run = keeper.spawn().await.run;
    let errno = libc::EAGAIN;
    keeper.say(Report::Refused(Refused {
        run,
        stage: Stage::Fork.into(),
        errno,
    }));
    let result = within(results.recv()).await.unwrap();
    assert_eq!(
        said(&result),
        (Outcome::Failed, Refusal::SpawnError, vec![])
    );
    assert_eq!(
        result.detail,
        "Too many processes in process table to spawn 'app'"
    );
}

#[tokio::test]
async fn a_process_that_cannot_be_signalled_is_unknown_until_it_ends() {
    let (_rig, agent, mut keeper) = pair(vec![sleeper("app")]).await;
    let run = keeper.spawn().await.run;
    keeper.spawned(&run, 1001);
    agent.until_state("app", ProcessState::Running).await;
    let mut results = begin(&agent, "app", stop()).await;
    let signal = keeper.signal().await;
    keeper.signalled(&signal, libc::EPERM);
    let result = within(results.recv()).await.unwrap();
    assert_eq!(said(&result), (Outcome::Failed, Refusal::Other, vec![]));
    assert_eq!(agent.shown("app").await.state(), ProcessState::Unknown);
    keeper.exited(&run, 0);
    agent.until_state("app", ProcessState::Stopped).await;
}

#[tokio::test]
async fn a_start_beyond_the_bound_of_processes_is_refused() {
    let rig = Rig::new();
    let mut keeper = FakeKeeper::reading(&rig.socket());
    let programs = vec![sleeper("one"), manual("two")];
    let agent = rig
        .agent_with(programs, rig.options(), Some(1))
        .await
        .unwrap();
    let run = keeper.spawn().await.run;
    keeper.spawned(&run, 1001);
    agent.until_state("one", ProcessState::Running).await;
    let result = agent.start("two").await;
    assert_eq!(
        said(&result),
        (Outcome::Failed, Refusal::TooManyProcesses, vec![])
    );
    let mut stopped = begin(&agent, "one", stop()).await;
    keeper.signal().await;
    keeper.exited(&run, 0);
    within(stopped.recv()).await.unwrap();
    let mut started = begin(&agent, "two", start()).await;
    let run = keeper.spawn().await.run;
    keeper.spawned(&run, 1002);
    assert_eq!(
        within(started.recv()).await.unwrap().outcome(),
        Outcome::Done
    );
}

#[tokio::test]
async fn names_that_name_nothing_are_told_apart() {
    let mut grouped = manual("p");
    grouped.key.group = "g".into();
    let (_rig, agent, _keeper) = pair(vec![manual("app"), grouped]).await;
    let results = agent
        .act(&["nope", "nope:*", "g", "g:p", "a*"], stop())
        .await;
    let told: Vec<_> = results
        .iter()
        .map(|r| (r.program.as_str(), r.refusal()))
        .collect();
    assert_eq!(
        told,
        [
            ("nope", Refusal::NoSuchProcess),
            ("nope:*", Refusal::NoSuchGroup),
            ("g", Refusal::NoSuchProcess),
            ("app", Refusal::NotRunning),
            ("g:p", Refusal::NotRunning),
        ]
    );
    let status = agent.hub.status(&["g:*".into(), "x".into()]).await.unwrap();
    assert_eq!(status.programs.len(), 1);
    assert_eq!(status.unmatched.len(), 1);
    assert_eq!(agent.hub.status(&[]).await.unwrap().programs.len(), 2);
}

#[tokio::test]
async fn a_refused_program_is_shown_and_cannot_be_started() {
    let mut broken = sleeper("broken");
    broken.launch = Err("not a valid boolean value: 'maybe'".into());
    let (_rig, agent, mut keeper) = pair(vec![broken]).await;
    let shown = agent.shown("broken").await;
    assert_eq!(shown.state(), ProcessState::Fatal);
    assert_eq!(shown.spawn_error, "not a valid boolean value: 'maybe'");
    let result = agent.start("broken").await;
    assert_eq!(
        said(&result),
        (Outcome::Failed, Refusal::SpawnError, vec![])
    );
    keeper.nothing_waits();
}

#[tokio::test]
async fn a_note_that_cannot_be_read_begins_the_machine_anew() {
    let rig = Rig::new();
    let note = Note {
        key: "app:app".into(),
        note: b"{\"phase\":\"of a later version\"}".to_vec(),
    };
    let mut keeper = FakeKeeper::listen(&rig.socket(), vec![note]);
    keeper.read();
    let _agent = rig.agent(vec![sleeper("app")]).await;
    assert_eq!(keeper.spawn().await.run.attempt, 1);
}

#[tokio::test]
async fn the_note_of_one_agent_puts_the_machine_of_the_next_where_it_stood() {
    let (_rig, agent, mut keeper) = pair(vec![manual("app")]).await;
    let _results = begin(&agent, "app", start()).await;
    let spawn = keeper.spawn().await;
    // The first agent dies before the spawn is answered, and it was never carried out.
    let rig = Rig::new();
    let note = Note {
        key: spawn.run.key.clone(),
        note: spawn.note.clone(),
    };
    let mut keeper = FakeKeeper::listen(&rig.socket(), vec![note]);
    keeper.read();
    let _agent = rig.agent(vec![manual("app")]).await;
    assert_eq!(keeper.spawn().await.run, spawn.run);
}

#[tokio::test]
async fn a_keeper_that_does_not_read_does_not_hold_up_the_hub() {
    let rig = Rig::new();
    let mut keeper = FakeKeeper::listen(&rig.socket(), Vec::new());
    let programs: Vec<_> = (0..300).map(|n| sleeper(&format!("p{n:03}"))).collect();
    let agent = rig.agent(programs).await;
    let starting = |program: &wire::ProcessStatus| program.state() == ProcessState::Starting;
    agent.until("p299", starting).await;
    assert!(
        agent
            .hub
            .status(&[])
            .await
            .unwrap()
            .programs
            .iter()
            .all(starting)
    );
    keeper.read();
    for n in 0..300 {
        assert_eq!(keeper.spawn().await.run.key, format!("p{n:03}:p{n:03}"));
    }
}

#[tokio::test]
async fn what_the_hub_tells_is_numbered_without_holes() {
    let (_rig, agent, mut keeper) = pair(vec![sleeper("app")]).await;
    let mut reader = agent.hub.journal().subscribe_after(0);
    let run = keeper.spawn().await.run;
    keeper.spawned(&run, 1001);
    keeper.exited(&run, 0);
    let shown = agent.until_state("app", ProcessState::Exited).await;
    let snapshot = agent.hub.snapshot().await.unwrap();
    assert_eq!(snapshot.programs, [shown]);
    for expected in 1..=snapshot.seq {
        match reader.next().await {
            rsv_agent::journal::Item::Delta(delta) => {
                assert_eq!((delta.epoch, delta.seq), (1, expected));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn who_waits_when_everything_ends_is_answered() {
    let mut slow = manual("slow");
    slow.policy.startsecs = Duration::from_secs(3600);
    let (_rig, agent, mut keeper) = pair(vec![slow]).await;
    let mut results = begin(&agent, "slow", start()).await;
    let run = keeper.spawn().await.run;
    keeper.spawned(&run, 1001);
    agent.until("slow", |shown| shown.pid.is_some()).await;
    within(agent.hub.shutdown(Shutdown::LeavePrograms))
        .await
        .unwrap();
    let result = within(results.recv()).await.unwrap();
    assert_eq!(
        said(&result),
        (Outcome::Failed, Refusal::ShuttingDown, vec![])
    );
}

fn hold(reason: &str) -> wire::Hold {
    wire::Hold {
        reason: reason.into(),
        ..Default::default()
    }
}

/// A word that this program is to be down, or with none that everything may run.
fn desired(generation: u64, disabled: Option<&str>) -> Desired {
    let program = |name: &str| wire::DisabledProgram {
        group: name.into(),
        name: name.into(),
        hold: Some(hold("leaks")),
    };
    Desired::of(wire::Desired {
        generation,
        disabled: disabled.into_iter().map(program).collect(),
        drained: None,
    })
}

#[tokio::test]
async fn a_disabled_program_is_stopped_and_refused_and_comes_up_when_it_is_enabled() {
    let (_rig, agent, mut keeper) = pair(vec![sleeper("app")]).await;
    let run = keeper.spawn().await.run;
    keeper.spawned(&run, 1001);
    agent.until_state("app", ProcessState::Running).await;

    agent.hub.desire(desired(2, Some("app"))).await.unwrap();
    assert_eq!(keeper.signal().await.signal, TERM);
    keeper.exited(&run, 0);
    let stopped = agent.until_state("app", ProcessState::Stopped).await;
    assert_eq!(stopped.hold, Some(hold("leaks")));
    for refused in [agent.start("app").await, agent.restart("app").await] {
        assert_eq!(said(&refused), (Outcome::Failed, Refusal::Disabled, vec![]));
        assert!(refused.detail.contains("leaks"), "{}", refused.detail);
        assert!(refused.detail.contains("enable app"), "{}", refused.detail);
    }
    // A word that was overtaken on its way changes nothing.
    agent.hub.desire(desired(1, None)).await.unwrap();
    assert_eq!(agent.shown("app").await.hold, Some(hold("leaks")));

    agent.hub.desire(desired(3, None)).await.unwrap();
    let run = keeper.spawn().await.run;
    assert_eq!(run.attempt, 2);
    keeper.spawned(&run, 1002);
    let up = agent.until_state("app", ProcessState::Running).await;
    assert_eq!(up.hold, None);
}

#[tokio::test]
async fn what_is_enabled_while_it_is_being_stopped_is_started_after_that() {
    let (_rig, agent, mut keeper) = pair(vec![sleeper("app")]).await;
    let run = keeper.spawn().await.run;
    keeper.spawned(&run, 1001);
    agent.until_state("app", ProcessState::Running).await;
    agent.hub.desire(desired(1, Some("app"))).await.unwrap();
    assert_eq!(keeper.signal().await.signal, TERM);
    agent.hub.desire(desired(2, None)).await.unwrap();
    keeper.exited(&run, 0);
    assert_eq!(within(keeper.spawn()).await.run.attempt, 2);
}

#[tokio::test]
async fn enabling_does_not_start_what_does_not_start_by_itself() {
    let (_rig, agent, mut keeper) = pair(vec![manual("app"), sleeper("side")]).await;
    keeper.spawn().await;
    agent.hub.desire(desired(1, Some("app"))).await.unwrap();
    agent.hub.desire(desired(2, None)).await.unwrap();
    assert_eq!(agent.shown("app").await.state(), ProcessState::Stopped);
}
