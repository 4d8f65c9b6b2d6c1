//! What PROGRAMs come to once hosts and groups are known: whether `web1:app` is of a host or of a group.
//! Pure.
//!
//! Nothing is guessed: what means something in both ways is refused, and so is what can mean nothing in
//! either.

use std::collections::{BTreeSet, HashSet};

use rsv_proto::{
    name::HostName,
    select::{OnHosts, PatternError, ProgramOperand, ProgramPattern, Settled, matches_glob},
};

use crate::host::Programs;

/// The most names of hosts that are looked for.
const MAX_NAMES: u64 = 100_000;

/// What PROGRAMs are patterns of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of processes, as Supervisor names them.
    Processes,
    /// Of groups, whose names have no colon.
    Groups,
}

/// Why a PROGRAM means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperandError {
    /// A pattern of hosts that is not one.
    #[error("in `{0}`: {1}")]
    Pattern(String, PatternError),
    /// Too many names.
    #[error("{0} names of hosts stand before programs, {MAX_NAMES} are accepted")]
    TooMany(u64),
    /// Both a host and a group.
    #[error(
        "`{host}:{program}` can be of host `{host}` and of group `{host}`: write `{host}::{program}` for \
         the host, `*:{host}:{program}` for the group"
    )]
    Open {
        /// What stands before the colon.
        host: String,
        /// What stands behind it.
        program: String,
    },
    /// Neither a host nor a group.
    #[error("`{0}`: neither a selected host nor a group there is called `{1}`")]
    Neither(String, String),
    /// A host, and none that is selected.
    #[error("`{0}`: no selected host is called `{1}`")]
    NotSelected(String, String),
}

/// Settles PROGRAMs on the hosts that are selected, with their programs; absent: those are not known.
pub fn settle<'a>(
    texts: &[String],
    kind: Kind,
    hosts: impl Iterator<Item = (&'a HostName, Option<&'a Programs>)>,
) -> Result<Vec<Settled>, OperandError> {
    if !texts.iter().any(|text| text.contains(':')) {
        return Ok(texts.iter().map(|text| Settled::everywhere(text)).collect());
    }
    let names = texts.iter().filter_map(|text| {
        let operand: ProgramOperand = text.parse().ok()?;
        operand.hosts()?.hosts.count()
    });
    let names = names.fold(0, u64::saturating_add);
    if names > MAX_NAMES {
        return Err(OperandError::TooMany(names));
    }
    let ground = Ground::new(hosts);
    let settled = texts.iter().map(|text| ground.settle_one(text, kind));
    settled.collect()
}

/// Whether some of them mean something on a host.
pub fn concern(settled: &[Settled], host: &HostName) -> bool {
    settled
        .iter()
        .any(|one| one.on_host(host.as_str()).is_some())
}

/// Reads texts that were settled and printed.
pub fn read(texts: &[String]) -> Vec<Settled> {
    texts.iter().map(|text| Settled::read(text)).collect()
}

/// Those that mean something on a host, as patterns that say nothing of hosts.
pub fn on_host(settled: &[Settled], host: &HostName) -> Vec<String> {
    let means = |one: &&Settled| one.on_host(host.as_str()).is_some();
    let own = settled.iter().filter(means);
    own.map(|one| one.program().to_owned()).collect()
}

/// What names there are.
#[derive(Debug, Default)]
struct Ground<'a> {
    hosts: HashSet<&'a str>,
    processes: BTreeSet<(&'a str, &'a str)>,
    /// Of some host it is not known what it has.
    is_partly_unknown: bool,
}

impl<'a> Ground<'a> {
    fn new(hosts: impl Iterator<Item = (&'a HostName, Option<&'a Programs>)>) -> Self {
        let mut ground = Self::default();
        for (host, programs) in hosts {
            ground.hosts.insert(host.as_str());
            ground.is_partly_unknown |= programs.is_none();
            let names = programs.into_iter().flat_map(|programs| programs.keys());
            let names = names.map(|(group, name)| (group.as_str(), name.as_str()));
            ground.processes.extend(names);
        }
        ground
    }

    fn settle_one(&self, text: &str, kind: Kind) -> Result<Settled, OperandError> {
        let operand = text.parse();
        let operand = operand.map_err(|error| OperandError::Pattern(text.to_owned(), error))?;
        match (operand, kind) {
            (ProgramOperand::Everywhere(_), _) => Ok(Settled::everywhere(text)),
            (ProgramOperand::On(on), _) => self.on_hosts(text, on),
            (ProgramOperand::Either(on), Kind::Groups) => self.on_hosts(text, on),
            (ProgramOperand::Either(on), Kind::Processes) => self.either(text, on),
        }
    }

    fn either(&self, text: &str, on: OnHosts) -> Result<Settled, OperandError> {
        if self.has_host(&on) {
            return match self.has_process(text) {
                true => Err(OperandError::Open {
                    host: on.typed,
                    program: on.program,
                }),
                false => self.on_hosts(text, on),
            };
        }
        // What is not known may have the group.
        match self.is_partly_unknown || self.has_group(&on.typed) {
            true => Ok(Settled::everywhere(text)),
            false => Err(OperandError::Neither(text.to_owned(), on.typed)),
        }
    }

