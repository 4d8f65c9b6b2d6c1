//! Operations in the store: each as it was submitted, and beside it every step since.

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::{OperationStep, StoreError};
use crate::{
    operation::{Fact, Record},
    store::embedded::{decode, used},
};

/// Submissions by id, JSON.
const OPERATIONS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("operations");
/// Steps by id and number, JSON.
const STEPS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("operation_steps");
/// Single numbers by name.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");

/// The name of the term among the numbers.
const TERM: &str = "term";

/// Makes the tables of a new file.
pub(super) fn prepare(database: &Database) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(used)?;
    transaction.open_table(OPERATIONS).map_err(used)?;
    transaction.open_table(STEPS).map_err(used)?;
    transaction.open_table(NUMBERS).map_err(used)?;
    transaction.commit().map_err(used)
}

/// A term above every one before; `least` keeps it above those of a store that was put back.
pub(super) fn next_term(database: &Database, least: u64) -> Result<u64, StoreError> {
    let transaction = database.begin_write().map_err(used)?;
    let term = {
        let mut numbers = transaction.open_table(NUMBERS).map_err(used)?;
        let last = numbers.get(TERM).map_err(used)?.map_or(0, |n| n.value());
        let term = last.saturating_add(1).max(least);
        numbers.insert(TERM, term).map_err(used)?;
        term
    };
    transaction.commit().map_err(used)?;
    Ok(term)
}

/// Every operation with its steps in order. One that cannot be read is told and left out: it is no
/// reason to leave a fleet without a controller.
pub(super) fn all(database: &Database) -> Result<Vec<(Record, Vec<Fact>)>, StoreError> {
    let transaction = database.begin_read().map_err(used)?;
    let operations = transaction.open_table(OPERATIONS).map_err(used)?;
    let steps = transaction.open_table(STEPS).map_err(used)?;
    let mut found = Vec::new();
    for row in operations.iter().map_err(used)? {
        let (id, record) = row.map_err(used)?;
        let id = id.value();
        let read = || -> Result<(Record, Vec<Fact>), StoreError> {
            let record = decode(id, record.value())?;
            let mut facts = Vec::new();
            for step in steps.range((id, 0)..=(id, u64::MAX)).map_err(used)? {
                facts.push(decode(id, step.map_err(used)?.1.value())?);
            }
            Ok((record, facts))
        };
        match read() {
            Ok(operation) => found.push(operation),
            Err(StoreError::Damaged(_)) => {
                tracing::error!(op = id, "this operation cannot be read and does not go on");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Writes steps down, all of them or none.
pub(super) fn note(database: &Database, written: &[OperationStep]) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(used)?;
    {
        let mut operations = transaction.open_table(OPERATIONS).map_err(used)?;
        let mut steps = transaction.open_table(STEPS).map_err(used)?;
        for step in written {
            match step {
                OperationStep::Begun(record) => {
                    let bytes = serde_json::to_vec(record).map_err(used)?;
                    let id = record.plan.id.as_str();
                    operations.insert(id, bytes.as_slice()).map_err(used)?;
                }
                OperationStep::Facts {
                    operation,
                    from,
                    facts,
                } => {
                    for (number, fact) in (*from..).zip(facts) {
                        let bytes = serde_json::to_vec(fact).map_err(used)?;
                        let key = (operation.as_str(), number);
                        steps.insert(key, bytes.as_slice()).map_err(used)?;
                    }
                }
                OperationStep::Forgotten(id) => {
                    let id = id.as_str();
                    operations.remove(id).map_err(used)?;
                    let range = (id, 0)..=(id, u64::MAX);
                    steps.retain_in(range, |_, _| false).map_err(used)?;
                }
            }
        }
    }
    transaction.commit().map_err(used)
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, time::SystemTime};

    use super::*;
    use crate::{
        operation::{Deed, Part, Patience, Plan, Rollout, Share, What},
        store::{Embedded, Store as _},
    };

    fn record(id: &str) -> Record {
        let host = "web01".parse().unwrap();
        Record {
            plan: Plan {
                id: id.into(),
                deed: Deed::Restart,
                rollout: Rollout {
                    batch: Share::Count(NonZeroU32::new(3).unwrap()),
                    ..Rollout::at_once(Deed::Restart)
                },
                patience: Patience {
                    deadline: std::time::Duration::from_secs(30),
                    timeout: None,
                },
                parts: vec![Part {
                    host,
                    programs: None,
                    away: None,
                    unmatched: vec![],
                }],
                missing: vec!["web09".into()],
            },
            submitted: 7,
            actor: "operator/admin".into(),
            key: "k".into(),
            request: "r".into(),
            programs: vec!["app".into()],
            signal: 0,
            trace: Default::default(),
            retry_of: String::new(),
            rollback_of: String::new(),
        }
    }

    fn facts(operation: &str, from: u64, n: usize) -> OperationStep {
        let facts = (0..n).map(|n| Fact::new(SystemTime::now(), What::Batch(n)));
        OperationStep::Facts {
            operation: operation.into(),
            from,
            facts: facts.collect(),
        }
    }

    #[test]
    fn operations_and_their_steps_are_remembered_in_order_until_they_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        {
            let store = Embedded::open(&path).unwrap();
            let begun = |id| OperationStep::Begun(Box::new(record(id)));
            store
                .note_operations(&[begun("a"), facts("a", 0, 2), begun("b"), facts("b", 0, 1)])
                .unwrap();
            store.note_operations(&[facts("a", 2, 300)]).unwrap();
        }
        let store = Embedded::open(&path).unwrap();
        let found = store.operations().unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((&found[0].0, found[0].1.len()), (&record("a"), 302));
        assert_eq!(found[0].1[301].what, What::Batch(299));
        store
            .note_operations(&[OperationStep::Forgotten("a".into())])
            .unwrap();
        let found = store.operations().unwrap();
        assert_eq!((found.len(), found[0].1.len()), (1, 1));
    }

    #[test]
    fn an_operation_that_cannot_be_read_is_left_out_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(&dir.path().join("store")).unwrap();
        let begun = OperationStep::Begun(Box::new(record("b")));
        store.note_operations(&[begun]).unwrap();
        let transaction = store.database().begin_write().unwrap();
        let mut operations = transaction.open_table(OPERATIONS).unwrap();
        operations.insert("a", b"{".as_slice()).unwrap();
        drop(operations);
        transaction.commit().unwrap();
        assert_eq!(store.operations().unwrap().len(), 1);
    }

    #[test]
    fn terms_grow_from_start_to_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let now = SystemTime::now();
        let term = |now| Embedded::open(&path).unwrap().next_term(now).unwrap();
        let first = term(now);
        assert!(term(now) > first);
        assert!(term(now - std::time::Duration::from_secs(3600)) > first);
    }
}
