//! What is said about processes and their configuration.

use std::time::{SystemTime, UNIX_EPOCH};

use rsv_config::{LogTarget, Process, StartRetries, Stream};
use rsv_keeper::message::Channel;
use rsv_proto::process::{description, state_word};
use rsv_proto::time::from_wire;
use rsv_proto::wire::{ProcessState, ProcessStatus, exit_status::Kind};

use super::super::fault::FaultCode;
use super::super::supervision::Configured;
use super::arguments::Target;
use super::{Given, Rpc, actions};
use crate::hub::Key;
use rsv_proto::xmlrpc::Value;

impl Rpc {
    pub(super) async fn process_info(&self, name: &str) -> Given {
        let processes = self.supervision.processes().await?;
        let status = actions::find(&processes, &Target::parse(name));
        let status = status.ok_or_else(|| FaultCode::BadName.about(name))?;
        Ok(process(status, &self.config(), SystemTime::now()))
    }

    pub(super) async fn all_process_info(&self) -> Given {
        let processes = self.supervision.processes().await?;
        let (configured, now) = (self.config(), SystemTime::now());
        let all = processes.iter().map(|one| process(one, &configured, now));
        Ok(Value::Array(all.collect()))
    }
}

/// The state of a daemon that answers.
pub(super) fn running() -> Value {
    Value::Struct(vec![
        ("statecode".into(), 1.into()),
        ("statename".into(), "RUNNING".into()),
    ])
}

fn process(status: &ProcessStatus, configured: &Configured, now: SystemTime) -> Value {
    let key = actions::key(status);
    let log = |channel| {
        let path = configured.log_file(&key, channel);
        Value::String(
            path.map(|path| path.display().to_string())
                .unwrap_or_default(),
        )
    };
    let stdout = log(Channel::Stdout);
    let moment = |at: &Option<_>| Value::Int(at.as_ref().and_then(from_wire).map_or(0, seconds));
    Value::Struct(vec![
        ("name".into(), key.name[..].into()),
        ("group".into(), key.group[..].into()),
        ("start".into(), moment(&status.started_at)),
        ("stop".into(), moment(&status.stopped_at)),
        ("now".into(), seconds(now).into()),
        ("state".into(), state_number(status.state()).into()),
        ("statename".into(), state_word(status.state()).into()),
        ("spawnerr".into(), status.spawn_error[..].into()),
        ("exitstatus".into(), exit_status(status).into()),
        ("logfile".into(), stdout.clone()),
        ("stdout_logfile".into(), stdout),
        ("stderr_logfile".into(), log(Channel::Stderr)),
        ("pid".into(), status.pid.unwrap_or(0).into()),
        ("description".into(), description(status, now).into()),
    ])
}

/// Supervisor's number of a state.
fn state_number(state: ProcessState) -> i32 {
    match state {
        ProcessState::Stopped => 0,
        ProcessState::Unspecified => ProcessState::Unknown.into(),
        other => other.into(),
    }
}

/// Whole seconds since 1970.
fn seconds(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Of the latest process that ended, unless another one runs; -1 after a signal.
fn exit_status(status: &ProcessStatus) -> i32 {
    let exit = status.exit.as_ref().filter(|_| status.pid.is_none());
    match exit.and_then(|exit| exit.kind) {
        None => 0,
        Some(Kind::Code(code)) => code,
        Some(Kind::Signal(_)) => -1,
    }
}

/// The configuration that was read last, sorted by the names of the processes.
pub(super) fn all_config(configured: &Configured) -> Value {
    let groups = &configured.config.groups;
    let mut all: Vec<(i64, &Process)> = groups
        .iter()
        .flat_map(|group| group.processes.iter().map(|one| (group.priority, one)))
        .collect();
    all.sort_by(|(_, a), (_, b)| a.id.name.cmp(&b.id.name));
    let values = all.into_iter();
    Value::Array(
        values
            .map(|(priority, process)| config(process, priority, configured))
            .collect(),
    )
}

fn config(process: &Process, group_priority: i64, configured: &Configured) -> Value {
    let in_use = configured.groups.contains(&process.id.group);
    let directory = process.directory.as_ref();
    let directory = directory.map_or("none".into(), |path| path.display().to_string());
    let retries = match process.startretries {
        StartRetries::Times(times) => i64::from(times),
        StartRetries::Forever => -1,
    };
    let codes = process
        .exit_codes
        .iter()
        .map(|code| Value::from(u32::from(code)));
    let mut members = vec![
        ("autostart".into(), process.autostart.into()),
        ("directory".into(), directory.into()),
        (
            "uid".into(),
            process
                .user
                .as_ref()
                .map_or("none".into(), |user| user.uid.into()),
        ),
        ("command".into(), process.command[..].into()),
        ("exitcodes".into(), Value::Array(codes.collect())),
        ("group".into(), process.id.group[..].into()),
        ("group_prio".into(), group_priority.into()),
        ("inuse".into(), in_use.into()),
        ("killasgroup".into(), process.killasgroup.into()),
        ("name".into(), process.id.name[..].into()),
        ("process_prio".into(), process.priority.into()),
        ("redirect_stderr".into(), process.redirect_stderr.into()),
        ("startretries".into(), retries.into()),
        ("startsecs".into(), process.startsecs.as_secs().into()),
    ];
    members.extend(stream(process, Channel::Stdout, configured));
    members.push(("stopsignal".into(), process.stop_signal.number().into()));
    members.push(("stopwaitsecs".into(), process.stopwaitsecs.as_secs().into()));
    members.extend(stream(process, Channel::Stderr, configured));
    let url = process.server_url.as_deref().unwrap_or("none");
    members.push(("serverurl".into(), url.into()));
    Value::Struct(members)
}

type Member = (std::borrow::Cow<'static, str>, Value);

fn stream(process: &Process, channel: Channel, configured: &Configured) -> [Member; 6] {
    let (prefix, stream): (_, &Stream) = match channel {
        Channel::Stderr => ("stderr", &process.stderr),
        Channel::Stdin | Channel::Stdout => ("stdout", &process.stdout),
    };
    let named = |rest: &str, value: Value| (format!("{prefix}_{rest}").into(), value);
    let key = Key {
        group: process.id.group.clone(),
        name: process.id.name.clone(),
    };
    let logfile = match &stream.log {
        LogTarget::Discard => "none".to_owned(),
        LogTarget::File(path) => path.display().to_string(),
        LogTarget::Auto => configured
            .log_file(&key, channel)
            .map_or("auto".to_owned(), |path| path.display().to_string()),
    };
    [
        named("capture_maxbytes", stream.capture_max_bytes.bytes().into()),
        named("events_enabled", stream.events_enabled.into()),
        named("logfile", logfile.into()),
        named("logfile_backups", stream.backups.into()),
        named("logfile_maxbytes", stream.max_bytes.bytes().into()),
        named("syslog", stream.syslog.into()),
    ]
}
