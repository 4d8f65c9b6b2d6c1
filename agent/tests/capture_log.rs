//! What becomes of the output of programs: real pipes, real files, a real capture thread.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that goes wrong"
)]

#[path = "capture_support/rig.rs"]
mod rig;

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use rig::{Rig, assert_same, chain, contents, eventually, inode, lines, run, sizes};
use rsv_agent::capture::{LogSpec, LogTarget};
use rsv_keeper::message::Channel;

#[test]
fn bytes_arrive_as_they_were_written() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(0, 0));
    let expected = lines(0, 50_000);
    program.write_all(&expected).unwrap();
    drop(program);
    rig.wait_closed("app", 1);
    assert_same(&contents(&rig.path()), &expected);
}

#[test]
fn rotation_is_exact_to_the_byte_without_lines() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(10_000, 100));
    let expected = vec![b'x'; 123_456];
    program.write_all(&expected).unwrap();
    drop(program);
    rig.wait_closed("app", 1);
    assert_same(&contents(&rig.path()), &expected);
    let sizes = sizes(&rig.path());
    assert_eq!(sizes.len(), 13);
    assert!(sizes[..12].iter().all(|size| *size == 10_000), "{sizes:?}");
    assert_eq!(sizes[12], 3_456);
}

#[test]
fn files_end_where_a_line_ends() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(10_000, 1000));
    let expected = lines(0, 20_000);
    program.write_all(&expected).unwrap();
    drop(program);
    rig.wait_closed("app", 1);
    assert_same(&contents(&rig.path()), &expected);
    let mut cut = 0;
    for path in chain(&rig.path()) {
        let content = std::fs::read(&path).unwrap();
        assert!(content.len() <= 10_000);
        if content.last().is_some_and(|last| *last != b'\n') {
            cut += 1;
        }
    }
    // A line is cut only where a part of it had been written when the rest was not there yet.
    assert!(
        cut * 5 <= chain(&rig.path()).len(),
        "{cut} files end within a line"
    );
}

#[test]
fn a_file_that_is_just_full_is_rotated_at_once() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(100, 3));
    for round in 1..=5_u64 {
        program
            .write_all(&[b'a' + u8::try_from(round).unwrap(); 100])
            .unwrap();
        let expected = usize::try_from(round.min(3)).unwrap();
        eventually("the file is rotated", || {
            let sizes = sizes(&rig.path());
            sizes.len() == expected + 1 && sizes.last() == Some(&0)
        });
    }
    let mut kept = vec![b'd'; 100];
    kept.extend([b'e'; 100]);
    kept.extend([b'f'; 100]);
    eventually("the last three are kept", || contents(&rig.path()) == kept);
}

#[test]
fn without_backups_a_full_file_is_replaced_by_an_empty_one() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(100, 0));
    program.write_all(&[b'a'; 250]).unwrap();
    drop(program);
    rig.wait_closed("app", 1);
    assert_eq!(sizes(&rig.path()), [50]);
}

#[test]
fn the_keeper_knows_each_file_before_its_first_byte() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(1_000, 1000));
    program.write_all(&lines(0, 2_000)).unwrap();
    drop(program);
    rig.wait_closed("app", 1);
    let told: Vec<u64> = rig
        .told
        .drains
        .lock()
        .unwrap()
        .iter()
        .map(|told| told.2)
        .collect();
    let files: Vec<u64> = chain(&rig.path()).iter().map(|path| inode(path)).collect();
    assert_eq!(told, files, "each file once, in the order of the bytes");
}

#[test]
fn existing_content_counts_and_stays() {
    let rig = Rig::new();
    std::fs::write(rig.path(), vec![b'o'; 900]).unwrap();
    let mut program = rig.program(rig.spec(1_000, 10));
    program.write_all(&[b'n'; 300]).unwrap();
    drop(program);
    rig.wait_closed("app", 1);
    assert_eq!(sizes(&rig.path()), [1_000, 200]);
}

