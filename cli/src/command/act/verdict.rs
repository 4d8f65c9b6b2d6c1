//! What results mean: words for people, words of the JSON form, and the exit code of the whole.
//! Pure.

use rsv_proto::wire::{Outcome, Refusal, Step, TargetResult};

use super::Asked;
use crate::{error::Exit, json};

/// What a refusal is called in supervisorctl's `ERROR (...)`; the detail for one without a name.
pub(in crate::command) fn refusal_words(refusal: Refusal, detail: &str) -> String {
    let words = match refusal {
        Refusal::NoSuchProcess => "no such process",
        Refusal::NoSuchGroup => "no such group",
        Refusal::AlreadyStarted => "already started",
        Refusal::NotRunning => "not running",
        Refusal::NoFile => "no such file",
        Refusal::NotExecutable => "file is not executable",
        Refusal::SpawnError => "spawn error",
        Refusal::AbnormalTermination => "abnormal termination",
        Refusal::BadSignal => "bad signal name",
        Refusal::ShuttingDown => "shutting down",
        Refusal::Superseded => "superseded by a later action",
        Refusal::TooManyProcesses => "too many processes",
        Refusal::Disabled => "disabled",
        Refusal::Other | Refusal::Unspecified if detail.is_empty() => "failed",
        Refusal::Other | Refusal::Unspecified => detail,
    };
    words.to_owned()
}

/// What is said of one target of the fleet, its program included.
pub(super) fn words(asked: Asked, result: &TargetResult) -> String {
    let said = match result.outcome() {
        Outcome::Done => done_words(asked, result),
        Outcome::Failed | Outcome::Unspecified => failed_words(result),
        Outcome::Unreachable => with_detail("unreachable", &result.detail),
        Outcome::Expired => with_detail("expired, not run", &result.detail),
        Outcome::Denied => with_detail("denied", &result.detail),
        Outcome::NotAttempted => with_detail("not attempted", &result.detail),
    };
    match result.program.as_str() {
        "" => said,
        program => format!("{program}: {said}"),
    }
}

fn done_words(asked: Asked, result: &TargetResult) -> String {
    let steps = step_words(result);
    if !steps.is_empty() {
        return with_detail(&steps.join(", "), &result.detail);
    }
    match (result.refusal(), asked) {
        (Refusal::AlreadyStarted, _) => "already started".to_owned(),
        (Refusal::NotRunning, _) => "not running".to_owned(),
        (_, Asked::Start) => "started".to_owned(),
        (_, Asked::Stop) => "stopped".to_owned(),
        (_, Asked::Restart) => "restarted".to_owned(),
        (_, Asked::Signal(_)) => "signalled".to_owned(),
        // What is done without a step is said by the host.
        (
            _,
            Asked::Update
            | Asked::Reread
            | Asked::Clear
            | Asked::Add
            | Asked::Remove
            | Asked::Reload
            | Asked::Shutdown,
        ) => match result.detail.as_str() {
            "" => "done".to_owned(),
            detail => detail.to_owned(),
        },
    }
}

fn failed_words(result: &TargetResult) -> String {
    let mut parts = step_words(result);
    let refusal = refusal_words(result.refusal(), &result.detail);
    let error = format!("ERROR ({refusal})");
    parts.push(match result.detail == refusal {
        true => error,
        false => with_detail(&error, &result.detail),
    });
    parts.join(", ")
}

fn step_words(result: &TargetResult) -> Vec<String> {
    let words = result.steps().filter_map(|step| match step {
        Step::Stopped => Some("stopped"),
        Step::Started => Some("started"),
        Step::Signalled => Some("signalled"),
        Step::Added => Some("added"),
        Step::Removed => Some("removed"),
        Step::Adjusted => Some("changed, not restarted"),
        Step::Cleared => Some("cleared"),
        Step::Unspecified => None,
    });
    words.map(ToOwned::to_owned).collect()
}

fn with_detail(words: &str, detail: &str) -> String {
    match detail {
        "" => words.to_owned(),
        detail => format!("{words}: {detail}"),
    }
}

/// The word for an outcome in JSON.
pub(in crate::command) fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Failed | Outcome::Unspecified => "failed",
        Outcome::Unreachable => "unreachable",
        Outcome::Expired => "expired",
        Outcome::Denied => "denied",
        Outcome::NotAttempted => "not_attempted",
    }
}

/// One target in JSON.
pub(super) fn target(asked: Asked, result: &TargetResult) -> json::Target {
    let words = words(
        asked,
        &TargetResult {
            program: String::new(),
            ..result.clone()
        },
    );
    json::Target {
        host: json::text(&result.host),
        program: json::text(&result.program),
        outcome: outcome_word(result.outcome()),
        detail: words,
    }
}

