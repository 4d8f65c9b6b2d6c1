//! `tail` over the fleet: whole lines, places, and what is said of hosts.

use std::time::{Duration, SystemTime};

use rsv_proto::{
    time::{from_wire, to_wire},
    wire::{
        Cursor, HostState, Refusal, TailResponse,
        tail_response::{Away, Back, Begin, Chunk, End, Event},
    },
};

use crate::{agent::Agent, controller::Controller, fake::Answers, fleet::host_status};

fn output(host: &str, data: &str) -> TailResponse {
    said(
        host,
        Event::Chunk(Chunk {
            at: None,
            data: data.as_bytes().to_vec(),
            live: false,
        }),
    )
}

fn said(host: &str, event: Event) -> TailResponse {
    TailResponse {
        host: host.into(),
        program: "app".into(),
        event: Some(event),
    }
}

fn ended(host: &str, reason: &str, refusal: Refusal) -> TailResponse {
    let event = Event::End(End {
        reason: reason.into(),
        refusal: refusal.into(),
    });
    said(host, event)
}

#[tokio::test]
async fn lines_are_chosen_by_expressions_over_whole_lines() {
    let controller = Controller::with(Answers {
        tail: vec![
            output("web01", "GET /healthz\nERR"),
            output("web02", "ERROR 2\n"),
            output("web01", "OR 1\nWARN healthz\nok\nWARN end"),
            ended("web01", "OK", Refusal::Unspecified),
            ended("web02", "OK", Refusal::Unspecified),
        ],
        ..Default::default()
    })
    .await;
    let line = "-H web* tail -f app --include ERROR --include WARN --exclude healthz$ -x web03 --max-streams 7";
    let ran = controller.rsv(line).await;
    let expected = "web02 app | ERROR 2\nweb01 app | ERROR 1\nweb01 app | WARN end\n";
    assert_eq!(ran.result(), (expected, 0), "{}", ran.err);
    let asked = controller.fake.tails().remove(0);
    assert_eq!(asked.max_streams, 7);
    assert_eq!(asked.hosts.unwrap().exclude, ["web03"]);
    let ran = controller
        .rsv("-H web* -o jsonl tail -f app --include OR.1")
        .await;
    let lines: Vec<serde_json::Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let texts: Vec<_> = lines
        .iter()
        .map(|line| line["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["ERROR 1\n"]);
    let ran = controller.rsv("-H web* tail app --include a(").await;
    assert_eq!(ran.code, 2);
    assert!(
        ran.err
            .contains("`--include a(` is no regular expression: unclosed group"),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn a_host_that_goes_and_comes_is_said_once() {
    let away = |host| {
        let reason = "connection lost".to_owned();
        said(host, Event::Away(Away { reason }))
    };
    let of_side = |response: TailResponse| TailResponse {
        program: "side".into(),
        ..response
    };
    let controller = Controller::with(Answers {
        tail: vec![
            output("web01", "one\ntw"),
            away("web01"),
            of_side(away("web01")),
            said("web01", Event::Back(Back {})),
            output("web01", "o\n"),
            of_side(said("web01", Event::Back(Back {}))),
            ended("web01", "OK", Refusal::Unspecified),
            of_side(ended("web01", "OK", Refusal::Unspecified)),
        ],
        ..Default::default()
    })
    .await;
    let ran = controller.rsv("-H web* tail -f app side").await;
    let expected = "web01 app | one\nweb01 app | two\n";
    assert_eq!(ran.result(), (expected, 0), "{}", ran.err);
    assert_eq!(
        ran.err,
        "-- web01: connection lost, waiting --\n-- web01: back --\n"
    );
    let ran = controller.rsv("-q -H web* tail -f app side").await;
    assert_eq!((ran.result(), ran.err.as_str()), ((expected, 0), ""));
}

#[tokio::test]
async fn lines_of_several_sources_are_kept_whole() {
    let controller = Controller::with(Answers {
        tail: vec![
            output("web01", "one\ntw"),
            output("web02", "uno\n"),
            output("web01", "o\nrest"),
            ended("web01", "OK", Refusal::Unspecified),
            ended("web02", "the host is unreachable", Refusal::Unspecified),
        ],
        ..Default::default()
    })
    .await;
    let ran = controller.rsv("-H web* tail -f app").await;
    let out = "web01 app | one\nweb02 app | uno\nweb01 app | two\nweb01 app | rest\n";
    assert_eq!(ran.result(), (out, 11), "{}", ran.err);
    assert!(
        ran.err.contains("web02 app: the host is unreachable"),
        "{}",
        ran.err
    );
    let ran = controller.rsv("-H web* tail app").await;
    let out = "web01 app | one\nweb01 app | two\nweb01 app | rest\nweb02 app | uno\n";
    assert_eq!(ran.result(), (out, 11), "{}", ran.err);
}

#[tokio::test]
async fn several_followed_sources_each_go_on_where_they_broke_off() {
    let at = |host: &str, offset, data: &str| {
        let at = Some(Cursor {
            log_id: format!("log of {host}"),
            offset,
        });
        let data = data.as_bytes().to_vec();
        said(
            host,
            Event::Chunk(Chunk {
                at,
                data,
                live: false,
            }),
        )
    };
    let controller = Controller::with(Answers {
        status: ["web01", "web02"]
            .map(|host| host_status(host, HostState::Connected, 0))
            .into(),
        tail: vec![at("web01", 0, "one\ntw"), at("web02", 7, "uno\n")],
        tail_from: vec![
            at("web01", 6, "o\n"),
            ended("web01", "OK", Refusal::Unspecified),
            at("web02", 11, "due\n"),
            ended("web02", "OK", Refusal::Unspecified),
        ],
        ..Default::default()
    })
    .await;
    let ran = controller.rsv("-H web* tail -f app").await;
    let mut lines: Vec<&str> = ran.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "web01 app | one",
            "web01 app | two",
            "web02 app | due",
            "web02 app | uno"
        ],
        "{}",
        ran.err
    );
    assert_eq!(ran.code, 0, "{}", ran.err);
    let notices = "-- lost the controller, waiting --\n-- back --\n";
    assert_eq!(ran.err, notices);
    let mut places: Vec<(String, u64)> = controller
        .fake
        .tails()
        .into_iter()
        .filter_map(|tail| tail.from)
        .map(|from| (from.log_id, from.offset))
        .collect();
    places.sort();
    assert_eq!(
        places,
        [
            ("log of web01".to_owned(), 6),
            ("log of web02".to_owned(), 11)
        ]
    );
}

#[tokio::test]
async fn one_source_is_raw_bytes() {
    let controller = Controller::with(Answers {
        tail: vec![
            output("web01", "one\ntw"),
            ended("web01", "OK", Refusal::Unspecified),
        ],
        ..Default::default()
    })
    .await;
    let ran = controller.rsv("-H web01 tail app").await;
    assert_eq!(ran.result(), ("one\ntw", 0), "{}", ran.err);
}

#[tokio::test]
async fn what_stands_before_a_line_can_be_chosen() {
    let live = |host: &str, data: &str| {
        let chunk = Chunk {
            data: data.as_bytes().to_vec(),
            live: true,
            ..Chunk::default()
        };
        said(host, Event::Chunk(chunk))
    };
    let controller = Controller::with(Answers {
        tail: vec![
            output("web01", "one\nt"),
            live("web01", "wo\n"),
            ended("web01", "OK", Refusal::Unspecified),
        ],
        ..Default::default()
    })
    .await;
    for (line, expected) in [
        ("-H web* tail app", "web01 app | one\nweb01 app | two\n"),
        (
            "-H web* tail --prefix host app",
            "web01 | one\nweb01 | two\n",
        ),
        ("-H web* tail --prefix none app", "one\ntwo\n"),
        ("-H web01 tail --prefix none app", "one\ntwo\n"),
        (
            "-H web01 tail --prefix host app",
            "web01 | one\nweb01 | two\n",
        ),
    ] {
        let ran = controller.rsv(line).await;
        assert_eq!(ran.result(), (expected, 0), "{line}: {}", ran.err);
    }
    let ran = controller.rsv("-H web01 tail -f --timestamps app").await;
    let lines: Vec<(&str, &str)> = ran
        .out
        .lines()
        .filter_map(|line| line.split_at_checked(30))
        .collect();
    let [(before, "one"), (time, "two")] = lines[..] else {
        panic!("{}", ran.out);
    };
    assert_eq!(before.trim_end(), "-");
    let time: jiff::Timestamp = time.trim_end().parse().unwrap();
    assert!(time.duration_until(jiff::Timestamp::now()).as_secs() < 60);
    let ran = controller.rsv("-H web01 tail --timestamps app").await;
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains("is for `tail -f`"), "{}", ran.err);
}

#[tokio::test]
async fn the_logs_of_many_agents_are_told_apart_in_the_same_ways() {
    let of_agent = |host: &str, data: &str| TailResponse {
        program: String::new(),
        ..output(host, data)
    };
    let controller = Controller::with(Answers {
        tail: vec![of_agent("web01", "up\n"), of_agent("web02", "down\n")],
        ..Default::default()
    })
    .await;
    let ran = controller.rsv("-H web* maintail --prefix none").await;
    assert_eq!(ran.out, "up\ndown\n", "{}", ran.err);
    let ran = controller.rsv("-H web* maintail --log-dir logs").await;
    assert_eq!(ran.out, "", "{}", ran.err);
    let path = controller.path().join("logs/web02/rsv-agent.log");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "down\n");
    let ran = controller.rsv("maintail --prefix none").await;
    assert_eq!(ran.code, 2, "{}", ran.err);
}

