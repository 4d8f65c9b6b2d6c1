//! What hosts of the fleet would do, or could: `update --dry-run` and `avail` over many hosts.

use rsv_proto::{
    name::natural_order,
    plan::planned,
    select::{ProgramOperand, Settled},
    wire::{
        AvailableProcess, HostSelection, Look, LookRequest, LookResponse, RereadResponse,
        look_response::Seen,
    },
};

use super::{avail, here};
use crate::{
    args::Output,
    error::{Exit, Failure},
    fold::{fold_lines, render_lines},
    invocation::{Invocation, no_hosts},
    json,
    ui::printable,
};

/// What an update would do on each host, of these groups or of all.
pub(super) async fn plan(
    invocation: &mut Invocation,
    hosts: HostSelection,
    groups: &[String],
) -> Result<Exit, Failure> {
    let seen = look(invocation, hosts, Look::Plan).await?;
    let names: Vec<&str> = seen.iter().map(|(host, _)| host.as_str()).collect();
    let groups = settled(groups, &names)?;
    let plans: Vec<(String, Plan)> = seen
        .into_iter()
        .filter_map(|(host, seen)| {
            let own = of_host(&groups, &host)?;
            Some((host, Plan::of(seen, &own)))
        })
        .collect();
    let objects = || plans.iter().map(|(host, plan)| plan.object(host));
    match invocation.ui.output() {
        Output::Table => {
            let lines = plans.iter().flat_map(|(host, plan)| {
                let lines = plan.lines().into_iter();
                lines.map(move |line| (host.clone(), line))
            });
            let how = invocation.global.fold;
            let text = render_lines(&fold_lines(lines.collect(), how), how);
            invocation.ui.bytes(text.as_bytes())?;
        }
        Output::Json => {
            let object = json::FleetPlan {
                schema: "rsv/update-plan/v1",
                hosts: objects().collect(),
            };
            json::print(&mut invocation.ui, &object)?;
        }
        Output::Jsonl => {
            json::print_lines(&mut invocation.ui, &objects().collect::<Vec<_>>())?;
        }
    }
    Ok(exit(&plans))
}

/// Every configured process of each host.
pub(super) async fn available(
    invocation: &mut Invocation,
    hosts: HostSelection,
) -> Result<Exit, Failure> {
    let seen = look(invocation, hosts, Look::Available).await?;
    let mut processes: Vec<(String, AvailableProcess)> = Vec::new();
    let mut unanswered = Vec::new();
    for (host, seen) in seen {
        match seen {
            Some(Seen::Available(available)) => {
                let known = available.processes.into_iter();
                processes.extend(known.map(|process| (host.clone(), process)));
            }
            other => unanswered.push((host, other)),
        }
    }
    let objects = || {
        let objects = processes.iter();
        objects.map(|(host, process)| avail::object(Some(host.clone()), process))
    };
    match invocation.ui.output() {
        Output::Table => {
            let lines = processes.iter();
            let lines = lines.map(|(host, process)| (host.clone(), avail::line(process)));
            let how = invocation.global.fold;
            let text = render_lines(&fold_lines(lines.collect(), how), how);
            invocation.ui.bytes(text.as_bytes())?;
        }
        Output::Json => {
            let object = json::Available {
                schema: "rsv/avail/v1",
                programs: objects().collect(),
            };
            json::print(&mut invocation.ui, &object)?;
        }
        Output::Jsonl => {
            json::print_lines(&mut invocation.ui, &objects().collect::<Vec<_>>())?;
        }
    }
    let mut exit = Exit::Done;
    for (host, seen) in unanswered {
        let plan = Plan::of(seen, &[]);
        for line in plan.lines() {
            invocation
                .ui
                .warning(&format!("{}: {line}", printable(&host)));
        }
        exit = match plan {
            Plan::Unreachable(_) if exit == Exit::Done => Exit::SomeUnreachable,
            Plan::Unreachable(_) => exit,
            _ => Exit::SomeFailed,
        };
    }
    Ok(exit)
}

