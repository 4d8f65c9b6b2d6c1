//! The verbs on this machine: supervisorctl's text and exit codes.

use std::time::{Duration, SystemTime};

use rsv_proto::{
    time::to_wire,
    wire::{
        Cursor, ExitStatus, HostStatus, Outcome, ProcessState, ProcessStatus, Refusal, Step,
        TailResponse, TargetResult, UnmatchedProgram,
        exit_status::Kind,
        tail_response::{Chunk, End, Event, Gap},
    },
};

use crate::{agent::Agent, fake::Answers};

fn process(group: &str, name: &str, state: ProcessState, pid: Option<u32>) -> ProcessStatus {
    let started = SystemTime::now() - Duration::from_secs(3600);
    ProcessStatus {
        group: group.into(),
        name: name.into(),
        state: state.into(),
        pid,
        started_at: pid.map(|_| to_wire(started)),
        ..Default::default()
    }
}

fn status(processes: Vec<ProcessStatus>) -> Answers {
    Answers {
        status: vec![HostStatus {
            programs: processes,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn result(program: &str, refusal: Refusal, steps: &[Step]) -> TargetResult {
    let outcome = match refusal {
        Refusal::Unspecified => Outcome::Done,
        _ => Outcome::Failed,
    };
    TargetResult {
        program: program.into(),
        outcome: outcome.into(),
        refusal: refusal.into(),
        steps: steps.iter().map(|step| (*step).into()).collect(),
        ..Default::default()
    }
}

#[tokio::test]
async fn without_a_socket_the_configured_url_is_named() {
    let agent = Agent::absent();
    let url = agent.url();
    let missing = format!("{url} no such file\n");
    for (line, out, code) in [
        ("status", missing.clone(), 4),
        ("start app", missing.clone(), 7),
        ("stop app", missing.clone(), 7),
        ("restart app", missing.clone(), 7),
        ("signal HUP app", missing.clone(), 7),
        ("signal", missing.clone(), 7),
        ("pid", missing.clone(), 7),
        ("tail", missing.clone(), 7),
        ("version", missing.clone(), 7),
        (
            "shutdown",
            format!("ERROR: {url} no such file (already shut down?)\n"),
            1,
        ),
    ] {
        let ran = agent.rsv(line).await;
        assert_eq!(ran.result(), (out.as_str(), code), "{line}: {}", ran.err);
        assert_eq!(ran.err, "", "{line}");
    }
}

#[tokio::test]
async fn a_socket_that_is_left_over_refuses() {
    let agent = Agent::absent();
    drop(std::os::unix::net::UnixListener::bind(agent.socket()).unwrap());
    let url = agent.url();
    for (line, out, code) in [
        ("status", format!("{url} refused connection\n"), 4),
        ("pid", format!("{url} refused connection\n"), 4),
        (
            "shutdown",
            format!("ERROR: {url} refused connection (already shut down?)\n"),
            1,
        ),
    ] {
        let ran = agent.rsv(line).await;
        assert_eq!(ran.result(), (out.as_str(), code), "{line}");
    }
}

#[tokio::test]
async fn status_has_supervisorctls_lines_and_codes() {
    let agent = Agent::with(status(vec![
        process("grp", "grp_00", ProcessState::Running, Some(7)),
        process("off", "off", ProcessState::Stopped, None),
        process("up", "up", ProcessState::Running, Some(8)),
    ]));
    let grp = "grp:grp_00                       RUNNING   pid 7, uptime 1:0";
    let off = "off                              STOPPED   Not started\n";
    let up = "up                               RUNNING   pid 8, uptime 1:0";
    let all = agent.rsv("status").await;
    assert_eq!(all.code, 3);
    let lines: Vec<&str> = all.out.lines().collect();
    assert!(
        lines[0].starts_with(grp) && lines[2].starts_with(up),
        "{}",
        all.out
    );
    assert_eq!(format!("{}\n", lines[1]), off);
    for (line, code) in [("status up", 0), ("status grp:*", 0), ("status all", 3)] {
        assert_eq!(agent.rsv(line).await.code, code, "{line}");
    }
    let unknown = agent.rsv("status nope off").await;
    let expected = format!("nope: ERROR (no such process)\n{off}");
    assert_eq!(unknown.result(), (expected.as_str(), 3));
    let group = agent.rsv("status nope:*").await;
    assert_eq!(group.result(), ("nope: ERROR (no such group)\n", 4));
}

#[tokio::test]
async fn names_are_acted_on_one_after_the_other() {
    let none = Refusal::Unspecified;
    let agent = Agent::with(Answers {
        results: vec![
            ("a", result("a", none, &[Step::Started])),
            ("b", result("b", Refusal::AlreadyStarted, &[])),
            ("nope", result("nope", Refusal::NoSuchProcess, &[])),
            ("g:*", result("g:*", Refusal::NoSuchGroup, &[])),
            ("c", result("c", Refusal::SpawnError, &[])),
            ("all", result("a", none, &[Step::Started])),
            ("all", result("b", Refusal::AlreadyStarted, &[])),
        ],
        ..Default::default()
    });
    for (line, out, code) in [
        ("start a b", "a: started\nb: ERROR (already started)\n", 0),
        (
            "start c nope",
            "c: ERROR (spawn error)\nnope: ERROR (no such process)\n",
            1,
        ),
        (
            "start nope c a",
            "nope: ERROR (no such process)\nc: ERROR (spawn error)\na: started\n",
            7,
        ),
        ("start g:*", "g: ERROR (no such group)\n", 2),
        ("start b all", "a: started\n", 0),
    ] {
        let ran = agent.rsv(line).await;
        assert_eq!(ran.result(), (out, code), "{line}: {}", ran.err);
    }
    let asked: Vec<Vec<String>> = agent
        .fake
        .acts()
        .into_iter()
        .map(|act| act.programs)
        .collect();
    assert_eq!(asked[..2], [["a"], ["b"]]);
    assert_eq!(asked.last().unwrap(), &["all"]);
}

#[tokio::test]
async fn a_restart_of_several_names_is_one_action() {
    let both = [Step::Stopped, Step::Started];
    let none = Refusal::Unspecified;
    let agent = Agent::with(Answers {
        results: vec![
            ("b", result("b", none, &[Step::Started])),
            ("a", result("a", none, &both)),
        ],
        ..Default::default()
    });
    let ran = agent.rsv("restart a b").await;
    let out = "a: stopped\nb: ERROR (not running)\na: started\nb: started\n";
    assert_eq!(ran.result(), (out, 0), "{}", ran.err);
    assert_eq!(agent.fake.acts().len(), 1);
}

#[tokio::test]
async fn signals_go_by_name_and_number() {
    let agent = Agent::with(Answers {
        results: vec![
            ("a", result("a", Refusal::Unspecified, &[Step::Signalled])),
            ("off", result("off", Refusal::NotRunning, &[])),
        ],
        ..Default::default()
    });
    for (line, out, code) in [
        ("signal HUP a", "a: signalled\n", 0),
        ("signal sigusr1 a", "a: signalled\n", 0),
        ("signal 9 a", "a: signalled\n", 0),
        ("signal HUP off", "off: ERROR (not running)\n", 7),
    ] {
        let ran = agent.rsv(line).await;
        assert_eq!(ran.result(), (out, code), "{line}: {}", ran.err);
    }
    for line in ["signal", "signal HUP"] {
        let ran = agent.rsv(line).await;
        let first = "Error: signal requires a signal name and a process name\n";
        assert!(
            ran.out.starts_with(first) && ran.code == 1,
            "{line}: {}",
            ran.out
        );
    }
}

#[tokio::test]
async fn a_signal_that_does_not_exist_is_refused_by_the_programs_that_run() {
    let bad = |program| result(program, Refusal::BadSignal, &[]);
    let agent = Agent::with(Answers {
        results: vec![
            ("off", bad("off")),
            ("nope", result("nope", Refusal::NoSuchProcess, &[])),
            ("all", bad("z")),
            ("all", bad("up")),
            ("all", bad("off")),
        ],
        ..status(vec![
            process("off", "off", ProcessState::Stopped, None),
            process("up", "up", ProcessState::Running, Some(8)),
            process("z", "z", ProcessState::Running, Some(9)),
        ])
    });
    let of_many = "z: ERROR (bad signal name)\nup: ERROR (bad signal name)\n";
    for (line, out) in [
        ("signal BAD off", "off: ERROR (bad signal name)\n"),
        ("signal BAD nope", "nope: ERROR (no such process)\n"),
        ("signal BAD all", of_many),
        ("-n signal BAD off", "off: ERROR (bad signal name)\n"),
    ] {
        let ran = agent.rsv(line).await;
        assert_eq!(ran.result(), (out, 1), "{line}: {}", ran.err);
    }
    assert_eq!(agent.fake.acts().len(), 3);
}

#[tokio::test]
async fn a_verb_without_programs_says_what_it_requires() {
    let agent = Agent::with(Answers::default());
    for (verb, code) in [("start", 2), ("stop", 1), ("restart", 1)] {
        let ran = agent.rsv(verb).await;
        let first = format!("Error: {verb} requires a process name\n");
        assert!(ran.out.starts_with(&first), "{verb}: {}", ran.out);
        assert_eq!(ran.code, code, "{verb}");
    }
}

#[tokio::test]
async fn pids_are_numbers_on_lines() {
    let agent = Agent::with(status(vec![
        process("off", "off", ProcessState::Stopped, None),
        process("up", "up", ProcessState::Running, Some(8)),
    ]));
    for (line, out, code) in [
        ("pid", "4321\n", 0),
        ("pid up", "8\n", 0),
        ("pid off", "0\n", 7),
        ("pid nope", "No such process nope\n", 1),
        ("pid all", "0\n8\n", 0),
        ("version", "9.8.7\n", 0),
        ("shutdown", "Shut down\n", 0),
        ("frobnicate x", "*** Unknown syntax: frobnicate x\n", 1),
        ("help nope", "*** No help on nope\n", 0),
        ("help quit", "quit\tExit the supervisor shell.\n", 0),
        ("? exit", "exit\tExit the supervisor shell.\n", 0),
        ("?nope", "*** No help on nope\n", 0),
        ("quit now", "\n", 0),
        ("--history_file=h pid", "4321\n", 0),
    ] {
        let ran = agent.rsv(line).await;
        assert_eq!(ran.result(), (out, code), "{line}: {}", ran.err);
    }
}

fn said(program: &str, event: Event) -> TailResponse {
    TailResponse {
        host: String::new(),
        program: program.into(),
        event: Some(event),
    }
}

fn chunk(data: &str) -> Event {
    Event::Chunk(Chunk {
        at: Some(Cursor {
            log_id: "l1".into(),
            offset: 0,
        }),
        data: data.as_bytes().to_vec(),
        live: false,
    })
}

fn end(refusal: Refusal) -> Event {
    Event::End(End {
        reason: String::new(),
        refusal: refusal.into(),
    })
}

#[tokio::test]
async fn tail_prints_bytes_and_a_newline_of_its_own() {
    let agent = Agent::with(Answers {
        tail: vec![
            said("a", chunk("one\x1b[31m\nt")),
            said("a", chunk("wo\n")),
            said("a", end(Refusal::Unspecified)),
        ],
        ..Default::default()
    });
    let ran = agent.rsv("tail a").await;
    assert_eq!(ran.result(), ("one\x1b[31m\ntwo\n\n", 0), "{}", ran.err);
    let ran = agent.rsv("tail -3 a stderr").await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let ran = agent.rsv("tail -f a").await;
    let followed = "==> Press Ctrl-C to exit <==\none\x1b[31m\ntwo\n";
    assert_eq!(ran.result(), (followed, 0), "{}", ran.err);
    let bytes: Vec<_> = agent.fake.tails().iter().map(|tail| tail.bytes).collect();
    assert_eq!(bytes, [None, Some(3), Some(1024)]);
}

#[tokio::test]
async fn a_followed_log_goes_on_where_it_broke_off() {
    let agent = Agent::with(Answers {
        tail: vec![said("a", chunk("one\ntw"))],
        tail_from: vec![
            said("a", chunk("o\n")),
            said("a", end(Refusal::Unspecified)),
        ],
        ..Default::default()
    });
    let ran = agent.rsv("tail -f a").await;
    let out = "==> Press Ctrl-C to exit <==\none\ntwo\n";
    assert_eq!(ran.result(), (out, 0), "{}", ran.err);
    assert_eq!(ran.err, "-- lost the agent, waiting --\n-- back --\n");
    let again = agent.fake.tails().pop().unwrap();
    let place = again.from.unwrap();
    assert_eq!((place.log_id.as_str(), place.offset), ("l1", 6));
    assert_eq!((again.bytes, again.lines), (None, None));
}

#[tokio::test]
async fn a_gap_is_said_beside_the_bytes() {
    let gap = Gap {
        at: None,
        bytes: Some(4096),
        reason: "rotated away".into(),
    };
    let agent = Agent::with(Answers {
        tail: vec![
            said("a", Event::Gap(gap)),
            said("a", chunk("rest\n")),
            said("a", end(Refusal::Unspecified)),
        ],
        ..Default::default()
    });
    let ran = agent.rsv("tail a").await;
    assert_eq!(ran.result(), ("rest\n\n", 0));
    assert_eq!(ran.err, "-- gap 4096 bytes (rotated away) --\n");
}

#[tokio::test]
async fn tail_complains_as_supervisorctl_does() {
    let refused = |refusal| {
        Agent::with(Answers {
            tail: vec![said("a", end(refusal))],
            ..Default::default()
        })
    };
    let no_file = refused(Refusal::NoFile);
    let unknown = refused(Refusal::NoSuchProcess);
    for (agent, line, out, code) in [
        (&no_file, "tail a", "a: ERROR (no log file)\n", 1),
        (&unknown, "tail a", "a: ERROR (no such process name)\n", 1),
        (&unknown, "tail a bogus", "Error: bad channel 'bogus'\n", 1),
        (&unknown, "tail -x a", "Error: bad argument -x\n", 1),
        (&unknown, "tail a -n 30", "Error: bad channel '30'\n", 1),
        (&unknown, "tail a -n", "Error: bad channel '-n'\n", 1),
        (&unknown, "maintail -x", "Error: bad argument -x\n", 1),
        (
            &unknown,
            "tail -f",
            "Error: tail requires process name\n",
            1,
        ),
        (&unknown, "tail -f a", "==> Press Ctrl-C to exit <==\n", 0),
    ] {
        let ran = agent.rsv(line).await;
        assert_eq!(ran.result(), (out, code), "{line}: {}", ran.err);
    }
    let ran = unknown.rsv("tail -f a").await;
    let expected = format!(
        "{}/logtail/a/stdout Cannot read, status code 404\n",
        unknown.url()
    );
    assert_eq!(ran.err, expected);
}

/// Each line of the result is a name, or an object: what is wrong is said beside it.
#[tokio::test]
async fn names_that_mean_nothing_are_no_part_of_a_result_for_scripts() {
    let agent = Agent::with(status(vec![process(
        "a",
        "a",
        ProcessState::Running,
        Some(8),
    )]));
    let ran = agent.rsv("-o name status a nope nope:*").await;
    assert_eq!(ran.result(), ("a\n", 4));
    let said = "rsv: nope: ERROR (no such process)\nrsv: nope: ERROR (no such group)\n";
    assert_eq!(ran.err, said);
    let ran = agent.rsv("-o jsonl status a nope nope:*").await;
    assert_eq!((ran.out.lines().count(), ran.code), (1, 4), "{}", ran.out);
    assert_eq!(ran.err, said);
    let ran = agent.rsv("-o json status a nope nope:*").await;
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["unmatched"], serde_json::json!(["nope", "nope:*"]));
}

#[tokio::test]
async fn a_dry_run_says_which_names_mean_nothing() {
    let mut answers = status(vec![process("a", "a", ProcessState::Running, Some(8))]);
    let unmatched = |pattern: &str, refusal: Refusal| UnmatchedProgram {
        pattern: pattern.into(),
        refusal: refusal.into(),
    };
    answers.status[0].unmatched = vec![
        unmatched("nope", Refusal::NoSuchProcess),
        unmatched("g:*", Refusal::NoSuchGroup),
    ];
    let agent = Agent::with(answers);
    let ran = agent.rsv("-n start a nope g:*").await;
    let said = "would start a\nnope: ERROR (no such process)\ng: ERROR (no such group)\n";
    assert_eq!(ran.result(), (said, 2), "{}", ran.err);
    let ran = agent.rsv("-o json -n stop a nope g:*").await;
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["programs"], serde_json::json!(["a"]));
    assert_eq!(value["impossible"][0]["program"], "nope");
    assert_eq!(ran.code, 1);
    assert!(agent.fake.acts().is_empty());
}

#[tokio::test]
async fn json_is_one_object_with_a_schema() {
    let mut answers = status(vec![process("g", "p", ProcessState::Running, Some(8))]);
    answers.status[0].unmatched = vec![UnmatchedProgram::default()];
    answers.results = vec![("p", result("p", Refusal::SpawnError, &[]))];
    let agent = Agent::with(answers);
    let ran = agent.rsv("-o json status").await;
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["schema"], "rsv/status/v1");
    let program = &value["programs"][0];
    assert_eq!(program["program"], "g:p");
    assert_eq!(program["group"], "g");
    assert_eq!(program["pid"], 8);
    assert_eq!(program["reachable"], true);
    assert!(program["uptime_seconds"].as_u64().unwrap() >= 3600);
    let ran = agent.rsv("start p -o json").await;
    assert_eq!(ran.code, 7);
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["schema"], "rsv/start/v1");
    assert_eq!(value["targets"][0]["outcome"], "failed");
    let absent = Agent::absent().rsv("-o json status").await;
    assert_eq!((absent.out.as_str(), absent.code), ("", 4));
    assert!(absent.err.starts_with("rsv: unix://"), "{}", absent.err);
}

