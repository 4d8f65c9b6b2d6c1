//! The laws of targets: nothing is asked of a program that was not named for its host, nothing else is told of,
//! and an operation is about the hosts for which something was named.

use std::collections::BTreeSet;

use rsv_agent::hub::Key;
use rsv_controller::operands::OperandError;
use rsv_proto::wire::{Command, TargetResult};

use super::{super::meaning::Meaning, Witness, configuration::PROGRAMS, key_of};

impl Witness {
    /// Somebody asks for an operation that means this.
    pub(in super::super) fn asked_for(&mut self, operation: &str, meaning: Meaning) {
        self.meanings.insert(operation.to_owned(), meaning);
    }

    /// Somebody asks for a part of an operation again.
    pub(in super::super) fn asked_again(&mut self, operation: &str, of: &str) {
        if let Some(meaning) = self.meanings.get(of) {
            let mut meaning = meaning.clone();
            meaning.is_part = true;
            self.asked_for(operation, meaning);
        }
    }

    /// An operation has begun, on these hosts.
    pub(in super::super) fn begun_on(&mut self, operation: &str, hosts: &BTreeSet<usize>) {
        let Some(meaning) = self.meanings.get(operation) else {
            return;
        };
        let meant = meaning.hosts();
        let is_so = match meaning.is_part {
            true => hosts.is_subset(&meant),
            false => *hosts == meant,
        };
        if meaning.is_void {
            self.breaks(|| format!("{operation} names what is not selected, and has begun"));
        } else if !is_so {
            self.breaks(|| format!("{operation} has begun on {hosts:?}, and means {meant:?}"));
        }
    }

    /// An operation was refused because of what it names. Of a group nobody needs to know: it may have gone
    /// from the files of all hosts that are selected.
    pub(in super::super) fn refused(&mut self, operation: &str, why: &OperandError) {
        let is_group = |name: &str| PROGRAMS.iter().any(|program| key_of(program).group == name);
        if matches!(why, OperandError::Neither(_, name) if is_group(name)) {
            return;
        }
        let meaning = self.meanings.get(operation);
        if meaning.is_some_and(|meaning| !meaning.is_void) {
            self.breaks(|| format!("{operation} names what is selected, and is refused: {why}"));
        }
    }

    /// A host is asked for something.
    pub(super) fn named(&mut self, host: usize, command: &Command, before: &[(String, u32)]) {
        let Some(meaning) = self.meanings.get(&command.operation) else {
            return;
        };
        let id = &command.id;
        let said: BTreeSet<String> = command.programs.iter().cloned().collect();
        let named = meaning.named(host).cloned().unwrap_or_default();
        let is_aside = |(program, _): &&(String, u32)| !meaning.has(host, program);
        let aside = before.iter().find(is_aside).map(|(name, _)| name.clone());
        let is_configuration = super::deed(command).is_some();
        if said != named {
            self.breaks(|| {
                format!(
                    "h{:02} is asked for {said:?} by {id}, which means {named:?}",
                    host + 1
                )
            });
        } else if let Some(aside) = aside.filter(|_| !is_configuration) {
            self.breaks(|| {
                format!(
                    "h{:02} is to touch {aside} for {id}, which does not mean it",
                    host + 1
                )
            });
        }
    }

    /// A process gets the signal of a command.
    pub(super) fn aimed(&mut self, host: usize, key: &Key, command: &str) {
        let operation = command.rsplit_once('.').map_or(command, |(of, _)| of);
        let meaning = self.meanings.get(operation);
        if meaning.is_some_and(|meaning| !meaning.has(host, &key.to_string())) {
            self.breaks(|| {
                format!(
                    "h{:02} sends {key} the signal of {command}, which does not mean it",
                    host + 1
                )
            });
        }
    }

    /// This is told of a target of an operation.
    pub(super) fn told_aside(&mut self, operation: &str, host: usize, result: &TargetResult) {
        let meaning = self.meanings.get(operation);
        if meaning.is_some_and(|meaning| !meaning.may_tell_of(host, &result.program)) {
            self.breaks(|| {
                format!(
                    "{operation} tells of h{:02} `{}`, which it does not mean",
                    host + 1,
                    result.program
                )
            });
        }
    }
}
