//! When the bytes of a log came in, kept over the end of the agent: one small file beside the ledger of a log that
//! somebody writes to. What it says counts for the numbering whose id it has.
//!
//! It has two places that are written in turn, so that one is whole whenever a kill comes. A file put in the place
//! of the former one would have the system write it to the disk at once: with a thousand busy logs a seventh of all
//! that their capture takes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::logbook::index::LogIndex;
use crate::logbook::times::{PLACE, decode};

/// Keeps what is known now.
pub(super) fn keep(ledger: &Path, index: &LogIndex) -> io::Result<()> {
    recall(ledger, index);
    let mut options = File::options();
    options.write(true).create(true).truncate(false);
    let file = options.open(path_beside(ledger))?;
    let (turn, bytes) = {
        let mut times = index.times();
        times.is_new = false;
        times.encode(&index.log_id)
    };
    file.write_all_at(&bytes, turn % 2 * PLACE)
}

/// Takes in what was kept before, once.
pub(super) fn recall(ledger: &Path, index: &LogIndex) {
    if index.times().is_recalled {
        return;
    }
    let bytes = std::fs::read(path_beside(ledger)).unwrap_or_default();
    let kept = decode(&bytes, &index.log_id).unwrap_or_default();
    let end = index.progress().end;
    index.times().recall(&kept, end);
}

fn path_beside(ledger: &Path) -> PathBuf {
    ledger.with_extension("times")
}
