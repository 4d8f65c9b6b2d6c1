//! Following a program's output from far away.

use std::{
    fs,
    io::Read,
    process::{Child, Stdio},
    sync::mpsc,
    thread,
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
    let (sender, receiver) = mpsc::channel();
    let mut out = child.stdout.take().expect("a piped output");
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
    let mut follower = fleet
        .command(["-H", "web01", "tail", "-f", "-1000000000", "w"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("rsv starts");
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
