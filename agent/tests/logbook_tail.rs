//! What readers and followers of a log get, while it is written, rotated, cut short and cleared.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that goes wrong"
)]

#[expect(dead_code, reason = "each test file uses its part of the rig")]
#[path = "capture_support/rig.rs"]
mod rig;

use std::io::Write;
use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use rig::{Rig, assert_same, contents, eventually, lines};
use rsv_agent::capture::{Capture, LogSpec, LogTarget};
use rsv_agent::logbook::{CHUNK, Cursor, Follow, TailEnd, TailItem, TailStart};
use rsv_keeper::message::Channel;

/// One tail and a runtime of its own, read from a test as from a synchronous consumer.
struct Reader {
    runtime: tokio::runtime::Runtime,
    items: Pin<Box<dyn Stream<Item = TailItem> + Send>>,
}

impl Reader {
    fn new(capture: &Capture, start: TailStart, follow: Follow) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(2)
            .build()
            .unwrap();
        let items = capture
            .logbook()
            .tail("app", Channel::Stdout, start, follow);
        Self {
            runtime,
            items: Box::pin(items),
        }
    }

    fn next(&mut self) -> TailItem {
        let next = async {
            let next = self.items.next();
            tokio::time::timeout(rig::PATIENCE, next).await
        };
        self.runtime
            .block_on(next)
            .expect("within the patience")
            .unwrap()
    }

    /// Bytes up to so many, which come without a gap.
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut expected = None;
        while bytes.len() < count {
            match self.next() {
                TailItem::Chunk { at, data, .. } => {
                    assert!(!data.is_empty() && data.len() <= CHUNK);
                    assert_eq!(*expected.get_or_insert(at.offset), at.offset);
                    expected = Some(at.offset + data.len() as u64);
                    bytes.extend(data);
                }
                other => panic!("{other:?} after {} bytes", bytes.len()),
            }
        }
        bytes
    }

    /// Everything to the end.
    fn rest(&mut self) -> (Vec<u8>, TailEnd) {
        let mut bytes = Vec::new();
        loop {
            match self.next() {
                TailItem::Chunk { data, .. } => bytes.extend(data),
                TailItem::End(end) => return (bytes, end),
                gap => panic!("{gap:?} after {} bytes", bytes.len()),
            }
        }
    }
}

fn read(capture: &Capture, start: TailStart) -> Vec<u8> {
    let (bytes, end) = Reader::new(capture, start, Follow::No).rest();
    assert_eq!(end, TailEnd::Complete);
    bytes
}

/// A log whose bytes are all in the files.
fn written(rig: &Rig, spec: LogSpec, bytes: &[u8]) {
    let mut program = rig.program(spec);
    program.write_all(bytes).unwrap();
    drop(program);
    rig.wait_closed("app", 1);
}

#[test]
fn the_last_bytes_are_given_over_the_boundaries_of_files() {
    let rig = Rig::new();
    let all = lines(0, 1_000);
    written(&rig, rig.spec(3_000, 100), &all);
    assert_same(
        &read(&rig.capture, TailStart::default()),
        &all[all.len() - 1_600..],
    );
    assert_same(
        &read(&rig.capture, TailStart::Bytes(20_000)),
        &all[all.len() - 20_000..],
    );
    assert_same(&read(&rig.capture, TailStart::Bytes(u64::MAX)), &all);
    assert_same(&read(&rig.capture, TailStart::All), &all);
    assert_eq!(read(&rig.capture, TailStart::Bytes(0)), b"");
}

#[test]
fn the_last_lines_are_whole() {
    let rig = Rig::new();
    let all = lines(0, 5_000);
    written(&rig, rig.spec(3_000, 1_000), &all);
    for count in [1_usize, 2, 10, 100, 4_000] {
        let from = 5_000 - count as u64;
        let expected = lines(from, count as u64);
        assert_same(
            &read(&rig.capture, TailStart::Lines(count as u64)),
            &expected,
        );
    }
    assert_same(&read(&rig.capture, TailStart::Lines(5_001)), &all);
    assert_eq!(read(&rig.capture, TailStart::Lines(0)), b"");
}

#[test]
fn a_last_line_without_an_end_counts_as_one() {
    let rig = Rig::new();
    written(&rig, rig.spec(0, 0), b"one\ntwo\nthr");
    assert_eq!(read(&rig.capture, TailStart::Lines(1)), b"thr");
    assert_eq!(read(&rig.capture, TailStart::Lines(2)), b"two\nthr");
}

