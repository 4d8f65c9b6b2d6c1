//! An agent that is a process of its own, which lives on or is killed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rsv_keeper::message::{Reexec, Request, Scope};

use crate::rig::{Agent, Program, Rig, eventually, send_signal};

const SOCKET: &str = "RSV_KEEPER_TEST_SOCKET";
const LOG: &str = "RSV_KEEPER_TEST_LOG";

/// Starts an agent process that runs a program, has the keeper replaced, and goes on without it.
fn launch(socket: &Path, log: &Path) -> Child {
    let mut agent = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "agents::this_is_an_agent_when_another_test_asks_for_one",
            "--nocapture",
        ])
        .env(SOCKET, socket)
        .env(LOG, log)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(agent.stdout.take().unwrap()).lines();
    assert!(
        lines
            .map_while(Result::ok)
            .any(|line| line.ends_with("agent is ready"))
    );
    agent
}

#[test]
fn this_is_an_agent_when_another_test_asks_for_one() {
    let (Some(socket), Some(log)) = (std::env::var_os(SOCKET), std::env::var_os(LOG)) else {
        return;
    };
    let (mut agent, _) = Agent::connect(Path::new(&socket));
    let program = Program::shell("app", "echo out; sleep 600").drained_to(&PathBuf::from(log));
    let _running = agent.spawn(&program);
    agent.send(
        Request::Reexec(Reexec {
            executable: Vec::new(),
        }),
        &[],
    );
    while agent.receive().is_some() {}
    println!("agent is ready");
    loop {
        std::thread::park();
    }
}

#[test]
fn an_agent_that_lives_is_not_read_behind_its_back_after_the_keeper_was_replaced() {
    let rig = Rig::start();
    let log = rig.path("log");
    let mut agent = launch(&rig.socket, &log);
    let size = || std::fs::metadata(&log).unwrap().len();
    let start = Instant::now();
    eventually("more time than the grace has passed", || {
        (start.elapsed() > Duration::from_millis(2500)).then_some(())
    });
    assert_eq!(size(), 0, "two would read the same pipe");
    agent.kill().unwrap();
    agent.wait().unwrap();
    eventually("output is drained", || (size() == 4).then_some(()));
}

#[test]
fn a_keeper_whose_name_is_gone_ends_when_it_has_neither_an_agent_nor_a_program() {
    let mut rig = Rig::start();
    let mut agent = rig.agent();
    let running = agent.spawn(&Program::shell("app", "exec sleep 600"));
    std::fs::remove_file(&rig.socket).unwrap();
    let (run, pid) = (running.run(), running.pid());
    assert_eq!(agent.signal(&run, 0, Scope::Process), 0, "it serves on");
    drop((agent, running));
    send_signal(pid, libc::SIGKILL);
    assert!(rig.ended().success());
}
