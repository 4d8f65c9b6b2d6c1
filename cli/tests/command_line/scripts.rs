//! `-o json`: every verb has a form for scripts, or refuses to have one and says so.

use std::collections::BTreeSet;

use rsv_proto::wire::{
    Event, HostState, OperationState, Outcome, TailMainLogResponse, TailResponse, TargetResult,
    WatchEventsResponse,
    tail_response::{Chunk, End, Event as Said, Gap},
};
use serde_json::Value;

use crate::{
    agent::Agent,
    controller::Controller,
    fake::Answers,
    fleet::{host_status, operation},
    run::Ran,
};

/// Who is asked.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Agent,
    Controller,
}

use Asked::{Agent as Here, Controller as There};

/// A line for each verb; several where it goes different ways.
const LINES: [(&str, Asked, &str); 63] = [
    ("status", Here, "status"),
    ("status", There, "-A status"),
    ("start", Here, "start app"),
    ("start", There, "-A start app"),
    ("stop", Here, "stop app"),
    ("stop", There, "-A stop app"),
    ("restart", Here, "restart app"),
    ("restart", There, "-A restart app"),
    ("enable", There, "-A enable app"),
    ("disable", There, "-A disable app"),
    ("signal", Here, "signal HUP app"),
    ("signal", There, "-A signal HUP app"),
    ("pid", Here, "pid app"),
    ("pid", There, "-A pid app"),
    ("tail", Here, "tail app"),
    ("tail", Here, "tail -f app"),
    ("tail", There, "-H web01 tail app"),
    ("tail", There, "-H web01 tail -f app"),
    ("clear", Here, "clear app"),
    ("clear", There, "-A clear app"),
    ("maintail", Here, "maintail"),
    ("maintail", Here, "maintail -f"),
    ("maintail", There, "-H web01 maintail"),
    ("maintail", There, "-H web01 maintail -f"),
    ("reread", Here, "reread"),
    ("reread", There, "-A reread"),
    ("update", Here, "update"),
    ("update", There, "-A update"),
    ("add", Here, "add app"),
    ("add", There, "-A add app"),
    ("remove", Here, "remove app"),
    ("remove", There, "-A remove app"),
    ("avail", Here, "avail"),
    ("avail", There, "-A avail"),
    ("reload", Here, "reload"),
    ("reload", There, "-A -y reload"),
    ("version", Here, "version"),
    ("version", There, "-A version"),
    ("fg", Here, "fg app"),
    ("open", Here, "open http://127.0.0.1:1"),
    ("shutdown", Here, "shutdown"),
    ("shutdown", There, "-A -y shutdown"),
    ("events", Here, "events"),
    ("events", There, "-A events"),
    ("wait", Here, "wait app"),
    ("wait", There, "-A wait app"),
    ("top", Here, "top"),
    ("host ls", There, "host ls"),
    ("host show", There, "host show web01"),
    ("host drain", There, "host drain web01"),
    ("host resume", There, "host resume web01"),
    ("host label", There, "host label web01 role=web"),
    ("host revoke", There, "--yes host revoke web01"),
    ("host rm", There, "host rm web01"),
    ("op ls", There, "op ls"),
    ("op show", There, "op show 01JDG7M2"),
    ("op watch", There, "op watch 01JDG7M2"),
    ("op pause", There, "op pause 01JDG7M2"),
    ("op resume", There, "op resume 01JDG7M2"),
    ("op cancel", There, "op cancel 01JDG7M2"),
    ("op retry", There, "op retry 01JDG7M2"),
    ("token create", There, "token create --host web04"),
    ("ctx import", There, "ctx import admin.context"),
];

/// Those that need neither.
const ALONE: [(&str, &str); 6] = [
    ("ctx ls", "ctx ls"),
    ("ctx use", "ctx use admin"),
    ("import", "import s.conf"),
    ("completion", "completion bash"),
    ("man", "man pages"),
    ("help", "help restart"),
];

fn said(event: Said) -> TailResponse {
    TailResponse {
        program: "app".into(),
        event: Some(event),
        ..Default::default()
    }
}

fn chunk(data: &[u8]) -> TailResponse {
    said(Said::Chunk(Chunk {
        at: None,
        data: data.to_vec(),
        live: false,
    }))
}

