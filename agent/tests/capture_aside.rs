//! What output is looked at for on its way into the log: communications, events, escape sequences, lines
//! for the system's log. Real pipes, real files, a real capture thread.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that goes wrong"
)]

#[expect(dead_code, reason = "each test file uses its part of the rig")]
#[path = "capture_support/rig.rs"]
mod rig;

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rig::{PATIENCE, Rig, assert_same, chain, contents, eventually, lines, queued, run};
use rsv_agent::capture::{CaptureEvent, CaptureEvents, LogSpec, LogTarget, SyslogTarget, Written};
use rsv_keeper::message::Channel;

const BEGIN: &[u8] = b"<!--XSUPERVISOR:BEGIN-->";
const END: &[u8] = b"<!--XSUPERVISOR:END-->";

/// The next event; it is there or comes soon.
fn next(events: &mut CaptureEvents) -> CaptureEvent {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let next = async { tokio::time::timeout(PATIENCE, events.next()).await };
    runtime.block_on(next).unwrap().unwrap()
}

/// What was written, where that is what the event is about.
fn written(event: CaptureEvent) -> Written {
    match event {
        CaptureEvent::Log(written)
        | CaptureEvent::Communication(written)
        | CaptureEvent::Protocol(written) => written,
        CaptureEvent::Taken(run) => panic!("{run:?}: nothing was written"),
    }
}

fn capturing(rig: &Rig, bound: u64) -> LogSpec {
    LogSpec {
        capture_maxbytes: bound,
        ..rig.spec(0, 0)
    }
}

#[test]
fn a_communication_is_the_same_wherever_it_is_cut_and_leaves_the_log_alone() {
    let rig = Rig::new();
    let mut events = rig.capture.take_events().unwrap();
    let output = [b"be<fore ", BEGIN, b"mes<sage\n", END, b"after\n"].concat();
    let mut expected = Vec::new();
    for at in 0..=output.len() {
        let attempt = u64::try_from(at).unwrap();
        let mut program = rig.program_named("app", attempt, capturing(&rig, 1000));
        let (first, rest) = output.split_at(at);
        program.write_all(first).unwrap();
        // The thread looks at most pieces before it answers.
        rig.capture.stats("app", Channel::Stdout).unwrap();
        program.write_all(rest).unwrap();
        drop(program);
        rig.wait_closed("app", attempt);
        let CaptureEvent::Communication(written) = next(&mut events) else {
            panic!("not a communication")
        };
        assert_eq!(written.data, b"mes<sage\n", "cut at {at}");
        assert_eq!((written.run, written.dropped), (run("app", attempt), 0));
        expected.extend_from_slice(b"be<fore after\n");
    }
    assert_same(&contents(&rig.path()), &expected);
}

#[test]
fn what_may_become_a_mark_stays_in_the_pipe_and_is_not_lost_at_the_end() {
    let rig = Rig::new();
    let spec = capturing(&rig, 1000);
    rig.capture.open("app", Channel::Stdout, spec).unwrap();
    let (reader, mut program) = io::pipe().unwrap();
    let kept = reader.try_clone().unwrap();
    let pipe = OwnedFd::from(reader);
    rig.capture.attach(run("app", 1), Channel::Stdout, pipe);
    program.write_all(b"prompt <!--XSUP").unwrap();
    eventually("the prompt is there", || {
        contents(&rig.path()) == b"prompt "
    });
    assert_eq!(queued(&kept), 8);
    program.write_all(b"ER").unwrap();
    program.write_all(b"!").unwrap();
    let so_far = b"prompt <!--XSUPER!";
    eventually("it was none", || contents(&rig.path()) == so_far);
    program.write_all(&BEGIN[..20]).unwrap();
    drop(program);
    rig.wait_closed("app", 1);
    assert_same(&contents(&rig.path()), &[so_far, &BEGIN[..20]].concat());
}

#[test]
fn of_a_communication_above_its_bound_the_end_is_kept_and_the_rest_is_counted() {
    let rig = Rig::new();
    let mut events = rig.capture.take_events().unwrap();
    let mut program = rig.program(capturing(&rig, 100));
    let message = lines(0, 2_000);
    program.write_all(&[BEGIN, &message, END].concat()).unwrap();
    drop(program);
    rig.wait_closed("app", 1);
    let written = written(next(&mut events));
    assert_same(&written.data, &message[message.len() - 100..]);
    let dropped = message.len() as u64 - 100;
    assert_eq!(written.dropped, dropped);
    let stats = rig.capture.stats("app", Channel::Stdout).unwrap().unwrap();
    assert_eq!(stats.dropped, dropped);
}

