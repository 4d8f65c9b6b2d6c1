//! An action on programs: one call for each name, in the order of the names, as supervisorctl makes
//! them. A restart is every stop, then every start.

use std::collections::BTreeSet;

use rsv_proto::{
    process::display_name,
    select::ProgramPattern,
    wire::{
        ActResponse, Action, Outcome, Refusal, Step, TargetResult,
        act_response::{Accepted, Event, Finished},
        action::Verb,
    },
    xmlrpc::Value,
};
use tokio::sync::mpsc;

use super::{Answer, Remote, Unanswered, WAITING, answers, code};
use crate::{
    client::Events,
    error::{Exit, Failure},
};

/// What one call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Start,
    Stop,
    Signal(i32),
    Clear,
}

/// The methods of a deed: on one process, on a group, on all.
struct Methods {
    one: &'static str,
    /// Absent: there is none, and each process is called by itself.
    group: Option<&'static str>,
    all: &'static str,
}

impl Remote {
    /// Begins an action.
    pub(crate) fn act(
        &self,
        action: Option<Action>,
        patterns: Vec<String>,
    ) -> Result<Events<ActResponse>, Failure> {
        let verb = action.and_then(|action| action.verb);
        let deeds = match verb {
            Some(Verb::Start(_)) => vec![Deed::Start],
            Some(Verb::Stop(_)) => vec![Deed::Stop],
            Some(Verb::Restart(_)) => vec![Deed::Stop, Deed::Start],
            Some(Verb::Signal(signal)) => vec![Deed::Signal(signal.signal)],
            Some(
                Verb::Update(_)
                | Verb::Reread(_)
                | Verb::Clear(_)
                | Verb::Add(_)
                | Verb::Remove(_)
                | Verb::Reload(_)
                | Verb::Shutdown(_),
            )
            | None => return Err(Failure::new(Exit::Usage, "nothing that a server can do")),
        };
        let (sender, events) = mpsc::channel(WAITING);
        let remote = self.clone();
        tokio::spawn(async move {
            let say = |event| {
                let event = Some(event);
                sender.send(Ok(ActResponse { event }))
            };
            if say(Event::Accepted(Accepted::default())).await.is_err() {
                return;
            }
            let mut results = Results::default();
            for deed in deeds {
                results.begin();
                for pattern in &patterns {
                    match remote.do_all(deed, pattern).await {
                        Ok(done) => done.into_iter().for_each(|d| results.add(deed, d)),
                        Err(unanswered) => {
                            // Nobody may be there any more.
                            drop(sender.send(Err(unanswered.into())).await);
                            return;
                        }
                    }
                }
            }
            for result in results.all {
                if say(Event::Result(result)).await.is_err() {
                    return;
                }
            }
            // As above.
            drop(say(Event::Finished(Finished::default())).await);
        });
        Ok(Events::queued(events))
    }

    /// Empties logs.
    pub(crate) async fn clear(&self, patterns: &[String]) -> Result<Vec<TargetResult>, Failure> {
        let mut results = Vec::new();
        for pattern in patterns {
            results.extend(self.do_all(Deed::Clear, pattern).await?);
        }
        Ok(results)
    }

    async fn do_all(&self, deed: Deed, pattern: &str) -> Answer<Vec<TargetResult>> {
        let methods = deed.methods();
        match (ProgramPattern::parse(pattern), methods.group) {
            (ProgramPattern::All, _) => {
                let done = self.call(methods.all, deed.params(None)).await?;
                Ok(answers::results(&done))
            }
            (ProgramPattern::Group(group), Some(method)) => {
                match self.call(method, deed.params(Some(&group))).await {
                    Ok(done) => Ok(answers::results(&done)),
                    Err(Unanswered::Fault(fault)) if fault.code == code::BAD_NAME => {
                        Ok(vec![unknown(format!("{group}:*"), Refusal::NoSuchGroup)])
                    }
                    Err(Unanswered::Fault(fault)) => {
                        let group = format!("{group}:*");
                        Ok(vec![answers::target(group, fault.code, &fault.text)])
                    }
                    Err(failure) => Err(failure),
                }
            }
            (ProgramPattern::Exact { group, name }, _) => {
                Ok(vec![self.do_one(deed, &group, &name).await?])
            }
            (wanted, _) => {
                let refusal = match wanted {
                    ProgramPattern::Group(_) => Refusal::NoSuchGroup,
                    _ => Refusal::NoSuchProcess,
                };
                let mut results = Vec::new();
                for (group, name) in self.matching(&wanted).await? {
                    results.push(self.do_one(deed, &group, &name).await?);
                }
                if results.is_empty() {
                    results.push(unknown(pattern.to_owned(), refusal));
                }
                Ok(results)
            }
        }
    }

    async fn do_one(&self, deed: Deed, group: &str, name: &str) -> Answer<TargetResult> {
        let program = display_name(group, name);
        let params = deed.params(Some(&program));
        match self.call(deed.methods().one, params).await {
            Ok(_true) => Ok(answers::target(program, code::SUCCESS, "")),
            Err(Unanswered::Fault(fault)) => Ok(answers::target(program, fault.code, &fault.text)),
            Err(failure) => Err(failure),
        }
    }

