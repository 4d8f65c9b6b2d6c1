//! FastCGI programs: processes that share a listening socket as their standard input, and find it again
//! whatever dies.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "compat_support/agent.rs"]
mod agent;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;

use agent::{Agent, PATIENCE, command, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Answers each connection with its own process id.
const SERVER: &str = "import os, socket\n\
                      s = socket.socket(fileno=0)\n\
                      while True:\n    \
                          c, _ = s.accept()\n    \
                          c.sendall(str(os.getpid()).encode())\n    \
                          c.close()\n";

/// An agent whose three servers are up.
fn with_servers(more: &str) -> Agent {
    let agent = Agent::start_with(
        &format!(
            "[fcgi-program:web]\ncommand=python3 {{at}}/server.py\nsocket=unix://{{at}}/web.sock\n\
             socket_mode=0640\nnumprocs=3\nprocess_name=web_%(process_num)d\nstartsecs=0\n{more}"
        ),
        |at| fs::write(at.join("server.py"), SERVER).unwrap(),
    );
    eventually("all are up", || {
        let infos = agent.call("getAllProcessInfo", &[]);
        infos.matches("<string>RUNNING</string>").count() == 3
    });
    agent
}

/// Who answers; absent: nobody listens.
fn answer(at: &Path) -> Option<i32> {
    let mut stream = UnixStream::connect(at.join("web.sock")).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.parse().ok()
}

fn pid(agent: &Agent, name: &str) -> i32 {
    let info = agent.call("getProcessInfo", &[name]);
    let pid = info.split("<name>pid</name>").nth(1).unwrap();
    let pid = pid.split("<int>").nth(1).unwrap();
    pid.split("</int>").next().unwrap().parse().unwrap()
}

/// Of the three servers, each of which is up: anything else would be a whole group, and perhaps that of the test.
fn pids(agent: &Agent) -> BTreeSet<i32> {
    let pids = (0..3).map(|number| pid(agent, &format!("web:web_{number}")));
    let pids: BTreeSet<_> = pids.collect();
    assert!(pids.len() == 3 && pids.iter().all(|pid| *pid > 0));
    pids
}

fn stands_still(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().starts_with('T')
}

fn main_log(agent: &Agent) -> String {
    fs::read_to_string(agent.directory.path().join("main.log")).unwrap()
}

#[test]
fn the_processes_of_a_group_share_one_socket_until_the_last_has_stopped() {
    let agent = with_servers("");
    let at = agent.directory.path();
    eventually("somebody answers", || answer(at).is_some());
    let mode = fs::metadata(at.join("web.sock"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    let all = pids(&agent);
    let mut answered = BTreeSet::new();
    eventually("each of them answers", || {
        answered.extend(answer(at));
        answered == all
    });
    // Nothing can be written to a socket that listens.
    assert!(
        agent
            .call("sendProcessStdin", &["web:web_0", "x"])
            .contains("NO_FILE")
    );

    agent.call("stopProcess", &["web:web_0"]);
    agent.call("stopProcess", &["web:web_1"]);
    assert_eq!(answer(at), Some(pid(&agent, "web:web_2")));
    agent.call("stopProcess", &["web:web_2"]);
    assert_eq!(answer(at), None);
    agent.call("startProcess", &["web:web_1"]);
    eventually("one answers again", || answer(at).is_some());
    let url = format!("socket unix://{}/web.sock", at.display());
    let created = || main_log(&agent).matches(&format!("Creating {url}")).count();
    eventually("it is made twice", || created() >= 2);
    assert_eq!(created(), 2);
    let log = main_log(&agent);
    assert_eq!(log.matches(&format!("Closing {url}")).count(), 1, "{log}");
}

#[test]
fn a_socket_whose_file_was_removed_is_made_again_at_a_restart() {
    let agent = with_servers("");
    let at = agent.directory.path();
    eventually("somebody answers", || answer(at).is_some());
    fs::remove_file(at.join("web.sock")).unwrap();
    assert_eq!(answer(at), None);
    // One after the other, so that the socket is never let go of.
    for number in 0..3 {
        let name = format!("web:web_{number}");
        agent.call("stopProcess", &[&name]);
        agent.call("startProcess", &[&name]);
        eventually("it answers", || answer(at).is_some());
    }
    let all = pids(&agent);
    let mut answered = BTreeSet::new();
    eventually("each of them answers", || {
        answered.extend(answer(at));
        answered == all
    });
}

#[test]
fn a_member_of_another_group_has_its_socket_too() {
    let agent = with_servers("[group:all]\nprograms=web\n");
    let at = agent.directory.path();
    eventually("somebody answers", || answer(at).is_some());
    assert!(agent.is_in("all:web_0", "RUNNING"));
}

#[test]
fn whoever_waits_in_the_socket_is_served_whatever_dies() {
    let mut agent = with_servers("");
    let at = agent.directory.path().to_owned();
    eventually("somebody answers", || answer(&at).is_some());
    for _ in 0..3 {
        // Nobody accepts: a connection waits in the socket.
        let before = pids(&agent);
        for pid in &before {
            kill(Pid::from_raw(*pid), Signal::SIGSTOP).unwrap();
        }
        eventually("all stand still", || {
            before.iter().all(|pid| stands_still(*pid))
        });
        let mut waiting = UnixStream::connect(at.join("web.sock")).unwrap();
        waiting.set_read_timeout(Some(PATIENCE)).unwrap();
        agent.child.kill().unwrap();
        agent.child.wait().unwrap();
        for pid in &before {
            kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
        }
        agent.child = command(&at).stdout(Stdio::null()).spawn().unwrap();
        let mut text = String::new();
        waiting.read_to_string(&mut text).unwrap();
        let by: i32 = text.parse().unwrap();
        assert!(!before.contains(&by));
        eventually("the next agent answers", || {
            agent.try_call("getState", &[]).is_some()
        });
        eventually("all are up again", || {
            (0..3).all(|number| agent.is_in(&format!("web:web_{number}"), "RUNNING"))
        });
        assert!(pids(&agent).contains(&by));
    }
}

/// The processes that a process has started.
fn children(pid: u32) -> Vec<i32> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let numbers = listed.split_ascii_whitespace();
    numbers.map(|number| number.parse().unwrap()).collect()
}

#[test]
fn what_holds_the_socket_after_agent_and_keeper_have_died_makes_way() {
    let mut agent = with_servers("");
    let at = agent.directory.path().to_owned();
    eventually("somebody answers", || answer(&at).is_some());
    let before = pids(&agent);
    let keepers = children(agent.child.id());
    // Neither sees the other go.
    for pid in keepers.iter().chain([&agent.child.id().cast_signed()]) {
        kill(Pid::from_raw(*pid), Signal::SIGSTOP).unwrap();
    }
    for pid in keepers {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
    assert!(answer(&at).is_some_and(|by| before.contains(&by)));
    agent.child = command(&at).stdout(Stdio::null()).spawn().unwrap();
    eventually("the next agent answers", || {
        agent.try_call("getState", &[]).is_some()
    });
    eventually("others are up", || {
        (0..3).all(|number| agent.is_in(&format!("web:web_{number}"), "RUNNING"))
    });
    eventually("somebody answers again", || answer(&at).is_some());
    let now = pids(&agent);
    assert!(before.is_disjoint(&now));
    for pid in before {
        eventually("the former one has ended", || {
            kill(Pid::from_raw(pid), None).is_err()
        });
    }
}

#[test]
fn a_socket_that_cannot_be_made_is_the_reason_that_is_shown() {
    let agent = Agent::start(
        "[fcgi-program:web]\ncommand=/bin/cat\nsocket=unix://{at}/no/such/web.sock\nstartretries=0\n",
    );
    eventually("it is given up", || agent.is_in("web:web", "FATAL"));
    let info = agent.call("getProcessInfo", &["web:web"]);
    assert!(
        info.contains("Could not create FastCGI socket unix:///"),
        "{info}"
    );
    assert!(info.contains("No such file or directory"), "{info}");
}
