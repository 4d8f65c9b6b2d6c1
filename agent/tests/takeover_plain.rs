//! A file of Supervisor's own that has become unusable while programs run.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "compat_support/agent.rs"]
mod agent;

use std::fs;
use std::process::Stdio;

use agent::{Agent, command, eventually};

#[test]
fn a_plain_file_that_is_refused_leaves_no_program_alone() {
    let mut agent = Agent::start("[program:app]\ncommand=sleep 1000\nstartsecs=0\n");
    let at = agent.directory.path().to_owned();
    eventually("it is up", || agent.is_in("app", "RUNNING"));
    let pid = |info: &str| {
        info.split("<name>pid</name>")
            .nth(1)
            .map(|rest| rest[..60].to_owned())
    };
    let before = pid(&agent.call("getProcessInfo", &["app"]));
    eventually("the configuration is remembered", || {
        at.join("s.rsv/state/last-good.json").exists()
    });
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
    let good = fs::read_to_string(at.join("s.conf")).unwrap();
    let broken = good.replace("identifier=test", "identifier=test\nloglevel=loud");
    fs::write(at.join("s.conf"), broken).unwrap();
    agent.child = command(&at).stdout(Stdio::null()).spawn().unwrap();
    eventually("the next agent answers", || {
        agent.try_call("getState", &[]).is_some()
    });
    assert_eq!(pid(&agent.call("getProcessInfo", &["app"])), before);
    let log = fs::read_to_string(at.join("main.log")).unwrap();
    assert!(log.contains("running the configuration of 20"), "{log}");
    agent.call("shutdown", &[]);
    eventually("it has ended", || agent.ended());
    // Nothing runs: refused, as ever.
    let ended = command(&at)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert_eq!(ended.unwrap().code(), Some(2));
}