#[test]
fn output_becomes_events_only_where_it_is_asked_for_and_somebody_listens() {
    let rig = Rig::new();
    let spec = LogSpec {
        events: true,
        ..rig.spec(0, 0)
    };
    rig.capture.open("app", Channel::Stdout, spec).unwrap();
    let (reader, mut program) = io::pipe().unwrap();
    let pipe = OwnedFd::from(reader);
    rig.capture
        .attach_process(run("app", 1), Some(42), Channel::Stdout, pipe.into());
    program.write_all(b"nobody listens\n").unwrap();
    eventually("it is logged", || contents(&rig.path()).len() == 15);
    let mut events = rig.capture.take_events().unwrap();
    assert!(rig.capture.take_events().is_none(), "there is one listener");
    let silent = LogSpec::file(rig.directory.path().join("silent"), 0, 0);
    rig.program_named("silent", 1, silent)
        .write_all(b"no")
        .unwrap();
    program.write_all(b"somebody does\n").unwrap();
    let event = next(&mut events);
    let CaptureEvent::Log(written) = event else {
        panic!("{event:?}")
    };
    assert_eq!(written.data, b"somebody does\n");
    assert_eq!((written.pid, written.channel), (Some(42), Channel::Stdout));
    drop(events);
    program.write_all(b"it has gone\n").unwrap();
    drop(program);
    rig.wait_closed("app", 1);
    let expected = b"nobody listens\nsomebody does\nit has gone\n";
    assert_same(&contents(&rig.path()), expected);
}

#[test]
fn events_that_nobody_takes_are_counted_and_hold_up_nothing() {
    let rig = Rig::new();
    let mut events = rig.capture.take_events().unwrap();
    let mut program = rig.program(LogSpec {
        events: true,
        ..rig.spec(0, 0)
    });
    let output = lines(0, 200_000);
    program.write_all(&output).unwrap();
    drop(program);
    rig.wait_closed("app", 1);
    assert_same(&contents(&rig.path()), &output);
    let stats = rig.capture.stats("app", Channel::Stdout).unwrap().unwrap();
    assert!(stats.dropped > 0 && stats.trouble_since.is_some());
    let mut taken = 0;
    while taken < output.len() as u64 - stats.dropped {
        taken += written(next(&mut events)).data.len() as u64;
    }
    assert_eq!(taken + stats.dropped, output.len() as u64);
}

#[test]
fn split_escape_sequences_do_not_leak() {
    let rig = Rig::new();
    let mut program = rig.program(LogSpec {
        strip_ansi: true,
        ..rig.spec(0, 0)
    });
    for byte in b"\x1b[1;31mred\x1b[0m\n\x1b" {
        program.write_all(&[*byte]).unwrap();
        rig.capture.stats("app", Channel::Stdout).unwrap();
    }
    drop(program);
    rig.wait_closed("app", 1);
    assert_same(&contents(&rig.path()), b"red\n\x1b");
}

#[test]
fn a_log_that_is_looked_at_is_rotated_at_the_ends_of_lines_and_whole() {
    let rig = Rig::new();
    let mut program = rig.program(LogSpec {
        capture_maxbytes: 10,
        ..rig.spec(10_000, 1000)
    });
    let expected = lines(0, 20_000);
    program.write_all(&expected).unwrap();
    drop(program);
    rig.wait_closed("app", 1);
    assert_same(&contents(&rig.path()), &expected);
    let files = chain(&rig.path());
    let is_cut = |path| std::fs::read(path).unwrap().last() != Some(&b'\n');
    let cut = files.iter().filter(|path| is_cut(*path)).count();
    assert!(cut * 5 <= files.len(), "{cut} of {} are cut", files.len());
}

/// The system's log, as far as it is needed.
struct SystemLog {
    socket: UnixDatagram,
    target: SyslogTarget,
}

impl SystemLog {
    fn new(rig: &Rig) -> Self {
        let path = rig.directory.path().join("dev-log");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let target = SyslogTarget {
            name: "app".into(),
            socket: path,
        };
        Self { socket, target }
    }

    /// The next line, without what stands in front of every one.
    fn line(&self) -> String {
        let mut packet = vec![0; 10_000];
        let length = self.socket.recv(&mut packet).unwrap();
        let text = String::from_utf8(packet[..length].to_vec()).unwrap();
        let pid = std::process::id();
        let (head, line) = text.split_once(&format!("rsv-agent[{pid}]: ")).unwrap();
        assert!(head.starts_with("<14>") && head.len() == 20, "{text}");
        line.to_owned()
    }
}

