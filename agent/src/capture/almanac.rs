//! When the bytes of a log came in, kept over the end of the agent: one small file beside the ledger of a log that
//! somebody writes to. Replaced as a whole, so that there is never half of one; what it says counts for the numbering
//! whose id it has.

use std::io;
use std::path::{Path, PathBuf};

use crate::logbook::index::LogIndex;
use crate::logbook::times::decode;

/// Keeps what is known now.
pub(super) fn keep(ledger: &Path, index: &LogIndex) -> io::Result<()> {
    recall(ledger, index);
    let bytes = {
        let mut times = index.times();
        times.is_new = false;
        times.encode(&index.log_id)
    };
    let path = path_beside(ledger);
    let fresh = path.with_extension("times-new");
    std::fs::write(&fresh, bytes)?;
    std::fs::rename(&fresh, &path)
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
