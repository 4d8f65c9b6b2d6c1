//! What is to be wanted of programs and hosts from now on: from the request to changes, and to what came
//! of each target.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use rsv_proto::{
    name::HostName,
    process::display_name,
    select::ProgramPattern,
    wire::{Outcome, Refusal, SetDesiredRequest, SetDesiredResponse, TargetResult, Wish},
};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::{
    Shared, selection,
    view::{Wanted as Patterns, check_patterns},
};
use crate::{
    desired::{Change, HostChange, Program, Wanted},
    host::{HostView, is_connected},
    hub::SubmitError,
    token::seconds,
};

/// The longest reason.
const MAX_REASON: usize = 500;

/// What is told of a host that does not know it yet.
const LATER: &str = "the host is away and learns it when it returns";

/// What is told of a host that knows it, and has not said that it keeps to it.
const SILENT: &str = "the host was told and has not said yet that it keeps to it";

/// How long hosts that are connected may take to say so: they write it to their disk first.
const PATIENCE: Duration = Duration::from_secs(5);

/// Carries a wish out: written down first, then told to the hosts that are connected.
pub(super) async fn set(
    shared: &Shared,
    actor: &str,
    request: SetDesiredRequest,
) -> Result<SetDesiredResponse, Status> {
    let wish = checked(&request)?;
    let now = SystemTime::now();
    let wanted = Wanted {
        reason: request.reason,
        actor: actor.to_owned(),
        since: seconds(now),
    };
    let mut found = shared.hub.view(selection(request.hosts)).await??;
    let patterns = Patterns::settle(&request.programs, &mut found)?;
    let n_found = found.hosts.len();
    if let Some(expected) = request.expect_hosts.filter(|&n| n as usize != n_found) {
        let found = n_found;
        return Err(SubmitError::Count { found, expected }.into());
    }
    let (mut changes, mut results) = (Vec::new(), Vec::new());
    for host in &found.hosts {
        let (change, targets) = of_host(host, wish, &patterns.on_host(&host.name), &wanted);
        results.extend(targets);
        changes.extend(change.map(|change| HostChange {
            host: host.name.clone(),
            change,
            obeyed: host.obeyed.unwrap_or_default(),
        }));
    }
    if !request.dry_run && !changes.is_empty() {
        let silent = carry_out(shared, actor, wish, changes, now).await?;
        let is_silent = |result: &&mut TargetResult| {
            result.outcome() == Outcome::Done
                && result.detail.is_empty()
                && silent.contains(&result.host)
        };
        for result in results.iter_mut().filter(is_silent) {
            result.detail = SILENT.to_owned();
        }
    }
    Ok(SetDesiredResponse {
        results,
        missing: found.missing,
    })
}

async fn carry_out(
    shared: &Shared,
    actor: &str,
    wish: Wish,
    changes: Vec<HostChange>,
    now: SystemTime,
) -> Result<BTreeSet<String>, Status> {
    let n_hosts = changes.len();
    let archive = &shared.archive;
    let changed = archive
        .with(move |store| store.change_desired(changes, now))
        .await?;
    tracing::info!(actor, n_hosts, wish = wish.as_str_name(), "wanted");
    let numbers: Vec<(HostName, u64)> = changed
        .iter()
        .map(|(host, desired)| (host.clone(), desired.generation))
        .collect();
    shared.hub.desire(changed).await?;
    Ok(silent(shared, numbers).await)
}

/// The hosts that have not said in time that they keep to it. All of them have the same time, however many
/// they are.
async fn silent(shared: &Shared, numbers: Vec<(HostName, u64)>) -> BTreeSet<String> {
    let end = Instant::now() + PATIENCE;
    let mut silent = BTreeSet::new();
    for (host, generation) in numbers {
        let obeyed = shared.hub.when_obeyed(host.clone(), generation);
        if !matches!(timeout_at(end, obeyed).await, Ok(Ok(()))) {
            silent.insert(host.to_string());
        }
    }
    silent
}

