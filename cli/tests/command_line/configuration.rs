//! The verbs about the configuration of this machine: supervisorctl's text and exit codes.

use rsv_proto::wire::{
    AvailableProcess, ConfigurationRefusal, GroupOutcome, ListAvailableResponse, Outcome,
    PlannedGroup, PlannedProcess, Refusal, RefusedSection, ReloadResponse, RereadResponse,
    ShutdownResponse, TailMainLogResponse, TargetResult, UpdateResponse, planned_group,
    planned_process,
    update_response::{Event, ShuttingDown, Updated},
};

use crate::{agent::Agent, fake::Answers};

fn group(name: &str, kind: planned_group::Kind) -> PlannedGroup {
    PlannedGroup {
        name: name.into(),
        kind: kind.into(),
        ..Default::default()
    }
}

fn changed(name: &str, kind: planned_process::Kind, keys: &[&str]) -> PlannedGroup {
    PlannedGroup {
        processes: vec![PlannedProcess {
            name: name.into(),
            kind: kind.into(),
            keys: keys.iter().map(ToString::to_string).collect(),
        }],
        ..group(name, planned_group::Kind::Changed)
    }
}

/// As the agent gives it: removed, changed, added.
fn plan() -> RereadResponse {
    RereadResponse {
        groups: vec![
            group("gone", planned_group::Kind::Removed),
            changed("chg", planned_process::Kind::Restarted, &["command"]),
            changed("app", planned_process::Kind::Live, &["autorestart"]),
            group("new", planned_group::Kind::Added),
        ],
        ..Default::default()
    }
}

fn refusal() -> ConfigurationRefusal {
    ConfigurationRefusal {
        text: "program section program:x does not specify a command in section 'program:x' (file: \
               'a.conf')"
            .into(),
        file: "a.conf".into(),
        line: 3,
        problems: vec!["a.conf:3: [program:x]: no command".into()],
    }
}

async fn agent(answers: Answers) -> Agent {
    Agent::with(answers)
}

async fn check(agent: &Agent, line: &str, out: &str, code: i32) {
    let ran = agent.rsv(line).await;
    assert_eq!(ran.result(), (out, code), "{line}: {}", ran.err);
    assert_eq!(ran.err, "", "{line}");
}

#[tokio::test]
async fn reread_lists_groups_by_name_and_says_more_when_asked() {
    let agent = agent(Answers {
        reread: plan(),
        ..Default::default()
    })
    .await;
    let short = "app: changed\nchg: changed\ngone: disappeared\nnew: available\n";
    check(&agent, "reread", short, 0).await;
    let long = "gone: removed\nchg: changed, restarted: command\n\
                app: changed, nothing restarted: autorestart\nnew: added\n";
    check(&agent, "reread --diff", long, 0).await;
    check(&agent, "update --dry-run", long, 18).await;
    check(&agent, "update --dry-run new", "new: added\n", 18).await;
    check(&agent, "update --dry-run other", "", 0).await;
    let ran = agent.rsv("reread x").await;
    assert!(ran.out.starts_with("Error: reread accepts no arguments\n"));
    assert_eq!(ran.code, 1);
}

#[tokio::test]
async fn nothing_to_do_is_said_by_reread_and_not_by_update() {
    let agent = agent(Answers::default()).await;
    check(&agent, "reread", "No config updates to processes\n", 0).await;
    check(&agent, "update", "", 0).await;
    check(&agent, "update --dry-run", "", 0).await;
}

#[tokio::test]
async fn a_refused_configuration_is_told_in_supervisorctls_ways() {
    let answers = Answers {
        reread: RereadResponse {
            refusal: Some(refusal()),
            ..Default::default()
        },
        reload: ReloadResponse {
            refusal: Some(refusal()),
            ..Default::default()
        },
        update: vec![UpdateResponse {
            event: Some(Event::Refused(refusal())),
        }],
        ..Default::default()
    };
    let agent = agent(answers).await;
    let text = refusal().text;
    let clean = format!("ERROR: CANT_REREAD: {text}\n");
    check(&agent, "reread", &clean, 1).await;
    check(&agent, "reload", &clean, 1).await;
    let raw = format!(
        "error: <class 'xmlrpc.client.Fault'>, <Fault 92: \"CANT_REREAD: {text}\">: file: a.conf \
         line: 3\n"
    );
    check(&agent, "update", &raw, 1).await;
    let ran = agent.rsv("-o json reread").await;
    let object: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(object["schema"], "rsv/reread/v1");
    assert_eq!(object["error"]["line"], 3);
    assert_eq!(ran.code, 1);
}

