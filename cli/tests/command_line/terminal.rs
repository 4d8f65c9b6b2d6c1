//! At a terminal, which `script` makes: what is asked, and what an answer or an interrupt does.

use std::{
    io::{Read as _, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use rsv_proto::wire::{Outcome, TargetResult};

use crate::{controller::Controller, fake::Answers, run::rsv};

/// Runs a line at a terminal, types as soon as it asks, and gives the exit code.
fn typed(home: &Path, line: &str, asks: &str, keys: &str) -> i32 {
    let here = rsv(home);
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--flush", "--command"]);
    command.arg(format!("{} {line}", here.get_program().to_string_lossy()));
    command.arg("/dev/null").current_dir(home);
    for (name, value) in here.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("RSV_CONTEXT", home.join("admin.context"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(asks) {
        let mut byte = [0];
        assert_eq!(
            output.read(&mut byte).unwrap(),
            1,
            "never asked: {}",
            String::from_utf8_lossy(&seen)
        );
        seen.push(byte[0]);
    }
    input.write_all(keys.as_bytes()).unwrap();
    // The terminal is read to its end, or whoever writes there would wait.
    output.read_to_end(&mut seen).unwrap();
    child.wait().unwrap().code().unwrap_or(-1)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_at_the_question_does_nothing() {
    let done = |host: &str| TargetResult {
        host: host.into(),
        program: "app".into(),
        outcome: Outcome::Done.into(),
        ..Default::default()
    };
    let controller = Controller::with(Answers {
        reached: vec!["web01".into(), "web02".into()],
        results: vec![("all", done("web01")), ("all", done("web02"))],
        ..Default::default()
    })
    .await;
    let acted = || {
        let acts = controller.fake.acts();
        acts.iter().filter(|act| !act.dry_run).count()
    };
    for (keys, code, acts) in [
        ("\x03", 130, 0),
        ("\x032\n", 130, 0),
        ("no\n", 17, 0),
        ("\n", 17, 0),
        ("2\n", 0, 1),
    ] {
        let home = controller.path();
        let asked = tokio::task::spawn_blocking(move || {
            typed(&home, "-A stop all", "type the number of hosts", keys)
        });
        assert_eq!((asked.await.unwrap(), acted()), (code, acts), "{keys:?}");
    }
}
