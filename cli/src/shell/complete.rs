//! Completion at the prompt: verbs, and names of what is there.

use std::{cell::RefCell, rc::Rc, time::Duration};

use rsv_proto::{process::display_name, wire::GetStatusRequest};
use rustyline::{
    Context, Helper, Result,
    completion::{Completer, Pair},
    highlight::Highlighter,
    hint::Hinter,
    validate::Validator,
};
use tokio::runtime::Runtime;

use crate::{
    args::{Arguments, Global},
    invocation::{Invocation, Scope},
};

/// How long a key may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// Processes and groups; asked for once between two lines.
pub(super) type Names = Rc<RefCell<Option<Known>>>;

/// What is there.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    processes: Vec<String>,
    groups: Vec<String>,
}

/// Completes lines.
pub(super) struct Completion {
    runtime: Rc<Runtime>,
    global: Global,
    names: Names,
    verbs: Vec<String>,
}

/// What can stand where the cursor is.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Verb,
    Group,
    Process,
    Nothing,
}

impl Completion {
    pub(super) fn new(runtime: Rc<Runtime>, global: Global, names: Names) -> Self {
        let grammar = Arguments::grammar();
        let verbs = grammar
            .get_subcommands()
            .map(|verb| verb.get_name().to_owned());
        let ends = ["quit", "exit"].map(str::to_owned);
        let mut verbs: Vec<String> = verbs.chain(ends).collect();
        verbs.sort();
        Self {
            runtime,
            global,
            names,
            verbs,
        }
    }

    fn known(&self) -> Known {
        if let Some(known) = &*self.names.borrow() {
            return known.clone();
        }
        let asked = async { tokio::time::timeout(PATIENCE, self.ask()).await };
        let known = self
            .runtime
            .block_on(asked)
            .ok()
            .flatten()
            .unwrap_or_default();
        *self.names.borrow_mut() = Some(known.clone());
        known
    }

    /// What cannot be asked completes nothing, and says nothing in the middle of a line.
    async fn ask(&self) -> Option<Known> {
        let mut invocation = Invocation::new(self.global.clone());
        let (server, hosts) = match invocation.scope().ok()? {
            Scope::Local => (invocation.agent().await.ok()?.server, None),
            Scope::Fleet(hosts) => (invocation.controller().await.ok()?, Some(hosts)),
        };
        let request = GetStatusRequest {
            hosts,
            programs: Vec::new(),
        };
        let (hosts, _) = server.status_and_notice(request).await.ok()?;
        let mut known = Known::default();
        for process in hosts.into_iter().flat_map(|host| host.programs) {
            known
                .processes
                .push(display_name(&process.group, &process.name));
            known.processes.push(format!("{}:*", process.group));
            known.groups.push(process.group);
        }
        for names in [&mut known.processes, &mut known.groups] {
            names.sort();
            names.dedup();
        }
        Some(known)
    }
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        let before = line.get(..at).unwrap_or(line);
        let start = before
            .rfind(char::is_whitespace)
            .map_or(0, |blank| blank + 1);
        let word = &before[start..];
        let names = match wanted(&before[..start]) {
            Wanted::Verb => self.verbs.clone(),
            Wanted::Group => self.known().groups,
            Wanted::Process => self.known().processes,
            Wanted::Nothing => Vec::new(),
        };
        let fitting = names.into_iter().filter(|name| name.starts_with(word));
        let pairs = fitting.map(|name| Pair {
            replacement: format!("{name} "),
            display: name,
        });
        Ok((start, pairs.collect()))
    }
}

impl Helper for Completion {}
impl Highlighter for Completion {}
impl Validator for Completion {}
impl Hinter for Completion {
    type Hint = String;
}

/// What can stand behind these words.
fn wanted(before: &str) -> Wanted {
    let mut words = before.split_whitespace();
    match (words.next(), words.count()) {
        (None, _) | (Some("help" | "?"), 0) => Wanted::Verb,
        (Some("add" | "remove" | "update"), _) => Wanted::Group,
        (
            Some(
                "clear" | "fg" | "pid" | "restart" | "start" | "status" | "stop" | "tail" | "wait",
            ),
            _,
        ) => Wanted::Process,
        // The signal comes first.
        (Some("signal"), 1..) => Wanted::Process,
        _ => Wanted::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_come_first_and_names_behind_them() {
        for (before, expected) in [
            ("", Wanted::Verb),
            ("  ", Wanted::Verb),
            ("help ", Wanted::Verb),
            ("start ", Wanted::Process),
            ("start a b ", Wanted::Process),
            ("update ", Wanted::Group),
            ("signal ", Wanted::Nothing),
            ("signal HUP ", Wanted::Process),
            ("version ", Wanted::Nothing),
        ] {
            assert_eq!(wanted(before), expected, "{before:?}");
        }
    }
}
