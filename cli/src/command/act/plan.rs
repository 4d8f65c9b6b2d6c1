//! `--dry-run` of an action on the fleet: the hosts, and exactly what is meant of each.

use rsv_proto::wire::{Outcome, TargetResult};

use super::verdict::{outcome_word, refusal_words, verdict};
use crate::{
    error::{Exit, Failure},
    fold::{fold_lines, folded, render_lines},
    invocation::Invocation,
    json,
    ui::count,
};

/// What a host resolves by itself.
const UNKNOWN: &str = "what it has of them: its programs are not known now";

/// What would be done.
#[derive(Debug)]
pub(in crate::command) struct Plan {
    /// What scripts know it by.
    pub(in crate::command) schema: String,
    /// The verb.
    pub(in crate::command) word: &'static str,
    /// As they are understood.
    pub(in crate::command) programs: Vec<String>,
    /// In natural order.
    pub(in crate::command) hosts: Vec<String>,
    /// The exact targets; an empty program: it is not known. What is named and is not there has the
    /// outcome that it would have.
    pub(in crate::command) targets: Vec<TargetResult>,
}

impl Plan {
    /// Shows it.
    pub(in crate::command) fn show(self, invocation: &mut Invocation) -> Result<Exit, Failure> {
        let exit = self.exit();
        if !invocation.ui.output().is_text() {
            json::print(&mut invocation.ui, &self.to_json())?;
            return Ok(exit);
        }
        let hosts = self.meant_hosts();
        if !hosts.is_empty() {
            invocation.ui.line(&self.headline(&hosts))?;
        }
        let how = invocation.global.fold;
        for lines in [self.exactly(&hosts), self.impossible()] {
            let lines = render_lines(&fold_lines(lines, how), how);
            invocation.ui.bytes(lines.as_bytes())?;
        }
        Ok(exit)
    }

    /// How it would end if all went well.
    fn exit(&self) -> Exit {
        if self.targets.is_empty() {
            return Exit::Done;
        }
        let well = self.targets.iter().map(|target| match is_meant(target) {
            true => TargetResult {
                outcome: Outcome::Done.into(),
                ..target.clone()
            },
            false => target.clone(),
        });
        verdict(&well.collect::<Vec<_>>(), &self.hosts).0
    }

    /// The hosts on which there is something to do; all, when it is not said what.
    fn meant_hosts(&self) -> Vec<String> {
        let has_some = |host: &&String| {
            let mut meant = self.targets.iter().filter(|target| is_meant(target));
            self.targets.is_empty() || meant.any(|target| target.host == **host)
        };
        self.hosts.iter().filter(has_some).cloned().collect()
    }

    fn headline(&self, hosts: &[String]) -> String {
        let what = [&[self.word.to_owned()][..], &self.programs].concat();
        let many = count(hosts.len(), "host");
        format!("would {} on {many}: {}", what.join(" "), folded(hosts))
    }

    /// What is meant of each host, unless that has been said already.
    fn exactly(&self, hosts: &[String]) -> Vec<(String, String)> {
        // It is of whole hosts.
        if self.programs.is_empty() {
            return Vec::new();
        }
        let of = |host: &String| {
            let own = self.targets.iter().filter(|target| is_meant(target));
            let own = own.filter(|target| target.host == *host);
            let names = own.map(|target| match target.program.as_str() {
                "" => UNKNOWN,
                program => program,
            });
            (host.clone(), names.collect::<Vec<_>>().join(" "))
        };
        let lines: Vec<(String, String)> = hosts.iter().map(of).collect();
        let said = self.programs.join(" ");
        match lines
            .iter()
            .all(|(_, names)| names.is_empty() || *names == said)
        {
            true => Vec::new(),
            false => lines,
        }
    }

    /// What is named and is not there.
    fn impossible(&self) -> Vec<(String, String)> {
        let others = self.targets.iter().filter(|target| !is_meant(target));
        let line = |target: &TargetResult| match target.program.as_str() {
            "" => why_not(target),
            program => format!("{program}: {}", why_not(target)),
        };
        others
            .map(|target| (target.host.clone(), line(target)))
            .collect()
    }