#[tokio::test]
async fn update_says_each_step_and_what_was_left_alone() {
    let live = changed("app", planned_process::Kind::Live, &["autorestart"]);
    let whole = changed("chg", planned_process::Kind::Restarted, &["command"]);
    let updated = |group, unchanged| {
        Event::Updated(Updated {
            group: Some(group),
            unchanged,
        })
    };
    let events = vec![
        Event::NoSuchGroup("nope".into()),
        Event::Stopped("gone".into()),
        Event::Removed("gone".into()),
        Event::Stopped("stuck".into()),
        Event::Problems("stuck".into()),
        Event::Stopped("chg".into()),
        updated(whole, 0),
        updated(live, 0),
        Event::Added("new".into()),
        Event::RefusedSection(RefusedSection {
            group: "bad".into(),
            name: "bad".into(),
            reason: "no command".into(),
        }),
        Event::ShuttingDown(ShuttingDown {}),
    ];
    let update = events.into_iter();
    let update = update.map(|event| UpdateResponse { event: Some(event) });
    let agent = agent(Answers {
        update: update.collect(),
        ..Default::default()
    })
    .await;
    let out = "ERROR: no such group: nope\ngone: stopped\ngone: removed process group\n\
               stuck: stopped\nstuck: has problems; not removing\nchg: stopped\n\
               chg: updated process group\n\
               app: updated process group (nothing restarted: autorestart)\n\
               new: added process group\nbad: ERROR (no command)\nERROR: already shutting down\n";
    check(&agent, "update all", out, 1).await;
    let asked = agent.fake.updates();
    assert_eq!(asked[0].groups, ["all"]);
    let ran = agent.rsv("-o json update").await;
    let object: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(object["outcome"], "failed");
    assert_eq!(object["groups"][3]["group"], "chg");
    assert_eq!(object["groups"][3]["outcome"], "updated");
    assert_eq!(object["groups"][4]["processes"][0]["change"], "live");
}

#[tokio::test]
async fn add_and_remove_have_supervisorctls_lines_and_codes() {
    let agent = agent(Answers {
        groups: vec![
            ("active", GroupOutcome::AlreadyActive),
            ("nope", GroupOutcome::NoSuchGroup),
            ("runs", GroupOutcome::StillRunning),
            ("late", GroupOutcome::ShuttingDown),
        ],
        ..Default::default()
    })
    .await;
    for (line, out, code) in [
        (
            "add a b",
            "a: added process group\nb: added process group\n",
            0,
        ),
        ("add active", "ERROR: process group already active\n", 0),
        ("add nope", "ERROR: no such process/group: nope\n", 1),
        ("add late", "ERROR: shutting down\n", 1),
        ("add", "", 0),
        ("remove a", "a: removed process group\n", 0),
        (
            "remove runs",
            "ERROR: process/group still running: runs\n",
            1,
        ),
        ("remove nope", "ERROR: no such process/group: nope\n", 1),
    ] {
        check(&agent, line, out, code).await;
    }
}

#[tokio::test]
async fn available_processes_are_listed_in_supervisorctls_columns() {
    let process = |name: &str, in_use, autostart| AvailableProcess {
        group: name.into(),
        name: name.into(),
        in_use,
        autostart,
        group_priority: 999,
        priority: 999,
    };
    let agent = agent(Answers {
        available: ListAvailableResponse {
            processes: vec![process("man", false, false), process("up", true, true)],
        },
        ..Default::default()
    })
    .await;
    let out = "man                              avail     manual    999:999\n\
               up                               in use    auto      999:999\n";
    check(&agent, "avail", out, 0).await;
    let ran = agent.rsv("-o json avail").await;
    let object: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(object["programs"][1]["in_use"], true);
}

