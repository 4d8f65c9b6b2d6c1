//! What a configuration that Supervisor reads meets here: what has to be changed in it, and what will be
//! different, each with its place and what can be done about it.
//!
//! What differs at all is written down once, in COMPATIBILITY.md, which people read and [`differences`]
//! reads too. [`rules`](mod@rules) says which of it a file has to do with.

mod rules;
mod table;

use std::path::{Path, PathBuf};

use crate::error::{ConfigError, ConfigErrors, Place, Warning, WarningKind};
use crate::host::{Host, Remembered};
use crate::load::{Strictness, load};
use crate::overrides::Overrides;
use crate::tree::{Tree, Wanted, value_place};
use rules::{Look, RULES, UNKNOWN};

pub use table::{Difference, differences};

/// A configuration as it is found.
#[derive(Debug)]
pub struct Import {
    /// The main file, as it was named.
    pub file: PathBuf,
    /// The included files, in the order read.
    pub included: Vec<PathBuf>,
    /// How many processes and groups it has; `None`: it is refused.
    pub size: Option<(usize, usize)>,
    /// Whether it has an `[agent]` section already.
    pub has_agent: bool,
    /// All that was found: what has to be changed first, then by file and line.
    pub findings: Vec<Finding>,
    /// How many more differences there are, which do not depend on what is configured.
    pub everywhere: usize,
}

/// One thing to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where it stands.
    pub place: Place,
    /// What has to be done about it.
    pub severity: Severity,
    /// What is the matter, where the difference does not say it all.
    pub text: String,
    /// The difference that it is about.
    pub difference: Option<&'static Difference>,
    /// What can be done about it.
    pub hint: Option<String>,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The agent does not start before it is changed.
    Refused,
    /// It works, and does something else.
    Differs,
}

impl Import {
    /// Whether something has to be changed first.
    pub fn is_refused(&self) -> bool {
        let mut severities = self.findings.iter().map(|finding| finding.severity);
        severities.any(|severity| severity == Severity::Refused)
    }
}

/// Looks at `file` and what it includes.
///
/// # Errors
///
/// It cannot be read at all, so that there is nothing to look at.
pub fn import(file: &Path, host: &dyn Host) -> Result<Import, ConfigErrors> {
    let host: &dyn Host = &Remembered::new(host);
    let mut tree = Tree::of_file(host, file, Wanted::ALL).map_err(ConfigErrors::all)?;
    tree.include(host, &mut Vec::new())
        .map_err(ConfigErrors::all)?;
    let mut findings = Vec::new();
    let size = match load(file, &Overrides::default(), Strictness::Lenient, host) {
        Ok(loaded) => {
            let broken = loaded
                .config
                .broken
                .iter()
                .flat_map(|broken| &broken.errors);
            findings.extend(broken.map(refused));
            findings.extend(loaded.warnings.iter().filter_map(|it| odd(&tree, it)));
            Some((
                loaded.config.processes().count(),
                loaded.config.groups.len(),
            ))
        }
        Err(errors) => {
            findings.extend(errors.iter().map(refused));
            None
        }
    };
    findings.extend(different(&tree));
    findings.sort_by(|a, b| order(a).cmp(&order(b)));
    let met = |difference: &&Difference| {
        let is_it = |finding: &Finding| finding.difference == Some(*difference);
        findings.iter().any(is_it)
    };
    let everywhere = differences().len() - differences().iter().filter(met).count();
    Ok(Import {
        file: file.to_owned(),
        has_agent: tree.section("agent").is_some(),
        included: tree.included,
        size,
        findings,
        everywhere,
    })
}

fn order(finding: &Finding) -> (Severity, &Option<PathBuf>, Option<usize>) {
    (finding.severity, &finding.place.file, finding.place.line)
}

fn refused(error: &ConfigError) -> Finding {
    let fault = error.fault();
    let accepted = fault.accepted.as_ref();
    let accepted = accepted.map(|accepted| format!("accepted: {accepted}"));
    Finding {
        place: fault.place.clone(),
        severity: Severity::Refused,
        text: fault.text.clone(),
        difference: None,
        hint: fault.hint.clone().or(accepted),
    }
}

/// What is odd about a file that is in order. What a rule says better is left to it.
fn odd(tree: &Tree, warning: &Warning) -> Option<Finding> {
    // Supervisor says so, too.
    if warning.text.starts_with("No file matches via include") {
        return None;
    }
    let place = located(tree, &warning.place);
    let topic = match warning.kind {
        WarningKind::Unknown => Some(UNKNOWN),
        WarningKind::Advice => rules::topic_of_advice(&place),
    };
    if topic.is_some_and(|topic| RULES.iter().any(|rule| rule.topic == topic)) {
        return None;
    }
    Some(Finding {
        place,
        severity: Severity::Differs,
        text: warning.text.clone(),
        difference: topic.and_then(Difference::about),
        hint: warning.hint.clone(),
    })
}

/// A place whose file and line are known, if they can be found.
fn located(tree: &Tree, place: &Place) -> Place {
    let section = place.section.as_deref().and_then(|name| tree.section(name));
    let (Some(section), None) = (section, &place.file) else {
        return place.clone();
    };
    let key = place.key.as_deref();
    match key.and_then(|key| tree.value(section, key).map(|value| (key, value))) {
        Some((key, value)) => value_place(section, key, value),
        None => Place {
            key: place.key.clone(),
            ..section.place()
        },
    }
}

fn different(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in RULES {
        for section in tree.sections() {
            let look = Look { tree, section };
            findings.extend((rule.applies)(&look).into_iter().map(|key| Finding {
                place: look.place(key),
                severity: rule.severity,
                text: String::new(),
                difference: Difference::about(rule.topic),
                hint: (!rule.hint.is_empty()).then(|| rule.hint.to_owned()),
            }));
        }
    }
    findings
}

#[cfg(test)]
mod tests;