#[tokio::test]
async fn the_socket_can_be_named_without_a_configuration() {
    let agent = Agent::with(Answers::default());
    let url = format!("unix://{}", agent.socket().display());
    let ran = crate::run::run(crate::run::rsv(agent.path()), ["-s", &url, "version"]).await;
    assert_eq!(ran.result(), ("9.8.7\n", 0), "{}", ran.err);
    for url in ["https://127.0.0.1:1", "unix://x", "http://", "bogus"] {
        let ran = crate::run::run(crate::run::rsv(agent.path()), ["-s", url, "version"]).await;
        assert_eq!(ran.result(), ("", 2), "{}", ran.err);
        assert!(ran.err.contains("hint: "), "{}", ran.err);
    }
    let url = "http://127.0.0.1:1";
    let ran = crate::run::run(crate::run::rsv(agent.path()), ["-s", url, "status"]).await;
    let out = "http://127.0.0.1:1 refused connection\n";
    assert_eq!(ran.result(), (out, 4), "{}", ran.err);
}

#[tokio::test]
async fn a_blank_name_is_none() {
    let agent = Agent::with(status(vec![process(
        "up",
        "up",
        ProcessState::Running,
        None,
    )]));
    for (words, start, code) in [
        (["status", ""], "up   ", 0),
        (["start", ""], "Error: start requires a process name\n", 2),
        (["start", " "], "Error: start requires a process name\n", 2),
    ] {
        let words = ["-c", "s.conf"].into_iter().chain(words);
        let ran = crate::run::run(crate::run::rsv(agent.path()), words).await;
        assert_eq!(ran.code, code, "{}", ran.out);
        assert!(ran.out.starts_with(start), "{}", ran.out);
    }
}

