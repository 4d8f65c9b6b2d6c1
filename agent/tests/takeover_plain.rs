//! A configuration file that has become unusable while programs run.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "compat_support/agent.rs"]
mod agent;

use std::fs;
use std::process::Stdio;

use agent::{Agent, command, eventually};

/// What is known of the process of `app`.
fn process(agent: &Agent) -> String {
    let info = agent.call("getProcessInfo", &["app"]);
    let rest = info.split_once("<name>pid</name>").unwrap().1;
    rest[..60].to_owned()
}

fn kill(agent: &mut Agent) {
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
}

/// The next agent has what the former one had, and says with which configuration.
fn check_taken_over(agent: &mut Agent, process_before: &str, because: &str) {
    let at = agent.directory.path().to_owned();
    fs::remove_file(at.join("main.log")).unwrap();
    agent.child = command(&at).stdout(Stdio::null()).spawn().unwrap();
    eventually("the next agent answers", || {
        agent.try_call("getState", &[]).is_some()
    });
    assert_eq!(process(agent), process_before, "{because}");
    eventually(because, || {
        let log = fs::read_to_string(at.join("main.log")).unwrap_or_default();
        let notice = log.split("running the configuration of 20").nth(1);
        notice.is_some_and(|notice| notice.contains(because))
    });
}

/// Kills the agent of a running program again and again; its file says nothing any more, in every way in
/// which it can.
fn check_without_a_file(mut agent: Agent, last_good: &str) {
    let at = agent.directory.path().to_owned();
    eventually("it is up", || agent.is_in("app", "RUNNING"));
    let before = process(&agent);
    eventually("the configuration is remembered", || {
        at.join(last_good).exists()
    });
    let file = at.join("s.conf");
    let good = fs::read(&file).unwrap();
    for (text, because) in [
        (Some(&b""[..]), "does not include supervisord section"),
        (Some(b"\xff\xfe[supervisord]\n"), "s.conf"),
        (None, "could not find config file"),
    ] {
        kill(&mut agent);
        match text {
            Some(text) => fs::write(&file, text).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        check_taken_over(&mut agent, &before, because);
    }
    kill(&mut agent);
    fs::write(&file, good).unwrap();
    agent.child = command(&at).stdout(Stdio::null()).spawn().unwrap();
    eventually("it answers", || agent.try_call("getState", &[]).is_some());
    assert_eq!(process(&agent), before);
    agent.call("shutdown", &[]);
    eventually("it has ended", || agent.ended());
    // Nothing runs: refused, as ever.
    fs::remove_file(&file).unwrap();
    let ended = command(&at).stderr(Stdio::null()).status();
    assert_eq!(ended.unwrap().code(), Some(2));
}

const APP: &str = "[program:app]\ncommand=sleep 1000\nstartsecs=0\n";

#[test]
fn a_plain_file_that_is_gone_leaves_no_program_alone() {
    check_without_a_file(Agent::start(APP), "s.rsv/state/last-good.json");
}

#[test]
fn a_file_with_an_agent_section_that_is_gone_leaves_no_program_alone() {
    let section =
        "[agent]\nstate_dir={at}/state\nsocket={at}/agent.sock\nkeeper_socket={at}/keeper.sock\n";
    let agent = Agent::start(&format!("{section}{APP}"));
    check_without_a_file(agent, "state/last-good.json");
}

#[test]
fn what_another_user_remembers_is_not_run_as_root() {
    if !nix::unistd::geteuid().is_root() {
        return println!("not as root: nobody else can have written anything");
    }
    let mut agent = Agent::start(APP);
    let at = agent.directory.path().to_owned();
    let remembered = at.join("s.rsv/state/last-good.json");
    eventually("the configuration is remembered", || remembered.exists());
    kill(&mut agent);
    let good = fs::read(at.join("s.conf")).unwrap();
    fs::write(at.join("s.conf"), "").unwrap();
    std::os::unix::fs::chown(&remembered, Some(65_534), None).unwrap();
    let refused = command(&at).stderr(Stdio::null()).status();
    assert_eq!(refused.unwrap().code(), Some(2));
    std::os::unix::fs::chown(&remembered, Some(0), None).unwrap();
    agent.child = command(&at).stdout(Stdio::null()).spawn().unwrap();
    eventually("it answers", || agent.try_call("getState", &[]).is_some());
    fs::write(at.join("s.conf"), good).unwrap();
}

#[test]
fn a_plain_file_that_is_refused_leaves_no_program_alone() {
    let mut agent = Agent::start(APP);
    let at = agent.directory.path().to_owned();
    eventually("it is up", || agent.is_in("app", "RUNNING"));
    let before = process(&agent);
    eventually("the configuration is remembered", || {
        at.join("s.rsv/state/last-good.json").exists()
    });
    kill(&mut agent);
    let good = fs::read_to_string(at.join("s.conf")).unwrap();
    let broken = good.replace("identifier=test", "identifier=test\nloglevel=loud");
    fs::write(at.join("s.conf"), broken).unwrap();
    check_taken_over(&mut agent, &before, "loud");
    agent.call("shutdown", &[]);
    eventually("it has ended", || agent.ended());
    // Nothing runs: refused, as ever.
    let ended = command(&at)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert_eq!(ended.unwrap().code(), Some(2));
}
