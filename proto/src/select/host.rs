//! Patterns of host names: globs and folded sets, without regard to case.

use std::{fmt, str::FromStr};

/// The most names that one folded set may stand for.
const MAX_SET: u64 = 100_000;

/// Which hosts are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    items: Vec<Item>,
}

/// One item: pieces that a name must match one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    /// Any run of characters, also none.
    Any,
    /// Exactly one character.
    One,
    /// A number of one of these ranges.
    Set(Vec<Range>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Range {
    first: u64,
    last: u64,
    /// Digits of a padded number; 0: not padded.
    width: usize,
}

/// Why a text is not a host pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing between two commas, or nothing at all.
    #[error("empty host pattern in `{0}`")]
    Empty(String),
    /// A `[` without `]`, or the other way round.
    #[error("unbalanced `[` in host pattern `{0}`")]
    Brackets(String),
    /// A set that is not a list of numbers and ranges.
    #[error(
        "`[{set}]` in host pattern `{pattern}` is not a list of numbers and ranges such as `[01-20,33]`"
    )]
    Set {
        /// The whole pattern.
        pattern: String,
        /// The part between the brackets.
        set: String,
    },
    /// A set that stands for too many names.
    #[error("`[{0}]` stands for more than {MAX_SET} names")]
    TooMany(String),
    /// A character that no pattern has.
    #[error("{character:?} cannot be in host pattern `{pattern}`")]
    Character {
        /// The whole pattern, with control characters escaped.
        pattern: String,
        /// The character.
        character: char,
    },
}

impl HostPattern {
    /// Whether the pattern names this host.
    pub fn matches(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        self.items
            .iter()
            .any(|item| matches_pieces(&item.pieces, name.as_bytes()))
    }

    /// How many names the pattern stands for, when it has no wildcard.
    pub fn count(&self) -> Option<u64> {
        let mut counts = self.items.iter().map(Item::count);
        counts.try_fold(0, |sum: u64, count| Some(sum.saturating_add(count?)))
    }

    /// The names that the pattern stands for, when it has no wildcard: those can be missed by name.
    pub fn literal_names(&self) -> Option<Vec<String>> {
        let mut names = Vec::new();
        for item in &self.items {
            names.extend(item.expand()?);
        }
        Some(names)
    }
}

impl FromStr for HostPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(character) = text.chars().find(|&c| !is_pattern_character(c)) {
            let pattern = text.escape_debug().to_string();
            return Err(PatternError::Character { pattern, character });
        }
        let items = split_outside_brackets(text)?
            .into_iter()
            .map(|item| parse_item(item.trim(), text))
            .collect::<Result<_, _>>()?;
        Ok(Self { items })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, item) in self.items.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            item.pieces.iter().try_for_each(|piece| piece.fmt(f))?;
        }
        Ok(())
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(text),
            Self::Any => f.write_str("*"),
            Self::One => f.write_str("?"),
            Self::Set(ranges) => {
                let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", ranges.join(","))
            }
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last, width } = *self;
        write!(f, "{first:0width$}")?;
        if last > first {
            write!(f, "-{last:0width$}")?;
        }
        Ok(())
    }
}

impl Item {
    fn count(&self) -> Option<u64> {
        let mut pieces = self.pieces.iter();
        pieces.try_fold(1, |names: u64, piece| match piece {
            Piece::Literal(_) => Some(names),
            Piece::Set(ranges) => {
                let sizes = ranges.iter().map(|range| range.last - range.first + 1);
                Some(names.saturating_mul(sizes.fold(0, u64::saturating_add)))
            }
            Piece::Any | Piece::One => None,
        })
    }

    fn expand(&self) -> Option<Vec<String>> {
        let mut names = vec![String::new()];
        for piece in &self.pieces {
            names = match piece {
                Piece::Literal(text) => names.into_iter().map(|n| n + text).collect(),
                Piece::Set(ranges) => names
                    .iter()
                    .flat_map(|name| ranges.iter().flat_map(move |range| range.names(name)))
                    .take(MAX_SET as usize)
                    .collect(),
                Piece::Any | Piece::One => return None,
            };
        }
        Some(names)
    }
}

impl Range {
    fn names<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = String> + 'a {
        (self.first..=self.last).map(move |n| format!("{prefix}{n:0width$}", width = self.width))
    }

    fn contains(&self, digits: &[u8]) -> bool {
        let padded = digits.len() > 1 && digits[0] == b'0';
        if padded && digits.len() != self.width || digits.len() < self.width {
            return false;
        }
        std::str::from_utf8(digits)
            .ok()
            .and_then(|d| d.parse::<u64>().ok())
            .is_some_and(|n| (self.first..=self.last).contains(&n))
    }
}

/// Whether pieces match the whole of a name. All ways to match go forward together, so that no
/// pattern makes it take more than pieces times length.
fn matches_pieces(pieces: &[Piece], name: &[u8]) -> bool {
    // For each position: the pieces so far can match the name up to there.
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for piece in pieces {
        let mut next = vec![false; name.len() + 1];
        for at in (0..=name.len()).filter(|&at| reached[at]) {
            piece.advance(name, at, &mut next);
        }
        reached = next;
    }
    reached[name.len()]
}

