//! From a program's section to its processes.
//!
//! Keys are read in the order in which Supervisor reads them, so that the first error collected is the
//! one that Supervisor would report.

mod instance;

pub(crate) use instance::path_in_existing_dir;

use std::collections::BTreeMap;
use std::path::Path;

use super::{Process, ProgramKind, STDERR, STDOUT};
use crate::error::{ConfigError, ValueError, Warning, repr};
use crate::expand::{Here, Names};
use crate::host::{Host, UnixGroup, User, find_group, find_user};
use crate::read::Reader;
use crate::tree::{Section, Tree};
use crate::value::{
    AutoRestart, ByteSize, ExitCodes, LogLevel, Mode, RestartWindow, Rlimit, RlimitResource,
    Signal, StartRetries, auto_restart, boolean, byte_size, count, duration, exit_codes, integer,
    log_level, name, octal, restart_window, rlimit, seconds, signal, start_retries,
};
use std::time::Duration;

/// More processes than any host runs; a typing error must not eat the memory.
const MOST_PROCESSES: i64 = 100_000;

/// The least that `restart_backoff_max` may be where the attempts have no end.
const SHORTEST_ENDLESS_BACKOFF: Duration = Duration::from_secs(1);

/// What all programs of a configuration share.
pub(crate) struct Scope<'a> {
    pub(crate) host: &'a dyn Host,
    pub(crate) tree: &'a Tree,
    /// The agent's environment with `[supervisord] environment` over it, for `ENV_` names.
    pub(crate) names_env: &'a BTreeMap<String, String>,
    /// `[supervisord] environment`, which every program gets.
    pub(crate) base_env: &'a BTreeMap<String, String>,
    /// Where relative log files of programs are: they are opened when the agent is at work.
    pub(crate) log_dir: &'a Path,
}

impl Scope<'_> {
    /// What Supervisor appends to errors of a program's section.
    fn suffix(&self, section: &Section) -> String {
        format!(
            " in section {} (file: {})",
            repr(&section.name),
            repr(&section.source.file.to_string_lossy())
        )
    }
}

/// What is read once for all processes of a program.
struct Common {
    priority: i64,
    autostart: bool,
    autorestart: AutoRestart,
    startsecs: Duration,
    startretries: StartRetries,
    stop_signal: Signal,
    stopwaitsecs: Duration,
    stopasgroup: bool,
    killasgroup: bool,
    exit_codes: ExitCodes,
    redirect_stderr: bool,
    numprocs: i64,
    numprocs_start: i64,
    capture: [ByteSize; 2],
    events: [bool; 2],
    server_url: Option<String>,
    user: Option<User>,
    umask: Option<Mode>,
    unix_group: Option<UnixGroup>,
    log_level: Option<LogLevel>,
    restart_backoff_max: Option<Duration>,
    restart_window: Option<RestartWindow>,
    stop_leaves_daemons: bool,
    rlimits: Vec<Rlimit>,
}