#[test]
fn a_full_file_is_rotated_before_the_first_byte() {
    let rig = Rig::new();
    std::fs::write(rig.path(), vec![b'o'; 1_500]).unwrap();
    let mut program = rig.program(rig.spec(1_000, 10));
    program.write_all(b"new").unwrap();
    drop(program);
    rig.wait_closed("app", 1);
    assert_eq!(sizes(&rig.path()), [1_500, 3]);
}

#[test]
fn a_file_truncated_from_outside_gets_no_hole() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(0, 0));
    program.write_all(&vec![b'a'; 10_000]).unwrap();
    eventually("the bytes are there", || {
        contents(&rig.path()).len() == 10_000
    });
    std::fs::OpenOptions::new()
        .write(true)
        .open(rig.path())
        .unwrap()
        .set_len(0)
        .unwrap();
    program.write_all(b"after").unwrap();
    eventually("new bytes begin at the beginning", || {
        contents(&rig.path()) == b"after"
    });
}

#[test]
fn clear_leaves_an_empty_file_and_the_old_one_to_its_holders() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(0, 0));
    program.write_all(b"before").unwrap();
    eventually("the bytes are there", || contents(&rig.path()) == b"before");
    let mut holder = std::fs::File::open(rig.path()).unwrap();
    rig.capture.clear("app").unwrap();
    assert_eq!(contents(&rig.path()), b"");
    program.write_all(b"after").unwrap();
    eventually("the bytes are there", || contents(&rig.path()) == b"after");
    let mut held = String::new();
    holder.read_to_string(&mut held).unwrap();
    assert_eq!(held, "before");
    assert_eq!(
        rig.told.drains.lock().unwrap().last().unwrap().2,
        inode(&rig.path())
    );
}

#[test]
fn clear_works_on_a_log_whose_program_does_not_run() {
    let rig = Rig::new();
    std::fs::write(rig.path(), "old").unwrap();
    rig.capture.know("app", Channel::Stdout, rig.spec(0, 0));
    rig.capture.clear("app").unwrap();
    assert_eq!(contents(&rig.path()), b"");
}

#[test]
fn reopening_follows_the_name() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(0, 0));
    program.write_all(b"one").unwrap();
    eventually("the bytes are there", || contents(&rig.path()) == b"one");
    let moved = rig.directory.path().join("moved");
    std::fs::rename(rig.path(), &moved).unwrap();
    program.write_all(b"two").unwrap();
    eventually("they go on into the moved file", || {
        std::fs::read(&moved).unwrap() == b"onetwo"
    });
    rig.capture.reopen_all().unwrap();
    program.write_all(b"three").unwrap();
    eventually("they go into a new file", || {
        contents(&rig.path()) == b"three"
    });
    assert_eq!(
        rig.told.drains.lock().unwrap().last().unwrap().2,
        inode(&rig.path())
    );
}

#[test]
fn a_rotation_leaves_alone_what_somebody_else_has_put_under_the_name() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(10, 5));
    program.write_all(b"12345").unwrap();
    eventually("the bytes are there", || contents(&rig.path()) == b"12345");
    std::fs::rename(rig.path(), rig.directory.path().join("moved")).unwrap();
    std::fs::write(rig.path(), "theirs").unwrap();
    program.write_all(b"67890abc").unwrap();
    drop(program);
    rig.wait_closed("app", 1);
    assert_eq!(
        std::fs::read(rig.directory.path().join("moved")).unwrap(),
        b"1234567890"
    );
    assert_eq!(contents(&rig.path()), b"theirsabc");
}

#[test]
fn a_stream_lives_as_long_as_somebody_can_write() {
    let rig = Rig::new();
    let mut grandchild = rig.program_named("app", 1, rig.spec(0, 0));
    let mut next = rig.program_named("app", 2, rig.spec(0, 0));
    next.write_all(b"next\n").unwrap();
    eventually("bytes of the new attempt", || {
        contents(&rig.path()) == b"next\n"
    });
    grandchild.write_all(b"old\n").unwrap();
    eventually("bytes of the old attempt", || {
        contents(&rig.path()) == b"next\nold\n"
    });
    assert!(rig.told.closed.lock().unwrap().is_empty());
    drop(grandchild);
    rig.wait_closed("app", 1);
    next.write_all(b"more\n").unwrap();
    eventually("the other goes on", || {
        contents(&rig.path()) == b"next\nold\nmore\n"
    });
}

