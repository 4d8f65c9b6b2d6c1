//! `host label`, `host revoke`, `host rm`: what the controller keeps of enrolled hosts.

use rsv_proto::wire::{
    HostSelection, LabelHostsRequest, Outcome, RemoveHostsRequest, RevokeHostsRequest, TargetResult,
};

use super::{
    act::{care, plan::Plan, verdict},
    desire::{not_enrolled, reached},
};
use crate::{
    args::{HostArgs, LabelArgs, Output, RevokeArgs},
    client::Server,
    error::{Exit, Failure},
    fold::{fold_lines, render_lines},
    invocation::{Invocation, Scope, no_hosts},
    json,
};

/// What is asked.
enum Asked {
    Label(Labels),
    /// Why.
    Revoke(String),
    Remove,
}

/// Labels that are set and taken away.
#[derive(Debug, Default, PartialEq, Eq)]
struct Labels {
    set: Vec<(String, String)>,
    /// Keys.
    remove: Vec<String>,
}

/// What came of it: each target, and names said in full that no enrolled host has.
type Answer = (Vec<TargetResult>, Vec<String>);

/// Runs `host label`, whose words are hosts and labels.
pub(super) async fn label(invocation: &mut Invocation, args: LabelArgs) -> Result<Exit, Failure> {
    let (hosts, labels) = apart(args.words)?;
    run(invocation, Asked::Label(labels), hosts).await
}

/// Runs `host revoke`.
pub(super) async fn revoke(invocation: &mut Invocation, args: RevokeArgs) -> Result<Exit, Failure> {
    let asked = Asked::Revoke(args.reason.unwrap_or_default());
    run(invocation, asked, args.hosts).await
}

/// Runs `host rm`.
pub(super) async fn remove(invocation: &mut Invocation, args: HostArgs) -> Result<Exit, Failure> {
    run(invocation, Asked::Remove, args.hosts).await
}

async fn run(
    invocation: &mut Invocation,
    asked: Asked,
    words: Vec<String>,
) -> Result<Exit, Failure> {
    invocation.global.host.extend(words);
    let Scope::Fleet(hosts) = invocation.scope()? else {
        let text = format!("`host {}` needs a host", asked.word());
        return Err(Failure::usage(text).hint(asked.example()));
    };
    let server = invocation.controller().await?;
    let mut expect = invocation.global.expect;
    let is_dry = invocation.global.dry_run;
    if is_dry || !(invocation.global.yes || expect.is_some()) {
        let (results, missing) = asked.call(&server, &hosts, expect, true).await?;
        let reached = reached(&results);
        if reached.is_empty() && missing.is_empty() {
            return Err(no_hosts(&hosts));
        }
        if is_dry {
            let missing = missing.into_iter().map(not_enrolled);
            let plan = Plan {
                schema: asked.schema(),
                word: asked.word(),
                programs: Vec::new(),
                hosts: reached,
                targets: results.into_iter().chain(missing).collect(),
            };
            return plan.show(invocation);
        }
        // A host that is revoked comes back only by joining again.
        let is_grave = matches!(asked, Asked::Revoke(_));
        if is_grave || reached.len() > care::confirm_above(invocation)? {
            care::confirm(invocation, asked.word(), &[], &reached).await?;
            expect = u32::try_from(reached.len()).ok();
        }
    }
    let answer = asked.call(&server, &hosts, expect, false).await?;
    show(invocation, &asked, answer)
}

impl Asked {
    async fn call(
        &self,
        server: &Server,
        hosts: &HostSelection,
        expect_hosts: Option<u32>,
        dry_run: bool,
    ) -> Result<Answer, Failure> {
        let hosts = Some(hosts.clone());
        match self {
            Self::Label(labels) => {
                let request = LabelHostsRequest {
                    hosts,
                    set: labels.set.iter().cloned().collect(),
                    remove: labels.remove.clone(),
                    expect_hosts,
                    dry_run,
                };
                let answer = server.label_hosts(request).await?;
                Ok((answer.results, answer.missing))
            }
            Self::Revoke(reason) => {
                let request = RevokeHostsRequest {
                    hosts,
                    reason: reason.clone(),
                    expect_hosts,
                    dry_run,
                };
                let answer = server.revoke_hosts(request).await?;
                Ok((answer.results, answer.missing))
            }
            Self::Remove => {
                let request = RemoveHostsRequest {
                    hosts,
                    expect_hosts,
                    dry_run,
                };
                let answer = server.remove_hosts(request).await?;
                Ok((answer.results, answer.missing))
            }
        }
    }

