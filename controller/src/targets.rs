//! Which hosts a selection means. Pure.

use rsv_proto::{
    name::HostName,
    select::{HostPattern, PatternError},
    wire::HostSelection,
};

/// The most patterns in one selection: more than any person types, and a bound for what one call can
/// make the controller compare.
const MAX_PATTERNS: usize = 10_000;

/// The longest pattern.
const MAX_PATTERN: usize = 4096;

/// The most names said in full that are looked for.
const MAX_NAMES: usize = 100_000;

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
    /// No pattern, and not all.
    #[error("no hosts are selected: a controller has no host of its own")]
    Nothing,
    /// Too long.
    #[error("{0} patterns in one selection, {MAX_PATTERNS} are accepted")]
    TooMany(usize),
    /// A pattern that is too long.
    #[error("a host pattern of {0} characters, {MAX_PATTERN} are accepted")]
    TooLong(usize),
    /// A pattern that is not one.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// No enrolled host has such a name.
    #[error("no enrolled host matches {0}")]
    NoMatch(String),
    /// There are no hosts at all.
    #[error("no host is enrolled yet")]
    NoHosts,
}

/// Resolves a selection against the enrolled hosts. One that names no enrolled host is an error.
pub fn select<'a>(
    selection: &HostSelection,
    enrolled: impl Iterator<Item = &'a HostName>,
) -> Result<Selected, SelectionError> {
    let count = selection.include.len() + selection.exclude.len();
    if count > MAX_PATTERNS {
        return Err(SelectionError::TooMany(count));
    }
    let mut patterns = selection.include.iter().chain(&selection.exclude);
    if let Some(long) = patterns.find(|p| p.len() > MAX_PATTERN) {
        return Err(SelectionError::TooLong(long.len()));
    }
    if selection.include.is_empty() && !selection.all {
        return Err(SelectionError::Nothing);
    }
    let include = parse(&selection.include)?;
    let exclude = parse(&selection.exclude)?;
    let excluded = |name: &str| exclude.iter().any(|p| p.matches(name));
    let included = |name: &str| selection.all || include.iter().any(|p| p.matches(name));
    let mut any_enrolled = false;
    let mut hosts = Vec::new();
    for name in enrolled {
        any_enrolled = true;
        if included(name.as_str()) && !excluded(name.as_str()) {
            hosts.push(name.clone());
        }
    }
    if !any_enrolled {
        return Err(SelectionError::NoHosts);
    }
    if hosts.is_empty() {
        return Err(SelectionError::NoMatch(describe(selection)));
    }
    // Only the names that are not among the hosts found: a long list costs its length alone.
    let found: std::collections::HashSet<&str> = hosts.iter().map(HostName::as_str).collect();
    let literal = include
        .iter()
        .filter_map(HostPattern::literal_names)
        .flatten()
        .take(MAX_NAMES);
    let mut missing: Vec<String> = literal
        .filter(|name| !found.contains(name.as_str()) && !excluded(name))
        .collect();
    missing.sort_by(|a, b| rsv_proto::name::natural_order(a, b));
    missing.dedup();
    Ok(Selected { hosts, missing })
}

fn parse(patterns: &[String]) -> Result<Vec<HostPattern>, PatternError> {
    patterns.iter().map(|p| p.parse()).collect()
}

fn describe(selection: &HostSelection) -> String {
    let include = if selection.all {
        "all".to_owned()
    } else {
        selection.include.join(",")
    };
    if selection.exclude.is_empty() {
        return format!("`{include}`");
    }
    format!("`{include}` without `{}`", selection.exclude.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(include: &[&str], exclude: &[&str], all: bool) -> Result<(String, String), String> {
        let enrolled: Vec<HostName> = ["db01", "web01", "web02", "web10"]
            .iter()
            .map(|n| n.parse().unwrap())
            .collect();
        let own = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        let selection = HostSelection {
            include: own(include),
            exclude: own(exclude),
            all,
        };
        let selected = select(&selection, enrolled.iter()).map_err(|e| e.to_string())?;
        let hosts: Vec<&str> = selected.hosts.iter().map(HostName::as_str).collect();
        Ok((hosts.join(" "), selected.missing.join(" ")))
    }

    #[test]
    fn a_selection_is_a_union_minus_the_excluded() {
        let found = |hosts: &str| Ok((hosts.to_owned(), String::new()));
        assert_eq!(check(&["web*"], &["web02"], false), found("web01 web10"));
        assert_eq!(check(&["web01", "db*"], &[], false), found("db01 web01"));
        assert_eq!(check(&[], &["web*"], true), found("db01"));
    }

    #[test]
    fn names_said_in_full_are_missed() {
        let found = check(&["web[01-03]", "x*"], &[], false).unwrap();
        assert_eq!(found, ("web01 web02".into(), "web03".into()));
        assert_eq!(check(&["web[01-03]"], &["web03"], false).unwrap().1, "");
    }

    #[test]
    fn a_selection_without_a_host_is_an_error_that_says_so() {
        for (include, error) in [
            (
                vec![],
                "no hosts are selected: a controller has no host of its own",
            ),
            (vec!["x*"], "no enrolled host matches `x*`"),
            (vec!["web99"], "no enrolled host matches `web99`"),
            (vec!["web[1"], "unbalanced `[` in host pattern `web[1`"),
        ] {
            assert_eq!(check(&include, &[], false), Err(error.to_owned()));
        }
        let all = HostSelection {
            all: true,
            ..Default::default()
        };
        assert_eq!(select(&all, [].iter()), Err(SelectionError::NoHosts));
    }
}
