//! Patterns of the processes of one host, as Supervisor's users write them.

use crate::process::display_name;

/// Which processes of one host are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramPattern {
    /// Every process.
    All,
    /// Every process of a group: `group:*` or `group:`.
    Group(String),
    /// One name: `name` (group and process of that name) or `group:name`.
    Exact {
        /// The group.
        group: String,
        /// The process.
        name: String,
    },
    /// A glob over shown names, and over `group:name`.
    Glob(String),
}

impl ProgramPattern {
    /// Reads a pattern; every text is one.
    pub fn parse(text: &str) -> Self {
        if text == "all" {
            return Self::All;
        }
        match text.split_once(':') {
            Some((group, "" | "*")) if !has_wildcard(group) => Self::Group(group.to_owned()),
            _ if has_wildcard(text) => Self::Glob(text.to_owned()),
            Some((group, name)) => Self::Exact {
                group: group.to_owned(),
                name: name.to_owned(),
            },
            None => Self::Exact {
                group: text.to_owned(),
                name: text.to_owned(),
            },
        }
    }

    /// Whether the pattern names this process.
    pub fn matches(&self, group: &str, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Group(wanted) => wanted == group,
            Self::Exact { group: g, name: n } => g == group && n == name,
            Self::Glob(glob) => {
                matches_glob(glob, &display_name(group, name))
                    || matches_glob(glob, &format!("{group}:{name}"))
            }
        }
    }
}

fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// Whether a glob of `*` and `?` matches the whole of a text.
pub fn matches_glob(glob: &str, text: &str) -> bool {
    let (glob, text): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
    let (mut g, mut t) = (0, 0);
    // Where the latest `*` stood, and where in the text its run ends so far.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match glob.get(g) {
            Some('*') => {
                star = Some((g, t));
                g += 1;
            }
            Some(&c) if c == '?' || c == text[t] => {
                g += 1;
                t += 1;
            }
            _ => {
                let Some((at, end)) = star else { return false };
                star = Some((at, end + 1));
                g = at + 1;
                t = end + 1;
            }
        }
    }
    glob[g..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn program_patterns_are_those_of_supervisor() {
        let matches = |p: &str, g: &str, n: &str| ProgramPattern::parse(p).matches(g, n);
        assert!(matches("all", "g", "p"));
        assert!(matches("p", "p", "p"));
        assert!(!matches("p", "g", "p"));
        assert!(matches("g:p", "g", "p"));
        assert!(matches("g:*", "g", "p"));
        assert!(matches("g:", "g", "p"));
        assert!(matches("g:p*", "g", "p1"));
        assert!(matches("work*", "worker", "worker"));
        assert!(!matches("g", "g", "p"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_pattern(text in "\\PC{0,40}", name in "\\PC{0,20}") {
            let _matched: bool = ProgramPattern::parse(&text).matches(&name, &name);
        }

        #[test]
        fn globs_without_wildcards_match_themselves_alone(a in "[a-c]{0,5}", b in "[a-c]{0,5}") {
            prop_assert_eq!(matches_glob(&a, &b), a == b);
            let starred = format!("*{a}*");
            prop_assert_eq!(matches_glob(&starred, &b), b.contains(&a));
        }
    }
}
