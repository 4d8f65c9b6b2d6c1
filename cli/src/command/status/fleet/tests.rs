//! The page of a fleet, from fixed data.

use std::time::{Duration, UNIX_EPOCH};

use rsv_proto::time::to_wire;

use super::*;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn ago(seconds: u64) -> SystemTime {
    now() - Duration::from_secs(seconds)
}

fn program(name: &str, state: ProcessState) -> ProcessStatus {
    let up = state == ProcessState::Running;
    ProcessStatus {
        group: name.into(),
        name: name.into(),
        state: state.into(),
        pid: up.then_some(4242),
        started_at: up.then(|| to_wire(ago(3600))),
        spawn_error: match state {
            ProcessState::Fatal => "Exited too quickly (process log may have details)".into(),
            _ => String::new(),
        },
        ..Default::default()
    }
}

fn host(name: &str, state: HostState, age: u64, programs: Vec<ProcessStatus>) -> HostStatus {
    HostStatus {
        host: name.into(),
        state: state.into(),
        as_of: Some(to_wire(ago(age))),
        programs,
        ..Default::default()
    }
}

fn both_up() -> Vec<ProcessStatus> {
    vec![
        program("app", ProcessState::Running),
        program("side", ProcessState::Running),
    ]
}

fn healthy() -> Vec<HostStatus> {
    ["db01", "web01"]
        .map(|name| host(name, HostState::Connected, 0, both_up()))
        .into()
}

fn troubled() -> Vec<HostStatus> {
    vec![
        host("db01", HostState::Connected, 0, both_up()),
        host(
            "web01",
            HostState::Connected,
            0,
            vec![
                program("app", ProcessState::Fatal),
                program("side", ProcessState::Starting),
            ],
        ),
        HostStatus {
            reason: "no heartbeat".into(),
            ..host("web02", HostState::Unreachable, 192, both_up())
        },
        HostStatus {
            as_of: None,
            ..host("web03", HostState::Never, 0, Vec::new())
        },
    ]
}

fn page(hosts: &[HostStatus], fold: Fold) -> String {
    let shape = Shape {
        fold,
        is_wide: false,
    };
    render(&headline(hosts), hosts, now(), &TimeZone::UTC, shape, false)
}

