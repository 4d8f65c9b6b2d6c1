//! A listening socket that a program was given is there for its next run, whoever dies meanwhile.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use rsv_keeper::message::{Reexec, Request, Stdin};

use crate::rig::{Program, Rig, eventually, log_file, send_signal};

/// A program that has a new listening socket as its standard input, and where that listens.
fn listening(script: &str) -> (Program, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut program = Program::shell("app", script).spec(|spec| {
        spec.stdin = Stdin::Given.into();
    });
    program.fds.push(socket.into());
    (program, address)
}

/// Somebody who connects and has said something before anybody accepts.
fn waiting(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"early").unwrap();
    client
}

/// Takes the connection that waits, and what was said.
fn accept(socket: OwnedFd) -> String {
    let (mut connection, _) = TcpListener::from(socket).accept().unwrap();
    let mut said = [0; 5];
    connection.read_exact(&mut said).unwrap();
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn a_socket_and_who_waits_at_it_outlive_program_and_agent() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let (program, address) = listening("exec sleep 600");
    let pid = agent.spawn(&program).pid();
    drop((agent, program));
    let _client = waiting(address);
    send_signal(pid, libc::SIGKILL);
    eventually("the program is reaped", || {
        rig.children().is_empty().then_some(())
    });
    let (mut agent, mut told) = rig.connect();
    let running = told.held.remove(0);
    assert!(running.held.exit.is_some());
    let (run, socket) = (running.run(), running.stdin.unwrap().into());
    agent.send(Request::Ack(run), &[]);
    agent.settle();
    assert_eq!(accept(socket), "early");
    drop(running.stdout);
    let told = rig.connect_again(agent);
    assert!(!told.held[0].held.has_stdin, "it is acknowledged");
    drop(told);
    assert!(TcpStream::connect(address).is_err(), "nobody has it");
}

#[test]
fn a_keeper_that_becomes_another_keeps_the_socket() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let (program, address) = listening("exec sleep 600");
    agent.spawn(&program);
    drop(program);
    let _client = waiting(address);
    agent.send(
        Request::Reexec(Reexec {
            executable: Vec::new(),
        }),
        &[],
    );
    while agent.receive().is_some() {}
    drop(agent);
    let (_agent, mut told) = rig.connect();
    assert_eq!(accept(told.held.remove(0).stdin.unwrap().into()), "early");
}

#[test]
fn a_keeper_that_takes_over_a_program_takes_over_its_socket() {
    let mut rig = Rig::start();
    let mut agent = rig.agent();
    let (program, address) = listening("exec sleep 600");
    let running = agent.spawn(&program);
    drop(program);
    rig.replace();
    let _client = waiting(address);
    let mut agent = rig.agent();
    agent.adopt(&running, Some(&log_file(&rig.path("log"))));
    agent.settle();
    drop(running);
    let mut told = rig.connect_again(agent);
    assert_eq!(accept(told.held.remove(0).stdin.unwrap().into()), "early");
}
