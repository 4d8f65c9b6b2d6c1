//! The agent itself, with real programs, while its configuration changes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[expect(dead_code, reason = "each test file uses its part of the host")]
#[path = "host_support/host.rs"]
mod host;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use host::{AGENT, Host, eventually};
use rsv_proto::wire::{
    self, ActRequest, Action, Outcome, ProcessState, Refusal, StartAction, act_response,
    action::Verb, fleet_client::FleetClient, update_response::Event,
};
use rustix::process::Signal;
use tonic::transport::Channel;

fn program(name: &str, more: &str) -> String {
    format!("[program:{name}]\ncommand = /bin/sleep 1000\nstartsecs = 0\n{more}\n")
}

fn names(events: &[Event]) -> Vec<String> {
    let name = |event: &Event| match event {
        Event::Stopped(name) => format!("{name} stopped"),
        Event::Removed(name) => format!("{name} removed"),
        Event::Added(name) => format!("{name} added"),
        Event::Updated(updated) => {
            let group = updated.group.as_ref().unwrap();
            format!("{} updated, {} unchanged", group.name, updated.unchanged)
        }
        other => format!("{other:?}"),
    };
    events.iter().map(name).collect()
}

#[tokio::test]
async fn an_update_touches_what_differs_and_nothing_else() {
    let before = [
        program("keep", ""),
        program("live", ""),
        program("chg", ""),
        program("gone", ""),
        program("many", "numprocs = 1\nprocess_name = p%(process_num)d"),
    ];
    let mut host = Host::new(&before.concat());
    host.start().await;
    let (keep, live, chg) = (
        host.up("keep").await,
        host.up("live").await,
        host.up("chg").await,
    );
    let many = host.up("p0").await;
    host.up("gone").await;
    let after = [
        program("keep", ""),
        program("live", "stopwaitsecs = 3\nstdout_logfile_maxbytes = 1KB"),
        program("chg", "environment = A=\"1\""),
        program("many", "numprocs = 2\nprocess_name = p%(process_num)d"),
        program("new", ""),
    ];
    host.write(&after.concat());
    let mut client = host.client().await;
    let reread = client.reread(wire::RereadRequest::default()).await.unwrap();
    let differ: Vec<_> = reread
        .into_inner()
        .groups
        .into_iter()
        .map(|g| g.name)
        .collect();
    assert_eq!(differ, ["gone", "chg", "live", "many", "new"]);
    assert_eq!(names(&host.update(&["new"]).await), ["new added"]);
    let said = names(&host.update(&[]).await);
    let expected = [
        "gone stopped",
        "gone removed",
        "chg stopped",
        "chg updated, 0 unchanged",
        "live updated, 0 unchanged",
        "many updated, 1 unchanged",
    ];
    assert_eq!(said, expected);
    assert_eq!(host.up("keep").await, keep);
    assert_eq!(host.up("live").await, live);
    assert_eq!(host.up("p0").await, many);
    assert_ne!(host.up("chg").await, chg);
    host.up("p1").await;
    host.up("new").await;
    assert!(host.shown("gone").await.is_none());
    assert!(host.update(&[]).await.is_empty());
}

#[tokio::test]
async fn what_was_gone_while_the_agent_was_away_and_is_back_is_configured_like_any_other() {
    let many = |n| {
        let more = format!("numprocs = {n}\nprocess_name = p%(process_num)d");
        program("many", &more)
    };
    let mut host = Host::new(&many(2));
    host.start().await;
    let (p0, p1) = (host.up("p0").await, host.up("p1").await);
    host.kill_agent();
    host.write(&many(1));
    host.start().await;
    assert!(host.shown("p1").await.unwrap().outdated);
    host.write(&many(2));
    assert_eq!(
        names(&host.update(&[]).await),
        ["many stopped", "many updated, 1 unchanged"]
    );
    assert_ne!(host.up("p1").await, p1);
    assert_eq!(host.up("p0").await, p0);
    assert!(!host.shown("p1").await.unwrap().outdated);
    let request = ActRequest {
        programs: vec!["many:p1".into()],
        action: Some(Action {
            verb: Some(Verb::Stop(wire::StopAction {})),
        }),
        ..Default::default()
    };
    let mut answers = host.client().await.act(request).await.unwrap().into_inner();
    while answers.message().await.unwrap().is_some() {}
    let shown = host.shown("p1").await.map(|shown| shown.state());
    assert_eq!(shown, Some(ProcessState::Stopped), "it was not forgotten");
    assert!(host.update(&[]).await.is_empty());
}

