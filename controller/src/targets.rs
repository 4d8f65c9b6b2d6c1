//! Which hosts a selection means. Pure.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
};

use rsv_proto::{
    name::{HostName, natural_order},
    select::{Fate, HostSelector, LabelError, LabelExpression, Lookup, SelectorError, Term},
    wire::{HostLimit, HostSelection, HostState, Outcome, host_limit::Size},
};
use sha2::{Digest, Sha256};

/// The most selectors in one selection: more than any person types, and a bound for what one call can
/// make the controller compare.
const MAX_SELECTORS: usize = 10_000;

/// The longest selector or expression.
const MAX_SELECTOR: usize = 64 * 1024;

/// The most names said in full that are looked for.
const MAX_NAMES: usize = 100_000;

/// The longest seed of a limit.
const MAX_SEED: usize = 64;

/// The label by whose value a host is in a group; several groups are joined by `+`.
const GROUP: &str = "group";

/// What has to be known of the fleet to resolve a selection.
pub trait Inventory {
    /// Every enrolled host, in natural order.
    fn names(&self) -> impl Iterator<Item = &HostName>;
    /// What is known of the link to a host; absent: it is not enrolled.
    fn state(&self, host: &HostName) -> Option<HostState>;
    /// The labels of a host.
    fn labels(&self, host: &HostName) -> BTreeMap<String, String>;
    /// The targets of an operation with every outcome that each has so far; absent: no such operation.
    fn outcomes(&self, operation: &str) -> Option<Outcomes>;
}

/// What came of an operation, host by host.
pub type Outcomes = HashMap<String, Vec<Outcome>>;

/// The hosts that a selection means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selected {
    /// Enrolled hosts, in natural order.
    pub hosts: Vec<HostName>,
    /// Names that were said in full and that no enrolled host has.
    pub missing: Vec<String>,
}

/// Why a selection means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// No selector, and not all.
    #[error("no hosts are selected: a controller has no host of its own")]
    Nothing,
    /// Too long.
    #[error("{0} selectors in one selection, {MAX_SELECTORS} are accepted")]
    TooMany(usize),
    /// A selector that is too long.
    #[error("a host selector of {0} characters, {MAX_SELECTOR} are accepted")]
    TooLong(usize),
    /// A selector that is not one.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// An expression over labels that is not one.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// An operation that is not known.
    #[error("`@op:{0}`: no operation of this id is known")]
    NoOperation(String),
    /// A limit that leaves nothing, or more than there can be.
    #[error(
        "a limit is a number of hosts from 1, or 1 to 100 %, with a seed of at most {MAX_SEED} bytes"
    )]
    Limit,
    /// No enrolled host has such a name.
    #[error("no enrolled host matches {0}")]
    NoMatch(String),
    /// There are no hosts at all.
    #[error("no host is enrolled yet")]
    NoHosts,
}

/// A selection whose every part has been read.
struct Selectors {
    include: Vec<HostSelector>,
    exclude: Vec<HostSelector>,
    labels: Vec<LabelExpression>,
    all: bool,
}

/// Resolves a selection against the enrolled hosts. One that names no enrolled host is an error.
pub fn select(
    selection: &HostSelection,
    inventory: &impl Inventory,
) -> Result<Selected, SelectionError> {
    check(selection)?;
    let selectors = Selectors::read(selection)?;
    let facts = Facts::gather(&selectors, inventory)?;
    let mut any_enrolled = false;
    let mut hosts = Vec::new();
    for name in inventory.names() {
        any_enrolled = true;
        if selectors.mean(name, &facts) {
            hosts.push(name.clone());
        }
    }
    if !any_enrolled {
        return Err(SelectionError::NoHosts);
    }
    if hosts.is_empty() {
        return Err(SelectionError::NoMatch(Described(selection).to_string()));
    }
    if let Some(limit) = &selection.limit {
        hosts = draw(hosts, limit)?;
    }
    Ok(Selected {
        hosts,
        missing: selectors.missing(&facts),
    })
}

fn check(selection: &HostSelection) -> Result<(), SelectionError> {
    let HostSelection {
        include,
        exclude,
        labels,
        all,
        limit,
    } = selection;
    let count = include.len() + exclude.len() + labels.len();
    if count > MAX_SELECTORS {
        return Err(SelectionError::TooMany(count));
    }
    let mut selectors = include.iter().chain(exclude).chain(labels);
    if let Some(long) = selectors.find(|s| s.len() > MAX_SELECTOR) {
        return Err(SelectionError::TooLong(long.len()));
    }
    if include.is_empty() && labels.is_empty() && !all {
        return Err(SelectionError::Nothing);
    }
    let is_fine = |limit: &HostLimit| {
        let has_size = match limit.size {
            Some(Size::Count(count)) => count > 0,
            Some(Size::Percent(percent)) => (1..=100).contains(&percent),
            None => false,
        };
        has_size && limit.seed.len() <= MAX_SEED
    };
    match limit.as_ref().is_none_or(is_fine) {
        true => Ok(()),
        false => Err(SelectionError::Limit),
    }
}

