//! The configuration of many hosts: what an update would do, what it does batch by batch, and what it
//! does not begin when something fails.

use rsv_tests::{
    eventually::{PATIENCE, eventually},
    fleet::Fleet,
};

/// `app` says in a file when it is started; `side` is there to be left alone.
const PROGRAMS: &str = "
[program:app]
command = /bin/sh -c 'echo $$ >> {dir}/app.starts; exec sleep 1000000'
startsecs = 0
[program:side]
command = /bin/sh -c 'echo $$ >> {dir}/side.starts; echo said; exec sleep 1000000'
startsecs = 0
";

const HOSTS: [&str; 3] = ["web01", "web02", "web03"];

fn started(programs: &str) -> Fleet {
    let mut fleet = Fleet::start(&HOSTS, programs);
    for name in HOSTS {
        eventually("app runs", || fleet.host(name).state("app") == "RUNNING");
        eventually("side runs", || fleet.host(name).state("side") == "RUNNING");
    }
    fleet
}

fn configure(fleet: &mut Fleet, hosts: &[&str], programs: &str) {
    let settings = fleet.settings();
    for name in hosts {
        fleet.host(name).configure(&settings, programs);
    }
}

#[test]
fn an_update_restarts_what_differs_on_each_host_and_says_before_what_it_would_do() {
    let mut fleet = started(PROGRAMS);
    let changed = PROGRAMS.replace(
        "1000000'\nstartsecs = 0\n[program:side]",
        "2000000'\nstartsecs = 0\n[program:side]",
    );
    let changed = format!("{changed}[program:new]\ncommand = /bin/sleep 1000000\nstartsecs = 0\n");
    configure(&mut fleet, &["web01", "web02"], &changed);

    let plan = fleet.rsv(["-A", "-n", "update"]).expect_code(18);
    for line in [
        "web[01-02]  (2)  app: changed, restarted: command",
        "web03       (1)  nothing differs",
    ] {
        assert!(plan.stdout.contains(line), "{line}: {plan:?}");
    }
    let plan = fleet.rsv(["-A", "-o", "json", "-n", "update"]).json();
    assert_eq!(plan["hosts"][1]["groups"][0]["group"], "app", "{plan}");
    assert_eq!(
        plan["hosts"][2]["groups"].as_array().map(Vec::len),
        Some(0),
        "{plan}"
    );
    assert_eq!(
        fleet.host("web01").lines("app.starts"),
        1,
        "nothing was done"
    );

    let reread = fleet.rsv(["-A", "reread"]).expect_code(0);
    assert!(reread.stdout.contains("new: added"), "{reread:?}");
    let avail = fleet.rsv(["-A", "avail"]).expect_code(0);
    let line = avail.stdout.lines().find(|line| line.contains("new "));
    let line = line.expect("the new program is listed");
    assert!(
        line.starts_with("web[01-02]") && line.contains("avail"),
        "{avail:?}"
    );

    let update = fleet
        .rsv(["-A", "update", "--batch", "1", "--soak", "100ms"])
        .expect_code(0);
    assert!(update.stderr.contains("[3/3]"), "{update:?}");
    for line in [
        "web[01-02]  (2)  app: stopped, started: command",
        "web[01-02]  (2)  new: added, started",
        "web03       (1)  nothing differs",
    ] {
        assert!(update.stdout.contains(line), "{line}: {update:?}");
    }
    for (name, starts) in [("web01", 2), ("web02", 2), ("web03", 1)] {
        assert_eq!(fleet.host(name).lines("app.starts"), starts, "{name}");
        assert_eq!(fleet.host(name).lines("side.starts"), 1, "{name}");
    }
    fleet.rsv(["-A", "-n", "update"]).expect_code(0);
}

#[test]
fn an_update_that_brings_nothing_up_ends_with_the_batch_in_which_it_failed() {
    let mut fleet = started(PROGRAMS);
    let broken = PROGRAMS.replace(
        "/bin/sh -c 'echo $$ >> {dir}/app.starts; exec sleep 1000000'",
        "/nonexistent",
    );
    configure(&mut fleet, &HOSTS, &broken);
    let update = fleet.rsv(["-A", "update", "--batch", "1"]).expect_code(12);
    assert!(
        update.stdout.contains("web[02-03]  (2)  not attempted"),
        "{update:?}"
    );
    assert!(update.stdout.contains("app: "), "{update:?}");
    assert_eq!(fleet.host("web02").state("app"), "RUNNING");

    let wrong = PROGRAMS.replace("startsecs = 0", "startsecs = soon");
    configure(&mut fleet, &["web02"], &wrong);
    let refused = fleet.rsv(["-H", "web02", "update"]).expect_code(10);
    assert!(
        refused.stdout.contains("startsecs") || refused.stdout.contains("soon"),
        "{refused:?}"
    );
    assert_eq!(fleet.host("web02").state("app"), "RUNNING");
}

