//! Tables of changes and what they ask for.

use std::path::Path;

use super::*;
use crate::host::FixedHost;
use crate::load::{Strictness, load_str};
use crate::overrides::Overrides;

fn config(text: &str) -> Config {
    let text = format!("[supervisord]\n{text}");
    let host = FixedHost::default();
    load_str(
        &text,
        Path::new("a.conf"),
        &Overrides::default(),
        Strictness::Strict,
        &host,
    )
    .unwrap()
    .config
}

fn check(old: &str, new: &str) -> Plan {
    plan(&config(old).groups, &config(new))
}

/// The single change of the single process of the single changed group.
fn change_of(old: &str, new: &str) -> Option<Change> {
    let program = "[program:x]\ncommand=/bin/x\n";
    let mut found = check(&format!("{program}{old}\n"), &format!("{program}{new}\n"));
    assert!(found.added.is_empty() && found.removed.is_empty());
    let mut group = found.changed.pop()?;
    Some(group.processes.pop()?.change)
}

#[test]
fn equal_configurations_ask_for_nothing() {
    let text = "[program:a]\ncommand=a\n[eventlistener:e]\ncommand=e\nevents=TICK_5\n";
    assert!(check(text, text).is_empty());
}

#[test]
fn groups_come_go_and_change_as_in_update() {
    let found = check(
        "[program:keep]\ncommand=k\n[program:chg]\ncommand=1\n[program:gone]\ncommand=g\n",
        "[program:keep]\ncommand=k\n[program:chg]\ncommand=2\n[program:new]\ncommand=n\n",
    );
    assert_eq!(found.removed, ["gone"]);
    assert_eq!(found.added, ["new"]);
    let changed: Vec<_> = found
        .changed
        .iter()
        .map(|group| group.name.as_str())
        .collect();
    assert_eq!(changed, ["chg"]);
}

#[test]
fn what_only_the_supervisor_looks_at_is_applied_live() {
    for (line, key) in [
        ("autorestart=true", "autorestart"),
        ("autostart=false", "autostart"),
        ("startsecs=7", "startsecs"),
        ("startretries=7", "startretries"),
        ("exitcodes=7", "exitcodes"),
        ("stopsignal=INT", "stopsignal"),
        ("stopwaitsecs=7", "stopwaitsecs"),
        ("killasgroup=true", "killasgroup"),
        ("restart_window=5/10m", "restart_window"),
        ("restart_backoff_max=1m", "restart_backoff_max"),
        ("loglevel=debug", "loglevel"),
        ("stdout_logfile_maxbytes=1MB", "stdout_logfile_maxbytes"),
        ("stderr_logfile_backups=1", "stderr_logfile_backups"),
    ] {
        assert_eq!(change_of("", line), Some(Change::Live(vec![key])), "{line}");
    }
}

#[test]
fn what_the_process_was_started_with_needs_a_restart() {
    for (line, key) in [
        ("command=/bin/y", "command"),
        ("directory=/tmp", "directory"),
        ("umask=077", "umask"),
        ("user=nobody", "user"),
        ("group=nogroup", "group"),
        ("environment=A=1", "environment"),
        ("serverurl=http://h:1", "serverurl"),
        ("rlimit_nofile=9", "rlimits"),
        ("stop_leaves_daemons=true", "stop_leaves_daemons"),
        ("stdout_logfile=/tmp/x", "stdout_logfile"),
        ("stderr_logfile=NONE", "stderr_logfile"),
        ("stdout_capture_maxbytes=1MB", "stdout_capture_maxbytes"),
        ("stderr_events_enabled=true", "stderr_events_enabled"),
        ("stdout_syslog=true", "stdout_syslog"),
    ] {
        assert_eq!(
            change_of("", line),
            Some(Change::Restart(vec![key])),
            "{line}"
        );
    }
}

#[test]
fn a_restart_outweighs_what_could_be_live() {
    assert_eq!(
        change_of("", "autorestart=true\numask=077"),
        Some(Change::Restart(vec!["umask"]))
    );
}

#[test]
fn more_processes_leave_the_others_alone() {
    let text = |count| {
        format!("[program:w]\ncommand=w\nprocess_name=w%(process_num)d\nnumprocs={count}\n")
    };
    let more = check(&text(2), &text(3));
    let expected = ProcessChange {
        name: "w2".into(),
        change: Change::Added,
    };
    assert_eq!(more.changed[0].processes, [expected]);
    let fewer = check(&text(3), &text(1));
    let names: Vec<_> = fewer.changed[0]
        .processes
        .iter()
        .map(|p| (p.name.as_str(), &p.change))
        .collect();
    assert_eq!(names, [("w1", &Change::Removed), ("w2", &Change::Removed)]);
}

