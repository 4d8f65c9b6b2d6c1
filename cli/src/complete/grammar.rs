//! What is wanted at the end of a line, by the grammar of the command line. Pure.
//!
//! What a value is follows from the name that the help pages give it, so that a new verb completes as it
//! explains itself.

use clap::{Arg, ArgAction, Command};

use super::line::apart;
use crate::args::{Arguments, Global};

/// Flags that decide who is asked for names.
const WHO: [&str; 9] = [
    "host",
    "exclude",
    "label",
    "all_hosts",
    "limit",
    "controller",
    "context",
    "configuration",
    "serverurl",
];

/// Where the cursor is.
#[derive(Debug)]
pub(crate) struct Place {
    /// What could stand there.
    pub(crate) wanted: Wanted,
    /// What has been typed of it.
    pub(crate) word: String,
    /// Words of the same verb that stand before it.
    pub(crate) before: Vec<String>,
    /// What comes before the value in the same word, such as `--host=`.
    pub(crate) lead: String,
    /// The flags of the line that say who is asked, behind the name of the program.
    pub(crate) who: Vec<String>,
}

/// What could stand at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    Nothing,
    /// One of these words, each with what it is.
    Words(Vec<(String, String)>),
    /// One of these words, behind others and commas.
    List(Vec<(String, String)>),
    /// Hosts, as `--host` selects them.
    Hosts,
    /// Labels, as `--label` selects by them.
    Labels,
    Processes,
    Groups,
    Operations,
    Contexts,
    /// Whatever the shell offers for a file.
    Files,
}

impl Place {
    /// The place at the end of a line that begins with the name of the program.
    pub(crate) fn at_end_of(line: &str, grammar: &Command) -> Self {
        let mut grammar = grammar.clone();
        grammar.build();
        let (words, word) = apart(line);
        let mut walk = Walk::new(&grammar);
        for word in words.iter().skip(1) {
            walk.pass(word);
        }
        walk.end(&word)
    }

    /// The flags that say who is asked; absent when they are wrong.
    pub(super) fn global(&self) -> Option<Global> {
        Arguments::read(&self.who).ok().map(|read| read.global)
    }
}

/// How far a line has been read.
struct Walk<'a> {
    root: &'a Command,
    command: &'a Command,
    /// The flag whose value comes next.
    flag: Option<&'a Arg>,
    /// Nothing that follows is a flag.
    is_plain: bool,
    /// Words that are neither flags nor verbs.
    words: Vec<String>,
    /// Flags of [`WHO`], as they could be typed in front.
    who: Vec<String>,
}

impl<'a> Walk<'a> {
    fn new(root: &'a Command) -> Self {
        Self {
            root,
            command: root,
            flag: None,
            is_plain: false,
            words: Vec::new(),
            who: vec![root.get_name().to_owned()],
        }
    }

    fn pass(&mut self, word: &str) {
        if let Some(flag) = self.flag.take() {
            return self.note(flag, Some(word));
        }
        if self.is_plain || !word.starts_with('-') || word == "-" {
            return self.pass_plain(word);
        }
        if word == "--" {
            self.is_plain = true;
            return;
        }
        let (flag, value) = self.flag_of(word);
        match (flag, value) {
            (Some(flag), None) if takes_value(flag) => self.flag = Some(flag),
            (Some(flag), value) => self.note(flag, value),
            // A word such as `-20`, or one that will be refused.
            (None, _) => {}
        }
    }

    fn pass_plain(&mut self, word: &str) {
        match self.command.find_subcommand(word) {
            Some(verb) if self.words.is_empty() => self.command = verb,
            _ => self.words.push(word.to_owned()),
        }
    }

