//! The file of installed contexts. Changes keep what they do not concern, comments included, and
//! replace the file in one step.

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rsv_proto::context::{Context, ContextError};

use super::{NO_CONTEXT, config_path, directory_of, parsed, read_private, settings, unusable};
use crate::{error::Failure, ui::Ui};

/// For the user alone.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// A context, or why it cannot be used.
type Entry = (String, Result<Context, ContextError>);

/// What is installed.
#[derive(Debug)]
pub(crate) struct Installed {
    path: PathBuf,
    text: String,
    entries: Vec<Entry>,
}

impl Installed {
    /// Reads the file; a file that is not there holds nothing.
    pub(crate) fn read(ui: &mut Ui) -> Result<Self, Failure> {
        let path = config_path()?;
        let text = text_of(&path, ui)?;
        Self::from_text(path, text)
    }

    /// As [`Installed::read`], for its settings: a file that cannot be read has none, which is said, and
    /// neither has a user without a place for it.
    pub(crate) fn for_settings(ui: &mut Ui) -> Result<Option<Self>, Failure> {
        let Ok(path) = config_path() else {
            return Ok(None);
        };
        match text_of(&path, ui) {
            Ok(text) => Self::from_text(path, text).map(Some),
            Err(unreadable) => {
                ui.warning(&format!("no settings: {unreadable}"));
                Ok(None)
            }
        }
    }

