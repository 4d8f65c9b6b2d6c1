//! Where an agent's sockets and state are. Agent and command line find them by the same rule.

use std::path::{Path, PathBuf};

use crate::agent::AgentSection;

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
    fn a_socket_path_beyond_the_kernels_limit_is_found() {
        let long = format!("/{}/a.pid", "x".repeat(100));
        assert!(Locations::of(None, Path::new(&long)).too_long().is_some());
        assert!(
            Locations::of(None, Path::new("/run/a.pid"))
                .too_long()
                .is_none()
        );
    }
}
