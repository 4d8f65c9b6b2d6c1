//! Programs that share a listening socket: who connects is served, and nobody who waits is lost.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rsv_tests::{binaries::binary, eventually::eventually, host::Host};

fn host(programs: &str) -> (tempfile::TempDir, Host) {
    let directory = tempfile::Builder::new()
        .prefix("rsv")
        .tempdir()
        .expect("a directory");
    let host = Host::new(directory.path(), "h", "", &with_victim(programs));
    (directory, host)
}

fn with_victim(programs: &str) -> String {
    let victim = binary("victim").display().to_string();
    programs.replace("{victim}", &victim)
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("its address").port()
}

/// Asks, and gives the connection on which the answer will come.
fn ask<C: Write>(connection: io::Result<C>) -> io::Result<C> {
    let mut connection = connection?;
    connection.write_all(b"hello")?;
    Ok(connection)
}

/// Who has answered.
fn answer(mut connection: impl Read) -> i32 {
    let mut said = String::new();
    connection.read_to_string(&mut said).expect("an answer");
    let (pid, asked) = said.split_once(' ').expect("a process id and the question");
    assert_eq!(asked, "hello");
    pid.parse().expect("a process id")
}

fn at_unix(path: &Path) -> io::Result<UnixStream> {
    ask(UnixStream::connect(path))
}

fn at_port(port: u16) -> io::Result<TcpStream> {
    ask(TcpStream::connect(("127.0.0.1", port)))
}

fn signal(pid: i32, signal: Signal) {
    assert!(pid > 0, "a process, and no group");
    kill(Pid::from_raw(pid), signal).expect("it can be signalled");
}

/// Stops a process where it is, so that it accepts nothing.
fn pause(pid: i32) {
    signal(pid, Signal::SIGSTOP);
    eventually("it has stopped", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('T'))
    });
}

fn is_gone(pid: i32) -> bool {
    !Path::new(&format!("/proc/{pid}/exe")).exists()
}

/// Until all of them have answered.
fn eventually_all_answer(expected: &BTreeSet<i32>, mut ask: impl FnMut() -> i32) {
    let mut seen = BTreeSet::new();
    eventually("all of them accept", || {
        seen.insert(ask());
        seen == *expected
    });
}

#[test]
fn all_processes_accept_from_one_socket_alone_and_inside_a_group() {
    let port = free_port();
    let (_directory, mut host) = host(&format!(
        "[fcgi-program:u]\ncommand = {{victim}} serve\nsocket = unix://{{dir}}/u.sock\n\
         socket_mode = 0620\nsocket_backlog = 9\nnumprocs = 3\nprocess_name = u%(process_num)d\n\
         startsecs = 0\n\
         [group:g]\nprograms = t\n\
         [fcgi-program:t]\ncommand = {{victim}} serve\nsocket = tcp://localhost:{port}\n\
         numprocs = 2\nprocess_name = t%(process_num)d\nstartsecs = 0\n"
    ));
    host.start();
    let pids = |host: &Host, names: &[&str]| -> BTreeSet<i32> {
        for name in names {
            eventually("it runs", || host.state(name) == "RUNNING");
        }
        names.iter().map(|name| host.pid(name)).collect()
    };
    let path = host.path("u.sock");
    let unix = pids(&host, &["u:u0", "u:u1", "u:u2"]);
    eventually_all_answer(&unix, || answer(at_unix(&path).expect("a server")));
    let mode = fs::metadata(&path).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o620);
    let tcp = pids(&host, &["g:t0", "g:t1"]);
    eventually_all_answer(&tcp, || answer(at_port(port).expect("a server")));
}

#[test]
fn a_socket_goes_with_the_last_process_and_comes_back_with_the_first() {
    let (_directory, mut host) = host(
        "[fcgi-program:f]\ncommand = {victim} serve\nsocket = unix://{dir}/f.sock\n\
         numprocs = 2\nprocess_name = f%(process_num)d\nstartsecs = 0\n",
    );
    host.start();
    let path = host.path("f.sock");
    eventually("both run", || {
        host.state("f:f0") == "RUNNING" && host.state("f:f1") == "RUNNING"
    });
    assert_eq!(host.rsv(["stop", "f:f0"]).code, 0);
    assert_eq!(
        answer(at_unix(&path).expect("one is left")),
        host.pid("f:f1")
    );
    assert_eq!(host.rsv(["stop", "f:f1"]).code, 0);
    assert!(!path.exists(), "its file is removed");
    assert_eq!(host.rsv(["start", "f:f0"]).code, 0);
    assert_eq!(
        answer(at_unix(&path).expect("it is back")),
        host.pid("f:f0")
    );
    host.agent().terminate();
    assert!(!path.exists(), "its file is removed");
    let log = fs::read_to_string(host.path("log/agent.log")).expect("a log");
    let url = format!("unix://{}", path.display());
    for words in [
        format!("Creating socket {url}"),
        format!("Closing socket {url}"),
    ] {
        assert_eq!(log.matches(&words).count(), 2, "{words}: {log}");
    }
}

