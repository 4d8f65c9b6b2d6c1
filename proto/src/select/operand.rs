//! What stands for PROGRAM where there are many hosts: a pattern of programs, perhaps of some hosts alone.
//!
//! `web1:app` may be the program `app` of the host `web1`, or the process `app` of a group `web1` on every
//! host. Names tell the two apart, so that only who knows hosts and groups can: [`Settled`] is what it has
//! come to, and is printed so that it is read without that knowledge. `HOST::PROGRAM` and
//! `HOST:GROUP:NAME` mean a host whoever reads them: no name of a group or a process has a colon.

use std::{fmt, str::FromStr};

use super::{HostPattern, PatternError, ProgramPattern};

/// One PROGRAM as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramOperand {
    /// Of every host that is selected.
    Everywhere(String),
    /// Of these hosts: `HOST::PROGRAM` or `HOST:GROUP:NAME`.
    On(OnHosts),
    /// `NAME:PROGRAM`: of these hosts, or of a group on every one.
    Either(OnHosts),
}

/// A pattern of programs of some hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnHosts {
    /// Which hosts, as they were typed.
    pub typed: String,
    /// The same, read.
    pub hosts: HostPattern,
    /// What [`ProgramPattern`] reads.
    pub program: String,
}

impl ProgramOperand {
    /// The pattern of programs, should hosts be meant where that is open.
    pub fn program(&self) -> &str {
        match self {
            Self::Everywhere(program) => program,
            Self::On(on) | Self::Either(on) => &on.program,
        }
    }

    /// The hosts that it may be confined to.
    pub fn hosts(&self) -> Option<&OnHosts> {
        match self {
            Self::Everywhere(_) => None,
            Self::On(on) | Self::Either(on) => Some(on),
        }
    }
}

impl FromStr for ProgramOperand {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let everywhere = || Ok(Self::Everywhere(text.to_owned()));
        let Some((typed, rest)) = text.split_once(':') else {
            return everywhere();
        };
        let program = rest.strip_prefix(':').unwrap_or(rest);
        if typed.is_empty() || program.is_empty() {
            return everywhere();
        }
        let on = |hosts| OnHosts {
            typed: typed.to_owned(),
            hosts,
            program: program.to_owned(),
        };
        if rest.contains(':') {
            return Ok(Self::On(on(typed.parse()?)));
        }
        // On every host is what it means without a host.
        match typed.parse() {
            Ok(hosts) if typed != "*" => Ok(Self::Either(on(hosts))),
            _ => everywhere(),
        }
    }
}

impl fmt::Display for ProgramOperand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everywhere(program) => f.write_str(program),
            Self::On(on) => on.fmt(f),
            Self::Either(on) => write!(f, "{}:{}", on.typed, on.program),
        }
    }
}

impl fmt::Display for OnHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.typed, self.program)
    }
}

/// The PROGRAM that means what is shown as this of one host, whatever hosts and groups there are.
pub fn exactly(shown: &str) -> String {
    match shown.contains(':') {
        true => format!("*::{shown}"),
        false => shown.to_owned(),
    }
}

/// A PROGRAM of which it is known whether it is of some hosts alone. Printed it is `HOST::PROGRAM`, or a
/// pattern of programs as Supervisor's users write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    hosts: Option<(String, HostPattern)>,
    program: String,
    pattern: ProgramPattern,
}

impl Settled {
    /// Of every host.
    pub fn everywhere(program: &str) -> Self {
        Self {
            hosts: None,
            program: program.to_owned(),
            pattern: ProgramPattern::parse(program),
        }
    }

    /// Of these hosts alone.
    pub fn on(on: OnHosts) -> Self {
        Self {
            hosts: Some((on.typed, on.hosts)),
            ..Self::everywhere(&on.program)
        }
    }

    /// Reads what was printed; every text is something.
    pub fn read(text: &str) -> Self {
        let parts = text.split_once("::");
        let named = parts.filter(|(typed, program)| !typed.contains(':') && !program.is_empty());
        let hosts = named.and_then(|(typed, _)| Some((typed.to_owned(), typed.parse().ok()?)));
        match (hosts, named) {
            (Some(hosts), Some((_, program))) => Self {
                hosts: Some(hosts),
                ..Self::everywhere(program)
            },
            _ => Self::everywhere(text),
        }
    }

    /// What it means on a host; absent: nothing.
    pub fn on_host(&self, host: &str) -> Option<&ProgramPattern> {
        let means = |(_, hosts): &(String, HostPattern)| hosts.matches(host);
        self.hosts
            .as_ref()
            .is_none_or(means)
            .then_some(&self.pattern)
    }

