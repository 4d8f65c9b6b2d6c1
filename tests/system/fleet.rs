//! A fleet on real mutual TLS: what operators see and do.

use std::time::Duration;

use nix::sys::signal::Signal;
use rsv_tests::{eventually::eventually, fleet::Fleet};

/// `app` says in a file when it is started; `side` is there to be left alone.
const PROGRAMS: &str = "
[program:app]
command = /bin/sh -c 'echo $$ >> {dir}/app.starts; exec sleep 1000000'
startsecs = 0
[program:side]
command = /bin/sleep 1000000
startsecs = 0
";

const WEB: [&str; 4] = ["web01", "web02", "web03", "db01"];

fn running(fleet: &mut Fleet, names: &[&str]) {
    for name in names {
        eventually("app runs", || fleet.host(name).state("app") == "RUNNING");
    }
}

#[test]
fn a_restart_by_glob_reaches_exactly_the_named_hosts() {
    let mut fleet = Fleet::start(&WEB, PROGRAMS);
    running(&mut fleet, &WEB);
    let pids = |fleet: &mut Fleet| WEB.map(|name| fleet.host(name).pid("app"));
    let before = pids(&mut fleet);

    let restart = fleet.rsv(["-H", "web*", "restart", "app"]).expect_code(0);

    assert!(restart.stdout.contains("web[01-03]"), "{}", restart.stdout);
    assert!(
        restart.stdout.contains("app: stopped, started"),
        "{}",
        restart.stdout
    );
    let after = pids(&mut fleet);
    for (i, name) in WEB.into_iter().enumerate() {
        assert_eq!(before[i] != after[i], name != "db01", "{name}");
        let starts = if name == "db01" { 1 } else { 2 };
        assert_eq!(fleet.host(name).lines("app.starts"), starts, "{name}");
    }
}

#[test]
fn an_absent_host_is_named_and_shown_unreachable_with_what_was_last_known() {
    let mut fleet = Fleet::start(&["web01", "web02"], PROGRAMS);
    running(&mut fleet, &["web01", "web02"]);
    fleet.host("web02").agent().kill();
    eventually("the loss is noticed", || fleet.connected() == 1);

    let restart = fleet.rsv(["-H", "web*", "restart", "app"]).expect_code(11);
    assert!(restart.both().contains("web02"), "{restart:?}");
    assert_eq!(fleet.host("web01").lines("app.starts"), 2);

    let status = fleet.rsv(["-A", "status"]);
    let rows: Vec<&str> = status
        .stdout
        .lines()
        .filter(|l| l.contains("web02"))
        .collect();
    assert!(
        rows.iter().any(|row| row.contains("unreachable")),
        "{rows:#?}"
    );
    assert!(rows.iter().any(|row| row.contains("RUNNING")), "{rows:#?}");
    assert!(!rows.iter().any(|row| row.contains("STOPPED")), "{rows:#?}");
    let json = fleet.rsv(["-A", "-o", "json", "status"]).json();
    let programs = json["programs"].as_array().expect("programs");
    let lost = programs
        .iter()
        .find(|p| p["host"] == "web02" && p["program"] == "app");
    let lost = lost.expect("app of web02 is listed");
    assert_eq!(
        (&lost["reachable"], &lost["state"]),
        (&false.into(), &"RUNNING".into())
    );

    fleet.host("web02").start();
    fleet.wait_connected(2);
    assert_eq!(
        fleet.host("web02").lines("app.starts"),
        1,
        "its programs lived on"
    );
}

#[test]
fn a_silent_host_is_unreachable_and_does_not_run_an_expired_command_later() {
    let mut fleet = Fleet::attentive(&["web01", "web02"], PROGRAMS);
    running(&mut fleet, &["web01", "web02"]);
    fleet.host("web02").agent().signal(Signal::SIGSTOP);

    let stop = [
        "-H",
        "web*",
        "--deadline",
        "5s",
        "--timeout",
        "15s",
        "stop",
        "side",
    ];
    fleet.rsv(stop).expect_code(11);
    eventually("the silence is noticed", || {
        fleet
            .rsv(["-A", "status"])
            .stdout
            .lines()
            .any(|l| l.contains("web02") && l.contains("unreachable"))
    });

    fleet.host("web02").agent().signal(Signal::SIGCONT);
    fleet.wait_connected(2);
    eventually("the restart answers", || {
        fleet.rsv(["-H", "web02", "restart", "app"]).code == 0
    });
    assert_eq!(fleet.host("web02").state("side"), "RUNNING");
    assert_eq!(fleet.host("web01").state("side"), "STOPPED");
}

#[test]
fn agents_are_back_soon_after_the_controller_is_and_the_view_is_true_again() {
    let mut fleet = Fleet::start(&["web01", "web02"], PROGRAMS);
    running(&mut fleet, &["web01", "web02"]);

    fleet.controller().kill();
    fleet.host("web01").rsv(["stop", "side"]).expect_code(0);
    fleet.start_controller();
    fleet.connected_within(Duration::from_secs(20), 2);

    let json = fleet.rsv(["-A", "-o", "json", "status"]).json();
    let state = |host: &str, program: &str| {
        let programs = json["programs"].as_array().expect("programs").iter();
        let mut found = programs.filter(|p| p["host"] == host && p["program"] == program);
        found.next().expect("every program is listed")["state"].clone()
    };
    assert_eq!(state("web01", "side"), "STOPPED");
    assert_eq!(state("web01", "app"), "RUNNING");
    assert_eq!(state("web02", "side"), "RUNNING");
}

#[test]
fn an_action_answers_for_each_host_with_its_own_outcome() {
    let mut fleet = Fleet::start(&["web01", "db01"], PROGRAMS);
    running(&mut fleet, &["web01", "db01"]);
    fleet.host("db01").rsv(["stop", "side"]).expect_code(0);

    let stop = fleet
        .rsv(["-A", "-o", "json", "stop", "side"])
        .expect_code(0)
        .json();
    assert_eq!(stop["targets"].as_array().map(Vec::len), Some(2), "{stop}");

    let signal = fleet.rsv(["-A", "signal", "HUP", "side"]).expect_code(10);
    assert!(signal.stdout.contains("side"), "{}", signal.stdout);

    fleet.rsv(["-A", "start", "nonesuch"]).expect_code(15);
    fleet
        .rsv(["-H", "nonesuch*", "start", "app"])
        .expect_code(15);
    fleet
        .rsv(["-H", "web*", "--expect", "5", "restart", "app"])
        .expect_code(16);
    let dry = fleet.rsv(["-A", "-n", "restart", "app"]).expect_code(0);
    assert!(dry.both().contains("web01"), "{dry:?}");
    assert_eq!(fleet.host("web01").lines("app.starts"), 1);
}
