//! What a program has started and left ends with it when it is stopped, and only then.

use std::path::{Path, PathBuf};
use std::process::Command;

use rsv_keeper::message::{Reexec, Request, Scope, Stage};

use crate::rig::{
    Agent, Program, Rig, Running, children_of, eventually, is_running, read_exactly, send_signal,
    write_line,
};

/// A keeper with cgroups, where this machine has them for us, and one without.
fn both() -> Vec<Rig> {
    vec![Rig::start(), Rig::without_cgroups()]
}

/// A program that leaves a child in its group and one that has become a daemon, and their numbers.
fn with_family(
    agent: &mut Agent,
    program: impl Fn(&str) -> Program,
    ears: &str,
) -> (Running, [u32; 2]) {
    let script = format!(
        "{ears} sleep 600 & printf '%10d' $!
        setsid sh -c 'setsid sleep 600 >/dev/null 2>&1 & printf %10d $!'; exec sleep 600"
    );
    let mut running = agent.spawn(&program(&script));
    let numbers = read_exactly(running.stdout.as_mut().unwrap(), 20);
    let numbers = String::from_utf8(numbers).unwrap();
    let (child, daemon) = numbers.split_at(10);
    (
        running,
        [child, daemon].map(|text| text.trim().parse().unwrap()),
    )
}

fn app(script: &str) -> Program {
    Program::shell("app:app", script)
}

/// The directory of a process's cgroup, if its program has one of its own.
fn cgroup_of(pid: u32) -> Option<PathBuf> {
    let memberships = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = memberships
        .lines()
        .find_map(|line| line.strip_prefix("0::"))?;
    let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let places = roots.map(|root| PathBuf::from(format!("{root}{path}")));
    places
        .into_iter()
        .find(|place| path.contains("/rsv-") && place.join("cgroup.procs").exists())
}

#[test]
fn a_stop_ends_children_and_daemons_before_the_exit_is_told() {
    for rig in both() {
        let mut agent = rig.agent();
        let bystander = agent.spawn(&Program::shell("app:other", "exec sleep 600"));
        let (running, family) = with_family(&mut agent, app, "");
        assert!(family.into_iter().all(is_running));
        assert_eq!(agent.stop(&running.run(), libc::SIGTERM), 0);
        let exited = agent.exit_of(&running.run());
        assert_eq!(exited.signal, Some(libc::SIGTERM));
        assert!(!family.into_iter().any(is_running));
        assert!(is_running(bystander.pid()));
        let children: Vec<u32> = children_of(rig.pid())
            .into_iter()
            .map(|(pid, _)| pid)
            .collect();
        assert_eq!(children, [bystander.pid()], "zombies or orphans are left");
    }
}

#[test]
fn what_does_not_hear_is_killed_after_a_grace_or_at_once_with_the_program() {
    for rig in both() {
        let mut agent = rig.agent();
        for (attempt, signal) in [(1, libc::SIGTERM), (2, libc::SIGKILL)] {
            let program = |script: &str| app(script).attempt(attempt);
            // `exec` keeps what is ignored.
            let (running, family) = with_family(&mut agent, program, "trap '' TERM;");
            assert_eq!(agent.stop(&running.run(), signal), 0);
            if signal == libc::SIGTERM {
                assert_eq!(agent.stop(&running.run(), libc::SIGKILL), 0);
            }
            assert_eq!(agent.exit_of(&running.run()).signal, Some(libc::SIGKILL));
            assert!(!family.into_iter().any(is_running), "after {signal}");
        }
        let deaf = "(trap '' TERM; sleep 600) & printf '%10d' $!; exec sleep 600";
        let mut running = agent.spawn(&app(deaf).attempt(3));
        let number = read_exactly(running.stdout.as_mut().unwrap(), 10);
        let number: u32 = String::from_utf8(number).unwrap().trim().parse().unwrap();
        assert_eq!(agent.stop(&running.run(), libc::SIGTERM), 0);
        assert_eq!(agent.exit_of(&running.run()).signal, Some(libc::SIGTERM));
        assert!(!is_running(number));
    }
}

#[test]
fn what_survives_a_crash_holds_up_nothing_and_ends_with_the_next_stop() {
    for rig in both() {
        let mut agent = rig.agent();
        let (running, family) = with_family(&mut agent, app, "");
        // Not a stop: somebody else's signal, or one that a user asked for.
        assert_eq!(
            agent.signal(&running.run(), libc::SIGKILL, Scope::Process),
            0
        );
        agent.finish(&running.run());
        assert!(family.into_iter().all(is_running));
        let next = agent.spawn(&app("exec sleep 600").attempt(2));
        assert!(family.into_iter().all(is_running));
        assert_eq!(agent.stop(&next.run(), libc::SIGTERM), 0);
        agent.exit_of(&next.run());
        assert!(!is_running(family[1]), "the daemon of the first run");
        assert!(!is_running(family[0]), "the child of the first run");
    }
}

