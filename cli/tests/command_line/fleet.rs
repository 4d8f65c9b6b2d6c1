//! The verbs on a fleet: what is shown, exit codes, and care.

use std::{
    os::unix::fs::PermissionsExt as _,
    time::{Duration, SystemTime},
};

use rsv_proto::{
    time::to_wire,
    wire::{
        Host, HostState, HostStatus, Operation, OperationState, Outcome, ProcessState,
        ProcessStatus, Refusal, Step, TargetResult, UnmatchedProgram, WatchEventsResponse,
        act_response::Accepted,
        event::{HostChanged, What},
        watch_events_request::Begin,
    },
};
use tonic::Status;

use crate::{
    controller::{Controller, Root, refusing},
    fake::Answers,
};

fn ago(seconds: u64) -> Option<prost_types::Timestamp> {
    Some(to_wire(SystemTime::now() - Duration::from_secs(seconds)))
}

pub(crate) fn host_status(name: &str, state: HostState, seconds: u64) -> HostStatus {
    HostStatus {
        host: name.into(),
        state: state.into(),
        as_of: ago(seconds),
        programs: vec![ProcessStatus {
            group: "app".into(),
            name: "app".into(),
            state: ProcessState::Running.into(),
            pid: Some(7),
            started_at: ago(seconds + 60),
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub(crate) fn done(host: &str) -> TargetResult {
    TargetResult {
        host: host.into(),
        program: "app".into(),
        outcome: Outcome::Done.into(),
        steps: vec![Step::Stopped.into(), Step::Started.into()],
        ..Default::default()
    }
}

fn unreachable(host: &str) -> TargetResult {
    TargetResult {
        host: host.into(),
        outcome: Outcome::Unreachable.into(),
        detail: "no session since 12s".into(),
        ..Default::default()
    }
}

pub(crate) fn reached(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_restart_by_glob_is_folded() {
    let hosts = ["web01", "web02", "web03"];
    let controller = Controller::with(Answers {
        reached: reached(&hosts),
        results: hosts.map(|host| ("app", done(host))).into(),
        ..Default::default()
    })
    .await;
    let ran = controller.rsv("-H web* restart app --deadline 5s").await;
    let out = "web[01-03]  (3)  app: stopped, started\n";
    assert_eq!(ran.result(), (out, 0), "{}", ran.err);
    assert_eq!(ran.err, "");
    let acts = controller.fake.acts();
    let last = acts.last().unwrap();
    assert_eq!(last.hosts.as_ref().unwrap().include, ["web*"]);
    assert_eq!(last.deadline.as_ref().unwrap().seconds, 5);
    assert!(!last.dry_run);
    let ran = controller.rsv("-H web* restart app -o json").await;
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["schema"], "rsv/restart/v1");
    assert_eq!(value["operation"], "01JDG7M2");
    assert_eq!(value["outcome"], "done");
    assert_eq!(value["targets"].as_array().unwrap().len(), 3);
    assert_eq!(value["targets"][0]["host"], "web01");
    assert_eq!(value["targets"][0]["detail"], "stopped, started");
}

#[tokio::test]
async fn joining_an_earlier_operation_is_said() {
    let controller = Controller::with(Answers {
        reached: reached(&["web01"]),
        results: vec![("app", done("web01"))],
        ..Default::default()
    })
    .await;
    for said in ["", "joined operation 01JDG7M2\n"] {
        let ran = controller.rsv("-H web01 restart app --id deploy-7").await;
        assert_eq!((ran.code, ran.err.as_str()), (0, said));
    }
}

#[tokio::test]
async fn a_missing_host_is_named_and_exits_11() {
    let controller = Controller::with(Answers {
        reached: reached(&["web01", "web02"]),
        results: vec![("app", done("web01")), ("app", unreachable("web02"))],
        ..Default::default()
    })
    .await;
    let ran = controller.rsv("-H web* --timeout 20s restart app").await;
    let out = "web01  (1)  app: stopped, started\n\
               web02  (1)  unreachable: no session since 12s\n";
    assert_eq!(ran.result(), (out, 11), "{}", ran.err);
}

#[tokio::test]
async fn reads_name_a_host_that_is_not_enrolled() {
    let controller = Controller::with(Answers {
        status: vec![
            host_status("web01", HostState::Connected, 0),
            HostStatus {
                host: "web09".into(),
                reason: "no host of this name is enrolled".into(),
                ..Default::default()
            },
        ],
        hosts: vec![Host {
            name: "web01".into(),
            state: HostState::Connected.into(),
            version: "1".into(),
            ..Default::default()
        }],
        missing: vec!["web09".into()],
        events: vec![WatchEventsResponse::default()],
        ..Default::default()
    })
    .await;
    let said = "rsv: warning: web09: no host of this name is enrolled\n";
    for (verb, code) in [
        ("status", 4),
        ("-o jsonl status", 4),
        ("-o name status", 4),
        ("pid", 10),
        ("version", 10),
        ("host ls", 10),
        ("-o name host ls", 10),
    ] {
        let ran = controller.rsv(&format!("-H web01,web09 {verb}")).await;
        assert_eq!((ran.code, ran.err.as_str()), (code, said), "{verb}");
    }
    let ran = controller.rsv("-H web01,web09 wait app").await;
    assert_eq!(ran.result(), ("web09 is not enrolled\n", 10), "{}", ran.err);
    let ran = controller.rsv("-H web01,web09 -o json host ls").await;
    let listed: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(listed["missing"], serde_json::json!(["web09"]));
}

#[tokio::test]
async fn a_name_that_no_host_has_is_no_empty_answer_of_pid() {
    let unmatched = |programs| HostStatus {
        programs,
        unmatched: vec![UnmatchedProgram {
            pattern: "nosuch".into(),
            refusal: Refusal::NoSuchProcess.into(),
        }],
        ..host_status("web01", HostState::Connected, 0)
    };
    let app = host_status("web01", HostState::Connected, 0).programs;
    for (line, programs, code) in [
        ("-A pid nosuch", vec![], 15),
        ("-A -o json pid nosuch", vec![], 15),
        ("-A events nosuch", vec![], 15),
        ("-A pid app nosuch", app, 10),
    ] {
        let controller = Controller::with(Answers {
            status: vec![unmatched(programs)],
            ..Default::default()
        })
        .await;
        let ran = controller.rsv(line).await;
        assert_eq!(ran.code, code, "{line}: {}", ran.err);
        let said = "no host has a program `nosuch`\n";
        assert!(ran.err.ends_with(said), "{line}: {}", ran.err);
    }
}

#[tokio::test]
async fn a_broken_stream_leaves_the_operation_and_its_name() {
    let controller = Controller::with(Answers {
        reached: reached(&["web01", "web02"]),
        results: vec![("app", done("web01"))],
        breaks_off: true,
        ..Default::default()
    })
    .await;
    let ran = controller.rsv("-H web* restart app").await;
    assert_eq!(ran.code, 13, "{}", ran.err);
    assert!(ran.out.contains("web01"), "{}", ran.out);
    assert!(ran.err.contains("01JDG7M2 goes on"), "{}", ran.err);
}

#[tokio::test]
async fn many_hosts_are_confirmed_or_counted() {
    let names: Vec<String> = (1..=21).map(|n| format!("web{n:02}")).collect();
    let results = names.iter().map(|name| ("app", done(name))).collect();
    let controller = Controller::with(Answers {
        reached: names,
        results,
        ..Default::default()
    })
    .await;
    let acted = || {
        controller
            .fake
            .acts()
            .iter()
            .filter(|act| !act.dry_run)
            .count()
    };
    for (line, code, acts) in [
        ("-A restart app", 17, 0),
        ("-A --expect 20 restart app", 16, 1),
        ("-A --expect 21 restart app", 0, 2),
        ("-A -y restart app", 0, 3),
        ("-H web01 restart app", 0, 4),
        ("-H web01 stop all", 17, 4),
        ("-A -n restart app", 0, 4),
    ] {
        let ran = controller.rsv(line).await;
        assert_eq!(
            (ran.code, acted()),
            (code, acts),
            "{line}: {}{}",
            ran.out,
            ran.err
        );
    }
    let config = controller.path().join("config");
    std::fs::write(&config, "[rsv]\nconfirm_above = 30\n").unwrap();
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = crate::run::rsv(&controller.path());
    command.env("RSV_CONFIG", &config);
    let words = ["--context", "./admin.context", "-A", "restart", "app"];
    let ran = crate::run::run(command, words).await;
    assert_eq!((ran.code, acted()), (0, 5), "{}", ran.err);
    for (text, place) in [
        (
            "[rsv]\nconfirm_abov = 30\n",
            ":2: [rsv] has no key `confirm_abov`\n",
        ),
        ("garbage\n", ":1: not a `key = value` line\n"),
    ] {
        std::fs::write(&config, text).unwrap();
        let mut command = crate::run::rsv(&controller.path());
        command.env("RSV_CONFIG", &config);
        let ran = crate::run::run(command, words).await;
        let said = format!("rsv: {}{place}", config.display());
        assert!(ran.err.starts_with(&said), "{}", ran.err);
        assert_eq!((ran.code, acted()), (2, 5), "{text:?}");
    }
    let ran = controller.rsv("-A restart app").await;
    assert!(ran.err.contains("--expect 21"), "{}", ran.err);
    let ran = controller.rsv("-A -n restart app").await;
    assert_eq!(ran.out, "would restart app on 21 hosts: web[01-21]\n");
}

#[tokio::test]
async fn a_dry_run_says_which_programs_of_which_hosts() {
    let target = |host: &str, program: &str| TargetResult {
        host: host.into(),
        program: program.into(),
        ..Default::default()
    };
    let controller = Controller::with(Answers {
        reached: reached(&["db1", "web1", "web2"]),
        accepted: Accepted {
            programs: vec!["web*::app".into(), "db*::pg".into()],
            targets: vec![
                target("db1", ""),
                target("web1", "app"),
                target("web2", "app"),
            ],
            ..Default::default()
        },
        ..Default::default()
    })
    .await;
    let line = "-A -n restart web*:app db*:pg";
    let ran = controller.rsv(line).await;
    let expected = "would restart web*::app db*::pg on 3 hosts: db1,web[1-2]\n\
                    db1       (1)  what it has of them: its programs are not known now\n\
                    web[1-2]  (2)  app\n";
    assert_eq!(ran.result(), (expected, 0), "{}", ran.err);
    let ran = controller
        .rsv("-o json -A -n restart web*:app db*:pg")
        .await;
    let plan: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(plan["targets"][0]["program"], serde_json::Value::Null);
    assert_eq!(plan["targets"][2]["host"], "web2");
    assert_eq!(plan["targets"][2]["program"], "app");
}

#[tokio::test]
async fn status_shows_silent_hosts_with_what_was_last_known() {
    let controller = Controller::with(Answers {
        status: vec![
            host_status("web01", HostState::Connected, 0),
            host_status("web02", HostState::Unreachable, 3 * 3600 + 12 * 60),
        ],
        ..Default::default()
    })
    .await;
    let ran = controller.rsv("-A status").await;
    assert_eq!(ran.code, 11, "{}", ran.err);
    assert!(
        ran.out.starts_with("PROBLEMS: 1 host unreachable\n"),
        "{}",
        ran.out
    );
    let silent: Vec<&str> = ran.out.lines().filter(|l| l.contains("web02")).collect();
    assert!(silent[0].contains("(3h12m ago)"), "{}", ran.out);
    assert!(silent[1].contains("RUNNING") && silent[1].contains("last known 3h12m ago"));
    let ran = controller.rsv("-A status -o json").await;
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["programs"][1]["reachable"], false);
    assert_eq!(value["programs"][1]["state"], "RUNNING");
    let uptime = value["programs"][1]["uptime_seconds"].as_u64().unwrap();
    assert!((59..=60).contains(&uptime), "{uptime}");
}

#[tokio::test]
async fn process_ids_of_silent_hosts_are_not_shown_as_if_they_were_true() {
    let controller = Controller::with(Answers {
        status: vec![
            host_status("web01", HostState::Connected, 0),
            host_status("web02", HostState::Unreachable, 192),
        ],
        ..Default::default()
    })
    .await;
    let ran = controller.rsv("-A pid app").await;
    let out = "HOST   PROGRAM  PID\nweb01  app      7\n";
    assert_eq!(ran.result(), (out, 11), "{}", ran.err);
    assert!(ran.err.contains("web02: unreachable"), "{}", ran.err);
}

#[tokio::test]
async fn hosts_are_listed_for_people_and_scripts() {
    let controller = Controller::with(Answers {
        hosts: vec![Host {
            name: "web01".into(),
            state: HostState::Connected.into(),
            last_seen: ago(1),
            version: "1.2.3".into(),
            programs_up: Some(1),
            programs_total: Some(2),
            ..Default::default()
        }],
        ..Default::default()
    })
    .await;
    let ran = controller.rsv("-A -o json host ls").await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let host = &value["hosts"][0];
    assert_eq!(host["state"], "connected");
    assert!(host["last_seen"].as_str().unwrap().ends_with('Z'));
    assert!(host["certificate_expires"].is_null());
    let ran = controller.rsv("host ls").await;
    assert!(ran.out.contains("web01  connected"), "{}", ran.out);
    let ran = controller.rsv("host show web01").await;
    let begins = "web01\n  state        connected\n";
    assert!(ran.code == 0 && ran.out.starts_with(begins), "{}", ran.out);
    let ran = controller.rsv("-A version").await;
    assert_eq!(ran.result(), ("web01  (1)  1.2.3\n", 0));
}

#[tokio::test]
async fn reads_keep_to_the_number_of_hosts_that_is_expected() {
    let controller = Controller::with(Answers {
        status: vec![host_status("web01", HostState::Connected, 0)],
        hosts: vec![Host {
            name: "web01".into(),
            state: HostState::Connected.into(),
            ..Default::default()
        }],
        ..Default::default()
    })
    .await;
    for verb in ["status", "version", "host ls", "tail app", "wait app"] {
        let ran = controller.rsv(&format!("-A --expect 3 {verb}")).await;
        assert_eq!(ran.result(), ("", 16), "{verb}: {}", ran.err);
        let said = "rsv: 1 host is selected, 3 were expected; nothing was done\n";
        assert_eq!(ran.err, said, "{verb}");
    }
    for verb in ["version", "host ls"] {
        let ran = controller.rsv(&format!("-A --expect 1 {verb}")).await;
        assert_eq!(ran.code, 0, "{verb}: {}", ran.err);
    }
}

#[tokio::test]
async fn the_version_of_a_host_that_is_away_is_what_it_was() {
    let host = |name: &str, state: HostState| Host {
        name: name.into(),
        state: state.into(),
        version: "1".into(),
        ..Default::default()
    };
    let controller = Controller::with(Answers {
        hosts: vec![
            host("web01", HostState::Connected),
            host("web02", HostState::Unreachable),
        ],
        ..Default::default()
    })
    .await;
    let ran = controller.rsv("-A version").await;
    let out = "web01  (1)  1\nweb02  (1)  1 when last seen\n";
    assert_eq!(ran.result(), (out, 11), "{}", ran.err);
    assert!(ran.err.contains("web02: unreachable"), "{}", ran.err);
    let ran = controller.rsv("-A -o json version").await;
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert!(value["agents"][0]["notice"].is_null());
    assert!(value["agents"][1]["notice"].is_string());
}

#[tokio::test]
async fn a_fleet_without_hosts_is_no_failure_of_the_list() {
    let controller = Controller::with(Answers::default()).await;
    let ran = controller.rsv("host ls").await;
    assert_eq!(ran.result(), ("", 0), "{}", ran.err);
    assert_eq!(controller.rsv("-H x* host ls").await.code, 15);
    assert_eq!(controller.rsv("host show x1").await.code, 15);
    assert_eq!(controller.rsv("host show").await.code, 2);
    assert_eq!(controller.rsv("-A status").await.code, 15);
    assert_eq!(controller.rsv("-H x1 restart app").await.code, 15);
}

#[tokio::test]
async fn a_revocation_has_to_be_confirmed_however_few_hosts_it_reaches() {
    let controller = Controller::with(Answers {
        reached: vec!["web01".into()],
        ..Default::default()
    })
    .await;
    let done = || {
        let revocations = controller.fake.revocations();
        revocations.iter().filter(|asked| !asked.dry_run).count()
    };
    for (line, code, n_done) in [
        ("host revoke web01", 17, 0),
        ("-n host revoke web01", 0, 0),
        ("host revoke", 2, 0),
        ("--expect 1 host revoke web01 --reason lost", 0, 1),
        ("-y host revoke web01", 0, 2),
    ] {
        let ran = controller.rsv(line).await;
        assert_eq!((ran.code, done()), (code, n_done), "{line}: {}", ran.err);
    }
    assert_eq!(controller.fake.revocations()[2].reason, "lost");
    let ran = controller.rsv("host rm web01").await;
    assert_eq!(ran.result(), ("web01  (1)  removed\n", 0), "{}", ran.err);
}

#[tokio::test]
async fn a_bad_label_is_wrong_usage_and_says_what_is_accepted() {
    let controller = Controller::with(Answers {
        reached: vec!["web01".into()],
        ..Default::default()
    })
    .await;
    let ran = controller.rsv("host label web01 role=web").await;
    assert_eq!(ran.result(), ("web01  (1)  labelled\n", 0), "{}", ran.err);
    for line in [
        "host label web01",
        "host label web01 ro$e=x",
        "host label role=web",
    ] {
        assert_eq!(controller.rsv(line).await.code, 2, "{line}");
    }
    let ran = controller.rsv("host label web01 ro$e=x").await;
    for words in ["not a valid label: 'ro$e=x'", "KEY=VALUE"] {
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
    }
}

#[tokio::test]
async fn a_token_is_the_last_line() {
    let controller = Controller::with(Answers::default()).await;
    let line = "token create --host web01 --ttl 10m --uses 2 --label role=web,dc=fra --label x=y";
    let ran = controller.rsv(line).await;
    assert_eq!(ran.result(), ("rsv1.token\n", 0), "{}", ran.err);
    let token = controller.fake.tokens().pop().unwrap();
    assert_eq!((token.host.as_str(), token.uses), ("web01", 2));
    assert_eq!(token.ttl.unwrap().seconds, 600);
    assert_eq!(token.labels.len(), 3);
    assert_eq!(controller.rsv("token create").await.code, 2);
}

#[tokio::test]
async fn refusals_of_the_controller_have_their_codes() {
    for (status, code) in [
        (Status::permission_denied("no rule allows this"), 14),
        (Status::not_found("no enrolled host matches `x`"), 15),
        (Status::unimplemented("not here"), 5),
        (Status::invalid_argument("wrong"), 2),
        (Status::resource_exhausted("busy"), 1),
    ] {
        let text = status.message().to_owned();
        let controller = Controller::with(Answers {
            refusal: Some(status),
            ..Default::default()
        })
        .await;
        let ran = controller.rsv("host ls").await;
        assert_eq!(ran.result(), ("", code), "{text}: {}", ran.err);
        assert!(
            ran.err.starts_with(&format!("rsv: {text}\n")),
            "{}",
            ran.err
        );
    }
}

#[tokio::test]
async fn certificates_that_are_not_accepted_are_explained() {
    let controller = Controller::with(Answers::default()).await;
    controller.write_context("over.context", controller.root.credentials(true));
    let mut foreign = Root::new().credentials(false);
    // It trusts the controller, and the controller does not trust it.
    foreign.root = controller.root.credentials(false).root;
    controller.write_context("foreign.context", foreign);
    controller.write_context("other.context", Root::new().credentials(false));
    for (context, code, words) in [
        ("over.context", 14, "your certificate"),
        ("foreign.context", 14, "your certificate"),
        ("other.context", 4, "no trusted connection"),
    ] {
        for _ in 0..5 {
            let ran = controller.rsv_as(context, "host ls").await;
            assert_eq!(ran.code, code, "{context}: {}", ran.err);
            assert!(ran.err.contains(words), "{context}: {}", ran.err);
            assert!(ran.err.contains("hint: "), "{context}: {}", ran.err);
        }
    }
}

#[tokio::test]
async fn a_certificate_that_names_nobody_is_explained_in_one_line() {
    let controller = Controller::with(Answers::default()).await;
    let (address, refusing) = refusing(&controller.root).await;
    for _ in 0..5 {
        let line = format!("--controller {address} host ls");
        let ran = controller.rsv(&line).await;
        assert_eq!(ran.code, 14, "{}", ran.err);
        let words = format!(
            "rsv: controller `{address}` does not accept your certificate: the certificate has 0 \
             names"
        );
        assert!(ran.err.starts_with(&words), "{}", ran.err);
        assert_eq!(ran.err.lines().count(), 2, "{}", ran.err);
    }
    refusing.abort();
}

#[tokio::test]
async fn a_controller_that_is_not_there_is_said_with_a_hint() {
    let controller = Controller::with(Answers::default()).await;
    let ran = controller.rsv("--controller localhost:1 host ls").await;
    assert_eq!(ran.code, 4, "{}", ran.err);
    let words = "rsv: cannot connect to localhost:1: connection refused\n";
    assert!(
        ran.err.starts_with(words) && ran.err.contains("hint: "),
        "{}",
        ran.err
    );
    let ran = controller.rsv("--controller nonsense host ls").await;
    assert_eq!(ran.code, 2, "{}", ran.err);
}

#[tokio::test]
async fn what_only_this_machine_can_do_is_refused_for_the_fleet() {
    let controller = Controller::with(Answers::default()).await;
    for line in [
        "-A shutdown web",
        "-A restart",
        "-A signal HUP",
        "-A signal BAD app",
        "-A tail",
    ] {
        let ran = controller.rsv(line).await;
        assert_eq!(ran.result(), ("", 2), "{line}: {}", ran.err);
        assert!(ran.err.starts_with("rsv: "), "{line}: {}", ran.err);
    }
}

#[tokio::test]
async fn events_are_lines_and_what_is_lost_is_said() {
    let link = HostChanged {
        state: HostState::Unreachable.into(),
        reason: "silent for 15s".into(),
    };
    let event = rsv_proto::wire::Event {
        seq: 41,
        host: "web02".into(),
        what: Some(What::Link(link)),
        ..Default::default()
    };
    let controller = Controller::with(Answers {
        events: vec![WatchEventsResponse {
            events: vec![event],
            lost: 3,
            next: 42,
        }],
        ..Default::default()
    })
    .await;
    let ran = controller
        .rsv("-H web* events --from 38 --type host app")
        .await;
    assert_eq!(
        ran.result(),
        ("41  -  web02  unreachable  silent for 15s\n", 0)
    );
    assert!(ran.err.contains("not kept any more"), "{}", ran.err);
    let asked = &controller.fake.watches()[0];
    assert_eq!(asked.hosts.as_ref().unwrap().include, ["web*"]);
    assert_eq!(asked.begin, Some(Begin::From(38)));
    assert_eq!(asked.programs, ["app"]);

    let ran = controller.rsv("-A -o json events").await;
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&value["seq"], &value["kind"]),
        (&41.into(), &"host".into())
    );
    let ran = controller.rsv("-A events --type sideways").await;
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("running, exited, fatal"), "{}", ran.err);
}

pub(crate) fn operation(state: OperationState) -> Operation {
    Operation {
        id: "01JDG7M2".into(),
        state: state.into(),
        actor: "operator/admin".into(),
        programs: vec!["app".into()],
        hosts: 3,
        batch: 1,
        batches: 3,
        ..Default::default()
    }
}
