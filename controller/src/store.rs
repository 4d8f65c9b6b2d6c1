//! What the controller must still know after a restart: enrolled hosts, tokens, operations, what is wanted of
//! hosts and what was last known of them. Cold state only: no heartbeat, no change of a program and no log
//! byte waits for it; what is known of hosts comes here now and then, aside.
//!
//! Every call may wait for a disk: [`Archive`] keeps them off the threads that serve.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use rsv_proto::name::HostName;
use serde::{Deserialize, Serialize};

use crate::{
    desired::{HostChange, HostDesired},
    host::{Enrolment, LastKnown},
    operation::{Fact, Record},
    standing::{self, Former, TooManyLabels, Trust},
    token::{Token, TokenRefused},
};

mod desired;
mod embedded;
mod former;
mod known;
mod operations;

pub use desired::DesireError;
pub use embedded::Embedded;

/// An enrolled host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Put on it by its tokens and by operators.
    pub labels: BTreeMap<String, String>,
    /// Its latest certificate.
    pub certificate: CertificateRecord,
    /// The epoch of its latest session; absent: it has had none since it was enrolled.
    pub last_epoch: Option<u64>,
    /// Grows with each enrolment and each change by operators.
    #[serde(default)]
    pub revision: u64,
    /// Which of its certificates are good.
    #[serde(default)]
    pub trust: Trust,
}

/// A certificate that was signed here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRecord {
    /// In hexadecimal.
    pub serial: String,
    /// Seconds since 1970.
    pub expires: u64,
}

/// A host that asks to join.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The token's id.
    pub token: String,
    /// The token's secret.
    pub secret: Vec<u8>,
    /// The name asked for.
    pub host: HostName,
}

/// One step of an operation, to be written down.
#[derive(Debug, Clone)]
pub enum OperationStep {
    /// It was submitted.
    Begun(Box<Record>),
    /// What has become of it.
    Facts {
        /// Of which one.
        operation: String,
        /// The number of the first of them; they are numbered from 0.
        from: u64,
        /// In order.
        facts: Vec<Fact>,
    },
    /// Nobody needs to know of it any more.
    Forgotten(String),
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened.
    #[error("cannot open the store `{path}`")]
    Open {
        /// Which.
        path: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another process has it open.
    #[error("the store `{0}` is in use by another controller")]
    InUse(String),
    /// Reading or writing.
    #[error("cannot use the store")]
    Use(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An entry that cannot be read.
    #[error("entry `{0}` of the store is damaged")]
    Damaged(String),
}

/// Why a host did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Its token does not allow it.
    #[error(transparent)]
    Refused(#[from] TokenRefused),
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why what is kept of hosts was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// One of them would have too many labels.
    #[error("{1}: host `{0}`")]
    Labels(HostName, TooManyLabels),
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A store. Each call is one transaction, durable when it returns.
pub trait Store: Send + Sync + 'static {
    /// Every enrolled host.
    fn hosts(&self) -> Result<Vec<(HostName, HostRecord)>, StoreError>;
    /// Keeps a new token, and forgets those that nobody needs to know any more.
    fn add_token(&self, id: &str, token: &Token, now: SystemTime) -> Result<(), StoreError>;
    /// Whether a host would be let in now.
    fn may_join(&self, claim: &Claim, now: SystemTime) -> Result<(), JoinError>;
    /// Takes one use of a token and enrols the host with its certificate: both or neither.
    fn join(
        &self,
        claim: &Claim,
        certificate: &CertificateRecord,
        now: SystemTime,
    ) -> Result<HostRecord, JoinError>;
    /// Notes a certificate that was renewed with that of this serial number; false: the host is not
    /// enrolled, or that one is not good.
    fn renew(
        &self,
        host: &HostName,
        serial: &str,
        certificate: &CertificateRecord,
    ) -> Result<bool, StoreError>;
    /// Carries changes out, all or none; gives what is then kept of each of the hosts that are enrolled.
    fn change_hosts(
        &self,
        changes: Vec<(HostName, standing::Change)>,
        now: SystemTime,
    ) -> Result<Vec<(HostName, HostRecord)>, ChangeError>;
    /// Forgets hosts and all that is kept of them, but for what their certificates are good for; gives
    /// that of each that was enrolled.
    fn remove_hosts(
        &self,
        hosts: &[HostName],
        now: SystemTime,
    ) -> Result<Vec<(HostName, Former)>, StoreError>;
    /// Hosts that were removed and may come back.
    fn former(&self) -> Result<Vec<(HostName, Former)>, StoreError>;
    /// Enrols a host that was removed and comes back with this certificate; absent: it may not, or is
    /// enrolled already.
    fn readmit(
        &self,
        host: &HostName,
        serial: &str,
        now: SystemTime,
    ) -> Result<Option<HostRecord>, StoreError>;
    /// Notes the epochs of hosts, those that are enrolled.
    fn note_epochs(&self, epochs: &[(HostName, u64)]) -> Result<(), StoreError>;
    /// A number above that of every start before this one, also when the store is an older copy.
    fn next_term(&self, now: SystemTime) -> Result<u64, StoreError>;
    /// What is wanted of every host of which anything ever was.
    fn desired(&self) -> Result<Vec<(HostName, HostDesired)>, StoreError>;
    /// Carries changes out, all or none; gives what is then wanted of each of the hosts.
    fn change_desired(
        &self,
        changes: Vec<HostChange>,
        now: SystemTime,
    ) -> Result<Vec<(HostName, HostDesired)>, DesireError>;
    /// What was last known of hosts, as far as it can be read.
    fn known(&self) -> Result<Vec<(HostName, LastKnown)>, StoreError>;
    /// Notes what is known of hosts. With `still` every other host was at that moment as last noted.
    fn note_known(
        &self,
        hosts: &[(HostName, LastKnown)],
        still: Option<SystemTime>,
    ) -> Result<(), StoreError>;
    /// Every operation that is remembered, with what has become of it.
    fn operations(&self) -> Result<Vec<(Record, Vec<Fact>)>, StoreError>;
    /// Notes steps of operations: all of them or none.
    fn note_operations(&self, steps: &[OperationStep]) -> Result<(), StoreError>;
}

/// A store for callers that must not wait for a disk.
#[derive(Clone)]
pub struct Archive(Arc<dyn Store>);

impl Archive {
    /// In front of a store.
    pub fn new(store: impl Store) -> Self {
        Self(Arc::new(store))
    }

    /// Does something with the store on a thread that may block.
    pub async fn with<T, E>(
        &self,
        work: impl FnOnce(&dyn Store) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let store = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&*store)).await;
        done.unwrap_or_else(|e| Err(StoreError::Use(Box::new(e)).into()))
    }
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").finish_non_exhaustive()
    }
}

impl HostRecord {
    /// What the fleet needs to know of it.
    pub fn enrolment(&self) -> Enrolment {
        Enrolment {
            labels: self.labels.clone(),
            certificate_expires: Some(self.certificate.expires()),
            last_epoch: self.last_epoch,
            revision: self.revision,
            trust: self.trust.clone(),
        }
    }
}

impl CertificateRecord {
    /// When it ends.
    pub fn expires(&self) -> SystemTime {
        let after = std::time::Duration::from_secs(self.expires);
        std::time::UNIX_EPOCH
            .checked_add(after)
            .unwrap_or(std::time::UNIX_EPOCH)
    }
}
