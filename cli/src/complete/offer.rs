//! Which of the names that are there are offered at a place. Pure.
//!
//! A shell puts what is offered into its line as it is. A name that it would read as anything but a name is
//! therefore never offered, whoever has made it up.

use std::collections::{BTreeMap, BTreeSet};

use rsv_proto::{
    name::natural_order,
    select::HostPattern,
    wire::{Host, HostState, HostStatus},
};

use super::{
    grammar::{Place, Wanted},
    names::{Described, Names, processes},
};

/// The most that is offered at a time: more than anybody reads.
const MOST: usize = 1000;

/// What joins selectors of hosts.
const JOINS: [char; 3] = [',', '!', '&'];

/// Something that can stand at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    /// The whole word.
    pub(crate) value: String,
    /// What is known of it, on one line; may be empty.
    pub(crate) about: String,
}

/// What could stand at a place, of what is there.
pub(super) fn offers(place: &Place, names: &Names) -> Vec<Offer> {
    let word = place.word.as_str();
    let (kept, candidates) = match &place.wanted {
        Wanted::Nothing | Wanted::Files => return Vec::new(),
        Wanted::Words(words) => ("", words.clone()),
        Wanted::List(words) => (up_to(word, &[',']), words.clone()),
        Wanted::Hosts => selector(names, word, &place.before),
        Wanted::Labels => (up_to(word, &[',']), labels(&names.hosts)),
        Wanted::Processes => programs(names, word, &place.before),
        Wanted::Groups => ("", others(&names.groups, &place.before)),
        Wanted::Operations => ("", names.operations.clone()),
        Wanted::Contexts => ("", names.contexts.clone()),
    };
    let typed = &word[kept.len()..];
    let fitting = candidates
        .into_iter()
        .filter(|(name, _)| name.starts_with(typed) && is_plain(&without_end_of_set(name)));
    let offers = fitting.map(|(name, about)| Offer {
        value: format!("{}{kept}{name}", place.lead),
        about: about
            .chars()
            .filter(|letter| !letter.is_control())
            .collect(),
    });
    offers.take(MOST).collect()
}

/// What stands before the part that is being typed.
fn up_to<'a>(word: &'a str, joins: &[char]) -> &'a str {
    let last = word.rfind(joins).map_or(0, |join| join + 1);
    &word[..last]
}

/// What closes a set was opened by whoever types.
fn without_end_of_set(name: &str) -> String {
    name.replacen(']', "", 1)
}

/// Whether every shell takes it for a word.
fn is_plain(name: &str) -> bool {
    let plain = |letter: char| letter.is_alphanumeric() || "-_.:/@%+=,*".contains(letter);
    !name.is_empty() && name.chars().all(plain)
}

/// Programs, and `HOST:` once something has been typed; behind the colon those that the hosts have.
fn programs<'a>(names: &Names, word: &'a str, before: &[String]) -> (&'a str, Described) {
    let mut programs = others(&names.processes, before);
    let Some((typed, _)) = word.split_once(':') else {
        if !word.is_empty() {
            let hosts = names.by_host.iter();
            programs.extend(hosts.map(|host| (format!("{}:", host.host), about(host.state()))));
        }
        return ("", programs);
    };
    let pattern: Option<HostPattern> = typed.parse().ok();
    let is_meant = |host: &&HostStatus| pattern.as_ref().is_some_and(|p| p.matches(&host.host));
    let (own, _) = processes(names.by_host.iter().filter(is_meant));
    if own.is_empty() {
        return ("", programs);
    }
    let kept = &word[..=typed.len()];
    let is_new = |(name, _): &(String, String)| !before.contains(&format!("{kept}{name}"));
    // What a group of this name has stays an offer.
    let of_group = programs.iter().filter_map(|(name, about)| {
        let name = name.strip_prefix(kept)?;
        Some((name.to_owned(), about.clone()))
    });
    let mut offered: BTreeMap<String, String> = of_group.collect();
    offered.extend(own.into_iter().filter(is_new));
    (kept, offered.into_iter().collect())
}

fn about(state: HostState) -> String {
    match self::state(state) {
        "" => "a host".to_owned(),
        state => format!("a host, {state}"),
    }
}

/// Without those that are in the line already.
fn others(names: &[(String, String)], before: &[String]) -> Vec<(String, String)> {
    let names = names.iter().filter(|(name, _)| !before.contains(name));
    names.cloned().collect()
}

/// The end of a selector of hosts: a host or what selects some, or a number of a set that is open.
fn selector<'a>(names: &Names, word: &'a str, before: &[String]) -> (&'a str, Described) {
    match open_set(word) {
        Some((prefix, kept)) => (kept, members(&names.hosts, prefix, kept)),
        None => (
            up_to(word, &JOINS),
            others(&hosts(&names.hosts, word), before),
        ),
    }
}

