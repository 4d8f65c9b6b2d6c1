//! `host ls` and `host show`: the hosts of the fleet.

use std::{collections::BTreeMap, time::SystemTime};

use rsv_proto::{
    process::hold_words,
    time::{age, duration_from_wire, from_wire},
    wire::{Host, HostState, ListHostsResponse},
};

use super::{as_expected, status::tell_of_not_enrolled};
use crate::{
    args::{Form, HostArgs, Output},
    error::{Exit, Failure},
    invocation::{Invocation, Scope, no_hosts},
    json,
    table::{Cell, Table},
    ui::{BAD, GOOD, MOVING, age_words, printable},
};

/// Lists enrolled hosts: all, or those that are selected.
pub(super) async fn list(invocation: &mut Invocation, args: HostArgs) -> Result<Exit, Failure> {
    let ListHostsResponse { hosts, missing } = known(invocation, args).await?;
    let rows = || hosts.iter().map(row);
    match invocation.ui.output() {
        Output::Table if hosts.is_empty() => invocation
            .ui
            .note("no host is enrolled; `rsv token create --host NAME` makes a token to join with"),
        Output::Table if invocation.ui.form() == Form::Name => {
            let names = hosts.into_iter().map(|host| host.name);
            invocation.ui.names(names)?;
        }
        Output::Table => {
            let is_wide = invocation.ui.form() == Form::Wide;
            let text = table(&hosts, SystemTime::now(), is_wide).render(invocation.ui.color());
            invocation.ui.bytes(text.as_bytes())?;
            for host in hosts.iter().filter(|host| !host.conflict.is_empty()) {
                let text = format!("{} is used twice: {}", host.name, host.conflict);
                invocation.ui.warning(&text);
            }
        }
        Output::Json => {
            let listed = json::Hosts::new("rsv/host-ls/v1", rows().collect(), &missing);
            json::print(&mut invocation.ui, &listed)?;
        }
        Output::Jsonl => json::print_lines(&mut invocation.ui, &rows().collect::<Vec<_>>())?,
    }
    Ok(tell_of_not_enrolled(&mut invocation.ui, &missing))
}

/// Shows all that is known of hosts.
pub(super) async fn show(invocation: &mut Invocation, args: HostArgs) -> Result<Exit, Failure> {
    invocation.global.host.extend(args.hosts);
    if matches!(invocation.scope()?, Scope::Local) {
        return Err(Failure::usage("`host show` needs a host")
            .hint("rsv host show web01, or a selector such as 'web*'"));
    }
    let nothing_more = HostArgs { hosts: Vec::new() };
    let ListHostsResponse { hosts, missing } = known(invocation, nothing_more).await?;
    let rows = hosts.iter().map(row);
    match invocation.ui.output() {
        Output::Table if invocation.ui.form() == Form::Name => {
            let names = hosts.into_iter().map(|host| host.name);
            invocation.ui.names(names)?;
        }
        Output::Table => {
            let now = SystemTime::now();
            let pages: Vec<String> = hosts.iter().map(|host| page(host, now)).collect();
            invocation.ui.bytes(pages.join("\n").as_bytes())?;
        }
        Output::Json => {
            let shown = json::Hosts::new("rsv/host-show/v1", rows.collect(), &missing);
            json::print(&mut invocation.ui, &shown)?;
        }
        Output::Jsonl => json::print_lines(&mut invocation.ui, &rows.collect::<Vec<_>>())?,
    }
    Ok(tell_of_not_enrolled(&mut invocation.ui, &missing))
}

/// The hosts that are meant.
async fn known(invocation: &mut Invocation, args: HostArgs) -> Result<ListHostsResponse, Failure> {
    invocation.global.host.extend(args.hosts);
    let selection = invocation.hosts()?;
    let server = invocation.controller().await?;
    let listed = server.hosts(selection.clone()).await?;
    if listed.hosts.is_empty() && !invocation.global.host.is_empty() {
        return Err(no_hosts(&selection));
    }
    as_expected(invocation.global.expect, listed.hosts.len())?;
    Ok(listed)
}

