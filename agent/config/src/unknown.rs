//! Keys and sections that nothing reads, with the name that was probably meant.

use crate::error::{Place, Warning, WarningKind};
use crate::plugin::{CTL_KEY, RPC_KEY};
use crate::tree::{Section, Tree, value_place};
use crate::value::RlimitResource;

const PROGRAM: &[&str] = &[
    "command",
    "process_name",
    "numprocs",
    "numprocs_start",
    "priority",
    "autostart",
    "autorestart",
    "exitcodes",
    "startsecs",
    "startretries",
    "stopsignal",
    "stopwaitsecs",
    "stopasgroup",
    "killasgroup",
    "user",
    "group",
    "umask",
    "directory",
    "environment",
    "redirect_stderr",
    "stdout_logfile",
    "stdout_logfile_maxbytes",
    "stdout_logfile_backups",
    "stdout_capture_maxbytes",
    "stdout_events_enabled",
    "stdout_syslog",
    "stderr_logfile",
    "stderr_logfile_maxbytes",
    "stderr_logfile_backups",
    "stderr_capture_maxbytes",
    "stderr_events_enabled",
    "stderr_syslog",
    "serverurl",
    "loglevel",
    "restart_backoff_max",
    "restart_window",
    "stop_leaves_daemons",
];

const FCGI: &[&str] = &["socket", "socket_owner", "socket_mode", "socket_backlog"];

const LISTENER: &[&str] = &["events", "buffer_size", "result_handler"];

const SUPERVISORD: &[&str] = &[
    "logfile",
    "logfile_maxbytes",
    "logfile_backups",
    "loglevel",
    "pidfile",
    "umask",
    "nodaemon",
    "silent",
    "minfds",
    "minprocs",
    "nocleanup",
    "childlogdir",
    "user",
    "directory",
    "strip_ansi",
    "environment",
    "identifier",
];

/// The sections there are; a name with a colon at its end takes a suffix.
const SECTIONS: &[&str] = &[
    "supervisord",
    "supervisorctl",
    "unix_http_server",
    "inet_http_server",
    "include",
    "agent",
    "processcontrol",
    "program:",
    "fcgi-program:",
    "eventlistener:",
    "group:",
    "rpcinterface:",
    "ctlplugin:",
];