#[test]
fn who_waits_to_be_accepted_outlives_the_agent_and_the_program() {
    let port = free_port();
    let (_directory, mut host) = host(&format!(
        "[fcgi-program:f]\ncommand = {{victim}} serve\nsocket = tcp://127.0.0.1:{port}\n\
         startsecs = 0\n"
    ));
    host.start();
    eventually("it runs", || host.state("f") == "RUNNING");
    let first = host.pid("f");
    pause(first);
    let waiting = at_port(port).expect("a place in the queue");
    host.agent().kill();
    signal(first, Signal::SIGKILL);
    eventually("the program is gone", || is_gone(first));
    let later = at_port(port).expect("the keeper has the socket");
    host.start();
    let second = answer(waiting);
    assert_ne!(second, first);
    assert_eq!(answer(later), second);
    assert_eq!(host.pid("f"), second);
}

#[test]
fn who_waits_to_be_accepted_outlives_the_keeper_and_then_the_agent() {
    let (_directory, mut host) = host(
        "[fcgi-program:f]\ncommand = {victim} serve\nsocket = unix://{dir}/f.sock\n\
         startsecs = 0\n",
    );
    host.start();
    eventually("it runs", || host.state("f") == "RUNNING");
    let first = host.pid("f");
    host.keeper().kill();
    // Answered by the keeper that the agent has started.
    eventually("another keeper is there", || {
        host.rsv(["signal", "CONT", "f"]).code == 0
    });
    pause(first);
    let waiting = at_unix(&host.path("f.sock")).expect("a place in the queue");
    host.agent().kill();
    signal(first, Signal::SIGKILL);
    host.start();
    let second = answer(waiting);
    assert_ne!(second, first);
    eventually("it runs", || host.pid("f") == second);
}

#[test]
fn a_socket_that_cannot_be_made_is_a_spawn_error_that_says_why() {
    let port = free_port();
    let taken = TcpListener::bind(("127.0.0.1", port)).expect("the port");
    let (_directory, mut host) = host(&format!(
        "[fcgi-program:nowhere]\ncommand = {{victim}} serve\nstartretries = 0\n\
         socket = unix://{{dir}}/missing/f.sock\n\
         [fcgi-program:taken]\ncommand = {{victim}} serve\nstartretries = 0\n\
         socket = tcp://127.0.0.1:{port}\nstartsecs = 0\n"
    ));
    host.start();
    let missing = host.path("missing/f.sock");
    let expected = [
        (
            "nowhere",
            format!(
                "unix://{}: [Errno 2] No such file or directory",
                missing.display()
            ),
        ),
        (
            "taken",
            format!("tcp://127.0.0.1:{port}: [Errno 98] Address already in use"),
        ),
    ];
    for (program, why) in expected {
        eventually("it is given up", || host.state(program) == "FATAL");
        let status = host.rsv(["status", program]).stdout;
        let text = format!("Could not create FastCGI socket {why}");
        assert!(status.contains(&text), "{status}");
    }
    drop(taken);
    assert_eq!(host.rsv(["start", "taken"]).code, 0);
    assert_eq!(answer(at_port(port).expect("a server")), host.pid("taken"));
}

#[test]
fn an_update_changes_the_socket_under_the_programs_that_have_it() {
    let section = |mode: &str| {
        with_victim(&format!(
            "[fcgi-program:f]\ncommand = {{victim}} serve\nsocket = unix://{{dir}}/f.sock\n\
             socket_mode = {mode}\nnumprocs = 2\nprocess_name = f%(process_num)d\n\
             startsecs = 0\n"
        ))
    };
    let (_directory, mut host) = host(&section("0600"));
    host.start();
    let path = host.path("f.sock");
    let mode = || fs::metadata(&path).map(|file| file.permissions().mode() & 0o777);
    eventually("it is there", || mode().is_ok_and(|mode| mode == 0o600));
    host.configure("", &section("0666"));
    assert_eq!(host.rsv(["update"]).code, 0);
    eventually("it has changed", || mode().is_ok_and(|mode| mode == 0o666));
    eventually("it serves", || {
        at_unix(&path).is_ok_and(|it| answer(it) != 0)
    });
}

#[test]
fn a_socket_at_another_address_takes_the_place_of_the_former() {
    let section = |name: &str| {
        with_victim(&format!(
            "[fcgi-program:f]\ncommand = {{victim}} serve\nsocket = unix://{{dir}}/{name}\n\
             numprocs = 2\nprocess_name = f%(process_num)d\nstartsecs = 0\n"
        ))
    };
    let (_directory, mut host) = host(&section("first"));
    host.start();
    let [first, second, third] = ["first", "second", "third"].map(|name| host.path(name));
    eventually("it serves", || {
        at_unix(&first).is_ok_and(|it| answer(it) != 0)
    });
    host.configure("", &section("second"));
    assert_eq!(host.rsv(["update"]).code, 0);
    eventually("it serves", || {
        at_unix(&second).is_ok_and(|it| answer(it) != 0)
    });
    eventually("nobody is left at the former", || !first.exists());

    // Changed while no agent is there: what runs keeps what it has until it is restarted.
    host.agent().kill();
    host.configure("", &section("third"));
    host.start();
    assert_ne!(answer(at_unix(&second).expect("they run on")), 0);
    assert_eq!(host.rsv(["restart", "f:f0"]).code, 0);
    assert_eq!(
        answer(at_unix(&third).expect("a new one")),
        host.pid("f:f0")
    );
    assert_eq!(
        answer(at_unix(&second).expect("the other")),
        host.pid("f:f1")
    );
    assert_eq!(host.rsv(["restart", "f:f1"]).code, 0);
    eventually("nobody is left at the former", || !second.exists());
}
