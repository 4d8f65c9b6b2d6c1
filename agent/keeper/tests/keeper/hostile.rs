//! Nothing that an agent does or fails to do stops the keeper.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use rsv_keeper::message::{Hello, Note, PROTOCOL, Report, Request, Scope, Signal, Stage};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::{Resource, Rlimit};

use crate::rig::{Agent, Program, Rig, eventually, is_running, run};

fn send_raw(agent: &Agent, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    }
    let parts = [IoSlice::new(bytes)];
    rustix::net::sendmsg(&agent.socket, &parts, &mut control, SendFlags::NOSIGNAL).unwrap();
}

#[test]
fn a_malformed_packet_costs_the_agent_its_connection_and_nothing_else() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let running = agent.spawn(&Program::shell("app", "sleep 600"));
    let before = rig.descriptors();
    let (reader, _writer) = rustix::pipe::pipe().unwrap();
    let many = [reader.as_fd(); 20];
    let large = vec![0x20; 80_000];
    let packets: [(&[u8], &[BorrowedFd<'_>]); 5] = [
        (&[0xff; 30], &[]),
        (&large, &[]),
        (&[], &many[..1]),
        (&[0x42, 0], &many),
        (&[7; 9], &many),
    ];
    for (bytes, fds) in packets {
        send_raw(&agent, bytes, fds);
        assert!(agent.receive().is_none(), "dismissed");
        // While it is connected it is still the agent: it may be reading the pipes.
        let other = Agent::dial(&rig.socket);
        other.send(
            Request::Hello(Hello {
                protocol: PROTOCOL,
                agent_pid: 1,
            }),
            &[],
        );
        let mut other = other;
        assert!(matches!(other.receive(), Some((Report::Busy(_), _))));
        drop(agent);
        agent = rig.connect().0;
        agent.settle();
        assert_eq!(
            rig.descriptors(),
            before,
            "descriptors of a malformed packet stay open"
        );
    }
    assert!(is_running(running.pid()));
}

#[test]
fn there_is_one_agent_at_a_time() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let mut second = Agent::dial(&rig.socket);
    second.send(
        Request::Hello(Hello {
            protocol: PROTOCOL,
            agent_pid: 1,
        }),
        &[],
    );
    let Some((Report::Busy(busy), _)) = second.receive() else {
        panic!("not busy")
    };
    assert_eq!(busy.agent_pid, std::process::id());
    assert!(second.receive().is_none());
    agent.settle();
}

#[test]
fn who_does_not_greet_is_not_heard() {
    let rig = Rig::start();
    let running = rig.agent().spawn(&Program::shell("app", "sleep 600"));
    let mut rude = Agent::dial(&rig.socket);
    let signal = Signal {
        run: running.run(),
        signal: 9,
        scope: Scope::Process.into(),
        request: 1,
        ends_run: false,
        ends_remainder: false,
    };
    rude.send(Request::Signal(signal), &[]);
    assert!(rude.receive().is_none());
    // Visitors that say nothing do not keep others out.
    let silent: Vec<_> = (0..40).map(|_| Agent::dial(&rig.socket)).collect();
    let (mut agent, _) = rig.connect();
    agent.settle();
    assert!(is_running(running.pid()));
    drop(silent);
    agent.settle();
    eventually("visitors are forgotten", || {
        (rig.descriptors() < 40).then_some(())
    });
}

#[test]
fn an_agent_that_does_not_read_holds_up_nothing_and_loses_nothing() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let total = 3000;
    let asker = std::thread::spawn({
        let socket = rustix::io::fcntl_dupfd_cloexec(&agent.socket, 3).unwrap();
        move || {
            let run = run("nobody", 0);
            for request in 0..total {
                let scope = Scope::Process.into();
                let signal = Signal {
                    run: run.clone(),
                    signal: 0,
                    scope,
                    request,
                    ends_run: false,
                    ends_remainder: false,
                };
                let message = rsv_keeper::message::ToKeeper {
                    request: Some(Request::Signal(signal)),
                };
                rsv_keeper::packet::send(socket.as_fd(), &message, &[]).unwrap();
            }
        }
    });
    // Nobody reads until the keeper has stopped reading, as the asker's messages pile up.
    eventually("the keeper waits without being busy", || {
        crate::rig::stat_fields(rig.pid())
            .filter(|fields| fields[0] == "S")
            .map(drop)
    });
    for expected in 0..total {
        let answer = agent.await_report(|report| match report {
            Report::Signalled(answer) => Some(answer.clone()),
            _ => None,
        });
        assert_eq!((answer.request, answer.errno), (expected, libc::ESRCH));
    }
    asker.join().unwrap();
}

#[test]
fn without_descriptors_programs_are_refused_and_agents_still_let_in() {
    let mut rig = Rig::start();
    let pid = rustix::process::Pid::from_raw(rig.pid().try_into().unwrap());
    let limit = Rlimit {
        current: Some(70),
        maximum: Some(70),
    };
    rustix::process::prlimit(pid, Resource::Nofile, limit).unwrap();
    let mut agent = rig.agent();
    let mut started = Vec::new();
    let refused = loop {
        let program = Program::shell(&format!("app{}", started.len()), "sleep 600");
        match agent.try_spawn(&program) {
            Ok(running) => started.push(running),
            Err(refused) => break refused,
        }
    };
    assert!(started.len() > 5, "{refused:?} {}", rig.descriptors());
    assert_eq!(refused.errno, libc::EMFILE);
    assert!(
        [Stage::Pipes, Stage::Fork].contains(&refused.stage()),
        "{:?}",
        refused.stage()
    );
    let before = rig.descriptors();
    assert!(agent.try_spawn(&Program::shell("late", "true")).is_err());
    assert_eq!(rig.descriptors(), before);
    drop(agent);
    let (mut agent, told) = rig.connect();
    assert_eq!(told.held.len(), started.len());
    let first = run("app0", 1);
    assert_eq!(agent.signal(&first, libc::SIGKILL, Scope::Process), 0);
    agent.finish(&first);
    agent.spawn(&Program::shell("late", "sleep 600"));
    drop(agent);
    rig.signal(libc::SIGTERM);
    assert_eq!(rig.ended().code(), Some(0));
}

/// Lets a process have no descriptor that it has not now; gives it back what it had.
fn without_another_descriptor(pid: u32) -> impl FnOnce() {
    let is_free = |number: &u64| {
        let link = format!("/proc/{pid}/fd/{number}");
        std::fs::symlink_metadata(link).is_err()
    };
    let lowest = (0..).find(is_free).unwrap();
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap());
    let set = move |limit| rustix::process::prlimit(pid, Resource::Nofile, limit).unwrap();
    let before = rustix::process::getrlimit(Resource::Nofile);
    set(Rlimit {
        current: Some(lowest),
        ..before
    });
    move || {
        set(before);
    }
}

#[test]
fn a_large_request_that_finds_no_descriptor_is_to_be_made_again_and_is_heeded_then() {
    let rig = Rig::start();
    let large = Note {
        key: "app".into(),
        note: vec![7; 100_000],
    };
    let mut agent = rig.agent();
    agent.settle();
    let give_back = without_another_descriptor(rig.pid());
    agent.send(Request::Note(large.clone()), &[]);
    assert!(agent.receive().is_none(), "it is not left in the belief");
    drop(agent);
    let mut agent = rig.agent();
    agent.send(Request::Note(large.clone()), &[]);
    agent.settle();
    give_back();
    let told = rig.connect_again(agent);
    assert_eq!(told.notes, [large]);
}
