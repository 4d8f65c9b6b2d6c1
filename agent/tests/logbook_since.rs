//! What readers get who ask for what has come into a log since a moment: all of that, and not all that is older.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that goes wrong"
)]

#[expect(dead_code, reason = "each test file uses its part of the rig")]
#[path = "capture_support/rig.rs"]
mod rig;

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use rig::{Rig, contents, eventually, lines};
use rsv_agent::capture::Capture;
use rsv_agent::logbook::{Follow, TailEnd, TailItem, TailStart};
use rsv_keeper::message::Channel;

const HOUR: Duration = Duration::from_secs(3600);

/// What is said first, and what comes then.
struct Found {
    reaches_back: bool,
    known_since: Option<SystemTime>,
    bytes: Vec<u8>,
    lost: Option<u64>,
}

fn since(capture: &Capture, at: SystemTime) -> Found {
    let items = capture
        .logbook()
        .tail("app", Channel::Stdout, TailStart::Since(at), Follow::No);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let items: Vec<TailItem> = runtime.block_on(items.collect());
    let mut items = items.into_iter();
    let Some(TailItem::Begin {
        at,
        reaches_back,
        known_since,
    }) = items.next()
    else {
        panic!("the first item says where it begins");
    };
    let mut found = Found {
        reaches_back,
        known_since,
        bytes: Vec::new(),
        lost: None,
    };
    let mut next = at.offset;
    for item in items {
        match item {
            TailItem::Chunk { at, data, .. } => {
                assert_eq!(at.offset, next);
                next += data.len() as u64;
                found.bytes.extend(data);
            }
            TailItem::Gap { at, bytes, .. } => {
                found.lost = bytes;
                next = at.offset;
            }
            TailItem::End(end) => assert_eq!(end, TailEnd::Complete),
            TailItem::Begin { .. } => panic!("it begins twice"),
        }
    }
    found
}

/// Has the program write, and waits until that is in the log.
fn write(rig: &Rig, program: &mut std::io::PipeWriter, text: &str) {
    program.write_all(text.as_bytes()).unwrap();
    eventually("it is in the log", || {
        contents(&rig.path()).ends_with(text.as_bytes())
    });
}

/// A moment that is clearly later than all that was written.
fn later() -> SystemTime {
    let begun = SystemTime::now();
    let is_later = || {
        begun
            .elapsed()
            .is_ok_and(|since| since > Duration::from_millis(1100))
    };
    eventually("time goes on", is_later);
    SystemTime::now()
}

#[test]
fn what_came_before_the_moment_is_left_out() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(0, 0));
    write(&rig, &mut program, "old\n");
    let moment = later();
    write(&rig, &mut program, "new\n");
    let found = since(&rig.capture, moment);
    assert_eq!(
        (found.bytes.as_slice(), found.reaches_back),
        (&b"new\n"[..], true)
    );
    let found = since(&rig.capture, moment - HOUR);
    assert_eq!(
        (found.bytes.as_slice(), found.reaches_back),
        (&b"old\nnew\n"[..], true)
    );
    let found = since(&rig.capture, SystemTime::now() + HOUR);
    assert_eq!(
        (found.bytes.as_slice(), found.reaches_back),
        (&b""[..], true)
    );
}

#[test]
fn of_what_was_there_before_only_the_time_of_its_file_is_known() {
    let rig = Rig::new();
    let moment = SystemTime::now() - HOUR;
    std::fs::write(rig.path(), "from before\n").unwrap();
    let mut program = rig.program(rig.spec(0, 0));
    write(&rig, &mut program, "new\n");
    let found = since(&rig.capture, moment);
    assert_eq!(found.bytes, b"from before\nnew\n", "it may be of this hour");
    assert!(!found.reaches_back && found.known_since.is_some_and(|known| known > moment));
}

#[test]
fn a_file_that_was_written_to_last_before_the_moment_is_left_out() {
    let rig = Rig::new();
    let moment = SystemTime::now() - HOUR;
    let rotated = rig.directory.path().join("app.log.1");
    std::fs::write(&rotated, "long ago\n").unwrap();
    File::options()
        .write(true)
        .open(&rotated)
        .unwrap()
        .set_modified(moment - HOUR)
        .unwrap();
    std::fs::write(rig.path(), "from before\n").unwrap();
    let mut program = rig.program(rig.spec(1000, 1));
    write(&rig, &mut program, "new\n");
    let found = since(&rig.capture, moment);
    assert_eq!(found.bytes, b"from before\nnew\n");
    let found = since(&rig.capture, moment - 2 * HOUR);
    assert_eq!(found.bytes, b"long ago\nfrom before\nnew\n");
    assert!(!found.reaches_back);
}

