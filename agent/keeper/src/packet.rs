//! Messages and descriptors as packets of a `SOCK_SEQPACKET` socket, for both ends.
//!
//! [`send`] and [`Receiver::recv`] move exactly one packet and never wait by themselves: whether they
//! block is a property of the socket they are given, and `WouldBlock` is handed on, so that a blocking
//! thread and an event loop can both use them. This file knows nothing of what the messages mean;
//! it guarantees that a received message was whole and that every received descriptor is closed on exec.
//!
//! A message of no bytes cannot be sent, because an empty packet without descriptors cannot be told
//! from the end of the connection.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use crate::message::{INLINE_LIMIT, MAX_FDS, MESSAGE_LIMIT};
use crate::sealed::{UnsealError, seal, unseal};

/// Connections that may wait to be accepted. There is one agent; the rest are probes and mistakes.
const BACKLOG: i32 = 16;

/// Why a packet is not acceptable. Carried by an [`io::Error`] of kind `InvalidData`.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// The packet does not fit the largest message that is sent inline.
    #[error("packet of more than {INLINE_LIMIT} bytes")]
    PacketTooLong,
    /// More descriptors than any message has.
    #[error("more than {MAX_FDS} descriptors in one packet")]
    TooManyDescriptors,
    /// The descriptor that should hold a large message does not.
    #[error("no large message in the packet's first descriptor")]
    Large(#[from] UnsealError),
    /// The bytes are not the expected message.
    #[error("packet is not a message")]
    Encoding(#[from] prost::DecodeError),
}

impl From<Malformed> for io::Error {
    fn from(malformed: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, malformed)
    }
}

/// Error numbers of a system that has no room for a packet or its descriptors now, and may have later. The
/// socket need not be full, so no event tells when it has.
pub const SHORTAGES: [i32; 5] = [
    libc::ETOOMANYREFS,
    libc::ENOBUFS,
    libc::ENOMEM,
    libc::EMFILE,
    libc::ENFILE,
];

/// Whether an error of [`Receiver::recv`] is a packet that was read and found unacceptable. Any other
/// error is the socket's.
pub fn is_malformed(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(<dyn std::error::Error + Send + Sync>::is::<Malformed>)
}

/// Sends one message with its descriptors as one packet.
///
/// # Errors
///
/// `InvalidInput` for a message of no bytes, above [`MESSAGE_LIMIT`] or with too many descriptors;
/// otherwise what the socket says, `WouldBlock` included. After an error nothing was sent.
pub fn send<M: prost::Message>(
    socket: BorrowedFd<'_>,
    message: &M,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let (size, carried) = check(message, fds.len())?;
    let bytes = message.encode_to_vec();
    if size <= INLINE_LIMIT {
        return send_packet(socket, &bytes, fds);
    }
    let sealed = seal(&bytes)?;
    let mut all = Vec::with_capacity(carried);
    all.push(sealed.as_fd());
    all.extend_from_slice(fds);
    send_packet(socket, &[], &all)
}

/// Whether a message with so many descriptors can be sent at all. Tells its size, and how many descriptors
/// go with it.
///
/// # Errors
///
/// `InvalidInput` for a message of no bytes, above [`MESSAGE_LIMIT`] or with too many descriptors.
pub fn check<M: prost::Message>(message: &M, fds: usize) -> io::Result<(usize, usize)> {
    let size = message.encoded_len();
    let carried = usize::from(size > INLINE_LIMIT) + fds;
    if size == 0 || size > MESSAGE_LIMIT || carried > MAX_FDS {
        let text = format!("message of {size} bytes with {fds} descriptors");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok((size, carried))
}

/// Receives one packet. As [`Receiver::recv`], with a buffer of its own.
///
/// # Errors
///
/// As [`Receiver::recv`].
pub fn recv<M: prost::Message + Default>(
    socket: BorrowedFd<'_>,
) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
    Receiver::default().recv(socket)
}

/// A reusable buffer for one packet.
#[derive(Debug)]
pub struct Receiver {
    buffer: Box<[u8]>,
}

impl Default for Receiver {
    fn default() -> Self {
        // One byte more than any packet, so that a longer one is noticed.
        Self {
            buffer: vec![0; INLINE_LIMIT + 1].into_boxed_slice(),
        }
    }
}

