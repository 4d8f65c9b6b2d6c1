//! The store in one file, for one controller.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt as _, path::Path, time::SystemTime};

use redb::{
    Database, DatabaseError, ReadableDatabase as _, ReadableTable, Table, TableDefinition,
    backends::FileBackend,
};
use rsv_proto::name::HostName;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    CertificateRecord, ChangeError, Claim, DesireError, HostRecord, JoinError, OperationStep,
    Store, StoreError,
    former::{self, FORMER, welcome},
};
use crate::{
    desired::{HostChange, HostDesired},
    host::LastKnown,
    operation::{Fact, Record},
    standing::{self, Former},
    token::{Name, Token, TokenRefused},
};

use super::{desired::DESIRED, known::KNOWN};

/// Hosts by name, JSON.
pub(super) const HOSTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("hosts");
/// Tokens by id, JSON.
const TOKENS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("tokens");

/// How much of the file is kept in memory.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// A store in one file.
#[derive(Debug)]
pub struct Embedded {
    database: Database,
}

impl Embedded {
    /// Opens the file; makes it, 0600, when it does not exist.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let shown = || path.display().to_string();
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Open {
            path: shown(),
            source,
        };
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let file = options.open(path).map_err(|e| failed(Box::new(e)))?;
        let open = || {
            let backend = FileBackend::new(file)?;
            Database::builder()
                .set_cache_size(CACHE_BYTES)
                .create_with_backend(backend)
        };
        let database = open().map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(shown()),
            error => failed(Box::new(error)),
        })?;
        let store = Self { database };
        store.write(|_tables| Ok::<(), StoreError>(()))?;
        super::operations::prepare(&store.database)?;
        super::desired::prepare(&store.database)?;
        super::known::prepare(&store.database)?;
        Ok(store)
    }

    #[cfg(test)]
    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    /// One transaction over the tables of who is enrolled; committed when the work succeeds.
    fn write<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let transaction = self.database.begin_write().map_err(used)?;
        let result = work(&mut Tables {
            hosts: transaction.open_table(HOSTS).map_err(used)?,
            tokens: transaction.open_table(TOKENS).map_err(used)?,
            former: transaction.open_table(FORMER).map_err(used)?,
            desired: transaction.open_table(DESIRED).map_err(used)?,
            known: transaction.open_table(KNOWN).map_err(used)?,
        })?;
        transaction.commit().map_err(used)?;
        Ok(result)
    }
}

pub(super) type Rows<'t> = Table<'t, &'static str, &'static [u8]>;

/// What is written when a host comes, changes or goes.
pub(super) struct Tables<'t> {
    pub(super) hosts: Rows<'t>,
    pub(super) tokens: Rows<'t>,
    pub(super) former: Rows<'t>,
    pub(super) desired: Rows<'t>,
    pub(super) known: Rows<'t>,
}

impl Store for Embedded {
    fn hosts(&self) -> Result<Vec<(HostName, HostRecord)>, StoreError> {
        let transaction = self.database.begin_read().map_err(used)?;
        let table = transaction.open_table(HOSTS).map_err(used)?;
        let mut hosts = Vec::new();
        for row in table.iter().map_err(used)? {
            let (name, record) = row.map_err(used)?;
            let name = name.value();
            let host = name
                .parse()
                .map_err(|_| StoreError::Damaged(name.to_owned()))?;
            hosts.push((host, decode(name, record.value())?));
        }
        Ok(hosts)
    }

    fn add_token(&self, id: &str, token: &Token, now: SystemTime) -> Result<(), StoreError> {
        self.write(|Tables { tokens, .. }| {
            let mut forgotten = Vec::new();
            for row in tokens.iter().map_err(used)? {
                let (id, old) = row.map_err(used)?;
                let old: Token = decode(id.value(), old.value())?;
                if old.is_forgotten(now) {
                    forgotten.push(id.value().to_owned());
                }
            }
            for id in forgotten {
                tokens.remove(id.as_str()).map_err(used)?;
            }
            put(tokens, id, token)
        })
    }

    fn may_join(&self, claim: &Claim, now: SystemTime) -> Result<(), JoinError> {
        let transaction = self.database.begin_read().map_err(used)?;
        let hosts = transaction.open_table(HOSTS).map_err(used)?;
        let tokens = transaction.open_table(TOKENS).map_err(used)?;
        let former = transaction.open_table(FORMER).map_err(used)?;
        redeem(&hosts, &tokens, &former, claim, now).map(drop)
    }

