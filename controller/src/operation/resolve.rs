//! Which programs of a host are meant, settled at the submission. Pure.

use rsv_proto::{
    name::HostName,
    select::ProgramPattern,
    wire::{Outcome, Refusal},
};

use super::{Part, Program, Row};
use crate::host::Programs;

/// A host's part: its programs as they are known, `away` when it has no session. Without `known` the
/// host resolves the patterns by itself.
pub fn part(
    host: &HostName,
    patterns: &[String],
    known: Option<&Programs>,
    away: Option<String>,
) -> Part {
    let whole = |away| Part {
        host: host.clone(),
        programs: None,
        away,
        unmatched: Vec::new(),
    };
    let Some(known) = known else {
        return whole(away);
    };
    let read: Vec<(&String, ProgramPattern)> = patterns
        .iter()
        .map(|text| (text, ProgramPattern::parse(text)))
        .collect();
    let is_meant = |group: &str, name: &str| read.iter().any(|(_, p)| p.matches(group, name));
    let programs: Vec<Program> = known
        .keys()
        .filter(|(group, name)| is_meant(group, name))
        .map(|(group, name)| Program {
            group: group.clone(),
            name: name.clone(),
        })
        .collect();
    if away.is_some() {
        // What it has had is not what it has: a name that is missing there says nothing.
        return match programs.is_empty() {
            true => whole(away),
            false => Part {
                programs: Some(programs),
                ..whole(away)
            },
        };
    }
    let unmatched = read.iter().filter(|(_, pattern)| {
        *pattern != ProgramPattern::All
            && !programs.iter().any(|p| pattern.matches(&p.group, &p.name))
    });
    let unmatched = unmatched.map(|(text, pattern)| {
        let refusal = match pattern {
            ProgramPattern::Group(_) => Refusal::NoSuchGroup,
            _ => Refusal::NoSuchProcess,
        };
        Row {
            refusal: refusal.into(),
            ..Row::new(text, Outcome::Failed, "")
        }
    });
    Part {
        unmatched: unmatched.collect(),
        programs: Some(programs),
        ..whole(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(patterns: &[&str], known: Option<&[&str]>, away: bool) -> (String, String) {
        let programs = known.map(|names| {
            let key = |name: &&str| {
                let program = Program::from_shown(name);
                ((program.group, program.name), Default::default())
            };
            names.iter().map(key).collect::<Programs>()
        });
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        let away = away.then(|| "silent".to_owned());
        let part = part(&"h1".parse().unwrap(), &patterns, programs.as_ref(), away);
        let shown = |programs: Vec<Program>| {
            let shown: Vec<String> = programs.iter().map(ToString::to_string).collect();
            shown.join(" ")
        };
        let unmatched: Vec<String> = part.unmatched.into_iter().map(|row| row.program).collect();
        let programs = part.programs.map_or("by itself".to_owned(), shown);
        (programs, unmatched.join(" "))
    }

    #[test]
    fn patterns_become_an_exact_list_of_what_is_known() {
        let known: Option<&[&str]> = Some(&["app", "g:a", "g:b", "side"]);
        for (patterns, programs, unmatched) in [
            (vec!["app"], "app", ""),
            (vec!["g:*", "side"], "g:a g:b side", ""),
            (vec!["all"], "app g:a g:b side", ""),
            (vec!["app", "nope", "x:*"], "app", "nope x:*"),
            (vec!["z*"], "", "z*"),
        ] {
            let expected = (programs.to_owned(), unmatched.to_owned());
            assert_eq!(check(&patterns, known, false), expected, "{patterns:?}");
        }
        assert_eq!(check(&["app"], None, false).0, "by itself");
    }

    #[test]
    fn of_a_host_that_is_away_nothing_is_said_to_be_missing() {
        let known: Option<&[&str]> = Some(&["app"]);
        assert_eq!(check(&["app", "x"], known, true), ("app".into(), "".into()));
        assert_eq!(check(&["x"], known, true), ("by itself".into(), "".into()));
    }
}