#[test]
fn what_runs_have_left_that_are_over_ends_when_it_is_asked_for() {
    for rig in both() {
        let mut agent = rig.agent();
        let bystander = agent.spawn(&Program::shell("app:other", "exec sleep 600"));
        let (running, family) = with_family(&mut agent, app, "trap '' TERM;");
        assert_eq!(
            agent.signal(&running.run(), libc::SIGKILL, Scope::Process),
            0
        );
        agent.finish(&running.run());
        assert!(family.into_iter().all(is_running));
        assert_eq!(agent.end_remainder(&running.run()), 0);
        assert!(!family.into_iter().any(is_running));
        assert_eq!(agent.end_remainder(&running.run()), libc::ESRCH);
        // What runs is not what is left.
        let next = agent.spawn(&app("exec sleep 600").attempt(2));
        assert_eq!(agent.stop(&next.run(), 0), 0);
        assert!(is_running(next.pid()) && is_running(bystander.pid()));
    }
}

/// A run with a family that a keeper has taken over from a dead one, by their cgroup or by marks.
fn adopted(is_marked: bool) -> (Rig, Agent, Running, [u32; 2]) {
    let mut rig = if is_marked {
        Rig::without_cgroups()
    } else {
        Rig::start()
    };
    let mut agent = rig.agent();
    let (running, family) = with_family(&mut agent, app, "");
    rig.replace();
    let (agent, _) = rig.connect();
    agent.adopt(&running, None);
    (rig, agent, running, family)
}

#[test]
fn what_adopted_runs_have_left_is_found_wherever_it_is() {
    for is_marked in [false, true] {
        let (_rig, mut agent, running, family) = adopted(is_marked);
        send_signal(running.pid(), libc::SIGKILL);
        agent.finish(&running.run());
        assert!(family.into_iter().all(is_running));
        assert_eq!(agent.end_remainder(&running.run()), 0);
        assert!(!family.into_iter().any(is_running), "marked: {is_marked}");
    }
}

#[test]
fn a_program_that_leaves_daemons_takes_only_its_group_with_it() {
    let leaving = |script: &str| app(script).spec(|spec| spec.leaves_daemons = true);
    for mut rig in both() {
        let mut agent = rig.agent();
        let (running, stopped) = with_family(&mut agent, leaving, "");
        // Another image of the keeper knows it too.
        agent.send(Request::Reexec(Reexec::default()), &[]);
        while agent.receive().is_some() {}
        drop(agent);
        let (mut agent, told) = rig.connect();
        assert!(told.held[0].held.leaves_daemons);
        assert_eq!(agent.stop(&running.run(), libc::SIGTERM), 0);
        agent.finish(&running.run());
        assert!(!is_running(stopped[0]), "its group ends");
        assert!(is_running(stopped[1]), "its daemon stays");
        let again = |script: &str| leaving(script).attempt(2);
        let (_, alive) = with_family(&mut agent, again, "");
        let other = |script: &str| Program::shell("other:other", script);
        let (_, ordinary) = with_family(&mut agent, other, "");
        drop(agent);
        rig.signal(libc::SIGTERM);
        assert_eq!(rig.ended().code(), Some(0));
        assert!(!is_running(alive[0]) && !ordinary.into_iter().any(is_running));
        for daemon in [stopped[1], alive[1]] {
            assert!(is_running(daemon), "the keeper's end is not its end");
            send_signal(daemon, libc::SIGKILL);
        }
    }
}

#[test]
fn nothing_outlives_the_orderly_end_of_the_keeper() {
    for mut rig in both() {
        let mut agent = rig.agent();
        let (running, crashed) = with_family(&mut agent, app, "");
        assert_eq!(
            agent.signal(&running.run(), libc::SIGKILL, Scope::Process),
            0
        );
        agent.finish(&running.run());
        let other = |script: &str| Program::shell("other:other", script);
        let (_, alive) = with_family(&mut agent, other, "trap '' TERM;");
        drop(agent);
        let cgroup = cgroup_of(crashed[1]);
        rig.signal(libc::SIGTERM);
        assert_eq!(rig.ended().code(), Some(0));
        assert!(!crashed.into_iter().chain(alive).any(is_running));
        if let Some(cgroup) = cgroup {
            assert!(!cgroup.parent().unwrap().exists(), "cgroups are left");
        }
    }
}