fn answers() -> Answers {
    let done = |host: &str| TargetResult {
        host: host.into(),
        program: "app".into(),
        outcome: Outcome::Done.into(),
        ..Default::default()
    };
    Answers {
        status: vec![host_status("web01", HostState::Connected, 0)],
        reached: vec!["web01".into()],
        results: vec![("app", done("web01"))],
        operations: vec![operation(OperationState::Paused)],
        cleared: vec![("app", done(""))],
        tail: vec![
            chunk(b"one\ntw"),
            chunk(b"o\n"),
            said(Said::End(End::default())),
        ],
        main_log: vec![TailMainLogResponse {
            data: b"one\n".to_vec(),
            truncated: false,
        }],
        events: vec![WatchEventsResponse {
            events: vec![Event::default()],
            ..Default::default()
        }],
        hosts: vec![rsv_proto::wire::Host {
            name: "web01".into(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn objects(ran: &Ran, line: &str) -> Vec<Value> {
    let lines = ran
        .out
        .lines()
        .map(|text| match serde_json::from_str(text) {
            Ok(Value::Object(object)) => Value::Object(object),
            other => panic!("{line}: {text}: {other:?}"),
        });
    lines.collect()
}

/// Holds what a verb prints against what `help` says of it.
fn check(verb: &Value, line: &str, ran: &Ran) {
    let name = verb["verb"].as_str().unwrap();
    let schema = format!("rsv/{}/v1", name.replace(' ', "-"));
    let told = objects(ran, line);
    let is_refused = verb["json"] == "refused";
    match verb["json"].as_str().unwrap() {
        "refused" => {
            assert_eq!(ran.result(), ("", 2), "{line}: {}", ran.err);
            let words = format!("rsv: `{name}` has no form for scripts\nhint: ");
            assert!(ran.err.starts_with(&words), "{line}: {}", ran.err);
        }
        "object" => assert_eq!(told.len(), 1, "{line}: {ran:?}"),
        "pieces" => assert!(!told.is_empty(), "{line}: {ran:?}"),
        other => panic!("{other}"),
    }
    for object in told {
        assert_eq!(object["schema"], schema, "{line}: {}", ran.out);
    }
    // The hosts here have nothing to tell of what is read again.
    let is_fine = ran.code == 0 || ran.code == 15 && line.starts_with("-A ");
    assert!(is_refused || is_fine, "{line}: {ran:?}");
}

#[tokio::test]
async fn every_verb_has_a_form_for_scripts_or_says_that_it_has_none() {
    let here = Agent::with(answers());
    let there = Controller::with(answers()).await;
    let help = here.rsv("-o json help").await;
    let help: Value = serde_json::from_str(&help.out).unwrap();
    assert_eq!(help["schema"], "rsv/help/v1");
    let verbs = help["verbs"].as_array().unwrap();
    let find = |name: &str| verbs.iter().find(|verb| verb["verb"] == name);
    let mut tried = BTreeSet::new();
    for (name, asked, line) in LINES {
        let ran = match asked {
            Here => here.rsv(&format!("-o json {line}")).await,
            There => there.rsv(&format!("-o json {line}")).await,
        };
        check(find(name).unwrap(), line, &ran);
        tried.insert(name);
    }
    // What `ctx import` has installed is there for the rest.
    std::fs::write(there.path().join("s.conf"), "[supervisord]\n[agent]\n").unwrap();
    for (name, line) in ALONE {
        let ran = there.rsv(&format!("-o json {line}")).await;
        check(find(name).unwrap(), line, &ran);
        tried.insert(name);
    }
    let known: BTreeSet<&str> = verbs.iter().map(|v| v["verb"].as_str().unwrap()).collect();
    assert_eq!(known, tried);
}

#[tokio::test]
async fn the_help_of_a_verb_without_a_form_for_scripts_says_so() {
    let agent = Agent::absent();
    let help = agent.rsv("-o json help").await;
    let help: Value = serde_json::from_str(&help.out).unwrap();
    for verb in help["verbs"].as_array().unwrap() {
        let page = agent
            .rsv(&format!("help {}", verb["verb"].as_str().unwrap()))
            .await;
        let words: Vec<&str> = page.out.split_whitespace().collect();
        let says_so = words.join(" ").contains("-o json is refused");
        assert_eq!(says_so, verb["json"] == "refused", "{}", page.out);
    }
    let one = agent.rsv("-o json help host").await;
    let one: Value = serde_json::from_str(&one.out).unwrap();
    assert_eq!(one["verb"], "host");
    assert_eq!(one["verbs"][0]["verb"], "host ls");
}

#[tokio::test]
async fn what_is_for_people_alone_is_refused_whatever_stands_beside_it() {
    let agent = Agent::with(answers());
    for (line, words) in [
        ("-o json", "a prompt has no form for scripts"),
        ("-o jsonl", "a prompt has no form for scripts"),
        ("-o jsonl top", "`top` has no form for scripts"),
        ("fg -o json", "`fg` has no form for scripts"),
        (
            "-o json quit",
            "`quit` ends a prompt, which has no form for scripts",
        ),
        ("-o json help nothing", "no verb `nothing`"),
    ] {
        let ran = agent.rsv(line).await;
        assert_eq!(ran.result(), ("", 2), "{line}");
        assert!(ran.err.contains(words), "{line}: {}", ran.err);
    }
    for line in [
        "clear",
        "reread x",
        "avail x",
        "reload x",
        "maintail x",
        "tail",
    ] {
        let ran = agent.rsv(&format!("-o json {line}")).await;
        assert_eq!(ran.result(), ("", 1), "{line}");
        assert!(ran.err.starts_with("rsv: "), "{line}: {}", ran.err);
    }
}

#[tokio::test]
async fn a_log_is_one_object_and_a_followed_one_goes_by_pieces() {
    let gap = said(Said::Gap(Gap {
        bytes: Some(5),
        reason: "rotated away".into(),
        ..Default::default()
    }));
    let agent = Agent::with(Answers {
        tail: vec![
            chunk(b"one \xc3"),
            chunk(b"\xa9\n"),
            gap,
            said(Said::End(End::default())),
        ],
        ..Default::default()
    });
    let told = |ran: &Ran| -> Vec<String> {
        let objects = objects(ran, "tail").into_iter();
        let told = objects.map(|o| o.get("text").or(o.get("gap")).unwrap().to_string());
        told.collect()
    };
    let lost = "{\"bytes\":5,\"reason\":\"rotated away\"}";
    let ran = agent.rsv("-o json tail app").await;
    assert_eq!(told(&ran), ["\"one é\\n\"", lost]);
    let ran = agent.rsv("-o json tail -f app").await;
    assert_eq!(told(&ran), ["\"one \"", "\"é\\n\"", lost]);
    let silent = Agent::with(Answers {
        tail: vec![said(Said::End(End::default()))],
        ..Default::default()
    });
    assert_eq!(told(&silent.rsv("-o json tail app").await), ["\"\""]);
}

#[tokio::test]
async fn names_without_a_program_are_told_in_json() {
    let agent = Agent::with(answers());
    let ran = agent.rsv("-o json pid app nope").await;
    let told: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&told["unmatched"][0], ran.code), (&Value::from("nope"), 1));
}