#[tokio::test]
async fn an_update_brings_along_what_was_changed_while_the_agent_was_away() {
    let before = [
        program("keep", ""),
        program("live", ""),
        program("chg", ""),
        program("gone", ""),
    ];
    let mut host = Host::new(&before.concat());
    host.start().await;
    let (keep, live) = (host.up("keep").await, host.up("live").await);
    let (chg, gone) = (host.up("chg").await, host.up("gone").await);
    host.kill_agent();
    let after = [
        program("keep", ""),
        program("live", "stopwaitsecs = 3"),
        program("chg", "environment = A=\"1\""),
    ];
    host.write(&after.concat());
    host.start().await;
    assert_eq!((host.up("chg").await, host.up("gone").await), (chg, gone));
    let (programs, _) = host.status().await;
    let outdated = programs.iter().filter(|program| program.outdated);
    let outdated: Vec<_> = outdated.map(|program| &*program.name).collect();
    assert_eq!(outdated, ["chg", "gone"]);

    // Another agent, of the same configuration, still knows.
    host.kill_agent();
    host.start().await;
    assert_eq!((host.up("chg").await, host.up("gone").await), (chg, gone));
    let said = names(&host.update(&[]).await);
    let expected = [
        "gone stopped",
        "gone removed",
        "chg stopped",
        "chg updated, 0 unchanged",
    ];
    assert_eq!(said, expected);
    assert_eq!((host.up("keep").await, host.up("live").await), (keep, live));
    assert_ne!(host.up("chg").await, chg);
    assert!(host.shown("gone").await.is_none());
    let (programs, _) = host.status().await;
    assert!(programs.iter().all(|program| !program.outdated));
    assert!(host.update(&[]).await.is_empty());
}

#[tokio::test]
async fn a_broken_section_is_refused_alone_and_comes_up_when_it_is_in_order() {
    let broken = "[program:bad]\ncommand = /bin/sleep 1000\nautostart = maybe\nstartsecs = 0\n";
    let mut host = Host::new(&(program("good", "") + broken));
    let check = Command::new(AGENT)
        .args(["check", "-c", "a.conf"])
        .current_dir(host.directory.path())
        .output()
        .unwrap();
    assert_eq!(check.status.code(), Some(2));
    host.start().await;
    let good = host.up("good").await;
    let bad = host.shown("bad").await.unwrap();
    assert_eq!(bad.state(), ProcessState::Fatal);
    let why = "not a valid boolean value: 'maybe'";
    assert!(bad.spawn_error.contains(why), "{bad:?}");
    let result = start(&host, "bad").await;
    assert_eq!(result.outcome(), Outcome::Failed);
    assert!(result.detail.contains(why), "{result:?}");
    // A program that runs is not disturbed by its section being broken.
    host.write(&(program("good", "autostart = maybe") + broken));
    let said = host.update(&[]).await;
    assert!(
        said.iter()
            .all(|event| matches!(event, Event::RefusedSection(_)))
    );
    assert_eq!(said.len(), 2);
    assert_eq!(host.up("good").await, good);
    host.write(&(program("good", "") + &program("bad", "")));
    assert_eq!(names(&host.update(&[]).await), ["bad added"]);
    host.up("bad").await;
    assert_eq!(host.up("good").await, good);
}

async fn start(host: &Host, name: &str) -> wire::TargetResult {
    let request = ActRequest {
        programs: vec![name.to_owned()],
        action: Some(Action {
            verb: Some(Verb::Start(StartAction {})),
        }),
        ..Default::default()
    };
    let mut client = host.client().await;
    let mut events = client.act(request).await.unwrap().into_inner();
    while let Some(response) = events.message().await.unwrap() {
        if let Some(act_response::Event::Result(result)) = response.event {
            return result;
        }
    }
    panic!("no result");
}