/// A warning for each key and section that nothing reads.
pub(crate) fn unknown(tree: &Tree) -> Vec<Warning> {
    tree.sections()
        .flat_map(|section| match known_keys(&section.name) {
            Known::Keys(lists, limits) => unknown_keys(section, lists, limits),
            Known::Any => Vec::new(),
            Known::NoSuchSection => vec![unknown_section(section)],
        })
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Limits {
    Taken,
    NotTaken,
}

enum Known {
    /// These lists together, and `rlimit_*` where it says so.
    Keys(&'static [&'static [&'static str]], Limits),
    Any,
    NoSuchSection,
}

fn known_keys(section: &str) -> Known {
    let kind = section.split_once(':').map_or(section, |(kind, _)| kind);
    let is_suffixed = kind.len() < section.len();
    let lists: &[&[&str]] = match (kind, is_suffixed) {
        ("rpcinterface" | "ctlplugin", true) => return Known::Any,
        ("program", true) => &[PROGRAM],
        ("fcgi-program", true) => &[PROGRAM, FCGI],
        ("eventlistener", true) => &[PROGRAM, LISTENER],
        ("group", true) => &[&["programs", "priority"]],
        ("supervisord", false) => &[SUPERVISORD],
        ("supervisorctl", false) => &[&[
            "serverurl",
            "username",
            "password",
            "prompt",
            "history_file",
        ]],
        ("include", false) => &[&["files"]],
        ("processcontrol", false) => &[&["maxprocs"]],
        ("agent", false) => &[&[
            "name",
            "controller",
            "labels",
            "state_dir",
            "socket",
            "keeper_socket",
        ]],
        _ if section.starts_with("unix_http_server") => {
            &[&["file", "chmod", "chown", "username", "password"]]
        }
        _ if section.starts_with("inet_http_server") => {
            &[&["port", "username", "password", "rsv_insecure"]]
        }
        _ => return Known::NoSuchSection,
    };
    let limits = if lists.first() == Some(&PROGRAM) {
        Limits::Taken
    } else {
        Limits::NotTaken
    };
    Known::Keys(lists, limits)
}

fn unknown_keys(section: &Section, lists: &[&[&'static str]], limits: Limits) -> Vec<Warning> {
    let rlimits = RlimitResource::ALL.iter().map(|(_, key)| *key);
    let taken = rlimits.filter(|_| limits == Limits::Taken);
    let known = lists.iter().copied().flatten().copied().chain(taken);
    section
        .keys()
        .filter(|(key, _)| !known.clone().any(|known| known == *key))
        .map(|(key, value)| {
            let nearest = nearest(key, known.clone());
            warning(
                value_place(section, key, value),
                "unknown key".to_owned(),
                nearest.map(|name| format!("did you mean `{name}`?")),
            )
        })
        .collect()
}

fn unknown_section(section: &Section) -> Warning {
    let name = &section.name;
    let (kind, rest) = match name.split_once(':') {
        Some((kind, rest)) => (format!("{kind}:"), rest),
        None => (name.clone(), ""),
    };
    let meant = nearest(&kind, SECTIONS.iter().copied()).or_else(|| cut_short(&kind));
    let bare = SECTIONS.iter().find(|known| **known == format!("{name}:"));
    let hint = match (meant, bare) {
        (_, Some(kind)) => Some(format!("it needs a name: [{kind}NAME]")),
        (Some(kind), None) => Some(format!("did you mean [{kind}{rest}]?")),
        (None, None) if section.get(RPC_KEY).is_some() || section.get(CTL_KEY).is_some() => {
            Some("did you mean [rpcinterface:NAME] or [ctlplugin:NAME]?".to_owned())
        }
        (None, None) => None,
    };
    warning(section.place(), "unknown section".to_owned(), hint)
}

fn warning(place: Place, text: String, hint: Option<String>) -> Warning {
    Warning {
        place,
        text,
        hint,
        kind: WarningKind::Unknown,
    }
}

/// The one section with a suffix whose name begins as this kind does: `prog:` is `program:`.
fn cut_short(kind: &str) -> Option<&'static str> {
    let stem = kind
        .strip_suffix(':')
        .filter(|stem| stem.len() >= SHORTEST_STEM)?;
    let suffixed = SECTIONS.iter().filter(|known| known.ends_with(':'));
    let mut meant = suffixed.filter(|known| known.starts_with(stem));
    let first = meant.next()?;
    meant.next().is_none().then_some(first)
}

/// Fewer letters than that may have been meant to be anything.
const SHORTEST_STEM: usize = 3;

/// The candidate with the fewest edits, if few enough to be a misspelling.
fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(LONGEST_WORD).collect();
    let allowed = (word.len() / 3).clamp(1, 3);
    candidates
        .map(|candidate| {
            (
                distance(&word, &candidate.chars().collect::<Vec<_>>()),
                candidate,
            )
        })
        .filter(|(edits, _)| *edits <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Longer than any known name with its misspellings; the comparison stays cheap.
const LONGEST_WORD: usize = 64;

/// Insertions, deletions, replacements and swaps of neighbours from one word to the other.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(x != y);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelling_finds_its_key_and_nonsense_does_not() {
        for (word, expected) in [
            ("autorestrat", Some("autorestart")),
            ("comand", Some("command")),
            ("stopwaitsec", Some("stopwaitsecs")),
            ("stdout_log_file", Some("stdout_logfile")),
            ("numproc", Some("numprocs")),
            ("unknown_key", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, PROGRAM.iter().copied()), expected, "{word}");
        }
    }

    /// The words between backticks.
    fn quoted(text: &str) -> impl Iterator<Item = &str> {
        text.split('`').skip(1).step_by(2)
    }

    #[test]
    fn the_page_of_options_has_the_keys_that_are_read() {
        let page = include_str!("../../COMPATIBILITY.md");
        let (_, table) = page.split_once("\n## Options\n").unwrap();
        let mut sections = Vec::new();
        for row in table.lines().filter(|row| row.starts_with("| `[")) {
            let columns: Vec<&str> = row.split(" | ").collect();
            let section = quoted(columns[0]).next().unwrap();
            let section = section.trim_start_matches('[').trim_end_matches(']');
            sections.push(section.trim_end_matches('x'));
            let lists = match known_keys(section) {
                Known::Keys(lists, _) => lists,
                Known::Any => &[],
                Known::NoSuchSection => panic!("nothing reads [{section}]"),
            };
            let shared = columns[1].contains("the program's").then_some(PROGRAM);
            let written = quoted(columns[1]).chain(shared.into_iter().flatten().copied());
            let mut written: Vec<_> = written.filter(|key| *key != "rlimit_*").collect();
            let mut read = lists.concat();
            written.sort_unstable();
            read.sort_unstable();
            assert_eq!(written, read, "[{section}]");
        }
        let mut all = SECTIONS.to_vec();
        sections.sort_unstable();
        all.sort_unstable();
        assert_eq!(sections, all);
    }
}
