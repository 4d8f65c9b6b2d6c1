//! Any one of our processes is killed, and no program, log byte or exit status goes with it.

use std::{fs, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rsv_tests::{
    binaries::binary,
    eventually::{PATIENCE, eventually},
    host::Host,
    lines,
};

fn host(programs: &str) -> (tempfile::TempDir, Host) {
    let directory = tempfile::Builder::new()
        .prefix("rsv")
        .tempdir()
        .expect("a directory");
    let victim = binary("victim").display().to_string();
    let host = Host::new(
        directory.path(),
        "h",
        "",
        &programs.replace("{victim}", &victim),
    );
    (directory, host)
}

/// Different in each run and printed, so that a failure can be had again.
fn seed() -> u64 {
    let given = std::env::var("RSV_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("RSV_SEED={seed}");
    seed
}

/// The next number of a plain congruential sequence, below `limit`.
fn random(state: &mut u64, limit: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % limit
}

#[test]
fn no_byte_is_lost_or_repeated_over_fifty_kills_of_the_agent() {
    let (_directory, mut host) = host(
        "[program:w]\ncommand = {victim} lines {dir}/stop\nautorestart = false\n\
         redirect_stderr = true\nstdout_logfile = {dir}/w.log\n\
         stdout_logfile_maxbytes = 256KB\nstdout_logfile_backups = 100000\n",
    );
    host.start();
    eventually("the writer writes", || {
        host.path("w.log").exists() && host.state("w") == "RUNNING"
    });
    let pid = host.pid("w");
    let mut random_state = seed();

    for _ in 0..60 {
        // Not synchronisation: the moment of the kill is to be any moment.
        std::thread::sleep(Duration::from_millis(random(&mut random_state, 60)));
        host.agent().kill();
        host.start_agent();
        if random(&mut random_state, 2) == 0 {
            eventually("the agent answers", || host.rsv(["version"]).code == 0);
        }
    }

    eventually("the agent answers", || host.rsv(["version"]).code == 0);
    assert_eq!(host.pid("w"), pid, "the program lived through it all");
    fs::write(host.path("stop"), "").expect("a file");
    eventually("the writer has ended", || host.path("stop.count").exists());
    let count = fs::read_to_string(host.path("stop.count")).expect("a count");
    let count: u64 = count.parse().expect("a number");
    let log = host.path("w.log");
    let complete = lines::line(count - 1);
    let mut whole = Vec::new();
    eventually("the last line is written", || {
        whole = lines::whole_log(&log).unwrap_or_default();
        whole.ends_with(complete.as_bytes())
    });
    lines::assert_exact(&whole, count);
    assert!(lines::rotated(&log).len() > 10, "it rotated meanwhile");
}

#[test]
fn state_uptime_and_exit_status_outlive_the_agent() {
    let (_directory, mut host) = host(
        "[program:stays]\ncommand = {victim} start {dir}/starts\nstartsecs = 0\n\
         [program:ends]\ncommand = {victim} exit-when {dir}/end 7\nstartsecs = 0\n\
         autorestart = false\n\
         [program:again]\ncommand = {victim} exit-when {dir}/again 3\nstartsecs = 0\n\
         autorestart = true\n\
         [program:off]\ncommand = /bin/true\nautostart = false\n",
    );
    host.start();
    for program in ["stays", "ends", "again"] {
        eventually("it runs", || host.state(program) == "RUNNING");
    }
    let json = |host: &Host| host.rsv(["-o", "json", "status"]).json();
    let of = |json: &serde_json::Value, program: &str| {
        let programs = json["programs"].as_array().expect("programs").iter();
        let mut found = programs.filter(|p| p["program"] == program);
        found.next().expect("the program is listed").clone()
    };
    let before = json(&host);

    host.agent().kill();
    fs::write(host.path("end"), "").expect("a file");
    let pid = of(&before, "ends")["pid"].as_i64().expect("a pid");
    eventually("it has ended", || is_gone(pid));
    host.start();

    let after = json(&host);
    assert_eq!(of(&after, "stays")["pid"], of(&before, "stays")["pid"]);
    let uptime = |json: &serde_json::Value| of(json, "stays")["uptime_seconds"].as_f64();
    assert!(uptime(&after) >= uptime(&before), "{after}");
    assert_eq!(of(&after, "ends")["state"], "EXITED");
    assert_eq!(of(&after, "ends")["exit_status"], 7);
    assert_eq!(of(&after, "off")["state"], "STOPPED");
    assert_eq!(host.lines("starts"), 1);

    // A restart that falls due while no agent is there is done by the next one.
    let pid = of(&after, "again")["pid"].as_i64().expect("a pid");
    host.agent().kill();
    kill(
        Pid::from_raw(i32::try_from(pid).expect("a pid")),
        Signal::SIGKILL,
    )
    .expect("it runs");
    host.start();
    eventually("it is back", || {
        let now = host.pid("again");
        now != 0 && i64::from(now) != pid
    });
}

#[test]
fn a_crashed_program_is_back_at_once() {
    let (_directory, mut host) =
        host("[program:app]\ncommand = {victim} start {dir}/starts\nstartsecs = 0\n");
    host.start();
    for round in 1..=3 {
        eventually("it is up, and not only just", || host.uptime("app") >= 1);
        let pid = host.signal("app", Signal::SIGKILL);
        eventually("it is back", || host.lines("starts") > round);
        eventually("it is known to run", || {
            ![0, pid].contains(&host.pid("app"))
        });
    }
    // That would be a second of waiting, as after a quick end.
    let told = host.rsv(["events"]).expect_code(0);
    assert!(told.stdout.contains("EXITED"), "{told:?}");
    assert!(!told.stdout.contains("BACKOFF"), "{told:?}");
}

#[test]
fn programs_live_through_the_death_of_the_keeper() {
    let (_directory, mut host) = host(
        "[program:app]\ncommand = {victim} start {dir}/starts\nstartsecs = 0\n\
         stopwaitsecs = 2\n",
    );
    host.start();
    eventually("it runs", || {
        host.lines("starts") == 1 && host.state("app") == "RUNNING"
    });
    let pid = host.pid("app");

    host.keeper().kill();

    eventually("the agent answers", || host.pid("app") == pid);
    host.rsv(["restart", "app"]).expect_code(0);
    assert_ne!(host.pid("app"), pid);
    eventually("the old one is gone", || is_gone(i64::from(pid)));
    host.rsv(["shutdown", "-y"]).expect_code(0);
    assert!(host.agent().wait(PATIENCE).is_some(), "the agent ends");
}

#[test]
fn an_orderly_stop_leaves_nothing_behind_and_a_leaving_agent_everything() {
    let (_directory, mut host) =
        host("[program:app]\ncommand = {victim} start {dir}/starts\nstartsecs = 0\n");
    host.start();
    eventually("it runs", || host.state("app") == "RUNNING");
    let pid = i64::from(host.pid("app"));

    let status = host.agent().terminate();

    assert!(status.success(), "{status}");
    assert!(is_gone(pid), "the program was stopped");
    assert!(
        host.keeper().wait(PATIENCE).is_some(),
        "the keeper ends with the agent"
    );
}

fn is_gone(pid: i64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie is over too, as far as its program is concerned.
    stat.is_empty()
        || stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim().starts_with('Z'))
}
