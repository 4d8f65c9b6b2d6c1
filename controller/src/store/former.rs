//! How hosts come into the store and go from it. Of one that went is kept, for as long as a certificate
//! of it may be good, which of them is.

use std::{collections::BTreeMap, time::SystemTime};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use rsv_proto::name::HostName;

use super::{
    CertificateRecord, HostRecord, StoreError,
    embedded::{Tables, decode, get, put, used},
};
use crate::{
    desired::HostDesired,
    standing::{Former, later},
};

/// Hosts that were removed, by name, JSON.
pub(super) const FORMER: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("former_hosts");

/// Every host that was removed and is remembered.
pub(super) fn all(database: &Database) -> Result<Vec<(HostName, Former)>, StoreError> {
    let transaction = database.begin_read().map_err(used)?;
    let table = transaction.open_table(FORMER).map_err(used)?;
    let mut found = Vec::new();
    for row in table.iter().map_err(used)? {
        let (name, former) = row.map_err(used)?;
        let name = name.value();
        let damaged = |_| StoreError::Damaged(name.to_owned());
        found.push((
            name.parse().map_err(damaged)?,
            decode(name, former.value())?,
        ));
    }
    Ok(found)
}

/// Enrols a host with a certificate of a join. The labels that it has stay, under those of its token.
pub(super) fn welcome(
    tables: &mut Tables<'_>,
    host: &HostName,
    certificate: &CertificateRecord,
    labels: &BTreeMap<String, String>,
    now: SystemTime,
) -> Result<HostRecord, StoreError> {
    let known: Option<HostRecord> = get(&tables.hosts, host.as_str())?;
    let former = take_former(tables, host)?;
    let mut record = match (known, former) {
        (Some(known), _) => known,
        (None, Some(former)) => of_former(former),
        (None, None) => HostRecord {
            labels: BTreeMap::new(),
            certificate: certificate.clone(),
            last_epoch: None,
            revision: 0,
            trust: Default::default(),
        },
    };
    record.labels.extend(labels.clone());
    record.trust = record.trust.rejoined(&certificate.serial);
    record.certificate = certificate.clone();
    record.last_epoch = None;
    record.revision = later(record.revision, now);
    put(&mut tables.hosts, host.as_str(), &record)?;
    Ok(record)
}

/// Forgets hosts and all that is kept of them, and those that need not be remembered any more.
pub(super) fn remove(
    tables: &mut Tables<'_>,
    hosts: &[HostName],
    now: SystemTime,
) -> Result<Vec<(HostName, Former)>, StoreError> {
    prune(tables, now)?;
    let mut removed = Vec::with_capacity(hosts.len());
    for host in hosts {
        let key = host.as_str();
        let Some(record) = get::<HostRecord>(&tables.hosts, key)? else {
            continue;
        };
        let desired: Option<HostDesired> = get(&tables.desired, key)?;
        let former = Former {
            revision: later(record.revision, now),
            certificate: record.certificate,
            trust: record.trust,
            desired: desired.map_or(0, |desired| desired.generation),
        };
        put(&mut tables.former, key, &former)?;
        for table in [&mut tables.hosts, &mut tables.desired, &mut tables.known] {
            table.remove(key).map_err(used)?;
        }
        removed.push((host.clone(), former));
    }
    Ok(removed)
}

/// Enrols a host that comes back with a certificate that is still good, as a new one.
pub(super) fn readmit(
    tables: &mut Tables<'_>,
    host: &HostName,
    serial: &str,
    now: SystemTime,
) -> Result<Option<HostRecord>, StoreError> {
    let former: Option<Former> = get(&tables.former, host.as_str())?;
    if !former.is_some_and(|former| former.trust.accepts(serial)) {
        return Ok(None);
    }
    let Some(former) = take_former(tables, host)? else {
        return Ok(None);
    };
    let mut record = of_former(former);
    record.revision = later(record.revision, now);
    put(&mut tables.hosts, host.as_str(), &record)?;
    Ok(Some(record))
}

/// A host that was removed and comes back.
fn take_former(tables: &mut Tables<'_>, host: &HostName) -> Result<Option<Former>, StoreError> {
    let former: Option<Former> = get(&tables.former, host.as_str())?;
    tables.former.remove(host.as_str()).map_err(used)?;
    if let Some(nothing) = former.as_ref().and_then(Former::no_longer_desired) {
        put(&mut tables.desired, host.as_str(), &nothing)?;
    }
    Ok(former)
}

fn of_former(former: Former) -> HostRecord {
    HostRecord {
        labels: BTreeMap::new(),
        certificate: former.certificate,
        last_epoch: None,
        revision: former.revision,
        trust: former.trust,
    }
}

