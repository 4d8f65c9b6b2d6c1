//! Which commands came, which are done, and what came of them. Pure.
//!
//! Invariants: a command that was once to be run is never run again, whatever is forgotten of other
//! commands; a result is owed until it is acknowledged; what is kept is bounded. What an agent had begun
//! and not finished when it was killed is finished by the next one, as far as can be told how far it came.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use prost::Message as _;
use rsv_proto::wire::{self, Outcome, action::Verb};
use serde::{Deserialize, Serialize};

use super::{late, one_result};
use crate::link::session::Order;

/// How many finished commands are remembered. A controller repeats a command within its deadline,
/// mostly half a minute; no host is given a thousand commands in that time.
pub const KEPT: usize = 1024;

/// How many may run at once. One operator gives one at a time; hundreds at once on one host are a
/// mistake, and are told so.
pub const MAX_RUNNING: usize = 256;

/// What is to be done with a command.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// It is new: note it, then run it.
    Run,
    /// It runs already; its result will come.
    Running,
    /// It is done: this is what came of it.
    Answered(wire::CommandResult),
    /// It must not run; this is its result, to be noted.
    Refused(wire::CommandResult),
}

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Record {
    /// The command is about to be run.
    Begun {
        /// Its id.
        id: String,
        /// What it takes to finish it after the agent's death; absent: nobody can.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        begun: Option<Begun>,
    },
    /// A controller of this term was heard.
    Term {
        /// The term.
        term: u64,
    },
    /// It has its results.
    Done {
        /// Its id.
        id: String,
        /// The encoded message, in base64.
        result: String,
    },
    /// The controller has stored the results of these.
    Acknowledged {
        /// Their ids.
        ids: Vec<String>,
    },
}

/// A command that is about to be run, and what it was given for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Begun {
    /// The encoded command, in base64.
    pub command: String,
    /// The boot of the host; after another one nothing of this is so any more.
    pub boot: String,
    /// Its deadline in milliseconds of the boot's steady count.
    pub due: u64,
    /// Each program with its process id before; 0: it had none.
    pub before: Vec<(String, u32)>,
    /// Those of them that a later command has taken the other way.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub overtaken: BTreeSet<String>,
}

impl Begun {
    /// A command that is about to be run.
    pub fn new(boot: &str, order: &Order, before: Vec<(String, u32)>) -> Self {
        let due = order.due.unwrap_or_default().as_millis();
        Self {
            command: STANDARD_NO_PAD.encode(order.command.encode_to_vec()),
            boot: boot.to_owned(),
            due: u64::try_from(due).unwrap_or(u64::MAX),
            before,
            overtaken: BTreeSet::new(),
        }
    }

    /// Takes in that another command has begun after this one: what one of them starts and the other stops
    /// is the later one's.
    fn overtaken_by(&mut self, later: &Self) {
        if self
            .brings_up()
            .zip(later.brings_up())
            .is_none_or(|(this, that)| this == that)
        {
            return;
        }
        let is_common = |name: &&String| self.before.iter().any(|(own, _)| own == *name);
        let names = later.before.iter().map(|(name, _)| name);
        let common: Vec<String> = names.filter(is_common).cloned().collect();
        self.overtaken.extend(common);
    }

    /// Whether its programs are to be up in the end; absent: it is no matter of that.
    fn brings_up(&self) -> Option<bool> {
        match self.order()?.command.action?.verb? {
            Verb::Start(_) | Verb::Restart(_) => Some(true),
            Verb::Stop(_) => Some(false),
            Verb::Signal(_)
            | Verb::Update(_)
            | Verb::Reread(_)
            | Verb::Clear(_)
            | Verb::Add(_)
            | Verb::Remove(_)
            | Verb::Reload(_)
            | Verb::Shutdown(_) => None,
        }
    }

    /// The command, with its deadline.
    pub fn order(&self) -> Option<Order> {
        let bytes = STANDARD_NO_PAD.decode(&self.command).ok()?;
        Some(Order {
            command: wire::Command::decode(&*bytes).ok()?,
            due: Some(Duration::from_millis(self.due)),
        })
    }
}

