//! What the keeper holds, it holds until an agent has taken it.

use rsv_keeper::message::{Channel, Note, PROTOCOL, Request};

use crate::rig::{Program, Rig, eventually, is_running, read_to_end, run, send_signal, write_line};

#[test]
fn an_exit_is_told_to_each_new_agent_until_one_acknowledges_it() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let running = agent.spawn(&Program::shell("app", "exit 5"));
    let first = agent.unacknowledged_exit_of(&running.run());
    drop(agent);
    for _ in 0..3 {
        let (agent, told) = rig.connect();
        assert_eq!(told.held.len(), 1);
        assert_eq!(told.held[0].held.exit.as_ref(), Some(&first));
        drop(agent);
    }
    let (mut agent, _) = rig.connect();
    agent.send(Request::Ack(running.run()), &[]);
    agent.settle();
    drop(agent);
    let (mut agent, told) = rig.connect();
    // The streams have not been read to their end yet, so the run is still there.
    assert_eq!(told.held[0].held.exit, None);
    assert!(!told.held[0].held.has_stdin);
    agent.close_stream(&running.run(), Channel::Stdout);
    agent.close_stream(&running.run(), Channel::Stderr);
    agent.settle();
    assert!(rig.connect_again(agent).held.is_empty());
}

#[test]
fn an_exit_during_an_absence_is_told_to_the_next_agent() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let mut running = agent.spawn(&Program::shell("app", "read x; exit 4"));
    drop(agent);
    write_line(&mut running.stdin, "go");
    eventually("the program is reaped", || {
        rig.children().is_empty().then_some(())
    });
    let (_agent, told) = rig.connect();
    let exit = told.held[0].held.exit.clone().unwrap();
    assert_eq!((exit.code, exit.run), (Some(4), running.run()));
}

#[test]
fn a_program_outlives_its_agents_with_its_streams() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let first = agent.spawn(&Program::shell(
        "app",
        "while read x; do echo got $x; done; echo end",
    ));
    let (pid, held) = (first.pid(), first.held.clone());
    drop((agent, first));
    for round in 0..3 {
        let (agent, mut told) = rig.connect();
        let mut running = told.held.remove(0);
        assert_eq!(running.held, held, "the same run with the same identity");
        assert!(is_running(pid));
        write_line(&mut running.stdin, &format!("{round}"));
        let line = crate::rig::read_exactly(running.stdout.as_mut().unwrap(), 6);
        assert_eq!(line, format!("got {round}\n").into_bytes());
        drop((agent, running));
    }
    let (mut agent, mut told) = rig.connect();
    let mut running = told.held.remove(0);
    running.stdin = None;
    agent.close_stream(&running.run(), Channel::Stdin);
    assert_eq!(running.output(), "end\n");
    assert_eq!(agent.finish(&running.run()).code, Some(0));
}

#[test]
fn notes_are_held_replaced_and_forgotten() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let note = |key: &str, note: &[u8]| Note {
        key: key.to_owned(),
        note: note.into(),
    };
    agent.spawn(&Program::shell("app", "sleep 600").note(b"starting"));
    agent.send(Request::Note(note("one", b"1")), &[]);
    agent.send(Request::Note(note("two", b"2")), &[]);
    agent.send(Request::Note(note("one", b"replaced")), &[]);
    agent.send(Request::Note(note("two", b"")), &[]);
    let large = vec![9; 3 * 1024 * 1024];
    agent.send(Request::Note(note("large", &large)), &[]);
    agent.settle();
    let told = rig.connect_again(agent);
    let expected = [
        note("app", b"starting"),
        note("large", &large),
        note("one", b"replaced"),
    ];
    assert_eq!(told.notes, expected);
    assert_eq!(told.welcome.keeper_pid, rig.pid());
    assert_eq!(told.welcome.protocol, PROTOCOL);
}

#[test]
fn a_grandchild_that_nobody_waits_for_is_reaped() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let script = "(setsid sleep 600 & echo $!) ; read x";
    let mut running = agent.spawn(&Program::shell("app", script));
    let line = crate::rig::read_exactly(running.stdout.as_mut().unwrap(), 2);
    assert!(line[0].is_ascii_digit());
    // The shell in the middle has ended, so the keeper is the parent of what it started.
    let orphan = eventually("the orphan is the keeper's", || {
        rig.children()
            .into_iter()
            .find(|(pid, _)| *pid != running.pid())
    });
    send_signal(orphan.0, libc::SIGKILL);
    eventually("the orphan is reaped", || {
        (rig.children().len() == 1).then_some(())
    });
    assert!(is_running(running.pid()));
    write_line(&mut running.stdin, "go");
    let exited = agent.finish(&running.run());
    assert_eq!(exited.code, Some(0), "an orphan's end is not a run's");
}

#[test]
fn a_thousand_orphans_leave_no_zombie() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let script = "i=0; while [ $i -lt 1000 ]; do (true &) ; i=$((i+1)); done; echo done";
    let mut running = agent.spawn(&Program::shell("app", script));
    assert_eq!(running.output(), "done\n");
    assert_eq!(agent.finish(&running.run()).code, Some(0));
    eventually("all are reaped", || rig.children().is_empty().then_some(()));
}

#[test]
fn output_that_nobody_has_read_is_there_after_the_exit() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let running = agent.spawn(&Program::shell("app", "echo last words; echo and more >&2"));
    agent.exit_of(&running.run());
    agent.settle();
    drop(running);
    let mut told = rig.connect_again(agent);
    assert_eq!(told.held[0].run(), run("app", 1));
    assert_eq!(told.held[0].output(), "last words\n");
    assert_eq!(
        read_to_end(told.held[0].stderr.as_mut().unwrap()),
        b"and more\n"
    );
}
