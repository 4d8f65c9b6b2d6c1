//! Completion in real shells, of names that are there, and of servers that never answer.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rsv_proto::wire::{Host, HostState, HostStatus, Operation, ProcessState, ProcessStatus};
use tokio::net::TcpListener;

use crate::{
    agent::Agent,
    controller::Controller,
    fake::Answers,
    run::{Ran, rsv, run},
};

/// What a key may take, as people notice it.
const LIMIT: Duration = Duration::from_millis(200);

/// How often it is asked on a machine that is so busy that nothing is known in time, which is no failure.
const TRIES: usize = 50;

fn process(group: &str, name: &str) -> ProcessStatus {
    ProcessStatus {
        group: group.into(),
        name: name.into(),
        state: ProcessState::Running.into(),
        ..Default::default()
    }
}

fn host(name: &str, state: HostState) -> Host {
    Host {
        name: name.into(),
        state: state.into(),
        labels: [("role".to_owned(), "web".to_owned())].into(),
        ..Default::default()
    }
}

fn answers() -> Answers {
    let programs = vec![
        process("app", "app"),
        process("web", "a"),
        process("web", "b"),
    ];
    Answers {
        hosts: vec![
            host("web01", HostState::Connected),
            host("web02", HostState::Unreachable),
        ],
        status: vec![HostStatus {
            programs,
            ..Default::default()
        }],
        operations: vec![Operation {
            id: "01JDG7M2".into(),
            programs: vec!["app".into()],
            hosts: 3,
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// What is offered at the end of a line, as a script is told it.
async fn offered(controller: &Controller, line: &str) -> Ran {
    let mut command = rsv(&controller.path());
    command.env("RSV_CONTEXT", controller.path().join("admin.context"));
    run(command, ["__complete", line]).await
}

/// As [`offered`], once something is.
async fn finally_offered(controller: &Controller, line: &str) -> Ran {
    let mut ran = offered(controller, line).await;
    for _ in 1..TRIES {
        if !ran.out.is_empty() {
            break;
        }
        ran = offered(controller, line).await;
    }
    ran
}

#[tokio::test]
async fn names_come_from_the_controller_with_what_is_known_of_them() {
    let controller = Controller::with(answers()).await;
    for (line, expected) in [
        ("rsv -H ", "web01\tconnected\nweb02\tunreachable\n"),
        (
            "rsv -H web01,web",
            "web01,web01\tconnected\nweb01,web02\tunreachable\n",
        ),
        ("rsv host drain ", "web01\tconnected\nweb02\tunreachable\n"),
        ("rsv host ls 'web[01-", "web[01-02]\tunreachable\n"),
        ("rsv -l ", "role=web\t\n"),
        (
            "rsv -A restart ",
            "app\tRUNNING\nweb:*\t2 RUNNING\nweb:a\tRUNNING\nweb:b\tRUNNING\n",
        ),
        (
            "rsv -H 'web*' restart web:a web:",
            "web:*\t2 RUNNING\nweb:b\tRUNNING\n",
        ),
        ("rsv -A op show 0", "01JDG7M2\tapp on 3 hosts\n"),
        (
            "rsv toke",
            "token\tTokens with which hosts join the fleet\n",
        ),
    ] {
        let ran = finally_offered(&controller, line).await;
        assert_eq!(ran.result(), (expected, 0), "{line}: {}", ran.err);
        assert_eq!(ran.err, "", "{line}");
    }
}

#[tokio::test]
async fn names_of_this_machine_come_from_its_agent() {
    let agent = Agent::with(answers());
    for (line, expected) in [
        (
            "rsv -c s.conf stop w",
            "web:*\t2 RUNNING\nweb:a\tRUNNING\nweb:b\tRUNNING\n",
        ),
        ("rsv -c s.conf update ", "app\tRUNNING\nweb\t2 RUNNING\n"),
    ] {
        let mut ran = run(rsv(agent.path()), ["__complete", line]).await;
        for _ in 1..TRIES {
            if !ran.out.is_empty() {
                break;
            }
            ran = run(rsv(agent.path()), ["__complete", line]).await;
        }
        assert_eq!(ran.result(), (expected, 0), "{line}: {}", ran.err);
    }
}

#[tokio::test]
async fn nobody_who_is_away_or_silent_holds_up_a_shell() {
    let controller = Controller::with(answers()).await;
    // Takes connections, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent
        .local_addr()
        .map(|address| (silent, address))
        .unwrap();
    let agent = Agent::absent();
    for line in [
        format!("rsv --controller {} -A restart ", silent.1),
        // Of a block that is routed nowhere.
        "rsv --controller 192.0.2.1:7443 -H ".to_owned(),
        "rsv --controller nobody.invalid:7443 -H ".to_owned(),
        "rsv --controller 127.0.0.1:1 op show ".to_owned(),
        "rsv --context nobody -H ".to_owned(),
        format!("rsv -c {}/s.conf stop ", agent.path().display()),
    ] {
        // Of several, the fastest: one that waits for somebody waits each time, a busy machine does not.
        let mut fastest = Duration::MAX;
        for _ in 0..TRIES {
            let started = Instant::now();
            let ran = offered(&controller, &line).await;
            fastest = fastest.min(started.elapsed());
            assert_eq!((ran.result(), ran.err.as_str()), (("", 0), ""), "{line}");
            if fastest < LIMIT {
                break;
            }
        }
        assert!(fastest < LIMIT, "{line}: {fastest:?}");
    }
}

/// Writes the script of a shell into the directory, with the built command in front of every other.
async fn script(home: &Path, shell: &str) -> String {
    let ran = run(rsv(home), ["completion", shell]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let path = home.join(shell);
    std::fs::write(&path, ran.out).unwrap();
    path.display().to_string()
}

/// What a shell prints that is told to complete, once it prints anything.
async fn shell(controller: &Controller, shell: &str, arguments: &[&str]) -> String {
    let mut out = String::new();
    for _ in 0..TRIES {
        out = once(controller, shell, arguments).await;
        if !out.trim().is_empty() {
            break;
        }
    }
    out
}

async fn once(controller: &Controller, shell: &str, arguments: &[&str]) -> String {
    let home = controller.path();
    let built = Path::new(env!("CARGO_BIN_EXE_rsv")).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", built.display());
    let mut command = Command::new(shell);
    command
        .args(arguments)
        .env("PATH", path)
        .env("HOME", &home)
        .env("TERM", "xterm")
        .env("RSV_CONTEXT", home.join("admin.context"))
        .env_remove("XDG_CONFIG_HOME")
        .stdin(Stdio::null());
    let ran = tokio::task::spawn_blocking(move || command.output());
    let output = ran
        .await
        .unwrap()
        .expect("the shell is installed, as tests/run.sh does");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.is_empty(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn bash_completes_hosts_and_programs() {
    let controller = Controller::with(answers()).await;
    let script = script(&controller.path(), "bash").await;
    for (line, typed, expected) in [
        ("rsv -H we", "we", "web01 web02"),
        ("rsv -H 'web01,we", "'web01,we", "web01,web01 web01,web02"),
        ("rsv --host=we", "we", "web01 web02"),
        ("rsv host drain we", "we", "web01 web02"),
        ("rsv -H 'web[01-", "'web[01-", "web[01-02]"),
        // Bash breaks words at colons.
        ("rsv -A restart web:", "", "* a b"),
        ("rsv -A restart a", "a", "app"),
        ("rsv statu", "statu", "status"),
    ] {
        let words = format!(
            "source {script}; COMP_LINE=$1 COMP_POINT=${{#1}}; _rsv rsv \"$2\" x; \
             echo \"${{COMPREPLY[*]}}\""
        );
        let out = shell(&controller, "bash", &["-c", &words, "bash", line, typed]).await;
        assert_eq!(out.trim_end(), expected, "{line}");
    }
}

#[tokio::test]
async fn a_host_is_completed_up_to_its_colon_and_then_what_it_has() {
    let mut answers = answers();
    for host in &mut answers.status {
        host.host = "web01".into();
        host.state = HostState::Connected.into();
    }
    let controller = Controller::with(answers).await;
    for (line, expected) in [
        ("rsv -A restart web0", "web01:\ta host, connected\n"),
        ("rsv -A restart web01:a", "web01:app\tRUNNING\n"),
        (
            "rsv -A restart 'web0*:web:",
            "web0*:web:*\t2 RUNNING\nweb0*:web:a\tRUNNING\nweb0*:web:b\tRUNNING\n",
        ),
    ] {
        let ran = finally_offered(&controller, line).await;
        assert_eq!(ran.result(), (expected, 0), "{line}: {}", ran.err);
    }
    let script = script(&controller.path(), "bash").await;
    let words = format!(
        "source {script}; COMP_LINE=$1 COMP_POINT=${{#1}}; _rsv rsv \"$2\" x; echo \"${{COMPREPLY[*]}}\""
    );
    for (line, typed, expected) in [
        ("rsv -A restart web0", "web0", "web01:"),
        ("rsv -A restart web01:", "", "app web:* web:a web:b"),
    ] {
        let out = shell(&controller, "bash", &["-c", &words, "bash", line, typed]).await;
        assert_eq!(out.trim_end(), expected, "{line}");
    }
}

#[tokio::test]
async fn fish_completes_hosts_and_programs() {
    let controller = Controller::with(answers()).await;
    let script = script(&controller.path(), "fish").await;
    for (line, expected) in [
        ("rsv -H we", "web01\tconnected\nweb02\tunreachable\n"),
        (
            "rsv -A restart web:a web:",
            "web:*\t2 RUNNING\nweb:b\tRUNNING\n",
        ),
        ("rsv -A restart ap", "app\tRUNNING\n"),
    ] {
        let words = format!("source {script}; complete --do-complete '{line}'");
        assert_eq!(
            shell(&controller, "fish", &["-c", &words]).await,
            expected,
            "{line}"
        );
    }
}

#[tokio::test]
async fn zsh_completes_hosts_and_programs() {
    let controller = Controller::with(answers()).await;
    let script = script(&controller.path(), "zsh").await;
    for (words, prefix, expected) in [
        ("rsv -H we", "we", "web01:connected web02:unreachable"),
        (
            "rsv -A restart web:",
            "web:",
            r"web\:*:2 RUNNING web\:a:RUNNING web\:b:RUNNING",
        ),
    ] {
        // Outside of its line editor: what would be described is printed.
        let asked = format!(
            "compdef() {{ }}; _describe() {{ print -r -- \"${{(@)described}}\" }}; source {script}; \
             words=({words}) CURRENT=${{#words}} PREFIX='{prefix}'; _rsv"
        );
        let out = shell(&controller, "zsh", &["-fc", &asked]).await;
        assert_eq!(out.trim_end(), expected, "{words}");
    }
}

#[tokio::test]
async fn the_manual_is_written_where_it_is_wanted() {
    let home = tempfile::tempdir().unwrap();
    let ran = run(rsv(home.path()), ["man", "deep/man1"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let paths: Vec<&str> = ran.out.lines().collect();
    assert!(paths.contains(&"deep/man1/rsv.1") && paths.contains(&"deep/man1/rsv-op-watch.1"));
    for path in paths {
        let text = std::fs::read_to_string(home.path().join(path)).unwrap();
        assert!(text.starts_with(".TH RSV"), "{path}");
        assert!(text.contains("\n.SH SYNOPSIS\n.nf\nrsv"), "{path}");
    }
    let file = home.path().join("file");
    std::fs::write(&file, "").unwrap();
    let ran = run(rsv(home.path()), ["man", "file"]).await;
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.contains("cannot make `file`"), "{}", ran.err);
}
