//! A signal reaches whom it is meant for, and nobody else.

use std::path::PathBuf;

use rsv_keeper::message::Scope;

use crate::rig::{Agent, Program, Rig, Running, eventually, is_running, read_exactly, run};

/// A program with a child in its group; the child's pid.
fn with_child(agent: &mut Agent, key: &str, prefix: &str) -> (Running, u32) {
    let script = format!("{prefix} sleep 600 & echo $! | dd bs=8 conv=sync 2>/dev/null; wait");
    let mut running = agent.spawn(&Program::shell(key, &script));
    let line = read_exactly(running.stdout.as_mut().unwrap(), 8);
    let text = String::from_utf8_lossy(&line)
        .trim_matches(['\0', '\n'])
        .to_owned();
    (running, text.parse().unwrap())
}

#[test]
fn a_process_is_reached_alone_and_a_group_as_a_whole() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let (bystander, _) = with_child(&mut agent, "bystander", "");
    let (alone, child) = with_child(&mut agent, "alone", "");
    assert_eq!(agent.signal(&alone.run(), libc::SIGTERM, Scope::Process), 0);
    assert_eq!(agent.exit_of(&alone.run()).signal, Some(libc::SIGTERM));
    assert!(is_running(child));
    let (whole, other_child) = with_child(&mut agent, "whole", "");
    assert_eq!(agent.signal(&whole.run(), libc::SIGTERM, Scope::Group), 0);
    assert_eq!(agent.exit_of(&whole.run()).signal, Some(libc::SIGTERM));
    eventually("the group is gone", || {
        (!is_running(other_child)).then_some(())
    });
    assert!(is_running(bystander.pid()));
    // Without a cgroup the tree is the group.
    assert_eq!(
        agent.signal(&bystander.run(), libc::SIGKILL, Scope::Tree),
        0
    );
    assert_eq!(agent.exit_of(&bystander.run()).signal, Some(libc::SIGKILL));
}

#[test]
fn what_is_left_of_a_group_is_reached_after_the_end_of_its_founder() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let (running, child) = with_child(&mut agent, "app", "");
    assert_eq!(
        agent.signal(&running.run(), libc::SIGTERM, Scope::Process),
        0
    );
    agent.unacknowledged_exit_of(&running.run());
    assert!(is_running(child));
    let errno = agent.signal(&running.run(), libc::SIGKILL, Scope::Group);
    // Before Linux 6.9 a group cannot be named any more when its founder is reaped.
    if errno == 0 {
        eventually("the rest is gone", || (!is_running(child)).then_some(()));
        // A zombie can be signalled, until the keeper has reaped it.
        eventually("nobody is there", || {
            let errno = agent.signal(&running.run(), libc::SIGKILL, Scope::Group);
            (errno == libc::ESRCH).then_some(())
        });
    } else {
        assert_eq!(errno, libc::ESRCH);
        crate::rig::send_signal(child, libc::SIGKILL);
    }
}

#[test]
fn a_run_that_is_not_alive_is_not_signalled() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let running = agent.spawn(&Program::shell("app", "exit 0"));
    agent.unacknowledged_exit_of(&running.run());
    for scope in [Scope::Process, Scope::Group, Scope::Tree] {
        assert_eq!(
            agent.signal(&running.run(), libc::SIGTERM, scope),
            libc::ESRCH
        );
        assert_eq!(
            agent.signal(&run("unknown", 1), libc::SIGTERM, scope),
            libc::ESRCH
        );
    }
}

#[test]
fn a_number_that_is_no_signal_is_refused_and_zero_only_asks() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let running = agent.spawn(&Program::shell("app", "sleep 600"));
    for number in [-1, 65, i32::MAX] {
        assert_eq!(
            agent.signal(&running.run(), number, Scope::Process),
            libc::EINVAL
        );
    }
    for scope in [Scope::Process, Scope::Group] {
        assert_eq!(agent.signal(&running.run(), 0, scope), 0);
    }
    assert!(is_running(running.pid()));
}

/// A new cgroup of the second version, where this machine lets us have one.
fn new_cgroup(name: &str) -> Option<PathBuf> {
    let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let root = roots
        .iter()
        .find(|root| PathBuf::from(root).join("cgroup.procs").exists())?;
    let path = PathBuf::from(root).join(format!("rsv-keeper-{}-{name}", std::process::id()));
    std::fs::create_dir(&path).ok()?;
    Some(path)
}

#[test]
fn a_cgroup_is_joined_from_the_start_and_reached_as_a_whole() {
    let Some(cgroup) = new_cgroup("tree") else {
        return;
    };
    let rig = Rig::start();
    let mut agent = rig.agent();
    let in_cgroup =
        |program: Program| program.spec(|spec| spec.cgroup = Some(cgroup.to_str().unwrap().into()));
    let script = "setsid sleep 600 & echo started; grep -c rsv-keeper- /proc/self/cgroup; wait";
    let mut running = agent.spawn(&in_cgroup(Program::shell("app", script)));
    assert_eq!(
        read_exactly(running.stdout.as_mut().unwrap(), 10),
        b"started\n1\n"
    );
    let members = || std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
    eventually("both are members", || {
        (members().lines().count() == 2).then_some(())
    });
    assert_eq!(
        agent.signal(&running.run(), libc::SIGTERM, Scope::Process),
        0
    );
    agent.unacknowledged_exit_of(&running.run());
    assert_eq!(
        members().lines().count(),
        1,
        "what escaped the group is still in the cgroup"
    );
    // A new run in the same cgroup is not to be hit by what is meant for an old one.
    let next = agent.spawn(&in_cgroup(Program::shell("app", "sleep 600").attempt(2)));
    assert_eq!(
        agent.signal(&running.run(), libc::SIGKILL, Scope::Tree),
        libc::ESRCH
    );
    assert_eq!(agent.signal(&next.run(), libc::SIGTERM, Scope::Tree), 0);
    assert_eq!(agent.exit_of(&next.run()).signal, Some(libc::SIGTERM));
    eventually("the cgroup is empty", || members().is_empty().then_some(()));
    let last = agent.spawn(&in_cgroup(
        Program::shell("app", "trap '' TERM; sleep 600").attempt(3),
    ));
    assert_eq!(agent.signal(&last.run(), libc::SIGKILL, Scope::Tree), 0);
    assert_eq!(agent.exit_of(&last.run()).signal, Some(libc::SIGKILL));
    eventually("the cgroup can be removed", || {
        std::fs::remove_dir(&cgroup).ok()
    });
}