    /// The verb as it is typed.
    fn word(&self) -> &'static str {
        match self {
            Self::Label(_) => "label",
            Self::Revoke(_) => "revoke",
            Self::Remove => "rm",
        }
    }

    fn schema(&self) -> String {
        format!("rsv/host-{}/v1", self.word())
    }

    fn example(&self) -> &'static str {
        match self {
            Self::Label(_) => "rsv host label web01 role=web, or a selector such as 'web*'",
            Self::Revoke(_) => "rsv host revoke web01, or a selector such as 'web*'",
            Self::Remove => "rsv host rm web01, or a selector such as '@state:never'",
        }
    }

    fn done_word(&self) -> &'static str {
        match self {
            Self::Label(_) => "labelled",
            Self::Revoke(_) => "revoked",
            Self::Remove => "removed",
        }
    }

    fn words(&self, result: &TargetResult) -> String {
        let detail = result.detail.as_str();
        match result.outcome() {
            Outcome::Done => self.done_word().to_owned(),
            Outcome::NotAttempted => format!("not attempted: {detail}"),
            _ => format!(
                "ERROR ({})",
                verdict::refusal_words(result.refusal(), detail)
            ),
        }
    }
}

fn show(
    invocation: &mut Invocation,
    asked: &Asked,
    (results, missing): Answer,
) -> Result<Exit, Failure> {
    let reached = reached(&results);
    let missing = missing.into_iter().map(not_enrolled);
    let results: Vec<TargetResult> = results.into_iter().chain(missing).collect();
    let (exit, outcome) = verdict::verdict(&results, &reached);
    let target = |result: &TargetResult| json::Target {
        host: json::text(&result.host),
        program: None,
        outcome: verdict::outcome_word(result.outcome()),
        detail: asked.words(result),
    };
    let targets: Vec<json::Target> = results.iter().map(target).collect();
    match invocation.ui.output() {
        Output::Table => {
            let lines = results.iter().map(|r| (r.host.clone(), asked.words(r)));
            let how = invocation.global.fold;
            let text = render_lines(&fold_lines(lines.collect(), how), how);
            invocation.ui.bytes(text.as_bytes())?;
        }
        Output::Json => {
            let action = json::Action {
                schema: asked.schema(),
                operation: None,
                outcome,
                targets,
            };
            json::print(&mut invocation.ui, &action)?;
        }
        Output::Jsonl => json::print_lines(&mut invocation.ui, &targets)?,
    }
    Ok(exit)
}

/// Hosts, and labels: `KEY=VALUE` sets one, `KEY-` takes it away. No host has a name with `=` or one
/// that ends in `-`.
fn apart(words: Vec<String>) -> Result<(Vec<String>, Labels), Failure> {
    let (mut hosts, mut labels) = (Vec::new(), Labels::default());
    for word in words {
        if word.contains('=') {
            let label = rsv_config::label(&word).map_err(|error| {
                Failure::usage(error.text).hint(format!("a label is {}", error.accepted))
            })?;
            labels.set.push(label);
        } else if let Some(key) = word.strip_suffix('-').filter(|key| !key.is_empty()) {
            if !rsv_config::label_key(key) {
                let text = format!("not a valid label: {}", rsv_config::repr(key));
                return Err(Failure::usage(text).hint("KEY- takes a label away, such as role-"));
            }
            labels.remove.push(key.to_owned());
        } else {
            hosts.push(word);
        }
    }
    if labels == Labels::default() {
        let hint = "rsv host label web01 role=web, or role- to take it away";
        return Err(Failure::usage("`host label` needs a label").hint(hint));
    }
    let mut keys: Vec<&String> = labels.set.iter().map(|(key, _)| key).collect();
    keys.extend(&labels.remove);
    keys.sort();
    match keys.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Failure::usage(format!(
            "label `{}` is named twice",
            pair[0]
        ))),
        None => Ok((hosts, labels)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(Vec<String>, Labels), Failure> {
        apart(line.split(' ').map(str::to_owned).collect())
    }

    #[test]
    fn hosts_and_labels_may_stand_in_any_order() {
        let (hosts, labels) = read("web01 role=web dc- - tier= web[02-03]").unwrap();
        assert_eq!(hosts, ["web01", "-", "web[02-03]"]);
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(labels.set, [pair("role", "web"), pair("tier", "")]);
        assert_eq!(labels.remove, ["dc"]);
    }

    #[test]
    fn what_is_no_label_is_refused_with_what_is_accepted() {
        for (line, text) in [
            ("web01", "`host label` needs a label"),
            ("web01 =web", "not a valid label: '=web'"),
            ("web01 role=a=b", "not a valid label: 'role=a=b'"),
            ("web01 ro!e-", "not a valid label: 'ro!e'"),
            ("web01 role=a role-", "label `role` is named twice"),
        ] {
            let failure = read(line).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{line}");
            assert_eq!(failure.message.as_deref(), Some(text), "{line}");
        }
    }
}