    /// The last flag of a word, and the value that stands in the same word.
    fn flag_of<'w>(&self, word: &'w str) -> (Option<&'a Arg>, Option<&'w str>) {
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            let mut flags = self.command.get_arguments();
            return (flags.find(|flag| flag.get_long() == Some(name)), value);
        }
        let mut last = None;
        for (at, letter) in word.char_indices().skip(1) {
            let mut flags = self.command.get_arguments();
            last = flags.find(|flag| flag.get_short() == Some(letter));
            if last.is_some_and(takes_value) {
                let value = &word[at + letter.len_utf8()..];
                let value = value.strip_prefix('=').unwrap_or(value);
                return (last, (!value.is_empty()).then_some(value));
            }
        }
        (last, None)
    }

    /// Notes a flag that says who is asked.
    fn note(&mut self, flag: &Arg, value: Option<&str>) {
        // A verb may have a flag of that name for something else, as `token create --label` is.
        let mut flags = self.root.get_arguments();
        let known = flags.find(|known| known.get_id() == flag.get_id());
        let Some(long) = known.and_then(Arg::get_long) else {
            return;
        };
        if !WHO.contains(&flag.get_id().as_str()) {
            return;
        }
        self.who.push(match value {
            Some(value) if takes_value(flag) => format!("--{long}={value}"),
            _ => format!("--{long}"),
        });
    }

    fn end(self, word: &str) -> Place {
        let (wanted, lead) = match self.flag {
            Some(flag) => (self.value_of(flag), String::new()),
            None if word.starts_with('-') && !self.is_plain => self.flag_at_end(word),
            None => (self.plain(), String::new()),
        };
        Place {
            wanted,
            word: word[lead.len()..].to_owned(),
            before: self.words,
            lead,
            who: self.who,
        }
    }

    /// A flag that is being typed, or its value when that has begun.
    fn flag_at_end(&self, word: &str) -> (Wanted, String) {
        if let Some((name, _)) = word.split_once('=')
            && word.starts_with("--")
        {
            let wanted = self.flag_of(word).0.map(|flag| self.value_of(flag));
            return (wanted.unwrap_or(Wanted::Nothing), format!("{name}="));
        }
        if let (Some(flag), Some(value)) = self.flag_of(word)
            && !word.starts_with("--")
        {
            let lead = word[..word.len() - value.len()].to_owned();
            return (self.value_of(flag), lead);
        }
        let flags = self.command.get_arguments();
        let flags = flags.filter(|flag| !flag.is_hide_set());
        let longs = flags.filter_map(|flag| {
            Some((
                format!("--{}", flag.get_long()?),
                first_line(flag.get_help()),
            ))
        });
        (Wanted::Words(longs.collect()), String::new())
    }

    /// The value of a flag.
    fn value_of(&self, flag: &Arg) -> Wanted {
        let named = self.named(flag);
        match (choices(flag), flag.get_value_delimiter()) {
            (Some(choices), Some(',')) => Wanted::List(choices),
            (Some(choices), _) => Wanted::Words(choices),
            (None, _) => named,
        }
    }

    /// A word that is no flag.
    fn plain(&self) -> Wanted {
        let verbs = verbs(self.command);
        if !verbs.is_empty() && self.words.is_empty() {
            return Wanted::Words(verbs);
        }
        let mut positionals: Vec<&Arg> = self.command.get_positionals().collect();
        positionals.sort_by_key(|arg| arg.get_index());
        let is_last = |arg: &&&Arg| matches!(arg.get_action(), ArgAction::Append);
        let found = positionals.get(self.words.len());
        match found.or_else(|| positionals.last().filter(is_last)) {
            Some(arg) => self.value_of(arg),
            None => Wanted::Nothing,
        }
    }

    /// What a value is by the name that help gives it.
    fn named(&self, arg: &Arg) -> Wanted {
        let names = arg.get_value_names().unwrap_or_default();
        match names.first().map_or("", |name| name.as_str()) {
            "SEL" | "HOST" => Wanted::Hosts,
            "EXPR" => Wanted::Labels,
            "HOST LABEL" if self.words.iter().any(|word| is_label(word)) => Wanted::Labels,
            "HOST LABEL" => Wanted::Hosts,
            "PROGRAM" => Wanted::Processes,
            "SIGNAL PROGRAM" if self.words.is_empty() => Wanted::Words(plain_words(&SIGNALS)),
            "SIGNAL PROGRAM" => Wanted::Processes,
            "GROUP" => Wanted::Groups,
            "OPERATION" => Wanted::Operations,
            "CONTEXT" | "NAME|FILE" => Wanted::Contexts,
            "VERB" => Wanted::Words(self.explained()),
            "STATE" => Wanted::List(plain_words(&STATES)),
            "TYPE" => Wanted::List(plain_words(&[&KINDS[..], &STATES].concat())),
            "FILE" | "DIR" => Wanted::Files,
            _ => Wanted::Nothing,
        }
    }

    /// Verbs below those that were typed, for `help`.
    fn explained(&self) -> Vec<(String, String)> {
        let mut at = Some(self.root);
        for word in &self.words {
            at = at.and_then(|command| command.find_subcommand(word));
        }
        at.map(verbs).unwrap_or_default()
    }
}

/// Signals that programs are sent.
const SIGNALS: [&str; 8] = [
    "HUP", "INT", "KILL", "QUIT", "TERM", "USR1", "USR2", "WINCH",
];

/// States of processes, as flags take them.
const STATES: [&str; 8] = [
    "stopped", "starting", "running", "backoff", "stopping", "exited", "fatal", "unknown",
];

/// What events are about.
const KINDS: [&str; 3] = ["process", "host", "operation"];

fn plain_words(words: &[&str]) -> Vec<(String, String)> {
    let words = words.iter().map(|word| ((*word).to_owned(), String::new()));
    words.collect()
}

/// Whether a word sets a label or takes one away.
fn is_label(word: &str) -> bool {
    word.contains('=') || (word.ends_with('-') && word != "-")
}

fn takes_value(flag: &Arg) -> bool {
    flag.get_action().takes_values()
}

fn verbs(command: &Command) -> Vec<(String, String)> {
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    let verbs = verbs.map(|verb| (verb.get_name().to_owned(), first_line(verb.get_about())));
    verbs.collect()
}

