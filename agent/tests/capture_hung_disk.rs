//! A disk that does not answer: it holds the capture thread and nobody else. Needs root, for a file
//! system that can be frozen; elsewhere nothing is tested, and that is said.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that goes wrong"
)]

#[expect(dead_code, reason = "each test file uses its part of the rig")]
#[path = "capture_support/rig.rs"]
mod rig;

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rig::{Rig, assert_same, eventually, lines, run};
use rsv_agent::capture::LogSpec;
use rsv_keeper::message::Channel;

#[test]
fn a_hung_disk_holds_nobody_who_asks_and_loses_nothing() {
    let rig = Rig::new();
    let Some(disk) = Disk::mount(rig.directory.path()) else {
        println!("no file system that can be frozen, nothing tested");
        return;
    };
    let path = disk.directory.join("app.log");
    let mut program = rig.program(LogSpec::file(&path, 0, 0));
    let all = lines(0, 500);
    program.write_all(&all[..10_000]).unwrap();
    eventually("the bytes are there", || {
        std::fs::read(&path).unwrap().len() == 10_000
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
    let started = Instant::now();
    let (reader, mut other) = io::pipe().unwrap();
    rig.capture
        .attach(run("other", 1), Channel::Stdout, OwnedFd::from(reader));
    rig.capture.closed("nobody");
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "telling never waits"
    );
    other.write_all(b"while it hung").unwrap();
    disk.thaw();
    eventually("the disk has all", || {
        std::fs::read(&path).unwrap().len() == all.len()
    });
    assert_same(&std::fs::read(&path).unwrap(), &all);
    eventually("so has the other", || {
        rig::contents(&rig.path()) == b"while it hung"
    });
}

/// A small file system in a file, which thaws and goes away with this.
struct Disk {
    directory: PathBuf,
}

impl Disk {
    fn mount(under: &Path) -> Option<Self> {
        let (image, directory) = (under.join("image"), under.join("disk"));
        std::fs::create_dir(&directory).unwrap();
        std::fs::File::create(&image)
            .unwrap()
            .set_len(16 * 1024 * 1024)
            .unwrap();
        let is_mounted = succeeds("mkfs.ext4", &["-q".as_ref(), &image])
            && succeeds(
                "mount",
                &["-o".as_ref(), "loop".as_ref(), &image, &directory],
            );
        let disk = is_mounted.then_some(Self { directory })?;
        if !disk.set_frozen("-f") {
            return None;
        }
        disk.thaw();
        Some(disk)
    }

    fn freeze(&self) {
        assert!(self.set_frozen("-f"));
    }

    fn thaw(&self) {
        assert!(self.set_frozen("-u"));
    }

    fn set_frozen(&self, option: &str) -> bool {
        succeeds("fsfreeze", &[option.as_ref(), &self.directory])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.set_frozen("-u");
        succeeds("umount", &["-l".as_ref(), &self.directory]);
    }
}

fn succeeds(program: &str, arguments: &[&Path]) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
