//! `%(name)s` expansion: Python's %-formatting with a mapping, as far as a configuration can use it.
//!
//! Text values take `s`, `r`, `a` and `c`; numbers also take `d i u x X o f F` with flags, width and
//! precision. A conversion without a name is refused, where Python would print the whole mapping.

mod format;

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{ValueError, repr};
use format::{Spec, conversion};

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Var {
    /// Text, put in as it is.
    Text(String),
    /// A number, such as `process_num`.
    Number(i64),
}

/// The names that one option may use.
#[derive(Debug, Clone)]
pub(crate) struct Names<'a> {
    /// The process environment: `ENV_X` for each `X`.
    env: &'a BTreeMap<String, String>,
    /// Environment that a program adds, seen before `env`.
    own_env: BTreeMap<String, String>,
    own: Vec<(&'static str, Var)>,
    here: Here,
}

/// Whether `here` is among the names that an error lists; it is understood everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Here {
    Listed,
    Unlisted,
}

impl<'a> Names<'a> {
    pub(crate) fn new(env: &'a BTreeMap<String, String>, here: Here) -> Self {
        Self {
            env,
            own_env: BTreeMap::new(),
            own: Vec::new(),
            here,
        }
    }

    /// Adds a name, or replaces it.
    pub(crate) fn with(mut self, name: &'static str, var: Var) -> Self {
        self.own.retain(|(known, _)| *known != name);
        self.own.push((name, var));
        self
    }

    pub(crate) fn with_text(self, name: &'static str, text: &str) -> Self {
        self.with(name, Var::Text(text.to_owned()))
    }

    /// Adds `ENV_X` for each pair.
    pub(crate) fn with_env(mut self, env: &BTreeMap<String, String>) -> Self {
        self.own_env.extend(env.clone());
        self
    }

    fn get(&self, name: &str, here: &Path) -> Option<Var> {
        if let Some((_, var)) = self.own.iter().find(|(known, _)| *known == name) {
            return Some(var.clone());
        }
        if name == "here" {
            return Some(Var::Text(here.to_string_lossy().into_owned()));
        }
        let variable = name.strip_prefix("ENV_")?;
        let text = self
            .own_env
            .get(variable)
            .or_else(|| self.env.get(variable));
        text.cloned().map(Var::Text)
    }

    fn available(&self) -> String {
        let mut names: Vec<String> = self.own.iter().map(|(name, _)| (*name).into()).collect();
        if self.here == Here::Listed {
            names.push("here".into());
        }
        let variables = self.env.keys().chain(self.own_env.keys());
        names.extend(variables.map(|variable| format!("ENV_{variable}")));
        names.sort();
        names.dedup();
        names.join(", ")
    }
}

/// Why a text cannot be expanded.
enum Refusal {
    UnknownName(String),
    BadFormat(String),
}

const ACCEPTED: &str = "%(name)s with a name that is available here; %% for a percent sign";

/// Expands `text`. `option` is what an error names it by; `here` is the directory of its file.
pub(crate) fn expand(
    text: &str,
    names: &Names<'_>,
    option: &str,
    here: &Path,
) -> Result<String, ValueError> {
    if !text.contains('%') {
        return Ok(text.to_owned());
    }
    expanded(text, names, here).map_err(|refusal| {
        let subject = format!("Format string {} for {}", repr(text), repr(option));
        let text = match refusal {
            Refusal::UnknownName(name) => format!(
                "{subject} contains names ({}) which cannot be expanded. Available names: {}",
                repr(&name),
                names.available()
            ),
            Refusal::BadFormat(why) => format!("{subject} is badly formatted: {why}"),
        };
        ValueError::new(text, ACCEPTED)
    })
}

fn expanded(text: &str, names: &Names<'_>, here: &Path) -> Result<String, Refusal> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(c) = chars.get(at).copied() {
        at += 1;
        if c != '%' {
            out.push(c);
        } else if chars.get(at) == Some(&'%') {
            out.push('%');
            at += 1;
        } else {
            at = one(&chars, at, names, here, &mut out)?;
        }
    }
    Ok(out)
}

/// Expands the conversion that begins behind the `%` at `at`; gives the position behind it.
fn one(
    chars: &[char],
    mut at: usize,
    names: &Names<'_>,
    here: &Path,
    out: &mut String,
) -> Result<usize, Refusal> {
    let mut var = None;
    if chars.get(at) == Some(&'(') {
        let end =
            closing(chars, at).ok_or_else(|| Refusal::BadFormat("incomplete format key".into()))?;
        let name: String = chars[at + 1..end].iter().collect();
        let value = names.get(&name, here);
        var = Some(value.ok_or(Refusal::UnknownName(name))?);
        at = end + 1;
    }
    let spec = Spec::read(chars, &mut at).map_err(Refusal::BadFormat)?;
    let letter = chars
        .get(at)
        .copied()
        .ok_or_else(|| Refusal::BadFormat("incomplete format".into()))?;
    let text = conversion(&spec, letter, at, var.as_ref()).map_err(Refusal::BadFormat)?;
    out.push_str(&text);
    Ok(at + 1)
}

/// The parenthesis that closes the one at `open`; names may contain pairs of them.
fn closing(chars: &[char], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, c) in chars.iter().enumerate().skip(open) {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests;