/// Groups, some perhaps of some hosts alone. Their names have no colon, so that one is behind a host.
fn settled(groups: &[String], hosts: &[&str]) -> Result<Vec<Settled>, Failure> {
    let settle = |text: &String| {
        let operand: ProgramOperand = text
            .parse()
            .map_err(|error| Failure::usage(format!("in `{text}`: {error}")))?;
        let (ProgramOperand::On(on) | ProgramOperand::Either(on)) = operand else {
            return Ok(Settled::everywhere(text));
        };
        if !hosts.iter().any(|host| on.hosts.matches(host)) {
            let what = format!("`{text}`: no selected host is called `{}`", on.typed);
            return Err(Failure::new(Exit::NoTarget, what).hint("`rsv host ls` lists the hosts"));
        }
        Ok(Settled::on(on))
    };
    groups.iter().map(settle).collect()
}

/// The groups that are meant of a host; empty: all, absent: none.
fn of_host(groups: &[Settled], host: &str) -> Option<Vec<String>> {
    let own = groups.iter().filter(|one| one.on_host(host).is_some());
    let own: Vec<String> = own.map(|one| one.program().to_owned()).collect();
    (groups.is_empty() || !own.is_empty()).then_some(own)
}

/// The answers of all hosts, in natural order.
async fn look(
    invocation: &mut Invocation,
    hosts: HostSelection,
    look: Look,
) -> Result<Vec<(String, Option<Seen>)>, Failure> {
    let server = invocation.controller().await?;
    let request = LookRequest {
        hosts: Some(hosts.clone()),
        look: look.into(),
    };
    let mut answers = server.look(request).await?;
    let mut seen = Vec::new();
    while let Some(LookResponse { host, seen: found }) = answers.next().await? {
        seen.push((host, found));
    }
    if seen.is_empty() {
        return Err(no_hosts(&hosts));
    }
    seen.sort_by(|(a, _), (b, _)| natural_order(a, b));
    Ok(seen)
}

/// What is known of one host.
#[derive(Debug)]
enum Plan {
    Known(RereadResponse),
    Unreachable(String),
    NotEnrolled,
    /// Something that this version does not know.
    Unknown,
}

impl Plan {
    fn of(seen: Option<Seen>, groups: &[String]) -> Self {
        match seen {
            Some(Seen::Plan(reread)) => Self::Known(here::only_groups(reread, groups)),
            Some(Seen::Unreachable(reason)) => Self::Unreachable(reason),
            Some(Seen::NotEnrolled(_)) => Self::NotEnrolled,
            Some(Seen::Available(_)) | None => Self::Unknown,
        }
    }

    fn lines(&self) -> Vec<String> {
        let reread = match self {
            Self::Known(reread) => reread,
            Self::Unreachable(reason) => {
                return vec![format!("unreachable: {}", printable(reason))];
            }
            Self::NotEnrolled => return vec!["no host of this name is enrolled".to_owned()],
            Self::Unknown => return vec!["ERROR (the answer is not understood)".to_owned()],
        };
        if let Some(refusal) = &reread.refusal {
            return vec![format!("ERROR: CANT_REREAD: {}", printable(&refusal.text))];
        }
        if reread.shutting_down {
            return vec!["ERROR: already shutting down".to_owned()];
        }
        let mut lines = here::plan_lines(&reread.groups);
        lines.extend(reread.refused.iter().map(here::refused_line));
        if lines.is_empty() {
            lines.push("nothing differs".to_owned());
        }
        lines
    }

    fn object(&self, host: &str) -> json::HostPlan {
        let (reread, outcome) = match self {
            Self::Known(reread) if reread.refusal.is_some() || reread.shutting_down => {
                (Some(reread), "failed")
            }
            Self::Known(reread) => (Some(reread), "done"),
            Self::Unreachable(_) => (None, "unreachable"),
            Self::NotEnrolled => (None, "not_attempted"),
            Self::Unknown => (None, "failed"),
        };
        let reason = match (self, reread) {
            (_, Some(_)) => String::new(),
            (plan, None) => plan.lines().concat(),
        };
        json::HostPlan {
            host: host.to_owned(),
            outcome,
            detail: reason,
            groups: reread.map_or_else(Vec::new, |reread| here::plan_json(&reread.groups)),
            refused: reread.map_or_else(Vec::new, |reread| here::refused_json(&reread.refused)),
            error: reread
                .and_then(|reread| reread.refusal.as_ref())
                .map(here::refusal_json),
        }
    }
}

