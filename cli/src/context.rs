//! Contexts: the installed ones in a file of the user, and context files used as they are.
//!
//! A file with a key in it must not be readable by others. What is installed stands alone: it does
//! not depend on the files that it came from.

mod file;

use std::{
    env, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rsv_proto::context::Context;

use crate::{args::Global, error::Failure, ui::Ui};

pub(crate) use file::Installed;

/// Names a context or a context file.
const CONTEXT_VARIABLE: &str = "RSV_CONTEXT";
/// Names the file of installed contexts.
const CONFIG_VARIABLE: &str = "RSV_CONFIG";

/// Permission bits that let anybody read or change a file.
const FOR_OTHERS: u32 = 0o006;
/// Permission bits that let the file's group do so.
const FOR_GROUP: u32 = 0o060;

const NO_CONTEXT: &str =
    "`rsv ctx import FILE` installs one; RSV_CONTEXT=FILE uses a file as it is";

/// The context that the flags and the environment choose.
pub(crate) fn chosen(global: &Global, ui: &mut Ui) -> Result<Context, Failure> {
    let named = global.context.clone().map(|name| (name, "--context"));
    let variable = || set_variable(CONTEXT_VARIABLE).map(|name| (name, CONTEXT_VARIABLE));
    match named.or_else(variable) {
        Some((name, source)) => named_context(&name, source, ui),
        None => Installed::read(ui)?.current(),
    }
}

/// A name is an installed context; anything else, and a name that no installed context has, is a
/// file.
fn named_context(name: &str, source: &str, ui: &mut Ui) -> Result<Context, Failure> {
    let path = Path::new(name);
    if name.contains('/') || path.is_file() {
        return from_file(path, ui);
    }
    let installed = Installed::read(ui)?;
    match installed.get(name)? {
        Some(context) => Ok(context),
        None => Err(
            Failure::usage(format!("{source}: no context `{name}`, and no such file"))
                .hint("`rsv ctx ls` lists the installed contexts"),
        ),
    }
}

/// The one context of a context file.
fn from_file(path: &Path, ui: &mut Ui) -> Result<Context, Failure> {
    let mut contexts = read_contexts(path, ui)?.into_iter();
    match (contexts.next(), contexts.next()) {
        (Some(context), None) => Ok(context),
        (None, _) => Err(holds_none(path)),
        (Some(_), Some(_)) => Err(Failure::usage(format!(
            "`{}` holds several contexts",
            path.display()
        ))
        .hint("install it with `rsv ctx import`, then name one of them with --context")),
    }
}

/// Every context of a file; one that is not complete is an error.
pub(crate) fn read_contexts(path: &Path, ui: &mut Ui) -> Result<Vec<Context>, Failure> {
    let text = read_private(path, ui)?;
    let bad = |error: &rsv_proto::context::ContextError| {
        Failure::usage(format!("`{}`: {error}", path.display()))
            .behind(error)
            .hint("a context has `controller`, `ca`, `cert` and `key`")
    };
    let contexts = Context::parse(&text, &directory_of(path)).map_err(|error| bad(&error))?;
    contexts
        .into_iter()
        .map(|(_, context)| context.map_err(|error| bad(&error)))
        .collect()
}

/// The text of a file that holds a key.
fn read_private(path: &Path, ui: &mut Ui) -> Result<String, Failure> {
    let shown = path.display();
    let unreadable =
        |error: std::io::Error| Failure::usage(format!("cannot read `{shown}`")).because(&error);
    let mode = fs::metadata(path).map_err(unreadable)?.mode();
    if mode & FOR_OTHERS != 0 {
        return Err(Failure::usage(format!(
            "`{shown}` holds a key and is open to everybody here"
        ))
        .hint(format!("chmod 600 {shown}")));
    }
    if mode & FOR_GROUP != 0 {
        ui.warning(&format!(
            "`{shown}` holds a key and is open to its group: chmod 600 {shown}"
        ));
    }
    fs::read_to_string(path).map_err(unreadable)
}

/// The failure of a file without a context.
pub(crate) fn holds_none(path: &Path) -> Failure {
    Failure::usage(format!("`{}` holds no context", path.display()))
        .hint("a context file has a section [context:NAME]; `rsv-controller init` writes one")
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn set_variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Where installed contexts are kept.
fn config_path() -> Result<PathBuf, Failure> {
    if let Some(path) = set_variable(CONFIG_VARIABLE) {
        return Ok(PathBuf::from(path));
    }
    let base = set_variable("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| set_variable("HOME").map(|home| Path::new(&home).join(".config")));
    match base {
        Some(base) => Ok(base.join("rsv").join("config")),
        None => Err(Failure::usage("neither RSV_CONFIG nor HOME is set").hint(NO_CONTEXT)),
    }
}
