//! While no agent is there, output goes where it belongs, and not a byte of it twice.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use rsv_keeper::message::{Channel, Reexec, Request, Rules};
use rustix::pipe::SpliceFlags;

use crate::rig::{Program, Rig, Running, eventually, log_file, write_line};

/// What `seq` writes.
fn numbers(last: u32) -> String {
    (1..=last).map(|number| format!("{number}\n")).collect()
}

/// Reads as an agent does, until the pipe ends or this many moves are done.
fn capture(running: &Running, file: &File, moves: usize) {
    let pipe = running.stdout.as_ref().unwrap();
    let mut done = 0;
    eventually("output moves", || {
        let mut end = file.metadata().unwrap().len();
        let flags = SpliceFlags::NONBLOCK;
        match rustix::pipe::splice(pipe, None, file.as_fd(), Some(&mut end), 1 << 16, flags) {
            Ok(0) => return Some(()),
            Ok(_) => done += 1,
            Err(rustix::io::Errno::AGAIN) => {}
            Err(errno) => panic!("{errno}"),
        }
        (done >= moves).then_some(())
    });
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

#[test]
fn output_is_drained_exactly_when_the_agent_is_gone() {
    let rig = Rig::start();
    let log = rig.path("log");
    std::fs::write(&log, "before\n").unwrap();
    let mut agent = rig.agent();
    let running = agent.spawn(&Program::shell("app", "seq 1 200000").drained_to(&log));
    drop((agent, running));
    eventually("the program has ended", || {
        rig.children().is_empty().then_some(())
    });
    let expected = format!("before\n{}", numbers(200_000));
    eventually("all is drained", || {
        (size(&log) >= expected.len() as u64).then_some(())
    });
    assert!(std::fs::read_to_string(&log).unwrap() == expected);
    let (_agent, mut told) = rig.connect();
    assert_eq!(told.held[0].held.exit.as_ref().unwrap().code, Some(0));
    assert_eq!(
        told.held[0].output(),
        "",
        "nothing is left to be read a second time"
    );
}

#[test]
fn agents_that_come_and_go_and_the_keeper_between_them_lose_and_repeat_nothing() {
    let rig = Rig::start();
    let log = rig.path("log");
    let (rounds, a_round) = (4, 50_000);
    // Each round waits to be asked for, so that there is one for each agent, and is paced, so that it outlasts its agent.
    let script = format!(
        "for i in $(seq 0 {}); do [ $((i%25)) = 0 ] && read x; seq $((i*2000+1)) $(((i+1)*2000)); sleep 0.02; done",
        rounds * 25 - 1
    );
    let file = log_file(&log);
    let mut agent = rig.agent();
    let mut running = agent.spawn(&Program::shell("app", &script).drained_to(&log));
    for round in 0..rounds {
        write_line(&mut running.stdin, "go");
        capture(&running, &file, 2);
        drop((agent, running));
        // More than an agent moves at twice, and less than a round.
        let enough = numbers(round * a_round).len() as u64 + 200_000;
        eventually("the keeper drains", || (size(&log) > enough).then_some(()));
        let mut told;
        (agent, told) = rig.connect();
        running = told.held.remove(0);
    }
    capture(&running, &file, usize::MAX);
    assert!(std::fs::read_to_string(&log).unwrap() == numbers(rounds * a_round));
}

#[test]
fn a_new_drain_file_takes_the_place_of_the_old_one() {
    let rig = Rig::start();
    let (old, new, err) = (rig.path("old"), rig.path("new"), rig.path("err"));
    let mut agent = rig.agent();
    let script = "read x; echo out; echo err >&2; read x";
    let mut running = agent.spawn(&Program::shell("app", script).drained_to(&old));
    agent.drain_to(&running.run(), Channel::Stdout, &log_file(&new));
    agent.drain_to(&running.run(), Channel::Stderr, &log_file(&err));
    drop(agent);
    write_line(&mut running.stdin, "go");
    eventually("output is drained", || {
        (size(&new) == 4 && size(&err) == 4).then_some(())
    });
    assert_eq!(size(&old), 0);
}

#[test]
fn a_file_that_was_cut_short_gets_no_hole() {
    let rig = Rig::start();
    let log = rig.path("log");
    let mut agent = rig.agent();
    let script = "while read x; do echo $x; done";
    let mut running = agent.spawn(&Program::shell("app", script).drained_to(&log));
    drop(agent);
    write_line(&mut running.stdin, "first");
    eventually("output is drained", || (size(&log) == 6).then_some(()));
    File::options()
        .write(true)
        .open(&log)
        .unwrap()
        .set_len(0)
        .unwrap();
    write_line(&mut running.stdin, "second");
    eventually("more is drained", || (size(&log) > 0).then_some(()));
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "second\n");
}

#[test]
fn output_without_a_file_waits_in_its_pipe() {
    let rig = Rig::start();
    let log = rig.path("log");
    let mut agent = rig.agent();
    agent.spawn(&Program::shell("without", "echo kept; sleep 600"));
    agent.spawn(&Program::shell("with", "echo drained; sleep 600").drained_to(&log));
    drop(agent);
    eventually("the other is drained", || (size(&log) == 8).then_some(()));
    let (_agent, mut told) = rig.connect();
    let line = crate::rig::read_exactly(told.held[0].stdout.as_mut().unwrap(), 5);
    assert_eq!(line, b"kept\n");
}

