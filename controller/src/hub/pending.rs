//! What has to be written down before it may have consequences. Pure but for the answers it holds.
//!
//! Invariants: steps are written in the order in which they came, one batch at a time; what follows from
//! them (commands, answers) happens after they are durable, in the same order. What waits is bounded by
//! the operations that are under way. When the store fails, what was to be begun is refused, and the rest
//! waits for the next try.

use rsv_proto::{name::HostName, wire::Command};
use tokio::sync::oneshot;

use super::{
    handle::{Controlled, Submitted},
    operations::{Durable, SubmitError},
};
use crate::store::OperationStep;

/// What happens after steps are durable.
#[derive(Debug)]
pub(super) enum After {
    /// A host gets a command.
    Command(HostName, Box<Command>),
    /// An operation may be told as far as this.
    Written(String, Durable),
    /// A submission is answered.
    Submitted(
        oneshot::Sender<Result<Submitted, SubmitError>>,
        Box<Submitted>,
    ),
    /// Somebody who paused, resumed or cancelled is answered.
    Controlled(oneshot::Sender<Controlled>, String),
}

/// Steps and their consequences that wait.
#[derive(Debug, Default)]
pub(super) struct Pending {
    waiting: Load,
    writing: Option<Load>,
}

#[derive(Debug, Default)]
struct Load {
    steps: Vec<OperationStep>,
    after: Vec<After>,
}

/// What is to be done now.
#[derive(Debug)]
pub(super) enum Next {
    /// Nothing.
    Nothing,
    /// These have nothing to wait for.
    Do(Vec<After>),
    /// Write these, then tell.
    Write(Vec<OperationStep>),
}

impl Pending {
    pub(super) fn step(&mut self, step: OperationStep) {
        self.waiting.steps.push(step);
    }

    pub(super) fn after(&mut self, after: After) {
        self.waiting.after.push(after);
    }

    /// What is to be done now, if anything.
    pub(super) fn next(&mut self) -> Next {
        if self.writing.is_some() {
            return Next::Nothing;
        }
        let load = std::mem::take(&mut self.waiting);
        match (load.steps.is_empty(), load.after.is_empty()) {
            (true, true) => Next::Nothing,
            (true, false) => Next::Do(load.after),
            (false, _) => {
                let steps = load.steps.clone();
                self.writing = Some(load);
                Next::Write(steps)
            }
        }
    }

    /// The steps are durable: what follows from them.
    pub(super) fn written(&mut self) -> Vec<After> {
        self.writing
            .take()
            .map(|load| load.after)
            .unwrap_or_default()
    }

    /// The steps could not be written. What somebody wanted to begin with them is refused: its names are
    /// given. Everything else waits.
    pub(super) fn failed(&mut self) -> Vec<String> {
        let mut load = self.writing.take().unwrap_or_default();
        let mut refused = Vec::new();
        for step in &load.steps {
            // What undoes an operation has nobody who could submit it again.
            if let OperationStep::Begun(record) = step
                && record.rollback_of.is_empty()
            {
                refused.push(record.plan.id.clone());
            }
        }
        load.steps.append(&mut self.waiting.steps);
        load.after.append(&mut self.waiting.after);
        load.steps.retain(|step| {
            let of = match step {
                OperationStep::Begun(record) => &record.plan.id,
                OperationStep::Facts { operation, .. } => operation,
                OperationStep::Forgotten(operation) => operation,
            };
            !refused.contains(of)
        });
        for after in std::mem::take(&mut load.after) {
            match after {
                After::Submitted(answer, submitted) if refused.contains(&submitted.id) => {
                    // Whoever asked may have gone.
                    drop(answer.send(Err(SubmitError::NotWritten)));
                }
                After::Command(_, command) if refused.contains(&command.operation) => {}
                After::Written(id, _) if refused.contains(&id) => {}
                after => load.after.push(after),
            }
        }
        self.waiting = load;
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(operation: &str) -> After {
        let command = Command {
            operation: operation.into(),
            ..Default::default()
        };
        After::Command("h1".parse().unwrap(), Box::new(command))
    }

    fn facts(operation: &str) -> OperationStep {
        OperationStep::Facts {
            operation: operation.into(),
            from: 0,
            facts: vec![],
        }
    }

    fn operations(after: &[After]) -> Vec<&str> {
        let of = |after: &'_ After| match after {
            After::Command(_, command) => Some(command.operation.clone()),
            _ => None,
        };
        let found: Vec<String> = after.iter().filter_map(of).collect();
        found.into_iter().map(|s| &*s.leak()).collect()
    }

    #[test]
    fn consequences_wait_for_their_steps_and_for_those_before() {
        let mut pending = Pending::default();
        pending.after(command("free"));
        assert!(matches!(pending.next(), Next::Do(after) if operations(&after) == ["free"]));
        pending.step(facts("a"));
        pending.after(command("a"));
        assert!(matches!(pending.next(), Next::Write(steps) if steps.len() == 1));
        pending.after(command("b"));
        assert!(matches!(pending.next(), Next::Nothing), "one at a time");
        assert_eq!(operations(&pending.written()), ["a"]);
        assert!(matches!(pending.next(), Next::Do(after) if operations(&after) == ["b"]));
        assert!(matches!(pending.next(), Next::Nothing));
    }

    #[test]
    fn a_store_that_fails_holds_everything_up_in_order() {
        let mut pending = Pending::default();
        pending.step(facts("a"));
        pending.after(command("a"));
        assert!(matches!(pending.next(), Next::Write(_)));
        pending.step(facts("b"));
        pending.after(command("b"));
        assert!(pending.failed().is_empty());
        assert!(matches!(pending.next(), Next::Write(steps) if steps.len() == 2));
        assert_eq!(operations(&pending.written()), ["a", "b"]);
    }
}