impl Receiver {
    /// Receives one message and its descriptors; `None` is the end of the connection.
    ///
    /// There may be fewer descriptors than were sent when this process has no free slots for them
    /// (the last ones are missing then), so a caller compares their number with what the message says.
    ///
    /// # Errors
    ///
    /// [`Malformed`] inside an error of kind `InvalidData`; the packet is consumed and its descriptors
    /// are closed. `EMFILE` when there was no free slot even for the memfd of a large message, which is
    /// lost then. Otherwise what the socket says, `WouldBlock` included.
    pub fn recv<M: prost::Message + Default>(
        &mut self,
        socket: BorrowedFd<'_>,
    ) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
        let (length, mut fds) = self.recv_packet(socket)?;
        if length > 0 {
            let message = M::decode(&self.buffer[..length]).map_err(Malformed::from)?;
            return Ok(Some((message, fds)));
        }
        if fds.is_empty() {
            return Ok(None);
        }
        let sealed = fds.remove(0);
        let bytes = unseal(sealed.as_fd(), MESSAGE_LIMIT).map_err(Malformed::from)?;
        let message = M::decode(&*bytes).map_err(Malformed::from)?;
        Ok(Some((message, fds)))
    }

    fn recv_packet(&mut self, socket: BorrowedFd<'_>) -> io::Result<(usize, Vec<OwnedFd>)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut self.buffer)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            match rustix::net::recvmsg(socket, &mut parts, &mut control, flags) {
                Err(Errno::INTR) => {}
                other => break other?,
            }
        };
        let mut fds = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = part {
                fds.extend(rights);
            }
        }
        if received.flags.contains(ReturnFlags::TRUNC) || received.bytes > INLINE_LIMIT {
            return Err(Malformed::PacketTooLong.into());
        }
        // The kernel also says so when this process is out of descriptors; then fewer came.
        if received.flags.contains(ReturnFlags::CTRUNC) && fds.len() >= MAX_FDS {
            return Err(Malformed::TooManyDescriptors.into());
        }
        if received.bytes == 0 && fds.is_empty() && received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(Errno::MFILE.into());
        }
        Ok((received.bytes, fds))
    }
}

fn send_packet(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Malformed::TooManyDescriptors.into());
    }
    loop {
        let parts = [IoSlice::new(bytes)];
        match rustix::net::sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            other => return Ok(other.map(|_| ())?),
        }
    }
}

/// Makes the listening socket at a path: non-blocking, mode 0600 from the first moment.
///
/// # Errors
///
/// `AddrInUse` when anything exists at the path; otherwise what the system says.
pub fn bind(path: &Path) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let socket = seqpacket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    // The mode of the unbound socket is the one its name gets: there is no moment to slip in.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Connects to the socket at a path, without waiting. The connection is in blocking mode.
///
/// # Errors
///
/// `NotFound` when there is no socket, `ConnectionRefused` when nobody listens on it any more,
/// `WouldBlock` when as many as may wait there wait already; otherwise what the system says.
pub fn connect(path: &Path) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let socket = seqpacket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    rustix::io::retry_on_intr(|| rustix::net::connect(&socket, &address))?;
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(socket)
}

