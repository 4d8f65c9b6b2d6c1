//! An agent that has no descriptor left: it says so, is asked and obeys, and is well again as soon as
//! there are some.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "compat_support/agent.rs"]
mod agent;

use std::fs;
use std::os::unix::net::UnixStream;

use agent::{Agent, eventually};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

/// Programs, each of which takes several descriptors.
const PROGRAMS: usize = 40;

/// Descriptors beyond those of an agent at rest: enough for a few programs.
const ROOM: u64 = 30;

/// More callers at once than an agent keeps descriptors back for.
const CROWD: usize = 30;

fn limit(agent: &Agent, files: u64) {
    let pid = Pid::from_raw(i32::try_from(agent.child.id()).unwrap());
    let limit = Rlimit {
        current: Some(files),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    prlimit(pid, Resource::Nofile, limit).unwrap();
}

fn open_files(agent: &Agent) -> u64 {
    let path = format!("/proc/{}/fd", agent.child.id());
    fs::read_dir(path).unwrap().count() as u64
}

fn count(agent: &Agent, state: &str) -> usize {
    let info = agent.call("getAllProcessInfo", &[]);
    info.matches(&format!("<string>{state}</string>")).count()
}

#[test]
fn without_a_descriptor_left_the_agent_is_asked_and_obeys_and_recovers() {
    let agent = Agent::start(&format!(
        "[program:app]\ncommand=/bin/sleep 1000\nnumprocs={PROGRAMS}\nautostart=false\nstartsecs=0\n\
         process_name=app_%(process_num)02d\nstartretries=0\n"
    ));
    // What answers has opened all that it opens at its start.
    assert!(agent.is_in("app:app_00", "STOPPED"));
    limit(&agent, open_files(&agent) + ROOM);
    agent.call("startProcessGroup", &["app"]);
    eventually("those that found no descriptor are given up", || {
        count(&agent, "RUNNING") + count(&agent, "FATAL") == PROGRAMS
    });
    let running = count(&agent, "RUNNING");
    assert!((1..PROGRAMS).contains(&running), "{running}");
    let info = agent.call("getAllProcessInfo", &[]);
    assert!(info.contains("EMFILE"), "{info}");

    // All that is left is taken by callers who say nothing.
    let crowd: Vec<_> = (0..CROWD)
        .map(|_| UnixStream::connect(agent.socket()).unwrap())
        .collect();
    let said = || fs::read_to_string(agent.directory.path().join("main.log")).unwrap();
    eventually("the reserve is used up", || {
        said().contains("no descriptor is free") && said().contains("a caller has to wait")
    });
    drop(crowd);
    assert_eq!(count(&agent, "RUNNING"), running);
    // Which of them found a descriptor is not settled.
    let mut names = (0..PROGRAMS).map(|number| format!("app:app_{number:02}"));
    let one = names.find(|name| agent.is_in(name, "RUNNING")).unwrap();
    agent.call("stopProcess", &[&one]);
    assert!(agent.is_in(&one, "STOPPED"));
    agent.call("startProcess", &[&one]);
    assert!(agent.is_in(&one, "RUNNING"));

    limit(&agent, 1024);
    agent.call("startProcessGroup", &["app"]);
    assert_eq!(count(&agent, "RUNNING"), PROGRAMS);
}
