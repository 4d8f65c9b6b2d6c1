//! From the configuration to the programs of the hub.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;

use rsv_config::{
    AutoRestart, BrokenProgram, Config, LogTarget as ConfiguredLog, Process, Rlimit,
    RlimitResource, RlimitValue, StartRetries, Stream,
};
use rsv_keeper::message;
use rsv_supervise::{Autorestart, Policy, RestartWindow, Retries, Scope};

use super::credentials::lookup;
use super::{Ambience, AutoLogs, Launch, Program, SocketSpec};
use crate::capture::{LogSpec, LogTarget, SYSLOG_SOCKET, SyslogTarget};
use crate::hub::Key;

/// Names the socket of the system's log, when it is not the usual one.
const SYSLOG_VARIABLE: &str = "RSV_SYSLOG_SOCKET";

/// Users and their groups, each looked up once.
type Users = HashMap<(String, Option<u32>), Result<Option<message::Credentials>, String>>;

/// What all programs of one configuration share.
struct Common<'a> {
    config: &'a Config,
    ambience: Arc<Ambience>,
    auto: &'a AutoLogs,
    users: Users,
}

/// Every program of a configuration. Looks up users and their groups: for a blocking thread.
pub fn load(config: &Config, ambience: Ambience, auto: &AutoLogs) -> Vec<Program> {
    let mut common = Common {
        config,
        ambience: Arc::new(ambience),
        auto,
        users: Users::new(),
    };
    let mut programs = Vec::new();
    for group in &config.groups {
        for process in &group.processes {
            programs.push(common.program(process, group.priority));
        }
    }
    programs.extend(config.broken.iter().map(broken));
    programs
}

impl Common<'_> {
    fn program(&mut self, process: &Process, group_priority: i64) -> Program {
        let key = Key {
            group: process.id.group.clone(),
            name: process.id.name.clone(),
        };
        let policy = policy(process);
        let mut stdout = self.log(process, "stdout", &process.stdout);
        if process.kind == rsv_config::ProgramKind::EventListener {
            // What it says there is a protocol, and nothing else.
            stdout = LogSpec {
                protocol: true,
                events: false,
                capture_maxbytes: 0,
                strip_ansi: false,
                ..stdout
            };
        }
        let stdout = Arc::new(stdout);
        let stderr =
            (!process.redirect_stderr).then(|| self.log(process, "stderr", &process.stderr).into());
        let launch = self.launch(process, &policy);
        let priority = process.priority;
        Program {
            key,
            group_priority,
            priority,
            policy,
            launch,
            stdout,
            stderr,
            fingerprint: rsv_config::fingerprint(process),
            socket: process
                .socket
                .as_ref()
                .map(|socket| SocketSpec::of(socket).into()),
        }
    }

    fn launch(&mut self, process: &Process, policy: &Policy) -> Result<Launch, String> {
        Ok(Launch {
            ambience: Arc::clone(&self.ambience),
            command: process.command.clone(),
            directory: process.directory.clone(),
            environment: process.environment.clone(),
            server_url: process
                .server_url
                .clone()
                .or_else(|| self.config.server_url()),
            credentials: self.credentials(process)?,
            umask: process.umask.map(|mode| mode.0),
            rlimits: process.rlimits.iter().map(rlimit).collect(),
            redirect_stderr: process.redirect_stderr,
            leaves_daemons: process.stop_leaves_daemons,
            stop: crate::hub::stop_rule(policy),
        })
    }

    fn credentials(&mut self, process: &Process) -> Result<Option<message::Credentials>, String> {
        let gid = process.unix_group.as_ref().map(|group| group.gid);
        let own = || nix::unistd::getuid().to_string();
        let user = match (&process.user, gid) {
            (None, None) => return Ok(None),
            (Some(user), _) => user.uid.to_string(),
            (None, Some(_)) => own(),
        };
        let found = self.users.entry((user.clone(), gid)).or_insert_with(|| {
            let group = gid.map(|gid| gid.to_string());
            lookup(&user, group.as_deref()).map_err(|error| error.to_string())
        });
        found.clone()
    }

    fn log(&self, process: &Process, channel: &str, stream: &Stream) -> LogSpec {
        let target = match &stream.log {
            ConfiguredLog::Discard => LogTarget::Null,
            ConfiguredLog::File(path) => LogTarget::File { path: path.clone() },
            ConfiguredLog::Auto => LogTarget::Private {
                path: self.auto.path(process, channel),
            },
        };
        LogSpec {
            target,
            maxbytes: stream.max_bytes.bytes(),
            backups: stream.backups,
            strip_ansi: self.config.supervisord.strip_ansi,
            capture_maxbytes: stream.capture_max_bytes.bytes(),
            events: stream.events_enabled,
            protocol: false,
            syslog: stream.syslog.then(|| self.syslog(&process.id.name)),
            ledger_dir: Some(self.config.locations.state_dir.join("logs")),
        }
    }

    /// The system's log, under the process's own name. Where its socket is can be said in the
    /// environment, for hosts that have it elsewhere.
    fn syslog(&self, name: &str) -> SyslogTarget {
        let elsewhere = self.ambience.environment.get(OsStr::new(SYSLOG_VARIABLE));
        SyslogTarget {
            name: name.to_owned(),
            socket: elsewhere.map_or_else(|| SYSLOG_SOCKET.into(), PathBuf::from),
        }
    }
}

