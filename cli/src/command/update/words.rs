//! The lines of an update: supervisorctl's, and behind them in brackets what it does not know: which
//! processes of a group were left alone. Pure.

use rsv_proto::wire::{
    ConfigurationRefusal, PlannedGroup, planned_process::Kind, update_response::Event,
    update_response::Updated,
};

use crate::{command::here, ui::printable};

/// The line of one event, if it has one.
pub(super) fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::Refused(refusal) => fault(refusal),
        Event::ShuttingDown(_) => "ERROR: already shutting down".to_owned(),
        Event::NoSuchGroup(name) => format!("ERROR: no such group: {}", printable(name)),
        Event::Stopped(name) => format!("{}: stopped", printable(name)),
        Event::Removed(name) => format!("{}: removed process group", printable(name)),
        Event::Problems(name) => format!("{}: has problems; not removing", printable(name)),
        Event::Added(name) => format!("{}: added process group", printable(name)),
        Event::RefusedSection(section) => here::refused_line(section),
        Event::Updated(updated) => {
            let name = updated.group.as_ref().map_or("", |group| &group.name);
            let extent = extent(updated);
            format!("{}: updated process group{extent}", printable(name))
        }
    })
}

/// What scripts know from supervisorctl, which prints the exception as it comes. File and line are
/// those of the problem.
fn fault(refusal: &ConfigurationRefusal) -> String {
    let text = repr(&format!("CANT_REREAD: {}", printable(&refusal.text)));
    let (file, line) = (printable(&refusal.file), refusal.line);
    format!("error: <class 'xmlrpc.client.Fault'>, <Fault 92: {text}>: file: {file} line: {line}")
}

/// A text as Python writes it.
fn repr(text: &str) -> String {
    let quote = match text.contains('\'') && !text.contains('"') {
        true => '"',
        false => '\'',
    };
    let mut out = String::from(quote);
    for c in text.chars() {
        if c == quote || c == '\\' {
            out.push('\\');
        }
        out.push(c);
    }
    out.push(quote);
    out
}

/// How far a change went, unless it was the whole group, as with supervisorctl.
fn extent(updated: &Updated) -> String {
    let Some(group) = &updated.group else {
        return String::new();
    };
    let restarted = names(group, Kind::Restarted);
    let added = names(group, Kind::Added);
    let removed = names(group, Kind::Removed);
    let live = live_keys(group);
    let is_whole = added.is_empty() && live.is_empty() && updated.unchanged == 0;
    if is_whole && !restarted.is_empty() {
        return String::new();
    }
    let mut parts = Vec::new();
    if restarted.is_empty() {
        let mut what = live;
        what.extend(added.iter().map(|name| format!("{name} added")));
        what.extend(removed.iter().map(|name| format!("{name} removed")));
        return match what.is_empty() {
            true => " (nothing restarted)".to_owned(),
            false => format!(" (nothing restarted: {})", what.join(", ")),
        };
    }
    parts.push(format!("restarted: {}", restarted.join(", ")));
    for (word, what) in [
        ("added", added),
        ("removed", removed),
        ("not restarted for", live),
    ] {
        if !what.is_empty() {
            parts.push(format!("{word}: {}", what.join(", ")));
        }
    }
    format!(" ({})", parts.join("; "))
}

fn names(group: &PlannedGroup, kind: Kind) -> Vec<String> {
    let processes = group.processes.iter();
    processes
        .filter(|process| process.kind() == kind)
        .map(|process| printable(&process.name).into_owned())
        .collect()
}

/// The keys that were applied while everything runs, each once.
fn live_keys(group: &PlannedGroup) -> Vec<String> {
    let live = group.processes.iter();
    let live = live.filter(|process| process.kind() == Kind::Live);
    let mut keys = group.keys.clone();
    for key in live.flat_map(|process| &process.keys) {
        if !keys.contains(key) {
            keys.push(key.clone());
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use rsv_proto::wire::PlannedProcess;

    use super::*;

    fn updated(processes: &[(&str, Kind, &[&str])], keys: &[&str], unchanged: u32) -> String {
        let owned = |keys: &[&str]| keys.iter().map(ToString::to_string).collect();
        let process = |(name, kind, keys): &(&str, Kind, &[&str])| PlannedProcess {
            name: (*name).into(),
            kind: (*kind).into(),
            keys: owned(keys),
        };
        let group = PlannedGroup {
            name: "app".into(),
            keys: owned(keys),
            processes: processes.iter().map(process).collect(),
            ..Default::default()
        };
        let group = Some(group);
        line(&Event::Updated(Updated { group, unchanged })).unwrap()
    }

    #[test]
    fn a_group_that_was_restarted_as_a_whole_has_supervisors_line() {
        let command: (_, _, &[_]) = ("app", Kind::Restarted, &["command"]);
        assert_eq!(updated(&[command], &[], 0), "app: updated process group");
    }

    #[test]
    fn what_was_left_alone_is_said_behind_it() {
        let restarted: (_, _, &[_]) = ("a", Kind::Restarted, &["command"]);
        let live: (_, _, &[_]) = ("b", Kind::Live, &["autorestart", "stopwaitsecs"]);
        let added: (_, _, &[_]) = ("c", Kind::Added, &[]);
        for (processes, keys, unchanged, said) in [
            (
                vec![live],
                vec![],
                0,
                "nothing restarted: autorestart, stopwaitsecs",
            ),
            (vec![], vec!["priority"], 2, "nothing restarted: priority"),
            (vec![added], vec![], 4, "nothing restarted: c added"),
            (vec![restarted], vec![], 1, "restarted: a"),
            (
                vec![restarted, live, added],
                vec![],
                0,
                "restarted: a; added: c; not restarted for: autorestart, stopwaitsecs",
            ),
        ] {
            let line = updated(&processes, &keys, unchanged);
            assert_eq!(line, format!("app: updated process group ({said})"));
        }
    }

    #[test]
    fn a_refused_configuration_is_told_as_supervisorctl_tells_an_exception() {
        let refusal = ConfigurationRefusal {
            text: "not a valid boolean value: 'maybe' in section 'program:x' (file: 'a.conf')"
                .into(),
            file: "a.conf".into(),
            line: 7,
            problems: Vec::new(),
        };
        assert_eq!(
            fault(&refusal),
            "error: <class 'xmlrpc.client.Fault'>, <Fault 92: \"CANT_REREAD: not a valid boolean \
             value: 'maybe' in section 'program:x' (file: 'a.conf')\">: file: a.conf line: 7"
        );
        assert_eq!(repr("a 'b' \"c\" \\"), "'a \\'b\\' \"c\" \\\\'");
    }
}
