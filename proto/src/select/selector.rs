//! Set algebra over hosts: terms joined by `,` (union), `!` (minus) and `&` (and), from left to right.
//!
//! Every host is decided on its own, so that a selector costs terms times hosts and the laws of sets hold
//! by construction.

use std::{fmt, str::FromStr};

use super::{HostPattern, PatternError};
use crate::wire::{HostState, Outcome};

/// The most terms of one selector: more than any person types.
const MAX_TERMS: usize = 10_000;

/// The longest name of a group or an operation.
const MAX_WORD: usize = 253;

/// Which hosts are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSelector {
    first: Term,
    rest: Vec<(Operator, Term)>,
}

/// One set of hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Term {
    /// Those whose names match.
    Named(HostPattern),
    /// `@NAME`: those of a group.
    Group(String),
    /// `@state:STATE`: those in this state now.
    State(HostState),
    /// `@op:ID` or `@op:ID:OUTCOME`: the targets of an operation, or those with this fate.
    Operation {
        /// Which.
        id: String,
        /// What came of it there.
        fate: Fate,
    },
}

/// Which targets of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// All of them.
    Any,
    /// Those where at least one result is this one.
    Ended(Outcome),
}

/// How a term changes what the terms before it have selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `,`
    Union,
    /// `!`
    Minus,
    /// `&`
    And,
}

/// What a selector has to be told about hosts.
pub trait Lookup {
    /// What is known of the link to a host; absent: there is no such host.
    fn state(&self, host: &str) -> Option<HostState>;
    /// Whether the host is in the group.
    fn is_in_group(&self, host: &str, group: &str) -> bool;
    /// Whether the host was a target of the operation, with this fate.
    fn has_fate(&self, host: &str, operation: &str, fate: Fate) -> bool;
}

/// Why a text is not a selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// A pattern of names that is not one.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// An operator without a term on one side.
    #[error("host selector `{selector}` has nothing {side} `{operator}`")]
    Bare {
        /// The whole selector, with control characters escaped.
        selector: String,
        /// `before` or `after`.
        side: &'static str,
        /// The operator.
        operator: char,
    },
    /// A word after `@state:` that is no state.
    #[error(
        "`@state:{0}` names no state; accepted: connected, unreachable, draining, never, revoked"
    )]
    State(String),
    /// A word after `@op:ID:` that is no outcome.
    #[error(
        "`{0}` names no outcome; accepted: done, failed, unreachable, expired, denied, not-attempted"
    )]
    Outcome(String),
    /// An `@` that is followed by nothing that can be meant.
    #[error("`{0}` is none of @GROUP, @state:STATE, @op:ID and @op:ID:OUTCOME")]
    At(String),
    /// Too long.
    #[error("{0} terms in one host selector, {MAX_TERMS} are accepted")]
    TooMany(usize),
}

impl HostSelector {
    /// Whether the selector means this host.
    pub fn matches(&self, host: &str, lookup: &impl Lookup) -> bool {
        let first = self.first.matches(host, lookup);
        self.rest
            .iter()
            .fold(first, |selected, (operator, term)| match operator {
                Operator::Union => selected || term.matches(host, lookup),
                Operator::Minus => selected && !term.matches(host, lookup),
                Operator::And => selected && term.matches(host, lookup),
            })
    }

    /// Every term, in order.
    pub fn terms(&self) -> impl Iterator<Item = &Term> {
        std::iter::once(&self.first).chain(self.rest.iter().map(|(_, term)| term))
    }

    /// Names that are said in full, taken away again or not: those that can be missed by name.
    pub fn literal_names(&self) -> impl Iterator<Item = String> {
        self.terms().flat_map(|term| match term {
            Term::Named(pattern) => pattern.literal_names().unwrap_or_default(),
            Term::Group(_) | Term::State(_) | Term::Operation { .. } => Vec::new(),
        })
    }

    /// The most hosts that it can mean; absent: only who knows the hosts can tell.
    pub fn most_hosts(&self) -> Option<usize> {
        let mut most = self.first.most_hosts()?;
        for (operator, term) in &self.rest {
            match operator {
                Operator::Union => most += term.most_hosts()?,
                Operator::Minus => {}
                Operator::And => most = term.most_hosts().map_or(most, |other| most.min(other)),
            }
        }
        Some(most)
    }
}

impl Term {
    fn matches(&self, host: &str, lookup: &impl Lookup) -> bool {
        match self {
            Self::Named(pattern) => pattern.matches(host),
            Self::Group(group) => lookup.is_in_group(host, group),
            Self::State(state) => lookup.state(host) == Some(*state),
            Self::Operation { id, fate } => lookup.has_fate(host, id, *fate),
        }
    }

    fn most_hosts(&self) -> Option<usize> {
        match self {
            Self::Named(pattern) => Some(pattern.literal_names()?.len()),
            Self::Group(_) | Self::State(_) | Self::Operation { .. } => None,
        }
    }
}

