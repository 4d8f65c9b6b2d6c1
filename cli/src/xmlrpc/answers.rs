//! What a server says, in the messages that the verbs know. What is missing or of another type counts
//! as empty: a server of another version may say less. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rsv_proto::{
    process::display_name,
    select::ProgramPattern,
    time::to_wire,
    wire::{
        AvailableProcess, ExitStatus, Outcome, PlannedGroup, ProcessState, ProcessStatus, Refusal,
        TargetResult, UnmatchedProgram, exit_status::Kind as ExitKind, planned_group::Kind,
    },
    xmlrpc::Value,
};

use super::code;

/// A text; empty for anything else.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        _ => String::new(),
    }
}

/// A number; 0 for anything else.
pub(super) fn number(value: &Value) -> i64 {
    match value {
        Value::Int(number) => *number,
        Value::Bool(is) => i64::from(*is),
        _ => 0,
    }
}

/// What stands behind the name of a fault.
pub(super) fn detail(fault: &str) -> &str {
    fault.split_once(": ").map_or("", |(_name, detail)| detail)
}

/// What `getAllProcessInfo` says at a moment.
pub(super) fn processes(infos: &Value, now: SystemTime) -> Vec<ProcessStatus> {
    items(infos).iter().map(|info| process(info, now)).collect()
}

/// The patterns that mean none of these processes.
pub(super) fn unmatched(patterns: &[String], processes: &[ProcessStatus]) -> Vec<UnmatchedProgram> {
    let unmatched = |text: &String| {
        let pattern = ProgramPattern::parse(text);
        let refusal = match pattern {
            ProgramPattern::All => return None,
            ProgramPattern::Group(_) => Refusal::NoSuchGroup,
            ProgramPattern::Exact { .. } | ProgramPattern::Glob(_) => Refusal::NoSuchProcess,
        };
        let mut meant = processes
            .iter()
            .filter(|p| pattern.matches(&p.group, &p.name));
        meant.next().is_none().then(|| UnmatchedProgram {
            pattern: text.clone(),
            refusal: refusal.into(),
        })
    };
    patterns.iter().filter_map(unmatched).collect()
}

/// What `getAllConfigInfo` says.
pub(super) fn available(infos: &Value) -> Vec<AvailableProcess> {
    let available = |info: &Value| AvailableProcess {
        group: text_of(info, "group"),
        name: text_of(info, "name"),
        in_use: number_of(info, "inuse") != 0,
        autostart: number_of(info, "autostart") != 0,
        group_priority: number_of(info, "group_prio"),
        priority: number_of(info, "process_prio"),
    };
    items(infos).iter().map(available).collect()
}

/// What `reloadConfig` says, `[[added, changed, removed]]`, in the order in which it is carried out.
pub(super) fn plan(changes: &Value) -> Vec<PlannedGroup> {
    let lists = items(changes).first().map_or(&[][..], items);
    let order = [(2, Kind::Removed), (1, Kind::Changed), (0, Kind::Added)];
    let groups = order.into_iter().flat_map(|(place, kind)| {
        let names = lists.get(place).map_or(&[][..], items);
        names.iter().map(move |name| PlannedGroup {
            name: text(name),
            kind: kind.into(),
            ..Default::default()
        })
    });
    groups.collect()
}

/// What an action on many came to: an array of one struct for each process.
pub(super) fn results(infos: &Value) -> Vec<TargetResult> {
    let result = |info: &Value| {
        let program = display_name(&text_of(info, "group"), &text_of(info, "name"));
        let description = text_of(info, "description");
        target(program, number_of(info, "status"), &description)
    };
    items(infos).iter().map(result).collect()
}

/// What an action on one process came to: the number of a fault, or of success.
pub(super) fn target(program: String, status: i64, description: &str) -> TargetResult {
    let refusal = refusal(status);
    // Nothing had to be done, which is no failure.
    let is_done = matches!(
        status,
        code::SUCCESS | code::ALREADY_STARTED | code::NOT_RUNNING
    );
    TargetResult {
        program,
        outcome: match is_done {
            true => Outcome::Done,
            false => Outcome::Failed,
        }
        .into(),
        refusal: refusal.into(),
        detail: match refusal {
            Refusal::Other => match detail(description) {
                "" => description.to_owned(),
                detail => detail.to_owned(),
            },
            _ => String::new(),
        },
        ..Default::default()
    }
}

/// What a fault with this number is.
pub(super) fn refusal(status: i64) -> Refusal {
    match status {
        code::SUCCESS => Refusal::Unspecified,
        code::BAD_NAME => Refusal::NoSuchProcess,
        code::BAD_SIGNAL => Refusal::BadSignal,
        code::NO_FILE => Refusal::NoFile,
        code::NOT_EXECUTABLE => Refusal::NotExecutable,
        code::ABNORMAL_TERMINATION => Refusal::AbnormalTermination,
        code::SPAWN_ERROR => Refusal::SpawnError,
        code::ALREADY_STARTED => Refusal::AlreadyStarted,
        code::NOT_RUNNING => Refusal::NotRunning,
        code::SHUTDOWN_STATE => Refusal::ShuttingDown,
        _ => Refusal::Other,
    }
}