#[tokio::test]
async fn the_output_of_each_source_goes_to_a_file_of_its_own() {
    let controller = Controller::with(Answers {
        tail: vec![
            output("web01", "one\ntw"),
            output("web02", "uno\nERROR\n"),
            output("web01", "o\n"),
            ended("web01", "OK", Refusal::Unspecified),
            ended("web02", "OK", Refusal::Unspecified),
        ],
        ..Default::default()
    })
    .await;
    let logs = controller.path().join("logs");
    let ran = controller
        .rsv("-H web* tail --log-dir logs app --exclude ERROR")
        .await;
    assert_eq!(ran.result(), ("", 0), "{}", ran.err);
    let read = |path: &str| std::fs::read_to_string(logs.join(path)).unwrap();
    assert_eq!(read("web01/app.log"), "one\ntwo\n");
    assert_eq!(read("web02/app.log"), "uno\n");
}

#[tokio::test]
async fn a_cursor_goes_on_where_the_last_run_has_shown_whole_lines() {
    let at = |offset, data: &str| {
        let at = Some(Cursor {
            log_id: "l".into(),
            offset,
        });
        let data = data.as_bytes().to_vec();
        said(
            "web01",
            Event::Chunk(Chunk {
                at,
                data,
                live: false,
            }),
        )
    };
    let answers = |tail: Vec<TailResponse>, tail_from: Vec<TailResponse>| Answers {
        status: vec![host_status("web01", HostState::Connected, 0)],
        tail,
        tail_from,
        holds: true,
        ..Default::default()
    };
    let first = Controller::with(answers(vec![at(5, "one\ntw")], vec![])).await;
    let mut command = crate::run::rsv(&first.path());
    let words = [
        "--context",
        "admin.context",
        "-H",
        "web*",
        "tail",
        "-f",
        "app",
    ];
    command.args(words).args(["--cursor", "place"]);
    let ran = crate::ending::interrupted(command, "web01 app | one\n", false).await;
    assert_eq!(ran.result(), ("web01 app | one\n", 130), "{}", ran.err);
    let place = std::fs::read_to_string(first.path().join("place")).unwrap();
    let place: serde_json::Value = serde_json::from_str(&place).unwrap();
    let source = &place["sources"][0];
    assert_eq!(
        (&source["host"], &source["program"], &source["offset"]),
        (&"web01".into(), &"app".into(), &9.into())
    );
    let again = vec![at(9, "two\n"), ended("web01", "OK", Refusal::Unspecified)];
    let second = Controller::with(answers(vec![], again)).await;
    std::fs::copy(first.path().join("place"), second.path().join("place")).unwrap();
    let ran = second.rsv("-H web* tail app --cursor place").await;
    assert_eq!(ran.result(), ("web01 app | two\n", 0), "{}", ran.err);
    let from = second.fake.tails().remove(0).from.unwrap();
    assert_eq!((from.log_id.as_str(), from.offset), ("l", 9));
    let place = std::fs::read_to_string(second.path().join("place")).unwrap();
    assert!(place.contains("\"offset\":13"), "{place}");
}