    /// Every name that is said in full has to be there: what was typed is not done in part.
    fn on_hosts(&self, text: &str, on: OnHosts) -> Result<Settled, OperandError> {
        let missing = match on.hosts.literal_names() {
            Some(names) => names.into_iter().find(|name| {
                let name = name.to_ascii_lowercase();
                !self.hosts.contains(name.as_str())
            }),
            None => (!self.has_host(&on)).then(|| on.typed.clone()),
        };
        match missing {
            Some(name) => Err(OperandError::NotSelected(text.to_owned(), name)),
            None => Ok(Settled::on(on)),
        }
    }

    fn has_host(&self, on: &OnHosts) -> bool {
        self.hosts.iter().any(|host| on.hosts.matches(host))
    }

    fn has_process(&self, text: &str) -> bool {
        let pattern = ProgramPattern::parse(text);
        let mut processes = self.processes.iter();
        processes.any(|(group, name)| pattern.matches(group, name))
    }

    fn has_group(&self, text: &str) -> bool {
        let mut processes = self.processes.iter();
        processes.any(|(group, _)| matches_glob(text, group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Host = (&'static str, Option<&'static [&'static str]>);

    /// On hosts with their processes, as `group:name`.
    fn settled(text: &str, kind: Kind, hosts: &[Host]) -> Result<String, String> {
        let key = |name: &&str| {
            let (group, name) = name.split_once(':').unwrap_or((name, name));
            ((group.to_owned(), name.to_owned()), Default::default())
        };
        let known: Vec<(HostName, Option<Programs>)> = hosts
            .iter()
            .map(|(host, programs)| {
                let programs = programs.map(|names| names.iter().map(key).collect());
                (host.parse().unwrap(), programs)
            })
            .collect();
        let ground = Ground::new(known.iter().map(|(host, p)| (host, p.as_ref())));
        let one = ground.settle_one(text, kind);
        one.map(|one| one.to_string())
            .map_err(|error| error.to_string())
    }

    const FLEET: [Host; 4] = [
        ("web1", Some(&["app", "web:a"])),
        ("web2", Some(&["app", "db1:x"])),
        ("db1", Some(&["pg"])),
        ("web", Some(&["app"])),
    ];

    #[test]
    fn names_tell_hosts_from_groups() {
        for (text, expected) in [
            ("app", "app"),
            ("web1:app", "web1::app"),
            ("WEB1:app", "WEB1::app"),
            ("db1:pg", "db1::pg"),
            ("db*:pg", "db*::pg"),
            ("web*:app", "web*::app"),
            ("web[1-2]:app", "web[1-2]::app"),
            ("w*1:*", "w*1::*"),
            // The group has no such process, the host may have it.
            ("web:x", "web::x"),
            ("web:a", "open"),
            ("web:*", "open"),
            ("web::a", "web::a"),
            ("*:web:a", "*::web:a"),
            ("db1:x", "open"),
            ("web2:db1:x", "web2::db1:x"),
            ("app:app", "app:app"),
            ("app:x", "app:x"),
        ] {
            let found = settled(text, Kind::Processes, &FLEET);
            let found = found.unwrap_or_else(|error| {
                assert!(error.contains("for the group"), "{text}: {error}");
                "open".to_owned()
            });
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn what_has_no_host_and_no_group_is_refused_unless_it_may_be_a_group() {
        let unknown: [Host; 2] = [("web1", Some(&["app"])), ("web2", None)];
        assert_eq!(
            settled("x:app", Kind::Processes, &unknown),
            Ok("x:app".into())
        );
        assert_eq!(
            settled("web9:app", Kind::Processes, &FLEET),
            Err("`web9:app`: neither a selected host nor a group there is called `web9`".into())
        );
        for (text, name) in [
            ("web9::app", "web9"),
            ("web[1-3]:app", "web3"),
            ("x*:g:a", "x*"),
        ] {
            let expected = format!("`{text}`: no selected host is called `{name}`");
            assert_eq!(settled(text, Kind::Processes, &FLEET), Err(expected));
        }
        let error = settled("a[::app", Kind::Processes, &FLEET).unwrap_err();
        assert!(error.starts_with("in `a[::app`: unbalanced"), "{error}");
    }

    #[test]
    fn sets_of_more_names_than_are_looked_for_are_refused_at_once() {
        let hosts: HostName = "web1".parse().unwrap();
        let texts = ["app", "w[1-99999],x[1-9][1-99999]:app", "y*::app"].map(str::to_owned);
        let settled = settle(&texts, Kind::Processes, [(&hosts, None)].into_iter());
        assert_eq!(settled, Err(OperandError::TooMany(999_990)));
    }

    #[test]
    fn a_group_has_no_colon_so_that_one_in_front_of_it_is_a_hosts() {
        assert_eq!(
            settled("db1:web", Kind::Groups, &FLEET),
            Ok("db1::web".into())
        );
        assert_eq!(settled("web:a", Kind::Groups, &FLEET), Ok("web::a".into()));
        assert!(settled("web9:a", Kind::Groups, &FLEET).is_err());
    }

    #[test]
    fn each_host_gets_its_own_alone() {
        let settled = read(&["app", "web1::side", "db*::pg"].map(str::to_owned));
        let of = |host: &str| on_host(&settled, &host.parse().unwrap()).join(" ");
        assert_eq!(of("web1"), "app side");
        assert_eq!(of("db7"), "app pg");
        assert_eq!(of("cache1"), "app");
        let settled = &settled[1..];
        assert!(concern(settled, &"web1".parse().unwrap()));
        assert!(!concern(settled, &"cache1".parse().unwrap()));
    }
}