/// A section that was refused alone: it is shown, and cannot be started.
fn broken(broken: &BrokenProgram) -> Program {
    let why = broken
        .errors
        .first()
        .map(|error| error.supervisor_text().to_owned());
    Program {
        key: Key {
            group: broken.group.clone(),
            name: broken.name.clone(),
        },
        group_priority: 999,
        priority: 999,
        policy: Policy {
            autostart: false,
            ..Policy::default()
        },
        launch: Err(why.unwrap_or_else(|| format!("section {} is refused", broken.section))),
        stdout: LogSpec::null().into(),
        stderr: None,
        fingerprint: 0,
        socket: None,
    }
}

fn policy(process: &Process) -> Policy {
    let scope = |is_group| {
        if is_group {
            Scope::Group
        } else {
            Scope::Process
        }
    };
    Policy {
        autostart: process.autostart,
        autorestart: match process.autorestart {
            AutoRestart::Never => Autorestart::Never,
            AutoRestart::Unexpected => Autorestart::Unexpected,
            AutoRestart::Always => Autorestart::Always,
        },
        exit_codes: process.exit_codes.iter().collect(),
        startsecs: process.startsecs,
        startretries: match process.startretries {
            StartRetries::Times(times) => Retries::Limit(times),
            StartRetries::Forever => Retries::Unlimited,
        },
        stopsignal: process.stop_signal.number(),
        stopwaitsecs: process.stopwaitsecs,
        stop_scope: scope(process.stopasgroup),
        kill_scope: scope(process.killasgroup),
        restart_backoff_max: process.restart_backoff_max,
        restart_window: process.restart_window.and_then(|window| {
            RestartWindow::new(window.count.min(RestartWindow::MAX_COUNT), window.within)
        }),
    }
}

fn rlimit(limit: &Rlimit) -> message::Rlimit {
    let value = |value| match value {
        RlimitValue::Limit(number) => number,
        RlimitValue::Unlimited => u64::MAX,
    };
    let (soft, hard) = (value(limit.soft), value(limit.hard));
    message::Rlimit {
        resource: resource(limit.resource),
        soft,
        hard,
    }
}

/// How a configuration names a limit.
pub(super) fn limit_key(limit: &message::Rlimit) -> Option<&'static str> {
    let mut all = RlimitResource::ALL.into_iter();
    all.find_map(|(is, key)| (resource(is) == limit.resource).then_some(key))
}

