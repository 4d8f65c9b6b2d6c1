//! The servers over real sockets, with a fake agent behind them: bytes in, bytes out.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use futures_util::FutureExt as _;
use rsv_config::{Credentials, HttpAddress, HttpServer, Mode};
use rsv_proto::wire::ProcessState;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::super::fake::{Fake, process};
use super::*;

struct Rig {
    servers: Servers,
    site: Arc<Site>,
    inet: SocketAddr,
    unix: PathBuf,
    directory: tempfile::TempDir,
}

async fn rig(credentials: Option<Credentials>) -> Rig {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.log"), "hello\n").unwrap();
    std::fs::write(directory.path().join("main.log"), "main\n").unwrap();
    let unix = directory.path().join("s.sock");
    let addresses = [
        HttpAddress::Inet {
            host: Some("127.0.0.1".into()),
            port: 0,
        },
        HttpAddress::Unix {
            path: unix.clone(),
            mode: Mode(0o700),
            owner: None,
        },
    ];
    let servers = addresses.map(|address| HttpServer {
        section: "a_http_server".into(),
        address,
        credentials: credentials.clone(),
        insecure: false,
    });
    let bound = bind(&servers).unwrap();
    let inet = bound[0].address().unwrap();
    let fake = Arc::new(Fake::new(directory.path()));
    let site = Arc::new(Site::new(fake, vec!["supervisor".to_owned()]));
    Rig {
        servers: serve(bound, &Reserve::new(1).unwrap(), &site).unwrap(),
        site,
        inet,
        unix,
        directory,
    }
}

impl Rig {
    /// Everything that comes back until the server closes.
    async fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.inet).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    async fn get(&self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.0\r\n\r\n")).await
    }
}

fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.0\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

const GET_STATE: &str = "<methodCall><methodName>supervisor.getState</methodName></methodCall>";

fn first_line(answer: &str) -> &str {
    answer.split("\r\n").next().unwrap()
}

#[tokio::test]
async fn paths_and_methods_are_answered_as_clients_expect() {
    let rig = rig(None).await;
    for (request, line) in [
        ("GET /RPC2 HTTP/1.0\r\n\r\n", "HTTP/1.0 400 Bad Request"),
        (
            "POST /RPC2 HTTP/1.0\r\n\r\n",
            "HTTP/1.0 411 Length Required",
        ),
        (&post("/RPC2", "", "foo"), "HTTP/1.0 400 Bad Request"),
        (&post("/RPC2xyz", "", GET_STATE), "HTTP/1.0 200 OK"),
        ("GET /zzz HTTP/1.0\r\n\r\n", "HTTP/1.0 404 Not Found"),
        ("GET / HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK"),
        ("HEAD / HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK"),
        ("PUT / HTTP/1.0\r\n\r\n", "HTTP/1.0 405 Method Not Allowed"),
        (&post("/ok.html", "", ""), "HTTP/1.0 200 OK"),
        (
            "DELETE /ok.html HTTP/1.0\r\n\r\n",
            "HTTP/1.0 405 Method Not Allowed",
        ),
        (&post("/logtail/a", "", ""), "HTTP/1.0 400 Bad Request"),
        ("GET /logtail HTTP/1.0\r\n\r\n", "HTTP/1.0 404 Not Found"),
        (
            "GET /logtail/nope HTTP/1.0\r\n\r\n",
            "HTTP/1.0 404 Not Found",
        ),
        (
            "GET /logtail/a/stderr HTTP/1.0\r\n\r\n",
            "HTTP/1.0 404 Not Found",
        ),
        (
            "GET /stylesheets/supervisor.css HTTP/1.0\r\n\r\n",
            "HTTP/1.0 200 OK",
        ),
    ] {
        assert_eq!(first_line(&rig.send(request).await), line, "{request}");
    }
    let page = rig.get("/index.html").await.to_lowercase();
    assert!(
        page.contains("content-security-policy: default-src 'none'; script-src 'self'; style-src")
    );
    assert!(page.contains("server: medusa/1.12"));
    let ok = rig.get("/ok.html").await;
    assert!(ok.ends_with("\r\n\r\nOK"));
    rig.servers.stop().await;
}

