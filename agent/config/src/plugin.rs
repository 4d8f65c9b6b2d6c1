//! `[rpcinterface:x]` and `[ctlplugin:x]`: names of Python factories with free keys.

use std::collections::BTreeMap;

use crate::error::ConfigError;
use crate::expand::{Here, Names};
use crate::program::Scope;
use crate::read::Reader;

/// A section that names a factory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// The part of the section's name behind the colon.
    pub name: String,
    /// The factory, as `module:callable`.
    pub factory: String,
    /// The other keys of the section, without those of `[DEFAULT]`.
    pub options: BTreeMap<String, String>,
}

/// The factory of Supervisor's own RPC interface.
pub const MAIN_RPC_FACTORY: &str = "supervisor.rpcinterface:make_main_rpcinterface";

pub(crate) const RPC_KEY: &str = "supervisor.rpcinterface_factory";
pub(crate) const CTL_KEY: &str = "supervisor.ctl_factory";

/// All sections of one kind.
pub(crate) fn plugins(
    scope: &Scope<'_>,
    kind: &str,
    factory_key: &str,
) -> (Vec<Plugin>, Vec<ConfigError>) {
    let mut plugins = Vec::new();
    let mut errors = Vec::new();
    let names = Names::new(scope.names_env, Here::Listed);
    for section in scope.tree.sections_of(kind) {
        let mut reader = Reader::new(scope.tree, section);
        let factory = reader.text(factory_key, &names);
        if reader.raw(factory_key).is_none() {
            reader.fail(
                format!(
                    "section [{}] does not specify a {factory_key}",
                    section.name
                ),
                "add a line with that key and MODULE:CALLABLE",
            );
        }
        let mut options = BTreeMap::new();
        for (key, _) in section.keys().filter(|(key, _)| *key != factory_key) {
            options.extend(reader.text(key, &names).map(|text| (key.to_owned(), text)));
        }
        errors.append(&mut reader.errors);
        plugins.extend(factory.map(|factory| Plugin {
            name: section.suffix().to_owned(),
            factory,
            options,
        }));
    }
    (plugins, errors)
}