impl Record {
    /// What came of a command.
    pub fn done(result: &wire::CommandResult) -> Self {
        let encoded = STANDARD_NO_PAD.encode(result.encode_to_vec());
        Self::Done {
            id: result.id.clone(),
            result: encoded,
        }
    }
}

/// The commands that are remembered.
#[derive(Debug, Default)]
pub struct Ledger {
    known: HashMap<String, State>,
    /// Finished ones, the oldest first.
    finished: VecDeque<String>,
    /// Those that run, in the order in which they began.
    running: Vec<String>,
    /// The highest term heard of.
    term: u64,
}

#[derive(Debug, PartialEq)]
enum State {
    Running(Option<Begun>),
    Done {
        result: wire::CommandResult,
        acknowledged: bool,
    },
}

impl Ledger {
    /// What a former agent knew, and what it had begun and not finished on this boot, in its order: that
    /// still counts as running. A command of which nobody can tell how far it came is never run again.
    pub fn restored(boot: &str, records: Vec<Record>) -> (Self, Vec<Begun>) {
        let mut ledger = Self::default();
        for record in records {
            match record {
                Record::Begun { id, begun } => {
                    ledger.begin(id.clone());
                    begun.iter().for_each(|begun| ledger.note_begun(&id, begun));
                }
                Record::Term { term } => ledger.term = ledger.term.max(term),
                Record::Done { id, result } => {
                    let bytes = STANDARD_NO_PAD.decode(result).unwrap_or_default();
                    match wire::CommandResult::decode(&*bytes) {
                        Ok(result) if result.id == id => ledger.finish(result),
                        _ => ledger.finish(unknown_fate(&id)),
                    }
                }
                Record::Acknowledged { ids } => drop(ledger.acknowledge(&ids)),
            }
        }
        let (mut resumed, mut lost) = (Vec::new(), Vec::new());
        for id in &ledger.running {
            match ledger.known.get(id) {
                Some(State::Running(Some(begun))) if begun.boot == boot => {
                    resumed.push(begun.clone());
                }
                _ => lost.push(id.clone()),
            }
        }
        lost.iter().for_each(|id| ledger.finish(unknown_fate(id)));
        (ledger, resumed)
    }

    /// Notes what it takes to finish a command that runs, and what it takes from those before it.
    pub fn note_begun(&mut self, id: &str, begun: &Begun) {
        for earlier in self.running.iter().filter(|earlier| *earlier != id) {
            if let Some(State::Running(Some(earlier))) = self.known.get_mut(earlier) {
                earlier.overtaken_by(begun);
            }
        }
        if let Some(State::Running(known)) = self.known.get_mut(id) {
            *known = Some(begun.clone());
        }
    }

    /// Notes the term of a controller; gives what is to be written down, if it is a newer one.
    pub fn hear(&mut self, term: u64) -> Option<Record> {
        if term <= self.term {
            return None;
        }
        self.term = term;
        Some(Record::Term { term })
    }

    /// Decides about a command that came at a tick; after [`Verdict::Run`] it counts as running.
    pub fn receive(&mut self, now: Duration, order: &Order) -> Verdict {
        let id = &order.command.id;
        match self.known.get(id) {
            Some(State::Running(_)) => return Verdict::Running,
            Some(State::Done { result, .. }) => return Verdict::Answered(result.clone()),
            None => {}
        }
        if let Some(result) = expired(now, order) {
            return Verdict::Refused(result);
        }
        let term = order.command.term;
        let refusal = if id.is_empty() {
            "a command needs an id"
        } else if term != 0 && term < self.term {
            "it comes from a controller that has been replaced"
        } else if order.due.is_none() {
            "a command needs a deadline"
        } else if self.running.len() >= MAX_RUNNING {
            "too many commands at once"
        } else {
            self.begin(id.clone());
            return Verdict::Run;
        };
        Verdict::Refused(one_result(id, Outcome::Failed, refusal.to_owned()))
    }

