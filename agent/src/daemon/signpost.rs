//! Says where the state of a configuration file's agent is, for the time when the file itself no longer
//! does: empty, gone, or not text. It stands where a user's agents keep such things, under the digest of
//! the file's path; whoever reads it trusts nobody's but his own.
//!
//! It is a help and no more: an agent that can put up none works as well, and one that leads nowhere does
//! no harm.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rsv_config::{Config, Locations, common_places};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::privileges::{own_dir, own_uid};
use crate::roster::holds_programs;

/// A signpost that stands.
#[derive(Debug)]
pub(super) struct Signpost {
    path: PathBuf,
}

/// What is written on it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Text {
    /// The main file, absolute.
    main_file: PathBuf,
    /// As whom the agent runs.
    uid: u32,
    /// Where it may be, best first.
    places: Vec<Place>,
}

/// Where an agent may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    state_dir: PathBuf,
    keeper_socket: PathBuf,
}

impl Signpost {
    /// Puts it up for this process's user, who may become another one soon; `None`: there is no place.
    pub(super) fn put_up(main_file: &Path, config: &Config) -> Option<Self> {
        let text = Text {
            main_file: std::path::absolute(main_file).ok()?,
            uid: uid_of(config),
            places: places_of(config),
        };
        common().iter().find_map(|place| {
            own_dir(place).ok()?;
            put_in(place, &text)
        })
    }

    /// Takes it away.
    pub(super) fn take_down(self) {
        // One that stays, since root's cannot be removed by whom root has become, leads nowhere.
        fs::remove_file(self.path).ok();
    }
}

/// Where the state of the agent of `main_file` may be, as its signpost says.
pub(super) fn state_dirs(main_file: &Path) -> Vec<PathBuf> {
    let places = texts(main_file).flat_map(|text| text.places);
    places.map(|place| place.state_dir).collect()
}

/// The user of a former agent of `main_file` that was another one than it is to be now, with the socket
/// of the keeper that still has its programs.
pub(super) fn held_by_another(main_file: &Path, config: &Config) -> Option<(u32, PathBuf)> {
    let uid = uid_of(config);
    let of_others = texts(main_file).filter(|text| text.uid != uid);
    let places = of_others.flat_map(|text| {
        let uid = text.uid;
        text.places.into_iter().map(move |place| (uid, place))
    });
    places
        .map(|(uid, place)| (uid, place.keeper_socket))
        .find(|(_, socket)| holds_programs(socket))
}

fn texts(main_file: &Path) -> impl Iterator<Item = Text> {
    let owned = common().into_iter().filter(|place| is_own(place));
    owned.filter_map(move |place| read_in(&place, main_file))
}

/// Whether a directory that may stand where others can make some is ours alone.
pub(super) fn is_own(directory: &Path) -> bool {
    fs::symlink_metadata(directory)
        .is_ok_and(|found| found.is_dir() && found.uid() == own_uid() && found.mode() & 0o077 == 0)
}

fn common() -> [PathBuf; 2] {
    let uid = own_uid();
    common_places(uid).map(|place| place.join(format!("rsv-{uid}")))
}

/// As whom an agent of this process's user will run.
fn uid_of(config: &Config) -> u32 {
    let user = config.supervisord.user.as_ref();
    user.map_or_else(own_uid, |user| user.uid)
}

/// The place in force, and those that the agent may yet have to take for it.
fn places_of(config: &Config) -> Vec<Place> {
    let mut found = vec![config.locations.clone()];
    if config.locations.private_dir.is_some() {
        let pidfile = &config.supervisord.pidfile;
        found.push(Locations::of(None, pidfile));
        found.extend(Locations::elsewhere(pidfile, uid_of(config)));
    }
    let place = |found: Locations| Place {
        state_dir: found.state_dir,
        keeper_socket: found.keeper_socket,
    };
    found.into_iter().map(place).collect()
}

/// Others must never see half of it; that it survives a power failure is not needed.
fn put_in(place: &Path, text: &Text) -> Option<Signpost> {
    let path = place.join(name(&text.main_file));
    let unfinished = path.with_extension(std::process::id().to_string());
    fs::write(&unfinished, serde_json::to_vec(text).ok()?).ok()?;
    fs::rename(&unfinished, &path).ok()?;
    Some(Signpost { path })
}

fn read_in(place: &Path, main_file: &Path) -> Option<Text> {
    let main_file = std::path::absolute(main_file).ok()?;
    let bytes = fs::read(place.join(name(&main_file))).ok()?;
    let text: Text = serde_json::from_slice(&bytes).ok()?;
    (text.main_file == main_file).then_some(text)
}

fn name(main_file: &Path) -> String {
    let digest = Sha256::digest(main_file.as_os_str().as_encoded_bytes());
    digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_its_own_until_it_is_taken_down() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path();
        let text = |main_file: &str, state_dir: &str| Text {
            main_file: main_file.into(),
            uid: 1,
            places: vec![Place {
                state_dir: state_dir.into(),
                keeper_socket: "/k".into(),
            }],
        };
        let read = |main_file| read_in(place, Path::new(main_file));
        let (here, there) = ("/etc/a.conf", "/etc/b.conf");
        assert_eq!(read(here), None);
        let of_here = put_in(place, &text(here, "/x")).unwrap();
        put_in(place, &text(there, "/z")).unwrap();
        assert_eq!(read(here), Some(text(here, "/x")));
        assert_eq!(read(there), Some(text(there, "/z")));
        put_in(place, &text(here, "/new")).unwrap();
        assert_eq!(read(here), Some(text(here, "/new")));
        of_here.take_down();
        assert_eq!(read(here), None);
        fs::write(place.join(name(Path::new(there))), "nonsense").unwrap();
        assert_eq!(read(there), None);
    }
}