#[test]
fn what_a_program_has_written_before_the_tail_is_in_it() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(0, 0));
    for n in 0..200 {
        program.write_all(&lines(n, 1)).unwrap();
        assert_same(&read(&rig.capture, TailStart::Lines(1)), &lines(n, 1));
    }
}

#[test]
fn a_follower_gets_the_written_stream_over_many_rotations() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(10_000, 10_000));
    let mut follower = Reader::new(&rig.capture, TailStart::All, Follow::Yes);
    let all = lines(0, 100_000);
    let to_write = all.clone();
    let writer = std::thread::spawn(move || {
        for piece in to_write.chunks(7_777) {
            program.write_all(piece).unwrap();
        }
        program
    });
    assert_same(&follower.bytes(all.len()), &all);
    drop(writer.join().unwrap());
}

#[test]
fn a_follower_gets_a_lone_line_at_once() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(0, 0));
    let mut follower = Reader::new(&rig.capture, TailStart::All, Follow::Yes);
    for n in 0..100 {
        program.write_all(&lines(n, 1)).unwrap();
        assert_eq!(follower.bytes(1), lines(n, 1));
    }
}

#[test]
fn a_slow_follower_is_told_how_much_it_has_lost() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(10_000, 2));
    let mut follower = Reader::new(&rig.capture, TailStart::All, Follow::Yes);
    program.write_all(&lines(0, 1)).unwrap();
    let mut got = follower.bytes(1);
    let all = lines(0, 2_000);
    program.write_all(&all[got.len()..]).unwrap();
    drop(program);
    rig.wait_closed("app", 1);
    let kept = contents(&rig.path());
    // It still has the first file open and reads that to its end.
    let lost = loop {
        match follower.next() {
            TailItem::Chunk { data, .. } => got.extend(data),
            TailItem::Gap { at, bytes, reason } => {
                assert_eq!(reason, "rotated away");
                assert_eq!(at.offset, got.len() as u64 + bytes.unwrap());
                break usize::try_from(bytes.unwrap()).unwrap();
            }
            other @ (TailItem::Begin { .. } | TailItem::End(_)) => panic!("{other:?}"),
        }
    };
    assert!(got.len() > 9_000, "the first file was read to its end");
    assert_eq!(got.len() + lost + kept.len(), all.len());
    assert_same(&got, &all[..got.len()]);
    assert_same(&follower.bytes(kept.len()), &kept);
}

#[test]
fn a_cursor_goes_on_exactly_where_it_was() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(5_000, 1_000));
    let all = lines(0, 10_000);
    program.write_all(&all[..100_000]).unwrap();
    let mut reader = Reader::new(&rig.capture, TailStart::All, Follow::Yes);
    let TailItem::Chunk { at, data, .. } = reader.next() else {
        panic!()
    };
    drop(reader);
    program.write_all(&all[100_000..]).unwrap();
    let cursor = Cursor {
        offset: at.offset + data.len() as u64,
        ..at
    };
    let mut reader = Reader::new(&rig.capture, TailStart::From(cursor), Follow::Yes);
    assert_same(&reader.bytes(all.len() - data.len()), &all[data.len()..]);
}

#[test]
fn a_cursor_is_good_for_the_next_agent() {
    let rig = Rig::new();
    let all = lines(0, 2_000);
    written(&rig, rig.spec(5_000, 1_000), &all[..60_000]);
    let mut reader = Reader::new(&rig.capture, TailStart::Bytes(1), Follow::No);
    let TailItem::Chunk { at, .. } = reader.next() else {
        panic!()
    };
    let next = Rig {
        directory: rig.directory,
        ..Rig::new()
    };
    written(&next, next.spec(5_000, 1_000), &all[60_000..]);
    let cursor = Cursor {
        offset: 10_000,
        ..at
    };
    assert_same(
        &read(&next.capture, TailStart::From(cursor)),
        &all[10_000..],
    );
}

#[test]
fn what_the_keeper_wrote_meanwhile_is_read() {
    let rig = Rig::new();
    written(&rig, rig.spec(1_000_000, 10), b"agent\n");
    let mut reader = Reader::new(&rig.capture, TailStart::All, Follow::No);
    let TailItem::Chunk { at, data, .. } = reader.next() else {
        panic!()
    };
    let next = Rig {
        directory: rig.directory,
        ..Rig::new()
    };
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(next.path())
        .unwrap();
    file.write_all(b"keeper\n").unwrap();
    let _program = next.program(next.spec(1_000_000, 10));
    let cursor = Cursor {
        offset: at.offset + data.len() as u64,
        ..at
    };
    assert_eq!(read(&next.capture, TailStart::From(cursor)), b"keeper\n");
}

