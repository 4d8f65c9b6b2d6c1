//! The words after `tail` and `maintail` as supervisorctl would see them: in the order in which
//! they were typed, options included. And words that supervisorctl takes apart at blanks.

use std::ffi::OsString;

use clap::{Arg, ArgMatches, Command, builder::ValueRange};

use super::Verb;

/// Verbs of which supervisorctl reads the words itself.
const READ_BY_HAND: [&str; 2] = ["tail", "maintail"];

/// Lets an option that needs a value stand without one, where supervisorctl knows no such option. The long name
/// of it is that of another one where the verb says so.
pub(super) fn lenient(verb: &Command, flag: Arg) -> Arg {
    if flag.get_id() != "exclude" || !READ_BY_HAND.contains(&verb.get_name()) {
        return flag;
    }
    let has_long = |arg: &Arg| arg.get_long() == flag.get_long();
    let is_taken = verb.get_arguments().any(has_long);
    let flag = flag
        .num_args(ValueRange::new(0..=1))
        .default_missing_value("");
    match is_taken {
        true => flag.long(None::<&str>),
        false => flag,
    }
}

/// The words after the verb in their order, with the options that supervisorctl would take for
/// words of its own.
pub(super) fn typed(matches: &ArgMatches) -> Vec<String> {
    let Some((_, verb)) = matches.subcommand() else {
        return Vec::new();
    };
    let mut found: Vec<(usize, String)> = Vec::new();
    for (id, option) in [("words", None), ("exclude", Some("-x"))] {
        let indices = verb.indices_of(id).into_iter().flatten();
        let values = verb.get_many::<String>(id).into_iter().flatten();
        for (index, value) in indices.zip(values) {
            found.extend(option.map(|option| (index, option.to_owned())));
            if !value.is_empty() || option.is_none() {
                found.push((index, value.clone()));
            }
        }
    }
    for (id, option) in [("follow", "-f"), ("dry_run", "-n")] {
        if verb.get_flag(id) {
            let index = verb.index_of(id).unwrap_or(0);
            found.push((index, option.to_owned()));
        }
    }
    found.sort_by_key(|(index, _)| *index);
    let words: Vec<String> = found.into_iter().map(|(_, word)| word).collect();
    apart(&words)
}

/// The words of a command line whose verb is one word with blanks in it, such as `'signal HUP' web`,
/// with that word taken apart, as supervisorctl does; `None`: there are none in it. `rest` is the
/// verb with all that stands behind it.
pub(super) fn split_verb(words: &[OsString], rest: &[String]) -> Option<Vec<OsString>> {
    let (verb, behind) = rest.split_first()?;
    let verb = apart(std::slice::from_ref(verb));
    if verb.is_empty() || verb[0] == rest[0] {
        return None;
    }
    let before = words.len().checked_sub(rest.len())?;
    let typed = verb.iter().chain(behind).map(OsString::from);
    Some(words[..before].iter().cloned().chain(typed).collect())
}

/// Takes words apart at blanks; an empty one is none.
fn apart(words: &[String]) -> Vec<String> {
    let parts = words.iter().flat_map(|word| word.split_whitespace());
    parts.map(ToOwned::to_owned).collect()
}

impl Verb {
    /// Takes the names after the verb apart at blanks, as supervisorctl does.
    pub(super) fn take_apart(&mut self) {
        let words = match self {
            Self::Status(args) => &mut args.programs,
            Self::Start(args) | Self::Stop(args) | Self::Restart(args) => &mut args.programs,
            Self::Pid(args) | Self::Clear(args) | Self::Fg(args) => &mut args.programs,
            Self::Enable(args) | Self::Disable(args) => &mut args.programs,
            Self::Signal(args) => &mut args.words,
            Self::Open(args) => &mut args.words,
            Self::Tail(args) => &mut args.words,
            Self::Update(args) => &mut args.groups,
            Self::Add(args) | Self::Remove(args) => &mut args.groups,
            Self::Maintail(_)
            | Self::Reread(_)
            | Self::Avail(_)
            | Self::Reload(_)
            | Self::Version(_)
            | Self::Shutdown(_)
            | Self::Events(_)
            | Self::Wait(_)
            | Self::Top(_)
            | Self::Host { .. }
            | Self::Op { .. }
            | Self::Token { .. }
            | Self::Ctx { .. }
            | Self::Import { .. }
            | Self::Completion { .. }
            | Self::Man { .. }
            | Self::Help { .. }
            | Self::Unknown(_) => return,
        };
        *words = apart(words);
    }
}
