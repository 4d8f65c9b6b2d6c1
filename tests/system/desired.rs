//! What is wanted of programs and hosts outlives every process: agents, keepers and the controller.

use nix::sys::signal::Signal;
use rsv_tests::{eventually::eventually, fleet::Fleet};

/// `app` says in a file when it is started.
const PROGRAMS: &str = "
[program:app]
command = /bin/sh -c 'echo $$ >> {dir}/app.starts; exec sleep 1000000'
startsecs = 0
[program:side]
command = /bin/sleep 1000000
startsecs = 0
";

fn becomes(fleet: &mut Fleet, host: &str, program: &str, state: &str) {
    let what = format!("{program} of {host} is {state}");
    eventually(&what, || fleet.host(host).state(program) == state);
}

/// The state of a host in `host ls`.
fn link(fleet: &Fleet, host: &str) -> String {
    let listed = fleet.rsv(["-H", host, "-o", "json", "host", "ls"]);
    let listed = listed.expect_code(0).json();
    let state = listed["hosts"][0]["state"].as_str();
    state.expect("a state").to_owned()
}

#[test]
fn a_disabled_program_stays_down_without_a_controller_until_it_is_enabled() {
    let mut fleet = Fleet::start(&["web01", "web02"], PROGRAMS);
    becomes(&mut fleet, "web01", "app", "RUNNING");
    becomes(&mut fleet, "web02", "app", "RUNNING");

    let disable = ["-H", "web01", "disable", "app", "--reason", "leaks memory"];
    let disabled = fleet.rsv(disable).expect_code(0);
    assert!(disabled.stdout.contains("app: disabled"), "{disabled:?}");
    becomes(&mut fleet, "web01", "app", "STOPPED");
    assert_eq!(fleet.host("web02").state("app"), "RUNNING");
    let start = fleet.rsv(["-H", "web01", "start", "app"]).expect_code(10);
    for words in ["leaks memory", "operator/admin", "enable app"] {
        assert!(start.stdout.contains(words), "{words}: {start:?}");
    }

    fleet.controller().kill();
    fleet.host("web01").shut_down();
    fleet.host("web01").start();
    becomes(&mut fleet, "web01", "side", "RUNNING");
    assert_eq!(fleet.host("web01").state("app"), "STOPPED");
    let status = fleet.host("web01").rsv(["status", "app"]);
    assert!(status.stdout.contains("leaks memory"), "{status:?}");
    assert_eq!(fleet.host("web01").lines("app.starts"), 1);

    // Enabled while it is away: it comes up when it returns.
    fleet.host("web01").shut_down();
    fleet.start_controller();
    fleet.wait_connected(1);
    let enabled = fleet.rsv(["-H", "web01", "enable", "app"]).expect_code(0);
    assert!(enabled.stdout.contains("when it returns"), "{enabled:?}");
    fleet.host("web01").start();
    becomes(&mut fleet, "web01", "app", "RUNNING");
    assert_eq!(fleet.host("web01").lines("app.starts"), 2);
}

#[test]
fn a_drained_host_stays_down_over_a_restart_of_the_controller_until_it_is_resumed() {
    let mut fleet = Fleet::start(&["web01"], PROGRAMS);
    becomes(&mut fleet, "web01", "app", "RUNNING");
    fleet.rsv(["-H", "web01", "disable", "side"]).expect_code(0);

    let drain = ["host", "drain", "web01", "--reason", "new disk"];
    fleet.rsv(drain).expect_code(0);
    becomes(&mut fleet, "web01", "app", "STOPPED");
    assert_eq!(link(&fleet, "web01"), "draining");

    fleet.controller().kill();
    fleet.start_controller();
    eventually("the host is back", || link(&fleet, "web01") == "draining");
    let status = fleet.rsv(["-H", "web01", "status"]).expect_code(3);
    assert!(status.stdout.contains("new disk"), "{status:?}");
    let programs = fleet.rsv(["-H", "web01", "-o", "json", "status"]).json();
    let hold = &programs["programs"][0]["hold"];
    assert_eq!(
        (&hold["by"], &hold["whole_host"]),
        (&"operator/admin".into(), &true.into())
    );

    fleet.rsv(["host", "resume", "web01"]).expect_code(0);
    becomes(&mut fleet, "web01", "app", "RUNNING");
    assert_eq!(fleet.host("web01").state("side"), "STOPPED");
    assert_eq!(link(&fleet, "web01"), "connected");
}

/// The number of what is wanted of a host, and of what it keeps to.
fn generations(fleet: &Fleet, host: &str) -> (Option<u64>, Option<u64>) {
    let listed = fleet.rsv(["-H", host, "-o", "json", "host", "ls"]).json();
    let number = |key: &str| listed["hosts"][0][key].as_u64();
    (number("desired_generation"), number("obeyed_generation"))
}

#[test]
fn done_means_that_the_host_has_said_it_keeps_to_it() {
    let mut fleet = Fleet::attentive(&["web01", "web02"], PROGRAMS);
    becomes(&mut fleet, "web01", "app", "RUNNING");
    assert_eq!(generations(&fleet, "web01"), (Some(0), Some(0)));
    let disabled = fleet.rsv(["-A", "disable", "app"]).expect_code(0);
    assert!(
        disabled.stdout.contains("web[01-02]  (2)  app: disabled"),
        "{disabled:?}"
    );
    let (wanted, obeyed) = generations(&fleet, "web01");
    assert!(wanted > Some(0), "{wanted:?}");
    assert_eq!(wanted, obeyed);

    // One that hears and does not act is no host that has done it.
    fleet.host("web02").agent().signal(Signal::SIGSTOP);
    let enabled = fleet.rsv(["-A", "enable", "app"]).expect_code(0);
    assert!(
        enabled.stdout.contains("web01  (1)  app: enabled"),
        "{enabled:?}"
    );
    assert!(
        enabled.stdout.contains("web02  (1)  app: will be enabled"),
        "{enabled:?}"
    );
    let (wanted, obeyed) = generations(&fleet, "web02");
    assert!(obeyed < wanted, "{obeyed:?} {wanted:?}");
    let status = fleet.rsv(["-A", "-o", "wide", "status"]);
    assert!(status.stdout.contains("web02: desired "), "{status:?}");
    fleet.host("web02").agent().signal(Signal::SIGCONT);
    eventually("it keeps to it", || {
        let (wanted, obeyed) = generations(&fleet, "web02");
        obeyed == wanted
    });
    becomes(&mut fleet, "web02", "app", "RUNNING");

    // What it keeps to is told with each greeting.
    fleet.controller().kill();
    fleet.start_controller();
    fleet.wait_connected(2);
    let (wanted, obeyed) = generations(&fleet, "web01");
    assert_eq!(wanted, obeyed);
}
