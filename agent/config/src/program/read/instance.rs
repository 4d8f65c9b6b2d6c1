//! What is read for each process of a program, because it may differ with `process_num`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Common, Scope, backups};
use crate::environment;
use crate::error::ValueError;
use crate::expand::{Names, Var, expand};
use crate::host::{Host, absolute, expand_home};
use crate::program::{
    LogTarget, Process, ProcessId, ProgramKind, STDERR, STDOUT, Stream, StreamKeys,
};
use crate::read::Reader;
use crate::value::{ByteSize, boolean, byte_size, name};
use crate::words::split_command;

const DEFAULT_MAX_BYTES: ByteSize = ByteSize(50 << 20);
const DEFAULT_BACKUPS: u32 = 10;

/// Which process is being read.
pub(super) struct Instance<'a> {
    pub(super) program: &'a str,
    pub(super) group: &'a str,
    pub(super) kind: ProgramKind,
    pub(super) number: i64,
}

impl Instance<'_> {
    /// The process, or `None` when something was refused; the reader has the errors.
    pub(super) fn read(
        &self,
        reader: &mut Reader<'_>,
        scope: &Scope<'_>,
        names: &Names<'_>,
        common: &Common,
    ) -> Option<Process> {
        let names = names
            .clone()
            .with("process_num", Var::Number(self.number))
            .with("numprocs", Var::Number(common.numprocs));
        let own_env = reader
            .read_as("environment", "environment", &names, environment::parse)
            .unwrap_or_default();
        let names = names.with_env(&own_env);
        let directory = reader.text("directory", &names).map(PathBuf::from);
        let stdout = self.stream(reader, scope, &names, common, Which::Stdout);
        let mut stderr = self.stream(reader, scope, &names, common, Which::Stderr);
        if common.redirect_stderr {
            if matches!(stderr.log, LogTarget::File(_)) {
                reader.advise("stderr_logfile", ignored_stderr(&reader.section.name));
            }
            stderr.log = LogTarget::Discard;
        }
        let command = reader.text("command", &names);
        if let Some(Err(error)) = command.as_deref().map(split_command) {
            let text = format!(
                "the command cannot be split: {error} (a blank before `;` or `#` starts a comment, \
                 even inside quotes)"
            );
            reader.advise("command", text);
        }
        let process_name = match reader.raw("process_name") {
            Some(_) => reader.read_as("process_name", "process_name", &names, name)?,
            None => self.program.to_owned(),
        };
        let mut environment: BTreeMap<String, String> = scope.base_env.clone();
        environment.extend(own_env);
        Some(Process {
            id: ProcessId {
                group: self.group.to_owned(),
                name: process_name,
            },
            program: self.program.to_owned(),
            kind: self.kind,
            number: self.number,
            command: command?,
            directory,
            umask: common.umask,
            user: common.user.clone(),
            unix_group: common.unix_group.clone(),
            environment,
            priority: common.priority,
            autostart: common.autostart,
            autorestart: common.autorestart,
            exit_codes: common.exit_codes.clone(),
            startsecs: common.startsecs,
            startretries: common.startretries,
            restart_backoff_max: common.restart_backoff_max,
            restart_window: common.restart_window,
            stop_signal: common.stop_signal,
            stopwaitsecs: common.stopwaitsecs,
            stopasgroup: common.stopasgroup,
            killasgroup: common.killasgroup,
            stop_leaves_daemons: common.stop_leaves_daemons,
            redirect_stderr: common.redirect_stderr,
            stdout,
            stderr,
            socket: None,
            server_url: common.server_url.clone(),
            log_level: common.log_level,
            rlimits: common.rlimits.clone(),
        })
    }

    fn stream(
        &self,
        reader: &mut Reader<'_>,
        scope: &Scope<'_>,
        names: &Names<'_>,
        common: &Common,
        which: Which,
    ) -> Stream {
        let (keys, index) = match which {
            Which::Stdout => (&STDOUT, 0),
            Which::Stderr => (&STDERR, 1),
        };
        let log_key = keys.log;
        let here = reader.raw(log_key).map(|raw| raw.source.here.clone());
        let target = reader.read(log_key, names, |text| {
            // A log file's name is expanded twice, so that files written for that keep their meaning.
            let here = here.as_deref().unwrap_or(Path::new("/"));
            log_target(scope, &expand(text, names, log_key, here)?)
        });
        let backups = reader.read(keys.backups, names, backups);
        let max_bytes = reader
            .read(keys.max_bytes, names, byte_size)
            .unwrap_or(DEFAULT_MAX_BYTES);
        let syslog = reader.read(keys.syslog, names, boolean);
        let target = target.unwrap_or(Target::Log(LogTarget::Auto));
        let (log, is_alias) = match target {
            Target::Log(log) => (log, false),
            Target::Syslog => {
                let text = old_syslog(&reader.section.name, keys);
                reader.advise(log_key, text);
                (LogTarget::Discard, true)
            }
        };
        if log == LogTarget::Auto && max_bytes == ByteSize(0) {
            let section = &reader.section.name;
            let text = format!(
                "For [{section}], AUTO logging used for {log_key} without rollover, set maxbytes > 0 \
                 to avoid filling up filesystem unintentionally"
            );
            reader.advise(keys.max_bytes, text);
        }
        // A listener's stdout is the event protocol: it cannot be captured or published.
        let is_protocol = self.kind == ProgramKind::EventListener && matches!(which, Which::Stdout);
        Stream {
            log,
            max_bytes,
            backups: backups.unwrap_or(DEFAULT_BACKUPS),
            capture_max_bytes: if is_protocol {
                ByteSize(0)
            } else {
                common.capture[index]
            },
            events_enabled: common.events[index] && !is_protocol,
            syslog: syslog.unwrap_or(false) || is_alias,
        }
    }
}

#[derive(Clone, Copy)]
enum Which {
    Stdout,
    Stderr,
}

/// What `*_logfile` says: a target, or the old spelling of `*_syslog=true`.
enum Target {
    Log(LogTarget),
    Syslog,
}

fn log_target(scope: &Scope<'_>, text: &str) -> Result<Target, ValueError> {
    match text.to_ascii_lowercase().as_str() {
        "" | "none" | "off" => Ok(Target::Log(LogTarget::Discard)),
        "auto" => Ok(Target::Log(LogTarget::Auto)),
        "syslog" => Ok(Target::Syslog),
        _ => {
            let path = path_in_existing_dir(scope.host, scope.log_dir, text)?;
            Ok(Target::Log(LogTarget::File(path)))
        }
    }
}

/// The absolute form of a path, relative to `base`, whose directory exists; a bare file name is one too.
pub(crate) fn path_in_existing_dir(
    host: &dyn Host,
    base: &Path,
    text: &str,
) -> Result<PathBuf, ValueError> {
    let path = expand_home(host, text);
    let missing = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .filter(|parent| !host.is_dir(&base.join(parent)));
    match missing {
        None => Ok(absolute(host, &base.join(path))),
        Some(_) => Err(ValueError::new(
            format!("The directory named as part of the path {text} does not exist"),
            "a path in a directory that exists",
        )),
    }
}

fn old_syslog(section: &str, keys: &StreamKeys) -> String {
    let (log, syslog) = (keys.log, keys.syslog);
    format!(
        "For [{section}], {log}=syslog but this is deprecated and will be removed.  Use {syslog}=true to \
         enable syslog instead."
    )
}

fn ignored_stderr(section: &str) -> String {
    format!(
        "For [{section}], redirect_stderr=true but stderr_logfile has also been set to a filename, \
         the filename has been ignored"
    )
}
