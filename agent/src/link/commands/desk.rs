//! What is to be done about each command, in order: what has to be on the disk before anything follows
//! from it, what is run, what is told.
//!
//! Pure: [`Ledger`] knows the commands, the driver carries out each [`Todo`] in its turn. Invariant: a
//! command is noted before it is run, and its results before they are told.

use std::time::Duration;

use rsv_proto::wire;

use super::ledger::{self, Begun, Ledger, Record, Verdict};
use crate::link::session::Order;

/// The commands of a host, over all sessions.
#[derive(Debug)]
pub struct Desk {
    /// The host's boot.
    boot: String,
    ledger: Ledger,
}

/// Something to do, before what comes after it.
#[derive(Debug, PartialEq)]
pub enum Todo {
    /// Note this on the disk.
    Keep(Record),
    /// Tell the controller, if there is a session.
    Tell(wire::CommandResult),
    /// Look at the programs that it is for, and go on with [`Desk::looked`].
    Look(Order),
    /// It is noted by now: go on with [`Desk::noted`].
    Check(Order),
    /// Run it; its end goes to [`Desk::finished`].
    Run(wire::Command),
}

impl Desk {
    /// Takes over what a former agent has left; gives what it had begun and not finished, in its order.
    pub fn restored(boot: &str, records: Vec<Record>) -> (Self, Vec<Begun>) {
        let (ledger, unfinished) = Ledger::restored(boot, records);
        let boot = boot.to_owned();
        (Self { boot, ledger }, unfinished)
    }

    /// A session is open: what is owed goes there first.
    pub fn opened(&self) -> Vec<Todo> {
        self.ledger.owed().into_iter().map(Todo::Tell).collect()
    }

    /// A command came.
    pub fn ordered(&mut self, now: Duration, order: Order) -> Vec<Todo> {
        match self.ledger.receive(now, &order) {
            Verdict::Run => {
                let heard = self.ledger.hear(order.command.term);
                let heard = heard.into_iter().map(Todo::Keep);
                heard.chain([Todo::Look(order)]).collect()
            }
            Verdict::Running => Vec::new(),
            Verdict::Answered(result) => vec![Todo::Tell(result)],
            Verdict::Refused(result) => self.finished(result),
        }
    }

    /// These are the programs that a command is for, each with its process id; 0: it has none.
    pub fn looked(&mut self, order: Order, before: Vec<(String, u32)>) -> Vec<Todo> {
        let begun = Begun::new(&self.boot, &order, before);
        let id = order.command.id.clone();
        self.ledger.note_begun(&id, &begun);
        let begun = Some(begun);
        vec![Todo::Keep(Record::Begun { id, begun }), Todo::Check(order)]
    }

    /// A command is noted; the disk may have been slow.
    pub fn noted(&mut self, now: Duration, order: Order) -> Vec<Todo> {
        match ledger::expired(now, &order) {
            Some(result) => self.finished(result),
            None => vec![Todo::Run(order.command)],
        }
    }

    /// A command has its results.
    pub fn finished(&mut self, result: wire::CommandResult) -> Vec<Todo> {
        let record = Record::done(&result);
        self.ledger.finish(result.clone());
        vec![Todo::Keep(record), Todo::Tell(result)]
    }

    /// The controller has stored the results of these.
    pub fn acknowledged(&mut self, ids: &[String]) -> Vec<Todo> {
        let record = self.ledger.acknowledge(ids);
        record.into_iter().map(Todo::Keep).collect()
    }

    /// Whether nothing more comes of what runs, but from the next agent.
    pub fn is_settled(&self) -> bool {
        self.ledger.is_settled()
    }

    /// All that is known, as it would be written anew.
    pub fn records(&self) -> Vec<Record> {
        self.ledger.records()
    }
}