    fn join(
        &self,
        claim: &Claim,
        certificate: &CertificateRecord,
        now: SystemTime,
    ) -> Result<HostRecord, JoinError> {
        self.write(|tables| {
            let Tables {
                hosts,
                tokens,
                former,
                ..
            } = tables;
            let left = redeem(hosts, tokens, former, claim, now)?;
            put(tokens, &claim.token, &left)?;
            Ok(welcome(
                tables,
                &claim.host,
                certificate,
                &left.labels,
                now,
            )?)
        })
    }

    fn renew(
        &self,
        host: &HostName,
        serial: &str,
        certificate: &CertificateRecord,
    ) -> Result<bool, StoreError> {
        self.write(|Tables { hosts, .. }| {
            let known = get::<HostRecord>(hosts, host.as_str())?;
            let Some(mut record) = known.filter(|known| known.trust.accepts(serial)) else {
                return Ok(false);
            };
            record.certificate = certificate.clone();
            record.trust.renewed(&certificate.serial);
            put(hosts, host.as_str(), &record)?;
            Ok(true)
        })
    }

    fn change_hosts(
        &self,
        changes: Vec<(HostName, standing::Change)>,
        now: SystemTime,
    ) -> Result<Vec<(HostName, HostRecord)>, ChangeError> {
        self.write(|Tables { hosts, .. }| {
            let mut changed = Vec::with_capacity(changes.len());
            for (host, change) in changes {
                let Some(mut record) = get::<HostRecord>(hosts, host.as_str())? else {
                    continue;
                };
                let done = record.change(change, now);
                done.map_err(|error| ChangeError::Labels(host.clone(), error))?;
                put(hosts, host.as_str(), &record)?;
                changed.push((host, record));
            }
            Ok(changed)
        })
    }

    fn remove_hosts(
        &self,
        hosts: &[HostName],
        now: SystemTime,
    ) -> Result<Vec<(HostName, Former)>, StoreError> {
        self.write(|tables| former::remove(tables, hosts, now))
    }

    fn former(&self) -> Result<Vec<(HostName, Former)>, StoreError> {
        former::all(&self.database)
    }

    fn readmit(
        &self,
        host: &HostName,
        serial: &str,
        now: SystemTime,
    ) -> Result<Option<HostRecord>, StoreError> {
        self.write(|tables| former::readmit(tables, host, serial, now))
    }

    fn note_epochs(&self, epochs: &[(HostName, u64)]) -> Result<(), StoreError> {
        self.write(|Tables { hosts, .. }| {
            for (host, epoch) in epochs {
                if let Some(mut record) = get::<HostRecord>(hosts, host.as_str())? {
                    record.last_epoch = Some(*epoch);
                    put(hosts, host.as_str(), &record)?;
                }
            }
            Ok(())
        })
    }

    fn next_term(&self, now: SystemTime) -> Result<u64, StoreError> {
        super::operations::next_term(&self.database, crate::token::seconds(now))
    }

    fn desired(&self) -> Result<Vec<(HostName, HostDesired)>, StoreError> {
        super::desired::all(&self.database)
    }

    fn change_desired(
        &self,
        changes: Vec<HostChange>,
        now: SystemTime,
    ) -> Result<Vec<(HostName, HostDesired)>, DesireError> {
        super::desired::change(&self.database, changes, now)
    }

    fn known(&self) -> Result<Vec<(HostName, LastKnown)>, StoreError> {
        super::known::all(&self.database)
    }

    fn note_known(
        &self,
        hosts: &[(HostName, LastKnown)],
        still: Option<SystemTime>,
    ) -> Result<(), StoreError> {
        super::known::note(&self.database, hosts, still)
    }

    fn operations(&self) -> Result<Vec<(Record, Vec<Fact>)>, StoreError> {
        super::operations::all(&self.database)
    }

    fn note_operations(&self, steps: &[OperationStep]) -> Result<(), StoreError> {
        super::operations::note(&self.database, steps)
    }
}

/// The claimed token after this use of it.
fn redeem(
    hosts: &impl ReadableTable<&'static str, &'static [u8]>,
    tokens: &impl ReadableTable<&'static str, &'static [u8]>,
    former: &impl ReadableTable<&'static str, &'static [u8]>,
    claim: &Claim,
    now: SystemTime,
) -> Result<Token, JoinError> {
    let token: Token = get(tokens, &claim.token)?.ok_or(TokenRefused::Unknown)?;
    let known: Option<HostRecord> = get(hosts, claim.host.as_str())?;
    let former: Option<Former> = get(former, claim.host.as_str())?;
    let name = Name {
        host: &claim.host,
        is_enrolled: known.is_some(),
        revoked: known
            .map(|known| known.trust)
            .or(former.map(|former| former.trust))
            .and_then(|trust| trust.revoked)
            .map(|revoked| revoked.since),
    };
    Ok(token.redeem(&claim.secret, name, now)?)
}