/// Whether a reason is fit to be shown.
pub(super) fn check_reason(reason: &str) -> Result<(), Status> {
    if reason.chars().count() > MAX_REASON || reason.contains(char::is_control) {
        let text = format!("a reason has at most {MAX_REASON} characters, on one line");
        return Err(Status::invalid_argument(text));
    }
    Ok(())
}

fn checked(request: &SetDesiredRequest) -> Result<Wish, Status> {
    let wrong = |text: &str| Err(Status::invalid_argument(text));
    check_reason(&request.reason)?;
    check_patterns(&request.programs)?;
    match (request.wish(), request.programs.is_empty()) {
        (Wish::Unspecified, _) => wrong("it is not said what is wanted"),
        (Wish::Enable | Wish::Disable, true) => wrong("no program is named"),
        (Wish::Drain | Wish::Resume, false) => wrong("a whole host is drained, not a program"),
        (wish, _) => Ok(wish),
    }
}

/// The change of one host, and what is told of its targets.
fn of_host(
    host: &HostView,
    wish: Wish,
    patterns: &[String],
    wanted: &Wanted,
) -> (Option<Change>, Vec<TargetResult>) {
    let detail = match is_connected(host.state) {
        true => "",
        false => LATER,
    };
    let done = |program: String| TargetResult {
        host: host.name.to_string(),
        program,
        outcome: Outcome::Done.into(),
        detail: detail.to_owned(),
        ..Default::default()
    };
    match wish {
        Wish::Drain => (
            Some(Change::Drain(wanted.clone())),
            vec![done(String::new())],
        ),
        Wish::Resume => (Some(Change::Resume), vec![done(String::new())]),
        Wish::Enable | Wish::Disable | Wish::Unspecified => {
            let (programs, failed) = resolve(host, wish, patterns);
            let targets = programs.iter().map(|(g, n)| done(display_name(g, n)));
            let targets = targets.chain(failed).collect();
            let change = match (wish, programs.is_empty()) {
                (_, true) => None,
                (Wish::Disable, _) => Some(Change::Disable(programs, wanted.clone())),
                _ => Some(Change::Enable(programs)),
            };
            (change, targets)
        }
    }
}

/// The programs that patterns mean on a host, and the patterns that mean none. Where the programs are
/// not known a name in full is taken as it is; what is disabled can always be enabled.
fn resolve(host: &HostView, wish: Wish, patterns: &[String]) -> (Vec<Program>, Vec<TargetResult>) {
    let known = host.programs.as_deref();
    let mut candidates: Vec<Program> = known.into_iter().flat_map(|p| p.keys().cloned()).collect();
    if wish == Wish::Enable {
        let disabled = host.desired.disabled();
        candidates.extend(disabled.map(|(group, name)| (group.to_owned(), name.to_owned())));
    }
    let (mut programs, mut failed) = (Vec::new(), Vec::new());
    for text in patterns {
        let pattern = ProgramPattern::parse(text);
        let before = programs.len();
        programs.extend(
            candidates
                .iter()
                .filter(|(g, n)| pattern.matches(g, n))
                .cloned(),
        );
        if programs.len() > before {
            continue;
        }
        match (known, pattern) {
            (None, ProgramPattern::Exact { group, name }) => programs.push((group, name)),
            (None, _) => {
                let detail = "its programs are not known now: name them in full";
                failed.push(refused(host, text, Refusal::Other, detail));
            }
            // Of a host without programs all are enabled.
            (Some(_), ProgramPattern::All) => {}
            (Some(_), ProgramPattern::Group(_)) => {
                failed.push(refused(host, text, Refusal::NoSuchGroup, ""));
            }
            (Some(_), ProgramPattern::Exact { .. } | ProgramPattern::Glob(_)) => {
                failed.push(refused(host, text, Refusal::NoSuchProcess, ""));
            }
        }
    }
    programs.sort();
    programs.dedup();
    (programs, failed)
}

fn refused(host: &HostView, pattern: &str, refusal: Refusal, detail: &str) -> TargetResult {
    TargetResult {
        host: host.name.to_string(),
        program: pattern.to_owned(),
        outcome: Outcome::Failed.into(),
        refusal: refusal.into(),
        detail: detail.to_owned(),
        ..Default::default()
    }
}
