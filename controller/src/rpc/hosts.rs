//! What operators change of enrolled hosts: labels, revocation, removal. Written down first, then true.

use std::time::SystemTime;

use rsv_proto::{
    name::HostName,
    wire::{
        HostSelection, LabelHostsRequest, LabelHostsResponse, Outcome, Refusal, RemoveHostsRequest,
        RemoveHostsResponse, RevokeHostsRequest, RevokeHostsResponse, TargetResult,
    },
};
use tonic::Status;

use super::{Shared, desired::check_reason, selection};
use crate::{
    host::{HostView, is_connected},
    hub::{SubmitError, View},
    operation::milliseconds,
    standing::{Change, Revoked, is_key, is_value},
};

/// The most labels in one request, those that are taken away included.
const MAX_CHANGES: usize = 1000;

/// What is told of a host that is not removed.
const CONNECTED: &str =
    "it is connected: stop its agent first, or revoke it with `rsv host revoke`";

/// Sets labels and takes them away.
pub(super) async fn label(
    shared: &Shared,
    actor: &str,
    request: LabelHostsRequest,
) -> Result<LabelHostsResponse, Status> {
    check_labels(&request)?;
    let found = meant(shared, request.hosts, request.expect_hosts).await?;
    if !request.dry_run {
        let set = request
            .set
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        let removed = request.remove.iter().map(|key| format!("{key}-"));
        let labels = set.chain(removed).collect::<Vec<_>>().join(" ");
        let change = Change::Label {
            set: request.set.into_iter().collect(),
            remove: request.remove,
        };
        change_all(shared, &found, &change).await?;
        let n_hosts = found.hosts.len();
        tracing::info!(actor, n_hosts, labels, "labelled");
    }
    Ok(LabelHostsResponse {
        results: found.hosts.iter().map(done).collect(),
        missing: found.missing,
    })
}

/// Refuses hosts from now on.
pub(super) async fn revoke(
    shared: &Shared,
    actor: &str,
    request: RevokeHostsRequest,
) -> Result<RevokeHostsResponse, Status> {
    check_reason(&request.reason)?;
    let found = meant(shared, request.hosts, request.expect_hosts).await?;
    if !request.dry_run {
        let revoked = Revoked {
            reason: request.reason,
            actor: actor.to_owned(),
            since: milliseconds(SystemTime::now()),
        };
        change_all(shared, &found, &Change::Revoke(revoked.clone())).await?;
        for host in &found.hosts {
            tracing::info!(actor, host = %host.name, reason = revoked.reason, "revoked");
        }
    }
    Ok(RevokeHostsResponse {
        results: found.hosts.iter().map(done).collect(),
        missing: found.missing,
    })
}

/// Forgets hosts that are not connected.
pub(super) async fn remove(
    shared: &Shared,
    actor: &str,
    request: RemoveHostsRequest,
) -> Result<RemoveHostsResponse, Status> {
    let found = meant(shared, request.hosts, request.expect_hosts).await?;
    let away = found.hosts.iter().filter(|host| !is_connected(host.state));
    let names: Vec<HostName> = away.map(|host| host.name.clone()).collect();
    if !request.dry_run && !names.is_empty() {
        let now = SystemTime::now();
        let removed = shared
            .archive
            .with(move |store| store.remove_hosts(&names, now))
            .await?;
        for (host, _) in &removed {
            tracing::info!(actor, %host, "removed");
        }
        shared.hub.remove(removed).await?;
    }
    let result = |host: &HostView| match is_connected(host.state) {
        false => done(host),
        true => TargetResult {
            outcome: Outcome::Failed.into(),
            refusal: Refusal::Other.into(),
            detail: CONNECTED.to_owned(),
            ..done(host)
        },
    };
    Ok(RemoveHostsResponse {
        results: found.hosts.iter().map(result).collect(),
        missing: found.missing,
    })
}

/// The hosts that are meant, if it is as many as it must be.
async fn meant(
    shared: &Shared,
    hosts: Option<HostSelection>,
    expected: Option<u32>,
) -> Result<View, Status> {
    let view = shared.hub.view(selection(hosts)).await??;
    let found = view.hosts.len();
    match expected.filter(|&n| n as usize != found) {
        Some(expected) => Err(SubmitError::Count { found, expected }.into()),
        None => Ok(view),
    }
}

async fn change_all(shared: &Shared, found: &View, change: &Change) -> Result<(), Status> {
    let names = found.hosts.iter().map(|host| host.name.clone());
    let changes = names.map(|name| (name, change.clone())).collect();
    let now = SystemTime::now();
    let changed = shared
        .archive
        .with(move |store| store.change_hosts(changes, now))
        .await?;
    let changed = changed.into_iter();
    let changed = changed.map(|(host, record)| (host, record.enrolment()));
    Ok(shared.hub.change(changed.collect()).await?)
}

fn check_labels(request: &LabelHostsRequest) -> Result<(), Status> {
    let n_changes = request.set.len() + request.remove.len();
    if n_changes == 0 || n_changes > MAX_CHANGES {
        let text = format!("{n_changes} labels, 1 to {MAX_CHANGES} are accepted");
        return Err(Status::invalid_argument(text));
    }
    let bad_pair = request.set.iter().find(|(k, v)| !is_key(k) || !is_value(v));
    let bad_pair = bad_pair.map(|(key, value)| format!("{key}={value}"));
    let bad_key = || request.remove.iter().find(|key| !is_key(key)).cloned();
    if let Some(bad) = bad_pair.or_else(bad_key) {
        let text = format!("`{}` is not a label such as role=web", bad.escape_debug());
        return Err(Status::invalid_argument(text));
    }
    match request
        .remove
        .iter()
        .find(|key| request.set.contains_key(*key))
    {
        Some(key) => Err(Status::invalid_argument(format!(
            "label `{key}` is set and taken away"
        ))),
        None => Ok(()),
    }
}

fn done(host: &HostView) -> TargetResult {
    TargetResult {
        host: host.name.to_string(),
        outcome: Outcome::Done.into(),
        ..Default::default()
    }
}