/// A host with a line for each thing that is known of it.
fn page(host: &Host, now: SystemTime) -> String {
    let drained = host.drained.as_ref().map(hold_words);
    let version = (!host.version.is_empty()).then_some(host.version.as_str());
    let known = |words: String| (words != UNKNOWN).then_some(words);
    let facts = [
        ("state", Some(state_name(host.state()).to_owned())),
        ("reason", Some(host.reason.clone())),
        ("identity", Some(host.conflict.clone())),
        ("last seen", known(seen_words(host, now))),
        ("round trip", known(round_trip_words(host))),
        ("version", version.map(str::to_owned)),
        ("programs up", known(programs_words(host))),
        ("certificate", known(certificate_words(host, now).0)),
        ("labels", known(labels_words(host))),
        ("config", known(config_words(host))),
        ("drained", drained),
        (
            "desired",
            known(desired_words(
                host.desired_generation,
                host.obeyed_generation,
            )),
        ),
    ];
    let facts = facts.into_iter();
    let facts = facts.filter_map(|(name, words)| Some((name, words.filter(|w| !w.is_empty())?)));
    let lines = facts.map(|(name, words)| format!("  {name:<11}  {}\n", printable(&words)));
    let lines: String = lines.collect();
    format!("{}\n{lines}", printable(&host.name))
}

/// The word for a host's state.
pub(super) fn state_name(state: HostState) -> &'static str {
    match state {
        HostState::Connected => "connected",
        HostState::Unreachable => "unreachable",
        HostState::Draining => "draining",
        HostState::Never => "never",
        HostState::Revoked => "revoked",
        HostState::Unspecified => "unknown",
    }
}

fn row(host: &Host) -> json::Host {
    let round_trip = host.round_trip.as_ref().and_then(duration_from_wire);
    json::Host {
        name: host.name.clone(),
        state: state_name(host.state()),
        last_seen: json::time(host.last_seen.as_ref()),
        labels: host.labels.clone().into_iter().collect(),
        version: json::text(&host.version),
        programs_up: host.programs_up,
        programs_total: host.programs_total,
        certificate_expires: json::time(host.certificate_expires.as_ref()),
        round_trip_seconds: round_trip.map(|d| d.as_secs_f64()),
        reason: json::text(&host.reason),
        conflict: json::text(&host.conflict),
        drained: host.drained.as_ref().map(json::Hold::of),
        desired_generation: host.desired_generation,
        obeyed_generation: host.obeyed_generation,
        revoked: host.revoked.as_ref().map(json::Revocation::of),
        config_generation: host.configured.map(|c| c.generation),
        config_digest: host.configured.map(|c| format!("{:016x}", c.digest)),
    }
}

const UNKNOWN: &str = "-";

const HEADER: [&str; 11] = [
    "NAME",
    "STATE",
    "LAST SEEN",
    "RTT",
    "VERSION",
    "PROGRAMS",
    "CERTIFICATE",
    "LABELS",
    "CONFIG",
    "DESIRED",
    "REASON",
];
/// How many of these are shown unless more is wanted.
const NARROW: usize = 7;

fn table(hosts: &[Host], now: SystemTime, is_wide: bool) -> Table {
    let columns = if is_wide { HEADER.len() } else { NARROW };
    let mut table = Table::new(&HEADER[..columns]);
    for host in hosts {
        let style = match host.state() {
            HostState::Connected => GOOD,
            HostState::Draining => MOVING,
            HostState::Unreachable
            | HostState::Never
            | HostState::Revoked
            | HostState::Unspecified => BAD,
        };
        let version = match host.version.as_str() {
            "" => UNKNOWN,
            version => version,
        };
        let mut cells = vec![
            Cell::new(&host.name),
            Cell::styled(state_name(host.state()), style),
            Cell::new(seen_words(host, now)),
            Cell::new(round_trip_words(host)),
            Cell::new(version),
            Cell::new(programs_words(host)),
            certificate_cell(host, now),
            Cell::new(labels_words(host)),
            Cell::new(config_words(host)),
            Cell::new(desired_words(
                host.desired_generation,
                host.obeyed_generation,
            )),
            Cell::new(reason_words(host)),
        ];
        cells.truncate(columns);
        table.row(cells);
    }
    table
}

/// Why it is unreachable, and why it is drained.
fn reason_words(host: &Host) -> String {
    let drained = host.drained.as_ref().map(hold_words);
    let reason = Some(host.reason.clone()).filter(|reason| !reason.is_empty());
    let said: Vec<String> = reason.into_iter().chain(drained).collect();
    said.join("; ")
}

/// The number of what is wanted, and how far the host keeps to it.
pub(super) fn desired_words(wanted: u64, obeyed: Option<u64>) -> String {
    match (wanted, obeyed) {
        (0, _) => UNKNOWN.to_owned(),
        (wanted, Some(obeyed)) if obeyed >= wanted => wanted.to_string(),
        (wanted, Some(obeyed)) => format!("{wanted}, keeps to {obeyed}"),
        (wanted, None) => format!("{wanted}, not known"),
    }
}

