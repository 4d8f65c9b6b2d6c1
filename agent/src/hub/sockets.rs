//! Which programs share which listening socket: when one is made, kept and closed.
//!
//! A socket belongs to a group and a URL. It is made for the first program that is spawned with it, kept
//! until the last of its programs is at rest, and changed in place when it is configured otherwise at the
//! same address. Which of that is due is decided by [`Shares`], which knows nothing of sockets; [`listen`]
//! does it.
//!
//! The keeper holds a copy with each process, so that the next agent finds the same socket, with whoever
//! waits in it.

mod listen;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::handle::Key;
use crate::mainlog::SUPERVISOR;
use crate::spec::{SocketSpec, SpawnError};
use listen::Listening;

/// The open sockets of the hub's programs.
#[derive(Debug, Default)]
pub(super) struct Sockets(Shares<Listening>);

/// Who uses what. Pure: `S` stands for a socket.
#[derive(Debug)]
struct Shares<S>(BTreeMap<Place, Share<S>>);

/// What tells sockets apart: the group that shares it, and its URL.
type Place = (String, String);

/// One socket and its users; never without one.
#[derive(Debug)]
struct Share<S> {
    socket: S,
    /// How it was made or last changed; absent: not known, because another agent did it.
    made_as: Option<SocketSpec>,
    users: BTreeSet<Key>,
}

/// What a program that is to be spawned needs.
#[derive(Debug, PartialEq, Eq)]
enum Need<S> {
    /// Nobody has it.
    Make,
    /// It is there.
    Use(S),
    /// It is there, and has to be changed.
    Adjust(S),
}

impl Sockets {
    /// The socket for a process that is about to start.
    ///
    /// # Errors
    ///
    /// It cannot be made, or not as configured.
    pub(super) fn obtain(
        &mut self,
        key: &Key,
        spec: &SocketSpec,
    ) -> Result<Arc<OwnedFd>, SpawnError> {
        self.0
            .release(key, Some(&spec.url))
            .into_iter()
            .for_each(close);
        let obtained = match self.need(key, spec) {
            Need::Make => {
                tracing::info!(target: SUPERVISOR, "Creating socket {}", spec.url);
                Listening::make(spec)
            }
            Need::Use(socket) => Ok(socket),
            Need::Adjust(socket) => socket.adjust(spec).map(|()| socket),
        };
        let socket = obtained.map_err(|error| SpawnError::Socket {
            url: spec.url.clone(),
            why: error.to_string(),
            is_taken: error.is_taken(),
        })?;
        let fd = Arc::clone(&socket.fd);
        self.0.share_now(key, &spec.url, socket, Some(spec.clone()));
        Ok(fd)
    }

    /// One that nobody can reach any more, because its file was removed, is as good as none.
    fn need(&self, key: &Key, spec: &SocketSpec) -> Need<Listening> {
        match self.0.need(key, spec) {
            Need::Use(socket) | Need::Adjust(socket) if socket.is_lost(spec) => Need::Make,
            need => need,
        }
    }

    /// A process of a former agent has this as its standard input: taken up if it is a socket, which is
    /// known by where it listens, whatever is configured by now.
    pub(super) fn adopt(
        &mut self,
        key: &Key,
        configured: Option<&SocketSpec>,
        stdin: BorrowedFd<'_>,
    ) {
        match Listening::take_up(stdin, configured) {
            Ok(Some((socket, url))) => self.0.share(key, &url, socket, None),
            Ok(None) => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(program = %key, error, "its socket cannot be kept");
            }
        }
    }

    /// A process is at rest; a socket that nobody is left for is closed.
    pub(super) fn release(&mut self, key: &Key) {
        self.0.release(key, None).into_iter().for_each(close);
    }
}

fn close((url, socket): (String, Listening)) {
    tracing::info!(target: SUPERVISOR, "Closing socket {url}");
    socket.close();
}

impl<S> Default for Shares<S> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<S: Clone> Shares<S> {
    fn need(&self, key: &Key, spec: &SocketSpec) -> Need<S> {
        match self.0.get(&(key.group.clone(), spec.url.clone())) {
            None => Need::Make,
            Some(share) if share.made_as.as_ref() == Some(spec) => Need::Use(share.socket.clone()),
            Some(share) => Need::Adjust(share.socket.clone()),
        }
    }

    /// A program uses a socket from now on: the one that is there, or else this one.
    fn share(&mut self, key: &Key, url: &str, socket: S, made_as: Option<SocketSpec>) {
        let place = (key.group.clone(), url.to_owned());
        let share = self.0.entry(place).or_insert_with(|| Share {
            socket,
            made_as: None,
            users: BTreeSet::new(),
        });
        share.made_as = made_as;
        share.users.insert(key.clone());
    }

    /// The same, of this socket, in the place of one that may be there. Who has the former one keeps it.
    fn share_now(&mut self, key: &Key, url: &str, socket: S, made_as: Option<SocketSpec>) {
        self.share(key, url, socket.clone(), made_as);
        if let Some(share) = self.0.get_mut(&(key.group.clone(), url.to_owned())) {
            share.socket = socket;
        }
    }

