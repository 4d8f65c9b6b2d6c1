//! Programs that outlive their agent, and programs that outlive their keeper.

#[path = "hub/rig.rs"]
mod rig;

use std::path::Path;
use std::time::Duration;

use rig::{Rig, eventually, is_alive, kill, said};
use rsv_agent::hub::Shutdown;
use rsv_agent::journal::Item;
use rsv_proto::wire::{self, Outcome, ProcessState, Refusal, Step, exit_status};
use rsv_supervise::Autorestart;
use rustix::process::Signal;

#[tokio::test]
async fn a_killed_agent_leaves_its_programs_to_the_next_one() {
    let rig = Rig::with_keeper();
    let programs = || {
        let mut quiet = rig.program("quiet", "exec sleep 1000");
        quiet.policy.autostart = false;
        vec![
            rig.program("app", "echo one; read x; echo $x; exec sleep 1000"),
            quiet,
        ]
    };
    let agent = rig.agent(programs()).await;
    let before = agent.until_state("app", ProcessState::Running).await;
    eventually("the output", || rig.log("app") == "one\n").await;
    agent.kill().await;
    let agent = rig.agent(programs()).await;
    let after = agent.shown("app").await;
    assert_eq!(after, before);
    assert!(is_alive(after.pid.unwrap()));
    assert_eq!(agent.shown("quiet").await.state(), ProcessState::Stopped);
    agent.stop().await;
}

#[tokio::test]
async fn what_was_stopped_is_not_started_by_the_next_agent() {
    let rig = Rig::with_keeper();
    let programs = || vec![rig.program("app", "exec sleep 1000")];
    let agent = rig.agent(programs()).await;
    agent.until_state("app", ProcessState::Running).await;
    agent.halt("app").await;
    let before = agent.shown("app").await;
    agent.kill().await;
    let agent = rig.agent(programs()).await;
    assert_eq!(agent.shown("app").await, before);
    let result = agent.start("app").await;
    assert_eq!(
        said(&result),
        (Outcome::Done, Refusal::Unspecified, vec![Step::Started])
    );
    agent.stop().await;
}

#[tokio::test]
async fn an_exit_without_an_agent_is_known_and_acted_upon_by_the_next() {
    let rig = Rig::with_keeper();
    let script = "echo run; read line < gate; exit 3";
    let gate = rig.path("gate");
    let made = std::process::Command::new("mkfifo")
        .arg(&gate)
        .status()
        .unwrap();
    assert!(made.success());
    let programs = |autorestart| {
        let mut program = rig.program("app", script);
        program.policy.autorestart = autorestart;
        program.launch.as_mut().unwrap().directory = Some(rig.directory.path().to_owned());
        vec![program]
    };
    let agent = rig.agent(programs(Autorestart::Never)).await;
    let pid = agent
        .until_state("app", ProcessState::Running)
        .await
        .pid
        .unwrap();
    agent.kill().await;
    std::fs::write(&gate, "go\n").unwrap();
    eventually("the exit", || !is_alive(pid)).await;
    let agent = rig.agent(programs(Autorestart::Always)).await;
    let shown = agent
        .until("app", |shown| shown.restarts == 1 && shown.pid.is_some())
        .await;
    assert_eq!(shown.exit.unwrap().kind, Some(exit_status::Kind::Code(3)));
    assert_ne!(shown.pid, Some(pid));
    eventually("the second run's output", || rig.log("app") == "run\nrun\n").await;
    agent.stop().await;
}