    /// Group and name of each process that a pattern means.
    pub(super) async fn matching(&self, pattern: &ProgramPattern) -> Answer<Vec<(String, String)>> {
        let infos = self.call("getAllProcessInfo", Vec::new()).await?;
        let processes = answers::processes(&infos, std::time::SystemTime::now());
        let names = processes.into_iter().map(|p| (p.group, p.name));
        Ok(names
            .filter(|(group, name)| pattern.matches(group, name))
            .collect())
    }
}

impl Deed {
    fn methods(self) -> Methods {
        let methods = |one, group, all| Methods { one, group, all };
        match self {
            Self::Start => methods(
                "startProcess",
                Some("startProcessGroup"),
                "startAllProcesses",
            ),
            Self::Stop => methods("stopProcess", Some("stopProcessGroup"), "stopAllProcesses"),
            Self::Signal(_) => methods(
                "signalProcess",
                Some("signalProcessGroup"),
                "signalAllProcesses",
            ),
            Self::Clear => methods("clearProcessLogs", None, "clearAllProcessLogs"),
        }
    }

    fn params(self, name: Option<&str>) -> Vec<Value> {
        let name = name.map(Value::from).into_iter();
        match self {
            Self::Signal(signal) => name.chain([signal.to_string().into()]).collect(),
            Self::Start | Self::Stop | Self::Clear => name.collect(),
        }
    }

    fn step(self) -> Step {
        match self {
            Self::Start => Step::Started,
            Self::Stop => Step::Stopped,
            Self::Signal(_) => Step::Signalled,
            Self::Clear => Step::Unspecified,
        }
    }
}

/// What has come of an action. A name that is given twice has two results.
#[derive(Debug, Default)]
struct Results {
    all: Vec<TargetResult>,
    /// Those of an earlier deed, to which the one under way has added nothing yet.
    earlier: BTreeSet<usize>,
}

impl Results {
    /// The next deed goes on from what there is.
    fn begin(&mut self) {
        self.earlier = (0..self.all.len()).collect();
    }

    /// Adds what a deed came to. What a program was told before is remembered by its steps, and the
    /// last deed decides.
    fn add(&mut self, deed: Deed, mut done: TargetResult) {
        if matches!(deed, Deed::Signal(_)) && done.refusal() == Refusal::NotRunning {
            done.set_outcome(Outcome::Failed);
        }
        if done.outcome() == Outcome::Done && done.refusal() == Refusal::Unspecified {
            done.steps.push(deed.step().into());
        }
        let same = |i: &&usize| self.all[**i].program == done.program;
        let Some(i) = self.earlier.iter().find(same).copied() else {
            return self.all.push(done);
        };
        self.earlier.remove(&i);
        let before = &mut self.all[i];
        let steps = before.steps.iter().chain(&done.steps).copied().collect();
        *before = TargetResult { steps, ..done };
    }
}

fn unknown(program: String, refusal: Refusal) -> TargetResult {
    TargetResult {
        program,
        outcome: Outcome::Failed.into(),
        refusal: refusal.into(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(deeds: &[(Deed, i64)]) -> Vec<TargetResult> {
        let mut results = Results::default();
        for (deed, status) in deeds {
            results.begin();
            results.add(*deed, answers::target("a".into(), *status, ""));
        }
        results.all
    }

    #[test]
    fn a_restart_is_one_result_with_its_steps() {
        for (stop, start, steps, outcome) in [
            (
                code::SUCCESS,
                code::SUCCESS,
                &[Step::Stopped, Step::Started][..],
                Outcome::Done,
            ),
            (
                code::NOT_RUNNING,
                code::SUCCESS,
                &[Step::Started],
                Outcome::Done,
            ),
            (
                code::SUCCESS,
                code::SPAWN_ERROR,
                &[Step::Stopped],
                Outcome::Failed,
            ),
            (code::BAD_NAME, code::BAD_NAME, &[], Outcome::Failed),
        ] {
            let results = after(&[(Deed::Stop, stop), (Deed::Start, start)]);
            assert_eq!(results.len(), 1, "{stop} {start}");
            assert!(
                results[0].steps().eq(steps.iter().copied()),
                "{stop} {start}"
            );
            assert_eq!(results[0].outcome(), outcome, "{stop} {start}");
        }
    }

    #[test]
    fn a_name_that_is_given_twice_has_two_results() {
        let mut results = Results::default();
        results.begin();
        results.add(Deed::Start, answers::target("a".into(), code::SUCCESS, ""));
        let again = answers::target("a".into(), code::ALREADY_STARTED, "");
        results.add(Deed::Start, again);
        assert_eq!(results.all.len(), 2);
    }

    #[test]
    fn a_signal_to_what_does_not_run_has_failed() {
        let results = after(&[(Deed::Signal(1), code::NOT_RUNNING)]);
        assert_eq!(results[0].outcome(), Outcome::Failed);
    }
}