#[tokio::test]
async fn groups_are_added_and_removed_by_name() {
    let mut host = Host::new(&program("app", ""));
    host.start().await;
    host.up("app").await;
    host.write(&(program("app", "") + &program("other", "")));
    let mut client = host.client().await;
    client.reread(wire::RereadRequest::default()).await.unwrap();
    let add = async |client: &mut FleetClient<Channel>, name: &str| {
        let request = wire::AddGroupRequest { name: name.into() };
        client
            .add_group(request)
            .await
            .unwrap()
            .into_inner()
            .outcome()
    };
    let remove = async |client: &mut FleetClient<Channel>, name: &str| {
        let request = wire::RemoveGroupRequest { name: name.into() };
        client
            .remove_group(request)
            .await
            .unwrap()
            .into_inner()
            .outcome()
    };
    use wire::GroupOutcome as G;
    assert_eq!(add(&mut client, "nope").await, G::NoSuchGroup);
    assert_eq!(add(&mut client, "app").await, G::AlreadyActive);
    assert_eq!(add(&mut client, "other").await, G::Done);
    host.up("other").await;
    assert_eq!(remove(&mut client, "nope").await, G::NoSuchGroup);
    assert_eq!(remove(&mut client, "other").await, G::StillRunning);
    let available = client.list_available(wire::ListAvailableRequest {}).await;
    let available = available.unwrap().into_inner().processes;
    assert!(available.iter().all(|process| process.in_use));
    let stop = Verb::Stop(wire::StopAction {});
    let request = ActRequest {
        programs: vec!["other".into()],
        action: Some(Action { verb: Some(stop) }),
        ..Default::default()
    };
    let mut events = client.act(request).await.unwrap().into_inner();
    while events.message().await.unwrap().is_some() {}
    assert_eq!(remove(&mut client, "other").await, G::Done);
    assert!(host.shown("other").await.is_none());
}

