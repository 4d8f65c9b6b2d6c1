//! Which configuration an agent starts with: the one that it is told, or, when that one is refused
//! while programs run that nobody else would look after, the last good one.

use std::path::{Path, PathBuf};

use rsv_config::host::SystemHost;
use rsv_config::{ClientView, ConfigErrors, Loaded, Overrides, client_view, search_paths};

use super::privileges::own_uid;
use super::signpost;
use crate::roster::{Inputs, Read, Remembered, Source, holds_programs};

/// Where the configuration in force comes from.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) source: Source,
    /// What it was read from; absent: it is an older one.
    pub(super) inputs: Option<Inputs>,
    /// What everybody is to be told of it; empty: nothing.
    pub(super) notice: String,
}

/// Reads the configuration, or takes the last good one.
pub(super) fn read(file: PathBuf, overrides: Overrides) -> Result<(Loaded, Origin), ConfigErrors> {
    let source = Source { file, overrides };
    match source.read() {
        Ok(Read { loaded, inputs }) => {
            let origin = Origin {
                source,
                inputs: Some(inputs),
                notice: String::new(),
            };
            Ok((loaded, origin))
        }
        Err(errors) => match last_good(&source, &errors) {
            Some((loaded, notice)) => {
                let origin = Origin {
                    source,
                    inputs: None,
                    notice,
                };
                Ok((loaded, origin))
            }
            None => Err(errors),
        },
    }
}

/// The file that an agent has run with, where it was found without being named, and that is gone.
pub(super) fn left_behind(argv0: &str, host: &SystemHost) -> Option<PathBuf> {
    let mut places = search_paths(Path::new(argv0), host).into_iter();
    places.find(|file| !signpost::state_dirs(file).is_empty())
}

fn last_good(source: &Source, errors: &ConfigErrors) -> Option<(Loaded, String)> {
    let places = state_dirs(&source.file).into_iter();
    let mut remembered = places.filter_map(|place| Remembered::load(&place, &source.file));
    remembered.find_map(|remembered| {
        let loaded = source.read_again(&remembered.inputs).ok()?;
        let trusted = is_trusted(remembered.owner, &loaded);
        if !trusted || !holds_programs(&loaded.config.locations.keeper_socket) {
            return None;
        }
        let (saved_at, error) = (remembered.saved_at(), errors.first());
        let notice = format!("running the configuration of {saved_at}: {error}");
        Some((loaded, notice))
    })
}

/// What another user has written can at most make us that user, who could have done all that by himself.
fn is_trusted(owner: u32, loaded: &Loaded) -> bool {
    let becomes = loaded.config.supervisord.user.as_ref();
    owner == own_uid() || becomes.is_some_and(|user| user.uid == owner)
}

/// Where its state may be: in the directory that a broken file still names, or that follows from what it
/// says, or where its signpost leads, or the usual one.
fn state_dirs(file: &Path) -> Vec<PathBuf> {
    let view = client_view(file, &SystemHost::new()).ok();
    let text = std::fs::read(file).unwrap_or_default();
    let places = [
        view.filter(|view| view.agent.is_some() || signpost::is_own(&view.locations.state_dir))
            .map(|view| view.locations.state_dir),
        named_state_dir(&String::from_utf8_lossy(&text)),
    ];
    let usual = ClientView::without_file().locations.state_dir;
    let led = signpost::state_dirs(file);
    places
        .into_iter()
        .flatten()
        .chain(led)
        .chain([usual])
        .collect()
}

/// What a file that cannot be read as a whole says about it in its `[agent]` section.
fn named_state_dir(text: &str) -> Option<PathBuf> {
    let lines = text.lines().map(str::trim);
    let mut section = lines.skip_while(|line| *line != "[agent]").skip(1);
    let value = section
        .by_ref()
        .take_while(|line| !line.starts_with('['))
        .find_map(|line| {
            let (key, value) = line.split_once(['=', ':'])?;
            key.trim()
                .eq_ignore_ascii_case("state_dir")
                .then_some(value)
        })?;
    let value = value.split(" ;").next().unwrap_or(value).trim();
    Path::new(value).is_absolute().then(|| value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_directory_is_found_in_a_file_that_is_broken_elsewhere() {
        for (text, found) in [
            ("[agent]\nstate_dir = /a/b\n", Some("/a/b")),
            (
                "nonsense\n[agent]\nname=x\nstate_dir: /a ; here\n[x\n",
                Some("/a"),
            ),
            ("[agent]\n[supervisord]\nstate_dir=/a\n", None),
            ("[agent]\nstate_dir=%(here)s/state\n", None),
            ("", None),
        ] {
            assert_eq!(named_state_dir(text), found.map(PathBuf::from), "{text}");
        }
    }
}