    /// The pattern of programs as a text that says nothing of hosts.
    pub fn program(&self) -> &str {
        &self.program
    }
}

impl fmt::Display for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hosts {
            Some((typed, _)) => write!(f, "{typed}::{}", self.program),
            None => f.write_str(&self.program),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> ProgramOperand {
        text.parse().unwrap()
    }

    #[test]
    fn colons_tell_how_far_an_operand_is_open() {
        for (text, kind, hosts, program) in [
            ("app", "everywhere", "", "app"),
            ("all", "everywhere", "", "all"),
            ("web:", "everywhere", "", "web:"),
            (":app", "everywhere", "", ":app"),
            ("*:app", "everywhere", "", "*:app"),
            ("my group:app", "either", "my group", "app"),
            ("grün:app", "everywhere", "", "grün:app"),
            ("web1:app", "either", "web1", "app"),
            ("web1:*", "either", "web1", "*"),
            ("db*:pg", "either", "db*", "pg"),
            ("web[01-20,33]:app", "either", "web[01-20,33]", "app"),
            ("web1::app", "on", "web1", "app"),
            ("web1:g:app", "on", "web1", "g:app"),
            ("web1::g:app", "on", "web1", "g:app"),
            ("web1:g:*", "on", "web1", "g:*"),
            ("*:g:app", "on", "*", "g:app"),
            ("web1::", "everywhere", "", "web1::"),
        ] {
            let operand = read(text);
            let (found, on) = match &operand {
                ProgramOperand::Everywhere(_) => ("everywhere", None),
                ProgramOperand::On(on) => ("on", Some(on)),
                ProgramOperand::Either(on) => ("either", Some(on)),
            };
            assert_eq!(found, kind, "{text}");
            assert_eq!(on.map_or("", |on| on.typed.as_str()), hosts, "{text}");
            assert_eq!(operand.program(), program, "{text}");
        }
        assert!("web[1::app".parse::<ProgramOperand>().is_err());
        assert!("a/b:g:app".parse::<ProgramOperand>().is_err());
    }

    #[test]
    fn a_settled_operand_means_something_on_its_hosts_alone() {
        let means = |text: &str, host: &str| {
            let settled = Settled::read(text);
            let pattern = settled.on_host(host);
            pattern.map(|pattern| (pattern.matches("app", "app"), pattern.matches("g", "app")))
        };
        assert_eq!(means("app", "web1"), Some((true, false)));
        assert_eq!(means("g:app", "web1"), Some((false, true)));
        assert_eq!(means("web1::app", "web1"), Some((true, false)));
        assert_eq!(means("web1::g:app", "WEB1"), Some((false, true)));
        assert_eq!(means("web1::app", "web2"), None);
        assert_eq!(means("web[1-2]::all", "web2"), Some((true, true)));
    }

    /// Texts that look like operands, right and wrong ones.
    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-c1-3*?,\\[\\]-]{0,6}(:{0,2}[a-c*?:]{0,5}){0,2}",
            "\\PC{0,20}",
        ]
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again_as_the_same(text in texts()) {
            let Ok(operand) = text.parse::<ProgramOperand>() else {
                return Ok(());
            };
            prop_assert_eq!(read(&operand.to_string()), operand);
        }

        #[test]
        fn what_is_settled_is_read_again_as_the_same(text in texts(), is_host: bool) {
            let Ok(operand) = text.parse::<ProgramOperand>() else {
                return Ok(());
            };
            let settled = match operand {
                ProgramOperand::On(on) => Settled::on(on),
                ProgramOperand::Either(on) if is_host => Settled::on(on),
                either => Settled::everywhere(&either.to_string()),
            };
            prop_assert_eq!(Settled::read(&settled.to_string()), settled);
        }

        #[test]
        fn a_host_in_front_changes_which_hosts_are_meant_and_nothing_else(
            program in "[a-c*]{1,4}(:[a-c*]{1,4})?",
            host in "web[1-3]",
            group in "[a-c]{1,2}",
            name in "[a-c]{1,2}",
        ) {
            let ProgramOperand::On(on) = read(&format!("web1::{program}")) else {
                return Err(TestCaseError::fail("a host is meant"));
            };
            let settled = Settled::on(on);
            let plain = ProgramPattern::parse(&program);
            let found = settled.on_host(&host).is_some_and(|p| p.matches(&group, &name));
            prop_assert_eq!(found, host == "web1" && plain.matches(&group, &name));
        }
    }
}