/// Of a selector that ends within a set such as `web[01-04,0`: what stands before the set, here `web`, and
/// all up to the number that is being typed.
fn open_set(word: &str) -> Option<(&str, &str)> {
    let open = word
        .rfind('[')
        .filter(|open| !word[*open..].contains(']'))?;
    let prefix = &word[up_to(&word[..open], &JOINS).len()..open];
    let kept = up_to(word, &['[', ',', '-']);
    Some((prefix, kept))
}

/// Numbers that end an open set as names of hosts do, behind one and `-` those that are above it.
fn members(hosts: &[Host], prefix: &str, kept: &str) -> Described {
    let set = &kept[kept.rfind('[').map_or(0, |open| open + 1)..];
    let first = set
        .strip_suffix('-')
        .map(|range| up_to(range, &[',']).len());
    let first = first.map(|at| &set[at..set.len() - 1]);
    let number = |digits: &str| digits.parse::<u64>().ok();
    let is_behind = |digits: &str| {
        first.is_none_or(|first| {
            number(first).is_some_and(|first| number(digits) > Some(first))
                && digits.len() >= first.len()
        })
    };
    let members = self::hosts(hosts, "").into_iter();
    let members = members.filter_map(|(name, about)| {
        let rest = name.strip_prefix(prefix)?;
        let end = rest.find(|letter: char| !letter.is_ascii_digit());
        let (digits, suffix) = rest.split_at(end.unwrap_or(rest.len()));
        let is_member = !digits.is_empty() && is_plain(&name) && is_behind(digits);
        is_member.then(|| (format!("{digits}]{suffix}"), about))
    });
    members.collect()
}

/// Hosts by name; and by group and state once that has been begun with.
fn hosts(hosts: &[Host], word: &str) -> Vec<(String, String)> {
    let typed = &word[up_to(word, &JOINS).len()..];
    if typed.starts_with('@') {
        let groups = hosts.iter().filter_map(|host| host.labels.get("group"));
        let groups: BTreeSet<&String> = groups.collect();
        let groups = groups
            .into_iter()
            .map(|group| (format!("@{group}"), "a group".to_owned()));
        let states = ["connected", "unreachable", "draining", "never", "revoked"];
        let states = states
            .into_iter()
            .map(|state| (format!("@state:{state}"), String::new()));
        return groups.chain(states).collect();
    }
    let described = hosts
        .iter()
        .map(|host| (host.name.clone(), state(host.state()).to_owned()));
    let mut described: Vec<_> = described.collect();
    described.sort_by(|(a, _), (b, _)| natural_order(a, b));
    described
}

fn state(state: HostState) -> &'static str {
    match state {
        HostState::Connected => "connected",
        HostState::Unreachable => "unreachable",
        HostState::Draining => "draining",
        HostState::Never => "never seen",
        HostState::Revoked => "revoked",
        HostState::Unspecified => "",
    }
}

fn labels(hosts: &[Host]) -> Vec<(String, String)> {
    let labels = hosts.iter().flat_map(|host| &host.labels);
    let labels: BTreeSet<String> = labels
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    labels
        .into_iter()
        .map(|label| (label, String::new()))
        .collect()
}

#[cfg(test)]
mod tests {
    use rsv_proto::wire::ProcessStatus;

    use super::*;
    use crate::args::Arguments;

    fn offered(line: &str, names: &Names) -> Vec<String> {
        let place = Place::at_end_of(line, &Arguments::grammar());
        let offers = offers(&place, names).into_iter();
        offers.map(|offer| offer.value).collect()
    }

    fn host(name: &str, labels: &[(&str, &str)]) -> Host {
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Host {
            name: name.into(),
            labels: labels.collect(),
            ..Default::default()
        }
    }

    fn process(shown: &str) -> ProcessStatus {
        let (group, name) = shown.split_once(':').unwrap_or((shown, shown));
        ProcessStatus {
            group: group.into(),
            name: name.into(),
            ..Default::default()
        }
    }

    fn described(names: &[&str]) -> Vec<(String, String)> {
        let names = names.iter().map(|name| ((*name).to_owned(), String::new()));
        names.collect()
    }