#[tokio::test]
async fn a_stop_that_was_asked_for_is_carried_on_by_the_next_agent() {
    let rig = Rig::with_keeper();
    let programs = || {
        let script = "trap \"\" TERM; echo ready; while :; do sleep 1000; done";
        let mut program = rig.program("deaf", script);
        program.policy.stopwaitsecs = Duration::from_millis(300);
        program.policy.kill_scope = rsv_supervise::Scope::Group;
        vec![program]
    };
    let agent = rig.agent(programs()).await;
    let pid = agent
        .until_state("deaf", ProcessState::Running)
        .await
        .pid
        .unwrap();
    eventually("the trap", || rig.log("deaf").contains("ready")).await;
    let stop = wire::action::Verb::Stop(wire::StopAction {});
    let request = rsv_agent::hub::ActOn {
        programs: vec!["deaf".into()],
        action: wire::Action { verb: Some(stop) },
        ..rsv_agent::hub::ActOn::default()
    };
    drop(agent.hub.act(request).await.unwrap());
    agent.until_state("deaf", ProcessState::Stopping).await;
    agent.kill().await;
    let agent = rig.agent(programs()).await;
    agent.until_state("deaf", ProcessState::Stopped).await;
    assert!(!is_alive(pid));
    agent.stop().await;
}

#[tokio::test]
async fn left_programs_run_on_and_their_agents_end_is_orderly() {
    let rig = Rig::with_keeper();
    let programs = || vec![rig.program("app", "exec sleep 1000")];
    let agent = rig.agent(programs()).await;
    let before = agent.until_state("app", ProcessState::Running).await;
    let mut reader = agent.hub.subscribe();
    rig::within(agent.hub.shutdown(Shutdown::LeavePrograms))
        .await
        .unwrap();
    assert_eq!(rig::within(reader.next()).await, Item::Ended);
    assert_eq!(
        rig::within(agent.task).await.unwrap(),
        Shutdown::LeavePrograms
    );
    assert!(agent.hub.snapshot().await.is_err());
    let agent = rig.agent(programs()).await;
    assert_eq!(agent.shown("app").await, before);
    agent.stop().await;
}

#[tokio::test]
async fn a_program_that_is_no_longer_configured_runs_until_it_is_stopped() {
    let rig = Rig::with_keeper();
    let agent = rig.agent(vec![rig.program("old", "exec sleep 1000")]).await;
    let pid = agent
        .until_state("old", ProcessState::Running)
        .await
        .pid
        .unwrap();
    agent.kill().await;
    let agent = rig.agent(vec![rig.program("new", "exec sleep 1000")]).await;
    assert_eq!(agent.shown("old").await.pid, Some(pid));
    let mut reader = agent.hub.subscribe();
    let result = agent.halt("old").await;
    assert_eq!(
        said(&result),
        (Outcome::Done, Refusal::Unspecified, vec![Step::Stopped])
    );
    rig::within(async {
        loop {
            if let Item::Delta(wire::Delta {
                change: Some(wire::delta::Change::Remove(key)),
                ..
            }) = reader.next().await
            {
                assert_eq!(key.name, "old");
                break;
            }
        }
    })
    .await;
    assert!(!is_alive(pid));
    agent.kill().await;
    let agent = rig.agent(vec![rig.program("new", "exec sleep 1000")]).await;
    let status = agent.hub.status(&[]).await.unwrap();
    assert_eq!(status.programs.len(), 1);
    agent.stop().await;
}

#[tokio::test]
async fn programs_outlive_their_keeper_and_the_next_keeper_has_them() {
    let mut rig = Rig::with_keeper();
    let mut program = rig.program("app", "while read x; do echo $x; done; exec sleep 1000");
    program.policy.autorestart = Autorestart::Always;
    let agent = rig.agent(vec![program]).await;
    let before = agent.until_state("app", ProcessState::Running).await;
    let pid = before.pid.unwrap();
    rig.kill_keeper();
    rig.start_keeper();
    // Answered only by a keeper that knows the process.
    let result = agent.signal("app", Signal::CONT.as_raw()).await;
    assert_eq!(
        said(&result),
        (Outcome::Done, Refusal::Unspecified, vec![Step::Signalled])
    );
    assert_eq!(agent.shown("app").await, before);
    kill(pid, Signal::KILL);
    let shown = agent
        .until("app", |shown| shown.restarts == 1 && shown.pid.is_some())
        .await;
    assert_ne!(shown.pid, Some(pid));
    agent.stop().await;
    rig.keeper_ends().await;
}

