//! The last configuration that could be read, kept for an agent that cannot read its own while
//! programs run that nobody else would look after.

use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::files::Inputs;
use crate::identity::state::write_atomically;

/// Its name in the state directory; private as the directory is.
const FILE: &str = "last-good.json";

/// The place in which configurations are remembered.
#[derive(Debug)]
pub struct LastGood {
    path: PathBuf,
    main_file: PathBuf,
    /// The digest of what was saved.
    saved: Option<[u8; 32]>,
}

/// A configuration that was remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Of this main file, absolute.
    main_file: PathBuf,
    /// When it was last read, in seconds since 1970.
    saved_at: u64,
    /// What it was read from.
    pub inputs: Inputs,
    /// Whose file it is found in, which no file can say of itself.
    #[serde(skip)]
    pub owner: u32,
}

impl LastGood {
    /// A place in a state directory, for the configuration of `main_file`.
    pub fn new(state_dir: &Path, main_file: &Path) -> Self {
        Self {
            path: state_dir.join(FILE),
            main_file: absolute(main_file),
            saved: None,
        }
    }

    /// Remembers what a configuration was read from, unless it is the same as before. For a blocking
    /// thread.
    ///
    /// # Errors
    ///
    /// What the disk says; what was remembered before is still there.
    pub fn save(&mut self, inputs: Inputs, now: SystemTime) -> io::Result<()> {
        let digest = digest(&inputs)?;
        if self.saved == Some(digest) {
            return Ok(());
        }
        let saved_at = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let remembered = Remembered {
            main_file: self.main_file.clone(),
            saved_at,
            inputs,
            owner: nix::unistd::geteuid().as_raw(),
        };
        write_atomically(&self.path, &serde_json::to_vec(&remembered)?)?;
        self.saved = Some(digest);
        Ok(())
    }
}

impl Remembered {
    /// What is remembered of `main_file` in a state directory; none when there is nothing, or nothing
    /// that can be read.
    pub fn load(state_dir: &Path, main_file: &Path) -> Option<Self> {
        let file = File::open(state_dir.join(FILE)).ok()?;
        let owner = file.metadata().ok()?.uid();
        let mut remembered: Self = serde_json::from_reader(BufReader::new(file)).ok()?;
        remembered.owner = owner;
        (remembered.main_file == absolute(main_file)).then_some(remembered)
    }

    /// When it was last read, for people.
    pub fn saved_at(&self) -> String {
        let seconds = i64::try_from(self.saved_at).unwrap_or(i64::MAX);
        let at = jiff::Timestamp::from_second(seconds).unwrap_or_default();
        let local = at.to_zoned(rsv_proto::time::local_zone());
        local.strftime("%Y-%m-%d %H:%M:%S").to_string()
    }
}

/// Whether the keeper that listens at a socket has live programs: it holds a pidfd of each. Says
/// nothing to it, so that nobody is disturbed.
pub fn holds_programs(keeper_socket: &Path) -> bool {
    let Ok(socket) = rsv_keeper::packet::connect(keeper_socket) else {
        return false;
    };
    let Ok(keeper) = rustix::net::sockopt::socket_peercred(socket.as_fd()) else {
        return false;
    };
    let descriptors = format!("/proc/{}/fd", keeper.pid.as_raw_nonzero());
    let Ok(descriptors) = std::fs::read_dir(descriptors) else {
        return false;
    };
    let mut links = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links.any(|link| link.to_string_lossy().contains("pidfd"))
}

fn digest(inputs: &Inputs) -> io::Result<[u8; 32]> {
    Ok(Sha256::digest(serde_json::to_vec(inputs)?).into())
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
