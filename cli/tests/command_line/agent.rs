//! An agent of this machine: the fake service on a Unix socket, and a configuration that leads to
//! it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rsv_proto::wire::fleet_server::FleetServer;
use tempfile::TempDir;
use tokio::{net::UnixListener, task::JoinHandle};
use tokio_stream::wrappers::UnixListenerStream;

use crate::{
    fake::{Answers, Fake},
    run::{Ran, rsv, run},
};

/// The agent and its directory.
pub(crate) struct Agent {
    pub(crate) fake: Fake,
    directory: TempDir,
    server: Option<JoinHandle<()>>,
}

impl Agent {
    /// Configured, and not running.
    pub(crate) fn absent() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().display();
        let text = format!(
            "[agent]\nsocket = {path}/agent.sock\n[supervisord]\n[supervisorctl]\n\
             serverurl = unix://{path}/sup.sock\n"
        );
        fs::write(directory.path().join("s.conf"), text).unwrap();
        Self {
            fake: Fake::default(),
            directory,
            server: None,
        }
    }

    /// Running.
    pub(crate) fn with(answers: Answers) -> Self {
        let mut agent = Self::absent();
        agent.fake = Fake::new(answers);
        let listener = UnixListener::bind(agent.socket()).unwrap();
        let service = FleetServer::new(agent.fake.clone());
        agent.server = Some(tokio::spawn(async move {
            let served = tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(UnixListenerStream::new(listener));
            served.await.unwrap();
        }));
        agent
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("agent.sock")
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The URL by which its configuration knows it.
    pub(crate) fn url(&self) -> String {
        format!("unix://{}/sup.sock", self.path().display())
    }

    /// Runs the command with its configuration.
    pub(crate) async fn rsv(&self, line: &str) -> Ran {
        let words = line.split_whitespace().map(ToOwned::to_owned);
        let words = ["-c".to_owned(), "s.conf".to_owned()]
            .into_iter()
            .chain(words);
        run(rsv(self.path()), words.collect::<Vec<_>>()).await
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}
