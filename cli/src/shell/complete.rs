//! Completion at the prompt: what the shells offer, behind the flags that the prompt was started with.

use std::{cell::RefCell, ffi::OsString, rc::Rc};

use clap::Command;
use rustyline::{
    Context, Helper, Result,
    completion::{Completer, Pair},
    highlight::Highlighter,
    hint::Hinter,
    validate::Validator,
};

use crate::{
    args::Arguments,
    complete::{self, Names, Offer, Place, Wanted},
};

/// What was asked for last and of whom, and what came of it; forgotten between two lines.
pub(super) type Known = Rc<RefCell<Option<(Asked, Names)>>>;

type Asked = (Wanted, Vec<String>);

/// What ends the prompt.
const ENDS: [&str; 2] = ["quit", "exit"];

/// Completes lines.
pub(super) struct Completion {
    /// The program and the flags before any line, as they could be typed.
    flags: String,
    grammar: Command,
    known: Known,
}

impl Completion {
    pub(super) fn new(flags: &[OsString], known: Known) -> Self {
        let quoted =
            |flag: &OsString| format!("'{}' ", flag.to_string_lossy().replace('\'', r"'\''"));
        Self {
            flags: flags.iter().map(quoted).collect(),
            grammar: Arguments::grammar(),
            known,
        }
    }

    fn offers(&self, line: &str) -> (usize, Vec<Offer>) {
        let place = Place::at_end_of(&format!("{}{line}", self.flags), &self.grammar);
        let typed = place.lead.len() + place.word.len();
        let mut offers = complete::offers(&place, &self.names(&place));
        if line.split_whitespace().count() == usize::from(typed > 0) {
            let ends = ENDS.iter().filter(|end| end.starts_with(&place.word));
            offers.extend(ends.map(|end| Offer {
                value: (*end).to_owned(),
                about: String::new(),
            }));
        }
        (typed, offers)
    }

    fn names(&self, place: &Place) -> Names {
        let asked = (place.wanted.clone(), place.who.clone());
        let mut known = self.known.borrow_mut();
        match &*known {
            Some((before, names)) if *before == asked => names.clone(),
            _ => {
                let names = complete::known(place);
                *known = Some((asked, names.clone()));
                names
            }
        }
    }
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        let before = line.get(..at).unwrap_or(line);
        let (typed, offers) = self.offers(before);
        let pairs = offers.into_iter().map(|offer| Pair {
            replacement: format!("{} ", offer.value),
            display: offer.value,
        });
        Ok((before.len().saturating_sub(typed), pairs.collect()))
    }
}

impl Helper for Completion {}
impl Highlighter for Completion {}
impl Validator for Completion {}
impl Hinter for Completion {
    type Hint = String;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(line: &str) -> (usize, Vec<String>) {
        let flags = ["rsv", "-c", "it's here"].map(OsString::from);
        let completion = Completion::new(&flags, Known::default());
        let (typed, offers) = completion.offers(line);
        (typed, offers.into_iter().map(|offer| offer.value).collect())
    }

    #[test]
    fn verbs_come_first_and_among_them_what_ends_the_prompt() {
        let (typed, all) = offered("");
        assert_eq!(typed, 0);
        assert!(all.contains(&"restart".to_owned()) && all.contains(&"quit".to_owned()));
        assert_eq!(offered("  qu"), (2, vec!["quit".to_owned()]));
        assert_eq!(offered("help resta"), (5, vec!["restart".to_owned()]));
        assert_eq!(offered("help qu"), (2, vec![]));
    }
}