#[tokio::test]
async fn the_end_of_the_programs_can_be_asked_for() {
    let controller = Controller::with(Answers {
        tail: vec![
            output("web01", "one\n"),
            ended("web01", "OK", Refusal::Unspecified),
        ],
        ..Default::default()
    })
    .await;
    let ran = controller.rsv("-H web01 tail -f --exit-on-stop app").await;
    assert_eq!(ran.result(), ("one\n", 0), "{}", ran.err);
    assert!(controller.fake.tails().remove(0).until_stopped);
    let ran = controller.rsv("-H web01 tail --exit-on-stop app").await;
    assert_eq!(ran.code, 2, "{}", ran.err);
}

#[tokio::test]
async fn output_since_a_moment_says_how_far_back_it_is_known() {
    let begins = |host, reaches_back, known: Option<u64>| {
        let known = known.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let begin = Begin {
            at: None,
            reaches_back,
            known_since: known.map(to_wire),
        };
        said(host, Event::Begin(begin))
    };
    let controller = Controller::with(Answers {
        tail: vec![
            begins("web01", true, None),
            output("web01", "one\n"),
            begins("web02", false, Some(1_800_000_000)),
            output("web02", "two\n"),
            begins("web03", false, None),
            output("web04", "old agent\n"),
            output("web04", "again\n"),
            ended("web01", "OK", Refusal::Unspecified),
        ],
        ..Default::default()
    })
    .await;
    let ran = controller.rsv("-H web* tail -f --since 10m app").await;
    let expected = "web01 app | one\nweb02 app | two\nweb04 app | old agent\nweb04 app | again\n";
    assert_eq!(ran.result(), (expected, 0), "{}", ran.err);
    assert_eq!(
        ran.err,
        "-- web02 app: only since 2027-01-15 08:00:00 it is known when output came in; what is from before may be older --\n\
         -- web03 app: it is not known when this output came in; it may be older --\n\
         -- web04 app: its agent is too old to know of --since --\n"
    );
    let asked = controller.fake.tails().remove(0);
    let since = asked.since.as_ref().and_then(from_wire).unwrap();
    let ago = since.elapsed().unwrap().as_secs();
    assert!((600..660).contains(&ago), "{ago}");
    assert_eq!((asked.bytes, asked.lines), (None, None));
}