impl Piece {
    /// Marks where a match of this piece that begins at `at` can end.
    fn advance(&self, name: &[u8], at: usize, ends: &mut [bool]) {
        let rest = &name[at..];
        match self {
            Self::Literal(text) if rest.starts_with(text.as_bytes()) => {
                ends[at + text.len()] = true;
            }
            Self::Literal(_) => {}
            Self::One if !rest.is_empty() => ends[at + 1] = true,
            Self::One => {}
            Self::Any => ends[at..].fill(true),
            Self::Set(ranges) => {
                let digits = rest.iter().take_while(|c| c.is_ascii_digit()).count();
                for length in 1..=digits {
                    let number = &rest[..length];
                    ends[at + length] |= ranges.iter().any(|range| range.contains(number));
                }
            }
        }
    }
}

fn is_pattern_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-*?[], ".contains(c)
}

fn split_outside_brackets(text: &str) -> Result<Vec<&str>, PatternError> {
    let mut items = Vec::new();
    let (mut start, mut inside) = (0, false);
    for (i, c) in text.char_indices() {
        match c {
            '[' if inside => return Err(PatternError::Brackets(text.to_owned())),
            '[' => inside = true,
            ']' if !inside => return Err(PatternError::Brackets(text.to_owned())),
            ']' => inside = false,
            ',' if !inside => {
                items.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err(PatternError::Brackets(text.to_owned()));
    }
    items.push(&text[start..]);
    Ok(items)
}

fn parse_item(item: &str, pattern: &str) -> Result<Item, PatternError> {
    if item.is_empty() {
        return Err(PatternError::Empty(pattern.to_owned()));
    }
    let mut pieces = Vec::new();
    let mut rest = item;
    while let Some(c) = rest.chars().next() {
        rest = match c {
            '*' => {
                if pieces.last() != Some(&Piece::Any) {
                    pieces.push(Piece::Any);
                }
                &rest[1..]
            }
            '?' => {
                pieces.push(Piece::One);
                &rest[1..]
            }
            '[' => {
                let end = rest.find(']').unwrap_or(rest.len());
                pieces.push(Piece::Set(parse_set(&rest[1..end], pattern)?));
                &rest[(end + 1).min(rest.len())..]
            }
            _ => {
                let end = rest.find(['*', '?', '[']).unwrap_or(rest.len());
                pieces.push(Piece::Literal(rest[..end].to_ascii_lowercase()));
                &rest[end..]
            }
        };
    }
    Ok(Item { pieces })
}

fn parse_set(set: &str, pattern: &str) -> Result<Vec<Range>, PatternError> {
    let bad = || PatternError::Set {
        pattern: pattern.to_owned(),
        set: set.to_owned(),
    };
    let mut count: u64 = 0;
    let mut ranges = Vec::new();
    for part in set.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| -> Result<u64, PatternError> {
            let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
            if digits {
                text.parse().map_err(|_| bad())
            } else {
                Err(bad())
            }
        };
        let width = if first.len() > 1 && first.starts_with('0') {
            first.len()
        } else {
            0
        };
        let range = Range {
            first: number(first)?,
            last: number(last)?,
            width,
        };
        if range.last < range.first {
            return Err(bad());
        }
        count = count.saturating_add(range.last - range.first + 1);
        ranges.push(range);
    }
    if count > MAX_SET {
        return Err(PatternError::TooMany(set.to_owned()));
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pattern_counts_its_names_without_making_them() {
        for (text, count) in [
            ("web1", Some(1)),
            ("web[01-20,33],db1", Some(22)),
            ("r[1-3]n[1-4]", Some(12)),
            ("web*", None),
            ("web1,db?", None),
        ] {
            let pattern: HostPattern = text.parse().unwrap();
            let made = pattern.literal_names().map(|names| names.len() as u64);
            assert_eq!((pattern.count(), made), (count, count), "{text}");
        }
        let pattern: HostPattern = "a[1-99999][1-99999][1-99999][1-99999]".parse().unwrap();
        assert_eq!(pattern.count(), Some(u64::MAX));
    }

    #[test]
    fn host_patterns_match_whole_names() {
        for (pattern, yes, no) in [
            ("web*", vec!["web", "web01", "WEB1"], vec!["aweb", "db01"]),
            (
                "web[01-03]",
                vec!["web01", "web03"],
                vec!["web1", "web04", "web001"],
            ),
            (
                "web[1-20,33]",
                vec!["web1", "web20", "web33"],
                vec!["web01", "web21"],
            ),
            ("web01, db?", vec!["web01", "db1"], vec!["db", "db12"]),
            ("*-[1-2].x", vec!["a-1.x", "b-c-2.x"], vec!["a-3.x"]),
            (
                "web[08-11]",
                vec!["web08", "web10", "web11"],
                vec!["web8", "web12"],
            ),
        ] {
            let parsed: HostPattern = pattern.parse().unwrap();
            for name in yes {
                assert!(parsed.matches(name), "{pattern} {name}");
            }
            for name in no {
                assert!(!parsed.matches(name), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn host_patterns_that_mean_nothing_are_refused() {
        for text in [
            "", "a,,b", "web[1", "web1]", "web[[1]]", "web[a-b]", "web[3-1]", "web[]", "w\u{7}",
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text:?}");
        }
        assert!(matches!(
            "w[0-999999]".parse::<HostPattern>(),
            Err(PatternError::TooMany(_))
        ));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,40}", name in "\\PC{0,20}") {
            if let Ok(pattern) = text.parse::<HostPattern>() {
                let _matched: bool = pattern.matches(&name);
                let again: HostPattern = pattern.to_string().parse().unwrap();
                prop_assert_eq!(again, pattern);
            }
        }
    }
}