#[test]
fn the_log_of_a_program_that_does_not_run_has_the_time_of_its_file() {
    let rig = Rig::new();
    std::fs::write(rig.path(), "from before\n").unwrap();
    rig.capture.know("app", Channel::Stdout, rig.spec(0, 0));
    let found = since(&rig.capture, SystemTime::now() - HOUR);
    assert_eq!(found.bytes, b"from before\n");
    assert!(!found.reaches_back && found.known_since.is_none());
}

/// The same logs under the next agent.
fn next_agent(rig: Rig) -> Rig {
    let next = Rig::new();
    Rig {
        capture: next.capture,
        told: next.told,
        directory: rig.directory,
    }
}

#[test]
fn the_next_agent_knows_what_the_one_before_it_has_kept() {
    let mut rig = Rig::new();
    let mut program = rig.program(rig.spec(0, 0));
    write(&rig, &mut program, "one\n");
    let moment = later();
    write(&rig, &mut program, "two\n");
    rig.capture.detach_all().unwrap();
    for round in 0..3 {
        rig = next_agent(rig);
        let mut program = rig.program_named("app", round + 2, rig.spec(0, 0));
        write(&rig, &mut program, "three\n");
        let found = since(&rig.capture, moment);
        let expected = format!("two\n{}", "three\n".repeat(round as usize + 1));
        assert_eq!(String::from_utf8(found.bytes).unwrap(), expected);
        assert!(found.reaches_back);
        rig.capture.detach_all().unwrap();
    }
}

#[test]
fn after_a_kill_nothing_is_left_out_and_what_is_not_known_is_said() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(0, 0));
    write(&rig, &mut program, "one\n");
    let moment = later();
    write(&rig, &mut program, "two\n");
    // Nothing is kept: a minute has not passed, and there is no orderly end.
    let rig = next_agent(rig);
    let mut program = rig.program_named("app", 2, rig.spec(0, 0));
    write(&rig, &mut program, "three\n");
    let found = since(&rig.capture, moment);
    assert_eq!(found.bytes, b"one\ntwo\nthree\n");
    assert!(!found.reaches_back);
}

#[test]
fn a_file_that_was_cut_short_between_agents_is_read_from_its_beginning() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(0, 0));
    write(&rig, &mut program, "a line of some length\n");
    let moment = later();
    write(&rig, &mut program, "another one\n");
    rig.capture.detach_all().unwrap();
    File::create(rig.path()).unwrap();
    let rig = next_agent(rig);
    let mut program = rig.program_named("app", 2, rig.spec(0, 0));
    write(&rig, &mut program, "new\n");
    assert_eq!(since(&rig.capture, moment).bytes, b"new\n");
}

#[test]
fn what_has_been_rotated_away_since_is_a_gap() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(1000, 1));
    let all = lines(0, 100);
    program.write_all(&all).unwrap();
    drop(program);
    rig.wait_closed("app", 1);
    let found = since(&rig.capture, SystemTime::now() - HOUR);
    let kept = contents(&rig.path());
    assert_eq!(found.bytes, kept);
    assert_eq!(found.lost, Some((all.len() - kept.len()) as u64));
    assert!(found.reaches_back);
}

#[test]
fn a_follower_from_a_moment_goes_on() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(0, 0));
    write(&rig, &mut program, "old\n");
    let moment = later();
    let items = rig.capture.logbook().tail(
        "app",
        Channel::Stdout,
        TailStart::Since(moment),
        Follow::Yes,
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut items = Box::pin(items);
    let first = runtime.block_on(items.next());
    assert!(matches!(first, Some(TailItem::Begin { .. })), "{first:?}");
    program.write_all(b"new\n").unwrap();
    let Some(TailItem::Chunk { data, .. }) = runtime.block_on(items.next()) else {
        panic!("nothing comes");
    };
    assert_eq!(data, b"new\n");
}
