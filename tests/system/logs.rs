//! Following a program's output from far away.

use std::{
    fs,
    io::Read,
    process::{Child, Stdio},
    sync::mpsc,
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rsv_tests::{binaries::binary, eventually::eventually, fleet::Fleet, lines};

fn programs(maxbytes: &str) -> String {
    let victim = binary("victim").display().to_string();
    format!(
        "[program:w]\ncommand = {victim} lines {{dir}}/stop\nautorestart = false\n\
         stdout_logfile = {{dir}}/w.log\nstdout_logfile_maxbytes = {maxbytes}\n\
         stdout_logfile_backups = 1000\n"
    )
}

/// Reads a child's output to the end of it on a thread of its own.
fn collect(child: &mut Child) -> mpsc::Receiver<Vec<u8>> {
    read_all(child.stdout.take().expect("a piped output"))
}

fn read_all(mut out: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = out.read(&mut buffer) {
            if sender.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

#[test]
fn a_follower_gets_every_byte_over_rotation_and_the_death_of_the_agent() {
    let mut fleet = Fleet::start(&["web01"], &programs("1MB"));
    eventually("the writer runs", || {
        fleet.host("web01").state("w") == "RUNNING"
    });
    let mut follower = spawn(&fleet, ["-H", "web01", "tail", "-f", "-1000000000", "w"]);
    let output = collect(&mut follower);
    let mut seen = Vec::new();
    let mut gather = |limit: usize| {
        eventually("more output comes", || {
            seen.extend(output.try_iter().flatten());
            seen.len() > limit
        });
        seen.len()
    };
    gather(3_000_000);
    fleet.host("web01").agent().kill();
    fleet.host("web01").start();
    let so_far = gather(3_000_001);
    gather(so_far + 3_000_000);

    let host = fleet.host("web01");
    fs::write(host.path("stop"), "").expect("a file");
    eventually("the writer has ended", || host.path("stop.count").exists());
    let count = fs::read_to_string(host.path("stop.count")).expect("a count");
    let count: u64 = count.parse().expect("a number");
    let last = lines::line(count - 1);
    eventually("the end has arrived", || {
        seen.extend(output.try_iter().flatten());
        seen.ends_with(last.as_bytes())
    });
    follower.kill().expect("the follower runs");
    follower.wait().expect("our own child");
    lines::assert_exact(&seen, count);
    assert!(
        lines::rotated(&host.path("w.log")).len() > 5,
        "it rotated meanwhile"
    );
}

/// `rsv` with these words, with its output in pipes.
fn spawn<'a>(fleet: &Fleet, words: impl IntoIterator<Item = &'a str>) -> Child {
    let mut command = fleet.command(words);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().expect("rsv starts")
}

/// Writes numbered lines, each in two pieces, until a file exists; then their number goes into another one.
const HALVES: &str = "[program:halves]\nautorestart = false\nstartsecs = 0\nstdout_logfile = {dir}/halves.log\n\
     command = /bin/sh -c 'n=0; until [ -e {dir}/stop ]; do n=$((n+1)); printf \"half %%s,\" $n; printf \" %%s\\n\" $n; \
     sleep 0.01; done; echo $n >{dir}/part; mv {dir}/part {dir}/count'\n";

#[test]
fn a_fleet_is_followed_by_whole_lines_and_a_host_that_goes_and_comes_is_said() {
    let hosts = ["web01", "web02"];
    let mut fleet = Fleet::start(&hosts, HALVES);
    let mut follower = spawn(&fleet, ["-H", "web*", "tail", "-f", "-1000000", "hal*"]);
    let output = collect(&mut follower);
    let complaints = read_all(follower.stderr.take().expect("a pipe"));
    let (mut seen, mut said) = (String::new(), String::new());
    let mut more = |what: &str, has: &dyn Fn(&str) -> bool| {
        eventually(what, || {
            seen.extend(
                output
                    .try_iter()
                    .map(|piece| String::from_utf8(piece).expect("text")),
            );
            has(&seen)
        });
        seen.clone()
    };
    let mut hear = |words: &str| {
        eventually(words, || {
            said.extend(
                complaints
                    .try_iter()
                    .map(|piece| String::from_utf8(piece).expect("text")),
            );
            said.contains(words)
        });
        said.clone()
    };
    let lines_of = |text: &str, host: &str| text.matches(&format!("{host} halves | ")).count();
    more("both are shown", &|text| {
        hosts.iter().all(|host| lines_of(text, host) > 50)
    });
    fleet.host("web02").agent().kill();
    hear("-- web02: ");
    let before = more("what there is", &|_| true);
    more("the other one goes on", &|text| {
        lines_of(text, "web01") > lines_of(&before, "web01") + 50
    });
    fleet.host("web02").start();
    let heard = hear("-- web02: back --\n");
    assert_eq!(heard.lines().count(), 2, "{heard}");

    for host in hosts {
        let host = fleet.host(host);
        fs::write(host.path("stop"), "").expect("a file");
        eventually("the writer has ended", || host.path("count").exists());
        let count = fs::read_to_string(host.path("count")).expect("a count");
        let count: u64 = count.trim().parse().expect("a number");
        let prefix = format!("{} halves | ", host.name());
        let last = format!("{prefix}half {count}, {count}\n");
        let text = more("the end arrives", &|text| text.contains(&last));
        let own = text.lines().filter_map(|line| line.strip_prefix(&prefix));
        let expected = (1..=count).map(|n| format!("half {n}, {n}"));
        assert!(own.eq(expected), "each line once and whole: {text}");
    }
    follower.kill().expect("the follower runs");
    follower.wait().expect("our own child");
}

#[test]
fn a_reader_that_stands_still_holds_up_nobody() {
    let more = "[program:other]\ncommand = /bin/sleep 1000\nstartsecs = 0\n";
    let mut fleet = Fleet::start(&["web01"], &format!("{}{more}", programs("1MB")));
    eventually("it writes", || fleet.host("web01").state("w") == "RUNNING");
    // Its pipe is never read.
    let mut stuck = spawn(&fleet, ["-H", "web*", "tail", "-f", "-1000000000", "w"]);
    let rotated = |fleet: &mut Fleet| lines::rotated(&fleet.host("web01").path("w.log")).len();
    let before = rotated(&mut fleet);
    eventually("the program writes on", || rotated(&mut fleet) > before + 8);
    let mut other = spawn(&fleet, ["-H", "web*", "tail", "-f", "w"]);
    let output = collect(&mut other);
    let mut seen = 0;
    eventually("another reader reads", || {
        seen += output.try_iter().map(|piece| piece.len()).sum::<usize>();
        seen > 1_000_000
    });
    fleet
        .rsv(["-H", "web01", "--timeout", "10s", "restart", "other"])
        .expect_code(0);
    for reader in [&mut stuck, &mut other] {
        reader.kill().expect("it runs");
        reader.wait().expect("our own child");
    }
}

#[test]
fn tail_shows_the_end_of_the_log_locally_and_from_far_away_alike() {
    let programs = "[program:hello]\ncommand = /bin/sh -c 'echo one; echo two; exec sleep 1000'\n\
                    startsecs = 0\nstdout_logfile = {dir}/hello.log\n";
    let mut fleet = Fleet::start(&["web01"], programs);
    let host = fleet.host("web01");
    eventually("it has written", || host.lines("hello.log") == 2);
    let local = host.rsv(["tail", "hello"]).expect_code(0);
    assert_eq!(local.stdout, "one\ntwo\n\n");
    assert_eq!(
        host.rsv(["tail", "-4", "hello"]).expect_code(0).stdout,
        "two\n\n"
    );
    let far = fleet.rsv(["-H", "web01", "tail", "hello"]).expect_code(0);
    assert_eq!(far.stdout, "one\ntwo\n");
}

/// What a host has written and how it is shown, once its writer has been told to stop.
fn written(fleet: &mut Fleet, host: &str) -> Vec<String> {
    let host = fleet.host(host);
    fs::write(host.path("stop"), "").expect("a file");
    eventually("the writer has ended", || host.path("count").exists());
    let count = fs::read_to_string(host.path("count")).expect("a count");
    let count: u64 = count.trim().parse().expect("a number");
    let line = |n| format!("{} halves | half {n}, {n}", host.name());
    (1..=count).map(line).collect()
}

#[test]
fn a_cursor_goes_on_at_the_byte_over_the_end_of_reader_and_agent() {
    let hosts = ["web01", "web02"];
    let mut fleet = Fleet::start(&hosts, HALVES);
    let cursor = fleet.path().join("cursor").display().to_string();
    let words = ["-A", "tail", "-f", "-1000000", "halves", "--exit-on-stop"];
    let words: Vec<&str> = words.into_iter().chain(["--cursor", &cursor]).collect();
    let mut first = spawn(&fleet, words.iter().copied());
    let output = collect(&mut first);
    let mut seen = Vec::new();
    eventually("both are shown", || {
        seen.extend(output.try_iter().flatten());
        let text = String::from_utf8_lossy(&seen);
        hosts.iter().all(|host| text.matches(host).count() > 30)
    });
    fleet.host("web02").agent().kill();
    let id = Pid::from_raw(first.id().cast_signed());
    kill(id, Signal::SIGTERM).expect("the first reader runs");
    first.wait().expect("our own child");
    seen.extend(output.iter().flatten());

    let mut second = spawn(&fleet, words.iter().copied());
    let output = collect(&mut second);
    let complaints = read_all(second.stderr.take().expect("a pipe"));
    let mut said = Vec::new();
    eventually("the host that is not there is said", || {
        said.extend(complaints.try_iter().flatten());
        String::from_utf8_lossy(&said).contains("-- web02: ")
    });
    fleet.host("web02").start();
    let expected = hosts.map(|host| written(&mut fleet, host));
    let ended = second.wait().expect("our own child");
    assert!(ended.success(), "it ends with the programs");
    seen.extend(output.iter().flatten());
    let text = String::from_utf8(seen).expect("text");
    for (host, expected) in hosts.into_iter().zip(expected) {
        let own = text.lines().filter(|line| line.starts_with(host));
        assert!(own.eq(expected), "each line once and whole: {text}");
    }
}

#[test]
fn a_host_that_is_away_when_the_reading_begins_is_joined_when_it_comes() {
    let mut fleet = Fleet::start(&["web01", "web02"], HALVES);
    fleet.host("web02").agent().kill();
    eventually("it is missed", || fleet.connected() == 1);
    let logs = fleet.path().join("logs");
    let directory = logs.display().to_string();
    let words = ["-A", "tail", "-f", "-1000000", "halves", "--exit-on-stop"];
    let mut reader = spawn(&fleet, words.into_iter().chain(["--log-dir", &directory]));
    let complaints = read_all(reader.stderr.take().expect("a pipe"));
    let mut said = Vec::new();
    let mut hear = |words: &str| {
        eventually(words, || {
            said.extend(complaints.try_iter().flatten());
            String::from_utf8_lossy(&said).contains(words)
        });
    };
    hear("-- web02: the host is unreachable");
    eventually("the other one is read", || {
        fs::read(logs.join("web01/halves.log")).is_ok_and(|log| log.len() > 100)
    });
    fleet.host("web02").start();
    hear("-- web02: back --");
    for host in ["web01", "web02"] {
        written(&mut fleet, host);
    }
    assert!(reader.wait().expect("our own child").success());
    for host in ["web01", "web02"] {
        let copy = fs::read(logs.join(host).join("halves.log")).expect("a copy");
        let log = fs::read(fleet.host(host).path("halves.log")).expect("a log");
        assert!(copy == log, "{host}: all of it, once");
    }
}

#[test]
fn output_since_a_moment_is_read_locally_and_from_far_away_and_under_the_next_agent() {
    let programs = "[program:hello]\ncommand = /bin/sh -c 'echo one; exec sleep 1000'\nautorestart = true\n\
                    startsecs = 0\nstdout_logfile = {dir}/hello.log\n";
    let mut fleet = Fleet::start(&["web01"], programs);
    let host = fleet.host("web01");
    eventually("it has spoken", || {
        fs::read_to_string(host.path("hello.log")).is_ok_and(|text| text == "one\n")
    });
    let far = ["-H", "web01", "tail", "--since", "1h", "hello"];
    let local = host.rsv(["tail", "--since", "1h", "hello"]).expect_code(0);
    assert_eq!(
        (local.stdout.as_str(), local.stderr.as_str()),
        ("one\n\n", "")
    );
    let read = fleet.rsv(far).expect_code(0);
    assert_eq!((read.stdout.as_str(), read.stderr.as_str()), ("one\n", ""));
    let nothing = fleet.rsv(["-H", "web01", "tail", "--since", "2999-01-01", "hello"]);
    assert_eq!(nothing.expect_code(0).stdout, "");
    // A kill leaves no word of when it came in, and nothing is left out for that.
    fleet.host("web01").agent().kill();
    fleet.host("web01").start();
    eventually("the next agent is connected", || {
        let read = fleet.rsv(far);
        read.code == 0 && read.stdout == "one\n"
    });
    let read = fleet.rsv(far);
    assert!(
        read.stderr.contains("it is known when output came in"),
        "{}",
        read.stderr
    );
}
