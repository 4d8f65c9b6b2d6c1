//! Which differences a file has to do with.
//!
//! A rule looks at one section, as it is written and before anything is expanded, and names the keys that
//! matter. Its topic is that of a row in COMPATIBILITY.md, which has the words.

use super::Severity;
use crate::environment;
use crate::error::Place;
use crate::plugin::{CTL_KEY, MAIN_RPC_FACTORY, RPC_KEY};
use crate::tree::{Section, Tree, value_place};
use crate::value::{RlimitResource, boolean, byte_size, inet_address, list, seconds};

/// What is said of keys and sections that nothing reads.
pub(super) const UNKNOWN: &str = "unknown keys and sections";

/// What has no effect in Supervisor, and has one here.
const OWN: &str = "keys that Supervisor does not have: `group`, `restart_backoff_max`, `restart_window`, `stop_leaves_daemons`, `rlimit_*`, `startretries = -1`, `[processcontrol] maxprocs`";

const PLUGINS: &str = "Python plug-ins (`rpcinterface_factory` other than Supervisor's, `ctlplugin`, `result_handler`)";
const SHARED_LOG: &str = "two programs writing one log file";
const QUOTING: &str = "quotes and backslashes in `environment=`";
const UNREADABLE: &str = "unreadable included file";

/// How a file is found to have to do with a difference.
pub(super) struct Rule {
    /// The row's topic.
    pub(super) topic: &'static str,
    /// What can be done about it; empty: nothing has to be.
    pub(super) hint: &'static str,
    /// How much it matters.
    pub(super) severity: Severity,
    /// The keys of a section that make it so.
    pub(super) applies: fn(&Look<'_>) -> Vec<&'static str>,
}

/// One section of a file.
pub(super) struct Look<'a> {
    pub(super) tree: &'a Tree,
    pub(super) section: &'a Section,
}

/// The kinds of section that have processes.
const PROGRAMS: [&str; 3] = ["program", "eventlistener", "fcgi-program"];

const LOGS: [&str; 2] = ["stdout_logfile", "stderr_logfile"];
const OWN_KEYS: [&str; 4] = [
    "group",
    "restart_backoff_max",
    "restart_window",
    "stop_leaves_daemons",
];
const CAPTURES: [&str; 2] = ["stdout_capture_maxbytes", "stderr_capture_maxbytes"];
const EVENTS: [&str; 2] = ["stdout_events_enabled", "stderr_events_enabled"];
const SYSLOGS: [&str; 2] = ["stdout_syslog", "stderr_syslog"];

/// Commands that put a daemon where Supervisor's stop does not reach it.
const DETACHERS: [&str; 4] = ["pidproxy", "setsid", "nohup", "daemonize"];