#[test]
fn groups_are_added_and_removed_and_logs_are_emptied_and_read_on_many_hosts() {
    let mut fleet = started(PROGRAMS);
    fleet.rsv(["-A", "remove", "side"]).expect_code(10);
    fleet.rsv(["-A", "stop", "side"]).expect_code(0);
    let removed = fleet.rsv(["-A", "remove", "side"]).expect_code(0);
    assert!(
        removed.stdout.contains("web[01-03]  (3)  side: removed"),
        "{removed:?}"
    );
    let added = fleet.rsv(["-A", "add", "side"]).expect_code(0);
    assert!(
        added.stdout.contains("web[01-03]  (3)  side: added"),
        "{added:?}"
    );
    fleet.rsv(["-A", "add", "nonesuch"]).expect_code(15);
    for name in HOSTS {
        eventually("side runs", || fleet.host(name).state("side") == "RUNNING");
        eventually("it has spoken", || {
            fleet
                .host(name)
                .rsv(["tail", "side"])
                .stdout
                .contains("said")
        });
    }

    let cleared = fleet.rsv(["-A", "clear", "side"]).expect_code(0);
    assert!(
        cleared.stdout.contains("web[01-03]  (3)  side: cleared"),
        "{cleared:?}"
    );
    let tail = fleet.rsv(["-A", "tail", "side"]).expect_code(0);
    assert!(!tail.stdout.contains("said"), "{tail:?}");

    let logs = fleet.rsv(["-A", "maintail"]).expect_code(0);
    for name in HOSTS {
        let prefix = format!("{name} | ");
        assert!(
            logs.stdout.lines().any(|line| line.starts_with(&prefix)),
            "{name}: {logs:?}"
        );
    }
    let last = fleet.rsv(["-A", "maintail", "--lines", "1"]);
    let last = last.expect_code(0);
    assert_eq!(last.stdout.lines().count(), HOSTS.len(), "{last:?}");
    let since = fleet.rsv(["-H", "web01", "maintail", "--since", "1h"]);
    assert!(since.expect_code(0).stdout.lines().count() > 1);
    let one = fleet.rsv(["-H", "web01", "maintail"]).expect_code(0);
    assert!(
        !one.stdout.contains(" | ") && !one.stdout.is_empty(),
        "{one:?}"
    );
}

#[test]
fn a_reload_is_done_when_the_new_agents_answer_and_says_what_did_not_come_up() {
    let mut fleet = started(PROGRAMS);
    fleet.rsv(["-A", "reload"]).expect_code(17);
    let broken = format!("{PROGRAMS}[program:broken]\ncommand = /nonexistent\n");
    configure(&mut fleet, &["web03"], &broken);
    let other = PROGRAMS.replace("program:side", "program:other");
    configure(&mut fleet, &["web01"], &other);
    configure(&mut fleet, &["web02"], "[program:app]\nnumprocs = many\n");

    let reloaded = fleet.rsv(["-A", "--expect", "3", "reload"]);
    let reloaded = reloaded.expect_code(10);
    for line in [
        "web[01,03]  (2)  reloaded",
        "web03       (1)  broken: ERROR (no such file)",
        "web02       (1)  ERROR (CANT_REREAD: ",
    ] {
        assert!(reloaded.stdout.contains(line), "{line}: {reloaded:?}");
    }
    for (name, starts) in [("web01", 2), ("web02", 1), ("web03", 2)] {
        assert_eq!(fleet.host(name).lines("app.starts"), starts, "{name}");
    }
    assert_eq!(fleet.host("web01").state("other"), "RUNNING");
}

#[test]
fn a_shutdown_is_done_when_everything_is_stopped_and_ends_the_agent() {
    let mut fleet = started(PROGRAMS);
    fleet.rsv(["-H", "web02", "shutdown"]).expect_code(17);
    let down = fleet.rsv(["-H", "web0[1-2]", "-y", "shutdown"]);
    let down = down.expect_code(0);
    assert!(
        down.stdout.contains("web[01-02]  (2)  shut down"),
        "{down:?}"
    );
    for name in ["web01", "web02"] {
        let host = fleet.host(name);
        host.agent().wait(PATIENCE).expect("the agent ends");
        host.keeper().wait(PATIENCE).expect("the keeper ends");
    }
    let status = fleet.rsv(["-A", "status"]).expect_code(11);
    assert!(status.stdout.contains("web01  unreachable"), "{status:?}");
    assert_eq!(fleet.host("web03").lines("app.starts"), 1);
}