#[test]
fn lines_go_to_the_systems_log_beside_the_file_or_alone() {
    for target in [None, Some(LogTarget::Null)] {
        let rig = Rig::new();
        let log = SystemLog::new(&rig);
        let mut spec = rig.spec(0, 0);
        spec.syslog = Some(log.target.clone());
        spec.capture_maxbytes = 10;
        let has_file = target.is_none();
        spec.target = target.unwrap_or(spec.target);
        let mut program = rig.program(spec);
        program.write_all(b"one\ntwo b").unwrap();
        assert_eq!(log.line(), "app one");
        program.write_all(b"egins\n").unwrap();
        assert_eq!(log.line(), "app two begins");
        program.write_all(&[BEGIN, b"x\ny", END].concat()).unwrap();
        program.write_all(b"and ends").unwrap();
        drop(program);
        assert_eq!(log.line(), "app and ends");
        rig.wait_closed("app", 1);
        if has_file {
            assert_same(&contents(&rig.path()), b"one\ntwo begins\nand ends");
        }
    }
}

#[test]
fn a_systems_log_that_is_full_holds_up_nothing_and_is_told() {
    let rig = Rig::new();
    let log = SystemLog::new(&rig);
    let (sender, told) = std::sync::mpsc::channel();
    rig.capture.tell_trouble(Box::new(move |trouble| {
        sender.send(trouble).ok();
        Ok(())
    }));
    let mut program = rig.program(LogSpec {
        syslog: Some(log.target.clone()),
        ..rig.spec(0, 0)
    });
    let output = lines(0, 20_000);
    program.write_all(&output).unwrap();
    eventually("the file has all", || {
        contents(&rig.path()).len() == output.len()
    });
    // Its lines come after it, and an answer after both.
    rig.capture.stats("app", Channel::Stdout).unwrap();
    let begins = told.recv_timeout(PATIENCE).unwrap();
    let text = begins.text.unwrap();
    assert!(text.contains("does not take all lines"), "{text}");
    assert!(begins.since.is_some() && begins.dropped > 0);
    let mut taken = 0_u64;
    log.socket.set_nonblocking(true).unwrap();
    while log.socket.recv(&mut [0; 1000]).is_ok() {
        taken += 1;
    }
    log.socket.set_nonblocking(false).unwrap();
    assert!(taken > 0);
    program.write_all(b"there is room again\n").unwrap();
    assert_eq!(log.line(), "app there is room again");
    let mut last = told.recv_timeout(PATIENCE).unwrap();
    while last.text.is_some() {
        last = told.recv_timeout(PATIENCE).unwrap();
    }
    let stats = rig.capture.stats("app", Channel::Stdout).unwrap().unwrap();
    assert_eq!((last.dropped, stats.trouble_since), (stats.dropped, None));
}

#[test]
fn trouble_with_a_file_is_told_once_when_it_begins_and_once_when_it_ends() {
    let rig = Rig::new();
    let (sender, told) = std::sync::mpsc::channel();
    rig.capture.tell_trouble(Box::new(move |trouble| {
        sender.send(trouble).ok();
        Ok(())
    }));
    let mut program = rig.program(LogSpec::file("/dev/full", 0, 0));
    program.write_all(b"text").unwrap();
    let begins = told.recv_timeout(PATIENCE).unwrap();
    let text = begins.text.unwrap();
    assert!(text.starts_with("`/dev/full`: No space left"), "{text}");
    let errors = || {
        let stats = rig.capture.stats("app", Channel::Stdout);
        stats.unwrap().unwrap().errors
    };
    eventually("it is tried again", || errors() > 5);
    rig.capture
        .open("app", Channel::Stdout, rig.spec(0, 0))
        .unwrap();
    let ends = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!((ends.text, ends.since, ends.dropped), (None, None, 0));
    assert_same(&contents(&rig.path()), b"text");
    assert!(told.recv_timeout(Duration::ZERO).is_err());
}

/// What was shown, in pieces, each with its program.
type Pieces = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

fn shown(rig: &Rig) -> Pieces {
    let pieces = Pieces::default();
    let taken = Arc::clone(&pieces);
    rig.capture.show_output(Box::new(move |key, _, text| {
        taken
            .lock()
            .unwrap()
            .push((key.to_owned(), text.to_owned()));
    }));
    pieces
}

