//! The keeper's own end: programs are stopped in order, by the agent or by the keeper.

use std::io::Write;

use rsv_keeper::message::{Exit, Reexec, Report, Request, Rules, Scope, StopsAll};

use crate::rig::{Agent, Program, Rig, eventually, is_running, read_exactly, run};

fn await_terminating(agent: &mut Agent) {
    agent.await_report(|report| matches!(report, Report::Terminating(_)).then_some(()));
}

#[test]
fn told_to_end_the_keeper_leaves_the_stopping_to_the_agent() {
    let mut rig = Rig::start();
    let mut agent = rig.agent();
    // A shell that is just forking would survive a signal to its group.
    let running = agent.spawn(&Program::shell("app", "exec sleep 600"));
    rig.signal(libc::SIGTERM);
    await_terminating(&mut agent);
    assert!(is_running(running.pid()));
    let refused = agent
        .try_spawn(&Program::shell("late", "true"))
        .unwrap_err();
    assert_eq!(refused.errno, libc::ESHUTDOWN);
    assert_eq!(agent.signal(&running.run(), libc::SIGINT, Scope::Group), 0);
    assert_eq!(agent.finish(&running.run()).signal, Some(libc::SIGINT));
    agent.send(Request::Exit(Exit {}), &[]);
    assert_eq!(rig.ended().code(), Some(0));
    assert!(!rig.socket.exists());
}

#[test]
fn an_agent_that_goes_in_order_takes_the_keeper_with_it() {
    let mut rig = Rig::start();
    let mut agent = rig.agent();
    let running = agent.spawn(&Program::shell(
        "app",
        "trap 'exit 0' TERM; echo up; sleep 600 & wait",
    ));
    agent.send(Request::Exit(Exit {}), &[]);
    agent.settle();
    assert!(
        is_running(running.pid()),
        "the keeper does not go before its programs"
    );
    assert_eq!(agent.signal(&running.run(), libc::SIGKILL, Scope::Group), 0);
    assert_eq!(rig.ended().code(), Some(0));
}

#[test]
fn without_an_agent_the_keeper_asks_and_then_kills() {
    let mut rig = Rig::start();
    let log = rig.path("log");
    let mut agent = rig.agent();
    let obedient = "trap 'echo bye; exit 0' INT; echo up; sleep 600 & wait";
    let obedient = Program::shell("obedient", obedient).drained_to(&log);
    let obedient = obedient.spec(|spec| {
        spec.stop.signal = libc::SIGINT;
        spec.stop.grace_ms = 600_000;
    });
    let stubborn = "trap '' TERM; echo up; sleep 600 & echo up; wait; sleep 600";
    let mut pids = Vec::new();
    for program in [obedient, Program::shell("stubborn", stubborn)] {
        let mut running = agent.spawn(&program);
        read_exactly(running.stdout.as_mut().unwrap(), 3);
        pids.push(running.pid());
    }
    drop(agent);
    rig.signal(libc::SIGTERM);
    assert_eq!(rig.ended().code(), Some(0));
    for pid in pids {
        assert!(!is_running(pid));
    }
    assert_eq!(
        std::fs::read_to_string(&log).unwrap(),
        "bye\n",
        "last words are saved"
    );
    assert!(!rig.socket.exists());
}

#[test]
fn an_agent_that_dies_while_stopping_is_replaced_by_the_keeper() {
    let mut rig = Rig::start();
    let mut agent = rig.agent();
    let running = agent.spawn(&Program::shell("app", "sleep 600"));
    rig.signal(libc::SIGINT);
    await_terminating(&mut agent);
    drop(agent);
    assert_eq!(rig.ended().code(), Some(0));
    assert!(!is_running(running.pid()));
}

#[test]
fn an_agent_that_comes_while_the_keeper_waits_is_told() {
    let mut rig = Rig::start();
    let mut agent = rig.agent();
    agent.spawn(&Program::shell("app", "sleep 600"));
    rig.signal(libc::SIGTERM);
    await_terminating(&mut agent);
    // Told twice, the keeper does not wait for anybody.
    rig.signal(libc::SIGTERM);
    assert_eq!(rig.ended().code(), Some(0));
}