pub(super) fn get<T: DeserializeOwned>(
    rows: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &str,
) -> Result<Option<T>, StoreError> {
    let row = rows.get(key).map_err(used)?;
    row.map(|row| decode(key, row.value())).transpose()
}

pub(super) fn put<T: Serialize>(
    rows: &mut Rows<'_>,
    key: &str,
    value: &T,
) -> Result<(), StoreError> {
    let bytes = serde_json::to_vec(value).map_err(used)?;
    rows.insert(key, bytes.as_slice()).map_err(used)?;
    Ok(())
}

pub(super) fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|_| StoreError::Damaged(key.to_owned()))
}

pub(super) fn used(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Use(Box::new(error))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, os::unix::fs::PermissionsExt as _, time::Duration};

    use super::*;
    use crate::token::{digest, seconds};

    fn claim(host: &str) -> Claim {
        Claim {
            token: "t1".into(),
            secret: b"secret".to_vec(),
            host: host.parse().unwrap(),
        }
    }

    fn join(store: &Embedded, host: &str, now: SystemTime) -> Result<HostRecord, JoinError> {
        let certificate = CertificateRecord {
            serial: "a1".into(),
            expires: 7,
        };
        let asked = store.may_join(&claim(host), now);
        let joined = store.join(&claim(host), &certificate, now);
        assert_eq!(asked.is_ok(), joined.is_ok(), "what is promised is kept");
        joined
    }

    fn token(uses_left: u32, now: SystemTime) -> Token {
        Token {
            digest: digest(b"secret"),
            host: "*".into(),
            expires: seconds(now) + 60,
            uses_left,
            labels: BTreeMap::from([("role".into(), "web".into())]),
            made_by: "operator/admin".into(),
            made: 0,
        }
    }

    #[test]
    fn a_host_and_its_token_are_remembered_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let now = SystemTime::now();
        {
            let store = Embedded::open(&path).unwrap();
            store.add_token("t1", &token(1, now), now).unwrap();
            join(&store, "web01", now).unwrap();
            let epochs = [("web01".parse().unwrap(), 4), ("gone".parse().unwrap(), 1)];
            store.note_epochs(&epochs).unwrap();
        }
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let store = Embedded::open(&path).unwrap();
        let hosts = store.hosts().unwrap();
        assert_eq!(hosts.len(), 1);
        assert_eq!(hosts[0].1.last_epoch, Some(4));
        assert_eq!(hosts[0].1.labels["role"], "web");
        let again = join(&store, "web02", now).unwrap_err();
        assert!(
            matches!(again, JoinError::Refused(TokenRefused::Used)),
            "{again}"
        );
        assert_eq!(store.hosts().unwrap().len(), 1);
    }

    #[test]
    fn a_refused_host_costs_no_use_of_the_token() {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(&dir.path().join("store")).unwrap();
        let now = SystemTime::now();
        store.add_token("t1", &token(2, now), now).unwrap();
        join(&store, "web01", now).unwrap();
        let taken = join(&store, "web01", now).unwrap_err();
        assert!(
            matches!(taken, JoinError::Refused(TokenRefused::Taken(_))),
            "{taken}"
        );
        join(&store, "web02", now).unwrap();
    }

    #[test]
    fn a_renewed_certificate_is_noted_for_enrolled_hosts_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(&dir.path().join("store")).unwrap();
        let now = SystemTime::now();
        store.add_token("t1", &token(1, now), now).unwrap();
        join(&store, "web01", now).unwrap();
        let renewed = CertificateRecord {
            serial: "b2".into(),
            expires: 9,
        };
        assert!(
            store
                .renew(&"web01".parse().unwrap(), "a1", &renewed)
                .unwrap()
        );
        assert!(
            !store
                .renew(&"web02".parse().unwrap(), "a1", &renewed)
                .unwrap()
        );
        assert_eq!(store.hosts().unwrap()[0].1.certificate, renewed);
    }

    #[test]
    fn two_controllers_cannot_share_a_store_and_old_tokens_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let store = Embedded::open(&path).unwrap();
        assert!(matches!(Embedded::open(&path), Err(StoreError::InUse(_))));
        let then = SystemTime::now() - Duration::from_secs(30 * 24 * 3600);
        store.add_token("t1", &token(1, then), then).unwrap();
        store
            .add_token("t2", &token(1, SystemTime::now()), SystemTime::now())
            .unwrap();
        let gone = join(&store, "web01", then).unwrap_err();
        assert!(
            matches!(gone, JoinError::Refused(TokenRefused::Unknown)),
            "{gone}"
        );
    }
}
