//! Hosts whose output is cut off for now, so that each is said once however many programs are followed. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// Programs that are away, by their host.
#[derive(Debug, Default)]
pub(super) struct Away(BTreeMap<String, BTreeSet<String>>);

impl Away {
    /// A source is away; whether it is the first of its host.
    pub(super) fn leave(&mut self, host: &str, program: &str) -> bool {
        let programs = self.0.entry(host.to_owned()).or_default();
        let was_there = programs.is_empty();
        programs.insert(program.to_owned());
        was_there
    }

    /// A source goes on, or is over; whether its host is back with it.
    pub(super) fn is_back(&mut self, host: &str, program: &str) -> bool {
        let Some(programs) = self.0.get_mut(host) else {
            return false;
        };
        let was_away = programs.remove(program);
        let is_back = was_away && programs.is_empty();
        if programs.is_empty() {
            self.0.remove(host);
        }
        is_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_said_once() {
        let mut away = Away::default();
        assert!(!away.is_back("web01", "a"));
        assert!(away.leave("web01", "a"));
        assert!(!away.leave("web01", "b"));
        assert!(away.leave("web02", "a"));
        assert!(!away.is_back("web01", "a"));
        assert!(!away.is_back("web01", "a"));
        assert!(away.is_back("web01", "b"));
        assert!(away.leave("web01", "b"));
    }
}