#[test]
fn an_agent_that_dies_while_it_stops_everything_is_replaced_by_the_keeper() {
    let mut rig = Rig::start();
    let mut agent = rig.agent();
    let first = agent.spawn(&Program::shell("first", "sleep 600"));
    let log = rig.path("asked");
    let told = "trap 'echo asked' TERM; echo up; while :; do sleep 0.01; done";
    let mut asked = agent.spawn(&Program::shell("asked", told).drained_to(&log));
    read_exactly(asked.stdout.as_mut().unwrap(), 3);
    let later = agent.spawn(&Program::shell("later", "sleep 600"));
    agent.send(Request::StopsAll(StopsAll {}), &[]);
    let refused = agent.try_spawn(&Program::shell("new", "true")).unwrap_err();
    assert_eq!(refused.errno, libc::ESHUTDOWN);
    assert!(is_running(first.pid()), "the agent stops them");
    assert_eq!(agent.stop(&first.run(), libc::SIGTERM), 0);
    agent.finish(&first.run());
    assert_eq!(agent.stop(&asked.run(), libc::SIGTERM), 0);
    // Until it has said so, it may be killed before it comes to it.
    assert_eq!(read_exactly(asked.stdout.as_mut().unwrap(), 6), b"asked\n");
    drop(agent);
    assert_eq!(rig.ended().code(), Some(0));
    assert!(!is_running(asked.pid()) && !is_running(later.pid()));
    let said = std::fs::read_to_string(&log).unwrap();
    assert_eq!(said, "", "nobody is asked twice");
    assert!(!rig.socket.exists());
}

#[test]
fn an_agent_that_comes_while_the_keeper_stops_everything_is_told() {
    let mut rig = Rig::start();
    let mut agent = rig.agent();
    let script = "trap 'read gate; exit 0' TERM; echo up; while :; do sleep 0.01; done";
    let patient = Program::shell("app", script).spec(|spec| spec.stop.grace_ms = 600_000);
    let mut running = agent.spawn(&patient);
    read_exactly(running.stdout.as_mut().unwrap(), 3);
    agent.send(Request::StopsAll(StopsAll {}), &[]);
    drop(agent);
    let (mut next, told) = rig.connect();
    await_terminating(&mut next);
    assert_eq!(told.held.len(), 1);
    assert!(is_running(running.pid()));
    let refused = next.try_spawn(&Program::shell("late", "true")).unwrap_err();
    assert_eq!(refused.errno, libc::ESHUTDOWN);
    running
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"open\n")
        .unwrap();
    assert_eq!(next.finish(&running.run()).code, Some(0));
    next.settle();
    next.send(Request::Exit(Exit {}), &[]);
    assert_eq!(rig.ended().code(), Some(0));
}

#[test]
fn a_run_is_stopped_by_the_rule_that_was_told_last() {
    let mut rig = Rig::start();
    let log = rig.path("log");
    let mut agent = rig.agent();
    let script = "trap 'echo int; exit' INT; echo up; while :; do sleep 0.01; done";
    let program = Program::shell("app", script).drained_to(&log);
    let mut running = agent.spawn(&program);
    read_exactly(running.stdout.as_mut().unwrap(), 3);
    let mut stop = program.spawn.spec.stop.clone();
    stop.signal = libc::SIGINT;
    stop.grace_ms = 600_000;
    let rule = |run| {
        Request::Rules(Rules {
            run,
            stop: stop.clone(),
            ..Rules::default()
        })
    };
    agent.send(rule(run("app", 99)), &[]);
    agent.send(rule(running.run()), &[]);
    // Another image of the keeper knows it too.
    agent.send(Request::Reexec(Reexec::default()), &[]);
    while agent.receive().is_some() {}
    drop(agent);
    drop(rig.connect());
    rig.signal(libc::SIGTERM);
    assert_eq!(rig.ended().code(), Some(0));
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "int\n");
}

#[test]
fn a_terminal_that_hangs_up_is_nothing_to_a_keeper() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    rig.signal(libc::SIGHUP);
    rig.signal(libc::SIGUSR1);
    rig.signal(libc::SIGPIPE);
    agent.settle();
    assert_eq!(agent.signal(&run("app", 1), 0, Scope::Process), libc::ESRCH);
}

#[test]
fn readiness_is_told_to_a_service_manager() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    manager
        .set_read_timeout(Some(crate::rig::PATIENCE))
        .unwrap();
    let mut keeper = std::process::Command::new(env!("CARGO_BIN_EXE_rsv-keeper"))
        .arg("--socket")
        .arg(directory.path().join("keeper.sock"))
        .env("NOTIFY_SOCKET", &path)
        .spawn()
        .unwrap();
    let mut text = [0; 64];
    let length = manager.recv(&mut text).unwrap();
    assert_eq!(&text[..length], b"READY=1\n");
    crate::rig::send_signal(keeper.id(), libc::SIGTERM);
    let status = eventually("the keeper ends", || keeper.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_second_keeper_gives_way_with_a_reason() {
    let rig = Rig::start();
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_rsv-keeper"))
        .arg("--socket")
        .arg(&rig.socket)
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8(second.stderr).unwrap();
    assert!(text.contains("another keeper answers on"), "{text}");
    rig.agent().settle();
}