#[tokio::test]
async fn clear_answers_for_each_name() {
    let result = |program: &str, refusal: Refusal| TargetResult {
        program: program.into(),
        outcome: match refusal {
            Refusal::Unspecified => Outcome::Done,
            _ => Outcome::Failed,
        }
        .into(),
        refusal: refusal.into(),
        ..Default::default()
    };
    let agent = agent(Answers {
        cleared: vec![
            ("app", result("app", Refusal::Unspecified)),
            ("web:*", result("web:app_00", Refusal::Unspecified)),
            ("nope", result("nope", Refusal::NoSuchProcess)),
            ("g:*", result("g:*", Refusal::NoSuchGroup)),
            ("bad", result("bad", Refusal::Other)),
        ],
        ..Default::default()
    })
    .await;
    for (line, out, code) in [
        ("clear app web:*", "app: cleared\nweb:app_00: cleared\n", 0),
        (
            "clear nope app",
            "nope: ERROR (no such process)\napp: cleared\n",
            1,
        ),
        ("clear g:*", "g: ERROR (no such group)\n", 1),
        ("clear bad", "bad: ERROR (failed)\n", 1),
    ] {
        check(&agent, line, out, code).await;
    }
    let ran = agent.rsv("clear").await;
    assert!(
        ran.out
            .starts_with("Error: clear requires a process name\n")
    );
    assert_eq!(ran.code, 1);
}

#[tokio::test]
async fn the_main_log_is_shown_and_a_missing_one_is_said() {
    let piece = |data: &str, truncated| TailMainLogResponse {
        data: data.into(),
        truncated,
    };
    let with_log = agent(Answers {
        main_log: vec![
            piece("", false),
            piece("one\n", false),
            piece("two\n", false),
        ],
        ..Default::default()
    })
    .await;
    check(&with_log, "maintail", "one\ntwo\n\n", 0).await;
    check(&with_log, "maintail x", "Error: bad argument x\n", 1).await;
    let both = "Error: -5 beside --lines or --since\n";
    check(&with_log, "maintail -5 --lines 1", both, 1).await;
    let out = "==> Press Ctrl-C to exit <==\none\ntwo\n";
    check(&with_log, "maintail -f", out, 0).await;
    let without = agent(Answers::default()).await;
    check(
        &without,
        "maintail",
        "supervisord: ERROR (no log file)\n",
        1,
    )
    .await;
}

#[tokio::test]
async fn reload_is_answered_when_it_has_begun() {
    let begun = agent(Answers::default()).await;
    check(&begun, "reload", "Restarted supervisord\n", 0).await;
    let late = agent(Answers {
        reload: ReloadResponse {
            shutting_down: true,
            ..Default::default()
        },
        ..Default::default()
    })
    .await;
    check(&late, "reload", "ERROR: already shutting down\n", 1).await;
}

#[tokio::test]
async fn a_shutdown_that_has_begun_already_is_no_failure() {
    let late = agent(Answers {
        shutdown: ShutdownResponse {
            shutting_down: true,
        },
        ..Default::default()
    })
    .await;
    check(&late, "shutdown", "ERROR: already shutting down\n", 0).await;
    let scripts = late.rsv("-o json shutdown").await;
    assert_eq!(scripts.code, 0, "{}", scripts.err);
    assert!(scripts.out.contains("\"shutting_down\""), "{}", scripts.out);
}

#[tokio::test]
async fn an_older_configuration_is_told_beside_the_status_and_in_the_version() {
    let notice = "running the configuration of 2026-01-01 10:00:00: a.conf:3: no command";
    let agent = agent(Answers {
        notice: notice.into(),
        status: vec![Default::default()],
        ..Default::default()
    })
    .await;
    let ran = agent.rsv("status").await;
    assert_eq!(ran.result(), ("", 0));
    assert_eq!(ran.err, format!("rsv: warning: {notice}\n"));
    let ran = agent.rsv("-o json version").await;
    let object: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(object["agents"][0]["notice"], notice);
}

#[tokio::test]
async fn a_whole_agent_has_no_names() {
    let agent = agent(Answers::default()).await;
    for verb in ["reload", "shutdown"] {
        let ran = agent.rsv(&format!("-H web1 {verb} app")).await;
        assert_eq!((ran.out.as_str(), ran.code), ("", 2));
        assert!(ran.err.contains("not about `app`"), "{}", ran.err);
    }
}

#[tokio::test]
async fn batches_of_an_update_are_for_hosts_of_a_fleet() {
    let agent = agent(Answers::default()).await;
    let ran = agent.rsv("update --batch 1").await;
    assert_eq!((ran.out.as_str(), ran.code), ("", 2));
    assert!(ran.err.contains("for many hosts"), "{}", ran.err);
}
