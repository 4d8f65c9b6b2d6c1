//! What the fleet wants of this host: which programs are to be down, and stay down.
//!
//! Comes from the controller as a whole, with a number that grows, and is kept in the state directory,
//! so that it holds without a controller and over a restart of the host. Invariant: an older word
//! never replaces a newer one.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use prost::Message as _;
use rsv_proto::wire;
use tokio::sync::watch;
use tracing::{error, info};

use crate::hub::{HubHandle, Key};
use crate::identity::state::write_atomically;

/// The file in the state directory.
const FILE: &str = "desired";

/// What could not be kept is tried again after this time: the controller says it only once.
const AGAIN: Duration = Duration::from_secs(10);

/// What is wanted of this host. By default nothing ever was.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    generation: u64,
    disabled: BTreeMap<Key, wire::Hold>,
    drained: Option<wire::Hold>,
}

/// Where it is kept.
#[derive(Debug, Clone)]
pub struct DesiredFile(PathBuf);

/// Takes the controller's word in; the latest one counts.
#[derive(Debug)]
pub struct DesiredHandle {
    said: watch::Sender<wire::Desired>,
    obeyed: watch::Receiver<u64>,
}

impl Desired {
    /// From the wire.
    pub fn of(told: wire::Desired) -> Self {
        let disabled = told.disabled.into_iter().map(|program| {
            let wire::DisabledProgram { group, name, hold } = program;
            (Key { group, name }, hold.unwrap_or_default())
        });
        let drained = told.drained.map(|hold| wire::Hold {
            whole_host: true,
            ..hold
        });
        Self {
            generation: told.generation,
            disabled: disabled.collect(),
            drained,
        }
    }

    /// Whether it is to take the place of another one.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        self.generation > other.generation
    }

    /// Why a program is to be down, if it is.
    pub fn hold(&self, key: &Key) -> Option<&wire::Hold> {
        self.disabled.get(key).or(self.drained.as_ref())
    }
}

/// Why a program is not started, in words with what can be done about it.
pub fn hold_words(key: &Key, hold: &wire::Hold) -> String {
    let remedy = match hold.whole_host {
        true => "rsv host resume HOST".to_owned(),
        false => format!("rsv --host HOST enable {key}"),
    };
    let why = rsv_proto::process::hold_words(hold);
    format!("{why}; `{remedy}` lets it run")
}

impl DesiredFile {
    /// In this state directory.
    pub fn new(state: &Path) -> Self {
        Self(state.join(FILE))
    }

    /// Reads what was kept; without a file nothing was ever wanted.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is not what was written.
    pub fn read(&self) -> io::Result<Desired> {
        match std::fs::read(&self.0) {
            Ok(bytes) => {
                let told = wire::Desired::decode(bytes.as_slice());
                told.map(Desired::of)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Desired::default()),
            Err(error) => Err(error),
        }
    }

    /// Reads it at the agent's start. A damaged file is no reason to leave programs without an agent:
    /// it is told, and the controller says again what is wanted.
    pub fn read_or_tell(&self) -> Desired {
        self.read().unwrap_or_else(|error| {
            let path = self.0.display();
            error!(%error, "cannot read `{path}`: what was disabled on this host is not known");
            Desired::default()
        })
    }

    /// Forgets it: the host has another fleet.
    ///
    /// # Errors
    ///
    /// The file is there and cannot be removed.
    pub fn forget(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Keeps it: durable when this returns.
    fn write(&self, told: &wire::Desired) -> io::Result<()> {
        write_atomically(&self.0, &told.encode_to_vec())
    }
}

impl DesiredHandle {
    /// Starts the task that keeps what is wanted and has the hub obey it. It ends with the handle.
    pub fn start(file: DesiredFile, hub: HubHandle) -> Self {
        let (said, told) = watch::channel(wire::Desired::default());
        // What was kept is obeyed since the agent's start.
        let kept = file.read().unwrap_or_default().generation;
        let (obeys, obeyed) = watch::channel(kept);
        tokio::spawn(obey(file, hub, told, obeys));
        Self { said, obeyed }
    }

    /// The number of what is obeyed.
    pub fn obeyed(&self) -> watch::Receiver<u64> {
        self.obeyed.clone()
    }