const fn differs(
    topic: &'static str,
    hint: &'static str,
    applies: fn(&Look<'_>) -> Vec<&'static str>,
) -> Rule {
    Rule {
        topic,
        hint,
        severity: Severity::Differs,
        applies,
    }
}

/// All rules.
pub(super) const RULES: &[Rule] = &[
    Rule {
        topic: "an inet server without a password, or with an empty one, on other than loopback",
        hint: "set username and password, or port=127.0.0.1:PORT, or rsv_insecure=true to have it so",
        severity: Severity::Refused,
        applies: |look| look.when("port", look.is_open_to_the_network()),
    },
    differs(
        "state-changing links (GET) of the web page",
        "scripts that fetch such links use XML-RPC, `supervisorctl` or `rsv`",
        |look| look.when("port", look.is_kind("inet_http_server")),
    ),
    differs(OWN, "leave it out if it is to go on as it was", |look| {
        let limits = RlimitResource::ALL.iter().map(|(_, key)| *key);
        let keys: Vec<_> = OWN_KEYS.into_iter().chain(limits).collect();
        let mut own = look.among(&keys, |_| true);
        own.extend(look.among(&["startretries"], |text| text == "-1"));
        let is_bound = look.section.name == "processcontrol" && look.text("maxprocs").is_some();
        own.extend(look.when("maxprocs", is_bound));
        own
    }),
    differs(
        "`startsecs=0` and ends at once",
        "set autorestart=false if it is to run once",
        |look| {
            let is_zero = |text: &str| seconds(text).is_ok_and(|time| time.is_zero());
            let runs_once = look.is("autorestart", |text| boolean(text) == Ok(false));
            let is_so = look.is_program() && look.is("startsecs", is_zero) && !runs_once;
            look.when("startsecs", is_so)
        },
    ),
    differs(
        "what a program has started and left, at a stop",
        "set stop_leaves_daemons=true if what it starts is to live on",
        |look| look.when("command", look.is_program() && look.detaches()),
    ),
    differs(
        "relative `command=./x` with `directory=`",
        "write an absolute path if the other file was meant",
        |look| {
            let is_relative = |text: &str| {
                let word = text.split_whitespace().next().unwrap_or_default();
                word.contains('/') && !word.starts_with(['/', '%'])
            };
            let is_elsewhere = look.text("directory").is_some();
            look.when(
                "command",
                look.is_program() && is_elsewhere && look.is("command", is_relative),
            )
        },
    ),
    differs("`*_logfile`", "write %% for one percent sign", |look| {
        look.among(&LOGS, |text| text.contains("%%"))
    }),
    differs(
        QUOTING,
        "write each value in one pair of quotes; inside double quotes `\\\\` is one backslash",
        |look| {
            let is_other = look.is("environment", environment::is_read_otherwise);
            look.when("environment", is_other)
        },
    ),
    differs(
        "AUTO log names",
        "name a file if somebody looks for it",
        |look| {
            let is_auto = |text: &str| text.eq_ignore_ascii_case("auto");
            let mut keys = look.among(&LOGS, is_auto);
            keys.extend(look.when("childlogdir", look.text("childlogdir").is_some()));
            keys
        },
    ),
    differs("lines in syslog", "", |look| {
        look.among(&SYSLOGS, |text| boolean(text) == Ok(true))
    }),
    differs(
        "the same with `strip_ansi`, capture, events or syslog",
        "",
        |look| {
            let is_on = look.section.name == "supervisord" && look.is("strip_ansi", is_true);
            look.when("strip_ansi", is_on)
        },
    ),
    differs("a communication without its end", "", |look| {
        look.among(&CAPTURES, |text| {
            byte_size(text).is_ok_and(|size| size.bytes() > 0)
        })
    }),
    differs("PROCESS_LOG events of text between the marks", "", |look| {
        let pairs = EVENTS.into_iter().zip(CAPTURES);
        let both = pairs.filter(|(events, capture)| {
            look.is_program() && look.is(events, is_true) && look.text(capture).is_some()
        });
        both.map(|(events, _)| events).collect()
    }),
    differs("fcgi-program inside `[group:x]`", "", |look| {
        look.when(
            "programs",
            look.is_kind("group") && look.has_fastcgi_member(),
        )
    }),
    differs(
        PLUGINS,
        "what it did has to be done otherwise, such as by a client of XML-RPC",
        |look| {
            let is_foreign = |text: &str| text != MAIN_RPC_FACTORY;
            let mut keys = look.when(RPC_KEY, look.is(RPC_KEY, is_foreign));
            keys.extend(look.when(CTL_KEY, look.text(CTL_KEY).is_some()));
            let is_handler = |text: &str| text != "supervisor.dispatchers:default_handler";
            keys.extend(look.when("result_handler", look.is("result_handler", is_handler)));
            keys
        },
    ),
];

fn is_true(text: &str) -> bool {
    boolean(text) == Ok(true)
}

/// What a piece of advice is about, by where it is given.
pub(super) fn topic_of_advice(place: &Place) -> Option<&'static str> {
    let section = place.section.as_deref().unwrap_or_default();
    let kind = section.split(':').next().unwrap_or_default();
    match (kind, place.key.as_deref()) {
        ("include", _) => Some(UNREADABLE),
        ("rpcinterface" | "ctlplugin", _) | (_, Some("result_handler")) => Some(PLUGINS),
        (_, Some(key)) if LOGS.contains(&key) => Some(SHARED_LOG),
        _ => None,
    }
}

impl<'a> Look<'a> {
    /// Where a key of the section stands, or the section when it has none.
    pub(super) fn place(&self, key: &str) -> Place {
        match self.tree.value(self.section, key) {
            Some(value) => value_place(self.section, key, value),
            None => self.section.place(),
        }
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        let value = self.tree.value(self.section, key)?;
        Some(value.text.trim())
    }

    fn is(&self, key: &str, is_so: impl FnOnce(&str) -> bool) -> bool {
        self.text(key).is_some_and(is_so)
    }

    fn when(&self, key: &'static str, is_so: bool) -> Vec<&'static str> {
        if is_so { vec![key] } else { Vec::new() }
    }

    /// The keys of a program among these whose value is so.
    fn among(&self, keys: &[&'static str], is_so: impl Fn(&str) -> bool) -> Vec<&'static str> {
        let of_programs = keys.iter().filter(|_| self.is_program());
        of_programs
            .copied()
            .filter(|key| self.is(key, &is_so))
            .collect()
    }

    fn is_kind(&self, kind: &str) -> bool {
        self.section.name.split(':').next() == Some(kind)
    }

    fn is_program(&self) -> bool {
        PROGRAMS.iter().any(|kind| self.is_kind(kind))
    }

    fn is_open_to_the_network(&self) -> bool {
        let is_guarded = self.text("username").is_some() || self.is("rsv_insecure", is_true);
        let is_elsewhere = |text: &str| {
            let (host, _) = inet_address(text).unwrap_or_default();
            host.is_none_or(|host| {
                !(host == "localhost" || host == "[::1]" || host.starts_with("127."))
            })
        };
        self.is_kind("inet_http_server") && !is_guarded && self.is("port", is_elsewhere)
    }

    fn detaches(&self) -> bool {
        self.is("command", |text| {
            let mut names = text
                .split_whitespace()
                .map(|word| word.rsplit('/').next().unwrap_or(word));
            names.any(|name| DETACHERS.contains(&name))
        })
    }

    fn has_fastcgi_member(&self) -> bool {
        let members = list(self.text("programs").unwrap_or_default());
        let mut names = members
            .iter()
            .map(|member| format!("fcgi-program:{member}"));
        names.any(|name| self.tree.section(&name).is_some())
    }
}
