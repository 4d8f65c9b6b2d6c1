//! The numbering of a log, kept over the end of the agent.
//!
//! One small file for each log that has ever been read (the numbers of others are known to nobody): a header with the log's id and a ring of slots, one for each
//! segment, each written in place with one `write`, so that keeping the books costs a rotation a few
//! microseconds. A torn or a foreign slot fails its check and counts as absent. [`resolve`] compares
//! what the ledger says with what is on the disk.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::logbook::index::{FileKey, Segment};

const MAGIC: [u8; 8] = *b"rsvlog\x001";
const HEADER: usize = 32;
const SLOT: usize = 48;

/// Slots of a ring: enough for the kept files, the current one, and one more that a kill may leave.
/// Above this the oldest files lose their numbers at the next start.
const MAX_SLOTS: u32 = 4096;

/// What is known of a numbering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Numbering {
    pub(super) log_id: Uuid,
    /// The oldest first.
    pub(super) segments: Vec<Segment>,
    /// Where it ends, if somebody who is still alive has seen that.
    pub(super) end: Option<u64>,
}

/// A file of a log as found on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) file: FileKey,
    pub(super) size: u64,
}

/// The open file.
#[derive(Debug)]
pub(super) struct Ledger {
    file: File,
    log_id: Uuid,
    slots: u32,
}

impl Ledger {
    /// The ledger of a log file in a directory.
    pub(super) fn path_in(directory: &Path, log: &Path) -> PathBuf {
        let digest = Sha256::digest(log.as_os_str().as_bytes());
        let mut name: String = digest
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        name.push_str(".log");
        directory.join(name)
    }

    /// What a ledger says; nothing when there is none that can be understood.
    pub(super) fn load(path: &Path) -> Option<Numbering> {
        parse(&std::fs::read(path).ok()?)
    }

    /// Begins a file that says exactly this. There is never half of one under this name.
    pub(super) fn create(
        path: &Path,
        log_id: Uuid,
        segments: &[Segment],
        backups: u32,
    ) -> io::Result<Self> {
        let slots = backups.saturating_add(4).clamp(8, MAX_SLOTS);
        let mut bytes = vec![0; HEADER + slots as usize * SLOT];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..24].copy_from_slice(log_id.as_bytes());
        for segment in segments {
            // A later segment takes the place of an older one.
            let at = usize::try_from(offset_of(segment, slots)).unwrap_or(HEADER);
            bytes[at..at + SLOT].copy_from_slice(&encode(&log_id, segment));
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let fresh = path.with_extension("new");
        let file = File::create(&fresh)?;
        file.write_all_at(&bytes, 0)?;
        std::fs::rename(&fresh, path)?;
        Ok(Self {
            file,
            log_id,
            slots,
        })
    }

    /// Notes one segment.
    pub(super) fn note(&self, segment: &Segment) -> io::Result<()> {
        let slot = encode(&self.log_id, segment);
        self.file
            .write_all_at(&slot, offset_of(segment, self.slots))
    }
}

fn offset_of(segment: &Segment, slots: u32) -> u64 {
    HEADER as u64 + segment.seq % u64::from(slots) * SLOT as u64
}

/// Brings what is known in line with what is there. `found[n]` is the file that has been rotated `n`
/// times, `found[0]` the current one. Files that nobody has numbered yet are put where they stand in
/// the chain.
pub(super) fn resolve(known: Option<&Numbering>, found: &[Option<Found>]) -> Numbering {
    let newest = known.and_then(|known| known.segments.last().map(|newest| (known, newest)));
    let Some((known, newest)) = newest else {
        return begin(found);
    };
    let at = found
        .iter()
        .position(|f| f.is_some_and(|f| f.file == newest.file));
    match (at, known.end) {
        (Some(at), _) => carry_on(known, newest, at, found),
        (None, Some(end)) => replaced(known, newest, end, found),
        (None, None) => begin(found),
    }
}

/// A numbering of its own for everything that is there.
fn begin(found: &[Option<Found>]) -> Numbering {
    let mut segments = Vec::new();
    number(&mut segments, 0, 0, found);
    Numbering {
        log_id: Uuid::new_v4(),
        segments,
        end: None,
    }
}

/// The newest known file is there, at `at`; whatever is newer follows it.
fn carry_on(known: &Numbering, newest: &Segment, at: usize, found: &[Option<Found>]) -> Numbering {
    let size = found[at].map_or(0, |file| file.size);
    let newest = if size == 0 {
        begun(known, newest, found)
    } else {
        *newest
    };
    let mut segments = older(known, &newest, &found[at + 1..]);
    segments.push(newest);
    number(
        &mut segments,
        newest.seq + 1,
        newest.start + size,
        &found[..at],
    );
    Numbering {
        log_id: known.log_id,
        segments,
        end: None,
    }
}