    #[test]
    fn a_selector_is_completed_at_its_end() {
        let names = Names {
            hosts: vec![
                host("web10", &[("group", "web"), ("dc", "fra")]),
                host("web2", &[("group", "web")]),
                host("db1", &[("group", "db")]),
            ],
            ..Names::default()
        };
        for (line, expected) in [
            ("rsv -H ", &["db1", "web2", "web10"][..]),
            ("rsv -H w", &["web2", "web10"]),
            ("rsv -H web2,d", &["web2,db1"]),
            ("rsv -H 'web*!w", &["web*!web2", "web*!web10"]),
            ("rsv --host=d", &["--host=db1"]),
            ("rsv -H @w", &["@web"]),
            ("rsv -H 'web*&@state:c", &["web*&@state:connected"]),
            ("rsv -H x", &[]),
            ("rsv -l ", &["dc=fra", "group=db", "group=web"]),
            ("rsv -l dc=fra,group=w", &["dc=fra,group=web"]),
        ] {
            assert_eq!(offered(line, &names), expected, "{line}");
        }
    }

    #[test]
    fn an_open_set_is_completed_by_numbers_that_there_are() {
        let hosts = [
            "web01", "web02", "web10", "web", "db1.fra", "db2.fra", "web03;x",
        ];
        let names = Names {
            hosts: hosts.map(|name| host(name, &[])).into(),
            ..Names::default()
        };
        for (line, expected) in [
            ("rsv -H web[", &["web[01]", "web[02]", "web[10]"][..]),
            ("rsv -H 'web[01-", &["web[01-02]", "web[01-10]"]),
            ("rsv -H web[02-1", &["web[02-10]"]),
            ("rsv -H web[10-", &[]),
            ("rsv -H web[01,0", &["web[01,01]", "web[01,02]"]),
            ("rsv -H 'db1.fra,web[01-02,1", &["db1.fra,web[01-02,10]"]),
            ("rsv host drain db[1-", &["db[1-2].fra"]),
            ("rsv -H web[01],d", &["web[01],db1.fra", "web[01],db2.fra"]),
            ("rsv -H x[", &[]),
            ("rsv -H web[-", &[]),
        ] {
            assert_eq!(offered(line, &names), expected, "{line}");
        }
    }

    #[test]
    fn a_host_is_not_offered_twice() {
        let names = Names {
            hosts: ["web01", "web02"].map(|name| host(name, &[])).into(),
            ..Names::default()
        };
        assert_eq!(offered("rsv host drain web01 ", &names), ["web02"]);
    }

    #[test]
    fn a_program_is_not_offered_twice() {
        let names = Names {
            processes: described(&["app", "side", "web:*"]),
            ..Names::default()
        };
        assert_eq!(offered("rsv start ", &names), ["app", "side", "web:*"]);
        assert_eq!(offered("rsv start app ", &names), ["side", "web:*"]);
    }

    #[test]
    fn hosts_stand_before_a_colon_and_what_they_have_behind_it() {
        let on = |name: &str, processes: &[&str]| HostStatus {
            host: name.into(),
            programs: processes.iter().map(|name| process(name)).collect(),
            ..Default::default()
        };
        let names = Names {
            processes: described(&["app", "pg", "web:*", "web:a"]),
            by_host: vec![
                on("web1", &["app", "web:a"]),
                on("web2", &["app"]),
                on("db1", &["pg", "x;y"]),
            ],
            ..Names::default()
        };
        for (line, expected) in [
            ("rsv -A start ", &["app", "pg", "web:*", "web:a"][..]),
            ("rsv -A start w", &["web:*", "web:a", "web1:", "web2:"]),
            ("rsv -A start web:", &["web:*", "web:a"]),
            (
                "rsv -A start web1:",
                &["web1:app", "web1:web:*", "web1:web:a"],
            ),
            ("rsv -A start web1:web:a", &["web1:web:a"]),
            ("rsv -A start db1:", &["db1:pg"]),
            ("rsv -A start 'web*:a", &["web*:app"]),
            ("rsv -A start 'web[1-2]:a", &["web[1-2]:app"]),
            ("rsv -A start web2:app web2:", &[]),
            ("rsv -A start x9:", &[]),
        ] {
            assert_eq!(offered(line, &names), expected, "{line}");
        }
    }

    #[test]
    fn what_a_shell_would_run_is_never_offered() {
        let names = Names {
            processes: described(&["a$(reboot)", "a;b", "a b", "a`x`", "a\nb", "a'", "", "ok"]),
            ..Names::default()
        };
        assert_eq!(offered("rsv start ", &names), ["ok"]);
    }

    #[test]
    fn many_names_are_cut_off() {
        let many: Vec<_> = (0..5000)
            .map(|n| (format!("p{n}"), String::new()))
            .collect();
        let names = Names {
            processes: many,
            ..Names::default()
        };
        assert_eq!(offered("rsv start ", &names).len(), MOST);
    }
}