#[test]
fn a_keeper_that_becomes_another_goes_on_ending_what_is_left() {
    for rig in both() {
        let mut agent = rig.agent();
        let script = "(trap '' TERM; sleep 600) & printf '%10d' $!; exec sleep 600";
        let mut running = agent.spawn(&app(script));
        let number = read_exactly(running.stdout.as_mut().unwrap(), 10);
        let number: u32 = String::from_utf8(number).unwrap().trim().parse().unwrap();
        assert_eq!(agent.stop(&running.run(), libc::SIGTERM), 0);
        eventually("the program ends", || {
            (!is_running(running.pid())).then_some(())
        });
        agent.send(Request::Reexec(Reexec::default()), &[]);
        while agent.receive().is_some() {}
        drop(agent);
        let (mut agent, told) = rig.connect();
        // On a busy machine everything may have ended before the keeper became another.
        let known = told.held.into_iter().find_map(|held| held.held.exit);
        let told = known.unwrap_or_else(|| agent.exit_of(&running.run()));
        assert_eq!(told.signal, Some(libc::SIGTERM));
        assert!(!is_running(number));
    }
}

#[test]
fn a_cgroup_is_named_after_its_key_and_removed_with_its_last_run() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let running = agent.spawn(&Program::shell("web:a/b", "exec sleep 600"));
    let Some(cgroup) = cgroup_of(running.pid()) else {
        assert!(running.held.cgroup.is_none());
        return;
    };
    assert_eq!(cgroup.file_name().unwrap(), "web:a%2Fb");
    assert_eq!(
        running.held.cgroup.as_deref(),
        cgroup.to_str().map(str::as_bytes)
    );
    assert_eq!(agent.stop(&running.run(), libc::SIGTERM), 0);
    agent.finish(&running.run());
    eventually("the cgroup is removed", || (!cgroup.exists()).then_some(()));
}

#[test]
fn what_a_dead_keeper_left_and_nobody_claims_ends_before_its_program_starts_again() {
    let mut rig = Rig::start();
    let mut agent = rig.agent();
    let deaf = agent.spawn(&app("trap '' TERM; while :; do sleep 600; done"));
    if cgroup_of(deaf.pid()).is_none() {
        send_signal(deaf.pid(), libc::SIGKILL);
        return;
    }
    rig.replace();
    let mut agent = rig.agent();
    let started = eventually("the way is free", || {
        match agent.try_spawn(&app("exec sleep 600").attempt(2)) {
            Ok(running) => Some(running),
            Err(refused) => {
                assert_eq!(refused.stage(), Stage::Cgroup);
                assert_eq!(refused.errno, libc::EBUSY);
                None
            }
        }
    });
    assert!(!is_running(deaf.pid()));
    assert!(is_running(started.pid()));
}

#[test]
fn what_a_dead_keeper_left_is_stopped_whole_when_it_was_claimed() {
    for is_marked in [false, true] {
        let (_rig, mut agent, running, family) = adopted(is_marked);
        assert_eq!(agent.stop(&running.run(), libc::SIGTERM), 0);
        assert_eq!(agent.exit_of(&running.run()).signal, Some(libc::SIGTERM));
        assert!(!family.into_iter().any(is_running), "marked: {is_marked}");
    }
}

/// Where the test finds that it has been started in a pid namespace of its own.
const INSIDE: &str = "RSV_TEST_IN_PID_NAMESPACE";

/// In a pid namespace of its own, where root can choose the next number.
#[test]
fn a_number_that_is_used_again_is_not_signalled() {
    if std::env::var_os(INSIDE).is_some() {
        return use_a_number_again();
    }
    if !rustix::process::geteuid().is_root() || !Path::new("/usr/bin/unshare").exists() {
        return;
    }
    let name = "leftovers::a_number_that_is_used_again_is_not_signalled";
    let ended = Command::new("/usr/bin/unshare")
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    assert!(ended.status.success(), "{ended:?}");
}

fn use_a_number_again() {
    for rig in both() {
        let mut agent = rig.agent();
        let old = agent.spawn(&app("exit 0"));
        agent.unacknowledged_exit_of(&old.run());
        let script = format!(
            "echo {} > /proc/sys/kernel/ns_last_pid; sleep 600 & printf '%10d' $!
            read x; kill -0 $! && echo alive; exec sleep 600",
            old.pid() - 1
        );
        let mut stranger = agent.spawn(&Program::shell("stranger:stranger", &script));
        let number = read_exactly(stranger.stdout.as_mut().unwrap(), 10);
        let number: u32 = String::from_utf8(number).unwrap().trim().parse().unwrap();
        assert_eq!(number, old.pid(), "the number is used again");
        for scope in [Scope::Process, Scope::Group, Scope::Tree] {
            assert_eq!(agent.signal(&old.run(), libc::SIGKILL, scope), libc::ESRCH);
        }
        assert_eq!(agent.stop(&old.run(), libc::SIGKILL), libc::ESRCH);
        write_line(&mut stranger.stdin, "go");
        let answer = read_exactly(stranger.stdout.as_mut().unwrap(), 6);
        assert_eq!(answer, b"alive\n");
    }
}
