//! Expressions over labels: `role=web,dc!=fra,canary`.
//!
//! Each clause must hold. A value may be a glob. A host without the label satisfies `!=` and `!key`.

use std::{collections::BTreeMap, fmt, str::FromStr};

use super::matches_glob;

/// Clauses that a host's labels must all satisfy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelExpression {
    clauses: Vec<Clause>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Clause {
    key: String,
    wanted: Wanted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    /// A value that matches this glob.
    Value(String),
    /// No value that matches this glob, or none at all.
    NotValue(String),
    /// Any value.
    Present,
    /// No value.
    Absent,
}

/// Why a text is not an expression over labels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Nothing between two commas, or nothing at all.
    #[error("empty clause in label expression `{0}`")]
    Empty(String),
    /// A key that no label has.
    #[error("`{key}` in label expression `{expression}` is not the name of a label")]
    Key {
        /// The whole expression, with control characters escaped.
        expression: String,
        /// What stands where the key should.
        key: String,
    },
    /// A value with a character that no label has.
    #[error("`{value}` in label expression `{expression}` is not the value of a label")]
    Value {
        /// The whole expression, with control characters escaped.
        expression: String,
        /// What stands where the value should.
        value: String,
    },
}

impl LabelExpression {
    /// Whether these labels satisfy every clause.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.clauses
            .iter()
            .all(|clause| clause.holds(labels.get(&clause.key).map(String::as_str)))
    }
}

impl Clause {
    fn holds(&self, value: Option<&str>) -> bool {
        match (&self.wanted, value) {
            (Wanted::Value(glob), Some(value)) => matches_glob(glob, value),
            (Wanted::NotValue(glob), Some(value)) => !matches_glob(glob, value),
            (Wanted::Present, found) => found.is_some(),
            (Wanted::Absent, found) => found.is_none(),
            (Wanted::Value(_), None) => false,
            (Wanted::NotValue(_), None) => true,
        }
    }
}

impl FromStr for LabelExpression {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let clauses = text
            .split(',')
            .map(|clause| parse_clause(clause.trim(), text))
            .collect::<Result<_, _>>()?;
        Ok(Self { clauses })
    }
}

fn parse_clause(clause: &str, expression: &str) -> Result<Clause, LabelError> {
    let shown = || expression.escape_debug().to_string();
    if clause.is_empty() {
        return Err(LabelError::Empty(shown()));
    }
    let (key, wanted) = if let Some((key, value)) = clause.split_once("!=") {
        (key, Wanted::NotValue(value.trim().to_owned()))
    } else if let Some((key, value)) = clause.split_once('=') {
        (
            key,
            Wanted::Value(value.trim_start_matches('=').trim().to_owned()),
        )
    } else if let Some(key) = clause.strip_prefix('!') {
        (key, Wanted::Absent)
    } else {
        (clause, Wanted::Present)
    };
    let key = key.trim();
    let is_key = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if key.is_empty() || !key.chars().all(is_key) {
        return Err(LabelError::Key {
            expression: shown(),
            key: key.escape_debug().to_string(),
        });
    }
    if let Wanted::Value(value) | Wanted::NotValue(value) = &wanted
        && value.chars().any(|c| c.is_control() || "!=".contains(c))
    {
        return Err(LabelError::Value {
            expression: shown(),
            value: value.escape_debug().to_string(),
        });
    }
    Ok(Clause {
        key: key.to_owned(),
        wanted,
    })
}

impl fmt::Display for LabelExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Clause { key, wanted }) in self.clauses.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            match wanted {
                Wanted::Value(value) => write!(f, "{key}={value}")?,
                Wanted::NotValue(value) => write!(f, "{key}!={value}")?,
                Wanted::Present => f.write_str(key)?,
                Wanted::Absent => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_clause_must_hold() {
        let labels = BTreeMap::from([
            ("role".to_owned(), "web".to_owned()),
            ("dc".to_owned(), "ber1".to_owned()),
        ]);
        for (expression, holds) in [
            ("role=web", true),
            ("role==web", true),
            ("role=db", false),
            ("role=web,dc!=fra", true),
            ("role=web, dc=ber*", true),
            ("role=web,dc!=ber*", false),
            ("dc", true),
            ("!dc", false),
            ("!canary,role=w?b", true),
            ("canary", false),
            ("canary!=yes", true),
            ("canary=*", false),
        ] {
            let parsed: LabelExpression = expression.parse().unwrap();
            assert_eq!(parsed.matches(&labels), holds, "{expression}");
        }
    }

    #[test]
    fn expressions_that_mean_nothing_are_refused() {
        for text in [
            "",
            ",",
            "role=web,",
            "=web",
            "a b=c",
            "!",
            "role=a=b",
            "a=\u{1b}",
        ] {
            assert!(text.parse::<LabelExpression>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(text in "[a-c!=,*. ]{0,20}") {
            if let Ok(expression) = text.parse::<LabelExpression>() {
                let again: LabelExpression = expression.to_string().parse().unwrap();
                prop_assert_eq!(again, expression);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            let _either = text.parse::<LabelExpression>();
        }
    }
}
