//! Contexts: the installed ones in a file of the user, and context files used as they are.
//!
//! A file with a key in it must not be readable by others. What is installed stands alone: it does
//! not depend on the files that it came from.

mod file;
mod settings;

use std::{
    env, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rsv_proto::context::{Context, ContextError};

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
    let contexts = parsed(&text, path)?;
    contexts
        .into_iter()
        .map(|(_, context)| {
            context.map_err(|error| {
                unusable(path, &text, &error)
                    .hint("a context has `controller`, `ca`, `cert` and `key`")
            })
        })
        .collect()
}

/// The contexts of a text, each with why it cannot be used, if it cannot.
fn parsed(text: &str, path: &Path) -> Result<Vec<rsv_proto::context::Named>, Failure> {
    Context::parse(text, &directory_of(path)).map_err(|error| unusable(path, text, &error))
}

/// The failure of a file, or of a context in it.
fn unusable(path: &Path, text: &str, error: &ContextError) -> Failure {
    let shown = path.display();
    match error {
        ContextError::Syntax { .. } if !is_about_contexts(text) => holds_none(path),
        ContextError::Syntax { line, .. } => {
            let (line, what) = wrong_line(text).unwrap_or((*line, "not INI"));
            Failure::usage(format!("{shown}:{line}: {what}")).hint(
                "a context is a section [context:NAME] with `controller`, `ca`, `cert`, `key`",
            )
        }
        ContextError::Missing { .. } | ContextError::Value { .. } => {
            Failure::usage(format!("`{shown}`: {error}")).behind(error)
        }
    }
}

/// The first line that is neither a header nor `key = value`.
fn wrong_line(text: &str) -> Option<(usize, &'static str)> {
    let lines = text.lines().map(str::trim).enumerate();
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with(['#', ';']))
        .find_map(|(i, line)| {
            let what = match line.strip_prefix('[') {
                Some(rest) if rest.ends_with(']') => return None,
                Some(_) => "a section's name without its `]`",
                None if line.contains('=') => return None,
                None => "not a `key = value` line",
            };
            Some((i + 1, what))
        })
}

/// Whether anything in it is, or was meant to be, a context or the choice of one.
fn is_about_contexts(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim_start);
    lines.any(|line| line.starts_with("[context") || line.starts_with("[rsv"))
}

/// Whether it holds a key, and so has to be kept from others.
fn holds_key(text: &str) -> bool {
    let mut lines = text.lines();
    lines.any(|line| {
        let key = line.split_once('=').map(|(key, _)| key.trim());
        key == Some("key") || line.contains("PRIVATE KEY")
    })
}

/// The text of a file that may hold a key.
fn read_private(path: &Path, ui: &mut Ui) -> Result<String, Failure> {
    let shown = path.display();
    let unreadable =
        |error: std::io::Error| Failure::usage(format!("cannot read `{shown}`")).because(&error);
    let mode = fs::metadata(path).map_err(unreadable)?.mode();
    let bytes = fs::read(path).map_err(unreadable)?;
    let Ok(text) = String::from_utf8(bytes) else {
        return Err(holds_none(path));
    };
    if !holds_key(&text) {
        return Ok(text);
    }
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
    Ok(text)
}

/// The failure of a file without a context.
pub(crate) fn holds_none(path: &Path) -> Failure {
    Failure::usage(format!("`{}` is not a context", path.display()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wrong_line_is_named() {
        let good = "# mine\n[rsv]\ncontext = a\n\n[context:a]\nkey=x\n; end\n";
        assert_eq!(wrong_line(good), None);
        for (text, line, what) in [
            ("[rsv]\nnonsense\n", 2, "not a `key = value` line"),
            ("[context:a\n", 1, "a section's name without its `]`"),
        ] {
            assert_eq!(wrong_line(text), Some((line, what)), "{text:?}");
        }
    }

    #[test]
    fn only_what_holds_a_key_has_to_be_kept_from_others() {
        assert!(holds_key("[context:a]\n  key = base64:eA==\n"));
        assert!(holds_key("-----BEGIN PRIVATE KEY-----\n"));
        assert!(!holds_key("[program:x]\ncommand = cat\n"));
    }
}
