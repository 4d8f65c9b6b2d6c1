//! `enable`, `disable`, `host drain`, `host resume`: what is wanted of programs and hosts from now on.
//!
//! It is written down by the controller, which waits for a while until the hosts have said that they keep to
//! it; hosts that are away learn it when they return.

use std::collections::BTreeSet;

use rsv_proto::wire::{
    HostSelection, Outcome, SetDesiredRequest, SetDesiredResponse, TargetResult, Wish,
};

use super::act::{care, plan::Plan, verdict};
use crate::{
    args::{DesireArgs, DrainArgs, Output},
    error::{Exit, Failure},
    fold::{fold_lines, render_lines},
    invocation::{Invocation, Scope, no_hosts},
    json,
};

/// Runs `enable` or `disable`.
pub(super) async fn programs(
    invocation: &mut Invocation,
    wish: Wish,
    args: DesireArgs,
) -> Result<Exit, Failure> {
    let word = word(wish);
    let Scope::Fleet(hosts) = invocation.scope()? else {
        let text = format!("`{word}` is kept by the controller, and no hosts are named");
        return Err(Failure::usage(text).hint("add --host, --label or --all-hosts"));
    };
    if args.programs.is_empty() {
        let text = format!("`{word}` needs a program");
        return Err(Failure::usage(text).hint("`all` means every program"));
    }
    run(invocation, wish, hosts, args.programs, args.reason).await
}

/// Runs `host drain` or `host resume`, whose words are hosts.
pub(super) async fn hosts(
    invocation: &mut Invocation,
    wish: Wish,
    args: DrainArgs,
) -> Result<Exit, Failure> {
    invocation.global.host.extend(args.hosts);
    let Scope::Fleet(hosts) = invocation.scope()? else {
        let text = format!("`host {}` needs a host", word(wish));
        return Err(Failure::usage(text).hint("rsv host drain web01, or a selector such as 'web*'"));
    };
    run(invocation, wish, hosts, Vec::new(), args.reason).await
}

async fn run(
    invocation: &mut Invocation,
    wish: Wish,
    hosts: HostSelection,
    programs: Vec<String>,
    reason: Option<String>,
) -> Result<Exit, Failure> {
    let server = invocation.controller().await?;
    let mut request = SetDesiredRequest {
        hosts: Some(hosts.clone()),
        wish: wish.into(),
        programs,
        reason: reason.unwrap_or_default(),
        expect_hosts: invocation.global.expect,
        dry_run: true,
    };
    let is_dry = invocation.global.dry_run;
    let is_confirmed = invocation.global.yes || request.expect_hosts.is_some();
    if is_dry || !is_confirmed {
        let would = server.set_desired(request.clone()).await?;
        let reached = reached(&would.results);
        if reached.is_empty() && would.missing.is_empty() {
            return Err(no_hosts(&hosts));
        }
        if is_dry {
            let missing = would.missing.into_iter().map(not_enrolled);
            let plan = Plan {
                schema: schema(wish),
                word: word(wish),
                programs: request.programs,
                hosts: reached,
                targets: would.results.into_iter().chain(missing).collect(),
            };
            return plan.show(invocation);
        }
        if is_grave(wish, &request.programs, reached.len(), invocation)? {
            care::confirm(invocation, word(wish), &request.programs, &reached).await?;
            request.expect_hosts = u32::try_from(reached.len()).ok();
        }
    }
    request.dry_run = false;
    let answer = server.set_desired(request).await?;
    show(invocation, wish, answer)
}

/// Stopping everything has to be confirmed however few hosts it reaches, unless they are named for that.
fn is_grave(
    wish: Wish,
    programs: &[String],
    hosts: usize,
    invocation: &mut Invocation,
) -> Result<bool, Failure> {
    let is_sweeping = wish == Wish::Disable && care::name_all(programs);
    Ok(is_sweeping || hosts > care::confirm_above(invocation)?)
}

/// The hosts of results, each once.
pub(super) fn reached(results: &[TargetResult]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let hosts = results.iter().map(|result| result.host.clone());
    hosts.filter(|host| seen.insert(host.clone())).collect()
}

