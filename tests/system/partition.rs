//! Hosts in network namespaces, and what is said of them while something is wrong with the network or with
//! a process. The laws: what cannot be heard is never said to run now, all is right again without a command,
//! and a command that was under way ends in exactly one outcome. Needs root.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use rsv_tests::{
    eventually::{eventually, within},
    fleet::Fleet,
    network::Fault,
};
use serde_json::Value;

/// `app` says in a file when it is started, and takes a moment until it counts as started, so that a
/// command is under way for that long.
const PROGRAMS: &str = "
[program:app]
command = /bin/sh -c 'echo $$ >> {dir}/app.starts; exec sleep 1000000'
startsecs = 2
[program:side]
command = /bin/sleep 1000000
startsecs = 0
";

/// Three heartbeats of the test's fleet.
const SILENCE: Duration = Duration::from_millis(1500);

/// What a busy machine may take beside that until the command line has shown it.
const SLACK: Duration = Duration::from_secs(15);

/// Two hosts whose programs run.
fn pair() -> Fleet {
    let mut fleet = Fleet::apart(&["web01", "web02"], PROGRAMS);
    for name in ["web01", "web02"] {
        eventually("app runs", || fleet.host(name).state("app") == "RUNNING");
    }
    eventually("both are seen to run", || {
        is_seen(&fleet, "web01") && is_seen(&fleet, "web02")
    });
    fleet
}

/// All of a host's programs are said to run now.
fn is_seen(fleet: &Fleet, host: &str) -> bool {
    let rows = rows(fleet, host);
    let runs = |row: &Value| row["reachable"] == true && row["state"] == "RUNNING";
    rows.len() == 2 && rows.iter().all(runs)
}

/// What is said of the programs of a host.
fn rows(fleet: &Fleet, host: &str) -> Vec<Value> {
    let mut status = None;
    eventually("the controller answers", || {
        let ended = fleet.rsv(["-A", "-o", "json", "status"]);
        status = (!ended.stdout.is_empty()).then_some(ended);
        status.is_some()
    });
    let status = status.expect("it has answered");
    let mut rows = status.json()["programs"]
        .as_array()
        .cloned()
        .expect("a list of programs");
    rows.retain(|row| row["host"] == host);
    rows
}

/// Whether a host is said to be unreachable, with the state of each program that was last known.
fn is_gone(fleet: &Fleet, host: &str) -> bool {
    let rows = rows(fleet, host);
    assert_eq!(rows.len(), 2, "no program is forgotten");
    rows.iter().all(|row| row["reachable"] == false)
}

fn starts(fleet: &Fleet, host: &str) -> usize {
    let log = fleet.path().join(host).join("app.starts");
    fs::read_to_string(log).unwrap_or_default().lines().count()
}

/// The latest event of a host's link that says this.
fn told(fleet: &Fleet, host: &str, state: &str) -> Option<Value> {
    let events = fleet.rsv(["-H", host, "-o", "json", "events"]);
    let last = events.stdout.lines().rev();
    let mut events =
        last.map(|line| serde_json::from_str::<Value>(line).expect("an object a line"));
    events.find(|event| event["kind"] == "host" && event["state"] == state)
}

/// Begins to restart `app` on both hosts and waits until `host` has started its own anew, which does not
/// count as started for a while yet.
fn begin_restart(fleet: &Fleet, host: &str) -> String {
    let flags = [
        "--batch",
        "100%",
        "--deadline",
        "25s",
        "--on-fail",
        "continue",
    ];
    let restart = ["-A", "restart", "app", "--detach"]
        .into_iter()
        .chain(flags);
    let begun = fleet.rsv(restart).expect_code(0);
    eventually("the restart is under way", || starts(fleet, host) == 2);
    begun.stdout.trim().to_owned()
}

/// The outcome of each host of an operation that has ended.
fn outcomes(fleet: &Fleet, id: &str) -> BTreeMap<String, String> {
    let watched = fleet.rsv(["-o", "json", "op", "watch", id]).json();
    let targets = watched["targets"].as_array().expect("a list of targets");
    let of = |target: &Value| {
        let text = |key: &str| target[key].as_str().expect("a word").to_owned();
        (text("host"), text("outcome"))
    };
    let outcomes: BTreeMap<String, String> = targets.iter().map(of).collect();
    assert_eq!(outcomes.len(), targets.len(), "one outcome each: {watched}");
    outcomes
}

/// Both hosts have restarted, once.
#[track_caller]
fn assert_restarted_once(fleet: &Fleet, id: &str) {
    let all_done = ["web01", "web02"].map(|host| (host.to_owned(), "done".to_owned()));
    assert_eq!(outcomes(fleet, id), BTreeMap::from(all_done));
    for host in ["web01", "web02"] {
        assert_eq!(starts(fleet, host), 2, "{host}");
    }
}