#[test]
fn a_healthy_fleet_says_so_first() {
    insta::assert_snapshot!(page(&healthy(), Fold::Auto), @r"
    2 hosts, 4 programs: all running
    HOST   PROGRAM  STATE    DESCRIPTION
    db01   app      RUNNING  pid 4242, uptime 1:00:00
    db01   side     RUNNING  pid 4242, uptime 1:00:00
    web01  app      RUNNING  pid 4242, uptime 1:00:00
    web01  side     RUNNING  pid 4242, uptime 1:00:00
    ");
}

#[test]
fn problems_come_first_and_silent_hosts_keep_their_last_known_state() {
    insta::assert_snapshot!(page(&troubled(), Fold::Auto), @r"
    PROBLEMS: 1 host unreachable, 1 host never seen, 1 of 4 programs not running
    HOST   PROGRAM  STATE     DESCRIPTION
    web02  unreachable since 07:56:48 (3m12s ago): no heartbeat
    web02  app      RUNNING   last known 3m12s ago
    web02  side     RUNNING   last known 3m12s ago
    web03  never seen
    web01  app      FATAL     Exited too quickly (process log may have details)
    db01   app      RUNNING   pid 4242, uptime 1:00:00
    db01   side     RUNNING   pid 4242, uptime 1:00:00
    web01  side     STARTING
    ");
}

#[test]
fn a_program_that_runs_and_cannot_log_is_a_problem() {
    let full = "`/var/log/side.log`: No space left on device (os error 28)";
    let mut hosts = healthy();
    hosts[1].programs[1].log_trouble = full.into();
    insta::assert_snapshot!(page(&hosts, Fold::Auto), @r"
    PROBLEMS: 1 program with log trouble
    HOST   PROGRAM  STATE    DESCRIPTION
    web01  side     RUNNING  pid 4242, uptime 1:00:00; log: `/var/log/side.log`: No space left on device (os error 28)
    db01   app      RUNNING  pid 4242, uptime 1:00:00
    db01   side     RUNNING  pid 4242, uptime 1:00:00
    web01  app      RUNNING  pid 4242, uptime 1:00:00
    ");
    insta::assert_snapshot!(page(&hosts, Fold::Always), @r"
    PROBLEMS: 1 program with log trouble
    HOST        PROGRAM  STATE    DESCRIPTION
    web01       side     RUNNING  1 host; log trouble
    db01,web01  app      RUNNING  2 hosts
    db01        side     RUNNING  1 host
    ");
    assert_eq!(exit_of(&hosts, false) as u8, 0);
}

#[test]
fn a_name_that_no_host_has_is_a_problem() {
    let mut hosts = healthy();
    hosts.truncate(1);
    hosts.push(HostStatus {
        host: "web09".into(),
        reason: "no host of this name is enrolled".into(),
        ..Default::default()
    });
    insta::assert_snapshot!(page(&hosts, Fold::Auto), @r"
    PROBLEMS: 1 host not enrolled
    HOST   PROGRAM  STATE    DESCRIPTION
    web09  not enrolled
    db01   app      RUNNING  pid 4242, uptime 1:00:00
    db01   side     RUNNING  pid 4242, uptime 1:00:00
    ");
}

#[test]
fn a_host_that_two_machines_claim_to_be_is_a_problem() {
    let mut hosts = healthy();
    hosts[0].conflict = "two agents are in the same epoch".into();
    let said = ("PROBLEMS: 1 host used twice".to_owned(), false);
    assert_eq!(headline(&hosts), said);
}

fn held(mut program: ProcessStatus, whole_host: bool) -> ProcessStatus {
    program.hold = Some(Hold {
        actor: "operator/ada".into(),
        whole_host,
        ..Default::default()
    });
    program
}

#[test]
fn what_is_held_back_is_no_trouble_and_does_not_run() {
    let stopped = |name: &str| program(name, ProcessState::Stopped);
    let drained = vec![held(stopped("app"), true), held(stopped("side"), true)];
    let mut hosts = vec![host("db01", HostState::Draining, 0, drained)];
    insta::assert_snapshot!(page(&hosts, Fold::Auto), @r"
    1 host, 2 programs: 0 running, 2 drained
    HOST  PROGRAM  STATE    DESCRIPTION
    db01  app      STOPPED  Not started; host drained by operator/ada
    db01  side     STOPPED  Not started; host drained by operator/ada
    ");
    assert_eq!(exit_of(&hosts, false), Exit::NotAllUp);

    let disabled = vec![
        held(stopped("app"), false),
        program("side", ProcessState::Running),
        held(program("tick", ProcessState::Stopping), false),
    ];
    hosts.push(host("web01", HostState::Connected, 0, disabled));
    assert_eq!(
        headline(&hosts),
        (
            "2 hosts, 5 programs: 1 running, 1 changing, 1 disabled, 2 drained".to_owned(),
            true
        )
    );

    hosts.push(host("web02", HostState::Connected, 0, vec![stopped("app")]));
    assert_eq!(
        headline(&hosts).0,
        "PROBLEMS: 1 of 6 programs not running, 1 disabled, 2 drained"
    );
}

#[test]
fn hosts_that_agree_share_a_line_when_asked() {
    insta::assert_snapshot!(page(&troubled(), Fold::Always), @r"
    PROBLEMS: 1 host unreachable, 1 host never seen, 1 of 4 programs not running
    HOST   PROGRAM  STATE     DESCRIPTION
    web02  unreachable since 07:56:48 (3m12s ago): no heartbeat
    web02  app      RUNNING   last known 3m12s ago
    web02  side     RUNNING   last known 3m12s ago
    web03  never seen
    web01  app      FATAL     1 host
    db01   app      RUNNING   1 host
    db01   side     RUNNING   1 host
    web01  side     STARTING  1 host
    ");
}

#[test]
fn a_host_silent_since_yesterday_is_dated() {
    let silent = host("web02", HostState::Unreachable, 90_000, Vec::new());
    let page = page(&[silent], Fold::Auto);
    assert!(
        page.contains("unreachable since 2027-01-14 07:00:00 (1d1h ago)"),
        "{page}"
    );
}

#[test]
fn the_exit_code_tells_trouble_before_silence() {
    let silent = || host("web02", HostState::Unreachable, 9, both_up());
    let stopped_silent = || {
        let programs = vec![program("app", ProcessState::Stopped)];
        host("web02", HostState::Unreachable, 9, programs)
    };
    let backoff = || {
        let programs = vec![program("app", ProcessState::Backoff)];
        host("web04", HostState::Connected, 0, programs)
    };
    let mut silent_fleet = healthy();
    silent_fleet.push(silent());
    for (hosts, unknown, exit) in [
        (healthy(), false, 0),
        (healthy(), true, 4),
        (silent_fleet, false, 11),
        (vec![silent()], false, 11),
        (vec![stopped_silent()], false, 11),
        (vec![backoff()], false, 0),
        (troubled(), true, 3),
    ] {
        assert_eq!(exit_of(&hosts, unknown) as u8, exit, "{hosts:?}");
    }
}