/// The number of the configuration in force, and what tells equal ones.
fn config_words(host: &Host) -> String {
    host.configured.map_or_else(
        || UNKNOWN.to_owned(),
        |known| format!("{} {:08x}", known.generation, known.digest >> 32),
    )
}

fn labels_words(host: &Host) -> String {
    let labels: BTreeMap<&String, &String> = host.labels.iter().collect();
    let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    match labels.is_empty() {
        true => UNKNOWN.to_owned(),
        false => labels.join(","),
    }
}

fn seen_words(host: &Host, now: SystemTime) -> String {
    let seen = host.last_seen.as_ref().and_then(from_wire);
    seen.map_or_else(
        || UNKNOWN.to_owned(),
        |at| format!("{} ago", age_words(age(at, now))),
    )
}

fn round_trip_words(host: &Host) -> String {
    let round_trip = host.round_trip.as_ref().and_then(duration_from_wire);
    round_trip.map_or_else(
        || UNKNOWN.to_owned(),
        |d| format!("{:.1}ms", d.as_secs_f64() * 1000.0),
    )
}

fn programs_words(host: &Host) -> String {
    match (host.programs_up, host.programs_total) {
        (Some(up), Some(total)) => format!("{up}/{total}"),
        _ => UNKNOWN.to_owned(),
    }
}

fn certificate_cell(host: &Host, now: SystemTime) -> Cell {
    match certificate_words(host, now) {
        (words, true) => Cell::new(words),
        (words, false) => Cell::styled(words, BAD),
    }
}

/// How long the certificate lasts, and whether it may still do.
fn certificate_words(host: &Host, now: SystemTime) -> (String, bool) {
    let ends = host.certificate_expires.as_ref().and_then(from_wire);
    let Some(ends) = ends else {
        return (UNKNOWN.to_owned(), true);
    };
    match ends.duration_since(now) {
        Ok(left) => (format!("{} left", age_words(left)), true),
        Err(_) => (format!("ended {} ago", age_words(age(ends, now))), false),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use rsv_proto::{
        time::{duration_to_wire, to_wire},
        wire::Configured,
    };

    use super::*;

    #[test]
    fn hosts_are_listed_with_what_is_known_of_them() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let at = |seconds: u64| Some(to_wire(now - Duration::from_secs(seconds)));
        let hosts = [
            Host {
                name: "db01".into(),
                state: HostState::Connected.into(),
                last_seen: at(1),
                version: "0.1.0".into(),
                programs_up: Some(2),
                programs_total: Some(3),
                certificate_expires: Some(to_wire(now + Duration::from_secs(40_000))),
                round_trip: Some(duration_to_wire(Duration::from_micros(312))),
                ..Default::default()
            },
            Host {
                name: "web02".into(),
                state: HostState::Unreachable.into(),
                last_seen: at(192),
                version: "0.1.0".into(),
                certificate_expires: at(60),
                ..Default::default()
            },
            Host {
                name: "web03".into(),
                state: HostState::Never.into(),
                ..Default::default()
            },
        ];
        insta::assert_snapshot!(table(&hosts, now, false).render(false), @r"
        NAME   STATE        LAST SEEN  RTT    VERSION  PROGRAMS  CERTIFICATE
        db01   connected    1s ago     0.3ms  0.1.0    2/3       11h06m left
        web02  unreachable  3m12s ago  -      0.1.0    -         ended 1m00s ago
        web03  never        -          -      -        -         -
        ");
    }

    #[test]
    fn a_page_has_a_line_for_what_is_known_and_none_for_the_rest() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let mut host = Host {
            name: "web02".into(),
            state: HostState::Unreachable.into(),
            reason: "silent for 15s".into(),
            last_seen: Some(to_wire(now - Duration::from_secs(192))),
            version: "0.1.0".into(),
            programs_up: Some(1),
            programs_total: Some(2),
            certificate_expires: Some(to_wire(now + Duration::from_secs(40_000))),
            labels: [("role".into(), "web".into())].into(),
            configured: Some(Configured {
                generation: 3,
                digest: 0x0123_4567_89ab_cdef,
            }),
            desired_generation: 7,
            obeyed_generation: Some(5),
            ..Default::default()
        };
        insta::assert_snapshot!(page(&host, now), @r"
        web02
          state        unreachable
          reason       silent for 15s
          last seen    3m12s ago
          version      0.1.0
          programs up  1/2
          certificate  11h06m left
          labels       role=web
          config       3 01234567
          desired      7, keeps to 5
        ");
        host = Host {
            name: "web03".into(),
            state: HostState::Never.into(),
            ..Default::default()
        };
        assert_eq!(page(&host, now), "web03\n  state        never\n");
    }
}