fn process(info: &Value, now: SystemTime) -> ProcessStatus {
    let state = state(&text_of(info, "statename"));
    let (start, stop) = (number_of(info, "start"), number_of(info, "stop"));
    // The other side's clock may differ from ours: what counts for one that runs is for how long.
    let is_up = state == ProcessState::Running;
    let started = match is_up {
        true => {
            let seconds = number_of(info, "now").saturating_sub(start);
            let uptime = Duration::from_secs(seconds.try_into().unwrap_or_default());
            now.checked_sub(uptime)
        }
        false => moment(start),
    };
    let pid = number_of(info, "pid").try_into().ok();
    ProcessStatus {
        group: text_of(info, "group"),
        name: text_of(info, "name"),
        state: state.into(),
        pid: pid.filter(|pid| *pid != 0),
        started_at: started.map(to_wire),
        stopped_at: moment(stop).map(to_wire),
        exit: (state == ProcessState::Exited).then(|| exit(number_of(info, "exitstatus"))),
        spawn_error: text_of(info, "spawnerr"),
        has_stdout_log: !text_of(info, "stdout_logfile").is_empty(),
        has_stderr_log: !text_of(info, "stderr_logfile").is_empty(),
        ..Default::default()
    }
}

/// -1 is some signal, of which nothing more is said.
fn exit(status: i64) -> ExitStatus {
    let code = i32::try_from(status).ok().filter(|code| *code >= 0);
    ExitStatus {
        kind: code.map(ExitKind::Code),
        ..Default::default()
    }
}

fn moment(seconds: i64) -> Option<SystemTime> {
    let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn state(word: &str) -> ProcessState {
    match word {
        "STOPPED" => ProcessState::Stopped,
        "STARTING" => ProcessState::Starting,
        "RUNNING" => ProcessState::Running,
        "BACKOFF" => ProcessState::Backoff,
        "STOPPING" => ProcessState::Stopping,
        "EXITED" => ProcessState::Exited,
        "FATAL" => ProcessState::Fatal,
        _ => ProcessState::Unknown,
    }
}

fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        _ => &[],
    }
}

fn text_of(info: &Value, key: &str) -> String {
    info.member(key).map(text).unwrap_or_default()
}

fn number_of(info: &Value, key: &str) -> i64 {
    info.member(key).map(number).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rsv_proto::process::description;

    use super::*;

    fn info(members: &[(&'static str, Value)]) -> Value {
        let members = members.iter().cloned();
        Value::Struct(members.map(|(name, value)| (name.into(), value)).collect())
    }

    #[test]
    fn a_process_is_described_as_the_server_describes_it() {
        let now = UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        let of = |state: &'static str, more: &[(&'static str, Value)]| {
            let mut members = vec![
                ("group", "g".into()),
                ("name", "p".into()),
                ("statename", state.into()),
            ];
            members.extend(more.iter().cloned());
            let process = process(&info(&members), now);
            (process.pid, description(&process, now))
        };
        // Its clock is hours behind ours.
        let up = of(
            "RUNNING",
            &[
                ("pid", 42.into()),
                ("start", 1_000_000.into()),
                ("now", 1_000_061.into()),
            ],
        );
        assert_eq!(up, (Some(42), "pid 42, uptime 0:01:01".to_owned()));
        let never = of("STOPPED", &[("pid", 0.into()), ("start", 0.into())]);
        assert_eq!(never, (None, "Not started".to_owned()));
        let fatal = of("FATAL", &[("spawnerr", "bad".into())]);
        assert_eq!(fatal.1, "bad");
        assert_eq!(of("whatever", &[]).1, "");
    }

    #[test]
    fn a_plan_goes_from_what_is_gone_to_what_is_new() {
        let names = |names: &[&str]| Value::Array(names.iter().map(|n| (*n).into()).collect());
        let changes = Value::Array(vec![Value::Array(vec![
            names(&["new"]),
            names(&["changed"]),
            names(&["b", "a"]),
        ])]);
        let plan = plan(&changes);
        let found: Vec<_> = plan.iter().map(|g| (g.name.as_str(), g.kind())).collect();
        assert_eq!(
            found,
            [
                ("b", Kind::Removed),
                ("a", Kind::Removed),
                ("changed", Kind::Changed),
                ("new", Kind::Added)
            ]
        );
    }

    #[test]
    fn faults_are_refusals_and_unknown_ones_keep_their_words() {
        for (status, description, refusal, outcome, detail) in [
            (80, "OK", Refusal::Unspecified, Outcome::Done, ""),
            (60, "x", Refusal::AlreadyStarted, Outcome::Done, ""),
            (70, "x", Refusal::NotRunning, Outcome::Done, ""),
            (
                10,
                "BAD_NAME: x",
                Refusal::NoSuchProcess,
                Outcome::Failed,
                "",
            ),
            (30, "FAILED: no", Refusal::Other, Outcome::Failed, "no"),
            (999, "ODD", Refusal::Other, Outcome::Failed, "ODD"),
        ] {
            let target = target("x".to_owned(), status, description);
            let found = (target.refusal(), target.outcome(), target.detail.as_str());
            assert_eq!(found, (refusal, outcome, detail), "{status}");
        }
    }

    #[test]
    fn what_is_of_another_type_is_empty() {
        assert!(processes(&Value::Int(1), UNIX_EPOCH).is_empty());
        let odd = processes(&Value::Array(vec![Value::Int(1)]), UNIX_EPOCH);
        assert_eq!(odd[0].state(), ProcessState::Unknown);
        assert!(plan(&Value::Array(vec![])).is_empty());
    }
}
