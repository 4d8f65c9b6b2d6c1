//! What is wanted of hosts, in the store: the whole of each host under its name.

use std::time::SystemTime;

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use rsv_proto::name::HostName;

use super::{
    StoreError,
    embedded::{decode, used},
};
use crate::{
    desired::{HostChange, HostDesired, TooMany},
    token::seconds,
};

/// By host, JSON.
pub(super) const DESIRED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("desired");

/// Why it was not changed.
#[derive(Debug, thiserror::Error)]
pub enum DesireError {
    /// On one of the hosts too much would be wanted.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes the table of a new file.
pub(super) fn prepare(database: &Database) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(used)?;
    transaction.open_table(DESIRED).map_err(used)?;
    transaction.commit().map_err(used)
}

/// Of every host of which anything was ever wanted.
pub(super) fn all(database: &Database) -> Result<Vec<(HostName, HostDesired)>, StoreError> {
    let transaction = database.begin_read().map_err(used)?;
    let table = transaction.open_table(DESIRED).map_err(used)?;
    let mut found = Vec::new();
    for row in table.iter().map_err(used)? {
        let (name, desired) = row.map_err(used)?;
        let name = name.value();
        let host = name
            .parse()
            .map_err(|_| StoreError::Damaged(name.to_owned()))?;
        found.push((host, decode(name, desired.value())?));
    }
    Ok(found)
}

/// Carries changes out, all of them or none; gives what is then wanted of each of the hosts.
pub(super) fn change(
    database: &Database,
    changes: Vec<HostChange>,
    now: SystemTime,
) -> Result<Vec<(HostName, HostDesired)>, DesireError> {
    let transaction = database.begin_write().map_err(used)?;
    let mut changed = Vec::with_capacity(changes.len());
    {
        let mut table = transaction.open_table(DESIRED).map_err(used)?;
        for asked in changes {
            let HostChange {
                host,
                change,
                obeyed,
            } = asked;
            let key = host.as_str();
            let known = table.get(key).map_err(used)?;
            let mut desired: HostDesired = match &known {
                Some(row) => decode(key, row.value())?,
                None => HostDesired::default(),
            };
            drop(known);
            desired.change(change, seconds(now), obeyed)?;
            let bytes = serde_json::to_vec(&desired).map_err(used)?;
            table.insert(key, bytes.as_slice()).map_err(used)?;
            changed.push((host, desired));
        }
    }
    transaction.commit().map_err(used)?;
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        desired::Change,
        store::{Embedded, Store as _},
    };

    #[test]
    fn what_is_wanted_is_remembered_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let now = SystemTime::now();
        let host: HostName = "web01".parse().unwrap();
        let wanted = crate::desired::Wanted {
            reason: "leaks".into(),
            actor: "operator/ann".into(),
            since: 7,
        };
        let programs = vec![("app".to_owned(), "app".to_owned())];
        let asked = |change| HostChange {
            host: host.clone(),
            change,
            obeyed: 0,
        };
        let disable = vec![asked(Change::Disable(programs.clone(), wanted))];
        let first = {
            let store = Embedded::open(&path).unwrap();
            store.change_desired(disable, now).unwrap()
        };
        let store = Embedded::open(&path).unwrap();
        assert_eq!(store.desired().unwrap(), first);
        let enable = vec![asked(Change::Enable(programs))];
        let then = store
            .change_desired(enable, SystemTime::UNIX_EPOCH)
            .unwrap();
        assert!(then[0].1.generation > first[0].1.generation);
    }
}
