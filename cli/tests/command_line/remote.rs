//! A server of XML-RPC that answers from fixed data and remembers what it was asked.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use rsv_proto::xmlrpc::{Call, Value, decode, fault, response};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, UnixListener},
    sync::Notify,
    task::JoinHandle,
};

/// What is answered to a method, with its arguments: a result, or the number and the text of a fault.
pub(crate) type Answers = fn(&str, &[Value]) -> Result<Value, (i32, &'static str)>;

/// The server.
pub(crate) struct Remote {
    /// Where it listens.
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

/// What everybody may know of it.
#[derive(Clone)]
struct Site {
    answers: Answers,
    /// The header that lets in; empty: everybody may.
    login: &'static str,
    /// What is at `/logtail/...` and `/mainlogtail`.
    log: &'static str,
    asked: Arc<Mutex<Vec<String>>>,
    /// That something was asked.
    news: Arc<Notify>,
}

impl Remote {
    /// On TCP; `login` is what `Authorization` has to be, empty for none.
    pub(crate) async fn tcp(login: &'static str, answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let site = Site::new(login, answers);
        let asked = site.asked.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(site.clone().serve(stream));
            }
        });
        Self { url, asked, task }
    }

    /// On a Unix socket.
    pub(crate) fn unix(path: &Path, answers: Answers) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let site = Site::new("", answers);
        let asked = site.asked.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(site.clone().serve(stream));
            }
        });
        let url = format!("unix://{}", path.display());
        Self { url, asked, task }
    }

    /// What it was asked, without the question of every run which interface it speaks.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Site {
    fn new(login: &'static str, answers: Answers) -> Self {
        Self {
            answers,
            login,
            log: "one\ntwo\n",
            asked: Arc::default(),
            news: Arc::default(),
        }
    }

    /// Until the state of the processes was asked for twice.
    async fn looked_twice(&self) {
        let looks = || {
            let asked = self.asked.lock().unwrap();
            asked.iter().filter(|it| *it == "getAllProcessInfo").count()
        };
        loop {
            let news = self.news.notified();
            if looks() >= 2 {
                return;
            }
            news.await;
        }
    }

    /// One request, and the end of the connection.
    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(self, mut stream: S) {
        let Some((head, body)) = request(&mut stream).await else {
            return;
        };
        if let Some(path) = head
            .strip_prefix("GET ")
            .filter(|path| path.contains("cut"))
        {
            let path = path.split(' ').next().unwrap_or_default();
            let is_first = !self.asked.lock().unwrap().iter().any(|asked| asked == path);
            self.note(path.to_owned());
            let said = cut(is_first);
            // As below.
            return drop(stream.write_all(said.as_bytes()).await);
        }
        if head.starts_with("GET /logtail/late/stdout") {
            self.looked_twice().await;
        }
        let (status, text) = self.answer(&head, &body);
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        );
        // A client that has gone wants no answer.
        stream.write_all(answer.as_bytes()).await.ok();
    }

    fn answer(&self, head: &str, body: &[u8]) -> (&'static str, String) {
        let is_let_in = self.login.is_empty()
            || head
                .lines()
                .any(|line| line == format!("authorization: {}", self.login));
        if !is_let_in {
            return ("401 Unauthorized", String::new());
        }
        let mut words = head.split(' ');
        match (words.next(), words.next()) {
            (Some("GET"), Some(path)) if path.contains("logtail") && !path.contains("nope") => {
                self.note(path.to_owned());
                ("200 OK", self.log.to_owned())
            }
            (Some("POST"), Some("/RPC2")) => ("200 OK", self.call(body)),
            (Some("PRI"), _) => ("400 Bad Request", String::new()),
            _ => ("404 Not Found", String::new()),
        }
    }

    fn call(&self, body: &[u8]) -> String {
        let Call { method, params } = decode(body).unwrap();
        let method = method.strip_prefix("supervisor.").unwrap();
        if method == "getVersion" {
            return match (self.answers)(method, &params) {
                Ok(version) => response(&version),
                Err(_any) => response(&"3.0".into()),
            };
        }
        let shown = params.iter().map(|param| match param {
            Value::String(text) => format!(" {text}"),
            other => format!(" {other:?}"),
        });
        self.note(format!("{method}{}", shown.collect::<String>()));
        match (self.answers)(method, &params) {
            Ok(value) => response(&value),
            Err((code, text)) => fault(code, text),
        }
    }

    fn note(&self, asked: String) {
        self.asked.lock().unwrap().push(asked);
        self.news.notify_waiters();
    }
}

/// What a Supervisor says of a log that is truncated while it is followed, and of the same log when it is asked
/// for again: the first answer has no end.
fn cut(is_first: bool) -> String {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    match is_first {
        true => format!("{head}8\r\none\ntwo\n\r\n"),
        false => format!("{head}6\r\nthree\n\r\n0\r\n\r\n"),
    }
}

/// Head and body of a request; none when the other side says something else.
async fn request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<(String, Vec<u8>)> {
    let mut seen = Vec::new();
    loop {
        if let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(seen[..end].to_vec()).ok()?;
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length = length.map_or(0, |length| length.parse().unwrap());
            let mut body = seen.split_off(end + 4);
            while body.len() < length {
                stream.read_buf(&mut body).await.ok().filter(|n| *n > 0)?;
            }
            return Some((head, body));
        }
        stream.read_buf(&mut seen).await.ok().filter(|n| *n > 0)?;
    }
}