    fn from_text(path: PathBuf, text: String) -> Result<Self, Failure> {
        if let Some((line, what)) = settings::wrong(&text) {
            let place = format!("{}:{line}", path.display());
            return Err(Failure::usage(format!("{place}: {what}")).hint(
                "section [rsv] has `context` and `confirm_above`, a number of hosts; a context is a \
                 section [context:NAME] with `controller`, `ca`, `cert`, `key`",
            ));
        }
        let entries = parsed(&text, &path)?;
        Ok(Self {
            path,
            text,
            entries,
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Every installed context, in the order of the file.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The name of the context in use: the one that `[rsv] context` names, or else the only one.
    pub(crate) fn current_name(&self) -> Option<&str> {
        let named = value_of(&self.text, "context");
        match (named, self.entries.as_slice()) {
            (Some(name), _) => Some(name),
            (None, [(name, _)]) => Some(name),
            (None, _) => None,
        }
    }

    /// The number of hosts above which every action is to be confirmed.
    pub(crate) fn confirm_above(&self) -> Option<usize> {
        value_of(&self.text, settings::CONFIRM_ABOVE)?.parse().ok()
    }

    /// The context in use.
    pub(crate) fn current(&self) -> Result<Context, Failure> {
        let Some(name) = self.current_name() else {
            return Err(match self.entries.is_empty() {
                true => Failure::usage("no context: it is not known which fleet is meant")
                    .hint(NO_CONTEXT),
                false => Failure::usage("several contexts are installed, and none is in use")
                    .hint("`rsv ctx use NAME` chooses one, --context NAME for once"),
            });
        };
        self.get(name)?.ok_or_else(|| {
            let shown = self.path.display();
            Failure::usage(format!(
                "`{shown}`: context `{name}` is in use and not there"
            ))
            .hint("`rsv ctx use NAME` chooses another")
        })
    }

    /// The context of that name; none when it is not installed.
    pub(crate) fn get(&self, name: &str) -> Result<Option<Context>, Failure> {
        match self.entries.iter().find(|(known, _)| known == name) {
            None => Ok(None),
            Some((_, Ok(context))) => Ok(Some(context.clone())),
            Some((_, Err(error))) => Err(unusable(&self.path, &self.text, error)),
        }
    }

    /// Installs a context, in place of one of the same name. The first one is in use.
    pub(crate) fn install(self, context: &Context) -> Result<Self, Failure> {
        let had_one = self.current_name().is_some();
        let mut text = without_section(&self.text, &format!("context:{}", context.name));
        separate(&mut text);
        text.push_str(&context.render());
        let next = Self::from_text(self.path, text)?;
        match had_one {
            true => Ok(next),
            false => next.choose(&context.name),
        }
    }

    /// Puts a context into use.
    pub(crate) fn choose(self, name: &str) -> Result<Self, Failure> {
        let others: Vec<&str> = lines_of(&self.text, "rsv")
            .filter(|line| line.split('=').next().map(str::trim) != Some("context"))
            .collect();
        let mut text = format!("[rsv]\ncontext = {name}\n");
        for line in others {
            text.push_str(line);
            text.push('\n');
        }
        separate(&mut text);
        text.push_str(without_section(&self.text, "rsv").trim_start());
        Self::from_text(self.path, text)
    }

    /// Puts it on the disk in one step, for the user alone.
    pub(crate) fn write(&self) -> Result<(), Failure> {
        self.try_write().map_err(|error| {
            Failure::usage(format!("cannot write `{}`", self.path.display()))
                .because(&error)
                .hint("RSV_CONFIG names another file")
        })
    }

    fn try_write(&self) -> io::Result<()> {
        let directory = directory_of(&self.path);
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(&directory)?;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let new = directory.join(format!(".{name}.{}", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(&new)
            .and_then(|mut file| {
                // The file may be there from an earlier, interrupted run.
                file.set_permissions(Permissions::from_mode(FILE_MODE))?;
                file.write_all(self.text.as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&new, &self.path));
        if written.is_err() {
            // The first error is the one to tell.
            let _gone = fs::remove_file(&new);
        }
        written
    }
}

fn text_of(path: &Path, ui: &mut Ui) -> Result<String, Failure> {
    match path.try_exists() {
        Ok(false) => Ok(String::new()),
        Ok(true) | Err(_) => read_private(path, ui),
    }
}

/// An empty line before what comes next.
fn separate(text: &mut String) {
    if !text.is_empty() {
        text.truncate(text.trim_end().len());
        text.push_str("\n\n");
    }
}

fn header(line: &str) -> Option<&str> {
    line.trim()
        .strip_prefix('[')?
        .strip_suffix(']')
        .map(str::trim)
}

/// A value of section `[rsv]`.
fn value_of<'a>(text: &'a str, wanted: &str) -> Option<&'a str> {
    lines_of(text, "rsv").find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == wanted).then(|| value.trim())
    })
}

/// The lines of a section, without its header and without empty ones.
fn lines_of<'a>(text: &'a str, section: &'a str) -> impl Iterator<Item = &'a str> {
    let mut inside = false;
    text.lines().filter(move |line| {
        if let Some(name) = header(line) {
            inside = name == section;
            return false;
        }
        inside && !line.trim().is_empty()
    })
}

/// Everything but a section.
fn without_section(text: &str, section: &str) -> String {
    let mut inside = false;
    let kept = text.split_inclusive('\n').filter(|line| {
        if let Some(name) = header(line) {
            inside = name == section;
        }
        !inside
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(text: &str) -> Installed {
        Installed::from_text(PathBuf::from("/config"), text.to_owned()).unwrap()
    }

    const TWO: &str = "# mine\n[context:a]\ncontroller = x:1\n\n[context:b]\ncontroller = y:1\n";

    #[test]
    fn the_only_context_is_in_use() {
        let one = installed("[context:a]\ncontroller = x:1\n");
        assert_eq!(one.current_name(), Some("a"));
        assert_eq!(installed(TWO).current_name(), None);
        assert!(installed(TWO).current().unwrap_err().hint.is_some());
    }

    #[test]
    fn choosing_keeps_everything_else() {
        let chosen = installed(TWO).choose("b").unwrap();
        assert_eq!(chosen.current_name(), Some("b"));
        assert!(
            chosen.text.contains("# mine\n[context:a]\n"),
            "{}",
            chosen.text
        );
        let again = chosen.choose("a").unwrap();
        assert_eq!(again.current_name(), Some("a"));
        assert_eq!(again.text.matches("[rsv]").count(), 1, "{}", again.text);
        assert_eq!(again.entries.len(), 2);
    }

    #[test]
    fn a_context_in_use_that_is_not_there_is_said() {
        let text = format!("[rsv]\ncontext = c\n{TWO}");
        let failure = installed(&text).current().unwrap_err();
        assert!(failure.to_string().contains("`c`"), "{failure}");
    }
}
