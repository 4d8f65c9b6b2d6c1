//! From files to a [`Config`]: reads, merges, types and judges.

mod advice;

use std::collections::BTreeMap;
use std::path::Path;

use crate::agent;
use crate::config::Config;
use crate::error::{ConfigError, ConfigErrors, Warning};
use crate::group::{Assembled, assemble};
use crate::host::{Host, Remembered};
use crate::locations::Locations;
use crate::overrides::Overrides;
use crate::plugin;
use crate::program::Scope;
use crate::read::Reader;
use crate::server;
use crate::supervisord;
use crate::tree::{Tree, Wanted};
use crate::unknown::unknown;

/// A configuration that is in order, and what is odd about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is worth a word, in no particular order.
    pub warnings: Vec<Warning>,
}

/// What becomes of keys and sections that nothing reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// A warning.
    Lenient,
    /// An error.
    Strict,
}

/// Loads `file` and what it includes. With an `[agent]` section a broken program is refused alone and
/// listed in [`Config::broken`]; without one every error refuses the whole.
pub fn load(
    file: &Path,
    overrides: &Overrides,
    strictness: Strictness,
    host: &dyn Host,
) -> Result<Loaded, ConfigErrors> {
    let tree = Tree::of_file(host, file, Wanted::ALL).map_err(ConfigErrors::all)?;
    from_tree(tree, file, overrides, strictness, host)
}

/// Loads `text` as if it stood in `file`, which need not exist.
pub fn load_str(
    text: &str,
    file: &Path,
    overrides: &Overrides,
    strictness: Strictness,
    host: &dyn Host,
) -> Result<Loaded, ConfigErrors> {
    let tree =
        Tree::of_bytes(host, file, text.as_bytes(), Wanted::ALL).map_err(ConfigErrors::all)?;
    from_tree(tree, file, overrides, strictness, host)
}

fn from_tree(
    mut tree: Tree,
    file: &Path,
    overrides: &Overrides,
    strictness: Strictness,
    host: &dyn Host,
) -> Result<Loaded, ConfigErrors> {
    let host: &dyn Host = &Remembered::new(host);
    let mut warnings = Vec::new();
    tree.include(host, &mut warnings)
        .map_err(ConfigErrors::all)?;
    let mut errors = Vec::new();
    let daemon_section = tree.section("supervisord");
    if daemon_section.is_none() && tree.section("agent").is_none() {
        errors.push(
            ConfigError::new(".ini file does not include supervisord section")
                .hint("add a line [supervisord]"),
        );
    }
    let reader = daemon_section.map(|section| Reader::new(&tree, section));
    let (supervisord, mut daemon_errors) = supervisord::read(reader, overrides, host);
    errors.append(&mut daemon_errors);
    let mut names_env: BTreeMap<String, String> = host.environment().clone();
    names_env.extend(supervisord.environment.clone());
    let scope = Scope {
        host,
        tree: &tree,
        names_env: &names_env,
        base_env: &supervisord.environment,
        log_dir: supervisord.working_dir(host),
    };
    let (rpc_interfaces, mut rpc_errors) = plugin::plugins(&scope, "rpcinterface", plugin::RPC_KEY);
    errors.append(&mut rpc_errors);
    let Assembled {
        groups,
        mut broken,
        warnings: mut program_warnings,
    } = assemble(&scope);
    warnings.append(&mut program_warnings);
    if tree.section("agent").is_none() {
        errors.extend(broken.drain(..).flat_map(|program| program.errors));
    }
    let (servers, mut server_errors) = server::servers(&scope);
    errors.append(&mut server_errors);
    let agent = agent::read(&tree, host, overrides, &mut errors);
    let max_processes = agent::max_processes(&tree, host, &mut errors);
    let uid = supervisord.user.as_ref().map(|user| user.uid);
    let locations = Locations::find(agent.as_ref(), &supervisord.pidfile, uid, host);
    warnings.extend(advice::plugins(&tree, &rpc_interfaces));
    warnings.extend(advice::client(&tree, host));
    warnings.extend(advice::shared_logs(&groups, host));
    judge_unknown(&tree, strictness, &mut warnings, &mut errors);
    ConfigErrors::of(errors)?;
    Ok(Loaded {
        config: Config {
            file: file.to_owned(),
            included: tree.included,
            supervisord,
            agent,
            locations,
            servers,
            rpc_interfaces,
            max_processes,
            groups,
            broken,
        },
        warnings,
    })
}

fn judge_unknown(
    tree: &Tree,
    strictness: Strictness,
    warnings: &mut Vec<Warning>,
    errors: &mut Vec<ConfigError>,
) {
    let found = unknown(tree);
    match strictness {
        Strictness::Lenient => warnings.extend(found),
        Strictness::Strict => errors.extend(found.into_iter().map(|warning| {
            let error = ConfigError::new(warning.text).at(warning.place);
            match warning.hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        })),
    }
}

#[cfg(test)]
mod tests;
