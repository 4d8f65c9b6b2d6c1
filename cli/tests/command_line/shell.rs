//! The prompt, fed by a pipe as scripts feed supervisorctl's.

use std::process::Stdio;

use rsv_proto::wire::{HostStatus, ProcessState, ProcessStatus};

use crate::{
    agent::Agent,
    fake::Answers,
    run::{Ran, rsv},
};

fn one_that_runs() -> Answers {
    let process = ProcessStatus {
        group: "app".into(),
        name: "app".into(),
        state: ProcessState::Running.into(),
        ..Default::default()
    };
    Answers {
        status: vec![HostStatus {
            programs: vec![process],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Runs the prompt with these lines for input.
async fn typed(agent: &Agent, lines: impl AsRef<[u8]>) -> Ran {
    let input = agent.path().join("lines");
    std::fs::write(&input, lines).unwrap();
    let mut command = rsv(agent.path());
    command
        .args(["-c", "s.conf"])
        .stdin(Stdio::from(std::fs::File::open(input).unwrap()));
    let ran = tokio::task::spawn_blocking(move || command.output());
    let output = ran.await.unwrap().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

const RUNS: &str = "app                              RUNNING   pid 0, uptime 0:00:00\n";

#[tokio::test]
async fn it_begins_with_the_status_and_runs_line_after_line() {
    let agent = Agent::with(one_that_runs());
    let ran = typed(&agent, "\n  status app\nfrob x\nquit\nstatus\n").await;
    let expected = format!(
        "{RUNS}supervisor> supervisor> {RUNS}supervisor> *** Unknown syntax: frob x\nsupervisor> \n"
    );
    assert_eq!(ran.result(), (expected.as_str(), 0), "{}", ran.err);
}

#[tokio::test]
async fn the_end_of_the_input_is_its_end_and_what_fails_is_not() {
    let agent = Agent::with(one_that_runs());
    let ran = typed(&agent, "start --nonsense\nstatus nope\n").await;
    let expected =
        format!("{RUNS}supervisor> supervisor> nope: ERROR (no such process)\nsupervisor> \n");
    assert_eq!(ran.result(), (expected.as_str(), 0), "{}", ran.err);
    assert!(ran.err.contains("--nonsense"), "{}", ran.err);
}

#[tokio::test]
async fn a_line_that_is_no_text_does_not_end_the_script() {
    let agent = Agent::with(one_that_runs());
    let ran = typed(&agent, b"status \xff\nstatus app\n").await;
    let expected = format!(
        "{RUNS}supervisor> \u{fffd}: ERROR (no such process)\nsupervisor> {RUNS}supervisor> \n"
    );
    assert_eq!(ran.result(), (expected.as_str(), 0), "{}", ran.err);
}

#[tokio::test]
async fn what_ends_everything_is_asked_first() {
    let agent = Agent::with(one_that_runs());
    let ran = typed(&agent, "shutdown\nno\nreload\n\nquit\n").await;
    let expected = format!(
        "{RUNS}supervisor> Really shut the remote supervisord process down y/N? supervisor> Really \
         restart the remote supervisord process y/N? supervisor> \n"
    );
    assert_eq!(ran.result(), (expected.as_str(), 0), "{}", ran.err);
}

#[tokio::test]
async fn without_an_agent_the_bare_name_explains_itself() {
    let home = tempfile::tempdir().unwrap();
    let output = rsv(home.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("Usage: rsv [OPTIONS] [VERB]"), "{text}");
}

#[tokio::test]
async fn a_file_that_means_nothing_is_said_once_and_opens_no_prompt() {
    let agent = Agent::with(one_that_runs());
    std::fs::write(agent.path().join("s.conf"), "[supervisord\n").unwrap();
    let ran = typed(&agent, "status\nversion\n").await;
    assert_eq!(ran.result(), ("", 2), "{}", ran.err);
    assert_eq!(ran.err.matches("s.conf:1:").count(), 1, "{}", ran.err);
}
