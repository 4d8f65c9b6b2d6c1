//! A keeper is replaced, in order or by force, and no program notices.

use std::path::Path;

use rsv_keeper::message::{Reexec, Report, Request};

use crate::rig::{
    Agent, Program, Rig, Running, Told, copy_keeper, eventually, is_running, log_file, read_to_end,
    stat_fields, write_line,
};

fn reexec(rig: &Rig, mut agent: Agent, executable: &[u8]) -> (Agent, Told) {
    agent.send(
        Request::Reexec(Reexec {
            executable: executable.into(),
        }),
        &[],
    );
    while agent.receive().is_some() {}
    drop(agent);
    rig.connect()
}

#[test]
fn a_keeper_that_becomes_another_keeps_programs_bytes_exits_and_notes() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let start = stat_fields(rig.pid()).unwrap()[19].clone();
    let last = 20_000;
    let mut programs: Vec<Running> = (0..20)
        .map(|index| {
            let script = format!("seq 1 {last}; echo err >&2; read x; exit {index}");
            agent.spawn(&Program::shell(&format!("app{index:02}"), &script).note(b"a note"))
        })
        .collect();
    let gone = agent.spawn(&Program::shell("gone", "exit 9"));
    let exit = agent.unacknowledged_exit_of(&gone.run());
    let acked = agent.spawn(&Program::shell("acked", "exit 8"));
    agent.exit_of(&acked.run());
    agent.settle();
    let before = rig.descriptors();
    for _ in 0..5 {
        let (next, told) = reexec(&rig, agent, b"");
        agent = next;
        assert_eq!(told.welcome.keeper_pid, rig.pid());
        assert_eq!(
            stat_fields(rig.pid()).unwrap()[19],
            start,
            "it is the same process"
        );
        assert_eq!(told.held.len(), 22);
        assert_eq!(told.notes.len(), 20);
        let pids: Vec<u32> = told.held[..20].iter().map(Running::pid).collect();
        assert_eq!(pids, programs.iter().map(Running::pid).collect::<Vec<_>>());
        assert!(pids.into_iter().all(is_running));
        assert_eq!(told.held[20].held.exit.as_ref(), Some(&exit));
        assert_eq!(told.held[21].held.exit, None);
        assert_eq!(told.held[21].run(), acked.run());
        programs.splice(.., told.held.into_iter().take(20));
    }
    assert_eq!(
        rig.descriptors(),
        before,
        "descriptors are lost or left over"
    );
    let expected: String = (1..=last).map(|number| format!("{number}\n")).collect();
    for (index, running) in programs.iter_mut().enumerate() {
        write_line(&mut running.stdin, "go");
        assert!(running.output() == expected, "output of {index}");
        assert_eq!(read_to_end(running.stderr.as_mut().unwrap()), b"err\n");
        assert_eq!(
            agent.finish(&running.run()).code,
            Some(index.try_into().unwrap())
        );
    }
    assert_eq!(rig.children(), []);
    // What programs get back is still what the first image was started with.
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap();
    let mut running = agent.spawn(&Program::shell(
        "limits",
        "ulimit -Sn; ls /proc/self/fd | wc -l",
    ));
    assert_eq!(running.output(), format!("{own}\n4\n"));
}

#[test]
fn a_keeper_does_not_become_what_cannot_be_a_keeper() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let mut running = agent.spawn(&Program::shell("app", "read x; echo got $x"));
    for file in ["/missing", "/bin/false", "/bin/cat", "/dev/null", "\0"] {
        let (next, mut told) = reexec(&rig, agent, file.as_bytes());
        agent = next;
        assert_eq!(told.welcome.keeper_pid, rig.pid());
        running = told.held.remove(0);
    }
    let name = std::fs::read_link(format!("/proc/{}/exe", rig.pid())).unwrap();
    assert_eq!(
        name,
        Path::new(env!("CARGO_BIN_EXE_rsv-keeper"))
            .canonicalize()
            .unwrap()
    );
    write_line(&mut running.stdin, "it");
    assert_eq!(running.output(), "got it\n");
    assert_eq!(agent.finish(&running.run()).code, Some(0));
}

