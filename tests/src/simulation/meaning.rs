//! What an errand means, read from its words without the product's readers: which programs of which hosts.
//!
//! It reads the forms that [`errand`](super::errand) writes, and no others.

use std::collections::{BTreeMap, BTreeSet};

use rsv_controller::{hub::Submission, operation::Deed};
use rsv_proto::wire::HostSelection;

use super::world::HOSTS;

/// Which programs of which hosts.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Meaning {
    /// What is named on each host; the others are not meant.
    hosts: BTreeMap<usize, BTreeSet<String>>,
    /// Of the hosts only some: it is tried again.
    pub(super) is_part: bool,
    /// It names hosts that are not selected: nothing may come of it.
    pub(super) is_void: bool,
    /// Groups are named.
    is_of_groups: bool,
    /// What is told is not confined to what is named.
    tells_of_all: bool,
}

impl Meaning {
    pub(super) fn of(submission: &Submission) -> Self {
        let selected = selected(&submission.selection);
        let mut meaning = Self {
            is_of_groups: submission.deed.is_of_configuration(),
            tells_of_all: matches!(submission.deed, Deed::Reread | Deed::Reload),
            ..Self::default()
        };
        for operand in &submission.programs {
            let (hosts, program) = read(operand, &selected);
            meaning.is_void |= hosts.is_empty() || !hosts.is_subset(&selected);
            for host in hosts {
                let named = meaning.hosts.entry(host).or_default();
                named.insert(program.to_owned());
            }
        }
        meaning
    }

    /// The hosts that are meant.
    pub(super) fn hosts(&self) -> BTreeSet<usize> {
        self.hosts.keys().copied().collect()
    }

    /// What is named on a host; absent: nothing.
    pub(super) fn named(&self, host: usize) -> Option<&BTreeSet<String>> {
        self.hosts.get(&host)
    }

    /// Whether a program of a host is meant.
    pub(super) fn has(&self, host: usize, program: &str) -> bool {
        let group = program.split_once(':').map_or(program, |(group, _)| group);
        let is_it = |named: &String| match named.strip_suffix(":*") {
            _ if named == "all" || named == program => true,
            Some(of) => of == group,
            None => self.is_of_groups && named == group,
        };
        self.named(host).is_some_and(|all| all.iter().any(is_it))
    }

    /// Whether a program of a host may be told of.
    pub(super) fn may_tell_of(&self, host: usize, program: &str) -> bool {
        let is_known = self.hosts.contains_key(&host);
        is_known && (self.tells_of_all || program.is_empty() || self.has(host, program))
    }
}

/// The hosts that are selected.
pub(super) fn selected(selection: &HostSelection) -> BTreeSet<usize> {
    if selection.all {
        return (0..HOSTS).collect();
    }
    let included = selection.include.iter();
    included.flat_map(|text| called(text)).collect()
}

/// The hosts and the pattern of programs of one operand.
fn read<'a>(operand: &'a str, selected: &BTreeSet<usize>) -> (BTreeSet<usize>, &'a str) {
    let number = operand.strip_prefix('h');
    let is_of_hosts =
        number.is_some_and(|n| n.starts_with(|c: char| c == '[' || c.is_ascii_digit()));
    match operand.split_once(':').filter(|_| is_of_hosts) {
        None => (selected.clone(), operand),
        Some((typed, rest)) => {
            let program = rest.strip_prefix(':').unwrap_or(rest);
            let named = called(typed);
            let is_pattern = typed.ends_with('*');
            let named = named
                .into_iter()
                .filter(|host| !is_pattern || selected.contains(host));
            (named.collect(), program)
        }
    }
}

/// The hosts that are called so: `h07`, `h1*` or `h[03,07]`.
fn called(text: &str) -> BTreeSet<usize> {
    let name = |host: &usize| format!("h{:02}", host + 1);
    let list = text.strip_prefix("h[").and_then(|t| t.strip_suffix(']'));
    let is_called = |host: &usize| match (list, text.strip_suffix('*')) {
        (Some(list), _) => list.split(',').any(|part| name(host) == format!("h{part}")),
        (None, Some(beginning)) => name(host).starts_with(beginning),
        (None, None) => name(host) == text,
    };
    (0..HOSTS).filter(is_called).collect()
}
