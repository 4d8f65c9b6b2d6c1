//! Another set of programs while everything runs.

#[path = "hub/fake.rs"]
mod fake;
#[path = "hub/rig.rs"]
mod rig;

use fake::FakeKeeper;
use rig::{Agent, Rig, eventually, is_alive, kill, program, said, within};
use rsv_agent::capture::LogSpec;
use rsv_agent::hub::{Key, NoStdin, ProgramChange};
use rsv_agent::spec::Program;
use rsv_keeper::message::Request;
use rsv_proto::wire::{Outcome, ProcessState, Refusal, Step, TargetResult};
use rsv_supervise::Autorestart;
use rustix::process::Signal;

fn sleeper(name: &str) -> Program {
    program(name, "exec sleep 1000")
}

fn key(name: &str) -> Key {
    Key {
        group: name.into(),
        name: name.into(),
    }
}

/// Carries out changes and waits until what had to stop is at rest.
async fn changed(agent: &Agent, changes: Vec<ProgramChange>) -> Vec<TargetResult> {
    let mut receiver = agent
        .hub
        .reconfigure(changes)
        .await
        .expect("the hub is there");
    within(async {
        let mut results = Vec::new();
        while let Some(result) = receiver.recv().await {
            results.push(result);
        }
        results
    })
    .await
}

async fn pid(agent: &Agent, name: &str) -> u32 {
    let shown = agent.until_state(name, ProcessState::Running).await;
    shown.pid.expect("what is up has a process")
}

#[tokio::test]
async fn what_comes_is_started_and_what_goes_is_stopped_and_the_rest_is_left_alone() {
    let rig = Rig::with_keeper();
    let agent = rig.agent(vec![sleeper("stays"), sleeper("goes")]).await;
    let (stays, goes) = (pid(&agent, "stays").await, pid(&agent, "goes").await);
    let mut manual = sleeper("manual");
    manual.policy.autostart = false;
    let changes = vec![
        ProgramChange::Add(sleeper("comes")),
        ProgramChange::Add(manual),
        ProgramChange::Remove(key("goes")),
    ];
    let results = changed(&agent, changes).await;
    let [result] = &results[..] else {
        panic!("{results:?}")
    };
    let expected = (Outcome::Done, Refusal::Unspecified, vec![Step::Stopped]);
    assert_eq!(said(result), expected);
    assert!(!is_alive(goes));
    pid(&agent, "comes").await;
    assert_eq!(pid(&agent, "stays").await, stays);
    let status = agent.hub.status(&[]).await.unwrap();
    let names: Vec<_> = status.programs.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["comes", "manual", "stays"]);
    assert_eq!(agent.shown("manual").await.state(), ProcessState::Stopped);
    agent.stop().await;
}

#[tokio::test]
async fn a_changed_program_is_stopped_and_comes_back_as_the_new_one() {
    let rig = Rig::with_keeper();
    let agent = rig
        .agent(vec![rig.program("app", "echo old; exec sleep 1000")])
        .await;
    let old = pid(&agent, "app").await;
    eventually("the old output", || rig.log("app") == "old\n").await;
    let mut new = rig.program("app", "echo new; exec sleep 1000");
    new.stdout = LogSpec::file(rig.path("other.log"), 0, 0).into();
    let results = changed(&agent, vec![ProgramChange::Restart(new)]).await;
    assert_eq!(said(&results[0]).2, [Step::Stopped]);
    assert!(!is_alive(old));
    assert_ne!(pid(&agent, "app").await, old);
    eventually("the new output", || rig.log("other") == "new\n").await;
    assert_eq!(rig.log("app"), "old\n");
    agent.stop().await;
}