#[test]
fn a_cursor_that_has_been_rotated_away_begins_with_a_gap() {
    let rig = Rig::new();
    let all = lines(0, 2_000);
    written(&rig, rig.spec(5_000, 2), &all);
    let kept = contents(&rig.path());
    let mut reader = Reader::new(&rig.capture, TailStart::Bytes(1), Follow::No);
    let TailItem::Chunk { at, .. } = reader.next() else {
        panic!()
    };
    let start = TailStart::From(Cursor { offset: 7, ..at });
    let mut reader = Reader::new(&rig.capture, start, Follow::No);
    let first_kept = (all.len() - kept.len()) as u64;
    let gap = TailItem::Gap {
        at: Cursor {
            offset: first_kept,
            ..at
        },
        bytes: Some(first_kept - 7),
        reason: "rotated away",
    };
    assert_eq!(reader.next(), gap);
    assert_same(&reader.rest().0, &kept);
}

#[test]
fn a_cursor_of_another_numbering_begins_with_a_gap_of_unknown_size() {
    let rig = Rig::new();
    written(&rig, rig.spec(0, 0), b"text");
    let start = TailStart::From(Cursor {
        log_id: uuid::Uuid::from_u128(5),
        offset: 2,
    });
    let mut reader = Reader::new(&rig.capture, start, Follow::No);
    assert!(matches!(reader.next(), TailItem::Gap { bytes: None, .. }));
    assert_eq!(reader.rest().0, b"text");
}

#[test]
fn a_follower_goes_on_after_an_outside_truncation_without_repeating() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(0, 0));
    let mut follower = Reader::new(&rig.capture, TailStart::All, Follow::Yes);
    program.write_all(&[b'a'; 1_000]).unwrap();
    assert_eq!(follower.bytes(1_000).len(), 1_000);
    std::fs::OpenOptions::new()
        .write(true)
        .open(rig.path())
        .unwrap()
        .set_len(0)
        .unwrap();
    program.write_all(b"after").unwrap();
    let TailItem::Chunk { at, data, .. } = follower.next() else {
        panic!()
    };
    assert_eq!((at.offset, data.as_slice()), (1_000, &b"after"[..]));
}

#[test]
fn what_an_outside_truncation_takes_from_a_follower_is_a_gap() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(0, 0));
    let mut follower = Reader::new(&rig.capture, TailStart::All, Follow::Yes);
    program.write_all(&[b'a'; 100]).unwrap();
    follower.bytes(100);
    program.write_all(&[b'b'; 200]).unwrap();
    eventually("the bytes are there", || contents(&rig.path()).len() == 300);
    std::fs::OpenOptions::new()
        .write(true)
        .open(rig.path())
        .unwrap()
        .set_len(50)
        .unwrap();
    program.write_all(b"after").unwrap();
    eventually("new bytes are there", || {
        contents(&rig.path()).ends_with(b"after")
    });
    assert!(matches!(
        follower.next(),
        TailItem::Gap {
            at: Cursor { offset: 300, .. },
            bytes: Some(200),
            reason: "truncated"
        }
    ));
    assert_eq!(follower.bytes(5), b"after");
}

#[test]
fn a_follower_goes_on_over_clear_and_reopen() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(0, 0));
    let mut follower = Reader::new(&rig.capture, TailStart::All, Follow::Yes);
    program.write_all(b"one ").unwrap();
    assert_eq!(follower.bytes(4), b"one ");
    rig.capture.clear("app").unwrap();
    program.write_all(b"two ").unwrap();
    assert_eq!(follower.bytes(4), b"two ");
    std::fs::rename(rig.path(), rig.directory.path().join("moved")).unwrap();
    rig.capture.reopen_all().unwrap();
    program.write_all(b"three").unwrap();
    assert_eq!(follower.bytes(5), b"three");
    assert_eq!(read(&rig.capture, TailStart::All), b"three");
}

#[test]
fn a_follower_goes_on_with_the_next_attempt_of_its_program() {
    let rig = Rig::new();
    written(&rig, rig.spec(0, 0), b"first ");
    let mut follower = Reader::new(&rig.capture, TailStart::All, Follow::Yes);
    assert_eq!(follower.bytes(6), b"first ");
    rig.capture.closed("app");
    let mut program = rig.program_named("app", 2, rig.spec(0, 0));
    program.write_all(b"second").unwrap();
    assert_eq!(follower.bytes(6), b"second");
}