#[test]
fn two_logs_with_one_path_share_the_file() {
    let rig = Rig::new();
    let mut a = rig.program_named("a", 1, rig.spec(1_000, 100));
    let mut b = rig.program_named("b", 1, rig.spec(1_000, 100));
    for n in 0..100_u64 {
        a.write_all(&lines(n, 1)).unwrap();
        b.write_all(&lines(n, 1)).unwrap();
    }
    drop((a, b));
    rig.wait_closed("a", 1);
    rig.wait_closed("b", 1);
    assert_eq!(contents(&rig.path()).len(), 2 * lines(0, 100).len());
    assert!(sizes(&rig.path()).iter().all(|size| *size <= 1_000));
}

#[test]
fn detached_bytes_stay_in_the_pipe() {
    let rig = Rig::new();
    rig.capture
        .open("app", Channel::Stdout, rig.spec(0, 0))
        .unwrap();
    let (reader, mut writer) = io::pipe().unwrap();
    let keeper = reader.try_clone().unwrap();
    rig.capture
        .attach(run("app", 1), Channel::Stdout, OwnedFd::from(reader));
    writer.write_all(b"before").unwrap();
    eventually("the bytes are there", || contents(&rig.path()) == b"before");
    rig.capture.detach_all().unwrap();
    writer.write_all(b"after").unwrap();
    assert_eq!(rig::queued(&keeper), 5);
    // Taking it over again goes on where it was.
    rig.capture
        .attach(run("app", 1), Channel::Stdout, OwnedFd::from(keeper));
    eventually("the rest is there", || {
        contents(&rig.path()) == b"beforeafter"
    });
}

#[test]
fn what_was_written_before_everything_is_detached_is_in_the_file() {
    let rig = Rig::new();
    let mut programs = Vec::new();
    for n in 0..50 {
        let key = format!("app{n}");
        let spec = LogSpec::file(rig.directory.path().join(&key), 0, 0);
        programs.push(rig.program_named(&key, 1, spec));
    }
    for round in 0..20 {
        for program in &mut programs {
            program.write_all(&lines(round, 1)).unwrap();
        }
    }
    rig.capture.detach_all().unwrap();
    for n in 0..50 {
        let content = std::fs::read(rig.directory.path().join(format!("app{n}"))).unwrap();
        assert_same(&content, &lines(0, 20));
    }
}

#[test]
fn the_last_words_of_a_trickling_program_do_not_wait_for_its_pause() {
    let rig = Rig::new();
    let mut shortest = Duration::MAX;
    // On a busy machine it takes a while until one is served at once.
    for attempt in 1..=50 {
        let mut program = rig.program_named("app", attempt, rig.spec(0, 0));
        // So that the pause becomes long.
        for n in 0..10 {
            program.write_all(&lines(n, 1)).unwrap();
            let written = (attempt - 1) * 11 + n + 1;
            eventually("the line is there", || {
                count_lines(&contents(&rig.path())) >= written
            });
        }
        program.write_all(b"last words\n").unwrap();
        let ended = Instant::now();
        drop(program);
        rig.wait_closed("app", attempt);
        shortest = shortest.min(ended.elapsed());
        assert_eq!(count_lines(&contents(&rig.path())), attempt * 11);
        if shortest < Duration::from_millis(50) {
            return;
        }
    }
    panic!("{shortest:?} although a pause is 64 ms");
}

#[test]
fn a_new_keeper_is_told_again() {
    let rig = Rig::new();
    let _program = rig.program(rig.spec(0, 0));
    // An answer means that everything before it is done.
    rig.capture.stats("app", Channel::Stdout).unwrap();
    let told = rig.told.drains.lock().unwrap().len();
    rig.capture.announce();
    eventually("told again", || {
        rig.told.drains.lock().unwrap().len() == told + 1
    });
}

