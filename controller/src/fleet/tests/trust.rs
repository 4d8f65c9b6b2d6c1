//! Hosts whose certificates are refused, and hosts that were removed.

use super::*;
use crate::{
    standing::{Change as Deed, Trust},
    store::HostRecord,
};

const SECOND: Duration = Duration::from_secs(1);

/// What the store keeps of the host.
fn record() -> HostRecord {
    HostRecord {
        labels: BTreeMap::new(),
        certificate: CertificateRecord {
            serial: "a1".into(),
            expires: 7,
        },
        last_epoch: None,
        revision: 1,
        trust: Trust::default(),
    }
}

fn revoked() -> HostRecord {
    let mut record = record();
    let revoked = Revoked {
        reason: "lost".into(),
        actor: "operator/ann".into(),
        since: 7,
    };
    let at = SystemTime::UNIX_EPOCH + SECOND;
    record.change(Deed::Revoke(revoked), at).unwrap();
    record
}

/// It has joined again, with this certificate.
fn rejoined(serial: &str) -> HostRecord {
    let mut record = revoked();
    record.trust = record.trust.rejoined(serial);
    record.revision += 1;
    record
}

fn former(record: &HostRecord) -> Former {
    Former {
        revision: record.revision + 1,
        certificate: record.certificate.clone(),
        trust: record.trust.clone(),
        desired: 5,
    }
}

impl Story {
    fn change(&mut self, record: &HostRecord) -> Vec<Change> {
        self.apply(Input::Changed(self.host.clone(), record.enrolment()))
    }

    fn enrol(&mut self, record: &HostRecord) {
        let enrolled = Input::Enrolled(self.host.clone(), record.enrolment());
        assert_eq!(self.apply(enrolled), []);
    }

    fn admits(&self, serial: &str) -> Result<(), Refused> {
        self.fleet.admit(&self.host, serial, &hello())
    }
}

#[test]
fn a_revoked_host_is_cut_and_refused_until_it_joins_again() {
    let mut story = Story::new();
    story.attach(1, 1, "a");
    let cut = story.change(&revoked());
    assert_eq!(
        words(&cut),
        [
            "1 refuse: the certificate of host `web01` has been revoked",
            "down: revoked by operator/ann: lost"
        ]
    );
    let view = story.view();
    assert_eq!(view.state, HostState::Revoked);
    assert_eq!(view.reason, "revoked by operator/ann: lost");
    let refused = Err(Refused::Revoked(story.host.clone()));
    assert_eq!(story.admits("a1"), refused);
    // What was on its way when it was revoked.
    let late = CertificateRecord {
        serial: "a2".into(),
        expires: 9,
    };
    story.apply(Input::Renewed(story.host.clone(), late));
    assert_eq!(story.admits("a2"), refused);

    story.enrol(&rejoined("b1"));
    assert_eq!(story.view().state, HostState::Never);
    assert_eq!((story.admits("a1"), story.admits("b1")), (refused, Ok(())));
    // An older word comes late.
    story.change(&revoked());
    assert_eq!(story.admits("b1"), Ok(()));
    assert_eq!(story.fleet.bars().len(), 1);
}

#[test]
fn labels_of_operators_count_at_once_and_before_the_hosts_own() {
    let mut story = Story::new();
    let own = [("role".into(), "web".into()), ("dc".into(), "fra".into())];
    story.greet(
        1,
        Hello {
            labels: own.into(),
            ..hello()
        },
    );
    let mut labelled = record();
    labelled.labels.insert("role".into(), "db".into());
    assert_eq!(story.change(&labelled), []);
    assert_eq!(story.view().state, HostState::Connected);
    let labels = story.view().labels;
    assert_eq!(
        (labels["role"].as_str(), labels["dc"].as_str()),
        ("db", "fra")
    );
    labelled.labels.clear();
    labelled.revision += 1;
    story.change(&labelled);
    assert_eq!(story.view().labels["role"], "web");
}

#[test]
fn a_removed_host_is_gone_and_new_when_it_is_enrolled_again() {
    let mut story = Story::new();
    story.attach(1, 1, "a");
    story.snapshot(1, 1, 1, &["app"]);
    story.apply(Input::Ended(story.host.clone(), id(1), "lost".into()));
    let gone = former(&record());
    assert_eq!(story.apply(Input::Removed(story.host.clone(), gone)), []);
    assert_eq!(story.fleet.count(), (0, 0));
    assert_eq!(story.admits("a1"), Err(Refused::Former(story.host.clone())));
    let again = HostRecord {
        revision: 3,
        ..record()
    };
    story.enrol(&again);
    let view = story.view();
    assert_eq!((view.state, view.programs), (HostState::Never, None));
    // It hears that what was wanted of it is not any more.
    assert_eq!(view.desired.generation, 6);
    assert_eq!(story.admits("a1"), Ok(()));
}

#[test]
fn a_revoked_host_stays_refused_when_it_is_removed() {
    let mut story = Story::new();
    story.change(&revoked());
    story.apply(Input::Removed(story.host.clone(), former(&revoked())));
    assert_eq!(
        story.admits("a1"),
        Err(Refused::Revoked(story.host.clone()))
    );
    assert_eq!(story.fleet.bars().len(), 1);
}

#[test]
fn a_host_that_comes_while_it_is_removed_is_sent_away_to_come_again() {
    let mut story = Story::new();
    story.attach(1, 1, "a");
    let sent = story.apply(Input::Removed(story.host.clone(), former(&record())));
    assert_eq!(
        words(&sent),
        [
            "1 dismiss: this host was removed",
            "1 drop",
            "down: this host was removed"
        ]
    );
}
