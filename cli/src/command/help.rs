//! `help`: the page of a verb, or of everything.

use crate::{
    args::Arguments,
    error::{Exit, Failure},
    invocation::Invocation,
};

/// Prints a page. A word that is no verb is answered as supervisorctl does.
pub(super) fn run(invocation: &mut Invocation, verb: &[String]) -> Result<Exit, Failure> {
    let mut root = Arguments::grammar();
    root.build();
    let mut page = &mut root;
    for word in verb {
        match page.find_subcommand_mut(word) {
            Some(found) => page = found,
            None => {
                invocation.ui.line(&format!("*** No help on {word}"))?;
                return Ok(Exit::Done);
            }
        }
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
