//! What is sound in a configuration and yet will hardly do what was meant.

use std::collections::HashMap;
use std::path::Path;

use crate::client;
use crate::error::{Place, Warning, WarningKind};
use crate::group::Group;
use crate::host::Host;
use crate::plugin::{MAIN_RPC_FACTORY, Plugin};
use crate::program::{LogTarget, Process};
use crate::read::Reader;
use crate::tree::{Section, Tree};

fn advice(place: Place, text: String) -> Warning {
    Warning {
        place,
        text,
        hint: None,
        kind: WarningKind::Advice,
    }
}

/// RPC interfaces that are Python code.
pub(super) fn plugins(tree: &Tree, plugins: &[Plugin]) -> Vec<Warning> {
    let foreign = plugins
        .iter()
        .filter(|plugin| plugin.factory != MAIN_RPC_FACTORY);
    foreign
        .map(|plugin| {
            let section = tree.section(&format!("rpcinterface:{}", plugin.name));
            advice(
                section.map(Section::place).unwrap_or_default(),
                format!("`{}` is Python code and is not loaded", plugin.factory),
            )
        })
        .collect()
}

/// Faults of `[supervisorctl]`: the agent runs without it, the command line will refuse it.
pub(super) fn client(tree: &Tree, host: &dyn Host) -> Vec<Warning> {
    let mut errors = Vec::new();
    if let Some(section) = tree.section("supervisorctl") {
        client::supervisorctl(Reader::new(tree, section), host, &mut errors);
    }
    errors
        .iter()
        .map(|error| advice(error.fault().place.clone(), error.fault().text.clone()))
        .collect()
}

/// Two streams that write to one file rotate it under each other, where there is one to rotate.
pub(super) fn shared_logs(groups: &[Group], host: &dyn Host) -> Vec<Warning> {
    let mut writers: HashMap<&Path, String> = HashMap::new();
    let mut warnings = Vec::new();
    let processes = groups.iter().flat_map(|group| &group.processes);
    for (process, stream, path) in processes.flat_map(log_files) {
        let writer = format!("{stream} of {}", process.id);
        let first = writers.get(path);
        if let Some(first) = first.filter(|_| !host.is_special(path)) {
            let text = format!("`{}` is written by {first} and by {writer}", path.display());
            let kind = process.kind.section_kind();
            let place = Place {
                section: Some(format!("{kind}:{}", process.program)),
                key: Some(format!("{stream}_logfile")),
                ..Place::default()
            };
            warnings.push(advice(place, text));
        } else {
            writers.insert(path, writer);
        }
    }
    warnings
}

fn log_files(process: &Process) -> impl Iterator<Item = (&Process, &'static str, &Path)> {
    let streams = [("stdout", &process.stdout), ("stderr", &process.stderr)];
    streams
        .into_iter()
        .filter_map(move |(name, stream)| match &stream.log {
            // What is not rotated may well be shared: a terminal, a pipe, a log that others look after.
            LogTarget::File(path) if stream.max_bytes.bytes() > 0 => {
                Some((process, name, path.as_path()))
            }
            _ => None,
        })
}