#[test]
fn the_daemons_environment_reaches_every_program() {
    let found = check(
        "[program:a]\ncommand=a\n",
        "environment=N=\"1\"\n[program:a]\ncommand=a\n",
    );
    assert_eq!(
        found.changed[0].processes[0].change,
        Change::Restart(vec!["environment"])
    );
    let quiet = check(
        "[program:a]\ncommand=a\n",
        "loglevel=debug\n[program:a]\ncommand=a\n",
    );
    assert!(quiet.is_empty());
}

#[test]
fn a_new_socket_restarts_every_process_of_its_group() {
    let text = |port| format!("[fcgi-program:f]\ncommand=f\nsocket=tcp://localhost:{port}\n");
    let found = check(&text(1), &text(2));
    assert!(found.changed[0].keys.is_empty());
    assert_eq!(
        found.changed[0].processes[0].change,
        Change::Restart(vec!["socket"])
    );
}

#[test]
fn events_and_priorities_of_a_group_change_live() {
    let text = |rest| format!("[eventlistener:e]\ncommand=e\n{rest}\n");
    let found = check(
        &text("events=TICK_5"),
        &text("events=TICK_60\nbuffer_size=20"),
    );
    assert_eq!(found.changed[0].keys, ["events", "buffer_size"]);
    assert!(found.changed[0].processes.is_empty());
    let text =
        |priority| format!("[group:g]\nprograms=p\npriority={priority}\n[program:p]\ncommand=p\n");
    let found = check(&text(1), &text(2));
    assert_eq!(found.changed[0].keys, ["priority"]);
    assert!(found.changed[0].processes.is_empty());
}

#[test]
fn what_is_broken_stays_as_it_is() {
    let agent =
        "[agent]\n[program:solo]\ncommand=s\n[group:g]\nprograms=a,b\n[program:b]\ncommand=b\n";
    let found = check(
        &format!("{agent}[program:a]\ncommand=a\n"),
        &format!("{agent}umask=9\n[program:a]\ncommand=a\numask=9\n[program:solo]\numask=9\n"),
    );
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_program_that_joins_a_group_leaves_its_own() {
    let programs = "[program:a]\ncommand=a\n[program:b]\ncommand=b\n";
    let found = check(programs, &format!("{programs}[group:a]\nprograms=a,b\n"));
    assert_eq!(found.removed, ["b"]);
    assert_eq!(found.changed[0].keys, ["kind"]);
    let added = ProcessChange {
        name: "b".into(),
        change: Change::Added,
    };
    assert_eq!(found.changed[0].processes, [added]);
}

#[test]
fn what_a_process_is_started_with_has_the_same_digest_in_every_build() {
    let digest = |rest| {
        let text = format!("[program:x]\ncommand=/bin/x -a\nenvironment=A=1\n{rest}\n");
        fingerprint(&config(&text).groups[0].processes[0])
    };
    // Another number here has every running program look outdated after an upgrade.
    assert_eq!(digest(""), 5_591_065_423_379_640_247);
    assert_eq!(digest("autorestart=true\nstopwaitsecs=3"), digest(""));
    assert_ne!(digest("directory=/tmp"), digest(""));
    assert_ne!(digest("stdout_logfile=/tmp/x"), digest(""));
}

#[test]
fn what_was_started_under_an_earlier_configuration_is_brought_along() {
    let text = "[program:a]\ncommand=a\n[program:b]\ncommand=b\nnumprocs=2\n\
                process_name=%(process_num)d\n";
    let wanted = config(text);
    let id = |group: &str, name: &str| ProcessId {
        group: group.to_owned(),
        name: name.to_owned(),
    };
    let mut found = plan(&wanted.groups, &wanted);
    let outdated = [
        id("a", "a"),
        id("b", "1"),
        id("b", "7"),
        id("gone", "x"),
        id("gone", "y"),
    ];
    found.take_in(&outdated, &wanted);
    assert_eq!(found.removed, ["gone"]);
    let of = |group: &GroupChange| {
        let processes = group.processes.iter();
        processes
            .map(|p| (p.name.clone(), p.change.clone()))
            .collect::<Vec<_>>()
    };
    let restart = Change::Restart(vec![EARLIER]);
    assert_eq!(of(&found.changed[0]), [("a".to_owned(), restart.clone())]);
    let b = [
        ("1".to_owned(), restart.clone()),
        ("7".to_owned(), Change::Removed),
    ];
    assert_eq!(of(&found.changed[1]), b);

    // What differs anyway is restarted all the more.
    let mut found = check(
        "[program:a]\ncommand=a\n",
        "[program:a]\ncommand=a\nautorestart=true\n",
    );
    found.take_in(&[id("a", "a")], &wanted);
    assert_eq!(of(&found.changed[0]), [("a".to_owned(), restart)]);
}