    fn to_json(&self) -> json::Plan {
        let (meant, others): (Vec<&TargetResult>, Vec<&TargetResult>) =
            self.targets.iter().partition(|target| is_meant(target));
        let targets = meant.into_iter().map(|target| json::PlannedTarget {
            host: target.host.clone(),
            program: json::text(&target.program),
        });
        json::Plan {
            schema: self.schema.clone(),
            dry_run: true,
            hosts: self.meant_hosts(),
            programs: self.programs.clone(),
            targets: targets.collect(),
            impossible: others
                .into_iter()
                .map(|target| json::Target {
                    host: json::text(&target.host),
                    program: json::text(&target.program),
                    outcome: outcome_word(target.outcome()),
                    detail: why_not(target),
                })
                .collect(),
        }
    }
}

/// Whether it would be tried.
fn is_meant(target: &TargetResult) -> bool {
    matches!(target.outcome(), Outcome::Unspecified | Outcome::Done)
}

fn why_not(target: &TargetResult) -> String {
    match target.outcome() {
        Outcome::Failed => refusal_words(target.refusal(), &target.detail),
        _ => target.detail.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exactly(programs: &[&str], targets: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut hosts: Vec<String> = targets.iter().map(|(host, _)| (*host).to_owned()).collect();
        hosts.dedup();
        let target = |(host, program): &(&str, &str)| TargetResult {
            host: (*host).to_owned(),
            program: (*program).to_owned(),
            ..Default::default()
        };
        let plan = Plan {
            schema: "rsv/restart/v1".into(),
            word: "restart",
            programs: programs.iter().map(ToString::to_string).collect(),
            hosts,
            targets: targets.iter().map(target).collect(),
        };
        plan.exactly(&plan.hosts)
    }

    #[test]
    fn what_is_named_and_is_not_there_is_said_and_decides_the_exit_code() {
        use rsv_proto::wire::Refusal;
        let target = |host: &str, program: &str, outcome: Outcome| TargetResult {
            host: host.into(),
            program: program.into(),
            outcome: outcome.into(),
            refusal: match outcome {
                Outcome::Failed => Refusal::NoSuchProcess.into(),
                _ => Refusal::Unspecified.into(),
            },
            detail: match outcome {
                Outcome::NotAttempted => "no host of this name is enrolled".into(),
                _ => String::new(),
            },
            ..Default::default()
        };
        let there = target("web1", "app", Outcome::Unspecified);
        let nowhere = target("web1", "nosuch", Outcome::Failed);
        let no_host = target("web9", "", Outcome::NotAttempted);
        let said = [
            ("web1".to_owned(), "nosuch: no such process".to_owned()),
            (
                "web9".to_owned(),
                "no host of this name is enrolled".to_owned(),
            ),
        ];
        for (targets, exit, hosts, others) in [
            (vec![&there], Exit::Done, 1, &said[..0]),
            (vec![&nowhere], Exit::NoTarget, 0, &said[..1]),
            (vec![&there, &nowhere], Exit::SomeFailed, 1, &said[..1]),
            (vec![&there, &no_host], Exit::SomeFailed, 1, &said[1..]),
        ] {
            let plan = Plan {
                schema: "rsv/restart/v1".into(),
                word: "restart",
                programs: vec!["app".into()],
                hosts: vec!["web1".into()],
                targets: targets.into_iter().cloned().collect(),
            };
            assert_eq!(plan.exit(), exit);
            assert_eq!(plan.meant_hosts().len(), hosts);
            assert_eq!(plan.impossible(), others);
            assert_eq!(plan.to_json().impossible.len(), others.len());
        }
    }

    #[test]
    fn what_is_meant_of_each_host_is_said_where_it_is_not_plain() {
        let pair = |host: &str, names: &str| (host.to_owned(), names.to_owned());
        assert_eq!(exactly(&["app"], &[("web1", "app"), ("web2", "app")]), []);
        assert_eq!(
            exactly(
                &["web1::app", "db*::pg"],
                &[("db1", "pg"), ("web1", "app"), ("web2", "")]
            ),
            [
                pair("db1", "pg"),
                pair("web1", "app"),
                pair("web2", UNKNOWN)
            ]
        );
        assert_eq!(
            exactly(&["w*"], &[("web1", "w1"), ("web1", "w2")]),
            [pair("web1", "w1 w2")]
        );
    }
}
