//! `help`: the page of a verb, or of everything.

use clap::{Command, builder::StyledStr};

use crate::{
    args::{Arguments, ForScripts},
    error::{Exit, Failure},
    invocation::Invocation,
    json,
};

/// Prints a page. A word that is no verb is answered as supervisorctl does.
pub(super) fn run(invocation: &mut Invocation, verb: &[String]) -> Result<Exit, Failure> {
    let mut root = Arguments::grammar();
    root.build();
    let mut page = &mut root;
    for word in verb {
        match page.find_subcommand_mut(word) {
            Some(found) => page = found,
            None => return no_help(invocation, &verb.join(" ")),
        }
    }
    if !invocation.ui.output().is_text() {
        let help = object(page, verb);
        json::print(&mut invocation.ui, &help)?;
        return Ok(Exit::Done);
    }
    let color = invocation.ui.color();
    let page = page.render_help();
    let text = match color {
        true => page.ansi().to_string(),
        false => page.to_string(),
    };
    invocation.ui.bytes(text.as_bytes())?;
    Ok(Exit::Done)
}

fn no_help(invocation: &mut Invocation, word: &str) -> Result<Exit, Failure> {
    if !invocation.ui.output().is_text() {
        return Err(Failure::usage(format!("no verb `{word}`"))
            .hint("`rsv -o json help` lists what there is"));
    }
    let line = match word {
        // What ends a prompt is no verb.
        "quit" | "exit" => format!("{word}\tExit the supervisor shell."),
        _ => format!("*** No help on {word}"),
    };
    invocation.ui.line(&line)?;
    Ok(Exit::Done)
}

/// The page for scripts.
fn object(page: &mut Command, words: &[String]) -> json::Help {
    let verb = words.join(" ");
    let mut verbs = Vec::new();
    for below in page.get_subcommands() {
        add(below, &verb, &mut verbs);
    }
    json::Help {
        schema: "rsv/help/v1",
        verb: json::text(&verb),
        about: about(page),
        text: page.render_help().to_string(),
        verbs,
    }
}

/// Adds the verbs at and below a command, without those that nobody is told of.
fn add(command: &Command, noun: &str, verbs: &mut Vec<json::HelpVerb>) {
    if command.is_hide_set() {
        return;
    }
    let verb = format!("{noun} {}", command.get_name());
    let verb = verb.trim_start().to_owned();
    if command.has_subcommands() {
        for below in command.get_subcommands() {
            add(below, &verb, verbs);
        }
        return;
    }
    verbs.push(json::HelpVerb {
        about: about(command),
        json: ForScripts::of(&verb).word(),
        verb,
    });
}

fn about(command: &Command) -> String {
    let about = command.get_about();
    about.map(StyledStr::to_string).unwrap_or_default()
}