#[tokio::test]
async fn a_reload_is_refused_before_anything_is_stopped_or_done_in_the_same_process() {
    let mut host = Host::new(&program("app", ""));
    host.start().await;
    let (agent, app) = (host.pid(), host.up("app").await);
    host.write("[group:web]\nprograms = nothing\n[supervisord]\nminfds = many\n");
    let mut client = host.client().await;
    let answer = client
        .reload(wire::ReloadRequest {})
        .await
        .unwrap()
        .into_inner();
    let refusal = answer.refusal.unwrap();
    assert!(refusal.text.contains("'many'"), "{refusal:?}");
    assert!(
        refusal.file.ends_with("a.conf") && refusal.line > 0,
        "{refusal:?}"
    );
    host.signal(Signal::HUP);
    eventually("the refusal", async || host.log().contains("not restarted")).await;
    assert_eq!(host.up("app").await, app);
    // A program that runs would not come back.
    host.write(&program("app", "autostart = maybe"));
    let answer = client
        .reload(wire::ReloadRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(answer.refusal.is_some());
    host.write(&program("app", ""));
    let answer = client
        .reload(wire::ReloadRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer, wire::ReloadResponse::default());
    eventually("the end of the former program", async || {
        !PathBuf::from(format!("/proc/{app}/exe")).exists()
    })
    .await;
    eventually("another program", async || host.up("app").await != app).await;
    let pid = fs::read_to_string(host.path("agent.pid")).unwrap();
    assert_eq!(pid.trim(), agent.to_string());
    let app = host.up("app").await;
    host.signal(Signal::HUP);
    eventually("the end of the former program", async || {
        !PathBuf::from(format!("/proc/{app}/exe")).exists()
    })
    .await;
    eventually("another program", async || host.up("app").await != app).await;
}

#[tokio::test]
async fn an_agent_that_cannot_read_its_configuration_takes_over_with_the_last_good_one() {
    let mut host = Host::new(&program("app", ""));
    host.start().await;
    let app = host.up("app").await;
    eventually("the remembered configuration", async || {
        host.path("state/last-good.json").exists()
    })
    .await;
    host.kill_agent();
    host.write("[supervisord]\nminfds = many\n");
    host.start().await;
    assert_eq!(host.up("app").await, app);
    let (_, notice) = host.status().await;
    assert!(
        notice.starts_with("running the configuration of 20"),
        "{notice}"
    );
    assert!(
        notice.contains("a.conf:") && notice.contains("'many'"),
        "{notice}"
    );
    let line = format!("ERRO {notice}");
    eventually(&line, async || host.log().contains(&line)).await;
    host.write(&program("app", ""));
    assert!(host.update(&[]).await.is_empty());
    assert_eq!(host.status().await.1, "");
    assert_eq!(host.up("app").await, app);
    use std::os::unix::fs::PermissionsExt as _;
    let kept = fs::metadata(host.path("state/last-good.json")).unwrap();
    assert_eq!(kept.permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_server_or_a_limit_that_cannot_be_had_leaves_no_program_alone() {
    let mut host = Host::new(&program("app", ""));
    host.start().await;
    let app = host.up("app").await;
    host.kill_agent();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let text = format!(
        "minfds = 4294967295\n[inet_http_server]\nport = {address}\n{}",
        program("app", "")
    );
    host.write(&text);
    host.start().await;
    assert_eq!(host.up("app").await, app);
    for line in [
        "CRIT a server is missing",
        "CRIT The minimum number of file",
    ] {
        eventually(line, async || host.log().contains(line)).await;
    }
    drop(taken);
    eventually("the server is there", async || {
        host.log().contains("a server that was missing is there")
    })
    .await;
    std::net::TcpStream::connect(address).unwrap();
    host.signal(Signal::TERM);
    host.agent.take().unwrap().wait().unwrap();
    // Nothing runs: nothing is made do with.
    let output = host.command().stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test]
async fn a_broken_configuration_is_refused_when_nothing_runs() {
    let mut host = Host::new(&program("app", ""));
    host.start().await;
    host.up("app").await;
    eventually("the remembered configuration", async || {
        host.path("state/last-good.json").exists()
    })
    .await;
    host.signal(Signal::TERM);
    host.agent.take().unwrap().wait().unwrap();
    host.write("[supervisord]\nminfds = many\n");
    let output = host.command().stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test]
async fn only_so_many_programs_run_as_the_configuration_allows() {
    let more = [
        program("a", ""),
        program("b", ""),
        program("c", "autostart = false"),
    ]
    .concat();
    let mut host = Host::new(&format!("[processcontrol]\nmaxprocs = 2\n{more}"));
    host.start().await;
    host.up("a").await;
    host.up("b").await;
    let refused = start(&host, "c").await;
    assert_eq!(refused.refusal(), Refusal::TooManyProcesses);
}

#[tokio::test]
async fn the_main_log_is_read_and_logs_are_cleared() {
    let log = "stdout_logfile = %(here)s/app.log";
    let text =
        format!("[program:app]\ncommand = /bin/sh -c 'echo hello; exec sleep 1000'\n{log}\n");
    let mut host = Host::new(&text);
    host.start().await;
    let read = || fs::read_to_string(host.path("app.log")).unwrap_or_default();
    eventually("the output", async || read() == "hello\n").await;
    let mut client = host.client().await;
    let request = wire::ClearLogsRequest {
        programs: vec!["app".into(), "nope".into()],
    };
    let results = client
        .clear_logs(request)
        .await
        .unwrap()
        .into_inner()
        .results;
    let refusals: Vec<_> = results
        .iter()
        .map(|r| (r.program.as_str(), r.refusal()))
        .collect();
    let expected = [
        ("nope", Refusal::NoSuchProcess),
        ("app", Refusal::Unspecified),
    ];
    assert_eq!(refusals, expected);
    assert_eq!(read(), "");
    let request = wire::TailMainLogRequest::default();
    let mut pieces = client.tail_main_log(request).await.unwrap().into_inner();
    let mut text = Vec::new();
    while let Some(piece) = pieces.message().await.unwrap() {
        text.extend(piece.data);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("supervisord started with pid"), "{text}");
}
