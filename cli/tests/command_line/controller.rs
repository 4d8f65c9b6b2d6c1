//! A controller: the fake services on mutual TLS, with a fleet's root of its own, and a context
//! file for an operator.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rsv_proto::{
    context::Context,
    tls::{Credentials, server_config},
    wire::{admin_server::AdminServer, fleet_server::FleetServer},
};
use tempfile::TempDir;
use tokio::{
    io::{DuplexStream, copy_bidirectional, duplex},
    net::TcpListener,
    sync::mpsc,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    fake::{Answers, Fake},
    run::{Ran, rsv, run},
};

/// A root that signs.
pub(crate) struct Root {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
}

impl Root {
    /// A new fleet's.
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self {
            issuer: Issuer::new(params, key),
            der,
        }
    }

    /// A certificate for `localhost`, which serves for clients too; one that has ended if wanted.
    pub(crate) fn credentials(&self, is_over: bool) -> Credentials {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        if is_over {
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        }
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        Credentials {
            chain: vec![leaf.der().clone()],
            key: key.into(),
            root: self.der.clone().into(),
        }
    }
}

/// The controller and its directory.
pub(crate) struct Controller {
    pub(crate) fake: Fake,
    pub(crate) root: Root,
    pub(crate) address: String,
    directory: TempDir,
    tasks: Vec<JoinHandle<()>>,
}

impl Controller {
    /// Running, with a context of its own fleet.
    pub(crate) async fn with(answers: Answers) -> Self {
        let root = Root::new();
        let config = server_config(&root.credentials(false)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let fake = Fake::new(answers);
        let (ready, connections) = mpsc::channel(4);
        let accepting = tokio::spawn(accept(listener, TlsAcceptor::from(config), ready));
        let services = fake.clone();
        let serving = tokio::spawn(async move {
            let connections = ReceiverStream::new(connections);
            let served = tonic::transport::Server::builder()
                .add_service(FleetServer::new(services.clone()))
                .add_service(AdminServer::new(services))
                .serve_with_incoming(connections);
            served.await.unwrap();
        });
        let controller = Self {
            fake,
            root,
            address: format!("localhost:{port}"),
            directory: tempfile::tempdir().unwrap(),
            tasks: vec![accepting, serving],
        };
        let credentials = controller.root.credentials(false);
        controller.write_context("admin.context", credentials);
        controller
    }

    /// Writes a context file that leads here, for its owner alone.
    pub(crate) fn write_context(&self, file: &str, credentials: Credentials) -> PathBuf {
        let context = Context {
            name: "admin".to_owned(),
            controllers: vec![self.address.clone()],
            credentials,
        };
        let path = self.path().join(file);
        fs::write(&path, context.render()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The directory.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// Runs the command with the context file.
    pub(crate) async fn rsv(&self, line: &str) -> Ran {
        self.rsv_as("admin.context", line).await
    }

    /// Runs the command with another context.
    pub(crate) async fn rsv_as(&self, context: &str, line: &str) -> Ran {
        let mut command = rsv(self.directory.path());
        command.env("RSV_CONTEXT", self.path().join(context));
        let words: Vec<&str> = line.split_whitespace().collect();
        run(command, words).await
    }
}

/// A listener that ends each connection as soon as TLS is complete, as a controller does with a
/// certificate that names nobody; gives its address.
pub(crate) async fn refusing(root: &Root) -> (String, JoinHandle<()>) {
    let acceptor = TlsAcceptor::from(server_config(&root.credentials(false)).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    let refusing = tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            drop(acceptor.accept(tcp).await);
        }
    });
    (address, refusing)
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    ready: mpsc::Sender<std::io::Result<DuplexStream>>,
) {
    let acceptor = Arc::new(acceptor);
    while let Ok((tcp, _)) = listener.accept().await {
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            // A peer whose certificate is refused is told so by the acceptor.
            let Ok(mut tls) = acceptor.accept(tcp).await else {
                return;
            };
            let (mut near, far) = duplex(64 * 1024);
            if ready.send(Ok(far)).await.is_ok() {
                // Either end may go away first.
                drop(copy_bidirectional(&mut tls, &mut near).await);
            }
        });
    }
}
