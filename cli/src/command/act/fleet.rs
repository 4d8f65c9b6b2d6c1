//! An action on hosts of the fleet: one operation of the controller, watched to its end.

use std::time::Duration;

use rsv_proto::wire::{
    ActRequest, HostSelection,
    act_response::{Accepted, Event},
};

use super::{Asked, Report, care, follow, plan::Plan, show};
use crate::{
    args::RolloutArgs,
    client::Server,
    error::{Exit, Failure},
    invocation::{GRACE, Invocation, no_hosts},
};

/// Does it, and shows what came of it.
pub(super) async fn act(
    invocation: &mut Invocation,
    asked: Asked,
    programs: Vec<String>,
    hosts: HostSelection,
    rollout: &RolloutArgs,
) -> Result<Exit, Failure> {
    let server = invocation.controller().await?;
    let request = ActRequest {
        hosts: Some(hosts.clone()),
        programs,
        action: Some(asked.action()),
        deadline: invocation.deadline(),
        timeout: invocation.timeout(),
        expect_hosts: invocation.global.expect,
        dry_run: invocation.global.dry_run,
        idempotency_key: invocation.global.id.clone().unwrap_or_default(),
        rollout: rollout.to_wire(),
        detach: invocation.global.detach,
    };
    if request.dry_run {
        return plan(invocation, &server, asked, request).await;
    }
    let request = with_care(invocation, &server, asked, request).await?;
    let limit = limit(invocation);
    let mut report = Report::of(asked);
    let events = server.act(request).await?;
    let watched = follow(invocation, events, &mut report, limit).await;
    if watched.is_ok() && report.hosts.is_empty() {
        return Err(no_hosts(&hosts));
    }
    let exit = show(invocation, &report)?;
    watched.map(|()| exit)
}

/// How long the end of an action is waited for: as long as the caller says, or a while longer than the
/// controller waits for hosts.
fn limit(invocation: &Invocation) -> Option<Duration> {
    let global = &invocation.global;
    global
        .wait
        .or(global.timeout.map(|timeout| timeout + GRACE))
}

/// Only says what would be reached.
async fn plan(
    invocation: &mut Invocation,
    server: &Server,
    asked: Asked,
    request: ActRequest,
) -> Result<Exit, Failure> {
    let selection = request.hosts.clone().unwrap_or_default();
    let accepted = resolve(server, request).await?;
    if accepted.hosts.is_empty() {
        return Err(no_hosts(&selection));
    }
    let plan = Plan {
        schema: format!("rsv/{}/v1", asked.word()),
        word: asked.word(),
        programs: accepted.programs,
        hosts: accepted.hosts,
        targets: accepted.targets,
    };
    plan.show(invocation)
}

/// What a request reaches.
async fn resolve(server: &Server, request: ActRequest) -> Result<Accepted, Failure> {
    let programs = request.programs.clone();
    let dry = ActRequest {
        dry_run: true,
        ..request
    };
    let mut events = server.act(dry).await?;
    while let Some(response) = events.next().await? {
        if let Some(Event::Accepted(mut accepted)) = response.event {
            if accepted.programs.is_empty() {
                accepted.programs = programs;
            }
            return Ok(accepted);
        }
    }
    Ok(Accepted::default())
}

/// Confirms what has to be confirmed, and then holds the operation to the confirmed number.
async fn with_care(
    invocation: &mut Invocation,
    server: &Server,
    asked: Asked,
    mut request: ActRequest,
) -> Result<ActRequest, Failure> {
    let selection = request.hosts.clone().unwrap_or_default();
    let is_confirmed = invocation.global.yes || request.expect_hosts.is_some();
    if is_confirmed {
        return Ok(request);
    }
    let above = care::confirm_above(invocation)?;
    if !care::must_count(asked, &request.programs, &selection, above) {
        return Ok(request);
    }
    let hosts = resolve(server, request.clone()).await?.hosts;
    if hosts.is_empty() {
        return Err(no_hosts(&selection));
    }
    if care::is_grave(asked, &request.programs, hosts.len(), above) {
        // What is done to whole hosts names no programs of theirs.
        let programs = match asked {
            Asked::Reload | Asked::Shutdown | Asked::Reread => &[][..],
            _ => &request.programs,
        };
        care::confirm(invocation, asked.word(), programs, &hosts).await?;
        request.expect_hosts = u32::try_from(hosts.len()).ok();
    }
    Ok(request)
}