    /// Notes what came of a command.
    pub fn finish(&mut self, result: wire::CommandResult) {
        let id = result.id.clone();
        let done = State::Done {
            result,
            acknowledged: false,
        };
        match self.known.insert(id.clone(), done) {
            Some(State::Running(_)) => self.running.retain(|running| *running != id),
            Some(State::Done { .. }) => return,
            None => {}
        }
        self.finished.push_back(id);
        self.forget_oldest();
    }

    /// Whether nothing more comes of what runs, but from the next agent.
    pub fn is_settled(&self) -> bool {
        let verb = |id: &String| match self.known.get(id)? {
            State::Running(Some(begun)) => begun.order()?.command.action?.verb,
            _ => None,
        };
        let mut running = self.running.iter();
        running.all(|id| matches!(verb(id), Some(Verb::Reload(_))))
    }

    /// Notes that results are stored; gives what is to be written down, if that is news.
    pub fn acknowledge(&mut self, ids: &[String]) -> Option<Record> {
        let mut news = Vec::new();
        for id in ids {
            if let Some(State::Done { acknowledged, .. }) = self.known.get_mut(id)
                && !std::mem::replace(acknowledged, true)
            {
                news.push(id.clone());
            }
        }
        (!news.is_empty()).then_some(Record::Acknowledged { ids: news })
    }

    /// The results that are not acknowledged, the oldest first.
    pub fn owed(&self) -> Vec<wire::CommandResult> {
        let done = self.finished.iter().filter_map(|id| self.known.get(id));
        done.filter_map(|state| match state {
            State::Done {
                result,
                acknowledged: false,
            } => Some(result.clone()),
            _ => None,
        })
        .collect()
    }

    /// All that is known, as it would be written anew.
    pub fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        let mut acknowledged_ids = Vec::new();
        for id in &self.finished {
            if let Some(State::Done {
                result,
                acknowledged,
            }) = self.known.get(id)
            {
                records.push(Record::done(result));
                acknowledged_ids.extend(acknowledged.then(|| id.clone()));
            }
        }
        for id in &self.running {
            if let Some(State::Running(begun)) = self.known.get(id) {
                let (id, begun) = (id.clone(), begun.clone());
                records.push(Record::Begun { id, begun });
            }
        }
        if self.term > 0 {
            records.push(Record::Term { term: self.term });
        }
        if !acknowledged_ids.is_empty() {
            records.push(Record::Acknowledged {
                ids: acknowledged_ids,
            });
        }
        records
    }

    fn begin(&mut self, id: String) {
        if let std::collections::hash_map::Entry::Vacant(vacant) = self.known.entry(id.clone()) {
            vacant.insert(State::Running(None));
            self.running.push(id);
        }
    }

    /// Keeps the number of finished ones: first those that nobody waits for.
    fn forget_oldest(&mut self) {
        if self.finished.len() <= KEPT {
            return;
        }
        let is_acknowledged = |id: &String| {
            matches!(
                self.known.get(id),
                Some(State::Done {
                    acknowledged: true,
                    ..
                })
            )
        };
        let place = self.finished.iter().position(is_acknowledged).unwrap_or(0);
        if let Some(id) = self.finished.remove(place) {
            self.known.remove(&id);
        }
    }
}

/// The result of a command whose deadline has passed.
pub fn expired(now: Duration, order: &Order) -> Option<wire::CommandResult> {
    let by = now.checked_sub(order.due?).filter(|by| !by.is_zero())?;
    Some(one_result(&order.command.id, Outcome::Expired, late(by)))
}

