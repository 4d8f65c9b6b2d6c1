//! Runs that do not come to their own end: interrupted, or with nobody who reads.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rsv_proto::wire::{
    HostStatus, ProcessState, ProcessStatus, TailMainLogResponse, TailResponse,
    tail_response::{Chunk, Event},
};

use crate::{
    agent::Agent,
    controller::Controller,
    fake::Answers,
    run::{Ran, rsv},
};

/// Runs until `ready` is in a line of standard output, or of standard error, then interrupts.
pub(crate) async fn interrupted(mut command: Command, ready: &'static str, on_error: bool) -> Ran {
    let run = move || {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let mut seen = String::new();
        while !seen.contains(ready) {
            let read = match on_error {
                true => err.read_line(&mut seen),
                false => out.read_line(&mut seen),
            };
            assert_ne!(read.unwrap(), 0, "{seen}");
        }
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
        let (mut rest_out, mut rest_err) = (String::new(), String::new());
        out.read_to_string(&mut rest_out).unwrap();
        err.read_to_string(&mut rest_err).unwrap();
        let code = child.wait().unwrap().code().unwrap_or(-1);
        match on_error {
            true => Ran {
                code,
                out: rest_out,
                err: seen + &rest_err,
            },
            false => Ran {
                code,
                out: seen + &rest_out,
                err: rest_err,
            },
        }
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test]
async fn a_followed_log_ends_cleanly_when_interrupted() {
    let agent = Agent::with(Answers {
        tail: vec![TailResponse {
            host: String::new(),
            program: "a".into(),
            event: Some(Event::Chunk(Chunk {
                at: None,
                data: b"line\n".to_vec(),
                live: false,
            })),
        }],
        main_log: vec![TailMainLogResponse {
            data: b"line\n".to_vec(),
            ..Default::default()
        }],
        holds: true,
        ..Default::default()
    });
    let following = |words: &[&str]| {
        let mut command = rsv(agent.path());
        command.args(["-c", "s.conf"]).args(words);
        interrupted(command, "line", false)
    };
    // As with supervisorctl an interrupt is the way to end it, and an empty line the end.
    let out = "==> Press Ctrl-C to exit <==\nline\n\n";
    for words in [&["tail", "-f", "a"][..], &["maintail", "-f"]] {
        let ran = following(words).await;
        assert_eq!(ran.result(), (out, 0), "{}", ran.err);
        assert_eq!(ran.err, "");
    }
    // To scripts it is one.
    let scripts = following(&["-o", "jsonl", "tail", "-f", "a"]).await;
    assert_eq!(scripts.code, 130, "{}", scripts.err);
    assert_eq!(scripts.out.lines().count(), 1, "{}", scripts.out);
}

#[tokio::test]
async fn an_interrupted_action_names_the_operation_that_goes_on() {
    let controller = Controller::with(Answers {
        reached: vec!["web01".into()],
        holds: true,
        ..Default::default()
    })
    .await;
    let mut command = rsv(&controller.path());
    command.args([
        "--context",
        "admin.context",
        "-v",
        "-H",
        "web01",
        "restart",
        "app",
    ]);
    let ran = interrupted(command, "op 01JDG7M2", true).await;
    assert_eq!(ran.code, 130, "{}", ran.err);
    assert!(
        ran.err.contains("operation 01JDG7M2 goes on"),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn output_that_nobody_reads_ends_the_run_without_words() {
    let program = |n: u32| ProcessStatus {
        group: "g".into(),
        name: format!("program-{n}"),
        state: ProcessState::Stopped.into(),
        ..Default::default()
    };
    let agent = Agent::with(Answers {
        status: vec![HostStatus {
            programs: (0..5000).map(program).collect(),
            ..Default::default()
        }],
        ..Default::default()
    });
    let mut command = rsv(agent.path());
    command.args(["-c", "s.conf", "status"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = move || {
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        child.wait_with_output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[tokio::test]
async fn an_agent_that_stands_still_is_said_to_and_where_it_is() {
    let agent = Agent::absent();
    // Connections are taken up by the kernel, and nobody ever speaks.
    let listener = std::os::unix::net::UnixListener::bind(agent.socket()).unwrap();
    for line in ["status", "version --timeout 1s", "pid --timeout 1s"] {
        let begun = Instant::now();
        let ran = agent.rsv(line).await;
        assert_eq!(ran.result(), ("", 4), "{line}: {}", ran.err);
        let words = format!(
            "rsv: the agent does not answer (socket {})\nhint: ",
            agent.socket().display()
        );
        assert!(ran.err.starts_with(&words), "{line}: {}", ran.err);
        assert!(begun.elapsed() < Duration::from_secs(60), "{line}");
    }
    drop(listener);
}