/// What cannot be read counts most, then what there is to do, then who is missing.
fn exit(plans: &[(String, Plan)]) -> Exit {
    let is_failed = |plan: &Plan| match plan {
        Plan::Known(reread) => reread.refusal.is_some() || reread.shutting_down,
        Plan::Unreachable(_) => false,
        Plan::NotEnrolled | Plan::Unknown => true,
    };
    let has_changes =
        |plan: &Plan| matches!(plan, Plan::Known(reread) if !planned(&reread.groups).is_empty());
    let is_away = |plan: &Plan| matches!(plan, Plan::Unreachable(_));
    let is_any = |is: &dyn Fn(&Plan) -> bool| plans.iter().any(|(_, plan)| is(plan));
    if is_any(&is_failed) {
        Exit::SomeFailed
    } else if is_any(&has_changes) {
        Exit::PlanHasChanges
    } else if is_any(&is_away) {
        Exit::SomeUnreachable
    } else {
        Exit::Done
    }
}

#[cfg(test)]
mod tests {
    use rsv_proto::wire::{ConfigurationRefusal, PlannedGroup, planned_group::Kind};

    use super::*;

    fn known(groups: &[&str], refusal: Option<&str>) -> Plan {
        let group = |name: &&str| PlannedGroup {
            name: (*name).into(),
            kind: Kind::Added.into(),
            ..Default::default()
        };
        let refusal = refusal.map(|text| ConfigurationRefusal {
            text: text.into(),
            ..Default::default()
        });
        let reread = RereadResponse {
            groups: groups.iter().map(group).collect(),
            refusal,
            ..Default::default()
        };
        Plan::of(
            Some(Seen::Plan(reread)),
            &["app".to_owned(), "web".to_owned()],
        )
    }

    #[test]
    fn groups_may_be_of_some_hosts_alone() {
        let own = |groups: &[&str], host: &str| {
            let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
            let groups = settled(&groups, &["web1", "web2", "db1"]).map_err(|f| f.exit as u8)?;
            Ok(of_host(&groups, host).map(|own| own.join(" ")))
        };
        let some = |names: &str| Ok(Some(names.to_owned()));
        assert_eq!(own(&[], "web1"), some(""));
        assert_eq!(own(&["app", "web*:side"], "web1"), some("app side"));
        assert_eq!(own(&["app", "web*:side"], "db1"), some("app"));
        assert_eq!(own(&["db1::pg"], "db1"), some("pg"));
        assert_eq!(own(&["db1::pg"], "web1"), Ok(None));
        assert_eq!(own(&["db9:pg"], "db1"), Err(15));
        assert_eq!(own(&["db[::pg"], "db1"), Err(2));
    }

    #[test]
    fn the_exit_code_says_the_worst_of_all_hosts() {
        let away = || Plan::Unreachable("silent".into());
        for (plans, expected) in [
            (vec![known(&[], None)], 0),
            (vec![known(&["other"], None)], 0),
            (vec![known(&[], None), away()], 11),
            (vec![known(&["app"], None), away()], 18),
            (vec![known(&["app"], None), known(&[], Some("bad"))], 10),
            (vec![known(&["app"], None), Plan::NotEnrolled], 10),
        ] {
            let named = |plan| ("web01".to_owned(), plan);
            let plans: Vec<(String, Plan)> = plans.into_iter().map(named).collect();
            assert_eq!(exit(&plans) as u8, expected, "{plans:?}");
        }
    }

    #[test]
    fn each_host_says_what_would_change_there() {
        for (plan, said) in [
            (known(&["app", "web"], None), "app: added, web: added"),
            (known(&[], None), "nothing differs"),
            (known(&[], Some("bad")), "ERROR: CANT_REREAD: bad"),
            (Plan::Unreachable("silent".into()), "unreachable: silent"),
        ] {
            assert_eq!(plan.lines().join(", "), said);
        }
    }
}
