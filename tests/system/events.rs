//! What happens on hosts, as it happens, to whoever watches.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::mpsc,
    thread,
};

use nix::sys::signal::Signal;
use rsv_tests::{eventually::eventually, fleet::Fleet};
use serde_json::Value;

const PROGRAMS: &str = "[program:app]\ncommand = /bin/sleep 1000\nstartsecs = 0\n";

/// `events -f` of the whole fleet, ended when dropped.
struct Watcher {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<Value>,
}

impl Watcher {
    fn start(fleet: &Fleet) -> Self {
        let mut child = fleet
            .command(["-A", "-o", "json", "events", "-f", "--lines", "100"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("rsv starts");
        let out = BufReader::new(child.stdout.take().expect("a piped output"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Takes what has come.
    fn take(&mut self) {
        let lines = self.lines.try_iter();
        let events = lines.map(|line| serde_json::from_str(&line).expect("an object a line"));
        self.seen.extend(events);
    }

    /// Waits until an event has this host, this state, and this state before.
    fn wait(&mut self, host: &str, from: Option<&str>, state: &str) {
        eventually(&format!("{host} {from:?} -> {state}"), || {
            self.take();
            let is_it = |event: &Value| {
                event["host"] == host && event["from"].as_str() == from && event["state"] == state
            };
            self.seen.iter().any(is_it)
        });
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_crash_is_told_and_watchers_go_on_over_the_death_of_the_controller() {
    let mut fleet = Fleet::start(&["web01", "web02"], PROGRAMS);
    eventually("app runs", || fleet.host("web01").state("app") == "RUNNING");
    // One that ends in order has noted its hosts.
    fleet.controller().terminate();
    fleet.start_controller();
    fleet.wait_connected(2);
    let mut watcher = Watcher::start(&fleet);
    watcher.wait("web01", None, "connected");
    fleet.host("web01").signal("app", Signal::SIGKILL);
    watcher.wait("web01", Some("RUNNING"), "EXITED");
    watcher.wait("web01", Some("STARTING"), "RUNNING");

    fleet.controller().kill();
    // What happens meanwhile is told afterwards, and what was told before is still there.
    let pid = fleet.host("web01").signal("app", Signal::SIGKILL);
    eventually("app runs again", || {
        let host = fleet.host("web01");
        host.state("app") == "RUNNING" && host.pid("app") != pid
    });
    fleet.start_controller();
    fleet.wait_connected(2);
    watcher.wait("web01", Some("RUNNING"), "RUNNING");
    fleet.rsv(["-H", "web02", "stop", "app"]).expect_code(0);
    watcher.wait("web02", Some("STOPPING"), "STOPPED");
    let numbers: Vec<u64> = watcher
        .seen
        .iter()
        .filter_map(|e| e["seq"].as_u64())
        .collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");

    eventually("all that was told is kept, each once", || {
        watcher.take();
        let kept = fleet.rsv(["-A", "-o", "json", "events"]).stdout;
        let kept = kept.lines();
        let kept = kept.map(|line| serde_json::from_str(line).expect("an object a line"));
        kept.collect::<Vec<Value>>() == watcher.seen
    });

    let stopped = fleet
        .rsv(["-A", "events", "--type", "stopped", "app"])
        .expect_code(0);
    assert_eq!(stopped.stdout.lines().count(), 1, "{}", stopped.stdout);
    assert!(
        stopped.stdout.contains("web02  app  STOPPING -> STOPPED"),
        "{}",
        stopped.stdout
    );
}

#[test]
fn one_host_tells_its_own_events() {
    let mut fleet = Fleet::start(&["web01"], PROGRAMS);
    let host = fleet.host("web01");
    eventually("app runs", || host.state("app") == "RUNNING");
    host.rsv(["stop", "app"]).expect_code(0);
    let events = host.rsv(["events", "--type", "stopped"]).expect_code(0);
    assert!(
        events.stdout.contains("app  STOPPING -> STOPPED"),
        "{}",
        events.stdout
    );
    let next = host.rsv(["-o", "json", "events"]).expect_code(0);
    let last: Value = serde_json::from_str(next.stdout.lines().last().unwrap_or_default())
        .expect("an object a line");
    assert_eq!(last["state"], "STOPPED");
}
