//! Hosts as operators keep them: labelled, revoked, removed; over restarts of the controller.

use std::fs;

use rsv_tests::{
    command::{command, run},
    eventually::eventually,
    fleet::Fleet,
};
use serde_json::Value;

const PROGRAMS: &str = "[program:app]\ncommand = /bin/sleep 1000000\nstartsecs = 0\n";

/// Kills the controller and starts it again.
fn restart(fleet: &mut Fleet) {
    fleet.controller().kill();
    fleet.start_controller();
}

/// All that is known of a host; null: it is not enrolled.
fn known(fleet: &Fleet, host: &str) -> Value {
    let listed = fleet.rsv(["-A", "-o", "json", "host", "ls"]).json();
    let hosts = listed["hosts"].as_array().cloned().unwrap_or_default();
    let mut hosts = hosts.into_iter();
    hosts
        .find(|known| known["name"] == host)
        .unwrap_or_default()
}

fn log(fleet: &Fleet, host: &str) -> String {
    let log = fleet.path().join(host).join("log/agent.log");
    fs::read_to_string(log).unwrap_or_default()
}

#[test]
fn labels_of_operators_win_and_outlive_the_controller() {
    let mut fleet = Fleet::start(&["web01", "web02"], PROGRAMS);
    let settings = format!("{}labels = role=web, dc=fra\n", fleet.settings());
    fleet.host("web01").configure(&settings, PROGRAMS);
    fleet.host("web01").shut_down();
    fleet.host("web01").start();
    fleet.wait_connected(2);

    let label = ["host", "label", "web01", "role=db", "tier=front"];
    let labelled = fleet.rsv(label).expect_code(0);
    assert_eq!(labelled.stdout, "web01  (1)  labelled\n");
    restart(&mut fleet);
    fleet.wait_connected(2);
    let labels = &known(&fleet, "web01")["labels"];
    assert_eq!(
        labels,
        &serde_json::json!({"dc": "fra", "role": "db", "tier": "front"})
    );
    let selected = fleet.rsv(["-l", "role=db", "-o", "name", "host", "ls"]);
    assert_eq!(selected.expect_code(0).stdout, "web01\n");
    fleet.rsv(["-l", "tier=front", "status"]).expect_code(0);

    fleet
        .rsv(["host", "label", "web01", "role-"])
        .expect_code(0);
    assert_eq!(known(&fleet, "web01")["labels"]["role"], "web");
    let bad = fleet
        .rsv(["host", "label", "web01", "r@le=x"])
        .expect_code(2);
    assert!(
        bad.stderr.contains("not a valid label: 'r@le=x'"),
        "{bad:?}"
    );
}

#[test]
fn a_revoked_host_is_refused_until_it_joins_again_and_its_programs_go_on() {
    let mut fleet = Fleet::start(&["web01"], PROGRAMS);
    eventually("app runs", || fleet.host("web01").pid("app") > 0);
    let pid = fleet.host("web01").pid("app");
    fleet.rsv(["host", "revoke", "web01"]).expect_code(17);
    assert_eq!(known(&fleet, "web01")["state"], "connected");

    let revoke = ["-y", "host", "revoke", "web01", "--reason", "stolen"];
    let revoked = fleet.rsv(revoke).expect_code(0);
    assert_eq!(revoked.stdout, "web01  (1)  revoked\n");
    let host = known(&fleet, "web01");
    assert_eq!(host["state"], "revoked");
    assert_eq!(host["revoked"]["by"], "operator/admin");
    assert_eq!(host["reason"], "revoked by operator/admin: stolen");
    let words = "the certificate of host `web01` has been revoked";
    eventually("the agent says why", || {
        log(&fleet, "web01").contains(words)
    });
    let table = fleet.rsv(["host", "ls"]).expect_code(0).stdout;
    assert!(table.contains("revoked"), "{table}");

    restart(&mut fleet);
    fleet.host("web01").agent().kill();
    fleet.host("web01").start();
    let refused = || log(&fleet, "web01").matches(words).count() > 1;
    eventually("it is refused anew", refused);
    assert_eq!(known(&fleet, "web01")["state"], "revoked");
    assert_eq!(fleet.host("web01").pid("app"), pid);

    let token = fleet.token("web01");
    let configuration = fleet.host("web01").configuration();
    let mut join = command("rsv-agent", ["join", "--force", "--token", &token, "-c"]);
    run(join.arg(configuration)).expect_code(0);
    fleet.wait_connected(1);
    restart(&mut fleet);
    fleet.wait_connected(1);
    assert_eq!(known(&fleet, "web01")["revoked"], Value::Null);
    assert_eq!(fleet.host("web01").pid("app"), pid);
}

#[test]
fn a_removed_host_is_gone_until_it_connects_again_as_a_new_one() {
    let mut fleet = Fleet::start(&["web01", "web02"], PROGRAMS);
    fleet
        .rsv(["host", "label", "web01", "role=db"])
        .expect_code(0);
    fleet.rsv(["host", "drain", "web01"]).expect_code(0);
    eventually("app is down", || {
        fleet.host("web01").state("app") == "STOPPED"
    });
    let refused = fleet.rsv(["host", "rm", "web01"]).expect_code(10);
    assert!(
        refused.stdout.contains("it is connected: stop its agent"),
        "{refused:?}"
    );

    fleet.host("web01").shut_down();
    eventually("it is away", || {
        known(&fleet, "web01")["state"] == "unreachable"
    });
    let removed = fleet.rsv(["host", "rm", "web01"]).expect_code(0);
    assert_eq!(removed.stdout, "web01  (1)  removed\n");
    restart(&mut fleet);
    fleet.wait_connected(1);
    assert_eq!(known(&fleet, "web01"), Value::Null);

    fleet.host("web01").start();
    fleet.wait_connected(2);
    assert_eq!(known(&fleet, "web01")["labels"], serde_json::json!({}));
    eventually("nothing is wanted of it", || {
        fleet.host("web01").state("app") == "RUNNING"
    });
}

#[test]
fn the_configuration_in_force_is_shown_for_each_host() {
    let mut fleet = Fleet::start(&["web01"], PROGRAMS);
    let before = known(&fleet, "web01");
    assert_eq!(before["config_generation"], 1);
    let more = format!("{PROGRAMS}[program:side]\ncommand = /bin/sleep 1000000\n");
    let settings = fleet.settings();
    fleet.host("web01").configure(&settings, &more);
    fleet.rsv(["-A", "update"]).expect_code(0);
    eventually("it says so", || {
        known(&fleet, "web01")["config_generation"] != 1
    });
    let digest = &known(&fleet, "web01")["config_digest"];
    assert!(
        digest.is_string() && *digest != before["config_digest"],
        "{digest}"
    );
    let wide = fleet.rsv(["-o", "wide", "host", "ls"]).expect_code(0);
    assert!(wide.stdout.contains("CONFIG"), "{wide:?}");
}
