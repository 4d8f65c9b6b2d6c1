//! Ten thousand requests that no client would send, at a real agent: it answers or hangs up, grows
//! neither in memory nor in descriptors, and supervises as if nothing were.
//!
//! `RSV_SEED` repeats a run.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "compat_support/agent.rs"]
mod agent;
#[path = "compat_support/hostile.rs"]
mod hostile;

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use agent::{Agent, PATIENCE, eventually};
use hostile::{GROWTH, Random, WORKER, held, kill_again_and_again, seed, worker};

/// Requests in all.
const REQUESTS: u64 = 10_000;

/// Those who send them.
const SENDERS: u64 = 4;

/// Calls that are well formed before they are spoilt.
const CALLS: [&str; 4] = [
    "<?xml version=\"1.0\"?><methodCall><methodName>supervisor.getAllProcessInfo</methodName>\
     <params/></methodCall>",
    "<methodCall><methodName>supervisor.tailProcessStdoutLog</methodName><params>\
     <param><value><string>worker</string></value></param><param><value><int>0</int></value></param>\
     <param><value><i4>-5</i4></value></param></params></methodCall>",
    "<methodCall><methodName>system.multicall</methodName><params><param><value><array><data><value>\
     <struct><member><name>methodName</name><value>supervisor.getState</value></member><member>\
     <name>params</name><value><array><data/></array></value></member></struct></value></data>\
     </array></value></param></params></methodCall>",
    "<methodCall><methodName>supervisor.sendProcessStdin</methodName><params><param><value>worker\
     </value></param><param><value><base64>/////w==</base64></value></param></params></methodCall>",
];

const PATHS: [&str; 12] = [
    "/RPC2",
    "/",
    "/index.html",
    "/tail.html?processname=%ff%00&limit=-9",
    "/logtail/",
    "/logtail/%00",
    "/logtail/worker/../../etc/passwd",
    "/../../etc/passwd",
    "//",
    "/?message=%3Cscript%3E",
    "*",
    "",
];

const METHODS: [&str; 8] = [
    "GET", "POST", "HEAD", "PUT", "OPTIONS", "TRACE", "GE T", "\u{1}",
];

const HEADERS: [&str; 10] = [
    "Content-Length: -1",
    "Content-Length: 99999999999999999999",
    "Content-Length: 5\r\nContent-Length: 7",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 3",
    "Authorization: Basic \u{fffd}",
    "Cookie: rsv_session=x; rsv_session=00000000000000000000000000000000",
    "Origin: http://evil.example",
    "Host: \r\nHost: x",
    ": no name",
];

/// A request that is wrong in one way or another.
fn malformed(random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0 => random.bytes(2000),
        1 => [b"POST /RPC2 HTTP/1.1\r\n", &random.bytes(500)[..]].concat(),
        2 => {
            let (method, path) = (random.one(&METHODS), random.one(&PATHS));
            let header = random.one(&HEADERS);
            let body = random.bytes(100);
            [
                format!("{method} {path} HTTP/1.0\r\n{header}\r\n\r\n").as_bytes(),
                &body,
            ]
            .concat()
        }
        3 => format!(
            "GET / HTTP/1.0\r\nX: {}\r\n\r\n",
            "x".repeat(random.below(40_000))
        )
        .into(),
        4 => format!(
            "GET / HTTP/1.0\r\n{}\r\n",
            "A: b\r\n".repeat(random.below(3000))
        )
        .into(),
        5 => {
            let depth = random.below(5000);
            let text = format!(
                "<methodCall><methodName>x</methodName><params><param>{}",
                "<value><array><data>".repeat(depth)
            );
            post(text.as_bytes())
        }
        6 => {
            let mut text = "<!DOCTYPE a [<!ENTITY e0 \"ha\">".to_owned();
            for n in 1..random.below(60).max(2) {
                let before = n - 1;
                text.push_str(&format!(
                    "<!ENTITY e{n} \"&e{before};&e{before};&e{before};\">"
                ));
            }
            text.push_str("]><methodCall><methodName>&e1;</methodName></methodCall>");
            post(text.as_bytes())
        }
        7 => {
            let form = [b"token=", &random.bytes(200)[..], b"&action=stopall"].concat();
            let length = form.len();
            let head = format!("POST /index.html HTTP/1.0\r\nContent-Length: {length}\r\n\r\n");
            [head.as_bytes(), &form].concat()
        }
        8 => {
            let whole = post(random.one(&CALLS).as_bytes());
            whole[..random.below(whole.len())].to_vec()
        }
        _ => {
            let mut call = random.one(&CALLS).as_bytes().to_vec();
            for _ in 0..=random.below(8) {
                let place = random.below(call.len());
                match random.below(3) {
                    0 => call[place] = random.next().to_le_bytes()[0],
                    1 => drop(call.remove(place)),
                    _ => call.insert(place, b"<>&\"/\0"[random.below(6)]),
                }
            }
            post(&call)
        }
    }
}

fn post(body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST /RPC2 HTTP/1.0\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// Sends a request and takes the answer, if there is one, to its end.
fn send(socket: &Path, request: &[u8]) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The agent may have seen enough before all of it is sent.
    stream.write_all(request).ok();
    stream.shutdown(Shutdown::Write).ok();
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        let kind = error.kind();
        assert_eq!(
            kind,
            std::io::ErrorKind::ConnectionReset,
            "{}",
            shown(request)
        );
    }
    let is_bad = answer.starts_with(b"HTTP/1.0 500") || answer.starts_with(b"HTTP/1.1 500");
    assert!(!is_bad, "{}", shown(request));
}

fn shown(request: &[u8]) -> String {
    String::from_utf8_lossy(&request[..request.len().min(600)])
        .escape_debug()
        .to_string()
}

#[test]
fn ten_thousand_malformed_requests_cost_nothing() {
    let mut agent = Agent::start(WORKER);
    eventually("the program runs", || worker(&agent) != 0);
    let (pid, seed, socket) = (agent.child.id(), seed(), agent.socket());
    let mut random = Random::new(seed);
    for _ in 0..500 {
        send(&socket, &malformed(&mut random));
    }
    let before = held(pid);
    // Some never say the rest, and are not waited for.
    let half_open: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream
                .write_all(b"POST /RPC2 HTTP/1.1\r\nContent-Le")
                .unwrap();
            stream
        })
        .collect();
    let is_over = AtomicBool::new(false);
    let (kills, longest) = thread::scope(|scope| {
        let killer = scope.spawn(|| kill_again_and_again(&agent, &is_over));
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let socket = &socket;
                scope.spawn(move || {
                    let mut random = Random::new(seed ^ (sender + 1) << 40);
                    for _ in 0..REQUESTS / SENDERS {
                        send(socket, &malformed(&mut random));
                    }
                })
            })
            .collect();
        let ended: Vec<_> = senders
            .into_iter()
            .map(thread::ScopedJoinHandle::join)
            .collect();
        is_over.store(true, Ordering::Relaxed);
        for sender in ended {
            sender.unwrap();
        }
        killer.join().unwrap()
    });
    eprintln!(
        "{kills} kills meanwhile, back within {longest:?}; {before:?} then {:?}",
        held(pid)
    );
    assert!(kills > 0);
    eventually("descriptors are given back", || held(pid).1 <= before.1);
    let after = held(pid);
    assert!(
        after.0 < before.0 + GROWTH,
        "{before:?} {after:?} KiB and descriptors"
    );
    drop(half_open);
    eventually("the program is running", || {
        agent.is_in("worker", "RUNNING")
    });
    assert!(!agent.ended());
}