#[test]
fn a_file_that_takes_nothing_is_tried_again_without_haste() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let mut running = agent.spawn(&Program::shell("app", "read x; echo kept; read x"));
    let full = File::options().write(true).open("/dev/full").unwrap();
    agent.drain_to(&running.run(), Channel::Stdout, &full);
    // Another program's end of output says when draining has begun.
    let log = rig.path("log");
    agent.spawn(&Program::shell("other", "echo x").drained_to(&log));
    write_line(&mut running.stdin, "go");
    drop(agent);
    eventually("draining has begun", || (size(&log) == 2).then_some(()));
    let ticks = cpu_ticks(rig.pid());
    // Two pauses long enough for thousands of attempts.
    let start = std::time::Instant::now();
    eventually("some pauses have passed", || {
        (start.elapsed() > std::time::Duration::from_millis(1200)).then_some(())
    });
    assert!(
        cpu_ticks(rig.pid()) - ticks < 20,
        "the keeper is busy with a file that is full"
    );
    let (_agent, mut told) = rig.connect();
    let line = crate::rig::read_exactly(told.held[0].stdout.as_mut().unwrap(), 5);
    assert_eq!(line, b"kept\n");
}

fn cpu_ticks(pid: u32) -> u64 {
    let fields = crate::rig::stat_fields(pid).unwrap();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_new_drain_file_counts_for_every_run_of_the_key() {
    let rig = Rig::start();
    let (old, new) = (rig.path("old"), rig.path("new"));
    let mut agent = rig.agent();
    // What is left of the first run keeps its pipe open.
    let first = agent.spawn(&Program::shell("app", "sleep 600 & exit 0").drained_to(&old));
    agent.exit_of(&first.run());
    let script = "read x; echo $x; exec sleep 600";
    let next = Program::shell("app", script).attempt(2).drained_to(&old);
    let mut next = agent.spawn(&next);
    let other = Program::shell("other", script).drained_to(&old);
    let mut other = agent.spawn(&other);
    agent.drain_to(&first.run(), Channel::Stdout, &log_file(&new));
    agent.settle();
    drop(agent);
    write_line(&mut next.stdin, "next");
    write_line(&mut other.stdin, "other");
    eventually("both are drained", || {
        let content = |path| std::fs::read_to_string(path).unwrap();
        (content(&new) == "next\n" && content(&old) == "other\n").then_some(())
    });
}

/// A program whose standard output an agent has to look at.
fn looked_at(script: &str, log: &Path) -> Program {
    let mut program = Program::shell("app", script).drained_to(log);
    program.spawn.keeps_stdout = true;
    program
}

#[test]
fn what_has_to_be_looked_at_is_kept_for_the_next_agent_and_no_program_waits() {
    let rig = Rig::start();
    let log = rig.path("log");
    let mut agent = rig.agent();
    // Four times what a pipe holds.
    let size = numbers(48_000).len();
    assert!(size > 256 * 1024);
    let running = agent.spawn(&looked_at("seq 1 48000", &log));
    drop((agent, running));
    eventually("the program has ended", || {
        rig.children().is_empty().then_some(())
    });
    // Another image of the keeper keeps it too.
    let (mut agent, _) = rig.connect();
    agent.send(Request::Reexec(Reexec::default()), &[]);
    while agent.receive().is_some() {}
    drop(agent);
    let (_agent, mut told) = rig.connect();
    assert_eq!(told.held[0].held.exit.as_ref().unwrap().code, Some(0));
    assert_eq!(size_of_log(&log), 0, "nothing gets into the log unseen");
    assert!(told.held[0].output() == numbers(48_000));
}

#[test]
fn what_is_too_much_to_be_kept_goes_into_the_log_in_its_order() {
    let rig = Rig::start();
    let log = rig.path("log");
    let last = 2_000_000;
    let mut agent = rig.agent();
    let running = agent.spawn(&looked_at(&format!("seq 1 {last}; sleep 600"), &log));
    drop((agent, running));
    let expected = numbers(last);
    assert!(expected.len() > 8 << 20);
    eventually("all is drained", || {
        (size_of_log(&log) >= expected.len() as u64).then_some(())
    });
    assert!(std::fs::read_to_string(&log).unwrap() == expected);
    let (agent, told) = rig.connect();
    let pipe = told.held[0].stdout.as_ref().unwrap();
    assert_eq!(rustix::io::ioctl_fionread(pipe).unwrap(), 0);
    // The next absence begins anew.
    drop((agent, told));
}

#[test]
fn rules_that_come_later_decide_what_is_kept() {
    let mut rig = Rig::start();
    let log = rig.path("log");
    let mut agent = rig.agent();
    let program = Program::shell("app", "read go; echo said; exec sleep 600").drained_to(&log);
    let mut running = agent.spawn(&program);
    let rules = Rules {
        run: running.run(),
        stop: program.spawn.spec.stop.clone(),
        keeps_stdout: true,
        keeps_stderr: false,
    };
    agent.send(Request::Rules(rules), &[]);
    let ordinary = rig.path("ordinary");
    agent.spawn(&Program::shell("ordinary", "echo said; exec sleep 600").drained_to(&ordinary));
    write_line(&mut running.stdin, "go");
    drop((agent, running));
    eventually("the keeper drains", || {
        (size_of_log(&ordinary) == 5).then_some(())
    });
    let (agent, mut told) = rig.connect();
    let pipe = told.held[0].stdout.as_mut().unwrap();
    assert_eq!(crate::rig::read_exactly(pipe, 5), b"said\n");
    assert_eq!(size_of_log(&log), 0);
    drop((agent, told));
    rig.signal(libc::SIGTERM);
    assert!(rig.ended().success());
}

fn size_of_log(log: &Path) -> u64 {
    std::fs::metadata(log).map_or(0, |log| log.len())
}
