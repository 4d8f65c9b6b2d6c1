//! Where sources begin when a moment was asked for, and how far back that is known. Pure.

use std::collections::BTreeSet;

use jiff::{Timestamp, tz::TimeZone};
use rsv_proto::{
    time::from_wire,
    wire::tail_response::{Begin, Event},
};

use super::places::Source;
use crate::ui::printable;

/// The sources that have said where they begin.
#[derive(Debug, Default)]
pub(super) struct Begins {
    /// Absent: no moment was asked for.
    said: Option<BTreeSet<Source>>,
}

impl Begins {
    /// Of a request with a moment, or without one.
    pub(super) fn new(has_moment: bool) -> Self {
        Self {
            said: has_moment.then(BTreeSet::new),
        }
    }

    /// A source that goes on at its place does not begin.
    pub(super) fn goes_on(&mut self, source: &Source) {
        self.first(source);
    }

    /// What is to be said of a source before an event of it: each source is said once.
    pub(super) fn words(
        &mut self,
        source: &Source,
        event: &Event,
        name: &str,
        zone: fn() -> TimeZone,
    ) -> Option<String> {
        let name = printable(name);
        match event {
            Event::Begin(begin) => {
                self.first(source);
                (!begin.reaches_back).then(|| unknown_words(&name, begin, zone()))
            }
            Event::Chunk(_) | Event::Gap(_) => self
                .first(source)
                .then(|| format!("-- {name}: its agent is too old to know of --since --")),
            Event::End(_) | Event::Away(_) | Event::Back(_) => None,
        }
    }

    fn first(&mut self, source: &Source) -> bool {
        let said = self.said.as_mut();
        said.is_some_and(|said| said.insert(source.clone()))
    }
}

fn unknown_words(name: &str, begin: &Begin, zone: TimeZone) -> String {
    let since = begin.known_since.as_ref().and_then(from_wire);
    match since.and_then(|since| Timestamp::try_from(since).ok()) {
        Some(since) => {
            let since = since.to_zoned(zone).strftime("%F %T").to_string();
            format!(
                "-- {name}: only since {since} it is known when output came in; what is from before may be older --"
            )
        }
        None => format!("-- {name}: it is not known when this output came in; it may be older --"),
    }
}