fn choices(arg: &Arg) -> Option<Vec<(String, String)>> {
    let values = arg.get_possible_values();
    if !takes_value(arg) || values.is_empty() {
        return None;
    }
    let values = values.iter().filter(|value| !value.is_hide_set());
    let values = values.map(|value| (value.get_name().to_owned(), first_line(value.get_help())));
    Some(values.collect())
}

fn first_line(help: Option<&clap::builder::StyledStr>) -> String {
    let help = help.map(ToString::to_string).unwrap_or_default();
    help.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: &str) -> Place {
        Place::at_end_of(line, &Arguments::grammar())
    }

    fn has(wanted: &Wanted, word: &str) -> bool {
        match wanted {
            Wanted::Words(words) | Wanted::List(words) => {
                words.iter().any(|(known, _)| known == word)
            }
            _ => false,
        }
    }

    #[test]
    fn what_is_wanted_follows_from_the_words_before() {
        for (line, wanted) in [
            ("rsv restart ", Wanted::Processes),
            ("rsv restart a b", Wanted::Processes),
            ("rsv -H web01 restart ", Wanted::Processes),
            ("rsv restart -H ", Wanted::Hosts),
            ("rsv -Hwe", Wanted::Hosts),
            ("rsv -qH we", Wanted::Hosts),
            ("rsv --host=we", Wanted::Hosts),
            ("rsv host ls ", Wanted::Hosts),
            ("rsv host show web01 ", Wanted::Hosts),
            ("rsv host drain --reason x we", Wanted::Hosts),
            ("rsv host resume ", Wanted::Hosts),
            ("rsv host revoke --reason x we", Wanted::Hosts),
            ("rsv host rm web01 we", Wanted::Hosts),
            ("rsv host label web01 we", Wanted::Hosts),
            ("rsv host label web01 role=web d", Wanted::Labels),
            ("rsv host label web01 canary- d", Wanted::Labels),
            ("rsv --controller ", Wanted::Nothing),
            ("rsv -l ", Wanted::Labels),
            ("rsv update ", Wanted::Groups),
            ("rsv signal HUP ", Wanted::Processes),
            ("rsv op show ", Wanted::Operations),
            ("rsv op show x ", Wanted::Nothing),
            ("rsv ctx use ", Wanted::Contexts),
            ("rsv --context ", Wanted::Contexts),
            ("rsv ctx import ", Wanted::Files),
            ("rsv -c ", Wanted::Files),
            ("rsv --timeout ", Wanted::Nothing),
            ("rsv token create --label ", Wanted::Nothing),
            ("rsv tail -f ", Wanted::Processes),
            ("rsv status -- ", Wanted::Processes),
        ] {
            assert_eq!(place(line).wanted, wanted, "{line}");
        }
    }

    #[test]
    fn words_of_the_grammar_are_offered_where_they_may_stand() {
        for (line, word) in [
            ("rsv ", "restart"),
            ("rsv -A st", "status"),
            ("rsv op ", "retry"),
            ("rsv help ", "token"),
            ("rsv help token ", "create"),
            ("rsv wait --for ", "running"),
            ("rsv events --type host,", "fatal"),
            ("rsv signal ", "HUP"),
            ("rsv completion ", "fish"),
            ("rsv -", "--all-hosts"),
            ("rsv restart --", "--batch"),
            ("rsv -o ", "json"),
            ("rsv status --state ", "fatal"),
            // Its value has not begun.
            ("rsv -H", "--host"),
        ] {
            assert!(
                has(&place(line).wanted, word),
                "{line}: {:?}",
                place(line).wanted
            );
        }
        assert!(!has(&place("rsv --").wanted, "--interactive"));
    }

    #[test]
    fn a_value_may_stand_behind_its_flag_in_one_word() {
        let found = place("rsv --host=web01,w");
        assert_eq!(
            (found.lead.as_str(), found.word.as_str()),
            ("--host=", "web01,w")
        );
        let found = place("rsv -qHw");
        assert_eq!((found.lead.as_str(), found.word.as_str()), ("-qH", "w"));
    }

    #[test]
    fn the_flags_that_say_who_is_asked_are_kept() {
        let global = place("rsv -H web01 --context x restart -l a=b -q ap").global();
        let global = global.expect("a scope");
        assert_eq!(global.host, ["web01"]);
        assert_eq!(global.label, ["a=b"]);
        assert_eq!(global.context.as_deref(), Some("x"));
        let global = place("rsv -A -c f --limit 3 status ")
            .global()
            .expect("a scope");
        assert!(global.all_hosts && global.configuration.is_some());
        let tail = place("rsv -A tail --exclude RE -x web03 ").global();
        assert_eq!(tail.expect("a scope").exclude, ["web03"]);
    }

    #[test]
    fn a_flag_that_waits_for_its_value_is_no_scope() {
        let place = place("rsv -A --context ");
        assert_eq!(place.wanted, Wanted::Contexts);
        assert!(place.global().is_some_and(|global| global.all_hosts));
    }
}
