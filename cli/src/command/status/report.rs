//! What is known of programs, in the form for scripts. Pure.

use std::time::SystemTime;

use rsv_proto::{
    process::{description, display_name, signal_name, state_word},
    time::{age, from_wire},
    wire::{
        HostStatus, ListenerStage, ListenerStatus, ProcessState, ProcessStatus, exit_status::Kind,
    },
};

use super::is_reachable;
use crate::{command::host::state_name, json};

/// The exit status of a program that a signal has ended, as Supervisor has it.
const BY_SIGNAL: i32 = -1;

/// What a host answered, or what was last known of it.
pub(super) fn host(status: &HostStatus) -> json::StatusHost {
    json::StatusHost {
        host: status.host.clone(),
        state: state_name(status.state()),
        as_of: json::time(status.as_of.as_ref()),
        reason: json::text(&status.reason),
        conflict: json::text(&status.conflict),
        desired_generation: status.desired_generation,
        obeyed_generation: status.obeyed_generation,
    }
}

/// Every program of a host.
pub(super) fn programs(
    status: &HostStatus,
    now: SystemTime,
) -> impl Iterator<Item = json::StatusProgram> {
    let as_of = status.as_of.as_ref().and_then(from_wire);
    status
        .programs
        .iter()
        .map(move |process| program(status, process, as_of.unwrap_or(now)))
}

/// How a program ended last: its status as Supervisor has it, and the signal that ended it.
pub(in crate::command) fn exit_of(process: &ProcessStatus) -> (Option<i32>, Option<String>) {
    match process.exit.as_ref().and_then(|exit| exit.kind) {
        None => (None, None),
        Some(Kind::Code(code)) => (Some(code), None),
        Some(Kind::Signal(signal)) => (Some(BY_SIGNAL), Some(signal_name(signal))),
    }
}

/// Supervisor's word for where an event listener stands.
pub(super) fn stage_word(stage: ListenerStage) -> &'static str {
    match stage {
        ListenerStage::Acknowledged => "ACKNOWLEDGED",
        ListenerStage::Ready => "READY",
        ListenerStage::Busy => "BUSY",
        ListenerStage::Unknown | ListenerStage::Unspecified => "UNKNOWN",
    }
}

fn listener(listener: &ListenerStatus) -> json::Listener {
    json::Listener {
        stage: stage_word(listener.stage()),
        waiting: listener.waiting,
        delivered: listener.delivered,
        rejected: listener.rejected,
        dropped: listener.dropped,
    }
}

fn program(status: &HostStatus, process: &ProcessStatus, as_of: SystemTime) -> json::StatusProgram {
    let is_up = process.state() == ProcessState::Running;
    let (exit_status, exit_signal) = exit_of(process);
    let started = process.started_at.as_ref().and_then(from_wire);
    json::StatusProgram {
        host: json::text(&status.host),
        program: display_name(&process.group, &process.name),
        group: process.group.clone(),
        state: state_word(process.state()),
        description: description(process, as_of),
        pid: process.pid,
        uptime_seconds: started.filter(|_| is_up).map(|at| age(at, as_of).as_secs()),
        exit_status,
        exit_signal,
        log_trouble: json::text(&process.log_trouble),
        log_trouble_since: json::time(process.log_trouble_since.as_ref()),
        log_dropped_bytes: process.log_dropped_bytes,
        outdated: process.outdated,
        hold: process.hold.as_ref().map(json::Hold::of),
        listener: process.listener.as_ref().map(listener),
        as_of: json::moment(as_of),
        reachable: is_reachable(status),
    }
}