/// What is said of a name that no enrolled host has.
pub(super) fn not_enrolled(host: String) -> TargetResult {
    TargetResult {
        host,
        outcome: Outcome::NotAttempted.into(),
        detail: "no host of this name is enrolled".to_owned(),
        ..Default::default()
    }
}

fn show(
    invocation: &mut Invocation,
    wish: Wish,
    answer: SetDesiredResponse,
) -> Result<Exit, Failure> {
    let reached = reached(&answer.results);
    let missing = answer.missing.into_iter().map(not_enrolled);
    let results: Vec<TargetResult> = answer.results.into_iter().chain(missing).collect();
    let (exit, outcome) = verdict::verdict(&results, &reached);
    let targets = || results.iter().map(|result| target(wish, result)).collect();
    match invocation.ui.output() {
        Output::Table => {
            let lines = results.iter().map(|r| (r.host.clone(), line(wish, r)));
            let how = invocation.global.fold;
            let text = render_lines(&fold_lines(lines.collect(), how), how);
            invocation.ui.bytes(text.as_bytes())?;
        }
        Output::Json => {
            let action = json::Action {
                schema: schema(wish),
                operation: None,
                outcome,
                targets: targets(),
            };
            json::print(&mut invocation.ui, &action)?;
        }
        Output::Jsonl => {
            let targets: Vec<json::Target> = targets();
            json::print_lines(&mut invocation.ui, &targets)?;
        }
    }
    Ok(exit)
}

fn target(wish: Wish, result: &TargetResult) -> json::Target {
    json::Target {
        host: json::text(&result.host),
        program: json::text(&result.program),
        outcome: verdict::outcome_word(result.outcome()),
        detail: words(wish, result),
    }
}

fn line(wish: Wish, result: &TargetResult) -> String {
    let words = words(wish, result);
    match result.program.as_str() {
        "" => words,
        program => format!("{program}: {words}"),
    }
}

fn words(wish: Wish, result: &TargetResult) -> String {
    let detail = result.detail.as_str();
    match result.outcome() {
        Outcome::Done if detail.is_empty() => done_word(wish).to_owned(),
        Outcome::Done => format!("will be {}: {detail}", done_word(wish)),
        Outcome::NotAttempted => format!("not attempted: {detail}"),
        _ => format!(
            "ERROR ({})",
            verdict::refusal_words(result.refusal(), detail)
        ),
    }
}

/// The verb as it is typed.
fn word(wish: Wish) -> &'static str {
    match wish {
        Wish::Enable => "enable",
        Wish::Disable => "disable",
        Wish::Drain => "drain",
        Wish::Resume | Wish::Unspecified => "resume",
    }
}

fn schema(wish: Wish) -> String {
    let noun = match wish {
        Wish::Enable | Wish::Disable => "",
        Wish::Drain | Wish::Resume | Wish::Unspecified => "host-",
    };
    format!("rsv/{noun}{}/v1", word(wish))
}

fn done_word(wish: Wish) -> &'static str {
    match wish {
        Wish::Enable => "enabled",
        Wish::Disable => "disabled",
        Wish::Drain => "drained",
        Wish::Resume | Wish::Unspecified => "resumed",
    }
}

#[cfg(test)]
mod tests {
    use rsv_proto::wire::Refusal;

    use super::*;

    #[test]
    fn each_target_is_said_in_a_line() {
        let result = |outcome: Outcome, refusal: Refusal, detail: &str| TargetResult {
            host: "web01".into(),
            program: "app".into(),
            outcome: outcome.into(),
            refusal: refusal.into(),
            detail: detail.into(),
            ..Default::default()
        };
        for (wish, result, expected) in [
            (
                Wish::Disable,
                result(Outcome::Done, Refusal::Unspecified, ""),
                "app: disabled",
            ),
            (
                Wish::Enable,
                result(Outcome::Done, Refusal::Unspecified, "the host is away"),
                "app: will be enabled: the host is away",
            ),
            (
                Wish::Disable,
                result(Outcome::Failed, Refusal::NoSuchProcess, ""),
                "app: ERROR (no such process)",
            ),
        ] {
            assert_eq!(line(wish, &result), expected);
        }
    }
}
