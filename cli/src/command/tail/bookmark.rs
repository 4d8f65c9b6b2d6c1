//! `--cursor FILE`: where the reader stands, from one run to the next.
//!
//! A place is put into the file after what comes before it has been shown, so that nothing is lost. It is
//! written at the end, at an interrupt, and a few times a second meanwhile: only after a death without
//! warning is something shown twice.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rsv_proto::wire::Cursor;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::places::Source;
use crate::error::{Exit, Failure};

/// How long a new place may wait to be written.
pub(super) const DELAY: Duration = Duration::from_millis(200);

const SCHEMA: &str = "rsv/cursor/v1";

/// The longest file that is read: a thousand sources take a quarter of it.
const LONGEST: u64 = 1024 * 1024;

/// Places in a file. Dropping it writes them.
#[derive(Debug)]
pub(super) struct Bookmark {
    path: PathBuf,
    channel: &'static str,
    places: BTreeMap<Source, Cursor>,
    /// Of the other channel.
    others: Vec<Entry>,
    /// Since when there is something to write.
    waits_since: Option<Instant>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    schema: String,
    sources: Vec<Entry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    host: String,
    program: String,
    channel: String,
    log_id: String,
    offset: u64,
}

impl Bookmark {
    /// Reads a file; one that is not there has no places. It is written at once, so that one that cannot
    /// be is no surprise in the end.
    pub(super) fn open(path: &Path, channel: &'static str) -> Result<Self, Failure> {
        let entries = match read(path) {
            Ok(text) => parse(&text).map_err(|why| {
                let text = format!("`{}` is no file of --cursor: {why}", path.display());
                Failure::usage(text).hint("name another file, or remove it to begin anew")
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                let what = format!("cannot read `{}`", path.display());
                return Err(Failure::new(Exit::Failed, what).because(&error));
            }
        };
        let (own, others): (Vec<Entry>, Vec<Entry>) = entries
            .into_iter()
            .partition(|entry| entry.channel == channel);
        let place = |entry: Entry| {
            let cursor = Cursor {
                log_id: entry.log_id,
                offset: entry.offset,
            };
            ((entry.host, entry.program), cursor)
        };
        let mut bookmark = Self {
            path: path.to_owned(),
            channel,
            places: own.into_iter().map(place).collect(),
            others,
            waits_since: Some(Instant::now()),
        };
        bookmark.write()?;
        Ok(bookmark)
    }

    /// Every place that is known.
    pub(super) fn places(&self) -> &BTreeMap<Source, Cursor> {
        &self.places
    }

    /// What comes before this place has been shown.
    pub(super) fn put(&mut self, source: Source, place: Cursor, now: Instant) {
        let before = self.places.insert(source, place.clone());
        if before != Some(place) {
            self.waits_since.get_or_insert(now);
        }
    }

    /// When it is to be written; absent: there is nothing to write.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waits_since.map(|since| since + DELAY)
    }

    /// Writes what there is to write.
    pub(super) fn write(&mut self) -> Result<(), Failure> {
        if self.waits_since.take().is_none() {
            return Ok(());
        }
        let written = replace(&self.path, &self.text());
        written.map_err(|error| {
            let what = format!("cannot write `{}`", self.path.display());
            Failure::new(Exit::Failed, what).because(&error)
        })
    }

    fn text(&self) -> String {
        let own = self.places.iter().map(|((host, program), place)| Entry {
            host: host.clone(),
            program: program.clone(),
            channel: self.channel.to_owned(),
            log_id: place.log_id.clone(),
            offset: place.offset,
        });
        let contents = Contents {
            schema: SCHEMA.to_owned(),
            sources: own.chain(self.others.iter().cloned()).collect(),
        };
        // Texts and numbers can always be written.
        serde_json::to_string(&contents).unwrap_or_default() + "\n"
    }
}

impl Drop for Bookmark {
    fn drop(&mut self) {
        // Whoever interrupts it has the output; there is nobody to complain to.
        let _unwritten = self.write();
    }
}

fn read(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    if file.metadata()?.len() > LONGEST {
        return Err(io::Error::other("it is too long"));
    }
    io::read_to_string(file)
}

fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let contents: Contents = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match contents.schema == SCHEMA {
        true => Ok(contents.sources),
        false => Err(format!("its schema is not `{SCHEMA}`")),
    }
}

/// All of it or nothing: a file that is half written would lose every place.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    // One of a process that had this number before is of no use; one of somebody else stays.
    let make = || File::create_new(&new);
    let mut file = make().or_else(|_| fs::remove_file(&new).and_then(|()| make()))?;
    file.write_all(text.as_bytes())?;
    // The name must not be there before the text is, also when the power fails.
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(host: &str) -> Source {
        (host.to_owned(), "app".to_owned())
    }

    fn place(offset: u64) -> Cursor {
        Cursor {
            log_id: "l".into(),
            offset,
        }
    }

    #[test]
    fn places_go_from_one_run_to_the_next_and_channels_do_not_mix() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cursor");
        let mut first = Bookmark::open(&path, "stdout").unwrap();
        assert!(first.places().is_empty());
        first.put(source("web1"), place(7), Instant::now());
        first.put(source(""), place(1), Instant::now());
        drop(first);
        let mut second = Bookmark::open(&path, "stderr").unwrap();
        assert!(second.places().is_empty());
        second.put(source("web1"), place(3), Instant::now());
        second.write().unwrap();
        let third = Bookmark::open(&path, "stdout").unwrap();
        let expected = [(source(""), place(1)), (source("web1"), place(7))];
        assert_eq!(*third.places(), expected.into());
        let fourth = Bookmark::open(&path, "stderr").unwrap();
        assert_eq!(*fourth.places(), [(source("web1"), place(3))].into());
    }

    #[test]
    fn only_news_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cursor");
        let mut bookmark = Bookmark::open(&path, "stdout").unwrap();
        assert_eq!(bookmark.due(), None);
        let now = Instant::now();
        bookmark.put(source("web1"), place(7), now);
        bookmark.put(source("web1"), place(9), now + DELAY);
        assert_eq!(bookmark.due(), Some(now + DELAY));
        bookmark.write().unwrap();
        bookmark.put(source("web1"), place(9), now);
        assert_eq!(bookmark.due(), None);
    }

    #[test]
    fn what_is_no_such_file_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cursor");
        for text in [
            "",
            "{}",
            "[supervisord]\n",
            r#"{"schema":"x","sources":[]}"#,
        ] {
            fs::write(&path, text).unwrap();
            let failure = Bookmark::open(&path, "stdout").unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        for path in [directory.path(), &directory.path().join("none/cursor")] {
            let failure = Bookmark::open(path, "stdout").unwrap_err();
            assert_eq!(failure.exit, Exit::Failed, "{failure}");
        }
    }
}
