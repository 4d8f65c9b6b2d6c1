//! Disks without room, directories without rights, floods: what the programs and the others notice.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that goes wrong"
)]

#[expect(dead_code, reason = "each test file uses its part of the rig")]
#[path = "capture_support/rig.rs"]
mod rig;

use std::io::{self, Write};
use std::time::Instant;

use rig::{Rig, assert_same, contents, eventually, lines};
use rsv_agent::capture::LogSpec;
use rsv_keeper::message::Channel;

#[test]
fn a_directory_that_cannot_be_rotated_in_stops_no_program() {
    let rig = Rig::new();
    let inner = rig.directory.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    let path = inner.join("app.log");
    // A directory under the name of the first backup cannot be replaced by a file.
    std::fs::create_dir(inner.join("app.log.1")).unwrap();
    let mut program = rig.program(LogSpec::file(&path, 1_000, 1));
    let expected = lines(0, 1_000);
    program.write_all(&expected).unwrap();
    drop(program);
    rig.wait_closed("app", 1);
    assert_same(&std::fs::read(&path).unwrap(), &expected);
    let stats = rig.capture.stats("app", Channel::Stdout).unwrap().unwrap();
    assert!(stats.errors >= 1);
}

#[test]
fn a_full_disk_slows_the_program_and_loses_nothing() {
    let rig = Rig::new();
    let Some(disk) = SmallDisk::mount(rig.directory.path()) else {
        return;
    };
    let path = disk.path.join("app.log");
    let ballast = disk.path.join("ballast");
    std::fs::write(&ballast, vec![0; 3600 * 1024]).unwrap();
    let mut program = rig.program(LogSpec::file(&path, 0, 0));
    let expected = lines(0, 40_000);
    let to_write = expected.clone();
    let writer = std::thread::spawn(move || program.write_all(&to_write));
    eventually("the disk is full", || {
        let stats = rig.capture.stats("app", Channel::Stdout).unwrap().unwrap();
        stats.errors > 2 && stats.last_error.is_some()
    });
    assert!(!writer.is_finished(), "the program waits");
    std::fs::remove_file(ballast).unwrap();
    writer.join().unwrap().unwrap();
    rig.wait_closed("app", 1);
    assert_same(&std::fs::read(&path).unwrap(), &expected);
    let stats = rig.capture.stats("app", Channel::Stdout).unwrap().unwrap();
    assert_eq!((stats.last_error, stats.dropped), (None, 0));
}

#[test]
fn a_device_without_room_is_retried_slowly() {
    let rig = Rig::new();
    let mut program = rig.program(LogSpec::file("/dev/full", 0, 0));
    program.write_all(b"x").unwrap();
    let errors = || {
        rig.capture
            .stats("app", Channel::Stdout)
            .unwrap()
            .unwrap()
            .errors
    };
    eventually("it does not succeed", || errors() >= 3);
    let started = Instant::now();
    eventually("it is tried again", || errors() >= 6);
    // Pauses double from 10 ms on: the fourth to the sixth attempt are 80, 160 and 320 ms apart.
    assert!(started.elapsed().as_millis() >= 200);
}

#[test]
fn a_quiet_program_is_served_while_others_flood() {
    let rig = Rig::new();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut floods = Vec::new();
    for n in 0..50 {
        let key = format!("flood{n}");
        let path = rig.directory.path().join(&key);
        let mut program = rig.program_named(&key, 1, LogSpec::file(path, 1024 * 1024, 1));
        let stop = std::sync::Arc::clone(&stop);
        floods.push(std::thread::spawn(move || {
            let block = vec![b'f'; 4096];
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                program.write_all(&block).unwrap();
            }
        }));
    }
    let mut quiet = rig.program_named("quiet", 1, LogSpec::file(rig.path(), 0, 0));
    for n in 0..20_u64 {
        quiet.write_all(&lines(n, 1)).unwrap();
        let expected = lines(0, n + 1).len();
        eventually("the line is there", || {
            contents(&rig.path()).len() == expected
        });
    }
    let moved = |n| {
        let key = format!("flood{n}");
        rig.capture
            .stats(&key, Channel::Stdout)
            .unwrap()
            .unwrap()
            .bytes
    };
    eventually("every flood has moved", || {
        (0..50).all(|n| moved(n) > 1024 * 1024)
    });
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for flood in floods {
        flood.join().unwrap();
    }
}

#[test]
fn an_unwritable_path_is_refused_when_it_is_opened() {
    let rig = Rig::new();
    let path = rig.directory.path().join("missing/app.log");
    let refused = rig
        .capture
        .open("app", Channel::Stdout, LogSpec::file(path, 0, 0));
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::NotFound);
}

/// A file system of 4 MiB. Only root can mount one.
struct SmallDisk {
    path: std::path::PathBuf,
}

impl SmallDisk {
    fn mount(under: &std::path::Path) -> Option<Self> {
        let path = under.join("disk");
        std::fs::create_dir(&path).unwrap();
        let flags = nix::mount::MsFlags::empty();
        let mounted =
            nix::mount::mount(Some("tmpfs"), &path, Some("tmpfs"), flags, Some("size=4m"));
        match mounted {
            Ok(()) => Some(Self { path }),
            Err(error) => {
                println!("no small disk ({error}), nothing tested");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        nix::mount::umount2(&self.path, nix::mount::MntFlags::MNT_DETACH).ok();
    }
}