/// The result of a command of which nobody can tell what became of it.
pub fn unknown_fate(id: &str) -> wire::CommandResult {
    let detail = "the agent was restarted while it ran this command; see the status";
    one_result(id, Outcome::Unreachable, detail.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn order(id: &str) -> Order {
        let command = wire::Command {
            id: id.into(),
            ..Default::default()
        };
        Order {
            command,
            due: Some(S(100)),
        }
    }

    fn done(id: &str) -> wire::CommandResult {
        one_result(id, Outcome::Done, String::new())
    }

    fn outcome(result: &wire::CommandResult) -> Outcome {
        result.results[0].outcome()
    }

    #[test]
    fn a_command_runs_once_and_a_repeated_id_gets_the_first_outcome() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.receive(S(1), &order("a")), Verdict::Run);
        assert_eq!(ledger.receive(S(2), &order("a")), Verdict::Running);
        ledger.finish(done("a"));
        assert_eq!(
            ledger.receive(S(3), &order("a")),
            Verdict::Answered(done("a"))
        );
        // Also after its deadline: what was done was done in time.
        assert_eq!(
            ledger.receive(S(300), &order("a")),
            Verdict::Answered(done("a"))
        );
    }

    #[test]
    fn a_command_after_its_deadline_or_without_one_is_never_run() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.receive(S(100), &order("in time")), Verdict::Run);
        let Verdict::Refused(result) = ledger.receive(S(103), &order("a")) else {
            panic!()
        };
        assert_eq!(outcome(&result), Outcome::Expired);
        assert_eq!(result.results[0].detail, "came 3.0 s after its deadline");
        for bad in [
            Order {
                due: None,
                ..order("b")
            },
            order(""),
        ] {
            let Verdict::Refused(result) = ledger.receive(S(1), &bad) else {
                panic!()
            };
            assert_eq!(outcome(&result), Outcome::Failed);
        }
    }

    #[test]
    fn results_are_owed_until_they_are_acknowledged() {
        let mut ledger = Ledger::default();
        for id in ["a", "b"] {
            ledger.receive(S(1), &order(id));
            ledger.finish(done(id));
        }
        assert_eq!(ledger.owed(), [done("a"), done("b")]);
        let ids = ["a".to_owned(), "stranger".to_owned()];
        let record = ledger.acknowledge(&ids).unwrap();
        assert_eq!(
            record,
            Record::Acknowledged {
                ids: vec!["a".into()]
            }
        );
        assert_eq!(ledger.acknowledge(&ids), None);
        assert_eq!(ledger.owed(), [done("b")]);
    }

    #[test]
    fn the_next_agent_knows_what_was_done_and_runs_nothing_again() {
        let mut ledger = Ledger::default();
        let mut written = Vec::new();
        for id in ["done", "acknowledged", "begun"] {
            assert_eq!(ledger.receive(S(1), &order(id)), Verdict::Run);
            written.push(Record::Begun {
                id: id.into(),
                begun: None,
            });
            if id != "begun" {
                ledger.finish(done(id));
                written.push(Record::done(&done(id)));
            }
        }
        written.extend(ledger.acknowledge(&["acknowledged".into()]));
        for records in [written, ledger.records()] {
            let (mut next, resumed) = Ledger::restored("boot", records);
            assert_eq!(resumed, []);
            assert_eq!(
                next.receive(S(1), &order("done")),
                Verdict::Answered(done("done"))
            );
            let Verdict::Answered(result) = next.receive(S(1), &order("begun")) else {
                panic!()
            };
            assert_eq!(outcome(&result), Outcome::Unreachable);
            let owed: Vec<String> = next.owed().into_iter().map(|result| result.id).collect();
            assert_eq!(owed, ["done", "begun"]);
        }
    }

    #[test]
    fn what_was_begun_on_this_boot_is_finished_and_on_another_one_has_an_unknown_fate() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.receive(S(1), &order("a")), Verdict::Run);
        let begun = Begun::new("boot", &order("a"), vec![("app".into(), 7)]);
        assert_eq!(begun.order(), Some(order("a")));
        let record = Record::Begun {
            id: "a".into(),
            begun: Some(begun.clone()),
        };
        ledger.note_begun("a", &begun);
        assert_eq!(ledger.records(), std::slice::from_ref(&record));
        let (mut next, resumed) = Ledger::restored("boot", vec![record.clone()]);
        assert_eq!(resumed, [begun]);
        assert_eq!(next.receive(S(1), &order("a")), Verdict::Running);
        assert_eq!(next.owed(), []);
        let (next, resumed) = Ledger::restored("another", vec![record]);
        assert_eq!((resumed, next.owed().len()), (vec![], 1));
    }

    #[test]
    fn a_controller_that_has_been_replaced_gives_no_commands_any_more() {
        let of = |id: &str, term| {
            let mut order = order(id);
            order.command.term = term;
            order
        };
        let mut ledger = Ledger::default();
        let heard = ledger.hear(7);
        assert_eq!(heard, Some(Record::Term { term: 7 }));
        assert_eq!(ledger.hear(7), None);
        assert_eq!(ledger.receive(S(1), &of("a", 7)), Verdict::Run);
        assert_eq!(ledger.receive(S(1), &of("b", 0)), Verdict::Run, "not said");
        assert!(matches!(
            ledger.receive(S(1), &of("c", 6)),
            Verdict::Refused(_)
        ));
        assert_eq!(ledger.receive(S(1), &of("a", 6)), Verdict::Running);
        let (mut next, _) = Ledger::restored("boot", ledger.records());
        assert!(matches!(
            next.receive(S(1), &of("d", 6)),
            Verdict::Refused(_)
        ));
    }

    #[test]
    fn what_is_kept_is_bounded_and_unacknowledged_results_stay_longest() {
        let mut ledger = Ledger::default();
        ledger.finish(done("owed"));
        for n in 0..2 * KEPT {
            let id = n.to_string();
            ledger.finish(done(&id));
            ledger.acknowledge(&[id]);
        }
        assert_eq!(ledger.known.len(), KEPT);
        assert_eq!(ledger.owed(), [done("owed")]);
        for n in 0..2 * KEPT {
            ledger.finish(done(&format!("x{n}")));
        }
        assert_eq!(ledger.known.len(), KEPT);
        assert!(ledger.owed().len() + MAX_RUNNING <= super::super::RESULTS);
    }

    #[test]
    fn too_many_at_once_are_refused() {
        let mut ledger = Ledger::default();
        for n in 0..MAX_RUNNING {
            assert_eq!(ledger.receive(S(1), &order(&n.to_string())), Verdict::Run);
        }
        assert!(matches!(
            ledger.receive(S(1), &order("one more")),
            Verdict::Refused(_)
        ));
        ledger.finish(done("0"));
        assert_eq!(ledger.receive(S(1), &order("another")), Verdict::Run);
    }

    #[test]
    fn a_damaged_record_is_a_command_with_an_unknown_fate() {
        let record = Record::Done {
            id: "a".into(),
            result: "!".into(),
        };
        let (mut ledger, _) = Ledger::restored("boot", vec![record]);
        let Verdict::Answered(result) = ledger.receive(S(1), &order("a")) else {
            panic!()
        };
        assert_eq!(outcome(&result), Outcome::Unreachable);
    }

    #[test]
    fn what_was_begun_and_not_finished_comes_back_in_its_order() {
        let ids: Vec<String> = (0..20).map(|n| format!("c{}", n * 7 % 20)).collect();
        let mut ledger = Ledger::default();
        for id in &ids {
            ledger.receive(S(1), &order(id));
            let begun = Begun::new("boot", &order(id), Vec::new());
            ledger.note_begun(id, &begun);
        }
        let (again, begun) = Ledger::restored("boot", ledger.records());
        let found = begun.iter().filter_map(Begun::order);
        let found: Vec<String> = found.map(|order| order.command.id).collect();
        assert_eq!(found, ids);
        assert_eq!(again.running, ids);
    }

    #[test]
    fn nothing_more_comes_but_of_a_reload_that_the_next_agent_answers() {
        let of = |id: &str, verb| {
            let mut order = order(id);
            order.command.action = Some(wire::Action { verb: Some(verb) });
            order
        };
        let reload = of("reload", Verb::Reload(wire::ReloadAction {}));
        let shutdown = of("shutdown", Verb::Shutdown(wire::ShutdownAction {}));
        let mut ledger = Ledger::default();
        assert!(ledger.is_settled());
        for (order, is_settled) in [(&reload, true), (&shutdown, false)] {
            let id = order.command.id.clone();
            ledger.receive(S(1), order);
            assert!(!ledger.is_settled(), "{id}: what it is is not known");
            let begun = Begun::new("boot", order, Vec::new());
            ledger.note_begun(&id, &begun);
            assert_eq!(ledger.is_settled(), is_settled, "{id}");
        }
        ledger.finish(done("shutdown"));
        assert!(ledger.is_settled());
    }
}
