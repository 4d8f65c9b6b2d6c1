//! Where an agent's sockets and state are. Agent and command line find them by the same rule.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::agent::AgentSection;
use crate::host::Host;
use crate::plan::Fnv;

/// The paths of one agent, all absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locations {
    /// Identity, journal and whatever outlives the agent; 0700.
    pub state_dir: PathBuf,
    /// The local service's socket; 0600.
    pub socket: PathBuf,
    /// The keeper's socket.
    pub keeper_socket: PathBuf,
    /// The directory of its own, 0700, of an agent without `[agent]` section; it holds all the others.
    pub private_dir: Option<PathBuf>,
}

/// Where a user's agents keep what they have no better place for, best first: the same whatever the
/// environment of an agent and of a command line says. Root has a directory that nobody else can write to;
/// others may lose theirs when they log out, so that it comes second.
pub fn common_places(uid: u32) -> [PathBuf; 2] {
    if uid == 0 {
        ["/run".into(), "/tmp".into()]
    } else {
        ["/tmp".into(), format!("/run/user/{uid}").into()]
    }
}

/// The longest path that the kernel takes for a Unix socket.
pub const LONGEST_SOCKET_PATH: usize = 107;

impl Locations {
    /// The paths that `[agent]` names, or those beside the pidfile when there is no such section:
    /// `/run/supervisord.pid` gives `/run/supervisord.rsv/`.
    pub fn of(agent: Option<&AgentSection>, pidfile: &Path) -> Self {
        if let Some(agent) = agent {
            return Self {
                state_dir: agent.state_dir.clone(),
                socket: agent.socket.clone(),
                keeper_socket: agent.keeper_socket.clone(),
                private_dir: None,
            };
        }
        // Only `.pid` is replaced: `a.1` and `a.2` must not share a directory.
        let private = if pidfile
            .extension()
            .is_some_and(|extension| extension == "pid")
        {
            pidfile.with_extension("rsv")
        } else {
            let mut name = pidfile.file_name().unwrap_or_default().to_owned();
            name.push(".rsv");
            pidfile.with_file_name(name)
        };
        Self::in_private(private)
    }

    /// The paths of an agent of this user that can have no directory beside its pidfile, best first.
    pub fn elsewhere(pidfile: &Path, uid: u32) -> [Self; 2] {
        let mut digest = Fnv::default();
        // A digest takes whatever it is given.
        write!(digest, "{}", pidfile.display()).ok();
        let name = format!("rsv-{uid}-{:016x}", digest.0);
        common_places(uid).map(|place| Self::in_private(place.join(&name)))
    }

    /// The paths of [`Locations::of`], or of [`Locations::elsewhere`] when such a directory is there:
    /// private, and of whoever the agent is. Without `user` that is whoever looks, or root. Also when the
    /// kernel would not take the former.
    pub(crate) fn find(
        agent: Option<&AgentSection>,
        pidfile: &Path,
        user: Option<u32>,
        host: &dyn Host,
    ) -> Self {
        let usual = Self::of(agent, pidfile);
        if usual.private_dir.is_none() {
            return usual;
        }
        let users = match user {
            Some(uid) => [uid, uid],
            None => [host.effective_uid(), 0],
        };
        let is_of = |found: &Self, uid| {
            let private = found.private_dir.as_deref();
            private.is_some_and(|private| host.private_owner(private) == Some(uid))
        };
        let there = users.into_iter().find_map(|uid| {
            let mut places = Self::elsewhere(pidfile, uid).into_iter();
            places.find(|found| is_of(found, uid))
        });
        let [instead, _] = Self::elsewhere(pidfile, users[0]);
        let otherwise = if usual.too_long().is_none() {
            usual
        } else {
            instead
        };
        there.unwrap_or(otherwise)
    }

    fn in_private(private: PathBuf) -> Self {
        Self {
            state_dir: private.join("state"),
            socket: private.join("agent.sock"),
            keeper_socket: private.join("keeper.sock"),
            private_dir: Some(private),
        }
    }

    /// The first socket whose path is too long for the kernel.
    pub fn too_long(&self) -> Option<&Path> {
        [&self.socket, &self.keeper_socket]
            .into_iter()
            .find(|path| path.as_os_str().len() > LONGEST_SOCKET_PATH)
            .map(PathBuf::as_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FixedHost;

    #[test]
    fn without_an_agent_section_all_is_beside_the_pidfile() {
        for (pidfile, private) in [
            ("/run/supervisord.pid", "/run/supervisord.rsv"),
            ("/run/a.1", "/run/a.1.rsv"),
            ("/run/plain", "/run/plain.rsv"),
        ] {
            let found = Locations::of(None, Path::new(pidfile));
            let private = PathBuf::from(private);
            assert_eq!(found.socket, private.join("agent.sock"));
            assert_eq!(found.keeper_socket, private.join("keeper.sock"));
            assert_eq!(found.state_dir, private.join("state"));
            assert_eq!(found.private_dir, Some(private));
        }
    }

    #[test]
    fn a_directory_elsewhere_counts_when_it_is_private_and_of_whoever_the_agent_is() {
        let pidfile = Path::new("/run/a.pid");
        let beside = Locations::of(None, pidfile);
        let [of_root, also_of_root] = Locations::elsewhere(pidfile, 0);
        let [of_nobody, also_of_nobody] = Locations::elsewhere(pidfile, 65_534);
        let find = |user, host: &FixedHost| Locations::find(None, pidfile, user, host);
        let host = |of: &Locations, uid| {
            FixedHost::default().private(of.private_dir.clone().unwrap(), uid)
        };
        assert_eq!(find(None, &FixedHost::default()), beside);
        assert_eq!(find(None, &host(&of_root, 0)), of_root);
        assert_eq!(find(None, &host(&of_root, 7)), beside, "somebody else's");
        assert_eq!(find(Some(65_534), &host(&of_root, 0)), beside);
        assert_eq!(find(Some(65_534), &host(&of_nobody, 65_534)), of_nobody);
        assert_eq!(find(None, &host(&of_nobody, 65_534)), beside);
        assert_eq!(find(None, &host(&also_of_root, 0)), also_of_root);
        let nobodys = host(&also_of_nobody, 65_534);
        assert_eq!(find(Some(65_534), &nobodys), also_of_nobody);
        let [other, _] = Locations::elsewhere(Path::new("/run/b.pid"), 0);
        assert_ne!(other, of_root);
        assert_eq!(other.too_long(), None);
    }

    #[test]
    fn a_socket_path_beyond_the_kernels_limit_is_found() {
        let long = PathBuf::from(format!("/{}/a.pid", "x".repeat(100)));
        assert!(Locations::of(None, &long).too_long().is_some());
        let [instead, _] = Locations::elsewhere(&long, 0);
        assert_eq!(
            Locations::find(None, &long, None, &FixedHost::default()),
            instead
        );
        assert!(
            Locations::of(None, Path::new("/run/a.pid"))
                .too_long()
                .is_none()
        );
    }
}
