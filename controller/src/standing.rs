//! What is kept of an enrolled host, and how operators change it: its labels, and which of its
//! certificates are good.
//!
//! Pure. That a certificate is signed is not enough once its host was revoked: from then on only those
//! count that it got by joining again, and by renewing them. So no clock decides which of two is older.
//! Each change has a higher number, so that whoever has the higher number has the later word.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rsv_proto::{time::to_wire, wire::Revocation};
use serde::{Deserialize, Serialize};

use crate::{
    desired::HostDesired,
    store::{CertificateRecord, HostRecord},
    token::seconds,
};

/// The most labels that a token or operators put on a host, and the longest key and value.
pub const MAX_LABELS: usize = 64;
const MAX_LABEL: usize = 253;

/// The most certificates that are known of a host that was revoked once: it renews one twice a day, and
/// each lasts a day. Of more the oldest is refused.
const MAX_CERTIFICATES: usize = 16;

/// A host that was removed is remembered for so long after its latest certificate has ended.
const MARGIN: Duration = Duration::from_secs(24 * 3600);

/// A change of what is kept of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These labels are set, and those of these keys taken away.
    Label {
        /// By key.
        set: BTreeMap<String, String>,
        /// Keys.
        remove: Vec<String>,
    },
    /// Every certificate that it has is refused.
    Revoke(Revoked),
}

/// Who refuses a host, why and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// For people; may be empty.
    pub reason: String,
    /// Such as "operator/admin".
    pub actor: String,
    /// Milliseconds since 1970.
    pub since: u64,
}

/// Which certificates of a host are good, among those that are signed for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// None is.
    pub revoked: Option<Revoked>,
    /// Serial numbers of those that are; absent: it was never revoked, and all are.
    accepted: Option<Vec<String>>,
}

/// By host, where not everything that is signed is good.
pub type Bars = HashMap<String, Trust>;

/// A host that was removed, as long as a certificate of it may be good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// The number of its removal.
    pub revision: u64,
    /// Its latest certificate.
    pub certificate: CertificateRecord,
    /// Which of its certificates are good.
    pub trust: Trust,
    /// The number of what was wanted of it; 0: nothing ever was.
    pub desired: u64,
}

/// More labels than a host may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a host would have more than {MAX_LABELS} labels")]
pub struct TooManyLabels;

impl HostRecord {
    /// Carries a change out. `now` keeps the number above those of a store that was put back. One that
    /// is revoked already keeps the reason, and who revoked it first.
    pub fn change(&mut self, change: Change, now: SystemTime) -> Result<(), TooManyLabels> {
        let mut next = self.clone();
        match change {
            Change::Label { set, remove } => {
                next.labels.retain(|key, _| !remove.contains(key));
                next.labels.extend(set);
            }
            Change::Revoke(revoked) => next.trust.revoke(revoked),
        }
        // Several tokens may have brought more, which may always be taken away.
        if next.labels.len() > MAX_LABELS.max(self.labels.len()) {
            return Err(TooManyLabels);
        }
        if next != *self {
            next.revision = later(self.revision, now);
            *self = next;
        }
        Ok(())
    }
}

impl Trust {
    /// Whether a certificate is good.
    pub fn accepts(&self, serial: &str) -> bool {
        let is_known = |serials: &Vec<String>| serials.iter().any(|known| known == serial);
        self.revoked.is_none() && self.accepted.as_ref().is_none_or(is_known)
    }

    /// Whether every certificate is good that is signed.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// The host has joined again with this certificate.
    #[must_use]
    pub fn rejoined(&self, serial: &str) -> Self {
        let is_open = self.is_open();
        Self {
            revoked: None,
            accepted: (!is_open).then(|| vec![serial.to_owned()]),
        }
    }

    /// The host has this certificate beside those that are good.
    pub fn renewed(&mut self, serial: &str) {
        let Some(accepted) = self.accepted.as_mut().filter(|_| self.revoked.is_none()) else {
            return;
        };
        if accepted.iter().any(|known| known == serial) {
            return;
        }
        if accepted.len() == MAX_CERTIFICATES {
            accepted.remove(0);
        }
        accepted.push(serial.to_owned());
    }

    fn revoke(&mut self, revoked: Revoked) {
        self.revoked.get_or_insert(revoked);
        self.accepted = Some(Vec::new());
    }
}

impl Revoked {
    /// In words.
    pub fn words(&self) -> String {
        match self.reason.as_str() {
            "" => format!("revoked by {}", self.actor),
            reason => format!("revoked by {}: {reason}", self.actor),
        }
    }

