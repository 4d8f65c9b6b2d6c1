//! The main log of the real agent: what each level lets in, rotation, and what programs write at the
//! level debug.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "compat_support/agent.rs"]
mod agent;

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;

use agent::{Agent, command, configured, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn read(agent: &Agent, name: &str) -> String {
    fs::read_to_string(agent.directory.path().join(name)).unwrap_or_default()
}

/// Stops everything in order, and leaves the directory.
fn end(agent: &mut Agent) {
    let pid = Pid::from_raw(agent.child.id().cast_signed());
    kill(pid, Signal::SIGTERM).unwrap();
    agent.child.wait().unwrap();
}

/// The level of a line of the main log; absent in the lines of what a program has written.
fn level(line: &str) -> Option<&str> {
    let words: Vec<_> = line.splitn(4, ' ').collect();
    let is_stamp = words[0].len() == "2026-01-01".len() && words[0].matches('-').count() == 2;
    (is_stamp && words.len() == 4).then(|| words[2])
}

/// Has something to say at each level: a pidfile that cannot be written, a section that is refused
/// alone, a program that ends as nobody expected.
fn eventful(loglevel: &str) -> Agent {
    let mut agent = Agent::start_with(
        &format!(
            "[supervisord]\nloglevel={loglevel}\npidfile={{at}}/taken\n\
             [agent]\nname=a\nstate_dir={{at}}/state\nsocket={{at}}/agent.sock\n\
             keeper_socket={{at}}/keeper.sock\n\
             [program:broken]\ncommand=/bin/true\nautostart=maybe\n\
             [program:once]\ncommand=/bin/sh -c 'echo said; exit 3'\nautorestart=false\nstartsecs=0\n"
        ),
        |at| fs::create_dir(at.join("taken")).unwrap(),
    );
    eventually("it has ended", || agent.is_in("once", "EXITED"));
    end(&mut agent);
    agent
}

#[test]
fn each_level_lets_in_what_is_above_it() {
    let all = ["CRIT", "ERRO", "WARN", "INFO", "DEBG"];
    for (loglevel, count) in [
        ("critical", 1),
        ("error", 2),
        ("warn", 3),
        ("info", 4),
        ("debug", 5),
    ] {
        let agent = eventful(loglevel);
        let log = read(&agent, "main.log");
        let levels: BTreeSet<_> = log.lines().filter_map(level).collect();
        assert_eq!(levels, all[..count].iter().copied().collect(), "{log}");
        assert_eq!(log.contains("said"), loglevel == "debug", "{log}");
    }
}

#[test]
fn the_lowest_levels_have_what_programs_write_too() {
    for loglevel in ["trace", "blather"] {
        let agent = eventful(loglevel);
        let log = read(&agent, "main.log");
        assert!(
            log.contains("DEBG 'once' stdout output:\nsaid\n\n"),
            "{log}"
        );
    }
}

#[test]
fn at_debug_both_streams_are_shown_in_supervisors_form_and_their_logs_are_the_same() {
    let agent = Agent::start(
        "[supervisord]\nloglevel=debug\nstrip_ansi=true\n\
         [program:a]\ncommand=/bin/sh -c 'printf \"one\\ntwo\"; printf \"\\377\\n\" >&2; exec sleep 600'\n\
         process_name=it_%(process_num)d\nstartsecs=0\nstdout_logfile={at}/out\nstderr_logfile={at}/err\n\
         [program:none]\ncommand=/bin/sh -c 'printf \"\\033[1mbold\"; exec sleep 600'\nstartsecs=0\n\
         stdout_logfile=NONE\n",
    );
    for shown in [
        " DEBG 'it_0' stdout output:\none\ntwo\n2",
        " DEBG 'it_0' stderr output:\nUndecodable: b'\\xff\\n'\n2",
        " DEBG 'none' stdout output:\nbold\n2",
    ] {
        let is_shown = || {
            let log = read(&agent, "main.log");
            // A line after it, whichever that is.
            log.contains(shown) || log.ends_with(shown.trim_end_matches('2'))
        };
        eventually(shown, is_shown);
    }
    assert_eq!(read(&agent, "out"), "one\ntwo");
    let err = fs::read(agent.directory.path().join("err")).unwrap();
    assert_eq!(err, b"\xff\n");
}

#[test]
fn a_flood_at_debug_keeps_nobody_waiting_and_its_log_is_whole() {
    let agent = Agent::start(
        "[supervisord]\nloglevel=debug\nlogfile_maxbytes=100KB\nlogfile_backups=1\n\
         [program:a]\ncommand=/bin/sh -c 'seq 300000; echo end; exec sleep 600'\nstartsecs=0\n\
         stdout_logfile={at}/a.log\n",
    );
    eventually("all is in its log", || {
        read(&agent, "a.log").ends_with("\nend\n")
    });
    let expected: String = (1..=300_000).map(|n| format!("{n}\n")).collect();
    assert!(read(&agent, "a.log") == expected + "end\n");
    assert!(agent.is_in("a", "RUNNING"));
}

/// Has the agent say something, a number of times.
fn busy(agent: &Agent, times: usize) {
    for _ in 0..times {
        agent.call("startProcess", &["a"]);
        agent.call("stopProcess", &["a"]);
    }
}

const SLEEPER: &str =
    "[program:a]\ncommand=/bin/sleep 600\nautostart=false\nstartsecs=0\nstdout_logfile=NONE\n";

#[test]
fn a_full_main_log_is_rotated_and_the_oldest_goes() {
    let rotated = format!("[supervisord]\nlogfile_maxbytes=1KB\nlogfile_backups=2\n{SLEEPER}");
    let mut agent = Agent::start(&rotated);
    busy(&agent, 20);
    end(&mut agent);
    let names = ["main.log.2", "main.log.1", "main.log"];
    let files = names.map(|name| read(&agent, name));
    for full in &files[..2] {
        let last = full.lines().last().unwrap().len() + 1;
        assert!((1024..1024 + last).contains(&full.len()), "{full}");
    }
    assert!(files[2].len() < 1024, "{}", files[2]);
    assert!(!agent.directory.path().join("main.log.3").exists());
    let all = files.concat();
    let stamps: Vec<_> = all.lines().map(|line| &line[..23]).collect();
    assert!(stamps.is_sorted(), "{all}");
    // What happens in turn stands there in turn, over the ends of files.
    let turns = all.lines().filter_map(|line| {
        let is = |word: &str| line[24..].starts_with(word).then(|| word.to_owned());
        is("INFO spawned: 'a'").or_else(|| is("WARN stopped: a"))
    });
    let turns: Vec<_> = turns.collect();
    assert!(turns.len() > 5, "{all}");
    assert!(turns.windows(2).all(|two| two[0] != two[1]), "{all}");
}

#[test]
fn without_backups_a_full_main_log_begins_anew_and_without_a_limit_it_grows() {
    for (options, is_whole) in [
        ("logfile_maxbytes=1KB\nlogfile_backups=0\n", false),
        ("logfile_maxbytes=0\nlogfile_backups=2\n", true),
    ] {
        let mut agent = Agent::start(&format!("[supervisord]\n{options}{SLEEPER}"));
        busy(&agent, 20);
        end(&mut agent);
        let log = read(&agent, "main.log");
        assert_eq!(log.contains("supervisord started"), is_whole, "{log}");
        assert_eq!(log.len() < 1024, !is_whole, "{log}");
        assert!(!agent.directory.path().join("main.log.1").exists());
    }
}

#[test]
fn the_names_that_programs_logs_have_for_nothing_are_files_here_as_with_supervisor() {
    let mut agent = Agent::start(&format!("[supervisord]\nlogfile=NONE\n{SLEEPER}"));
    busy(&agent, 1);
    end(&mut agent);
    assert!(read(&agent, "NONE").contains("INFO spawned: 'a'"));
    assert!(!agent.directory.path().join("main.log").exists());
}

#[test]
fn a_device_is_written_as_it_is_and_stdout_has_the_lines_unless_it_is_silent() {
    for (arguments, is_said) in [(&[][..], true), (&["-s"], false)] {
        let directory = configured("[supervisord]\nlogfile=/dev/null\n");
        let mut command = command(directory.path());
        let child = command.args(arguments).stdout(Stdio::piped()).spawn();
        let mut agent = Agent {
            child: child.unwrap(),
            directory,
        };
        let pidfile = agent.directory.path().join("s.pid");
        eventually("the agent is up", || pidfile.exists());
        let pid = agent.child.id();
        end(&mut agent);
        let mut said = String::new();
        let mut stdout = agent.child.stdout.take().unwrap();
        std::io::Read::read_to_string(&mut stdout, &mut said).unwrap();
        let line = format!(" INFO supervisord started with pid {pid}\n");
        assert_eq!(said.contains(&line), is_said, "{said}");
    }
}
