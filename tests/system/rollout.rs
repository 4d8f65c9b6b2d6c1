//! An operation over many hosts, while the controller and an agent are killed under it.

use rsv_tests::{eventually::eventually, fleet::Fleet, network::Fault};
use serde_json::Value;

/// `app` says in a file when it is started, and takes a moment until it counts as started, so that a
/// rollout lasts long enough to be disturbed.
const PROGRAMS: &str = "
[program:app]
command = /bin/sh -c 'echo $$ >> {dir}/app.starts; exec sleep 1000000'
startsecs = 1
";

const HOSTS: [&str; 12] = [
    "h01", "h02", "h03", "h04", "h05", "h06", "h07", "h08", "h09", "h10", "h11", "h12",
];

/// How many hosts have begun with the operation.
fn touched(fleet: &mut Fleet) -> usize {
    HOSTS
        .iter()
        .filter(|name| fleet.host(name).lines("app.starts") > 1)
        .count()
}

fn operation(fleet: &Fleet, id: &str) -> Value {
    fleet.rsv(["-o", "json", "op", "show", id]).json()
}

#[test]
fn a_rollout_goes_on_over_the_death_of_controller_and_agent_and_restarts_each_host_once() {
    let mut fleet = Fleet::start(&HOSTS, PROGRAMS);
    for name in HOSTS {
        eventually("app runs", || fleet.host(name).state("app") == "RUNNING");
    }
    // The command line leaves at once; the operation is the controller's.
    let begun = fleet
        .rsv([
            "-A",
            "restart",
            "app",
            "--batch",
            "3",
            "--gate",
            "running",
            "--deadline",
            "60s",
            "--on-fail",
            "continue",
            "--id",
            "deploy-7",
            "--detach",
        ])
        .expect_code(0);
    let id = begun.stdout.trim().to_owned();

    eventually("the first batch is under way", || touched(&mut fleet) >= 1);
    fleet.controller().kill();
    fleet.start_controller();
    eventually("the second batch is under way", || touched(&mut fleet) >= 4);
    fleet.controller().kill();
    fleet.host("h05").agent().kill();
    fleet.start_controller();
    fleet.host("h05").start();

    let watched = fleet.rsv(["op", "watch", &id]).expect_code(0);
    assert!(watched.stdout.contains("h[01-12]"), "{watched:?}");
    assert!(watched.stderr.contains("[4/4]"), "{watched:?}");
    for name in HOSTS {
        assert_eq!(fleet.host(name).lines("app.starts"), 2, "{name}");
        assert_eq!(fleet.host(name).state("app"), "RUNNING", "{name}");
    }
    let shown = operation(&fleet, &id);
    assert_eq!(
        (&shown["state"], &shown["done"]),
        (&"finished".into(), &12.into()),
        "{shown}"
    );

    // The key is as old as the operation: nothing is done again.
    let again = fleet
        .rsv([
            "-A",
            "restart",
            "app",
            "--batch",
            "3",
            "--gate",
            "running",
            "--deadline",
            "60s",
            "--on-fail",
            "continue",
            "--id",
            "deploy-7",
        ])
        .expect_code(0);
    assert!(
        again.stderr.contains(&format!("joined operation {id}")),
        "{again:?}"
    );
    assert_eq!(touched(&mut fleet), HOSTS.len());
    assert!(
        HOSTS
            .iter()
            .all(|name| fleet.host(name).lines("app.starts") == 2)
    );
}

#[test]
fn a_rollout_that_fails_stops_within_its_budget_and_says_so() {
    let mut fleet = Fleet::start(&HOSTS[..4], PROGRAMS);
    for name in &HOSTS[..4] {
        eventually("app runs", || fleet.host(name).state("app") == "RUNNING");
    }
    // The second host cannot start its program any more.
    let broken = "[program:app]\ncommand = /nonexistent\nstartsecs = 1\n";
    let settings = fleet.settings();
    fleet.host("h02").configure(&settings, broken);
    fleet.host("h02").rsv(["update"]);
    let aborted = fleet
        .rsv(["-A", "restart", "app", "--batch", "1"])
        .expect_code(12);
    assert!(aborted.stdout.contains("h[03-04]"), "{aborted:?}");
    assert!(aborted.stdout.contains("not attempted"), "{aborted:?}");
    assert!(aborted.stderr.contains("ABORTED"), "{aborted:?}");
    for name in ["h03", "h04"] {
        assert_eq!(fleet.host(name).lines("app.starts"), 1, "{name}");
    }
}

/// The storm in namespaces: two hosts are cut off, the controller dies twice and an agent once. Needs root.
#[test]
fn a_rollout_in_a_storm_restarts_each_program_once_and_reports_exactly_that() {
    let mut fleet = Fleet::apart(&HOSTS, PROGRAMS);
    for name in HOSTS {
        eventually("app runs", || fleet.host(name).state("app") == "RUNNING");
    }
    let flags = ["--batch", "3", "--gate", "running", "--deadline", "90s"];
    let restart = ["-A", "restart", "app", "--on-fail", "continue", "--detach"];
    let begun = fleet.rsv(restart.into_iter().chain(flags)).expect_code(0);
    let id = begun.stdout.trim().to_owned();

    // One host is cut off while it restarts its program, another long before it is its turn.
    eventually("h02 is under way", || {
        fleet.host("h02").lines("app.starts") == 2
    });
    fleet.network().break_link("h02", Fault::Cut);
    fleet.network().break_link("h08", Fault::Cut);
    eventually("both are missed", || fleet.connected() == HOSTS.len() - 2);
    assert_eq!(operation(&fleet, &id)["state"], "running");
    fleet.controller().kill();
    fleet.start_controller();
    fleet.wait_connected(HOSTS.len() - 2);
    assert!(touched(&mut fleet) <= 3, "h02 is still waited for");
    fleet.network().heal("h02");

    eventually("h05 is under way", || {
        fleet.host("h05").lines("app.starts") == 2
    });
    fleet.host("h05").agent().kill();
    fleet.controller().kill();
    fleet.start_controller();
    fleet.host("h05").start();

    eventually("it is the turn of h08", || {
        fleet.host("h07").lines("app.starts") == 2
    });
    assert_eq!(fleet.host("h08").lines("app.starts"), 1);
    fleet.network().heal("h08");

    let watched = fleet.rsv(["-o", "json", "op", "watch", &id]).expect_code(0);
    let watched = watched.json();
    let targets = watched["targets"].as_array().expect("a list of targets");
    let mut reported: Vec<&str> = targets
        .iter()
        .filter(|target| target["program"] == "app" && target["outcome"] == "done")
        .filter_map(|target| target["host"].as_str())
        .collect();
    reported.sort_unstable();
    assert_eq!(reported, HOSTS, "{watched}");
    assert_eq!(targets.len(), HOSTS.len(), "{watched}");
    for name in HOSTS {
        assert_eq!(fleet.host(name).lines("app.starts"), 2, "{name}");
        assert_eq!(fleet.host(name).state("app"), "RUNNING", "{name}");
    }
    let shown = operation(&fleet, &id);
    assert_eq!(shown["state"], "finished", "{shown}");
    assert_eq!(shown["done"], 12, "{shown}");
}