#[tokio::test]
async fn a_program_that_ends_without_a_keeper_is_restarted_by_the_next() {
    let mut rig = Rig::with_keeper();
    let mut program = rig.program("app", "exec sleep 1000");
    program.policy.autorestart = Autorestart::Always;
    let agent = rig.agent(vec![program]).await;
    let pid = agent
        .until_state("app", ProcessState::Running)
        .await
        .pid
        .unwrap();
    rig.kill_keeper();
    kill(pid, Signal::KILL);
    rig.start_keeper();
    let shown = agent
        .until("app", |shown| shown.restarts == 1 && shown.pid.is_some())
        .await;
    assert_ne!(shown.pid, Some(pid));
    agent.stop().await;
}

#[tokio::test]
async fn a_program_adopted_from_a_dead_keeper_survives_its_agent_too() {
    let mut rig = Rig::with_keeper();
    let program = rig.program("app", "exec sleep 1000");
    let agent = rig.agent(vec![program.clone()]).await;
    let before = agent.until_state("app", ProcessState::Running).await;
    rig.kill_keeper();
    rig.start_keeper();
    let result = agent.signal("app", Signal::CONT.as_raw()).await;
    assert_eq!(result.outcome(), Outcome::Done);
    agent.kill().await;
    let agent = rig.agent(vec![program]).await;
    assert_eq!(agent.shown("app").await, before);
    agent.stop().await;
}

#[tokio::test]
async fn a_running_program_whose_configuration_broke_keeps_its_log_and_stop_rule() {
    let rig = Rig::with_keeper();
    let script = "trap \"echo int; exit\" INT; echo ready; while :; do sleep 0.01; done";
    let mut program = rig.program("app", script);
    program.policy.stopsignal = 2;
    let agent = rig.agent(vec![program]).await;
    let before = agent.until_state("app", ProcessState::Running).await;
    eventually("the trap", || rig.log("app").contains("ready")).await;
    agent.kill().await;
    let mut broken = rig::program("app", "");
    broken.launch = Err("not a valid boolean value".into());
    let agent = rig.agent(vec![broken]).await;
    assert_eq!(agent.shown("app").await, before);
    let result = agent.halt("app").await;
    assert_eq!(
        said(&result),
        (Outcome::Done, Refusal::Unspecified, vec![Step::Stopped])
    );
    eventually("the last words", || rig.log("app").ends_with("int\n")).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_standard_error_that_is_merged_now_is_read_until_the_program_ends() {
    let rig = Rig::with_keeper();
    let script = "trap \"echo err >&2; echo told\" USR1; echo ready; while :; do sleep 0.01; done";
    let mut split = rig.program("app", script);
    split.launch.as_mut().expect("a shell").redirect_stderr = false;
    split.stderr = Some(rsv_agent::capture::LogSpec::null().into());
    let agent = rig.agent(vec![split]).await;
    agent.until_state("app", ProcessState::Running).await;
    eventually("the trap", || rig.log("app").contains("ready")).await;
    agent.kill().await;
    let agent = rig.agent(vec![rig.program("app", script)]).await;
    agent.signal("app", Signal::USR1.as_raw()).await;
    eventually("both streams", || {
        rig.log("app").contains("err\n") && rig.log("app").contains("told\n")
    })
    .await;
    assert_eq!(agent.restart("app").await.outcome(), Outcome::Done);
    agent.stop().await;
}

/// A small generator of numbers that look random; its seed is printed.
struct Chance(u64);

impl Chance {
    fn up_to(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % (most + 1)
    }
}

/// The processes whose command line has this word.
fn processes_with(word: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("the kernel has it");
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has_word = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = line.split(|byte| *byte == 0);
        words.into_iter().any(|found| found == word.as_bytes())
    };
    pids.filter(has_word).collect()
}