    /// Takes in what the controller has said.
    pub fn told(&self, desired: wire::Desired) {
        self.said.send_if_modified(|latest| {
            let is_newer = desired.generation > latest.generation;
            if is_newer {
                *latest = desired;
            }
            is_newer
        });
    }
}

/// To the disk first, so that nothing is obeyed that the next start would not know.
async fn obey(
    file: DesiredFile,
    hub: HubHandle,
    mut told: watch::Receiver<wire::Desired>,
    obeys: watch::Sender<u64>,
) {
    let mut failed = None;
    while is_there_more(&mut told, failed.is_some()).await {
        let latest = told.borrow_and_update().clone();
        let generation = latest.generation;
        let is_obeyed = *obeys.borrow() >= generation;
        let place = file.clone();
        let kept = tokio::task::spawn_blocking(move || keep(&place, &latest, is_obeyed));
        let former = failed.take();
        match kept.await {
            Ok(Ok(Some(desired))) => {
                info!(
                    generation,
                    "the controller says what is wanted of this host"
                );
                if hub.desire(desired).await.is_err() {
                    return;
                }
                obeys.send_replace(generation);
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => {
                failed = Some(generation);
                let path = file.0.display();
                // Once for each word, however long the disk is full.
                if former != failed {
                    error!(%error, "cannot write `{path}`: what is wanted of this host is not obeyed yet");
                }
            }
            Err(error) => error!(%error, "what is wanted of this host was not kept"),
        }
    }
}

/// Waits for another word, or until the last one is to be tried again; `false`: the link has ended.
async fn is_there_more(told: &mut watch::Receiver<wire::Desired>, has_failed: bool) -> bool {
    let changed = told.changed();
    match has_failed {
        true => match tokio::time::timeout(AGAIN, changed).await {
            Ok(changed) => changed.is_ok(),
            Err(_) => true,
        },
        false => changed.await.is_ok(),
    }
}

/// Writes what is to be obeyed from now on; none when something newer is kept, or that is obeyed already.
fn keep(place: &DesiredFile, told: &wire::Desired, is_obeyed: bool) -> io::Result<Option<Desired>> {
    let desired = Desired::of(told.clone());
    // What is kept may be newer than what an older copy of the controller's store says. A write that
    // failed at its end may have left this very word there, which nobody obeys yet.
    let is_next = place.read().map_or(true, |known| {
        desired.is_newer_than(&known) || !is_obeyed && !known.is_newer_than(&desired)
    });
    match is_next {
        true => place.write(told).map(|()| Some(desired)),
        false => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key {
            group: name.into(),
            name: name.into(),
        }
    }

    fn told(generation: u64, disabled: &[&str], drained: Option<&str>) -> wire::Desired {
        let hold = |reason: &str| wire::Hold {
            reason: reason.to_owned(),
            actor: "operator/ann".into(),
            ..Default::default()
        };
        let program = |name: &&str| wire::DisabledProgram {
            group: (*name).to_owned(),
            name: (*name).to_owned(),
            hold: Some(hold("leaks")),
        };
        wire::Desired {
            generation,
            disabled: disabled.iter().map(program).collect(),
            drained: drained.map(hold),
        }
    }

    #[test]
    fn a_program_is_held_by_its_own_word_or_by_that_on_the_host() {
        let words = |disabled: &[&str], drained, name| {
            let desired = Desired::of(told(1, disabled, drained));
            let key = key(name);
            desired.hold(&key).map(|hold| hold_words(&key, hold))
        };
        let own = "disabled by operator/ann: leaks; `rsv --host HOST enable app` lets it run";
        let whole = "host drained by operator/ann: disk; `rsv host resume HOST` lets it run";
        for (disabled, drained, name, expected) in [
            (&[][..], None, "app", None),
            (&["app"], None, "app", Some(own)),
            (&["app"], None, "web", None),
            (&["app"], Some("disk"), "app", Some(own)),
            (&["app"], Some("disk"), "web", Some(whole)),
        ] {
            let found = words(disabled, drained, name);
            assert_eq!(
                found.as_deref(),
                expected,
                "{disabled:?} {drained:?} {name}"
            );
        }
    }

    #[test]
    fn what_was_kept_is_read_back_and_a_damaged_file_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = DesiredFile::new(directory.path());
        assert_eq!(file.read().unwrap(), Desired::default());
        let wanted = told(7, &["app"], Some("disk"));
        file.write(&wanted).unwrap();
        assert_eq!(file.read().unwrap(), Desired::of(wanted));
        std::fs::write(directory.path().join(FILE), [0xff; 9]).unwrap();
        assert!(file.read().is_err());
        file.forget().unwrap();
        assert_eq!(file.read().unwrap(), Desired::default());
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_kept_is_obeyed_as_soon_as_it_can_be() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let hub = crate::hub::fake::start(1, &["app"]);
        let handle = DesiredHandle::start(DesiredFile::new(&state), hub.handle.clone());
        handle.told(told(7, &["app"], None));
        // Time goes on only when nothing else does: the first try has failed by then.
        tokio::time::sleep(AGAIN / 2).await;
        let mut obeyed = handle.obeyed();
        assert_eq!(*obeyed.borrow(), 0);
        std::fs::create_dir(&state).unwrap();
        // As after another connection, which changes nothing.
        handle.told(told(7, &["app"], None));
        let waited = tokio::time::timeout(2 * AGAIN, obeyed.wait_for(|n| *n == 7)).await;
        waited.expect("it is tried again").unwrap();
        let kept = DesiredFile::new(&state).read().unwrap();
        assert_eq!(kept, Desired::of(told(7, &["app"], None)));
    }

    #[test]
    fn a_word_that_is_kept_and_not_obeyed_is_the_next_one_to_obey() {
        let directory = tempfile::tempdir().unwrap();
        let file = DesiredFile::new(directory.path());
        file.write(&told(7, &[], None)).unwrap();
        for (generation, is_obeyed, is_next) in [
            (6, false, false),
            (7, false, true),
            (7, true, false),
            (8, false, true),
        ] {
            let place = DesiredFile::new(directory.path());
            let found = keep(&place, &told(generation, &[], None), is_obeyed).unwrap();
            assert_eq!(found.is_some(), is_next, "{generation} {is_obeyed}");
        }
    }

    #[test]
    fn an_older_word_is_never_newer() {
        let of = |generation| Desired::of(told(generation, &[], None));
        assert!(of(2).is_newer_than(&of(1)));
        assert!(!of(1).is_newer_than(&of(1)));
        assert!(!of(1).is_newer_than(&of(2)));
    }
}