#[tokio::test]
async fn a_connection_serves_call_after_call() {
    let rig = rig(None).await;
    let mut stream = UnixStream::connect(&rig.unix).await.unwrap();
    let length = GET_STATE.len();
    let request =
        format!("POST /RPC2 HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{GET_STATE}");
    for _ in 0..3 {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with("</methodResponse>\n") {
            let mut bytes = [0; 4096];
            let n = stream.read(&mut bytes).await.unwrap();
            assert_ne!(n, 0, "{answer}");
            answer.push_str(std::str::from_utf8(&bytes[..n]).unwrap());
        }
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(answer.to_lowercase().contains("content-type: text/xml\r\n"));
    }
}

#[tokio::test]
async fn nothing_is_shown_without_the_password() {
    let credentials = Credentials {
        username: "user".into(),
        password: "secret".into(),
    };
    let rig = rig(Some(credentials)).await;
    for path in [
        "/",
        "/RPC2",
        "/logtail/a",
        "/ok.html",
        "/zzz",
        "/mainlogtail",
    ] {
        let answer = rig.get(path).await.to_lowercase();
        assert!(
            answer.starts_with("http/1.0 401 unauthorized\r\n"),
            "{path}"
        );
        assert!(answer.contains("www-authenticate: basic realm=\"default\"\r\n"));
    }
    let word = base64::engine::general_purpose::STANDARD.encode("user:secret");
    let header = format!("Authorization: Basic {word}\r\n");
    let answer = rig.send(&post("/RPC2", &header, GET_STATE)).await;
    assert!(answer.contains("<int>1</int>"), "{answer}");
    let answer = rig
        .send("GET / HTTP/1.0\r\nAuthorization: Basic !\r\n\r\n")
        .await;
    assert_eq!(first_line(&answer), "HTTP/1.0 400 Bad Request");
}