#[test]
fn a_keeper_becomes_the_file_that_has_taken_the_place_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keeper");
    copy_keeper(&file);
    let rig = Rig::start_from(&file);
    let agent = rig.agent();
    let replacement = directory.path().join("new");
    copy_keeper(&replacement);
    std::fs::rename(&replacement, &file).unwrap();
    let exe = || std::fs::read_link(format!("/proc/{}/exe", rig.pid())).unwrap();
    assert!(exe().to_string_lossy().ends_with("(deleted)"));
    reexec(&rig, agent, b"");
    assert_eq!(exe(), file.canonicalize().unwrap());
}

/// Orphans of a killed keeper become ours, as they would become the system's.
fn become_subreaper() {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
}

fn reap(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap());
    eventually("the program is reaped", || {
        rustix::process::waitpid(pid, rustix::process::WaitOptions::NOHANG).unwrap()
    });
}

#[test]
fn programs_of_a_killed_keeper_are_taken_in_by_the_next_one() {
    become_subreaper();
    let mut rig = Rig::start();
    let log = rig.path("log");
    let mut agent = rig.agent();
    let script = "read x; echo $x; read x; exit 7";
    let mut running = agent.spawn(&Program::shell("app", script));
    let stays = agent.spawn(&Program::shell("stays", "sleep 600"));
    let dies = agent.spawn(&Program::shell("dies", "read x; kill -USR1 $$"));
    rig.replace();
    assert!(agent.receive().is_none());
    let (mut agent, told) = rig.connect();
    assert!(told.held.is_empty());
    agent.adopt(&running, Some(&log_file(&log)));
    agent.adopt(&stays, None);
    agent.adopt(&dies, None);
    agent.settle();
    drop(agent);
    // It is held as if it had always been ours.
    let (mut agent, mut told) = rig.connect();
    assert_eq!(told.held.len(), 3);
    assert_eq!(told.held[0].held, running.held);
    assert_eq!(told.notes.len(), 3);
    drop(told.held.remove(2).stdin);
    drop(agent);
    write_line(&mut running.stdin, "drained");
    eventually("output is drained", || {
        (std::fs::metadata(&log).unwrap().len() == 8).then_some(())
    });
    (agent, _) = rig.connect();
    write_line(&mut running.stdin, "go");
    let exited = agent.exit_of(&running.run());
    reap(running.pid());
    assert_eq!((exited.code, exited.signal), (Some(7), None));
    let mut dies = dies;
    write_line(&mut dies.stdin, "go");
    let exited = agent.exit_of(&dies.run());
    assert_eq!((exited.code, exited.signal), (None, Some(libc::SIGUSR1)));
    reap(dies.pid());
    drop(agent);
    rig.signal(libc::SIGTERM);
    eventually("what was taken in is stopped as well", || {
        (!is_running(stays.pid())).then_some(())
    });
    reap(stays.pid());
    assert_eq!(rig.ended().code(), Some(0));
}

fn kernel_tells_exits() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split(['.', '-'])
        .map(|text| text.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(15))
}

#[test]
fn a_program_that_ended_before_it_was_taken_in_is_told_as_ended() {
    become_subreaper();
    let mut rig = Rig::start();
    let mut agent = rig.agent();
    let mut running = agent.spawn(&Program::shell("app", "read x; exit 7"));
    rig.replace();
    write_line(&mut running.stdin, "go");
    reap(running.pid());
    let (mut agent, _) = rig.connect();
    agent.adopt(&running, None);
    // Taken in twice, it is still one run.
    agent.adopt(&running, None);
    let exited = agent.exit_of(&running.run());
    assert_eq!(exited.code.is_some(), kernel_tells_exits());
    agent.settle();
    let told = rig.connect_again(agent);
    assert_eq!(told.held.len(), 1);
}

#[test]
fn a_process_that_its_parent_does_not_reap_is_told_as_ended_at_once_and_how() {
    become_subreaper();
    let mut rig = Rig::start();
    let mut agent = rig.agent();
    let mut running = agent.spawn(&Program::shell("app", "read x; exit 7"));
    rig.replace();
    let (mut agent, _) = rig.connect();
    agent.adopt(&running, None);
    write_line(&mut running.stdin, "go");
    let exited = agent.await_report(|report| match report {
        Report::Exited(exited) => Some(exited.clone()),
        _ => None,
    });
    assert_eq!((exited.code, exited.signal), (Some(7), None));
    reap(running.pid());
}