#[test]
fn what_is_shown_is_what_goes_into_the_log_and_changes_nothing_of_it() {
    for (strip_ansi, capture_maxbytes) in [(false, 0), (true, 0), (false, 100)] {
        let rig = Rig::new();
        let pieces = shown(&rig);
        let mut program = rig.program(LogSpec {
            strip_ansi,
            capture_maxbytes,
            ..rig.spec(10_000, 1000)
        });
        let mut output = [b"before ", BEGIN, b"message", END, b"\x1b[1mafter\n"].concat();
        output.extend(lines(0, 20_000));
        program.write_all(&output).unwrap();
        drop(program);
        rig.wait_closed("app", 1);
        let pieces = pieces.lock().unwrap();
        assert!(
            pieces
                .iter()
                .all(|(key, text)| key == "app" && !text.is_empty())
        );
        let all: Vec<u8> = pieces.iter().flat_map(|(_, text)| text.clone()).collect();
        assert_same(&all, &contents(&rig.path()));
        assert!(all.ends_with(&lines(19_999, 1)));
        if capture_maxbytes > 0 {
            assert!(all.starts_with(b"before \x1b[1mafter\n"));
        }
    }
}

#[test]
fn what_is_shown_is_cut_between_characters_and_discarded_output_is_shown_too() {
    let rig = Rig::new();
    let pieces = shown(&rig);
    let mut program = rig.program(LogSpec::null());
    let output = "x\u{20ac}\u{1f600}".repeat(100_000);
    program.write_all(output.as_bytes()).unwrap();
    drop(program);
    rig.wait_closed("app", 1);
    let pieces = pieces.lock().unwrap();
    let texts = pieces
        .iter()
        .map(|(_, text)| std::str::from_utf8(text).unwrap());
    assert!(texts.collect::<String>() == output);
}

fn listening(rig: &Rig) -> LogSpec {
    LogSpec {
        protocol: true,
        ..rig.spec(0, 0)
    }
}

#[test]
fn what_a_listener_says_stays_in_its_pipe_until_it_is_understood() {
    let rig = Rig::new();
    let mut events = rig.capture.take_events().unwrap();
    rig.capture
        .open("l", Channel::Stdout, listening(&rig))
        .unwrap();
    let (reader, mut listener) = io::pipe().unwrap();
    let pipe = reader.try_clone().unwrap();
    rig.capture
        .attach(run("l", 1), Channel::Stdout, reader.into());
    listener.write_all(b"READY\n").unwrap();
    assert_eq!(written(next(&mut events)).data, b"READY\n");
    listener.write_all(b"more").unwrap();
    // The thread has looked at that by the time it answers.
    rig.capture.stats("l", Channel::Stdout).unwrap();
    assert_eq!(rustix::io::ioctl_fionread(&pipe).unwrap(), 10);
    assert_eq!(contents(&rig.path()), b"");
    rig.capture.understood(run("l", 1), 6);
    assert_eq!(next(&mut events), CaptureEvent::Taken(run("l", 1)));
    assert_eq!(written(next(&mut events)).data, b"more");
    assert_eq!(contents(&rig.path()), b"READY\n");
    // A word too much changes nothing.
    rig.capture.understood(run("l", 1), 4);
    rig.capture.understood(run("l", 1), 4);
    assert_eq!(next(&mut events), CaptureEvent::Taken(run("l", 1)));
    assert_eq!(contents(&rig.path()), b"READY\nmore");
}

#[test]
fn what_a_listener_says_is_told_whatever_others_write() {
    let rig = Rig::new();
    let mut events = rig.capture.take_events().unwrap();
    let spec = LogSpec {
        events: true,
        ..LogSpec::null()
    };
    let mut flood = rig.program_named("flood", 1, spec);
    let piece = vec![b'x'; 1024 * 1024];
    for _ in 0..8 {
        flood.write_all(&piece).unwrap();
    }
    let mut listener = rig.program_named("l", 1, listening(&rig));
    listener.write_all(b"READY\n").unwrap();
    eventually("the flood is more than there is room for", || {
        let stats = rig.capture.stats("flood", Channel::Stdout).unwrap();
        stats.is_some_and(|stats| stats.dropped > 0)
    });
    let is_said = |event: &CaptureEvent| matches!(event, CaptureEvent::Protocol(_));
    while !is_said(&next(&mut events)) {}
    rig.capture.understood(run("l", 1), 6);
    while next(&mut events) != CaptureEvent::Taken(run("l", 1)) {}
}

#[test]
fn where_nobody_serves_listeners_what_they_say_is_logged() {
    let rig = Rig::new();
    let mut listener = rig.program(listening(&rig));
    listener.write_all(b"READY\n").unwrap();
    eventually("it is logged", || contents(&rig.path()) == b"READY\n");
    drop(rig.capture.take_events());
    listener.write_all(b"again").unwrap();
    eventually("it is logged", || contents(&rig.path()) == b"READY\nagain");
}