/// The processes of one section within a group, or all that is wrong with it.
pub(crate) fn processes(
    scope: &Scope<'_>,
    section: &Section,
    group: &str,
    kind: ProgramKind,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Process>, Vec<ConfigError>> {
    let mut reader = Reader::new(scope.tree, section);
    reader.set_suffix(scope.suffix(section));
    let program = match name(section.suffix()) {
        Ok(program) => program,
        Err(error) => {
            reader.fail(error.text, "rename the section");
            return Err(reader.errors);
        }
    };
    let names = Names::new(scope.names_env, Here::Listed)
        .with_text("program_name", &program)
        .with_text("host_node_name", scope.host.node_name())
        .with_text("group_name", group);
    let mut common = common(&mut reader, scope, &names);
    check(&mut reader, &common);
    // Where the tries have an end, none is no limit.
    common.restart_backoff_max = common.restart_backoff_max.filter(|max| !max.is_zero());
    if reader.raw("command").is_none() {
        let text = format!(
            "program section {} does not specify a command",
            section.name
        );
        reader.fail(text, "add a line command=/path/to/program");
    }
    let mut processes = Vec::new();
    if reader.errors.is_empty() {
        let numbers = common.numprocs_start..common.numprocs_start + common.numprocs;
        for number in numbers {
            let instance = instance::Instance {
                program: &program,
                group,
                kind,
                number,
            };
            processes.extend(instance.read(&mut reader, scope, &names, &common));
            if !reader.errors.is_empty() {
                break;
            }
        }
    }
    warnings.append(&mut reader.warnings);
    if reader.errors.is_empty() {
        Ok(processes)
    } else {
        Err(reader.errors)
    }
}

fn common(reader: &mut Reader<'_>, scope: &Scope<'_>, names: &Names<'_>) -> Common {
    let priority = reader.read("priority", names, integer).unwrap_or(999);
    let autostart = reader.read("autostart", names, boolean).unwrap_or(true);
    let autorestart = reader
        .read("autorestart", names, auto_restart)
        .unwrap_or(AutoRestart::Unexpected);
    let startsecs = reader.read("startsecs", names, seconds);
    let startretries = reader.read("startretries", names, start_retries);
    let stop_signal = reader.read("stopsignal", names, signal);
    let stopwaitsecs = reader.read("stopwaitsecs", names, seconds);
    let stopasgroup = reader.read("stopasgroup", names, boolean).unwrap_or(false);
    let killasgroup = reader
        .read("killasgroup", names, boolean)
        .unwrap_or(stopasgroup);
    let exit_codes = reader.read("exitcodes", names, exit_codes);
    let redirect_stderr = reader.read("redirect_stderr", names, boolean);
    let numprocs = reader.read("numprocs", names, process_count).unwrap_or(1);
    let numprocs_start = reader.read("numprocs_start", names, first_number);
    let mut capture = [ByteSize(0); 2];
    let mut events = [false; 2];
    for (index, keys) in [&STDOUT, &STDERR].into_iter().enumerate() {
        let size = reader.read(keys.capture, names, byte_size);
        capture[index] = size.unwrap_or_default();
        events[index] = reader.read(keys.events, names, boolean).unwrap_or(false);
    }
    let server_url = reader
        .text("serverurl", names)
        .filter(|url| !url.is_empty() && !url.trim().eq_ignore_ascii_case("auto"));
    Common {
        priority,
        autostart,
        autorestart,
        startsecs: startsecs.unwrap_or(Duration::from_secs(1)),
        startretries: startretries.unwrap_or(StartRetries::Times(3)),
        stop_signal: stop_signal.unwrap_or(Signal::TERM),
        stopwaitsecs: stopwaitsecs.unwrap_or(Duration::from_secs(10)),
        stopasgroup,
        killasgroup,
        exit_codes: exit_codes.unwrap_or_else(|| ExitCodes::new([0])),
        redirect_stderr: redirect_stderr.unwrap_or(false),
        numprocs,
        numprocs_start: numprocs_start.unwrap_or(0),
        capture,
        events,
        server_url,
        user: reader.read("user", names, |text| find_user(scope.host, text)),
        umask: reader.read("umask", names, octal),
        unix_group: reader.read("group", names, |text| find_group(scope.host, text)),
        log_level: reader.read("loglevel", names, log_level),
        restart_backoff_max: reader.read("restart_backoff_max", names, duration),
        restart_window: reader.read("restart_window", names, restart_window),
        stop_leaves_daemons: reader
            .read("stop_leaves_daemons", names, boolean)
            .unwrap_or(false),
        rlimits: rlimits(reader, names),
    }
}

fn rlimits(reader: &mut Reader<'_>, names: &Names<'_>) -> Vec<Rlimit> {
    let all = RlimitResource::ALL.into_iter();
    all.filter_map(|(resource, key)| reader.read(key, names, |text| rlimit(resource, text)))
        .collect()
}

/// What the keys must satisfy together.
fn check(reader: &mut Reader<'_>, common: &Common) {
    let process_name = reader.raw("process_name").map(|raw| raw.text.as_str());
    if let Some(Err(error)) = process_name.map(name) {
        reader.refuse("process_name", &error);
    }
    let is_numbered = process_name.is_some_and(|text| text.contains("%(process_num)"));
    if common.numprocs > 1 && !is_numbered {
        reader.refuse(
            if process_name.is_some() {
                "process_name"
            } else {
                "numprocs"
            },
            &ValueError::new(
                "%(process_num) must be present within process_name when numprocs > 1",
                "a name that differs for each process, such as %(program_name)s_%(process_num)02d",
            ),
        );
    }
    check_pace(reader, common);
    if common.stopasgroup && !common.killasgroup {
        reader.refuse(
            "killasgroup",
            &ValueError::new(
                "Cannot set stopasgroup=true and killasgroup=false",
                "killasgroup=true, or no killasgroup, beside stopasgroup=true",
            ),
        );
    }
}

/// A program that never gives up must wait between its attempts.
fn check_pace(reader: &mut Reader<'_>, common: &Common) {
    let is_endless = common.startretries == StartRetries::Forever;
    let longest = common.restart_backoff_max;
    if is_endless && longest.is_some_and(|longest| longest < SHORTEST_ENDLESS_BACKOFF) {
        reader.refuse(
            "restart_backoff_max",
            &ValueError::new(
                "startretries=-1 would start the program over and over without a pause",
                "at least 1s beside startretries=-1, or no restart_backoff_max",
            ),
        );
    }
}

/// `numprocs`: zero and less make an empty group.
fn process_count(text: &str) -> Result<i64, ValueError> {
    match integer(text)? {
        number if number > MOST_PROCESSES => Err(ValueError::new(
            format!("{number} is above upper bound ({MOST_PROCESSES})"),
            "a number of processes",
        )),
        number => Ok(number),
    }
}

fn first_number(text: &str) -> Result<i64, ValueError> {
    i32::try_from(integer(text)?)
        .map(i64::from)
        .map_err(|_| ValueError::new(format!("{text} is out of bounds"), "a whole number"))
}

/// A whole number of rotated files.
fn backups(text: &str) -> Result<u32, ValueError> {
    count(text)
}