/// A file that is still empty begins where the one before it ends by now: when the agent ended before
/// it could tell the keeper of the new file, the keeper went on with the former one.
fn begun(known: &Numbering, newest: &Segment, found: &[Option<Found>]) -> Segment {
    let former = known
        .segments
        .iter()
        .rev()
        .find(|segment| segment.seq + 1 == newest.seq);
    let file = former.and_then(|former| {
        found
            .iter()
            .flatten()
            .find(|f| f.file == former.file && f.file != newest.file)
    });
    let (Some(former), Some(file)) = (former, file) else {
        return *newest;
    };
    let start = newest.start.max(former.start + file.size);
    Segment {
        start,
        floor: newest.floor.max(start),
        ..*newest
    }
}

/// The newest known file has been moved away by somebody, and where it ended is known.
fn replaced(known: &Numbering, newest: &Segment, end: u64, found: &[Option<Found>]) -> Numbering {
    let mut segments = older(known, newest, found.get(1..).unwrap_or_default());
    number(
        &mut segments,
        newest.seq + 1,
        end,
        &found[..found.len().min(1)],
    );
    Numbering {
        log_id: known.log_id,
        segments,
        end: None,
    }
}

/// The known segments before the newest one whose files are there as they were left.
fn older(known: &Numbering, newest: &Segment, found: &[Option<Found>]) -> Vec<Segment> {
    let mut kept = Vec::new();
    let mut next = *newest;
    for segment in known
        .segments
        .iter()
        .rev()
        .filter(|segment| segment.seq < newest.seq)
    {
        let length = next.start.saturating_sub(segment.start);
        let is_next = next.seq == segment.seq + 1;
        let is_whole = found.iter().flatten().any(|file| {
            // Without the one that follows it, nobody knows how long it should be.
            let fits = if is_next {
                file.size == length
            } else {
                file.size <= length
            };
            file.file == segment.file && fits
        });
        if is_whole && segment.file != newest.file {
            kept.push(*segment);
        }
        next = *segment;
    }
    kept.reverse();
    kept
}

/// Numbers the found files from the oldest on.
fn number(segments: &mut Vec<Segment>, seq: u64, start: u64, found: &[Option<Found>]) {
    let (mut seq, mut start) = (seq, start);
    for file in found.iter().rev().flatten() {
        segments.retain(|segment| segment.file != file.file);
        segments.push(Segment {
            seq,
            file: file.file,
            start,
            floor: start,
        });
        seq += 1;
        start += file.size;
    }
}

fn parse(bytes: &[u8]) -> Option<Numbering> {
    let (header, slots) = bytes.split_at_checked(HEADER)?;
    if header[..8] != MAGIC {
        return None;
    }
    let log_id = Uuid::from_slice(&header[8..24]).ok()?;
    let mut segments: Vec<Segment> = slots
        .chunks_exact(SLOT)
        .filter_map(|slot| decode(&log_id, slot))
        .collect();
    segments.sort_by_key(|segment| segment.seq);
    Some(Numbering {
        log_id,
        segments,
        end: None,
    })
}

fn encode(log_id: &Uuid, segment: &Segment) -> [u8; SLOT] {
    let words = [
        segment.seq,
        segment.file.dev,
        segment.file.ino,
        segment.start,
        segment.floor,
    ];
    let mut slot = [0; SLOT];
    for (to, word) in slot.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    let check = check(log_id, &slot[..40]);
    slot[40..].copy_from_slice(&check.to_le_bytes());
    slot
}