#[tokio::test]
async fn however_often_agent_and_programs_are_killed_each_program_runs_once() {
    let seed = u64::from(std::process::id()) << 20 | 0x5eed;
    println!("seed {seed}");
    let mut chance = Chance(seed);
    let rig = Rig::with_keeper();
    // A length of sleep that nobody else on this machine has.
    let marks: Vec<String> = (0..4)
        .map(|n| format!("{}{n}1", 900_000 + std::process::id()))
        .collect();
    let programs = || {
        let make = |(n, mark): (usize, &String)| {
            let mut program = rig.program(&format!("p{n}"), "");
            program.launch.as_mut().expect("a command").command = format!("/bin/sleep {mark}");
            program.policy.autorestart = Autorestart::Always;
            program
        };
        marks.iter().enumerate().map(make).collect::<Vec<_>>()
    };
    for _ in 0..40 {
        let agent = rig.agent(programs()).await;
        let victim = chance.up_to(3);
        if let Some(pid) = processes_with(&marks[usize::try_from(victim).expect("small")]).first() {
            kill(*pid, Signal::KILL);
        }
        // Not to wait for anything, but to die at any moment.
        tokio::time::sleep(Duration::from_micros(chance.up_to(4000))).await;
        agent.kill().await;
    }
    let agent = rig.agent(programs()).await;
    for (n, mark) in marks.iter().enumerate() {
        let shown = agent
            .until_state(&format!("p{n}"), ProcessState::Running)
            .await;
        // Its command line is readable a moment after the spawn is told.
        let only = [shown.pid.expect("it runs")];
        eventually("one process for each program", || {
            processes_with(mark) == only
        })
        .await;
    }
    agent.stop().await;
    assert!(
        marks.iter().all(|mark| processes_with(mark).is_empty()),
        "seed {seed}"
    );
}

/// Whether this process has a file open.
fn has_open(path: &Path) -> bool {
    let mut open = std::fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten();
    open.any(|file| std::fs::read_link(file.path()).is_ok_and(|name| name == path))
}

#[tokio::test]
async fn what_is_written_without_an_agent_is_looked_at_by_the_next_one() {
    let rig = Rig::with_keeper();
    // More than a pipe holds, so that it could not end if the pipe had not been made wider.
    let script = "e=$(printf '\\033'); echo up; until [ -e gate ]; do sleep 0.01; done\n\
                  seq -f \"$e[1m%.0f$e[0m\" 1 20000\n\
                  echo '<!--XSUPERVISOR:BEGIN-->aside<!--XSUPERVISOR:END-->'; touch done\n\
                  printf 'half <!--XSUPER'; until [ -e end ]; do sleep 0.01; done; echo '!'\n";
    std::fs::write(rig.path("script"), script).unwrap();
    let programs = || {
        let mut program = rig.program("app", "exec sh script");
        program.launch.as_mut().unwrap().directory = Some(rig.directory.path().to_owned());
        let mut spec = (*program.stdout).clone();
        (spec.strip_ansi, spec.capture_maxbytes) = (true, 1000);
        program.stdout = spec.into();
        program.policy.autorestart = Autorestart::Never;
        vec![program]
    };
    let agent = rig.agent(programs()).await;
    agent.until_state("app", ProcessState::Running).await;
    eventually("it is up", || rig.log("app") == "up\n").await;
    agent.kill().await;
    // The capture of an agent that is no process ends a moment after it.
    eventually("nobody here has the log", || {
        !has_open(&rig.path("app.log"))
    })
    .await;
    std::fs::write(rig.path("gate"), "").unwrap();
    eventually("it does not wait for an agent", || {
        rig.path("done").exists()
    })
    .await;
    assert_eq!(rig.log("app"), "up\n", "nothing gets there unseen");
    let agent = rig.agent(programs()).await;
    std::fs::write(rig.path("end"), "").unwrap();
    agent.until_state("app", ProcessState::Exited).await;
    let numbers: String = (1..=20000).map(|number| format!("{number}\n")).collect();
    let expected = format!("up\n{numbers}\nhalf <!--XSUPER!\n");
    eventually("all is in the log", || {
        rig.log("app").len() >= expected.len()
    })
    .await;
    assert!(rig.log("app") == expected);
    agent.stop().await;
}