fn seqpacket(flags: SocketFlags) -> io::Result<OwnedFd> {
    let kind = SocketType::SEQPACKET;
    Ok(rustix::net::socket_with(
        AddressFamily::UNIX,
        kind,
        flags,
        None,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{FromKeeper, Note, Report, Request, ToKeeper};
    use rustix::fs::MemfdFlags;

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
    }

    fn note(size: usize) -> ToKeeper {
        let note = Note {
            key: "app".into(),
            note: vec![7; size],
        };
        ToKeeper {
            request: Some(Request::Note(note)),
        }
    }

    #[test]
    fn a_message_arrives_whole_with_its_descriptors_whatever_its_size() {
        let (near, far) = pair();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        for size in [0, 1, INLINE_LIMIT - 20, INLINE_LIMIT, 3 * 1024 * 1024] {
            let sent = note(size);
            send(near.as_fd(), &sent, &[reader.as_fd(), writer.as_fd()]).unwrap();
            let (received, fds) = recv::<ToKeeper>(far.as_fd()).unwrap().unwrap();
            assert_eq!(received, sent);
            assert_eq!(fds.len(), 2);
            rustix::io::write(&fds[1], b"x").unwrap();
            assert_eq!(rustix::io::read(&reader, &mut [0; 4]).unwrap(), 1);
            let flags = rustix::io::fcntl_getfd(&fds[0]).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        }
    }

    #[test]
    fn silence_is_would_block_and_a_closed_peer_is_none() {
        let (near, far) = pair();
        let silence = recv::<ToKeeper>(far.as_fd()).unwrap_err();
        assert_eq!(silence.kind(), io::ErrorKind::WouldBlock);
        drop(near);
        assert!(recv::<ToKeeper>(far.as_fd()).unwrap().is_none());
    }

    #[test]
    fn a_message_that_could_not_be_received_is_not_sent() {
        let (near, far) = pair();
        let empty = FromKeeper::default();
        let fds = [far.as_fd(); MAX_FDS + 1];
        for result in [
            send(near.as_fd(), &empty, &[]),
            send(near.as_fd(), &note(1), &fds),
            send(near.as_fd(), &note(INLINE_LIMIT), &fds[..MAX_FDS]),
            send(near.as_fd(), &note(MESSAGE_LIMIT), &[]),
        ] {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        let silence = recv::<ToKeeper>(far.as_fd()).unwrap_err();
        assert_eq!(silence.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_is_no_message_is_a_typed_error_and_the_next_packet_is_read() {
        let (near, far) = pair();
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        send_packet(near.as_fd(), &[0xff; 10], &[]).unwrap();
        send_packet(near.as_fd(), &[0x20; INLINE_LIMIT + 1], &[]).unwrap();
        send_packet(near.as_fd(), &[], &[reader.as_fd()]).unwrap();
        let unsealed = rustix::fs::memfd_create("x", MemfdFlags::ALLOW_SEALING).unwrap();
        send_packet(near.as_fd(), &[], &[unsealed.as_fd()]).unwrap();
        let garbage = seal(&[0xff; 10]).unwrap();
        send_packet(near.as_fd(), &[], &[garbage.as_fd()]).unwrap();
        let nothing = seal(&[]).unwrap();
        send_packet(near.as_fd(), &[], &[nothing.as_fd()]).unwrap();
        send(near.as_fd(), &note(1), &[]).unwrap();
        let mut receiver = Receiver::default();
        for _ in 0..6 {
            let error = receiver.recv::<ToKeeper>(far.as_fd()).unwrap_err();
            assert!(is_malformed(&error), "{error}");
        }
        assert_eq!(
            receiver.recv::<ToKeeper>(far.as_fd()).unwrap().unwrap().0,
            note(1)
        );
    }

    #[test]
    fn a_message_for_the_other_side_does_not_pass_as_a_request_with_content() {
        let (near, far) = pair();
        let text = "a string where a message is expected".to_owned();
        let busy = Report::HeldNote(Note {
            key: text,
            note: vec![1, 2],
        });
        send(near.as_fd(), &FromKeeper { report: Some(busy) }, &[]).unwrap();
        assert!(recv::<ToKeeper>(far.as_fd()).is_err());
    }

    #[test]
    fn where_too_many_wait_nobody_waits_to_be_one_of_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keeper.sock");
        let listener = bind(&path).unwrap();
        let mut waiting = Vec::new();
        let full = loop {
            match connect(&path) {
                Ok(socket) => waiting.push(socket),
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert!(waiting.len() >= usize::try_from(BACKLOG).unwrap());
        rustix::net::accept(&listener).unwrap();
        let socket = connect(&path).unwrap();
        let flags = rustix::fs::fcntl_getfl(&socket).unwrap();
        assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
    }

    #[test]
    fn the_socket_is_private_and_a_second_one_does_not_replace_it() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keeper.sock");
        let missing = connect(&path).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let listener = bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        connect(&path).unwrap();
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        let dead = connect(&path).unwrap_err();
        assert_eq!(dead.kind(), io::ErrorKind::ConnectionRefused);
    }
}