fn prune(tables: &mut Tables<'_>, now: SystemTime) -> Result<(), StoreError> {
    let mut forgotten = Vec::new();
    for row in tables.former.iter().map_err(used)? {
        let (name, former) = row.map_err(used)?;
        let former: Former = decode(name.value(), former.value())?;
        if former.is_forgotten(now) {
            forgotten.push(name.value().to_owned());
        }
    }
    for name in forgotten {
        tables.former.remove(name.as_str()).map_err(used)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        desired::{Change as Wish, HostChange, Wanted},
        host::LastKnown,
        standing::{Change, Revoked},
        store::{Claim, Embedded, Store as _},
        token::{Token, digest, seconds},
    };

    fn web01() -> HostName {
        "web01".parse().unwrap()
    }

    fn join(store: &Embedded, serial: &str, now: SystemTime) -> HostRecord {
        let token = Token {
            digest: digest(b"secret"),
            host: "web01".into(),
            expires: seconds(now) + 60,
            uses_left: 1,
            labels: BTreeMap::new(),
            made_by: "operator/ann".into(),
            made: u64::MAX,
        };
        store.add_token(serial, &token, now).unwrap();
        let claim = Claim {
            token: serial.into(),
            secret: b"secret".to_vec(),
            host: web01(),
        };
        let certificate = CertificateRecord {
            serial: serial.into(),
            expires: seconds(now) + 60,
        };
        store.join(&claim, &certificate, now).unwrap()
    }

    fn change(store: &Embedded, change: Change, now: SystemTime) -> HostRecord {
        let changed = store.change_hosts(vec![(web01(), change)], now).unwrap();
        changed.into_iter().next().unwrap().1
    }

    fn label(value: &str) -> Change {
        Change::Label {
            set: BTreeMap::from([("role".into(), value.into())]),
            remove: Vec::new(),
        }
    }

    fn revoke() -> Change {
        Change::Revoke(Revoked {
            reason: "lost".into(),
            actor: "operator/ann".into(),
            since: 7,
        })
    }

    fn seen(now: SystemTime) -> LastKnown {
        LastKnown {
            is_connected: true,
            is_live: false,
            last_seen: now,
            version: "9.9".into(),
            labels: BTreeMap::new(),
            obeyed: None,
            configured: None,
            picture: None,
        }
    }

    #[test]
    fn of_a_removed_host_only_its_certificates_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let now = SystemTime::now();
        let drained = {
            let store = Embedded::open(&path).unwrap();
            join(&store, "a1", now);
            change(&store, label("web"), now);
            let wanted = Wanted {
                reason: String::new(),
                actor: "operator/ann".into(),
                since: 7,
            };
            let drain = vec![HostChange {
                host: web01(),
                change: Wish::Drain(wanted),
                obeyed: 0,
            }];
            let drained = store.change_desired(drain, now).unwrap();
            store.note_known(&[(web01(), seen(now))], None).unwrap();
            let removed = store.remove_hosts(&[web01(), "none".parse().unwrap()], now);
            assert_eq!(removed.unwrap().len(), 1);
            // What was under way to the store when it was removed.
            store.note_known(&[(web01(), seen(now))], None).unwrap();
            drained[0].1.generation
        };
        let store = Embedded::open(&path).unwrap();
        let left = (store.hosts(), store.desired(), store.known());
        assert_eq!(
            (left.0.unwrap(), left.1.unwrap(), left.2.unwrap()),
            Default::default()
        );
        assert_eq!(store.former().unwrap().len(), 1);
        let back = store.readmit(&web01(), "a1", now).unwrap().unwrap();
        assert!(back.labels.is_empty() && back.last_epoch.is_none());
        assert_eq!(store.former().unwrap(), []);
        let desired = store.desired().unwrap();
        assert!(!desired[0].1.is_drained() && desired[0].1.generation > drained);
        assert_eq!(store.readmit(&web01(), "a1", now).unwrap(), None);
    }

    #[test]
    fn a_revoked_host_stays_refused_over_restart_and_removal_until_it_joins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let now = SystemTime::now();
        let renewed = CertificateRecord {
            serial: "a2".into(),
            expires: seconds(now) + 60,
        };
        {
            let store = Embedded::open(&path).unwrap();
            join(&store, "a1", now);
            change(&store, label("web"), now);
            change(&store, revoke(), now);
        }
        let store = Embedded::open(&path).unwrap();
        assert!(store.hosts().unwrap()[0].1.trust.revoked.is_some());
        assert!(!store.renew(&web01(), "a1", &renewed).unwrap());
        let back = join(&store, "b1", now);
        assert_eq!(back.labels["role"], "web", "labels of operators stay");
        assert!(back.trust.accepts("b1") && !back.trust.accepts("a1"));
        assert!(!store.renew(&web01(), "a1", &renewed).unwrap());
        assert!(store.renew(&web01(), "b1", &renewed).unwrap());
        change(&store, revoke(), now);
        store.remove_hosts(&[web01()], now).unwrap();
        for serial in ["a1", "b1", "a2"] {
            assert_eq!(store.readmit(&web01(), serial, now).unwrap(), None);
        }
        let back = join(&store, "c1", now);
        assert!(back.labels.is_empty(), "it is a new host");
        assert!(back.trust.accepts("c1") && !back.trust.accepts("b1"));
    }

    #[test]
    fn a_removed_host_is_forgotten_when_its_certificates_have_ended() {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(&dir.path().join("store")).unwrap();
        let now = SystemTime::now();
        join(&store, "a1", now);
        store.remove_hosts(&[web01()], now).unwrap();
        let later = now + std::time::Duration::from_secs(3 * 24 * 3600);
        store.remove_hosts(&[], later).unwrap();
        assert_eq!(store.former().unwrap(), []);
    }
}
