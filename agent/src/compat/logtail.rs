//! Output as it comes, as plain text without an end: `/logtail/NAME[/CHANNEL]` and `/mainlogtail`.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http::StatusCode;
use http::header::{HeaderName, LAST_MODIFIED};
use hyper::body::Bytes;
use rsv_keeper::message::Channel;

use super::pages::{decode, http_date};
use super::rpc::Target;
use super::rpc::find;
use super::server::{Body, Reply, put, reply};
use super::supervision::Supervision;
use crate::logbook::TailItem;
use crate::mainlog::Written;

/// What is shown of the past.
const LAST: u64 = 1024;

/// The most that is read at once.
const PIECE: u64 = 64 * 1024;

/// Stands where output is missing.
const TRUNCATED: &[u8] = b"==> File truncated <==\n";

/// The output of the process and channel that a path names.
pub(super) async fn of_process(
    supervision: &dyn Supervision,
    path: &str,
) -> Result<Reply, StatusCode> {
    let path = decode(path.trim_start_matches('/'));
    let (_, named) = path.split_once('/').ok_or(StatusCode::NOT_FOUND)?;
    let (name, channel) = named.split_once('/').unwrap_or((named, "stdout"));
    let channel = match channel {
        "stdout" => Channel::Stdout,
        "stderr" => Channel::Stderr,
        _ => return Err(StatusCode::NOT_FOUND),
    };
    let processes = supervision.processes().await;
    let processes = processes.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let target = Target::parse(name);
    let status = find(&processes, &target).ok_or(StatusCode::NOT_FOUND)?;
    let key = crate::hub::Key {
        group: status.group.clone(),
        name: status.name.clone(),
    };
    let configured = supervision.configured();
    let file = configured.log_file(&key, channel).cloned();
    let pieces = supervision.follow(&key, channel, LAST).filter_map(bytes);
    let mut reply = plain(pieces.boxed());
    match last_modified(file).await {
        Ok(at) => date(&mut reply, at),
        Err(StatusCode::NOT_FOUND) if configured.is_auto(&key, channel) => {}
        Err(status) => return Err(status),
    }
    put(
        &mut reply,
        HeaderName::from_static("x-accel-buffering"),
        "no",
    );
    Ok(reply)
}

/// What a reader gets of an item.
fn bytes(item: TailItem) -> std::future::Ready<Option<Bytes>> {
    std::future::ready(match item {
        TailItem::Chunk { data, .. } => Some(Bytes::from(data)),
        TailItem::Gap { .. } => Some(Bytes::from_static(TRUNCATED)),
        TailItem::Begin { .. } | TailItem::End(_) => None,
    })
}

/// The main log.
pub(super) async fn of_main(supervision: &Arc<dyn Supervision>) -> Result<Reply, StatusCode> {
    let file = supervision.configured().main_log().cloned();
    let path = file.clone().ok_or(StatusCode::NOT_FOUND)?;
    let written = supervision.main_log_written();
    let follower = Follower {
        path,
        place: None,
        written,
    };
    let pieces = stream::unfold(follower, Follower::next);
    let mut reply = plain(pieces.boxed());
    date(&mut reply, last_modified(file).await?);
    Ok(reply)
}

/// When the file of a log was written last; a log that is no file cannot be followed.
async fn last_modified(file: Option<PathBuf>) -> Result<SystemTime, StatusCode> {
    let file = file.ok_or(StatusCode::NOT_FOUND)?;
    let metadata = tokio::task::spawn_blocking(move || std::fs::metadata(file));
    let metadata = metadata
        .await
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let metadata = metadata.ok().filter(std::fs::Metadata::is_file);
    let modified = metadata.ok_or(StatusCode::NOT_FOUND)?.modified();
    modified.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

fn date(reply: &mut Reply, at: SystemTime) {
    if let Ok(date) = http_date(at).parse() {
        reply.headers_mut().insert(LAST_MODIFIED, date);
    }
}

fn plain(pieces: BoxStream<'static, Bytes>) -> Reply {
    let kind = "text/plain;charset=utf-8";
    reply(StatusCode::OK, kind, Body::patient_stream(pieces))
}

/// Follows the main log's file by its name, over rotations: whenever something was written to it.
#[derive(Debug)]
struct Follower {
    path: PathBuf,
    place: Option<Place>,
    written: Written,
}

#[derive(Debug)]
struct Place {
    file: File,
    offset: u64,
}

impl Follower {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            let read = tokio::task::spawn_blocking(move || {
                let piece = self.read();
                (self, piece)
            });
            let (follower, piece) = read.await.ok()?;
            self = follower;
            match piece {
                Ok(piece) if !piece.is_empty() => return Some((piece.into(), self)),
                // Between two names of a rotation there may be none.
                Ok(_) | Err(_) => self.written.more().await,
            }
        }
    }

    /// What is new; nothing when all has been read.
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let Some(place) = &mut self.place else {
            let file = open(&self.path)?;
            let offset = file.metadata()?.len().saturating_sub(LAST);
            self.place = Some(Place { file, offset });
            return self.read_on();
        };
        let size = place.file.metadata()?.len();
        if size < place.offset {
            place.offset = 0;
            return Ok(TRUNCATED.to_vec());
        }
        let piece = self.read_on()?;
        if !piece.is_empty() {
            return Ok(piece);
        }
        self.move_on()?;
        self.read_on()
    }

    fn read_on(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if let Some(place) = &mut self.place {
            place.file.seek(SeekFrom::Start(place.offset))?;
            (&place.file).take(PIECE).read_to_end(&mut bytes)?;
            place.offset += bytes.len() as u64;
        }
        Ok(bytes)
    }

    /// To the file that has the name by now.
    fn move_on(&mut self) -> io::Result<()> {
        let now = std::fs::metadata(&self.path)?;
        let is_same = match &self.place {
            None => false,
            Some(place) => {
                let held = place.file.metadata()?;
                (held.dev(), held.ino()) == (now.dev(), now.ino())
            }
        };
        if !is_same {
            let file = open(&self.path)?;
            self.place = Some(Place { file, offset: 0 });
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_follower_goes_on_over_rotation_and_truncation() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("main.log");
        fs::write(&path, "x".repeat(2000)).unwrap();
        let mut follower = Follower {
            path: path.clone(),
            place: None,
            written: crate::mainlog::MainLog::default().written(),
        };
        assert_eq!(follower.read().unwrap().len(), 1024);
        assert_eq!(follower.read().unwrap(), b"");
        fs::rename(&path, directory.path().join("main.log.1")).unwrap();
        assert!(follower.read().is_err());
        fs::write(&path, "new file\n").unwrap();
        assert_eq!(follower.read().unwrap(), b"new file\n");
        fs::write(&path, "a\n").unwrap();
        assert_eq!(follower.read().unwrap(), TRUNCATED);
        assert_eq!(follower.read().unwrap(), b"a\n");
    }
}