impl FromStr for HostSelector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, rest) = split(text)?;
        let count = rest.len() + 1;
        if count > MAX_TERMS {
            return Err(SelectorError::TooMany(count));
        }
        let bare = |side, operator| SelectorError::Bare {
            selector: text.escape_debug().to_string(),
            side,
            operator,
        };
        // An empty term is told by its operator, unless there is no operator at all.
        if first.is_empty()
            && let Some((operator, _)) = rest.first()
        {
            return Err(bare("before", operator.character()));
        }
        if let Some((operator, _)) = rest.iter().find(|(_, term)| term.is_empty()) {
            return Err(bare("after", operator.character()));
        }
        let rest = rest
            .into_iter()
            .map(|(operator, term)| Ok((operator, parse_term(term)?)))
            .collect::<Result<_, SelectorError>>()?;
        Ok(Self {
            first: parse_term(first)?,
            rest,
        })
    }
}

/// The text of the first term, and of each other one with its operator.
type Texts<'a> = (&'a str, Vec<(Operator, &'a str)>);

/// Splits at operators that are not inside of brackets.
fn split(text: &str) -> Result<Texts<'_>, SelectorError> {
    let mut cuts: Vec<(usize, Operator)> = Vec::new();
    let mut is_inside = false;
    for (at, character) in text.char_indices() {
        match (character, Operator::of(character)) {
            ('[', _) if !is_inside => is_inside = true,
            (']', _) if is_inside => is_inside = false,
            ('[' | ']', _) => return Err(PatternError::Brackets(text.to_owned()).into()),
            (_, Some(operator)) if !is_inside => cuts.push((at, operator)),
            _ => {}
        }
    }
    if is_inside {
        return Err(PatternError::Brackets(text.to_owned()).into());
    }
    let end = |i: usize| cuts.get(i).map_or(text.len(), |&(at, _)| at);
    let rest = cuts
        .iter()
        .enumerate()
        .map(|(i, &(at, operator))| (operator, text[at + 1..end(i + 1)].trim()))
        .collect();
    Ok((text[..end(0)].trim(), rest))
}

fn parse_term(term: &str) -> Result<Term, SelectorError> {
    let Some(word) = term.strip_prefix('@') else {
        return Ok(Term::Named(term.parse()?));
    };
    let parts: Vec<&str> = word.split(':').collect();
    let is_word = |word: &str| {
        let accepted = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        !word.is_empty() && word.len() <= MAX_WORD && word.chars().all(accepted)
    };
    match parts.as_slice() {
        ["state", state] => parse_state(state).map(Term::State),
        ["op", id] if is_word(id) => Ok(Term::Operation {
            id: (*id).to_owned(),
            fate: Fate::Any,
        }),
        ["op", id, outcome] if is_word(id) => Ok(Term::Operation {
            id: (*id).to_owned(),
            fate: Fate::Ended(parse_outcome(outcome)?),
        }),
        [group] if is_word(group) => Ok(Term::Group((*group).to_owned())),
        _ => Err(SelectorError::At(term.escape_debug().to_string())),
    }
}

fn parse_state(word: &str) -> Result<HostState, SelectorError> {
    let found = STATES.iter().find(|(_, name)| *name == word);
    found
        .map(|(state, _)| *state)
        .ok_or_else(|| SelectorError::State(word.escape_debug().to_string()))
}

fn parse_outcome(word: &str) -> Result<Outcome, SelectorError> {
    let word = word.replace('_', "-");
    let found = OUTCOMES.iter().find(|(_, name)| *name == word);
    found
        .map(|(outcome, _)| *outcome)
        .ok_or_else(|| SelectorError::Outcome(word.escape_debug().to_string()))
}

const STATES: [(HostState, &str); 5] = [
    (HostState::Connected, "connected"),
    (HostState::Unreachable, "unreachable"),
    (HostState::Draining, "draining"),
    (HostState::Never, "never"),
    (HostState::Revoked, "revoked"),
];

const OUTCOMES: [(Outcome, &str); 6] = [
    (Outcome::Done, "done"),
    (Outcome::Failed, "failed"),
    (Outcome::Unreachable, "unreachable"),
    (Outcome::Expired, "expired"),
    (Outcome::Denied, "denied"),
    (Outcome::NotAttempted, "not-attempted"),
];

impl Operator {
    fn of(character: char) -> Option<Self> {
        match character {
            ',' => Some(Self::Union),
            '!' => Some(Self::Minus),
            '&' => Some(Self::And),
            _ => None,
        }
    }

    fn character(self) -> char {
        match self {
            Self::Union => ',',
            Self::Minus => '!',
            Self::And => '&',
        }
    }
}

impl fmt::Display for HostSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        self.rest
            .iter()
            .try_for_each(|(operator, term)| write!(f, "{}{term}", operator.character()))
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(pattern) => pattern.fmt(f),
            Self::Group(group) => write!(f, "@{group}"),
            Self::State(state) => write!(f, "@state:{}", word(&STATES, *state)),
            Self::Operation { id, fate } => match fate {
                Fate::Any => write!(f, "@op:{id}"),
                Fate::Ended(outcome) => write!(f, "@op:{id}:{}", word(&OUTCOMES, *outcome)),
            },
        }
    }
}

/// The word for a value; every value that can be parsed has one.
fn word<T: Copy + PartialEq>(words: &[(T, &'static str)], value: T) -> &'static str {
    words
        .iter()
        .find(|(v, _)| *v == value)
        .map_or("unknown", |(_, word)| word)
}

#[cfg(test)]
mod tests;
