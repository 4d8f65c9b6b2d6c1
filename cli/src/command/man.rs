//! `man`: the pages of the manual, written from the same words as the help pages.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Command;
use clap_mangen::Man;

use crate::{
    args::Arguments,
    error::{Exit, Failure},
    invocation::Invocation,
    json,
};

/// Where commands of users are explained.
const SECTION: &str = "1";

/// Writes a page for the program and one for each verb. Their paths are the output.
pub(super) fn run(invocation: &mut Invocation, directory: &Path) -> Result<Exit, Failure> {
    let shown = directory.display();
    fs::create_dir_all(directory).map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot make `{shown}`")).because(&error)
    })?;
    let mut root = Arguments::grammar();
    root.build();
    let mut files = Vec::new();
    for (name, text) in pages(&root, "rsv").map_err(|error| unwritten(directory, &error))? {
        let path = directory.join(format!("{name}.{SECTION}"));
        fs::write(&path, text).map_err(|error| unwritten(&path, &error))?;
        files.push(path.display().to_string());
    }
    match invocation.ui.output().is_text() {
        true => files.iter().try_for_each(|file| invocation.ui.line(file))?,
        false => json::print(&mut invocation.ui, &json::Man::new(files))?,
    }
    Ok(Exit::Done)
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    let path = PathBuf::from(path);
    Failure::new(Exit::Failed, format!("cannot write `{}`", path.display())).because(error)
}

/// The page of a command and those of what is below it, by name.
fn pages(command: &Command, name: &str) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut pages = vec![(name.to_owned(), page(command, name)?)];
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        pages.extend(self::pages(verb, &format!("{name}-{}", verb.get_name()))?);
    }
    Ok(pages)
}

fn page(command: &Command, name: &str) -> io::Result<Vec<u8>> {
    // Pages are named with dashes, and commands typed without.
    let mut command = command.clone().display_name(name.to_owned());
    let usage = command.render_usage().to_string();
    let notes = command.get_after_long_help().or(command.get_after_help());
    let notes = notes.map(ToString::to_string);
    let has_verbs = command.get_subcommands().any(|verb| !verb.is_hide_set());
    let man = Man::new(command);
    let mut text = title(name).into_bytes();
    man.render_name_section(&mut text)?;
    text.extend(as_typed("SYNOPSIS", usage.trim_start_matches("Usage: ")).into_bytes());
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if has_verbs {
        man.render_subcommands_section(&mut text)?;
    }
    if let Some(notes) = notes {
        text.extend(as_typed("NOTES", &notes).into_bytes());
    }
    if name != "rsv" {
        text.extend_from_slice(b".SH \"SEE ALSO\"\n.BR rsv (1)\n");
    }
    Ok(text)
}

/// The head of a page. Without a date, so that the same program writes the same page.
fn title(name: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let name = name.to_uppercase().replace('-', "\\-");
    format!(".TH {name} {SECTION} \"\" \"rsv {version}\" \"rsv\"\n")
}

/// A section whose lines stay as they are: examples and tables.
fn as_typed(heading: &str, notes: &str) -> String {
    let mut text = format!(".SH {heading}\n.nf\n");
    for line in notes.lines() {
        if line.starts_with(['.', '\'']) {
            // Not a request, whatever it begins with.
            text.push_str("\\&");
        }
        let plain = line
            .replace('\\', "\\e")
            .replace('-', "\\-")
            .replace('\'', "\\(aq");
        text.push_str(&plain);
        text.push('\n');
    }
    text.push_str(".fi\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_everything_that_can_be_typed() {
        let mut root = Arguments::grammar();
        root.build();
        let pages = pages(&root, "rsv").expect("memory takes all");
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["rsv", "rsv-restart", "rsv-token-create", "rsv-op-watch"] {
            assert!(names.contains(&name), "{names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("unknown")));
    }

    #[test]
    fn lines_of_notes_are_no_requests() {
        assert_eq!(
            as_typed("NOTES", ".x\n'y\na -f \\n 'web*'"),
            ".SH NOTES\n.nf\n\\&.x\n\\&\\(aqy\na \\-f \\en \\(aqweb*\\(aq\n.fi\n"
        );
    }
}