#[test]
fn a_follower_moves_over_when_the_output_gets_another_file() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(0, 0));
    let mut follower = Reader::new(&rig.capture, TailStart::All, Follow::Yes);
    program.write_all(b"one").unwrap();
    assert_eq!(follower.bytes(3), b"one");
    let path = rig.directory.path().join("other.log");
    let spec = LogSpec {
        target: LogTarget::File { path },
        ..rig.spec(0, 0)
    };
    rig.capture.open("app", Channel::Stdout, spec).unwrap();
    program.write_all(b"two").unwrap();
    assert!(matches!(follower.next(), TailItem::Gap { bytes: None, .. }));
    assert_eq!(follower.bytes(3), b"two");
}

#[test]
fn a_follower_ends_when_its_log_is_forgotten() {
    let rig = Rig::new();
    written(&rig, rig.spec(0, 0), b"text");
    let mut follower = Reader::new(&rig.capture, TailStart::All, Follow::Yes);
    assert_eq!(follower.bytes(4), b"text");
    rig.capture.forget("app");
    assert_eq!(follower.next(), TailItem::End(TailEnd::Forgotten));
}

#[test]
fn the_log_of_a_program_that_does_not_run_can_be_read() {
    let rig = Rig::new();
    std::fs::write(rig.path(), "from before\n").unwrap();
    rig.capture.know("app", Channel::Stdout, rig.spec(0, 0));
    assert_eq!(read(&rig.capture, TailStart::All), b"from before\n");
}

#[test]
fn a_log_that_the_agent_names_can_be_followed_before_its_program_starts() {
    let rig = Rig::new();
    let spec = LogSpec {
        target: LogTarget::Private { path: rig.path() },
        ..rig.spec(0, 0)
    };
    rig.capture.know("app", Channel::Stdout, spec.clone());
    assert_eq!(read(&rig.capture, TailStart::All), b"");
    let mut follower = Reader::new(&rig.capture, TailStart::default(), Follow::Yes);
    let mut program = rig.program(spec);
    program.write_all(b"first").unwrap();
    assert_eq!(follower.bytes(5), b"first");
}

#[test]
fn a_log_with_a_name_of_its_own_is_not_made_by_reading() {
    let rig = Rig::new();
    rig.capture.know("app", Channel::Stdout, rig.spec(0, 0));
    let mut reader = Reader::new(&rig.capture, TailStart::All, Follow::No);
    assert_eq!(reader.next(), TailItem::End(TailEnd::NoLog));
    assert!(!rig.path().exists());
}

#[test]
fn output_that_is_not_in_a_file_cannot_be_read() {
    let rig = Rig::new();
    let _program = rig.program(LogSpec::null());
    for key in ["app", "unknown"] {
        let book = rig.capture.logbook();
        let mut reader = Reader::new(&rig.capture, TailStart::All, Follow::No);
        let items = book.tail(key, Channel::Stdout, TailStart::All, Follow::Yes);
        reader.items = Box::pin(items);
        assert_eq!(reader.next(), TailItem::End(TailEnd::NoLog), "{key}");
    }
}

#[test]
fn a_follower_until_something_has_happened_gets_all_that_was_written_by_then() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(1_000_000, 10));
    let old = lines(0, 10);
    program.write_all(&old).unwrap();
    let (happen, happened) = tokio::sync::oneshot::channel::<()>();
    let happened = Box::pin(async {
        happened.await.unwrap();
    });
    let mut reader = Reader::new(&rig.capture, TailStart::All, Follow::Yes);
    reader.items = Box::pin(rig.capture.logbook().tail_until(
        "app",
        Channel::Stdout,
        TailStart::All,
        happened,
    ));
    let mut got = Vec::new();
    while got.len() < old.len() {
        let TailItem::Chunk { data, live, .. } = reader.next() else {
            panic!()
        };
        assert!(!live, "it was there when the reading began");
        got.extend(data);
    }
    // What is in the pipe at that moment counts.
    let new = lines(10, 1_000);
    program.write_all(&new).unwrap();
    happen.send(()).unwrap();
    let mut rest = Vec::new();
    let end = loop {
        match reader.next() {
            TailItem::Chunk { data, live, .. } => {
                assert!(live, "it came while it was read");
                rest.extend(data);
            }
            TailItem::End(end) => break end,
            gap => panic!("{gap:?}"),
        }
    };
    assert_same(&rest, &new);
    assert_eq!(end, TailEnd::Complete);
}