impl Selectors {
    fn read(selection: &HostSelection) -> Result<Self, SelectionError> {
        let read = |texts: &[String]| -> Result<Vec<HostSelector>, SelectorError> {
            texts.iter().map(|text| text.parse()).collect()
        };
        let labels = selection.labels.iter().map(|text| text.parse());
        Ok(Self {
            include: read(&selection.include)?,
            exclude: read(&selection.exclude)?,
            labels: labels.collect::<Result<_, LabelError>>()?,
            // Labels alone narrow the whole fleet.
            all: selection.all || selection.include.is_empty(),
        })
    }

    fn mean(&self, host: &HostName, facts: &Facts<'_, impl Inventory>) -> bool {
        self.names(host.as_str(), facts) && {
            let labels = || facts.inventory.labels(host);
            self.labels.is_empty() || {
                let labels = labels();
                self.labels.iter().all(|l| l.matches(&labels))
            }
        }
    }

    /// Whether a name is selected, labels aside.
    fn names(&self, host: &str, facts: &Facts<'_, impl Inventory>) -> bool {
        let any = |selectors: &[HostSelector]| selectors.iter().any(|s| s.matches(host, facts));
        (self.all || any(&self.include)) && !any(&self.exclude)
    }

    /// Names that are said in full, selected, and not enrolled.
    fn missing(&self, facts: &Facts<'_, impl Inventory>) -> Vec<String> {
        let literal = self.include.iter().flat_map(HostSelector::literal_names);
        let mut missing: Vec<String> = literal
            .take(MAX_NAMES)
            .filter(|name| !facts.enrolled.contains(name.as_str()) && self.names(name, facts))
            .collect();
        missing.sort_by(|a, b| natural_order(a, b));
        missing.dedup();
        missing
    }
}

/// The inventory, with what would be costly to ask for each host anew.
struct Facts<'a, I> {
    inventory: &'a I,
    enrolled: HashSet<&'a str>,
    outcomes: HashMap<String, Outcomes>,
}

impl<'a, I: Inventory> Facts<'a, I> {
    fn gather(selectors: &Selectors, inventory: &'a I) -> Result<Self, SelectionError> {
        let mut outcomes = HashMap::new();
        let all = selectors.include.iter().chain(&selectors.exclude);
        for term in all.flat_map(HostSelector::terms) {
            if let Term::Operation { id, .. } = term
                && !outcomes.contains_key(id)
            {
                let found = inventory.outcomes(id);
                let found = found.ok_or_else(|| SelectionError::NoOperation(id.clone()))?;
                outcomes.insert(id.clone(), found);
            }
        }
        Ok(Self {
            inventory,
            enrolled: inventory.names().map(HostName::as_str).collect(),
            outcomes,
        })
    }
}

impl<I: Inventory> Lookup for Facts<'_, I> {
    fn state(&self, host: &str) -> Option<HostState> {
        self.inventory.state(&host.parse().ok()?)
    }

    fn is_in_group(&self, host: &str, group: &str) -> bool {
        let Ok(host) = host.parse() else { return false };
        let labels = self.inventory.labels(&host);
        let groups = labels.get(GROUP).map_or("", String::as_str);
        groups.split('+').any(|name| name.trim() == group)
    }

    fn has_fate(&self, host: &str, operation: &str, fate: Fate) -> bool {
        let outcomes = self.outcomes.get(operation).and_then(|o| o.get(host));
        match (outcomes, fate) {
            (None, _) => false,
            (Some(_), Fate::Any) => true,
            (Some(outcomes), Fate::Ended(outcome)) => outcomes.contains(&outcome),
        }
    }
}

/// Draws lots: each host's lot depends on the seed and its own name alone. What is drawn is in natural
/// order again.
fn draw(mut hosts: Vec<HostName>, limit: &HostLimit) -> Result<Vec<HostName>, SelectionError> {
    let size = match limit.size {
        Some(Size::Count(count)) => count as usize,
        Some(Size::Percent(percent)) => (hosts.len() * percent as usize).div_ceil(100),
        None => return Err(SelectionError::Limit),
    };
    hosts.sort_by_cached_key(|host| {
        let text = format!("{}\n{host}", limit.seed);
        <[u8; 32]>::from(Sha256::digest(text.as_bytes()))
    });
    hosts.truncate(size);
    hosts.sort();
    Ok(hosts)
}

/// A selection in words.
struct Described<'a>(&'a HostSelection);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let selection = self.0;
        match selection.all || selection.include.is_empty() {
            true => f.write_str("`all`")?,
            false => write!(f, "`{}`", selection.include.join(","))?,
        }
        if !selection.exclude.is_empty() {
            write!(f, " without `{}`", selection.exclude.join(","))?;
        }
        if !selection.labels.is_empty() {
            write!(f, " with labels `{}`", selection.labels.join("` and `"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
