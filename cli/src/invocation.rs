//! What a command has to work with: the flags, where it may write, and how it reaches a server.

use std::time::Duration;

use rsv_proto::{
    dial::dial_within,
    limits::CONNECT_TIMEOUT,
    select::{HostSelector, LabelExpression},
    time::duration_to_wire,
    tls::client_config,
    wire::{HostLimit, HostSelection},
};

use crate::{
    args::Global,
    client::{Server, Trial},
    context,
    error::{Exit, Failure},
    local::{self, Unconnected},
    ui::Ui,
};

/// One run.
pub(crate) struct Invocation {
    /// The flags.
    pub(crate) global: Global,
    /// Where it writes.
    pub(crate) ui: Ui,
    /// What is to be said when the run is interrupted now.
    pub(crate) on_interrupt: Option<String>,
    /// What is printed when an interrupt is the way to end the verb, and no failure.
    pub(crate) left_by_interrupt: Option<&'static str>,
    /// The operation of the fleet that is being followed: an interrupt asks what is to become of it.
    pub(crate) operation: Option<String>,
}

/// What a verb reaches.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scope {
    /// The agent of this machine.
    Local,
    /// Hosts of the fleet.
    Fleet(HostSelection),
}

impl Invocation {
    /// A run with these flags.
    pub(crate) fn new(global: Global) -> Self {
        Self {
            ui: Ui::new(&global),
            global,
            on_interrupt: None,
            left_by_interrupt: None,
            operation: None,
        }
    }

    /// Settles once what the flags leave to the run: host names from standard input, and by which lots
    /// hosts are drawn.
    pub(crate) fn choose_hosts(&mut self) -> Result<(), Failure> {
        let taken = self.global.take_hosts_from(std::io::stdin().lock());
        taken.map_err(|error| {
            Failure::usage("cannot read hosts from standard input")
                .because(&error)
                .hint(
                    "`--host -` reads names and selectors, such as those of `rsv host ls -o name`",
                )
        })?;
        if self.global.choose_seed()
            && let Some(seed) = &self.global.seed
        {
            self.ui.note(&format!("drawn with --seed {seed}"));
        }
        Ok(())
    }

    /// The scope that the flags say; a fleet is only ever meant when it is typed. What the flags ask of
    /// it has to hold for this machine, too: it is one host, and an action on it is waited for.
    pub(crate) fn scope(&self) -> Result<Scope, Failure> {
        let scope = scope_of(&self.global)?;
        match scope {
            Scope::Local => fits_this_machine(&self.global).map(|()| scope),
            Scope::Fleet(_) => Ok(scope),
        }
    }

    /// The hosts that the flags say, every host when they say none: for what is about hosts
    /// anyway.
    pub(crate) fn hosts(&self) -> Result<HostSelection, Failure> {
        match scope_of(&self.global)? {
            Scope::Fleet(hosts) => Ok(hosts),
            Scope::Local => Ok(HostSelection {
                all: true,
                ..Default::default()
            }),
        }
    }

    /// The agent of this machine.
    pub(crate) async fn agent(&self) -> Result<local::Agent, Unconnected> {
        local::connect(&self.global).await
    }

    /// A controller of the fleet: the first of the context's that answers.
    pub(crate) async fn controller(&mut self) -> Result<Server, Failure> {
        let context = context::chosen(&self.global, &mut self.ui)?;
        let config = client_config(&context.credentials).map_err(|error| {
            Failure::usage(format!("context `{}` cannot be used", context.name)).because(&error)
        })?;
        let addresses = match &self.global.controller {
            Some(address) => vec![address.clone()],
            None => context.controllers,
        };
        let mut first = None;
        let limit = self.global.timeout.unwrap_or(CONNECT_TIMEOUT);
        for address in &addresses {
            match dial_within(address, config.clone(), limit).await {
                Ok(channel) => {
                    let name = format!("controller `{address}`");
                    self.ui
                        .detail(&format!("{name}, context `{}`", context.name));
                    let server = Server::new(name, channel, self.global.timeout);
                    let ours = context.credentials.chain.first().cloned();
                    return Ok(server.with_trial(Trial::new(address, config, ours)));
                }
                Err(error) => {
                    let failure = Failure::from(&error);
                    self.ui.detail(&failure.to_string());
                    first.get_or_insert(failure);
                }
            }
        }
        let first = first.unwrap_or_else(|| {
            Failure::usage(format!("context `{}` names no controller", context.name))
        });
        Err(match addresses.len() {
            0 | 1 => first,
            n => Failure {
                message: Some(format!("none of {n} controllers answers")),
                causes: vec![first.to_string()],
                ..first
            },
        })
    }

    /// `--deadline` for the wire.
    pub(crate) fn deadline(&self) -> Option<prost_types::Duration> {
        self.global.deadline.map(duration_to_wire)
    }

    /// `--timeout` for the wire.
    pub(crate) fn timeout(&self) -> Option<prost_types::Duration> {
        self.global.timeout.map(duration_to_wire)
    }
}

/// How long a run waits for the end of an operation after the server should have ended it: enough
/// for a busy controller, short enough for a person.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