#[test]
fn unwanted_output_is_taken_and_dropped() {
    let rig = Rig::new();
    let mut program = rig.program(LogSpec::null());
    program.write_all(&lines(0, 50_000)).unwrap();
    drop(program);
    rig.wait_closed("app", 1);
    let stats = rig.capture.stats("app", Channel::Stdout).unwrap().unwrap();
    assert_eq!(stats.bytes, lines(0, 50_000).len() as u64);
}

#[test]
fn programs_without_a_log_do_not_disturb_each_other() {
    let rig = Rig::new();
    let programs: Vec<_> = (0..20)
        .map(|n| rig.program_named(&format!("app{n}"), 1, LogSpec::null()))
        .collect();
    // An answer means that everything before it is done.
    rig.capture.stats("app0", Channel::Stdout).unwrap();
    assert_eq!(rig.told.drains.lock().unwrap().len(), programs.len());
}

#[test]
fn a_pipe_as_target_gets_everything_and_is_not_rotated() {
    let rig = Rig::new();
    let fifo = rig.directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let expected = lines(0, 20_000);
    let length = expected.len();
    let mut program = rig.program(LogSpec::file(&fifo, 1_000, 3));
    let reader = std::thread::spawn(move || {
        let mut got = vec![0; length];
        std::fs::File::open(fifo)
            .unwrap()
            .read_exact(&mut got)
            .unwrap();
        got
    });
    program.write_all(&expected).unwrap();
    assert_same(&reader.join().unwrap(), &expected);
}

#[test]
fn escape_sequences_are_left_out_and_files_end_where_a_line_ends() {
    let rig = Rig::new();
    let mut spec = rig.spec(1_000, 1000);
    spec.strip_ansi = true;
    let mut program = rig.program(spec);
    for n in 0..2_000_u64 {
        program.write_all(b"\x1b[1;31m").unwrap();
        program.write_all(&lines(n, 1)).unwrap();
        program.write_all(b"\x1b[0m").unwrap();
    }
    drop(program);
    rig.wait_closed("app", 1);
    assert_same(&contents(&rig.path()), &lines(0, 2_000));
    let sizes = sizes(&rig.path());
    // No line is longer than 108 bytes.
    let full = 893..=1_000;
    assert!(
        sizes[..sizes.len() - 1]
            .iter()
            .all(|size| full.contains(size)),
        "{sizes:?}"
    );
}

#[test]
fn a_log_can_be_given_another_file_while_its_program_runs() {
    let rig = Rig::new();
    let mut program = rig.program(rig.spec(0, 0));
    program.write_all(b"one").unwrap();
    eventually("the bytes are there", || contents(&rig.path()) == b"one");
    let other = rig.directory.path().join("other.log");
    let spec = LogSpec {
        target: LogTarget::File {
            path: other.clone(),
        },
        ..rig.spec(0, 0)
    };
    rig.capture.open("app", Channel::Stdout, spec).unwrap();
    program.write_all(b"two").unwrap();
    eventually("the bytes are there", || {
        std::fs::read(&other).unwrap() == b"two"
    });
    assert_eq!(
        rig.told.drains.lock().unwrap().last().unwrap().2,
        inode(&other)
    );
}

#[test]
fn a_private_log_and_its_rotated_files_are_read_by_nobody_else() {
    let rig = Rig::new();
    let spec = LogSpec {
        target: LogTarget::Private { path: rig.path() },
        ..rig.spec(1_000, 3)
    };
    let mut program = rig.program(spec.clone());
    let expected = vec![b'x'; 2_500];
    program.write_all(&expected).unwrap();
    drop(program);
    rig.wait_closed("app", 1);
    assert_eq!(sizes(&rig.path()), [1_000, 1_000, 500]);
    for path in chain(&rig.path()) {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    let link = rig.directory.path().join("link.log");
    std::os::unix::fs::symlink(rig.directory.path().join("victim"), &link).unwrap();
    let spec = LogSpec {
        target: LogTarget::Private { path: link },
        ..spec
    };
    rig.capture
        .open("other", Channel::Stdout, spec)
        .unwrap_err();
    assert!(!rig.directory.path().join("victim").exists());
}

fn count_lines(content: &[u8]) -> u64 {
    content.iter().filter(|byte| **byte == b'\n').count() as u64
}
