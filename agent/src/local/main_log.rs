//! Reading the agent's own log, and following it over rotation.
//!
//! While somebody follows, the file is looked at whenever something was written: what others do to
//! it, such as moving it away, is seen then.

mod begin;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use futures_util::stream::{self, BoxStream, StreamExt as _};
use rsv_proto::time::{from_wire, local_zone};
use rsv_proto::wire::{TailMainLogRequest, TailMainLogResponse};
use tonic::Status;

use self::begin::{Begin, Place};
use crate::mainlog::Written;

/// How many bytes of what there is are given when nobody says.
const BYTES: u64 = 1600;

/// The largest piece.
const PIECE: usize = 64 * 1024;

/// Who reads, and what tells that there is more.
type State = (Reader, Option<Written>);

type Answers = BoxStream<'static, Result<TailMainLogResponse, Status>>;

/// A place in the log.
#[derive(Debug)]
struct Reader {
    path: PathBuf,
    file: File,
    offset: u64,
    /// What is read after this file: those that were there at the beginning.
    newer: VecDeque<Place>,
}

/// What stands at the place.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Bytes(Vec<u8>),
    /// The file has become shorter; the place is its beginning now.
    Truncated,
    /// Nothing more for now.
    End,
}

/// The end of the log, and what follows.
pub(crate) async fn open(
    path: Option<&Path>,
    written: Written,
    request: &TailMainLogRequest,
) -> Result<Answers, Status> {
    let path = path.ok_or_else(|| Status::not_found("the agent's log is not a file"))?;
    let (path, begin) = (path.to_owned(), begin(request)?);
    let follow = request.follow;
    let reader = blocking(move || Reader::open(path, begin))
        .await
        .map_err(|error| status(&error))?;
    let first = stream::iter([Ok(TailMainLogResponse::default())]);
    let written = follow.then_some(written);
    let rest = stream::unfold(Some((reader, written)), next);
    Ok(first.chain(rest).boxed())
}

fn begin(request: &TailMainLogRequest) -> Result<Begin, Status> {
    if let Some(since) = &request.since {
        let since = from_wire(since);
        return since
            .map(Begin::Since)
            .ok_or_else(|| Status::invalid_argument("`since` is no moment"));
    }
    Ok(match request.lines {
        Some(lines) => Begin::Lines(lines),
        None => Begin::Bytes(request.bytes.unwrap_or(BYTES)),
    })
}

/// The next answer; without `Written` only of what is there by now.
async fn next(
    state: Option<State>,
) -> Option<(Result<TailMainLogResponse, Status>, Option<State>)> {
    let (mut reader, mut written) = state?;
    loop {
        let step = blocking(move || {
            let found = reader.step();
            Ok((reader, found))
        });
        let found;
        (reader, found) = step.await.ok()?;
        let answer = match found {
            Ok(Found::Bytes(data)) => Ok(TailMainLogResponse {
                data,
                truncated: false,
            }),
            Ok(Found::Truncated) => Ok(TailMainLogResponse {
                truncated: true,
                ..Default::default()
            }),
            Ok(Found::End) => {
                written.as_mut()?.more().await;
                continue;
            }
            Err(error) => return Some((Err(status(&error)), None)),
        };
        return Some((answer, Some((reader, written))));
    }
}

impl Reader {
    fn open(path: PathBuf, begin: Begin) -> io::Result<Self> {
        let mut places = begin::find(&path, begin, &local_zone())?;
        let Place { file, offset } = places.pop_front().ok_or(io::ErrorKind::NotFound)?;
        Ok(Self {
            path,
            file,
            offset,
            newer: places,
        })
    }

    fn step(&mut self) -> io::Result<Found> {
        let mut piece = vec![0; PIECE];
        let n = self.file.read_at(&mut piece, self.offset)?;
        if n > 0 {
            piece.truncate(n);
            self.offset += n as u64;
            return Ok(Found::Bytes(piece));
        }
        if let Some(Place { file, offset }) = self.newer.pop_front() {
            (self.file, self.offset) = (file, offset);
            return self.step();
        }
        let here = self.file.metadata()?;
        if here.len() < self.offset {
            self.offset = 0;
            return Ok(Found::Truncated);
        }
        match File::open(&self.path) {
            Ok(file) if file.metadata()?.ino() != here.ino() => {
                // It was rotated, and all of the former file has been read.
                (self.file, self.offset) = (file, 0);
                self.step()
            }
            Ok(_) => Ok(Found::End),
            // Between the two steps of a rotation.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::End),
            Err(error) => Err(error),
        }
    }
}

fn status(error: &io::Error) -> Status {
    match error.kind() {
        io::ErrorKind::NotFound => Status::not_found("there is no main log"),
        _ => Status::failed_precondition(format!("the main log cannot be read: {error}")),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_read_and_then_what_comes_also_after_rotation_and_truncation() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("main.log");
        std::fs::write(&path, "one\ntwo\n").unwrap();
        let mut reader = Reader::open(path.clone(), Begin::Bytes(4)).unwrap();
        let bytes = |text: &str| Found::Bytes(text.as_bytes().to_vec());
        assert_eq!(reader.step().unwrap(), bytes("two\n"));
        assert_eq!(reader.step().unwrap(), Found::End);
        std::fs::rename(&path, directory.path().join("main.log.1")).unwrap();
        assert_eq!(reader.step().unwrap(), Found::End);
        std::fs::write(&path, "three\n").unwrap();
        assert_eq!(reader.step().unwrap(), bytes("three\n"));
        std::fs::write(&path, "").unwrap();
        assert_eq!(reader.step().unwrap(), Found::Truncated);
        std::fs::write(&path, "4\n").unwrap();
        assert_eq!(reader.step().unwrap(), bytes("4\n"));
    }

    #[test]
    fn rotated_files_are_read_before_the_last_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("main.log");
        std::fs::write(directory.path().join("main.log.1"), "one\ntwo\n").unwrap();
        std::fs::write(&path, "three\n").unwrap();
        let mut reader = Reader::open(path, Begin::Lines(2)).unwrap();
        let bytes = |text: &str| Found::Bytes(text.as_bytes().to_vec());
        assert_eq!(reader.step().unwrap(), bytes("two\n"));
        assert_eq!(reader.step().unwrap(), bytes("three\n"));
        assert_eq!(reader.step().unwrap(), Found::End);
    }

    #[test]
    fn what_is_not_a_file_is_no_log() {
        let missing = Reader::open("/dev/null".into(), Begin::Bytes(10)).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
