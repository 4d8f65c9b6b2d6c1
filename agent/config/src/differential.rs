//! Every grammar beside CPython's own implementation, on random input from a fixed seed.
//!
//! One Python process answers all cases. `RSV_CONFIG_FUZZ_FILES` changes how many files are tried (the
//! other grammars follow in proportion), `RSV_CONFIG_FUZZ_SEED` the seed. `python3`, or what `PYTHON`
//! names, must be there: without it the test fails.

mod generate;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::dialect::{self, DialectError};
use crate::environment;
use crate::error::repr;
use crate::expand::{Here, Names, Var, expand};
use crate::value::{integer, octal};
use crate::words::split_command;
use generate::{Random, fragments, ini_file};

const FILES: u64 = 5_000;
const SEED: u64 = 20_260_101;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ini,
    Environment,
    Command,
    Expansion,
    Integer,
    Octal,
    Quoted,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Ini => "ini",
            Self::Environment => "environment",
            Self::Command => "command",
            Self::Expansion => "expansion",
            Self::Integer => "integer",
            Self::Octal => "octal",
            Self::Quoted => "quoted",
        }
    }

    /// Our answer in the words of the reference; `None` where we differ on purpose.
    fn answer(self, input: &str) -> Option<String> {
        match self {
            Self::Ini => Some(ini(input)),
            Self::Environment => Some(match environment::parse(input) {
                Ok(pairs) => {
                    let pair = |(k, v): (&String, &String)| format!("{}={}", hex(k), hex(v));
                    format!("ok {}", joined(pairs.iter().map(pair)))
                }
                Err(error) => format!("no {}", hex(&error.text)),
            }),
            Self::Command => Some(match split_command(input) {
                Ok(words) => format!("ok {}", joined(words.iter().map(|word| hex(word)))),
                Err(error) => format!("no {}", hex(&error.to_string())),
            }),
            Self::Expansion => expansion(input),
            Self::Integer => Some(match integer(input) {
                Ok(number) => format!("ok {number}"),
                Err(error) => format!("no {}", hex(&error.text)),
            }),
            Self::Octal => match octal(input) {
                Ok(mode) => Some(format!("ok {}", mode.0)),
                // Python takes negative modes.
                Err(_) if input.contains('-') => None,
                Err(_) => Some("no".into()),
            },
            Self::Quoted => Some(format!("ok {}", hex(&repr(input)))),
        }
    }
}

fn ini(input: &str) -> String {
    let document = match dialect::parse_bytes(input.as_bytes()) {
        Ok(document) => document,
        Err(DialectError::NoSectionHeader(bad)) => return format!("no header {}", bad.line),
        Err(DialectError::BadLines(lines)) => {
            let numbers = lines.iter().map(|bad| bad.line.to_string());
            return format!("no lines {}", joined(numbers));
        }
        Err(error) => return format!("unexpected: {error}"),
    };
    let sections: BTreeMap<&str, String> = document
        .sections
        .iter()
        // An empty [DEFAULT] leaves no trace in Python.
        .filter(|section| section.name != dialect::DEFAULT_SECTION || !section.entries.is_empty())
        .map(|section| {
            let pairs = section
                .entries
                .iter()
                .map(|entry| format!("{}={}", hex(&entry.key), hex(&entry.value)));
            (section.name.as_str(), joined(pairs))
        })
        .collect();
    let shown: Vec<String> = sections
        .iter()
        .map(|(name, pairs)| format!("{}:{pairs}", hex(name)))
        .collect();
    format!("ok {}", shown.join(";"))
}

fn expansion(input: &str) -> Option<String> {
    let env = BTreeMap::from([("E".to_owned(), "\u{e9}%s\"'".to_owned())]);
    let names = Names::new(&env, Here::Unlisted)
        .with_text("a", "xyz")
        .with("n", Var::Number(3))
        .with("m", Var::Number(-255));
    let error = match expand(input, &names, "o", Path::new("/")) {
        Ok(text) => return Some(format!("ok {}", hex(&text))),
        Err(error) => error.text,
    };
    let subject = format!("Format string {} for 'o' ", repr(input));
    let rest = error.strip_prefix(&subject)?;
    if let Some(why) = rest.strip_prefix("is badly formatted: ") {
        // Without a name Python formats the mapping itself; fields have no bound there.
        let is_ours = why.contains("not enough arguments") || why.contains("too big");
        return (!is_ours).then(|| format!("no format {}", hex(why)));
    }
    let quoted = rest.strip_prefix("contains names (")?;
    let (name, _) = quoted.split_once(") which cannot be expanded")?;
    let name = name.strip_prefix('\'')?.strip_suffix('\'')?;
    Some(format!("no name {}", hex(name)))
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is not a number: {text}")),
        Err(_) => default,
    }
}

/// Asks CPython about all cases at once.
fn reference(cases: &[(Kind, String)]) -> Vec<String> {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let mut child = Command::new(&python)
        .args(["-c", include_str!("differential/reference.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("this test needs `{python}`: {error}"));
    let mut lines = String::new();
    for (kind, input) in cases {
        lines.push_str(&format!("{} {}\n", kind.name(), hex(input)));
    }
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "the reference failed");
    let answers = String::from_utf8(output.stdout).unwrap();
    answers
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

#[test]
fn every_grammar_agrees_with_cpython() {
    let files = number("RSV_CONFIG_FUZZ_FILES", FILES);
    let seed = number("RSV_CONFIG_FUZZ_SEED", SEED);
    println!("{files} files, seed {seed}");
    let mut random = Random::new(seed);
    let mut cases = Vec::new();
    for _ in 0..files {
        cases.push((Kind::Ini, ini_file(&mut random)));
        for (kind, alphabet) in [
            (Kind::Environment, generate::WORDS),
            (Kind::Command, generate::WORDS),
            (Kind::Expansion, generate::FORMATS),
            (Kind::Integer, generate::NUMBERS),
            (Kind::Octal, generate::NUMBERS),
            (Kind::Quoted, generate::WORDS),
        ] {
            cases.push((kind, fragments(&mut random, alphabet, 9)));
        }
    }
    let answers = reference(&cases);
    assert_eq!(answers.len(), cases.len());
    let mut accepted: BTreeMap<&str, u64> = BTreeMap::new();
    let mut skipped = 0;
    let no_arguments = format!(
        "no format {}",
        hex("not enough arguments for format string")
    );
    for ((kind, input), theirs) in cases.iter().zip(&answers) {
        match kind.answer(input) {
            // Which of two faults of a conversion without a name is told differs.
            Some(ours) if *theirs == no_arguments && ours.starts_with("no format") => skipped += 1,
            Some(ours) if theirs != "skip" => {
                assert_eq!(
                    ours.trim_end(),
                    theirs,
                    "{} {input:?}, seed {seed}",
                    kind.name()
                );
                *accepted.entry(kind.name()).or_default() += u64::from(ours.starts_with("ok"));
            }
            _ => skipped += 1,
        }
    }
    println!("accepted {accepted:?}, not compared {skipped}");
    // A generator that has lost its balance would prove nothing.
    for kind in ["ini", "environment", "command", "expansion", "integer"] {
        let count = accepted.get(kind).copied().unwrap_or(0);
        assert!(
            count * 20 > files,
            "only {count} of {files} {kind} cases accepted"
        );
    }
    assert!(skipped * 4 < files * 7, "{skipped} cases were not compared");
}
