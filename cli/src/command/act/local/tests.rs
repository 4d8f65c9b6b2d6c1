//! The lines and exit codes of actions on this machine.

use super::*;

fn result(program: &str, outcome: Outcome, refusal: Refusal, steps: &[Step]) -> TargetResult {
    TargetResult {
        program: program.into(),
        outcome: outcome.into(),
        refusal: refusal.into(),
        steps: steps.iter().map(|step| (*step).into()).collect(),
        ..Default::default()
    }
}

fn failed(program: &str, refusal: Refusal) -> TargetResult {
    result(program, Outcome::Failed, refusal, &[])
}

#[test]
fn each_refusal_has_supervisors_words_and_code() {
    use Refusal::{
        AbnormalTermination, AlreadyStarted, BadSignal, NoFile, NoSuchGroup, NoSuchProcess,
        NotExecutable, NotRunning, SpawnError,
    };
    let signal = Asked::Signal(1);
    for (asked, refusal, words, exit) in [
        (Asked::Start, NoSuchProcess, "no such process", 1),
        (Asked::Start, NoSuchGroup, "no such group", 2),
        (Asked::Start, NoFile, "no such file", 1),
        (Asked::Start, NotExecutable, "file is not executable", 1),
        (Asked::Start, AlreadyStarted, "already started", 0),
        (Asked::Start, SpawnError, "spawn error", 7),
        (Asked::Start, AbnormalTermination, "abnormal termination", 7),
        (Asked::Stop, NotRunning, "not running", 0),
        (Asked::Stop, NoSuchProcess, "no such process", 1),
        (Asked::Stop, NoSuchGroup, "no such group", 1),
        (signal, BadSignal, "bad signal name", 1),
        (signal, NotRunning, "not running", 7),
        (signal, NoSuchProcess, "no such process", 1),
        (signal, NoSuchGroup, "no such group", 1),
    ] {
        let line = line(asked, true, &failed("n", refusal)).unwrap();
        assert_eq!(line.text, format!("n: ERROR ({words})"));
        assert_eq!(line.exit as u8, exit, "{asked:?} {refusal:?}");
    }
}

#[test]
fn what_hosts_say_cannot_command_a_terminal() {
    let evil = TargetResult {
        detail: "\x1b]0;x\x07".into(),
        ..failed("a\x1b[2J", Refusal::Other)
    };
    let line = line(Asked::Start, true, &evil).unwrap();
    assert_eq!(line.text, "a\\x1b[2J: ERROR (\\x1b]0;x\\x07)");
}

#[test]
fn a_missing_group_is_named_without_its_star() {
    for program in ["g:*", "g:", "g"] {
        let line = line(Asked::Stop, true, &failed(program, Refusal::NoSuchGroup)).unwrap();
        assert_eq!(line.text, "g: ERROR (no such group)");
    }
}

#[test]
fn members_of_a_group_with_nothing_to_do_are_passed_over() {
    let running = failed("g:a", Refusal::AlreadyStarted);
    assert_eq!(line(Asked::Start, names_one("g:*"), &running), None);
    assert_eq!(line(Asked::Start, names_one("all"), &running), None);
    assert!(line(Asked::Start, names_one("g:a"), &running).is_some());
}

#[test]
fn what_was_already_so_is_said_of_a_named_program_even_if_done() {
    let running = result("a", Outcome::Done, Refusal::AlreadyStarted, &[]);
    let line = line(Asked::Start, true, &running).unwrap();
    assert_eq!(line.text, "a: ERROR (already started)");
    assert_eq!(line.exit, Exit::Done);
}

#[test]
fn what_was_tried_and_failed_comes_last_and_decides_the_exit_code() {
    let mut results = [
        failed("backoff", Refusal::SpawnError),
        failed("missing", Refusal::NoFile),
        result("web", Outcome::Done, Refusal::Unspecified, &[Step::Started]),
        failed("at_once", Refusal::AbnormalTermination),
    ];
    sort(&mut results);
    let programs = results.each_ref().map(|it| it.program.as_str());
    assert_eq!(programs, ["missing", "web", "at_once", "backoff"]);
}

fn texts(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

#[test]
fn a_restart_prints_stops_then_starts_in_the_order_of_names() {
    let both = [Step::Stopped, Step::Started];
    let names = ["b", "nope", "g:*", "a"].map(ToOwned::to_owned);
    let results = [
        failed("nope", Refusal::NoSuchProcess),
        result("a", Outcome::Done, Refusal::Unspecified, &[Step::Started]),
        result("g:1", Outcome::Done, Refusal::Unspecified, &[Step::Started]),
        result(
            "g:2",
            Outcome::Failed,
            Refusal::SpawnError,
            &[Step::Stopped],
        ),
        result("b", Outcome::Done, Refusal::Unspecified, &both),
    ];
    let lines = lines_of_restart(&names, &results);
    assert_eq!(
        texts(&lines),
        [
            "b: stopped",
            "nope: ERROR (no such process)",
            "g:2: stopped",
            "a: ERROR (not running)",
            "b: started",
            "nope: ERROR (no such process)",
            "g:1: started",
            "g:2: ERROR (spawn error)",
            "a: started",
        ]
    );
    let exits: Vec<u8> = lines.iter().map(|line| line.exit as u8).collect();
    assert_eq!(exits, [0, 1, 0, 0, 0, 1, 0, 7, 0]);
}
