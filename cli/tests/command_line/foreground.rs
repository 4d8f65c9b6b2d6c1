//! `fg` and `open`: being at the terminal of a program, and at another server.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
};

use rsv_proto::{
    wire::{HostStatus, ProcessState, ProcessStatus, TailResponse, tail_response},
    xmlrpc::Value,
};

use crate::{
    agent::Agent,
    fake::Answers,
    remote::Remote,
    run::{Ran, rsv},
};

fn with(state: ProcessState) -> Answers {
    let process = ProcessStatus {
        group: "app".into(),
        name: "app".into(),
        state: state.into(),
        ..Default::default()
    };
    let chunk = tail_response::Chunk {
        at: None,
        data: b"hello\n".to_vec(),
        live: false,
    };
    Answers {
        status: vec![HostStatus {
            programs: vec![process],
            ..Default::default()
        }],
        tail: vec![TailResponse {
            program: "app".into(),
            event: Some(tail_response::Event::Chunk(chunk)),
            ..Default::default()
        }],
        holds: true,
        ..Default::default()
    }
}

fn fg(agent: &Agent) -> Command {
    let mut command = rsv(agent.path());
    command
        .args(["-c", "s.conf", "fg", "app"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn ended(output: std::process::Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_goes_to_the_program_until_the_input_ends() {
    let agent = Agent::with(with(ProcessState::Running));
    let mut child = fg(&agent).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let ran = tokio::task::spawn_blocking(move || {
        input.write_all(b"one\ntwo").unwrap();
        drop(input);
        child.wait_with_output()
    });
    let ran = ended(ran.await.unwrap().unwrap());
    assert!(
        ran.out.starts_with("==> Press Ctrl-C to exit <==\n"),
        "{}",
        ran.out
    );
    assert!(ran.out.ends_with("Exiting foreground\n"), "{}", ran.out);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let typed = agent.fake.typed();
    let typed: Vec<&[u8]> = typed
        .iter()
        .map(|written| written.data.as_slice())
        .collect();
    assert_eq!(typed, [b"one\n", b"two\n"]);
}

/// A Supervisor with a program that runs when it is looked at for the first time, and has ended when it is
/// looked at again.
fn ends(method: &str, _: &[Value]) -> Result<Value, (i32, &'static str)> {
    static HAS_RUN: AtomicBool = AtomicBool::new(false);
    Ok(match method {
        "getVersion" => "3.0".into(),
        "getAllProcessInfo" => {
            let state = match HAS_RUN.swap(true, Ordering::Relaxed) {
                false => "RUNNING",
                true => "EXITED",
            };
            let info = [("group", "late"), ("name", "late"), ("statename", state)];
            let info = info.map(|(key, value)| (key.into(), value.into()));
            Value::Array(vec![Value::Struct(info.into_iter().collect())])
        }
        _ => true.into(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_writes_last_is_shown_though_it_comes_after_the_news_of_its_end() {
    let remote = Remote::tcp("", ends).await;
    let home = tempfile::tempdir().unwrap();
    let mut command = rsv(home.path());
    command
        .args(["-s", &remote.url, "fg", "late"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let input = child.stdin.take().unwrap();
    let ran = tokio::task::spawn_blocking(move || child.wait_with_output());
    let ran = ended(ran.await.unwrap().unwrap());
    drop(input);
    // Standard error has the same.
    let lines = "one\ntwo\n";
    let expected = format!(
        "==> Press Ctrl-C to exit <==\n{lines}{lines}Process got killed\nExiting foreground\n"
    );
    assert_eq!(ran.result(), (expected.as_str(), 0), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_in_the_foreground_is_said_in_supervisorctls_words() {
    let agent = Agent::with(with(ProcessState::Stopped));
    for (line, said) in [
        ("fg app", "ERROR: process not running\n"),
        ("fg nope", "ERROR: bad process name supplied\n"),
        ("fg app:*", "ERROR: bad process name supplied\n"),
        ("fg a b", "ERROR: too many process names supplied\n"),
    ] {
        let ran = agent.rsv(line).await;
        assert_eq!(ran.result(), (said, 1), "{line}: {}", ran.err);
    }
    let ran = agent.rsv("fg").await;
    assert!(
        ran.out.starts_with("ERROR: no process name supplied\n"),
        "{}",
        ran.out
    );
    assert_eq!(agent.rsv("fg app -o json").await.code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_is_shown_and_at_the_prompt_stays() {
    let (here, there) = (Agent::absent(), Agent::with(with(ProcessState::Running)));
    let status = "app                              RUNNING   pid 0, uptime 0:00:00\n";
    let url = format!("unix://{}", there.socket().display());
    let ran = here.rsv(&format!("open {url}")).await;
    assert_eq!(ran.result(), (status, 0), "{}", ran.err);
    let ran = here.rsv("open ftp://x").await;
    let said = "ERROR: url must be http:// or unix://\n";
    assert_eq!(ran.result(), (said, 1), "{}", ran.err);
    let absent = here.rsv("open unix:///nope").await;
    assert_eq!(absent.result(), ("unix:///nope no such file\n", 0));
    for url in ["http://", "http:///x"] {
        let ran = here.rsv(&format!("open {url}")).await;
        assert_eq!(ran.result(), ("", 1), "{}", ran.err);
    }

    let input = here.path().join("lines");
    std::fs::write(&input, format!("open {url}\nstatus app\n")).unwrap();
    let mut prompt = rsv(here.path());
    prompt
        .args(["-c", "s.conf"])
        .stdin(Stdio::from(std::fs::File::open(input).unwrap()));
    let ran = tokio::task::spawn_blocking(move || prompt.output());
    let ran = ended(ran.await.unwrap().unwrap());
    let missing = format!("{} no such file\n", here.url());
    let expected = format!("{missing}supervisor> {status}supervisor> {status}supervisor> \n");
    assert_eq!(ran.result(), (expected.as_str(), 0), "{}", ran.err);
}
