//! Which log goes into which file, and what has happened to it.
//!
//! A file is known by its path: two logs with one path share the file, its rotation and its numbers.
//! A file that no stream goes to is closed when its logs are; its index stays, for readers and for
//! the next time.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::almanac;
use super::command::LogKey;
use super::file::{Limits, LogFile};
use super::ledger::Ledger;
use super::opening::Access;
use super::regular;
use super::stream::{FileId, Turn, TurnEnd};
use super::trouble::{Condition, Reports};
use super::{CaptureStats, LogSpec, LogTarget};
use crate::logbook::index::{LogIndex, LogState};
use crate::logbook::times::Mark;
use crate::metrics::{LogMetrics, LogNames};

/// Every log and every file.
#[derive(Debug, Default)]
pub(super) struct Files {
    logs: HashMap<LogKey, Box<Log>>,
    files: HashMap<FileId, Box<Entry>>,
    by_path: HashMap<PathBuf, FileId>,
    next_id: FileId,
    metrics: LogMetrics,
}

#[derive(Debug)]
struct Log {
    spec: Arc<LogSpec>,
    file: FileId,
    stats: CaptureStats,
    condition: Condition,
    /// Somebody wants it open.
    is_open: bool,
}

#[derive(Debug)]
struct Entry {
    path: PathBuf,
    file: Option<LogFile>,
    index: Option<Arc<LogIndex>>,
}

impl Files {
    /// Learns how a log is kept. When its path is another one than before, says so.
    pub(super) fn know(&mut self, log: &LogKey, spec: Arc<LogSpec>) -> io::Result<FileId> {
        let path = path_of(&spec)?;
        let id = self.id_of(path);
        match self.logs.get_mut(log) {
            Some(known) => {
                let former = known.file;
                known.spec = spec;
                known.file = id;
                if former != id {
                    self.leave(former, LogState::Replaced);
                }
            }
            None => {
                self.logs.insert(
                    log.clone(),
                    Box::new(Log {
                        spec,
                        file: id,
                        stats: CaptureStats::default(),
                        condition: Condition::default(),
                        is_open: false,
                    }),
                );
            }
        }
        Ok(id)
    }

    /// Opens the file of a known log, or brings the open one in line with its spec.
    pub(super) fn open(&mut self, log: &LogKey) -> io::Result<(FileId, &mut LogFile)> {
        let known = self.logs.get_mut(log).ok_or(io::ErrorKind::NotFound)?;
        known.is_open = true;
        let (id, access, limits) = (known.file, access(&known.spec), limits(&known.spec));
        let entry = self.files.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        if let Some(file) = &mut entry.file {
            file.keep_as(access, limits);
            file.follow_name()?;
        } else {
            let ledger = ledger(&known.spec, &entry.path);
            let (path, former) = (&entry.path, entry.index.as_ref());
            let opened = LogFile::open(path, access, limits, ledger.as_deref(), former)?;
            entry.index = opened.index().cloned();
            if let Some(index) = &entry.index {
                let end = index.progress().end;
                index.times().note(Mark::new(end, SystemTime::now()));
            }
            entry.file = Some(opened);
        }
        let file = entry.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        Ok((id, file))
    }

    /// An open file.
    pub(super) fn open_file(&mut self, id: FileId) -> Option<&mut LogFile> {
        self.files.get_mut(&id)?.file.as_mut()
    }