fn fits_this_machine(global: &Global) -> Result<(), Failure> {
    const FLEET: &str = "add --host, --label or --all-hosts";
    if let Some(expected) = global.expect.filter(|expected| *expected != 1) {
        let text =
            format!("1 host is selected, this machine, and not {expected}: nothing was done");
        return Err(Failure::new(Exit::Precondition, text).hint(FLEET));
    }
    match global.detach {
        true => Err(
            Failure::usage("`--detach` is for many hosts, and this machine is meant").hint(FLEET),
        ),
        false => Ok(()),
    }
}

fn scope_of(global: &Global) -> Result<Scope, Failure> {
    let is_fleet = !global.host.is_empty() || !global.label.is_empty() || global.all_hosts;
    if !is_fleet {
        let narrowing = [
            (
                !global.exclude.is_empty(),
                "--exclude",
                "leaves hosts out of",
            ),
            (global.limit.is_some(), "--limit", "draws hosts from"),
        ];
        return match narrowing.iter().find(|(is_there, ..)| *is_there) {
            Some((_, flag, what)) => Err(Failure::usage(format!("`{flag}` {what} a selection"))
                .hint("add --host, --label or --all-hosts")),
            None => Ok(Scope::Local),
        };
    }
    if global.serverurl.is_some() {
        return Err(Failure::usage(
            "`--serverurl` is this machine's agent, and hosts are asked for",
        )
        .hint("leave one of them out"));
    }
    for selector in global.host.iter().chain(&global.exclude) {
        if let Err(error) = selector.parse::<HostSelector>() {
            return Err(Failure::usage(error.to_string()).hint(
                "hosts are globs 'web*', sets 'web[01-20,33]', @GROUP, @state:STATE or @op:ID:OUTCOME, \
                 joined by `,` (or), `!` (without) and `&` (and)",
            ));
        }
    }
    for expression in &global.label {
        if let Err(error) = expression.parse::<LabelExpression>() {
            return Err(Failure::usage(error.to_string())
                .hint("labels are narrowed by 'role=web,dc!=fra', 'canary' or '!canary'"));
        }
    }
    Ok(Scope::Fleet(HostSelection {
        include: global.host.clone(),
        exclude: global.exclude.clone(),
        all: global.all_hosts,
        labels: global.label.clone(),
        limit: global.limit.map(|limit| HostLimit {
            size: Some(limit.0),
            seed: global.seed.clone().unwrap_or_default(),
        }),
    }))
}

/// The failure of a selection without hosts.
pub(crate) fn no_hosts(selection: &HostSelection) -> Failure {
    let is_narrowed = !selection.exclude.is_empty() || !selection.labels.is_empty();
    let what = match (selection.all || selection.include.is_empty(), is_narrowed) {
        (true, false) => "no host is enrolled".to_owned(),
        (true, true) => "every enrolled host is left out".to_owned(),
        (false, _) => format!(
            "no enrolled host is named `{}`",
            selection.include.join(",")
        ),
    };
    Failure::new(Exit::NoTarget, what).hint("`rsv host ls` lists the enrolled hosts")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Arguments;

    fn scope(line: &str) -> Result<Scope, Failure> {
        let arguments = Arguments::read(line.split(' ')).unwrap();
        scope_of(&arguments.global)
    }

    #[test]
    fn a_fleet_is_meant_only_when_it_is_typed() {
        assert_eq!(scope("rsv status").unwrap(), Scope::Local);
        assert_eq!(scope("rsv --context x status").unwrap(), Scope::Local);
        let Scope::Fleet(hosts) = scope("rsv -H web* status -H db1 -x web2").unwrap() else {
            panic!("local");
        };
        assert_eq!(hosts.include, ["web*", "db1"]);
        assert_eq!(hosts.exclude, ["web2"]);
        assert!(!hosts.all);
        let Scope::Fleet(hosts) = scope("rsv -l role=web status -l dc=fra --limit 10%").unwrap()
        else {
            panic!("local");
        };
        assert_eq!(hosts.labels, ["role=web", "dc=fra"]);
        assert!(hosts.limit.is_some());
    }

    #[test]
    fn this_machine_is_one_host_that_is_waited_for() {
        let exit = |line: &str| {
            let arguments = Arguments::read(line.split(' ')).unwrap();
            let checked = fits_this_machine(&arguments.global);
            checked.err().map(|failure| failure.exit)
        };
        assert_eq!(exit("rsv --expect 1 stop app"), None);
        for expected in ["0", "3"] {
            let line = format!("rsv --expect {expected} stop app");
            assert_eq!(exit(&line), Some(Exit::Precondition), "{line}");
        }
        assert_eq!(exit("rsv --detach stop app"), Some(Exit::Usage));
    }

    #[test]
    fn scopes_that_mean_nothing_are_refused() {
        for line in [
            "rsv -x web1 status",
            "rsv -H web[1 status",
            "rsv -H a,,b status",
            "rsv -H @state:up status",
            "rsv -l =x status",
            "rsv --limit 3 status",
            "rsv -A -s unix:///x status",
        ] {
            let failure = scope(line).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{line}");
            assert!(failure.hint.is_some(), "{line}");
        }
    }
}