#[tokio::test]
async fn other_rules_and_log_limits_take_effect_while_the_program_runs() {
    let rig = Rig::with_keeper();
    let script = "while read line; do echo $line; done";
    let mut old = rig.program("app", script);
    old.policy.autorestart = Autorestart::Never;
    let agent = rig.agent(vec![old.clone()]).await;
    let before = pid(&agent, "app").await;
    let write = async |text: &str| {
        let stdin = agent.hub.stdin_of(&key("app")).await.unwrap().unwrap();
        assert_eq!(rustix::io::write(&stdin, text.as_bytes()), Ok(text.len()));
    };
    write("one\ntwo\n").await;
    eventually("the output", || rig.log("app") == "one\ntwo\n").await;
    let mut new = old;
    new.policy.autorestart = Autorestart::Always;
    let log = std::sync::Arc::make_mut(&mut new.stdout);
    log.maxbytes = 8;
    log.backups = 1;
    let results = changed(&agent, vec![ProgramChange::Adjust(new)]).await;
    assert_eq!(results, []);
    assert_eq!(pid(&agent, "app").await, before);
    // The log is full by the new limit: the next byte goes into a new file, as soon as its writer has heard of it.
    let rotated = || std::fs::read_to_string(rig.path("app.log.1")).unwrap_or_default();
    let mut all = "one\ntwo\n".to_owned();
    within(async {
        while rotated().is_empty() {
            write("three\n").await;
            all += "three\n";
            eventually("the line", || rotated() + &rig.log("app") == all).await;
        }
    })
    .await;
    assert_eq!(rig.log("app"), "three\n");
    kill(before, Signal::KILL);
    let after = agent
        .until("app", |shown| shown.pid.is_some_and(|pid| pid != before))
        .await;
    assert_eq!(after.restarts, 1);
    agent.stop().await;
}

#[tokio::test]
async fn a_program_that_comes_back_does_not_count_its_attempts_anew() {
    let rig = Rig::new();
    let mut keeper = FakeKeeper::reading(&rig.socket());
    let agent = rig.agent(vec![sleeper("app")]).await;
    let first = keeper.spawn().await.run;
    keeper.spawned(&first, 4242);
    agent.until_state("app", ProcessState::Running).await;
    let mut results = agent
        .hub
        .reconfigure(vec![ProgramChange::Remove(key("app"))])
        .await
        .unwrap();
    let signal = keeper.signal().await;
    keeper.signalled(&signal, 0);
    keeper.exited(&first, 0);
    assert!(within(results.recv()).await.is_some());
    keeper.ack().await;
    assert_eq!(
        changed(&agent, vec![ProgramChange::Add(sleeper("app"))]).await,
        []
    );
    assert_eq!(keeper.spawn().await.run.attempt, 2);
}

#[tokio::test]
async fn the_stop_of_a_restart_goes_by_the_former_rules() {
    let rig = Rig::new();
    let mut keeper = FakeKeeper::reading(&rig.socket());
    let mut old = sleeper("app");
    old.policy.stopsignal = 1;
    let agent = rig.agent(vec![old]).await;
    let first = keeper.spawn().await.run;
    keeper.spawned(&first, 4242);
    agent.until_state("app", ProcessState::Running).await;
    let new = program("app", "exec sleep 2000");
    let mut results = agent
        .hub
        .reconfigure(vec![ProgramChange::Restart(new)])
        .await
        .unwrap();
    assert_eq!(keeper.signal().await.signal, 1);
    keeper.exited(&first, 0);
    let spawn = keeper.spawn().await;
    assert_eq!(spawn.spec.argv[2], b"exec sleep 2000");
    assert_eq!(spawn.spec.stop.signal, 15);
    assert!(within(results.recv()).await.is_some());
}

#[tokio::test]
async fn a_change_while_the_stop_is_under_way_does_not_start_what_was_stopped() {
    let rig = Rig::new();
    let mut keeper = FakeKeeper::reading(&rig.socket());
    let agent = rig.agent(vec![sleeper("app")]).await;
    let first = keeper.spawn().await.run;
    keeper.spawned(&first, 4242);
    agent.until_state("app", ProcessState::Running).await;
    let stop = rsv_proto::wire::action::Verb::Stop(rsv_proto::wire::StopAction {});
    let request = rsv_agent::hub::ActOn {
        programs: vec!["app".into()],
        action: rsv_proto::wire::Action { verb: Some(stop) },
        ..rsv_agent::hub::ActOn::default()
    };
    let mut stopped = agent.hub.act(request).await.unwrap();
    keeper.signal().await;
    let new = program("app", "exec sleep 2000");
    let mut results = agent
        .hub
        .reconfigure(vec![ProgramChange::Restart(new)])
        .await
        .unwrap();
    keeper.exited(&first, 0);
    assert!(within(stopped.recv()).await.is_some());
    let result = within(results.recv()).await.unwrap();
    assert_eq!(result.outcome(), Outcome::Done);
    assert_eq!(agent.shown("app").await.state(), ProcessState::Stopped);
    keeper.ack().await;
    keeper.nothing_waits();
}