/// A command is under way on `web02` while something is wrong with it, which is noticed within `limit`;
/// then it passes.
fn lost_and_found(
    fleet: &mut Fleet,
    limit: Duration,
    harm: impl FnOnce(&mut Fleet),
    heal: impl FnOnce(&mut Fleet),
) {
    let id = begin_restart(fleet, "web02");
    harm(fleet);
    within(limit, "web02 is unreachable", || is_gone(fleet, "web02"));
    eventually("the other is not concerned", || is_seen(fleet, "web01"));
    // It stays unreachable, also while it dials again and again.
    let start = Instant::now();
    while start.elapsed() < SILENCE {
        assert!(is_gone(fleet, "web02"), "{:?}", rows(fleet, "web02"));
    }

    heal(fleet);
    eventually("web02 is right again", || is_seen(fleet, "web02"));
    assert_restarted_once(fleet, &id);
}

/// The same for a fault of the network.
fn check(fault: Fault, limit: Duration) {
    let mut fleet = pair();
    lost_and_found(
        &mut fleet,
        limit,
        |fleet| fleet.network().break_link("web02", fault),
        |fleet| fleet.network().heal("web02"),
    );
}

#[test]
fn a_host_that_is_cut_off_is_unreachable_within_three_heartbeats_and_right_again_when_it_is_back() {
    let mut fleet = pair();
    fleet.network().break_link("web02", Fault::Cut);
    within(SILENCE + SLACK, "web02 is unreachable", || {
        is_gone(&fleet, "web02")
    });

    let rows = rows(&fleet, "web02");
    assert!(rows.iter().all(|row| row["state"] == "RUNNING"), "{rows:?}");
    assert!(rows.iter().all(|row| row["as_of"].is_string()), "{rows:?}");
    let status = fleet.rsv(["-A", "status"]).expect_code(11);
    let lines: Vec<&str> = status.stdout.lines().collect();
    assert!(lines[0].contains("1 host unreachable"), "{lines:#?}");
    let of_it = lines.iter().filter(|line| line.contains("web02"));
    let (of_it, programs): (Vec<&str>, Vec<&str>) =
        of_it.partition(|line| line.contains("unreachable since"));
    assert!(of_it[0].contains("silent for 1s 500ms"), "{lines:#?}");
    assert_eq!(programs.len(), 2, "{lines:#?}");
    for line in programs {
        assert!(line.contains("RUNNING"), "{line}");
        assert!(line.contains("last known"), "{line}");
    }
    let lost = told(&fleet, "web02", "unreachable").expect("the loss is an event");
    assert_eq!(lost["detail"], "silent for 1s 500ms");

    // What happens meanwhile is known when it is back, and not before.
    fleet.host("web02").rsv(["stop", "side"]).expect_code(0);
    assert!(is_gone(&fleet, "web02"));
    fleet.network().heal("web02");
    eventually("web02 is right again", || {
        let rows = self::rows(&fleet, "web02");
        let state = |program: &str| {
            let row = rows.iter().find(|row| row["program"] == program);
            row.filter(|row| row["reachable"] == true)
                .map(|row| row["state"].clone())
        };
        state("side") == Some("STOPPED".into()) && state("app") == Some("RUNNING".into())
    });
    let back = told(&fleet, "web02", "connected").expect("the return is an event");
    assert!(back["seq"].as_u64() > lost["seq"].as_u64(), "{back}");
    assert_eq!(starts(&fleet, "web02"), 1, "its programs lived on");
}

#[test]
fn a_command_under_way_on_a_host_that_is_cut_off_is_answered_when_it_is_back() {
    check(Fault::Cut, SILENCE + SLACK);
}

#[test]
fn a_host_that_nobody_hears_is_unreachable() {
    check(Fault::Mute, SILENCE + SLACK);
}

#[test]
fn a_host_that_hears_nothing_hangs_up_and_is_unreachable() {
    // It notices after three heartbeats, and then it is not heard any more.
    check(Fault::Deaf, 2 * SILENCE + SLACK);
}

#[test]
fn a_host_whose_connections_are_reset_is_unreachable() {
    check(Fault::Reset, SILENCE + SLACK);
}

#[test]
fn a_frozen_agent_is_unreachable_and_answers_when_it_thaws() {
    let mut fleet = pair();
    lost_and_found(
        &mut fleet,
        SILENCE + SLACK,
        |fleet| fleet.host("web02").agent().signal(Signal::SIGSTOP),
        |fleet| fleet.host("web02").agent().signal(Signal::SIGCONT),
    );
}

#[test]
fn a_frozen_controller_says_nothing_and_is_right_when_it_thaws() {
    let mut fleet = pair();
    let id = begin_restart(&fleet, "web02");
    fleet.controller().signal(Signal::SIGSTOP);
    // Nobody gets an answer, least of all one that was true once.
    let status = fleet.rsv(["-A", "--timeout", "2s", "status"]);
    assert_ne!(status.code, 0, "{status:?}");
    assert!(!status.stdout.contains("RUNNING"), "{status:?}");
    eventually("the hosts go on without it", || {
        fleet.host("web02").state("app") == "RUNNING"
    });
    fleet.host("web02").rsv(["stop", "side"]).expect_code(0);
    fleet.host("web02").rsv(["start", "side"]).expect_code(0);

    fleet.controller().signal(Signal::SIGCONT);
    eventually("all is right again", || {
        is_seen(&fleet, "web01") && is_seen(&fleet, "web02")
    });
    assert_restarted_once(&fleet, &id);
}

