//! One request over a connection of its own, and its answer: whole, or as it comes.

use std::{future::poll_fn, io, pin::Pin};

use http::{Method, Request, Response, StatusCode, header};
use hyper::{
    body::{Body as _, Bytes, Incoming},
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use rsv_proto::{limits::CONNECT_TIMEOUT, xmlrpc::DecodeError};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::endpoint::{Endpoint, Place};

/// The largest answer that is read: whole logs come as one.
pub(super) const LARGEST: usize = 256 << 20;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    Connect(io::Error),
    Broken(hyper::Error),
    Status(StatusCode),
    Content(DecodeError),
    TooLarge,
}

/// Posts the text of a call, and gives the text of its answer.
pub(super) async fn post(endpoint: &Endpoint, text: String) -> Result<Vec<u8>, Trouble> {
    let mut body = send(endpoint, Method::POST, "/RPC2", text).await?;
    let mut whole = Vec::new();
    while let Some(piece) = next(&mut body).await? {
        if whole.len() + piece.len() > LARGEST {
            return Err(Trouble::TooLarge);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

/// Gets what is at a path, as it comes.
pub(super) async fn get(endpoint: &Endpoint, path: &str) -> Result<Incoming, Trouble> {
    send(endpoint, Method::GET, path, String::new()).await
}

/// The next bytes of an answer; none after the last.
pub(super) async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Trouble> {
    loop {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        match frame.transpose().map_err(Trouble::Broken)? {
            None => return Ok(None),
            Some(frame) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}

async fn send(
    endpoint: &Endpoint,
    method: Method,
    path: &str,
    text: String,
) -> Result<Incoming, Trouble> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, endpoint.host())
        .header(
            header::USER_AGENT,
            concat!("rsv/", env!("CARGO_PKG_VERSION")),
        );
    if !text.is_empty() {
        request = request.header(header::CONTENT_TYPE, "text/xml");
    }
    if let Some(login) = endpoint.authorization() {
        request = request.header(header::AUTHORIZATION, login);
    }
    let invalid = |error: http::Error| Trouble::Connect(io::Error::other(error));
    let request = request.body(text).map_err(invalid)?;
    let response = match &endpoint.place {
        Place::Unix(path) => exchange(within(UnixStream::connect(path)).await?, request).await?,
        Place::Tcp(host, port) => {
            let connecting = TcpStream::connect((host.as_str(), *port));
            exchange(within(connecting).await?, request).await?
        }
    };
    match response.status() {
        StatusCode::OK => Ok(response.into_body()),
        other => Err(Trouble::Status(other)),
    }
}

async fn within<T>(connecting: impl Future<Output = io::Result<T>>) -> Result<T, Trouble> {
    let late = |_| Trouble::Connect(io::ErrorKind::TimedOut.into());
    let connected = timeout(CONNECT_TIMEOUT, connecting).await.map_err(late)?;
    connected.map_err(Trouble::Connect)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<String>,
) -> Result<Response<Incoming>, Trouble> {
    let (mut sender, connection): (SendRequest<String>, _) = handshake(TokioIo::new(stream))
        .await
        .map_err(Trouble::Broken)?;
    // What becomes of the connection is told by what becomes of the answer.
    tokio::spawn(async move { drop(connection.await) });
    sender.send_request(request).await.map_err(Trouble::Broken)
}