#[tokio::test]
async fn a_program_that_was_given_up_has_its_chance_under_another_configuration() {
    let rig = Rig::with_keeper();
    let mut hopeless = program("app", "exit 1");
    hopeless.policy.startretries = rsv_supervise::Retries::Limit(0);
    hopeless.policy.startsecs = std::time::Duration::from_secs(1);
    let agent = rig.agent(vec![hopeless]).await;
    agent.until_state("app", ProcessState::Fatal).await;
    changed(&agent, vec![ProgramChange::Restart(sleeper("app"))]).await;
    pid(&agent, "app").await;
    agent.stop().await;
}

#[tokio::test]
async fn a_refused_program_starts_as_soon_as_its_configuration_is_in_order() {
    let rig = Rig::with_keeper();
    let mut broken = sleeper("app");
    broken.launch = Err("not a valid boolean value: 'maybe'".to_owned());
    broken.policy.autostart = false;
    let agent = rig.agent(vec![broken]).await;
    let shown = agent.shown("app").await;
    assert_eq!(shown.state(), ProcessState::Fatal);
    assert_eq!(shown.spawn_error, "not a valid boolean value: 'maybe'");
    let refused = agent.start("app").await;
    assert_eq!(refused.outcome(), Outcome::Failed);
    assert!(
        refused.detail.contains("not a valid boolean value"),
        "{refused:?}"
    );
    changed(&agent, vec![ProgramChange::Add(sleeper("app"))]).await;
    pid(&agent, "app").await;
    agent.stop().await;
}

#[tokio::test]
async fn only_a_process_has_a_standard_input() {
    let rig = Rig::with_keeper();
    let mut manual = sleeper("app");
    manual.policy.autostart = false;
    let agent = rig.agent(vec![manual]).await;
    let of = async |name| agent.hub.stdin_of(&key(name)).await.unwrap().map(drop);
    assert_eq!(of("app").await, Err(NoStdin::NotRunning));
    assert_eq!(of("other").await, Err(NoStdin::NoSuchProcess));
    agent.stop().await;
}

#[tokio::test]
async fn what_goes_is_forgotten_by_the_keeper() {
    let rig = Rig::new();
    let mut keeper = FakeKeeper::reading(&rig.socket());
    let mut manual = sleeper("app");
    manual.policy.autostart = false;
    let agent = rig.agent(vec![manual]).await;
    changed(&agent, vec![ProgramChange::Remove(key("app"))]).await;
    let Request::Note(note) = keeper.next().await else {
        panic!("a note was expected")
    };
    assert_eq!((note.key.as_str(), note.note.len()), ("app:app", 0));
}

/// Says which signal has ended it.
const TELLING: &str = "trap \"echo int; exit\" INT; trap \"echo term; exit\" TERM; echo up; \
                       while :; do sleep 0.01; done";

#[tokio::test]
async fn without_an_agent_the_keeper_stops_by_the_rules_of_the_last_update() {
    let mut rig = Rig::with_keeper();
    let program = rig.program("app", TELLING);
    let agent = rig.agent(vec![program.clone()]).await;
    let before = pid(&agent, "app").await;
    eventually("its traps", || rig.log("app") == "up\n").await;
    let mut other = program;
    other.policy.stopsignal = libc::SIGINT;
    assert!(
        changed(&agent, vec![ProgramChange::Adjust(other)])
            .await
            .is_empty()
    );
    assert_eq!(pid(&agent, "app").await, before);
    agent.kill().await;
    rig.terminate_keeper();
    rig.keeper_ends().await;
    assert_eq!(rig.log("app"), "up\nint\n");
}

#[tokio::test]
async fn without_an_agent_the_keeper_stops_by_the_rules_of_the_agent_that_took_over_last() {
    let mut rig = Rig::with_keeper();
    let program = rig.program("app", TELLING);
    let agent = rig.agent(vec![program.clone()]).await;
    let before = pid(&agent, "app").await;
    eventually("its traps", || rig.log("app") == "up\n").await;
    agent.kill().await;
    let mut other = program;
    other.policy.stopsignal = libc::SIGINT;
    let agent = rig.agent(vec![other]).await;
    assert_eq!(pid(&agent, "app").await, before);
    agent.kill().await;
    rig.terminate_keeper();
    rig.keeper_ends().await;
    assert_eq!(rig.log("app"), "up\nint\n");
}
