//! Whether anybody listens on a Unix socket, asked without waiting for whoever does.

use std::path::Path;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Whether the socket at this path is somebody's: he accepts, or will when he gets to it. A connection
/// that waits would hang here for as long as its owner is stopped and his queue is full.
///
/// # Errors
///
/// The path is too long for a socket, or there is no descriptor to ask with.
pub fn is_served(path: &Path) -> Result<bool, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Served, or a full queue, or another type of socket: there is somebody.
    Ok(rustix::net::connect(&probe, &address) != Err(Errno::CONNREFUSED))
}

/// A socket whose owner accepts nobody and whose queue is full, for as long as this is kept.
#[cfg(test)]
pub(crate) fn full(path: &Path) -> Vec<std::os::fd::OwnedFd> {
    let address = SocketAddrUnix::new(path).unwrap();
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        || rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
    let listening = socket();
    rustix::net::bind(&listening, &address).unwrap();
    rustix::net::listen(&listening, 0).unwrap();
    let mut kept = vec![listening];
    loop {
        let waiting = socket();
        match rustix::net::connect(&waiting, &address) {
            Ok(()) => kept.push(waiting),
            Err(error) => {
                assert_eq!(error, Errno::AGAIN);
                return kept;
            }
        }
    }
}

/// What a call gives that may hang, while the test goes on.
#[cfg(test)]
pub(crate) fn in_time<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(call()).ok());
    let patience = std::time::Duration::from_secs(30);
    answer.recv_timeout(patience).expect("it does not hang")
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_is_served_also_when_its_queue_is_full_and_not_when_its_owner_has_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        assert_eq!(is_served(&path), Ok(false));
        std::fs::remove_file(&path).unwrap();
        let kept = full(&path);
        let asked = path.clone();
        assert_eq!(in_time(move || is_served(&asked)), Ok(true));
        drop(kept);
        assert_eq!(is_served(&path), Ok(false));
    }
}