/// The exit code of an action on the fleet, and the word for it in JSON. `reached` are the hosts of
/// the operation: a host that was named and is none of them counts as failed.
pub(in crate::command) fn verdict(
    results: &[TargetResult],
    reached: &[String],
) -> (Exit, &'static str) {
    let count = |outcomes: &[Outcome]| {
        let matching = results.iter().filter(|r| outcomes.contains(&r.outcome()));
        matching.count()
    };
    let is_no_host = |result: &&TargetResult| {
        result.outcome() == Outcome::NotAttempted && !reached.contains(&result.host)
    };
    let no_hosts = results.iter().filter(is_no_host).count();
    let failed = count(&[Outcome::Failed, Outcome::Unspecified]);
    let denied = count(&[Outcome::Denied]);
    let absent = count(&[Outcome::Unreachable, Outcome::Expired]);
    let not_attempted = count(&[Outcome::NotAttempted]) - no_hosts;
    if results.is_empty() || results.iter().all(names_nothing) {
        (Exit::NoTarget, "no_target")
    } else if denied == results.len() {
        (Exit::Denied, "denied")
    } else if not_attempted > 0 {
        (Exit::Aborted, "aborted")
    } else if failed + denied + no_hosts > 0 {
        (Exit::SomeFailed, "failed")
    } else if absent > 0 {
        (Exit::SomeUnreachable, "unreachable")
    } else {
        (Exit::Done, "done")
    }
}

/// Whether a host said that it has no such program.
fn names_nothing(result: &TargetResult) -> bool {
    let no_such = matches!(
        result.refusal(),
        Refusal::NoSuchProcess | Refusal::NoSuchGroup
    );
    no_such && result.outcome() == Outcome::Failed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(outcome: Outcome, refusal: Refusal, steps: &[Step], detail: &str) -> TargetResult {
        TargetResult {
            host: "web01".into(),
            program: "app".into(),
            outcome: outcome.into(),
            refusal: refusal.into(),
            steps: steps.iter().map(|step| (*step).into()).collect(),
            detail: detail.into(),
        }
    }

    fn plain(outcome: Outcome) -> TargetResult {
        result(outcome, Refusal::Unspecified, &[], "")
    }

    #[test]
    fn what_is_said_names_steps_refusal_and_detail() {
        let none = Refusal::Unspecified;
        for (asked, result, said) in [
            (
                Asked::Restart,
                result(Outcome::Done, none, &[Step::Stopped, Step::Started], ""),
                "app: stopped, started",
            ),
            (
                Asked::Start,
                result(Outcome::Done, Refusal::AlreadyStarted, &[], ""),
                "app: already started",
            ),
            (
                Asked::Restart,
                result(
                    Outcome::Failed,
                    Refusal::SpawnError,
                    &[Step::Stopped],
                    "exit 127",
                ),
                "app: stopped, ERROR (spawn error): exit 127",
            ),
            (
                Asked::Stop,
                result(Outcome::Failed, Refusal::Other, &[], "disk on fire"),
                "app: ERROR (disk on fire)",
            ),
            (
                Asked::Stop,
                result(Outcome::Expired, none, &[], ""),
                "app: expired, not run",
            ),
        ] {
            assert_eq!(words(asked, &result), said);
        }
        let host = TargetResult {
            program: String::new(),
            ..result(Outcome::Unreachable, none, &[], "no session")
        };
        assert_eq!(words(Asked::Stop, &host), "unreachable: no session");
    }

    #[test]
    fn outcomes_add_up_to_one_exit_code() {
        use Outcome::{Denied, Done, Expired, Failed, NotAttempted, Unreachable};
        let unknown_host = || TargetResult {
            host: "web99".into(),
            ..plain(NotAttempted)
        };
        let no_such = || result(Failed, Refusal::NoSuchProcess, &[], "");
        for (results, exit) in [
            (vec![plain(Done), plain(Done)], 0),
            (vec![plain(Done), plain(Failed)], 10),
            (vec![plain(Failed)], 10),
            (vec![plain(Failed), plain(Unreachable)], 10),
            (vec![plain(Done), plain(Unreachable)], 11),
            (vec![plain(Done), plain(Expired)], 11),
            (vec![plain(Unreachable)], 11),
            (vec![plain(Done), plain(Failed), plain(NotAttempted)], 12),
            (vec![plain(Done), unknown_host()], 10),
            (vec![plain(Denied), plain(Denied)], 14),
            (vec![plain(Done), plain(Denied)], 10),
            (vec![no_such(), no_such()], 15),
            (vec![plain(Done), no_such()], 10),
            (vec![], 15),
        ] {
            assert_eq!(
                verdict(&results, &["web01".to_owned()]).0 as u8,
                exit,
                "{results:?}"
            );
        }
    }
}