#[tokio::test]
async fn a_moment_to_begin_at_is_one_of_the_accepted_forms() {
    let agent = Agent::with(Answers {
        tail: vec![ended("", "OK", Refusal::Unspecified)],
        ..Default::default()
    });
    let ran = agent.rsv("tail -f --since 2027-01-15T08:00:00Z app").await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let asked = agent.fake.tails().remove(0);
    assert_eq!(asked.since.map(|since| since.seconds), Some(1_800_000_000));
    assert_eq!(asked.bytes, None);
    for (line, words) in [
        (
            "tail --since yesterday app",
            "accepted: so long ago, such as 10m",
        ),
        ("tail --since 10m --lines 5 app", "cannot be used with"),
        (
            "tail -500 app --since 10m",
            "-BYTES and --since both say where to begin",
        ),
    ] {
        let ran = agent.rsv(line).await;
        assert_eq!(ran.result(), ("", 2), "{line}");
        assert!(ran.err.contains(words), "{line}: {}", ran.err);
    }
}

#[tokio::test]
async fn a_resumed_source_goes_on_at_its_place_and_not_at_the_moment() {
    let place = || {
        Some(Cursor {
            log_id: "l".into(),
            offset: 40,
        })
    };
    let begin = Begin {
        at: place(),
        reaches_back: true,
        known_since: None,
    };
    let agent = Agent::with(Answers {
        tail: vec![said("", Event::Begin(begin))],
        tail_from: vec![
            said(
                "",
                Event::Chunk(Chunk {
                    at: place(),
                    data: b"new\n".to_vec(),
                    live: true,
                }),
            ),
            ended("", "OK", Refusal::Unspecified),
        ],
        ..Default::default()
    });
    let ran = agent.rsv("tail -f --since 10m app").await;
    assert!(ran.out.ends_with("new\n"), "{ran:?}");
    let resumed = agent.fake.tails().pop().unwrap();
    assert_eq!((resumed.from, resumed.since), (place(), None));
}