    /// A program uses no socket any more but the one with this URL. Gives those that nobody uses.
    fn release(&mut self, key: &Key, but: Option<&str>) -> Vec<(String, S)> {
        let mut deserted = Vec::new();
        for ((group, url), share) in &mut self.0 {
            let is_left = but != Some(url.as_str()) && share.users.remove(key);
            if is_left && share.users.is_empty() {
                deserted.push((group.clone(), url.clone()));
            }
        }
        let mut closed = Vec::new();
        for place in deserted {
            closed.extend(self.0.remove(&place).map(|share| (place.1, share.socket)));
        }
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::SocketAddress;

    fn key(group: &str, name: &str) -> Key {
        Key {
            group: group.into(),
            name: name.into(),
        }
    }

    fn spec(path: &str) -> SocketSpec {
        SocketSpec {
            url: format!("unix://{path}"),
            address: SocketAddress::Unix {
                path: path.into(),
                owner: None,
                mode: 0o700,
            },
            backlog: 5,
        }
    }

    /// Spawns a program, and says what it needed. A socket that is made is the next number.
    fn spawn(shares: &mut Shares<u32>, key: &Key, spec: &SocketSpec, next: u32) -> Need<u32> {
        let need = shares.need(key, spec);
        let socket = match need {
            Need::Make => next,
            Need::Use(socket) | Need::Adjust(socket) => socket,
        };
        shares.share(key, &spec.url, socket, Some(spec.clone()));
        need
    }

    fn released(shares: &mut Shares<u32>, key: &Key) -> Vec<u32> {
        let closed = shares.release(key, None).into_iter();
        closed.map(|(_, socket)| socket).collect()
    }

    #[test]
    fn a_socket_is_made_once_and_closed_behind_the_last_user() {
        let (mut shares, spec) = (Shares::default(), spec("/s"));
        let [one, two, three] = ["one", "two", "three"].map(|name| key("g", name));
        assert_eq!(spawn(&mut shares, &one, &spec, 1), Need::Make);
        assert_eq!(spawn(&mut shares, &two, &spec, 2), Need::Use(1));
        assert_eq!(spawn(&mut shares, &three, &spec, 3), Need::Use(1));
        assert!(released(&mut shares, &two).is_empty());
        assert!(released(&mut shares, &two).is_empty());
        // A program that is restarted before it has let go keeps it.
        assert_eq!(spawn(&mut shares, &one, &spec, 4), Need::Use(1));
        assert!(released(&mut shares, &three).is_empty());
        assert_eq!(released(&mut shares, &one), [1]);
        assert_eq!(spawn(&mut shares, &two, &spec, 5), Need::Make);
    }

    #[test]
    fn a_socket_that_takes_the_place_of_another_is_shared_and_closed() {
        let (mut shares, spec) = (Shares::default(), spec("/s"));
        let [one, two] = ["one", "two"].map(|name| key("g", name));
        spawn(&mut shares, &one, &spec, 1);
        spawn(&mut shares, &two, &spec, 2);
        shares.share_now(&one, &spec.url, 3, Some(spec.clone()));
        assert_eq!(spawn(&mut shares, &two, &spec, 4), Need::Use(3));
        assert!(released(&mut shares, &one).is_empty());
        assert_eq!(released(&mut shares, &two), [3]);
    }

    #[test]
    fn groups_and_addresses_have_sockets_of_their_own() {
        let mut shares = Shares::default();
        let (one, other) = (key("g", "one"), key("h", "one"));
        assert_eq!(spawn(&mut shares, &one, &spec("/s"), 1), Need::Make);
        assert_eq!(spawn(&mut shares, &other, &spec("/s"), 2), Need::Make);
        let two = key("g", "two");
        assert_eq!(spawn(&mut shares, &two, &spec("/t"), 3), Need::Make);
        assert_eq!(released(&mut shares, &one), [1]);
        assert_eq!(released(&mut shares, &other), [2]);
    }

    #[test]
    fn what_is_configured_otherwise_at_the_same_address_changes_the_socket() {
        let mut shares = Shares::default();
        let (one, two) = (key("g", "one"), key("g", "two"));
        spawn(&mut shares, &one, &spec("/s"), 1);
        let longer = SocketSpec {
            backlog: 9,
            ..spec("/s")
        };
        assert_eq!(spawn(&mut shares, &two, &longer, 2), Need::Adjust(1));
        assert_eq!(spawn(&mut shares, &one, &longer, 3), Need::Use(1));
    }

    #[test]
    fn a_program_that_moves_to_another_address_lets_go_of_the_former() {
        let mut shares = Shares::default();
        let (one, new) = (key("g", "one"), spec("/t"));
        spawn(&mut shares, &one, &spec("/s"), 1);
        let closed = shares.release(&one, Some(&new.url));
        assert_eq!(closed, [("unix:///s".to_owned(), 1)]);
        assert_eq!(spawn(&mut shares, &one, &new, 2), Need::Make);
        assert!(shares.release(&one, Some(&new.url)).is_empty());
    }

    #[test]
    fn a_socket_that_another_agent_made_is_shared_and_brought_in_line() {
        let mut shares = Shares::default();
        let (one, two) = (key("g", "one"), key("g", "two"));
        shares.share(&one, "unix:///s", 1, None);
        shares.share(&two, "unix:///s", 2, None);
        assert!(released(&mut shares, &one).is_empty());
        assert_eq!(spawn(&mut shares, &one, &spec("/s"), 3), Need::Adjust(1));
        assert!(released(&mut shares, &two).is_empty());
        assert_eq!(released(&mut shares, &one), [1]);
    }
}
