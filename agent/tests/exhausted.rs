//! An agent that has no descriptor left, or no room on its disk: it says so, is asked and obeys, and is well
//! again as soon as there is some.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "compat_support/agent.rs"]
mod agent;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use agent::{Agent, command, eventually};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
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

/// The processes of `app` with an open log.
fn with_open_logs(agent: &Agent) -> BTreeSet<String> {
    let path = format!("/proc/{}/fd", agent.child.id());
    let files = fs::read_dir(path).unwrap();
    let names = files.filter_map(|file| {
        let file = fs::read_link(file.unwrap().path()).ok()?;
        let name = file.file_name()?.to_str()?.split('-').next()?;
        name.starts_with("app_").then(|| name.to_owned())
    });
    names.collect()
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
    // Of many that start together each may take what another would need.
    agent.call("startProcess", &["app:app_00"]);
    agent.call("startProcessGroup", &["app"]);
    eventually("those that found no descriptor are given up", || {
        count(&agent, "RUNNING") + count(&agent, "FATAL") == PROGRAMS
    });
    let running = count(&agent, "RUNNING");
    assert!((1..PROGRAMS).contains(&running), "{running}");
    let info = agent.call("getAllProcessInfo", &[]);
    assert!(info.contains("too many open files to spawn"), "{info}");

    eventually("what is given up holds no descriptor", || {
        let mut open = with_open_logs(&agent).into_iter();
        open.all(|name| agent.is_in(&format!("app:{name}"), "RUNNING"))
    });

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
    // What the crowd had goes back to the reserve first.
    eventually("there is room for it again", || {
        agent.call("startProcess", &[&one]);
        agent.is_in(&one, "RUNNING")
    });

    limit(&agent, 1024);
    agent.call("startProcessGroup", &["app"]);
    assert_eq!(count(&agent, "RUNNING"), PROGRAMS);
}

/// A file system of so little room that a state directory fills it. Only root can mount one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path) -> Option<Self> {
        fs::create_dir(path).unwrap();
        let (kind, size) = (Some("tmpfs"), Some("size=256k"));
        match mount(kind, path, kind, MsFlags::empty(), size) {
            Ok(()) => Some(Self(path.to_owned())),
            Err(error) => {
                println!("no small disk ({error}), nothing tested");
                None
            }
        }
    }

    fn fill(&self) {
        let more_than_fits = vec![0; 1 << 20];
        fs::write(self.0.join("ballast"), more_than_fits).unwrap_err();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).ok();
    }
}

#[test]
fn the_next_agent_takes_over_although_the_disk_of_its_state_is_full() {
    let mut disk = None;
    let mut agent = Agent::start_with(
        "[agent]\nname=h\nstate_dir={at}/disk/state\nsocket={at}/a.sock\nkeeper_socket={at}/k.sock\n\
         [program:app]\ncommand=/bin/sleep 1000\nstartsecs=0\n",
        |at| disk = SmallDisk::mount(&at.join("disk")),
    );
    let Some(disk) = disk else {
        return;
    };
    eventually("it is up", || agent.is_in("app", "RUNNING"));
    let pid = |agent: &Agent| {
        let info = agent.call("getProcessInfo", &["app"]);
        let (_, rest) = info.split_once("<name>pid</name>").unwrap();
        rest[..60].to_owned()
    };
    let before = pid(&agent);
    disk.fill();
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
    let mut next = command(agent.directory.path());
    agent.child = next.stdout(Stdio::null()).spawn().unwrap();
    eventually("the next agent answers", || {
        assert!(!agent.ended(), "it has given up");
        agent.try_call("getState", &[]).is_some()
    });
    assert_eq!(pid(&agent), before);
    agent.call("stopProcess", &["app"]);
    assert!(agent.is_in("app", "STOPPED"));
}
