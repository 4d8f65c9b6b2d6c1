//! Names of hosts, parsed once and valid ever after.

use std::{cmp::Ordering, fmt, str::FromStr};

/// The longest host name: what DNS allows.
const MAX_LENGTH: usize = 253;

/// The name of an enrolled host: letters, digits, `.`, `-` and `_`, lower case, beginning and
/// ending with a letter or digit.
///
/// Ordered naturally: `web2` stands before `web10`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HostName(String);

/// Why a text is not a host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostNameError {
    /// Nothing there.
    #[error("a host name cannot be empty")]
    Empty,
    /// Longer than DNS allows.
    #[error("a host name has at most {MAX_LENGTH} characters, this one {0}")]
    TooLong(usize),
    /// A character that no host name has.
    #[error("a host name has letters, digits, `.`, `-` and `_`, not {0:?}")]
    Character(char),
    /// Begins or ends with punctuation.
    #[error("a host name begins and ends with a letter or digit, not so `{0}`")]
    Edge(String),
}

impl HostName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(HostNameError::Empty);
        }
        if text.len() > MAX_LENGTH {
            return Err(HostNameError::TooLong(text.len()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if let Some(c) = text.chars().find(|&c| !allowed(c)) {
            return Err(HostNameError::Character(c));
        }
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        if !edge(text.chars().next()) || !edge(text.chars().next_back()) {
            return Err(HostNameError::Edge(text.to_owned()));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostName({})", self.0)
    }
}

impl Ord for HostName {
    fn cmp(&self, other: &Self) -> Ordering {
        natural_order(&self.0, &other.0)
    }
}

impl PartialOrd for HostName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Compares texts with runs of digits taken as numbers; texts that are equal in that sense (`a01`,
/// `a1`) are then compared as texts, so that only equal texts are equal.
pub fn natural_order(a: &str, b: &str) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let (x, y) = (a.as_bytes(), b.as_bytes());
    let start = start_of_difference(x, y);
    let (mut x, mut y) = (&x[start..], &y[start..]);
    loop {
        let (digits_x, digits_y) = (leading_digits(x), leading_digits(y));
        let order = if digits_x > 0 && digits_y > 0 {
            let (number_x, rest_x) = x.split_at(digits_x);
            let (number_y, rest_y) = y.split_at(digits_y);
            (x, y) = (rest_x, rest_y);
            number_order(number_x, number_y)
        } else {
            match (x.split_first(), y.split_first()) {
                (Some((p, rest_x)), Some((q, rest_y))) => {
                    (x, y) = (rest_x, rest_y);
                    p.cmp(q)
                }
                (None, None) => return a.cmp(b),
                (None, Some(_)) => Ordering::Less,
                (Some(_), None) => Ordering::Greater,
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Up to where both are the same; in front of a run of digits that is only begun in the same way.
fn start_of_difference(x: &[u8], y: &[u8]) -> usize {
    let (mut at, mut start) = (0, 0);
    while at < x.len() && at < y.len() && x[at] == y[at] {
        at += 1;
        if !x[at - 1].is_ascii_digit() {
            start = at;
        }
    }
    start
}

fn leading_digits(text: &[u8]) -> usize {
    text.iter().take_while(|c| c.is_ascii_digit()).count()
}

fn number_order(a: &[u8], b: &[u8]) -> Ordering {
    let strip = |n: &[u8]| n.iter().position(|&c| c != b'0').map_or(n.len(), |i| i);
    let (a, b) = (&a[strip(a)..], &b[strip(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_compared_as_numbers() {
        let mut names: Vec<HostName> = ["web10", "web2", "db1", "web02", "web2a"]
            .iter()
            .map(|n| n.parse().unwrap())
            .collect();
        names.sort();
        let names: Vec<&str> = names.iter().map(HostName::as_str).collect();
        assert_eq!(names, ["db1", "web02", "web2", "web2a", "web10"]);
    }

    #[test]
    fn names_that_no_host_has_are_refused_with_the_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("a b", "' '"),
            ("web\u{1b}[31m", "'\\u{1b}'"),
            ("-web", "begins and ends"),
            ("web.", "begins and ends"),
            (&"a".repeat(254), "253"),
        ] {
            let error = text.parse::<HostName>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
        assert_eq!(
            "Web01.Example".parse::<HostName>().unwrap().as_str(),
            "web01.example"
        );
    }
}