    /// The open file of an attached stream. Opens it when that did not succeed before.
    pub(super) fn ensure_open(&mut self, log: &LogKey, id: FileId) -> io::Result<&mut LogFile> {
        if self.peek_file(id).is_none() {
            self.open(log)?;
        }
        self.open_file(id)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// An open file, to look at.
    pub(super) fn peek_file(&self, id: FileId) -> Option<&LogFile> {
        self.files.get(&id)?.file.as_ref()
    }

    /// Every file that is open.
    pub(super) fn all_open(&mut self) -> impl Iterator<Item = (FileId, &mut LogFile)> {
        self.files
            .iter_mut()
            .filter_map(|(id, entry)| Some((*id, entry.file.as_mut()?)))
    }

    /// The file of a log, and how it is kept.
    pub(super) fn of(&self, log: &LogKey) -> Option<(FileId, &LogSpec)> {
        self.logs.get(log).map(|log| (log.file, log.spec.as_ref()))
    }

    /// The logs of a key.
    pub(super) fn logs_of(&self, key: &str) -> Vec<LogKey> {
        self.logs
            .keys()
            .filter(|log| log.key == key)
            .cloned()
            .collect()
    }

    /// Where to read a log, as it is now.
    pub(super) fn index_of(&mut self, log: &LogKey) -> io::Result<Option<Arc<LogIndex>>> {
        let Some(known) = self.logs.get(log) else {
            return Ok(None);
        };
        let Some(entry) = self.files.get_mut(&known.file) else {
            return Ok(None);
        };
        let ledger = ledger(&known.spec, &entry.path);
        match &mut entry.file {
            Some(file) => {
                // Looks at the size, so that what others have done to the file is known.
                file.room(Instant::now())?;
                entry.index = file.index_to_keep().cloned();
            }
            None => {
                let (limits, access) = (limits(&known.spec), access(&known.spec));
                if access == Access::Private && !entry.path.try_exists()? {
                    // To readers a log that the agent names is there as soon as it is configured.
                    access.open(&entry.path)?;
                }
                let former = entry.index.as_ref();
                entry.index = regular::survey(&entry.path, limits, ledger.as_deref(), former)?;
            }
        }
        if let (Some(ledger), Some(index)) = (&ledger, &entry.index) {
            almanac::recall(ledger, index);
        }
        Ok(entry.index.clone())
    }

    /// Keeps when the bytes of each open file came in.
    pub(super) fn keep_times(&mut self) {
        for (_, file) in self.all_open() {
            file.keep_times();
        }
    }

    pub(super) fn stats(&self, log: &LogKey) -> Option<CaptureStats> {
        self.logs.get(log).map(|log| CaptureStats {
            trouble_since: log.condition.since(),
            ..log.stats.clone()
        })
    }

    /// Notes what a turn has done.
    pub(super) fn account(
        &mut self,
        log: &LogKey,
        turn: &Turn,
        now: Instant,
        reports: &mut Reports,
    ) {
        let Some(known) = self.logs.get_mut(log) else {
            return;
        };
        let entry = self.files.get(&known.file);
        let is_overdue = entry.and_then(|entry| entry.file.as_ref());
        let is_overdue = is_overdue.is_some_and(LogFile::is_overdue);
        let names = LogNames {
            key: &log.key,
            channel: log.channel,
        };
        self.metrics.moved(names, turn.moved);
        for (reason, records) in &turn.lost.records {
            self.metrics.dropped(names, reason.word(), *records);
        }
        let stats = &mut known.stats;
        stats.bytes += turn.moved;
        stats.dropped += turn.lost.bytes;
        let is_fine = match &turn.end {
            TurnEnd::Trouble(error) => {
                stats.errors += 1;
                let path = entry.map(|entry| entry.path.display());
                let text =
                    path.map_or_else(|| error.to_string(), |path| format!("`{path}`: {error}"));
                known.condition.worsen(log, &text, stats.dropped, reports);
                stats.last_error = Some(text);
                false
            }
            TurnEnd::Ended => true,
            TurnEnd::Empty | TurnEnd::Undecided | TurnEnd::More | TurnEnd::Busy => {
                turn.moved > 0 && !is_overdue
            }
        };
        if let Some(why) = &turn.lost.why {
            stats.errors += 1;
            known.condition.worsen(log, why, stats.dropped, reports);
            stats.last_error = Some(why.clone());
        }
        if is_fine && (turn.lost.why.is_none() || matches!(turn.end, TurnEnd::Ended)) {
            known.condition.calm(now);
            stats.last_error = turn.lost.why.clone();
        }
    }

    /// Looks whether trouble is over. Says when to look again, if any is left.
    pub(super) fn settle(&mut self, now: Instant, reports: &mut Reports) -> Option<Instant> {
        let settled = self.logs.iter_mut().map(|(log, known)| {
            let dropped = known.stats.dropped;
            known.condition.settle(log, now, dropped, reports)
        });
        settled.flatten().min()
    }

    /// A log need not be open any more.
    pub(super) fn close(&mut self, log: &LogKey) -> Option<FileId> {
        let known = self.logs.get_mut(log)?;
        known.is_open = false;
        Some(known.file)
    }

    /// A log is not configured any more.
    pub(super) fn forget(&mut self, log: &LogKey) -> Option<FileId> {
        let known = self.logs.remove(log)?;
        self.leave(known.file, LogState::Forgotten);
        Some(known.file)
    }

    /// No stream goes to this file: it is closed if no log wants it open, and forgotten if no log
    /// leads to it.
    pub(super) fn unused(&mut self, id: FileId) {
        let mut logs = self.logs.values().filter(|log| log.file == id);
        match logs.next() {
            None => {
                if let Some(entry) = self.files.remove(&id) {
                    self.by_path.remove(&entry.path);
                }
            }
            Some(log) if !log.is_open && !logs.any(|log| log.is_open) => {
                if let Some(entry) = self.files.get_mut(&id) {
                    if let Some(file) = &mut entry.file {
                        file.keep_times();
                    }
                    entry.file = None;
                }
            }
            Some(_) => {}
        }
    }

    /// A log leads elsewhere from now on. Its readers are told, unless another log still leads here.
    fn leave(&self, id: FileId, state: LogState) {
        let is_shared = self.logs.values().any(|log| log.file == id);
        let index = self.files.get(&id).and_then(|entry| entry.index.as_ref());
        if let Some(index) = index.filter(|_| !is_shared) {
            index.close(state);
        }
    }

    fn id_of(&mut self, path: PathBuf) -> FileId {
        if let Some(id) = self.by_path.get(&path) {
            return *id;
        }
        self.next_id += 1;
        let id = self.next_id;
        self.files.insert(
            id,
            Box::new(Entry {
                path: path.clone(),
                file: None,
                index: None,
            }),
        );
        self.by_path.insert(path, id);
        id
    }
}

fn path_of(spec: &LogSpec) -> io::Result<PathBuf> {
    match &spec.target {
        LogTarget::File { path } | LogTarget::Private { path } => std::path::absolute(path),
        LogTarget::Null => Ok(PathBuf::from("/dev/null")),
    }
}

fn access(spec: &LogSpec) -> Access {
    match spec.target {
        LogTarget::Private { .. } => Access::Private,
        LogTarget::File { .. } | LogTarget::Null => Access::Named,
    }
}

fn limits(spec: &LogSpec) -> Limits {
    Limits {
        maxbytes: spec.maxbytes,
        backups: spec.backups,
    }
}

fn ledger(spec: &LogSpec, path: &Path) -> Option<PathBuf> {
    spec.ledger_dir
        .as_deref()
        .map(|directory| Ledger::path_in(directory, path))
}
