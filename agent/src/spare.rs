//! Descriptors kept back, so that whoever asks what is wrong is answered also when the process has no
//! more of them.
//!
//! A process at its limit cannot even accept the call that would tell its operator so. A [`Reserve`]
//! gives up one of its own for each such call and takes it back when a caller leaves.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

/// How long accepting pauses when nothing is left to be given up.
const PAUSE: Duration = Duration::from_millis(200);

/// How often the log is told at most.
const REMINDER: Duration = Duration::from_secs(60);

/// Some descriptors for the callers of one door.
#[derive(Debug, Clone)]
pub struct Reserve(Arc<Mutex<Kept>>);

#[derive(Debug)]
struct Kept {
    /// What the others are copies of; never given up, so that they can be had again without a file.
    first: OwnedFd,
    spares: Vec<OwnedFd>,
    size: usize,
    told: Option<Instant>,
}

/// The place of one caller. It must be dropped after the caller's connection is closed.
#[derive(Debug)]
pub struct Seat(Reserve);

/// What an error of accepting is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The caller has gone before it was here.
    Caller,
    /// No descriptor is free.
    Descriptors,
    /// Something else that the next caller would meet as well.
    Process,
}

impl Reserve {
    /// Keeps back so many descriptors, and one more.
    ///
    /// # Errors
    ///
    /// When there are not so many.
    pub fn new(size: usize) -> io::Result<Self> {
        let first = OwnedFd::from(File::open("/dev/null")?);
        let spares = std::iter::repeat_with(|| first.try_clone()).take(size);
        let spares = spares.collect::<io::Result<Vec<OwnedFd>>>()?;
        Ok(Self(Arc::new(Mutex::new(Kept {
            first,
            spares,
            size,
            told: None,
        }))))
    }

    /// Accepts the next caller, with a descriptor of this reserve where there is no other. Waits
    /// while there is none at all. Safe to cancel when `accept` is.
    pub async fn accept<T, F>(&self, mut accept: impl FnMut() -> F) -> (T, Seat)
    where
        F: Future<Output = io::Result<T>>,
    {
        loop {
            let error = match accept().await {
                Ok(connection) => return (connection, Seat(self.clone())),
                Err(error) => error,
            };
            match cause(&error) {
                Cause::Caller => {}
                Cause::Descriptors if self.give_up(Instant::now()) => {}
                Cause::Descriptors | Cause::Process => {
                    warn!(%error, "a caller has to wait");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Closes one of the descriptors; whether there was one.
    fn give_up(&self, now: Instant) -> bool {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.told.is_none_or(|told| now - told >= REMINDER) {
            kept.told = Some(now);
            warn!(
                "no descriptor is free: callers are answered from a reserve, and programs may not \
                 start; raise the limit of open files (LimitNOFILE= of the unit, or minfds)"
            );
        }
        kept.spares.pop().is_some()
    }

    fn refill(&self) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while kept.spares.len() < kept.size {
            match kept.first.try_clone() {
                Ok(spare) => kept.spares.push(spare),
                // The next caller who leaves frees one.
                Err(_) => return,
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.refill();
    }
}

fn cause(error: &io::Error) -> Cause {
    match error.kind() {
        io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::NotConnected
        | io::ErrorKind::Interrupted => Cause::Caller,
        _ => match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => Cause::Descriptors,
            _ => Cause::Process,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spares(reserve: &Reserve) -> usize {
        reserve.0.lock().unwrap().spares.len()
    }

    fn full<T>() -> io::Result<T> {
        Err(io::Error::from_raw_os_error(libc::EMFILE))
    }

    #[test]
    fn what_is_wrong_with_one_caller_makes_nobody_wait() {
        for (number, expected) in [
            (libc::EMFILE, Cause::Descriptors),
            (libc::ENFILE, Cause::Descriptors),
            (libc::ENOMEM, Cause::Process),
            (libc::EINVAL, Cause::Process),
            (libc::ECONNABORTED, Cause::Caller),
            (libc::ECONNRESET, Cause::Caller),
            (libc::EINTR, Cause::Caller),
        ] {
            let error = io::Error::from_raw_os_error(number);
            assert_eq!(cause(&error), expected, "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_caller_takes_a_spare_when_there_is_no_other_and_the_next_ones_wait() {
        let reserve = Reserve::new(2).unwrap();
        // As many can be accepted as descriptors were given up.
        let mut seats = Vec::new();
        for taken in 0..2 {
            let (left, seat) = reserve
                .accept(|| {
                    let left = spares(&reserve);
                    std::future::ready(if left + taken < 2 { Ok(left) } else { full() })
                })
                .await;
            assert_eq!(left, 1 - taken);
            seats.push(seat);
        }
        let nobody = reserve.accept(|| std::future::ready(full::<()>()));
        assert!(tokio::time::timeout(PAUSE * 3, nobody).await.is_err());
        assert_eq!(spares(&reserve), 0);
        drop(seats.pop());
        assert_eq!(spares(&reserve), 2);
    }

    #[tokio::test]
    async fn a_caller_who_has_gone_is_passed_over() {
        let reserve = Reserve::new(1).unwrap();
        let mut is_first = true;
        let accept = || {
            std::future::ready(if std::mem::take(&mut is_first) {
                Err(io::ErrorKind::ConnectionAborted.into())
            } else {
                Ok(7)
            })
        };
        let (answer, _seat) = reserve.accept(accept).await;
        assert_eq!(answer, 7);
        assert_eq!(spares(&reserve), 1);
    }
}
