//! The columns that `-o wide` adds, and the names of `-o name`. Pure.

use std::time::SystemTime;

use rsv_proto::{
    process::{display_name, exit_words, uptime_words},
    time::{age, from_wire},
    wire::{HostStatus, ProcessState, ProcessStatus},
};

use super::{fleet, is_reachable, report::stage_word};
use crate::table::Cell;

/// The heads of the columns.
pub(super) const HEADER: [&str; 4] = ["PID", "UPTIME", "EXIT", "RESTARTS"];

/// The head of the column of event listeners, which is there only when one of them is shown.
pub(super) const LISTENER: &str = "EVENTS";

/// What stands for what there is not.
const NONE: &str = "-";

/// The columns of a process.
pub(super) fn cells(process: &ProcessStatus, now: SystemTime) -> Vec<Cell> {
    let is_up = process.state() == ProcessState::Running;
    let started = process.started_at.as_ref().and_then(from_wire);
    let uptime = started.filter(|_| is_up).map(|at| age(at, now).as_secs());
    let or_none = |text: Option<String>| Cell::new(text.as_deref().unwrap_or(NONE));
    vec![
        or_none(process.pid.map(|pid| pid.to_string())),
        or_none(uptime.map(uptime_words)),
        or_none(process.exit.as_ref().map(exit_words)),
        Cell::new(process.restarts.to_string()),
    ]
}

/// What a process is about, with all that is to be known of its output.
pub(super) fn words(process: &ProcessStatus, now: SystemTime) -> String {
    let words = fleet::words(process, now);
    match (process.log_dropped_bytes, words.is_empty()) {
        (0, _) => words,
        (dropped, true) => format!("{dropped} bytes of output dropped"),
        (dropped, false) => format!("{words}; {dropped} bytes of output dropped"),
    }
}

/// How a process fares as an event listener.
pub(super) fn listener_cell(process: &ProcessStatus) -> Cell {
    let Some(listener) = &process.listener else {
        return Cell::new(NONE);
    };
    let mut words = vec![stage_word(listener.stage()).to_owned()];
    let counts = [
        (listener.waiting, "waiting"),
        (listener.rejected, "rejected"),
        (listener.dropped, "dropped"),
    ];
    let worth_saying = counts.into_iter().filter(|(count, _)| *count > 0);
    words.extend(worth_saying.map(|(count, what)| format!("{count} {what}")));
    Cell::new(words.join(", "))
}

/// The programs of hosts, one a line: `HOST:NAME`, and on this machine the name alone. What was
/// last known of a silent host is none of them.
pub(super) fn names(hosts: &[HostStatus]) -> Vec<String> {
    let answering = hosts.iter().filter(|host| is_reachable(host));
    let names = answering.flat_map(|host| {
        host.programs.iter().map(|process| {
            let name = display_name(&process.group, &process.name);
            match host.host.as_str() {
                "" => name,
                host => format!("{host}:{name}"),
            }
        })
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use rsv_proto::{
        time::to_wire,
        wire::{ExitStatus, HostState, ListenerStage, ListenerStatus, exit_status::Kind},
    };

    use super::*;
    use crate::table::Table;

    #[test]
    fn pid_uptime_exit_and_restarts_are_shown() {
        let now = UNIX_EPOCH + Duration::from_secs(100_000);
        let up = ProcessStatus {
            state: ProcessState::Running.into(),
            pid: Some(7),
            started_at: Some(to_wire(now - Duration::from_secs(61))),
            exit: Some(ExitStatus {
                kind: Some(Kind::Signal(9)),
                ..Default::default()
            }),
            restarts: 2,
            ..Default::default()
        };
        let mut table = Table::new(&HEADER);
        table.row(cells(&up, now));
        table.row(cells(&ProcessStatus::default(), now));
        insta::assert_snapshot!(table.render(false), @r"
        PID  UPTIME   EXIT                   RESTARTS
        7    0:01:01  terminated by SIGKILL  2
        -    -        -                      0
        ");
    }

    #[test]
    fn what_becomes_of_the_output_is_shown() {
        let mut process = ProcessStatus {
            state: ProcessState::Running.into(),
            pid: Some(7),
            ..Default::default()
        };
        let fine = words(&process, UNIX_EPOCH);
        process.log_trouble = "no room".into();
        process.log_dropped_bytes = 5;
        let shown = words(&process, UNIX_EPOCH);
        assert_eq!(
            shown,
            format!("{fine}; log: no room; 5 bytes of output dropped")
        );
    }

    #[test]
    fn a_listener_shows_where_it_stands_and_what_is_worth_saying() {
        let listener = |stage: ListenerStage, waiting, rejected, dropped| ProcessStatus {
            listener: Some(ListenerStatus {
                stage: stage.into(),
                waiting,
                delivered: 9,
                rejected,
                dropped,
            }),
            ..Default::default()
        };
        for (process, shown) in [
            (ProcessStatus::default(), "-"),
            (listener(ListenerStage::Ready, 0, 0, 0), "READY"),
            (listener(ListenerStage::Busy, 3, 0, 0), "BUSY, 3 waiting"),
            (
                listener(ListenerStage::Unknown, 10, 1, 7),
                "UNKNOWN, 10 waiting, 1 rejected, 7 dropped",
            ),
        ] {
            let mut table = Table::new(&[LISTENER]);
            table.row(vec![listener_cell(&process)]);
            assert_eq!(table.render(false), format!("EVENTS\n{shown}\n"));
        }
    }

    #[test]
    fn only_hosts_that_answer_have_names() {
        let host = |host: &str, state: HostState| HostStatus {
            host: host.into(),
            state: state.into(),
            programs: vec![ProcessStatus {
                group: "g".into(),
                name: "p".into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let hosts = [
            host("web01", HostState::Connected),
            host("web02", HostState::Unreachable),
        ];
        assert_eq!(names(&hosts), ["web01:g:p"]);
        assert_eq!(names(&[host("", HostState::Unspecified)]), ["g:p"]);
    }
}
