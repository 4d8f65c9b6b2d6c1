//! `--dry-run` of an action on the fleet: the hosts, and exactly what is meant of each.

use rsv_proto::wire::TargetResult;

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
    /// The exact targets; an empty program: it is not known.
    pub(in crate::command) targets: Vec<TargetResult>,
}

impl Plan {
    /// Shows it.
    pub(in crate::command) fn show(self, invocation: &mut Invocation) -> Result<Exit, Failure> {
        if !invocation.ui.output().is_text() {
            json::print(&mut invocation.ui, &self.to_json())?;
            return Ok(Exit::Done);
        }
        invocation.ui.line(&self.headline())?;
        let how = invocation.global.fold;
        let lines = render_lines(&fold_lines(self.exactly(), how), how);
        invocation.ui.bytes(lines.as_bytes())?;
        Ok(Exit::Done)
    }

    fn headline(&self) -> String {
        let what = [&[self.word.to_owned()][..], &self.programs].concat();
        let many = count(self.hosts.len(), "host");
        format!(
            "would {} on {many}: {}",
            what.join(" "),
            folded(&self.hosts)
        )
    }

    /// What is meant of each host, unless that has been said already.
    fn exactly(&self) -> Vec<(String, String)> {
        let of = |host: &String| {
            let own = self.targets.iter().filter(|target| target.host == *host);
            let names = own.map(|target| match target.program.as_str() {
                "" => UNKNOWN,
                program => program,
            });
            (host.clone(), names.collect::<Vec<_>>().join(" "))
        };
        let lines: Vec<(String, String)> = self.hosts.iter().map(of).collect();
        let said = self.programs.join(" ");
        match lines
            .iter()
            .all(|(_, names)| names.is_empty() || *names == said)
        {
            true => Vec::new(),
            false => lines,
        }
    }

    fn to_json(&self) -> json::Plan {
        let targets = self.targets.iter().map(|target| json::PlannedTarget {
            host: target.host.clone(),
            program: json::text(&target.program),
        });
        json::Plan {
            schema: self.schema.clone(),
            dry_run: true,
            hosts: self.hosts.clone(),
            programs: self.programs.clone(),
            targets: targets.collect(),
        }
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
        plan.exactly()
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