#[tokio::test]
async fn an_answer_for_which_the_body_does_not_matter_waits_for_it() {
    let user = Credentials {
        username: "user".into(),
        password: "secret".into(),
    };
    let (open, locked) = (rig(None).await, rig(Some(user)).await);
    for (rig, path, line) in [
        (&open, "/rpc2", "HTTP/1.1 400 Bad Request"),
        (&open, "/mainlogtail", "HTTP/1.1 400 Bad Request"),
        (&locked, "/RPC2", "HTTP/1.1 401 Unauthorized"),
    ] {
        let mut stream = TcpStream::connect(rig.inet).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n");
        // Twice, because the connection goes on.
        for _ in 0..2 {
            stream.write_all(head.as_bytes()).await.unwrap();
            let early = timeout(Duration::from_millis(50), stream.readable());
            assert!(early.await.is_err(), "{path}");
            stream.write_all(b"body").await.unwrap();
            let mut answer = String::new();
            while !answer.ends_with("</p>\n") {
                let mut bytes = [0; 4096];
                let n = stream.read(&mut bytes).await.unwrap();
                assert_ne!(n, 0, "{answer}");
                answer.push_str(std::str::from_utf8(&bytes[..n]).unwrap());
            }
            assert_eq!(first_line(&answer), line, "{path}");
        }
    }
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_act_through_a_browser() {
    let rig = rig(None).await;
    let port = rig.inet.port();
    for (origin, host, line) in [
        ("http://127.0.0.1", "127.0.0.1", "HTTP/1.0 200 OK"),
        ("http://localhost", "localhost", "HTTP/1.0 200 OK"),
        ("http://evil.example", "127.0.0.1", "HTTP/1.0 403 Forbidden"),
        // A name that was made to lead here.
        (
            "http://evil.example",
            "evil.example",
            "HTTP/1.0 403 Forbidden",
        ),
    ] {
        let headers = format!("Origin: {origin}:{port}\r\nHost: {host}:{port}\r\n");
        let answer = rig.send(&post("/RPC2", &headers, GET_STATE)).await;
        assert_eq!(first_line(&answer), line, "{origin} {host}");
    }
    let opaque = "Origin: null\r\nHost: 127.0.0.1\r\n";
    let answer = rig.send(&post("/RPC2", opaque, GET_STATE)).await;
    assert_eq!(first_line(&answer), "HTTP/1.0 403 Forbidden");
}

#[tokio::test]
async fn output_is_streamed_in_chunks_until_the_server_ends() {
    let rig = rig(None).await;
    for (path, begins) in [
        ("/logtail/a/stdout", "1024 of a\n"),
        ("/logtail/grp%3Aone", "1024 of grp:one\n"),
        ("/logtail/b", ""),
        ("/mainlogtail", "main\n"),
    ] {
        let mut stream = TcpStream::connect(rig.inet).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let is_complete = |answer: &str| match begins {
            "" => answer.contains("\r\n\r\n"),
            begins => answer.contains(&format!("\r\n{:X}\r\n{begins}", begins.len())),
        };
        while !is_complete(&answer) {
            let mut bytes = [0; 4096];
            let n = stream.read(&mut bytes).await.unwrap();
            assert_ne!(n, 0, "{answer}");
            answer.push_str(std::str::from_utf8(&bytes[..n]).unwrap());
        }
        let answer = answer.to_lowercase();
        if begins.is_empty() {
            assert!(answer.starts_with("http/1.1 404"), "{answer}");
        } else {
            assert!(answer.contains("content-type: text/plain;charset=utf-8\r\n"));
            assert!(answer.contains("transfer-encoding: chunked\r\n"));
            let is_made = !path.contains("grp");
            assert_eq!(answer.contains("last-modified: "), is_made);
        }
    }
    let mut left = TcpStream::connect(rig.inet).await.unwrap();
    left.write_all(b"GET /logtail/a HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut one = [0; 1];
    left.read_exact(&mut one).await.unwrap();
    rig.servers.stop().await;
    let mut rest = Vec::new();
    left.read_to_end(&mut rest).await.ok();
    assert!(!rig.unix.exists());
    assert!(rig.directory.path().exists());
}

#[tokio::test]
async fn the_name_of_the_machine_is_known() {
    let rig = rig(None).await;
    let name = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let headers = format!("Origin: http://{name}:1\r\nHost: {name}:1\r\n");
    let answer = rig.send(&post("/RPC2", &headers, GET_STATE)).await;
    assert_eq!(first_line(&answer), "HTTP/1.0 200 OK", "{name}");
}

/// A connection to a fake over a pipe that holds little, and its end.
fn over_a_pipe(room: usize) -> (tokio::io::DuplexStream, JoinHandle<()>) {
    let (client, server) = tokio::io::duplex(room);
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::new(directory.path());
    let fake = (0..100).fold(fake, |fake, number| {
        fake.with(process("many", &number.to_string(), ProcessState::Running))
    });
    let site = Arc::new(Site::new(Arc::new(fake), Vec::new()));
    let section = HttpServer {
        section: "a".into(),
        address: HttpAddress::Inet {
            host: Some("127.0.0.1".into()),
            port: 0,
        },
        credentials: None,
        insecure: false,
    };
    let bound = bind(&[section]).unwrap();
    let gate = Arc::new(Gate::new(site, &bound[0]));
    let serving = connection::serve(Box::new(server), gate, Stages::new());
    (client, tokio::spawn(serving))
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_is_cut_off_and_one_of_a_log_may_pause() {
    for (path, is_cut) in [
        ("/live/status", true),
        ("/", true),
        ("/logtail/grp:one", false),
    ] {
        let (mut client, serving) = over_a_pipe(64);
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(59)).await;
        assert!(!serving.is_finished(), "{path}");
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(serving.is_finished(), is_cut, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_in_time_is_refused() {
    let (mut client, serving) = over_a_pipe(1024);
    let head = "POST /RPC2 HTTP/1.0\r\nContent-Length: 10\r\n\r\nabc";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(first_line(&answer), "HTTP/1.0 408 Request Timeout");
    serving.await.unwrap();
}

#[tokio::test]
async fn few_large_calls_are_held_at_once_and_small_ones_pass_by() {
    let rig = rig(None).await;
    let padded = format!("{GET_STATE}{}", " ".repeat(100 << 10));
    let head = format!(
        "POST /RPC2 HTTP/1.0\r\nContent-Length: {}\r\n\r\n<",
        padded.len()
    );
    let mut slow = Vec::new();
    for _ in 0..site::LARGE_CALLS {
        let mut stream = TcpStream::connect(rig.inet).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let free = || rig.site.large.available_permits();
    while free() > 0 {
        tokio::task::yield_now().await;
    }
    let large = post("/RPC2", "", &padded);
    let mut late = std::pin::pin!(rig.send(&large));
    assert!(late.as_mut().now_or_never().is_none());
    let answer = rig.send(&post("/RPC2", "", GET_STATE)).await;
    assert_eq!(first_line(&answer), "HTTP/1.0 200 OK");
    assert_eq!(free(), 0);
    drop(slow);
    assert_eq!(first_line(&late.await), "HTTP/1.0 200 OK");
    // What was said to be small and is not is refused.
    let false_length = "POST /RPC2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\
                        Transfer-Encoding: chunked\r\n\r\n20000\r\n";
    let request = format!("{false_length}{}", "x".repeat(0x20000));
    let mut stream = TcpStream::connect(rig.inet).await.unwrap();
    stream.write_all(request.as_bytes()).await.ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let rig = rig(None).await;
    let head = "POST /RPC2 HTTP/1.0\r\nContent-Length: 5000000\r\n\r\n";
    let mut stream = TcpStream::connect(rig.inet).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server may close while this is being sent.
    stream.write_all(&vec![b'x'; 5_000_000]).await.ok();
    let mut answer = vec![0; 12];
    if stream.read_exact(&mut answer).await.is_ok() {
        assert_eq!(answer, b"HTTP/1.0 413");
    }
    let header = format!("GET / HTTP/1.0\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let mut stream = TcpStream::connect(rig.inet).await.unwrap();
    stream.write_all(header.as_bytes()).await.ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    assert!(!answer.starts_with(b"HTTP/1.0 200"));
    assert_eq!(first_line(&rig.get("/ok.html").await), "HTTP/1.0 200 OK");
}

#[tokio::test]
async fn idle_connections_make_room_for_new_ones() {
    let rig = rig(None).await;
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS {
        idle.push(UnixStream::connect(&rig.unix).await.unwrap());
    }
    let mut late = UnixStream::connect(&rig.unix).await.unwrap();
    late.write_all(b"GET /ok.html HTTP/1.0\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    late.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("OK"));
    let mut first = Vec::new();
    idle.remove(0).read_to_end(&mut first).await.ok();
    assert!(first.is_empty());
}

#[tokio::test]
async fn requests_that_do_not_arrive_make_room_for_those_that_do() {
    for begun in [
        "GET /ok.html HT",
        "POST /RPC2 HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc",
        "POST /index.html HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc",
        "PUT /nope HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc",
    ] {
        let rig = rig(None).await;
        let mut begun_for_nothing = Vec::new();
        for _ in 0..=CONNECTIONS {
            let mut stream = TcpStream::connect(rig.inet).await.unwrap();
            stream.write_all(begun.as_bytes()).await.unwrap();
            begun_for_nothing.push(stream);
        }
        let answer = rig.send(&post("/RPC2", "", GET_STATE)).await;
        assert_eq!(first_line(&answer), "HTTP/1.0 200 OK", "{begun}");
    }
}

#[tokio::test]
async fn who_asks_before_sending_a_body_is_refused_at_once() {
    let credentials = Credentials {
        username: "user".into(),
        password: "pass".into(),
    };
    let rig = rig(Some(credentials)).await;
    let head = "POST /RPC2 HTTP/1.1\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n";
    let answer = rig.send(head).await;
    assert_eq!(first_line(&answer), "HTTP/1.1 401 Unauthorized");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_arrive_in_time_is_dropped_and_an_idle_client_is_not() {
    let (mut client, serving) = over_a_pipe(1024);
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    client
        .write_all(b"GET /ok.html HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut bytes = [0; 1024];
    assert_ne!(client.read(&mut bytes).await.unwrap(), 0);
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    client.write_all(b"GET /ok").await.unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    serving.await.unwrap();
}