#[test]
fn a_command_over_a_line_that_loses_a_fifth_ends_once_and_the_view_is_right_after_it() {
    let fleet = pair();
    fleet.network().break_link("web02", Fault::Lossy(20));
    let id = begin_restart(&fleet, "web02");
    let outcomes = outcomes(&fleet, &id);
    assert_eq!(outcomes["web01"], "done");
    // The line may be too bad for the answer within the deadline, and then that is said.
    assert!(
        ["done", "unreachable"].contains(&outcomes["web02"].as_str()),
        "{outcomes:?}"
    );
    assert_eq!(starts(&fleet, "web02"), 2, "however often it was asked");
    fleet.network().heal("web02");
    eventually("web02 is right again", || is_seen(&fleet, "web02"));
    assert_eq!(starts(&fleet, "web02"), 2);
}

/// Hosts of which the last but one is cut off.
const MANY: [&str; 6] = ["h01", "h02", "h03", "h04", "h05", "h06"];
const AWAY: &str = "h05";

/// Restarts `app` on all of `hosts`, of which `away` cannot be asked in time: the others are done, it is
/// unreachable, and that is what the command line ends with. Its program is not touched.
#[track_caller]
fn assert_given_up(fleet: &mut Fleet, hosts: &[&str], away: &str, flags: &[&str]) {
    let restart = ["-A", "-o", "json", "restart", "app"];
    let ended = fleet.rsv(restart.iter().chain(flags).copied());
    let ended = ended.expect_code(11).json();
    let id = ended["operation"].as_str().expect("an operation");
    let outcome = |host: &&str| match *host == away {
        true => ((*host).to_owned(), "unreachable".to_owned()),
        false => ((*host).to_owned(), "done".to_owned()),
    };
    let expected: BTreeMap<String, String> = hosts.iter().map(outcome).collect();
    assert_eq!(outcomes(fleet, id), expected, "{ended}");
    for host in hosts {
        let expected = if *host == away { 1 } else { 2 };
        assert_eq!(starts(fleet, host), expected, "{host}");
    }
}

/// A host that is heard again is not asked for what it was not asked in time.
#[track_caller]
fn assert_left_alone(fleet: &mut Fleet, hosts: &[&str], away: &str, pid: i32) {
    fleet.wait_connected(hosts.len());
    // Commands come in order: what was still on its way would have been begun before this one.
    fleet.rsv(["-H", away, "restart", "side"]).expect_code(0);
    assert_eq!(starts(fleet, away), 1, "it was restarted late");
    assert_eq!(fleet.host(away).pid("app"), pid);
    let rows = rows(fleet, away);
    assert!(rows.iter().all(|row| row["state"] == "RUNNING"), "{rows:?}");
}

#[test]
fn a_host_that_is_cut_off_until_after_its_deadline_is_passed_over_and_not_restarted_later() {
    let mut fleet = Fleet::apart(&MANY, PROGRAMS);
    for name in MANY {
        eventually("app runs", || fleet.host(name).state("app") == "RUNNING");
    }
    let pid = fleet.host(AWAY).pid("app");
    fleet.network().break_link(AWAY, Fault::Cut);
    // It is missed by the time of its turn, and waited for.
    let flags = ["--batch", "2", "--gate", "running", "--deadline", "4s"];
    assert_given_up(&mut fleet, &MANY, AWAY, &flags);
    fleet.network().heal(AWAY);
    assert_left_alone(&mut fleet, &MANY, AWAY, pid);
}

/// `web02` gets a restart with a deadline that passes before it can answer.
fn asked_in_vain(harm: impl FnOnce(&mut Fleet), heal: impl FnOnce(&mut Fleet)) {
    const HOSTS: [&str; 2] = ["web01", "web02"];
    let mut fleet = pair();
    let pid = fleet.host("web02").pid("app");
    harm(&mut fleet);
    let flags = ["--batch", "100%", "--deadline", "3s"];
    assert_given_up(&mut fleet, &HOSTS, "web02", &flags);
    heal(&mut fleet);
    assert_left_alone(&mut fleet, &HOSTS, "web02", pid);
}

#[test]
fn a_command_that_was_sent_into_a_cut_line_is_not_run_after_its_deadline() {
    asked_in_vain(
        |fleet| fleet.network().break_link("web02", Fault::Cut),
        |fleet| fleet.network().heal("web02"),
    );
}

#[test]
fn a_command_that_a_frozen_agent_finds_after_its_deadline_is_not_run() {
    asked_in_vain(
        |fleet| fleet.host("web02").agent().signal(Signal::SIGSTOP),
        |fleet| fleet.host("web02").agent().signal(Signal::SIGCONT),
    );
}
