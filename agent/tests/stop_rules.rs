//! How a running process will be stopped, changed by an update while it runs: the process is not touched,
//! the update says what it has applied, and the next stop is by the new rule, whoever carries it out: the
//! agent, the agent after it, or the keeper without one.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[expect(dead_code, reason = "each test file uses its part of the host")]
#[path = "host_support/host.rs"]
mod host;

use std::fs;

use host::{Host, eventually};
use rsv_proto::wire::{
    ActRequest, Action, StopAction, action::Verb, planned_process, update_response::Event,
};
use rustix::process::{Pid, Signal, kill_process};

/// The process notes what it is sent and goes on, and so does one that it has started.
const DEAF: &str = "trap 'echo first TERM' TERM; trap 'echo first USR1' USR1\n\
                    sh -c 'trap \"echo second TERM\" TERM; trap \"echo second USR1\" USR1; echo second up; \
                    while :; do sleep 0.02; done' &\n\
                    echo first up; while :; do sleep 0.02; done\n";

/// The same, but it ends with its first signal: at once, or when the one that it has started had its own.
const POLITE: &str = "trap 'echo first USR1; exit 0' USR1\n\
                      sh -c 'trap \"echo second USR1; : >reached; exit\" USR1; echo second up; \
                      while :; do sleep 0.02; done' &\n\
                      echo first up; while :; do sleep 0.02; done\n";
const PATIENT: &str = "trap 'until [ -e reached ]; do sleep 0.02; done; echo first USR1; exit 0' USR1\n\
                       sh -c 'trap \"echo second USR1; : >reached; exit\" USR1; echo second up; \
                       while :; do sleep 0.02; done' &\n\
                       echo first up; while :; do sleep 0.02; done\n";

/// Who stops the process after the update.
#[derive(Clone, Copy, Debug)]
enum By {
    /// The agent that was there at the update.
    Agent,
    /// Another one, after a SIGKILL of that.
    NextAgent,
    /// The keeper, with no agent there.
    Keeper,
}

/// A host with one program under the former rule.
async fn running(script: &str, rule: &str) -> (Host, u32) {
    let mut host = Host::new("");
    fs::write(host.path("app.sh"), script).unwrap();
    configure(&host, rule);
    host.start().await;
    let pid = host.up("app").await;
    eventually("both are up", async || {
        let said = said(&host);
        said.contains("first up\n") && said.contains("second up\n")
    })
    .await;
    (host, pid)
}

fn configure(host: &Host, rule: &str) {
    let at = host.directory.path().display();
    host.write(&format!(
        "[program:app]\ncommand = /bin/sh {at}/app.sh\nstartsecs = 0\nstdout_logfile = {at}/app.log\n{rule}"
    ));
}

fn said(host: &Host) -> String {
    fs::read_to_string(host.path("app.log")).unwrap_or_default()
}

/// Updates to another rule, of which exactly these keys differ, with the process as it was.
async fn update(host: &Host, pid: u32, rule: &str, keys: &[&str]) {
    let before = said(host);
    configure(host, rule);
    let events = host.update(&[]).await;
    let [Event::Updated(updated)] = &events[..] else {
        panic!("{events:?}")
    };
    let group = updated.group.as_ref().unwrap();
    let [process] = &group.processes[..] else {
        panic!("{group:?}")
    };
    assert_eq!(process.kind(), planned_process::Kind::Live);
    assert_eq!(process.keys, keys);
    assert_eq!(host.up("app").await, pid);
    assert_eq!(said(host), before, "it was sent nothing");
}

async fn stop(host: &mut Host, pid: u32, by: By) {
    match by {
        By::Agent => ask_to_stop(host).await,
        By::NextAgent => {
            host.kill_agent();
            host.start().await;
            assert_eq!(host.up("app").await, pid);
            ask_to_stop(host).await;
        }
        By::Keeper => {
            let keeper = keeper(host);
            host.kill_agent();
            kill_process(keeper, Signal::TERM).unwrap();
        }
    }
    eventually("it has ended", async || !host::is_alive(pid)).await;
    if matches!(by, By::Keeper) {
        eventually("the keeper has ended", async || {
            !host.path("keeper.sock").exists()
        })
        .await;
    }
}

fn keeper(host: &Host) -> Pid {
    let socket = rsv_keeper::packet::connect(&host.path("keeper.sock")).unwrap();
    rustix::net::sockopt::socket_peercred(&socket).unwrap().pid
}

async fn ask_to_stop(host: &Host) {
    let request = ActRequest {
        programs: vec!["app".to_owned()],
        action: Some(Action {
            verb: Some(Verb::Stop(StopAction {})),
        }),
        ..Default::default()
    };
    let mut client = host.client().await;
    let mut answers = client.act(request).await.unwrap().into_inner();
    while answers.message().await.unwrap().is_some() {}
}

/// Under the former rule each of these would take ten minutes, and no test waits for that.
#[tokio::test]
async fn another_grace_is_obeyed_at_the_next_stop() {
    for by in [By::Agent, By::NextAgent, By::Keeper] {
        let (mut host, pid) = running(DEAF, "stopwaitsecs = 600\n").await;
        update(&host, pid, "stopwaitsecs = 1\n", &["stopwaitsecs"]).await;
        stop(&mut host, pid, by).await;
        assert!(said(&host).contains("first TERM\n"), "{by:?}");
    }
}

fn to_group(group: bool) -> String {
    format!("stopsignal = USR1\nstopwaitsecs = 600\nstopasgroup = {group}\n")
}

#[tokio::test]
async fn a_stop_reaches_the_whole_group_after_the_update() {
    for by in [By::Agent, By::NextAgent, By::Keeper] {
        let (mut host, pid) = running(PATIENT, &to_group(false)).await;
        update(&host, pid, &to_group(true), &["stopasgroup", "killasgroup"]).await;
        stop(&mut host, pid, by).await;
        let log = said(&host);
        assert!(log.ends_with("second USR1\nfirst USR1\n"), "{by:?}: {log}");
    }
}

#[tokio::test]
async fn a_stop_reaches_the_process_alone_after_the_update() {
    for by in [By::Agent, By::NextAgent, By::Keeper] {
        let (mut host, pid) = running(POLITE, &to_group(true)).await;
        update(
            &host,
            pid,
            &to_group(false),
            &["stopasgroup", "killasgroup"],
        )
        .await;
        stop(&mut host, pid, by).await;
        let log = said(&host);
        assert!(log.ends_with("first USR1\n"), "{by:?}: {log}");
        assert!(!log.contains("second USR1"), "{by:?}: {log}");
    }
}

/// Who is killed with SIGKILL shows in the agent's words for people who look for faults; what is left of
/// the program is gone in any case.
#[tokio::test]
async fn the_group_is_killed_or_the_process_alone_as_the_update_says() {
    let rule = |group: bool| {
        format!("stopwaitsecs = 1\nkillasgroup = {group}\n[supervisord]\nloglevel = debug\n")
    };
    for (by, group) in [
        (By::Agent, true),
        (By::NextAgent, true),
        (By::Agent, false),
        (By::NextAgent, false),
    ] {
        let (mut host, pid) = running(DEAF, &rule(!group)).await;
        update(&host, pid, &rule(group), &["killasgroup"]).await;
        stop(&mut host, pid, by).await;
        let whom = if group { "process group " } else { "" };
        for line in [
            format!("WARN killing 'app' ({pid}) with SIGKILL\n"),
            format!("DEBG killing app (pid {pid}) {whom}with signal SIGKILL "),
        ] {
            eventually(&line, async || host.log().contains(&line)).await;
        }
    }
}