fn resource(resource: RlimitResource) -> u32 {
    match resource {
        RlimitResource::AddressSpace => libc::RLIMIT_AS,
        RlimitResource::Core => libc::RLIMIT_CORE,
        RlimitResource::Cpu => libc::RLIMIT_CPU,
        RlimitResource::Data => libc::RLIMIT_DATA,
        RlimitResource::FileSize => libc::RLIMIT_FSIZE,
        RlimitResource::Locks => libc::RLIMIT_LOCKS,
        RlimitResource::LockedMemory => libc::RLIMIT_MEMLOCK,
        RlimitResource::MessageQueue => libc::RLIMIT_MSGQUEUE,
        RlimitResource::Nice => libc::RLIMIT_NICE,
        RlimitResource::OpenFiles => libc::RLIMIT_NOFILE,
        RlimitResource::Processes => libc::RLIMIT_NPROC,
        RlimitResource::ResidentMemory => libc::RLIMIT_RSS,
        RlimitResource::RealtimePriority => libc::RLIMIT_RTPRIO,
        RlimitResource::RealtimeTime => libc::RLIMIT_RTTIME,
        RlimitResource::PendingSignals => libc::RLIMIT_SIGPENDING,
        RlimitResource::Stack => libc::RLIMIT_STACK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::time::Duration;

    use rsv_config::host::FixedHost;
    use rsv_config::{Overrides, Strictness, load_str};

    fn config(text: &str) -> Config {
        let file = Path::new("/etc/a.conf");
        let host = FixedHost::default();
        let loaded = load_str(
            text,
            file,
            &Overrides::default(),
            Strictness::Lenient,
            &host,
        );
        loaded.unwrap().config
    }

    fn programs(text: &str) -> Vec<Program> {
        let ambience = Ambience {
            environment: BTreeMap::new(),
            directory: "/".into(),
        };
        let config = config(text);
        load(&config, ambience, &AutoLogs::of(&config))
    }

    #[test]
    fn a_program_is_taken_over_with_all_its_rules() {
        let text = "[supervisord]\n[program:app]\ncommand=/bin/app -x\ndirectory=/srv\n\
            startsecs=5\nstartretries=-1\nautorestart=true\nexitcodes=0,2\nstopsignal=INT\n\
            stopwaitsecs=7\nstopasgroup=true\npriority=3\nstdout_logfile=/tmp/a.log\n\
            stdout_logfile_maxbytes=1KB\nstdout_logfile_backups=2\nredirect_stderr=true\n\
            environment=A=\"1\"\numask=022\nrlimit_nofile=10:20\n\
            stop_leaves_daemons=true\n";
        let programs = programs(text);
        let [program] = &programs[..] else {
            panic!("{programs:?}")
        };
        let policy = &program.policy;
        assert_eq!(program.key.as_run_key(), "app:app");
        assert_eq!((program.group_priority, program.priority), (3, 3));
        assert_eq!(policy.startretries, Retries::Unlimited);
        assert_eq!(policy.autorestart, Autorestart::Always);
        assert_eq!(policy.exit_codes, [0, 2].into());
        assert_eq!(
            (policy.startsecs, policy.stopsignal),
            (Duration::from_secs(5), 2)
        );
        assert_eq!(
            (policy.stop_scope, policy.kill_scope),
            (Scope::Group, Scope::Group)
        );
        assert_eq!(
            program.stdout.target,
            LogTarget::File {
                path: "/tmp/a.log".into()
            }
        );
        assert_eq!((program.stdout.maxbytes, program.stdout.backups), (1024, 2));
        assert!(program.stderr.is_none());
        let launch = program.launch.as_ref().unwrap();
        assert_eq!(launch.command, "/bin/app -x");
        assert_eq!(launch.umask, Some(0o22));
        let nofile = message::Rlimit {
            resource: libc::RLIMIT_NOFILE,
            soft: 10,
            hard: 20,
        };
        assert_eq!(launch.rlimits, [nofile]);
        assert_eq!(launch.stop.grace_ms, 7000);
        assert!(launch.leaves_daemons);
    }

    #[test]
    fn a_refused_section_is_a_program_that_cannot_start() {
        let text = "[agent]\nname=a\n[supervisord]\n[program:bad]\ncommand=/bin/x\n\
            autostart=maybe\n[program:good]\ncommand=/bin/x\n";
        let programs = programs(text);
        let bad = programs
            .iter()
            .find(|program| program.key.name == "bad")
            .unwrap();
        let why = bad.launch.as_ref().unwrap_err();
        assert!(why.contains("not a valid boolean value: 'maybe'"), "{why}");
        assert!(programs.iter().any(|program| program.key.name == "good"));
    }
}