#[tokio::test]
async fn more_columns_or_names_alone_are_shown_when_asked_for() {
    let agent = Agent::with(status(vec![
        process("grp", "grp_00", ProcessState::Running, Some(7)),
        process("off", "off", ProcessState::Stopped, None),
    ]));
    let ran = agent.rsv("-o name status").await;
    assert_eq!(ran.result(), ("grp:grp_00\noff\n", 3), "{}", ran.err);
    let ran = agent.rsv("-o wide status").await;
    let head: Vec<&str> = ran.out.lines().next().unwrap().split_whitespace().collect();
    let columns = "PROGRAM STATE PID UPTIME EXIT RESTARTS DESCRIPTION";
    assert_eq!((head.join(" ").as_str(), ran.code), (columns, 3));
}

#[tokio::test]
async fn json_tells_what_ended_a_program() {
    let ended = |kind| ProcessStatus {
        exit: Some(ExitStatus {
            kind,
            ..Default::default()
        }),
        ..process("a", "a", ProcessState::Exited, None)
    };
    let agent = Agent::with(status(vec![
        ended(Some(Kind::Code(3))),
        ended(Some(Kind::Signal(15))),
        process("b", "b", ProcessState::Stopped, None),
    ]));
    let ran = agent.rsv("-o json status").await;
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let said: Vec<String> = value["programs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| format!("{} {}", p["exit_status"], p["exit_signal"]))
        .collect();
    assert_eq!(said, ["3 null", "-1 \"SIGTERM\"", "null null"]);
}

#[tokio::test]
async fn what_is_done_is_told_in_json_and_complaints_beside_it() {
    let agent = Agent::with(Answers::default());
    for (line, schema) in [
        ("-o json shutdown", "rsv/shutdown/v1"),
        ("-o json version", "rsv/version/v1"),
        ("-o json pid", "rsv/pid/v1"),
        ("-o json stop a --dry-run", "rsv/stop/v1"),
    ] {
        let ran = agent.rsv(line).await;
        let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!((value["schema"].as_str(), ran.code), (Some(schema), 0));
    }
    for (line, code) in [
        ("-o json start", 2),
        ("-o json stop", 1),
        ("-o json tail -x a", 1),
        ("-o json version x", 1),
        ("-o json frobnicate", 1),
    ] {
        let ran = agent.rsv(line).await;
        assert_eq!(ran.result(), ("", code), "{line}");
        assert!(ran.err.starts_with("rsv: "), "{line}: {}", ran.err);
    }
}

#[tokio::test]
async fn what_is_expected_of_the_fleet_is_checked_here_too() {
    let agent = Agent::with(Answers {
        results: vec![("app", TargetResult::default())],
        ..Default::default()
    });
    for (line, code) in [
        ("--expect 3 stop app", 16),
        ("--expect 0 restart app", 16),
        ("--detach stop app", 2),
        ("--expect 3 update", 16),
    ] {
        let ran = agent.rsv(line).await;
        assert_eq!(ran.code, code, "{line}: {}", ran.err);
    }
    assert_eq!(agent.fake.acts().len(), 0);
    assert_eq!(agent.fake.updates().len(), 0);
    agent.rsv("--expect 1 stop app").await;
    assert_eq!(agent.fake.acts().len(), 1);
}
