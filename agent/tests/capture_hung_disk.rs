//! A disk that does not answer: it holds the capture thread and nobody else. Needs root, for a file
//! system that can be frozen; elsewhere nothing is tested, and that is said.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that goes wrong"
)]

#[expect(dead_code, reason = "each test file uses its part of the rig")]
#[path = "capture_support/rig.rs"]
mod rig;

#[path = "capture_support/disk.rs"]
mod disk;

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use disk::Disk;
use rig::{Rig, assert_same, eventually, lines, run};
use rsv_agent::capture::LogSpec;
use rsv_keeper::message::Channel;

#[test]
fn a_hung_disk_holds_nobody_who_asks_and_loses_nothing() {
    let rig = Rig::new();
    let Some(disk) = Disk::mount(rig.directory.path()) else {
        return;
    };
    let path = disk.directory.join("app.log");
    let mut program = rig.program(LogSpec::file(&path, 0, 0));
    let all = lines(0, 500);
    program.write_all(&all[..10_000]).unwrap();
    eventually("the bytes are there", || {
        std::fs::read(&path).is_ok_and(|log| log.len() == 10_000)
    });
    rig.capture
        .open("other", Channel::Stdout, rig.spec(0, 0))
        .unwrap();
    disk.freeze();
    program.write_all(&all[10_000..]).unwrap();
    let asked = || {
        rig.capture
            .stats("app", Channel::Stdout)
            .map_err(|error| error.kind())
    };
    eventually("asking has an end", || {
        asked() == Err(io::ErrorKind::TimedOut)
    });
    eventually("it is known for how long it hangs", || {
        let stuck = rig.capture.stuck_for();
        stuck.is_some_and(|stuck| stuck >= Duration::from_secs(3))
    });
    let started = Instant::now();
    let (reader, mut other) = io::pipe().unwrap();
    rig.capture
        .attach(run("other", 1), Channel::Stdout, OwnedFd::from(reader));
    rig.capture.closed("nobody");
    // Who waits for the thread waits for five seconds.
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "telling never waits"
    );
    other.write_all(b"while it hung").unwrap();
    disk.thaw();
    eventually("the disk has all", || {
        std::fs::read(&path).unwrap().len() == all.len()
    });
    assert_same(&std::fs::read(&path).unwrap(), &all);
    eventually("nothing hangs any more", || {
        rig.capture.stuck_for().is_none()
    });
    eventually("so has the other", || {
        rig::contents(&rig.path()) == b"while it hung"
    });
}