fn decode(log_id: &Uuid, slot: &[u8]) -> Option<Segment> {
    let word = |n: usize| {
        let bytes = slot.get(n * 8..n * 8 + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    if word(5)? != check(log_id, slot.get(..40)?) {
        return None;
    }
    let file = FileKey {
        dev: word(1)?,
        ino: word(2)?,
    };
    Some(Segment {
        seq: word(0)?,
        file,
        start: word(3)?,
        floor: word(4)?,
    })
}

/// FNV-1a over the id and the slot: it has to find torn and foreign slots, not forged ones.
fn check(log_id: &Uuid, bytes: &[u8]) -> u64 {
    log_id
        .as_bytes()
        .iter()
        .chain(bytes)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(ino: u64) -> FileKey {
        FileKey { dev: 7, ino }
    }

    fn file(ino: u64, size: u64) -> Option<Found> {
        Some(Found {
            file: key(ino),
            size,
        })
    }

    fn segment(seq: u64, ino: u64, start: u64) -> Segment {
        Segment {
            seq,
            file: key(ino),
            start,
            floor: start,
        }
    }

    fn known(segments: &[Segment]) -> Numbering {
        Numbering {
            log_id: Uuid::from_u128(9),
            segments: segments.to_vec(),
            end: None,
        }
    }

    #[test]
    fn what_is_written_is_read_back_newest_last() {
        let directory = tempfile::tempdir().unwrap();
        let path = Ledger::path_in(directory.path(), Path::new("/var/log/a"));
        let ledger = Ledger::create(&path, Uuid::from_u128(9), &[segment(0, 10, 0)], 2).unwrap();
        for n in 1..30 {
            ledger.note(&segment(n, 10 + n, n * 100)).unwrap();
        }
        let loaded = Ledger::load(&path).unwrap();
        assert_eq!(loaded.log_id, Uuid::from_u128(9));
        assert_eq!(loaded.segments.last(), Some(&segment(29, 39, 2900)));
        assert_eq!(loaded.segments.len(), 8, "the ring holds so many");
    }

    #[test]
    fn a_torn_slot_counts_as_absent_and_a_torn_header_as_no_ledger() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("l");
        let ledger = Ledger::create(&path, Uuid::from_u128(9), &[segment(0, 10, 0)], 2).unwrap();
        ledger.note(&segment(1, 11, 100)).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[HEADER + SLOT + 3] ^= 1;
        assert_eq!(parse(&bytes).unwrap().segments, [segment(0, 10, 0)]);
        bytes[0] ^= 1;
        assert_eq!(parse(&bytes), None);
        assert_eq!(parse(&bytes[..20]), None);
    }

    #[test]
    fn an_unchanged_chain_keeps_its_numbers() {
        let known = known(&[segment(3, 30, 0), segment(4, 40, 100)]);
        let resolved = resolve(Some(&known), &[file(40, 55), file(30, 100)]);
        assert_eq!(resolved, known);
    }

    #[test]
    fn a_kill_between_rename_and_bookkeeping_is_seen() {
        let known = known(&[segment(3, 30, 0), segment(4, 40, 100)]);
        let resolved = resolve(Some(&known), &[file(50, 0), file(40, 120), file(30, 100)]);
        assert_eq!(
            resolved.segments,
            [segment(3, 30, 0), segment(4, 40, 100), segment(5, 50, 220)],
            "it begins where the former one ends, with all that the keeper drained into that"
        );
        assert_eq!(resolved.log_id, known.log_id);
    }

    #[test]
    fn an_empty_file_begins_where_the_keeper_left_off() {
        let known = known(&[segment(3, 30, 0), segment(4, 40, 100)]);
        let resolved = resolve(Some(&known), &[file(40, 0), file(30, 130)]);
        assert_eq!(resolved.segments, [segment(3, 30, 0), segment(4, 40, 130)]);
    }

    #[test]
    fn a_missing_file_costs_only_its_own_numbers() {
        let known = known(&[segment(1, 10, 0), segment(2, 20, 100), segment(4, 40, 300)]);
        let resolved = resolve(
            Some(&known),
            &[file(40, 5), None, file(20, 100), file(10, 100)],
        );
        assert_eq!(resolved, known);
    }

    #[test]
    fn an_inode_number_that_is_used_again_is_a_new_segment() {
        let known = known(&[segment(3, 30, 0), segment(4, 40, 100)]);
        let resolved = resolve(Some(&known), &[file(30, 0), file(40, 120)]);
        assert_eq!(
            resolved.segments,
            [segment(4, 40, 100), segment(5, 30, 220)]
        );
    }

    #[test]
    fn a_chain_with_a_hole_keeps_its_numbers() {
        let known = known(&[segment(3, 30, 0), segment(4, 40, 100)]);
        let resolved = resolve(Some(&known), &[file(40, 100), None, file(30, 100)]);
        assert_eq!(resolved, known);
    }

    #[test]
    fn a_rotated_file_of_another_size_has_no_numbers() {
        let known = known(&[segment(3, 30, 0), segment(4, 40, 100)]);
        let resolved = resolve(Some(&known), &[file(40, 55), file(30, 99)]);
        assert_eq!(resolved.segments, [segment(4, 40, 100)]);
    }

    #[test]
    fn unknown_files_begin_a_numbering_that_covers_them_all() {
        let known = known(&[segment(4, 40, 100)]);
        let resolved = resolve(Some(&known), &[file(2, 5), file(1, 100)]);
        assert_ne!(resolved.log_id, known.log_id);
        assert_eq!(resolved.segments, [segment(0, 1, 0), segment(1, 2, 100)]);
        assert_eq!(resolve(None, &[file(2, 5)]).segments, [segment(0, 2, 0)]);
    }

    #[test]
    fn a_file_moved_away_under_a_living_agent_does_not_end_the_numbering() {
        let mut known = known(&[segment(4, 40, 100)]);
        known.end = Some(180);
        let resolved = resolve(Some(&known), &[file(50, 0)]);
        assert_eq!(resolved.log_id, known.log_id);
        assert_eq!(resolved.segments, [segment(5, 50, 180)]);
    }
}