    /// As it is told.
    pub fn to_wire(&self) -> Revocation {
        let since = UNIX_EPOCH.checked_add(Duration::from_millis(self.since));
        Revocation {
            reason: self.reason.clone(),
            actor: self.actor.clone(),
            since: since.map(to_wire),
        }
    }
}

impl Former {
    /// What is wanted of it should it come back: nothing, under a higher number than what it may still
    /// keep to. Absent: nothing ever was.
    pub fn no_longer_desired(&self) -> Option<HostDesired> {
        (self.desired > 0).then(|| HostDesired::nothing(self.desired.saturating_add(1)))
    }

    /// Whether no certificate of it can be good any more.
    pub fn is_forgotten(&self, now: SystemTime) -> bool {
        seconds(now) > self.certificate.expires.saturating_add(MARGIN.as_secs())
    }
}

/// The number of a change after this one.
pub fn later(revision: u64, now: SystemTime) -> u64 {
    revision.saturating_add(1).max(seconds(now))
}

/// Whether a text may be the key of a label.
pub fn is_key(text: &str) -> bool {
    !text.is_empty() && is_value(text)
}

/// Whether a text may be the value of a label.
pub fn is_value(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
    text.len() <= MAX_LABEL && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> HostRecord {
        HostRecord {
            labels: BTreeMap::from([("role".into(), "web".into())]),
            certificate: CertificateRecord {
                serial: "a1".into(),
                expires: 7,
            },
            last_epoch: None,
            revision: 0,
            trust: Trust::default(),
        }
    }

    fn revoke(reason: &str) -> Change {
        Change::Revoke(Revoked {
            reason: reason.into(),
            actor: "operator/ann".into(),
            since: 7,
        })
    }

    fn label(set: &[(&str, &str)], remove: &[&str]) -> Change {
        let set = set.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        Change::Label {
            set: set.collect(),
            remove: remove.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn each_change_has_a_higher_number_and_no_change_keeps_it() {
        let now = UNIX_EPOCH + Duration::from_secs(100);
        let mut record = record();
        for (change, revision) in [
            (label(&[("role", "web")], &["none"]), 0),
            (label(&[("role", "db")], &[]), 100),
            (label(&[], &["role"]), 101),
            (revoke("lost"), 102),
            (revoke("again"), 102),
        ] {
            record.change(change.clone(), now).unwrap();
            assert_eq!(record.revision, revision, "{change:?}");
        }
        assert!(record.labels.is_empty());
        let revoked = record.trust.revoked.unwrap();
        assert_eq!(revoked.words(), "revoked by operator/ann: lost");
    }

    #[test]
    fn a_host_has_a_bound_of_labels() {
        let mut record = record();
        let set = (0..MAX_LABELS).map(|n| (n.to_string(), "x".to_owned()));
        let set = set.collect();
        let remove = Vec::new();
        let refused = record.change(Change::Label { set, remove }, UNIX_EPOCH);
        assert_eq!((refused, record.labels.len()), (Err(TooManyLabels), 1));
    }

    #[test]
    fn after_a_revocation_only_what_it_got_by_joining_again_is_good() {
        let mut trust = Trust::default();
        trust.renewed("b");
        assert!(trust.is_open() && trust.accepts("a"));
        assert!(trust.rejoined("c").is_open(), "it was never revoked");
        let Change::Revoke(revoked) = revoke("lost") else {
            unreachable!()
        };
        trust.revoke(revoked);
        trust.renewed("late");
        assert!(!trust.accepts("a") && !trust.accepts("late"));
        let mut trust = trust.rejoined("d");
        trust.renewed("e");
        for (serial, is_good) in [("a", false), ("late", false), ("d", true), ("e", true)] {
            assert_eq!(trust.accepts(serial), is_good, "{serial}");
        }
        for n in 0..MAX_CERTIFICATES {
            trust.renewed(&n.to_string());
        }
        assert!(!trust.accepts("e") && trust.accepts("0"));
    }

    #[test]
    fn labels_are_words() {
        for (key, is_good) in [
            ("role", true),
            ("a/b.c-d_1", true),
            ("", false),
            ("a b", false),
        ] {
            assert_eq!(is_key(key), is_good, "{key}");
        }
        assert!(is_value("") && !is_value("a\u{1b}") && !is_value(&"a".repeat(254)));
    }
}
