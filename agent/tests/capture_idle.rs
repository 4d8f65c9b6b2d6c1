//! The capture thread sleeps as long as nothing happens. The only test of its process, because it looks
//! for the thread by its name.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that goes wrong"
)]

#[expect(dead_code, reason = "each test file uses its part of the rig")]
#[path = "capture_support/rig.rs"]
mod rig;

use std::io::Write;
use std::time::{Duration, Instant};

use rig::{Rig, contents, eventually};
use rsv_agent::capture::LogSpec;

#[test]
fn bytes_that_wait_in_the_pipe_for_more_wake_nobody() {
    let rig = Rig::new();
    let mut program = rig.program(LogSpec {
        capture_maxbytes: 100,
        strip_ansi: true,
        ..rig.spec(0, 0)
    });
    program.write_all(b"text <!--X").unwrap();
    eventually("the text is there", || contents(&rig.path()) == b"text ");
    let mut before = switches();
    let mut quiet_since = Instant::now();
    eventually("the thread sleeps", || {
        let now = switches();
        if now != before {
            (before, quiet_since) = (now, Instant::now());
        }
        quiet_since.elapsed() > Duration::from_millis(500)
    });
    program.write_all(b"!").unwrap();
    eventually("more wakes it", || contents(&rig.path()) == b"text <!--X!");
}

/// How often the thread has gone to sleep.
fn switches() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let capture = tasks
        .map(|task| task.unwrap().path())
        .find(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|c| c == "capture\n"))
        .unwrap();
    let status = std::fs::read_to_string(capture.join("status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}
