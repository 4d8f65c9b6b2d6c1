//! What the options of `[supervisord]` do to the agent and to its programs, and that the command line
//! beats the file. Becoming another user needs root.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "compat_support/agent.rs"]
mod agent;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use agent::{AGENT, Agent, configured, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use tempfile::TempDir;

/// Servers and sections of programs behind `[supervisord]`, whose options come first.
const SERVER: &str = "[unix_http_server]\nfile={at}/s.sock\n";

/// Says its limits and goes on.
const LIMITS: &str = "command=/bin/sh -c 'grep -E \"open files|processes\" /proc/self/limits; exec sleep 600'\n\
                      startsecs=0\nstdout_logfile={at}/limits.log\n";

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn nobody() -> User {
    User::from_name("nobody").unwrap().unwrap()
}

/// The agent with these limits, as whoever runs the test.
fn limited(limits: &[&str], directory: &Path) -> Command {
    let mut command = Command::new("prlimit");
    command.args(limits).arg(AGENT).current_dir(directory);
    command
}

/// Starts it in the foreground and waits until it answers.
fn started(mut command: Command, directory: TempDir) -> Agent {
    let child = command.stdout(Stdio::null()).spawn().unwrap();
    let agent = Agent { child, directory };
    eventually("the agent answers", || {
        UnixStream::connect(agent.socket()).is_ok()
    });
    agent
}

fn read(agent: &Agent, name: &str) -> String {
    fs::read_to_string(agent.directory.path().join(name)).unwrap_or_default()
}

/// The soft and hard limits in what [`LIMITS`] says: of processes, of files.
fn limits(agent: &Agent) -> [String; 2] {
    let mut said = String::new();
    eventually("it has said its limits", || {
        said = read(agent, "limits.log");
        said.lines().count() == 2
    });
    ["Max processes", "Max open files"].map(|name| {
        let line = said.lines().find_map(|line| line.strip_prefix(name));
        let words = line.unwrap().split_whitespace().take(2);
        words.collect::<Vec<_>>().join(":")
    })
}

#[test]
fn programs_have_the_limits_that_were_raised_for_them() {
    let more = format!("[supervisord]\nminfds=2000\nminprocs=300\n{SERVER}[program:a]\n{LIMITS}");
    let directory = configured(&more);
    let mut command = limited(&["--nofile=200:3000", "--nproc=100:900"], directory.path());
    command.args(["-n", "-c", "s.conf"]);
    let agent = started(command, directory);
    assert_eq!(limits(&agent), ["300:900", "2000:3000"]);
    for line in [
        "INFO Increased RLIMIT_NOFILE limit to 2000\n",
        "INFO Increased RLIMIT_NPROC limit to 300\n",
    ] {
        eventually(line, || read(&agent, "main.log").contains(line));
    }
}

#[test]
fn limits_that_are_high_enough_are_left_alone() {
    let more = format!("[supervisord]\nminfds=100\nminprocs=50\n{SERVER}[program:a]\n{LIMITS}");
    let directory = configured(&more);
    let mut command = limited(&["--nofile=200:3000", "--nproc=100:900"], directory.path());
    command.args(["-n", "-c", "s.conf"]);
    let agent = started(command, directory);
    assert_eq!(limits(&agent), ["100:900", "200:3000"]);
    assert!(!read(&agent, "main.log").contains("Increased"));
}

/// Starts without the right to raise a hard limit, which root has too unless it is taken away.
fn refused(limits: &str, option: &str) -> Output {
    let directory = configured(&format!("[supervisord]\n{option}\n"));
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-sys_resource", "prlimit"]);
        command
    } else {
        Command::new("prlimit")
    };
    command.args([limits, AGENT, "-n", "-c", "s.conf"]);
    let output = command.current_dir(directory.path()).output().unwrap();
    assert!(!directory.path().join("s.rsv").join("agent.sock").exists());
    output
}

#[test]
fn a_hard_limit_that_is_too_low_is_refused_in_supervisors_words() {
    for (limits, option, said) in [
        (
            "--nofile=200:300",
            "minfds=2000",
            "Error: The minimum number of file descriptors required to run this process is 2000 as per the \
             \"minfds\" command-line argument or config file setting. The current environment will only \
             allow you to open 300 file descriptors.  Either raise the number of usable file descriptors ",
        ),
        (
            "--nproc=100:900",
            "minprocs=901",
            "Error: The minimum number of available processes required to run this program is 901 as per the \
             \"minprocs\" command-line argument or config file setting. The current environment will only \
             allow you to open 900 processes.  Either raise the number of usable processes ",
        ),
    ] {
        let output = refused(limits, option);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.starts_with(said), "{text}");
        assert!(
            text.ends_with(&format!("\nFor help, use {AGENT} -h\n")),
            "{text}"
        );
    }
}

/// A directory that belongs to a user, with copies of the binaries, which that user may not reach
/// where they were built.
fn of_user(user: &User, more: &str) -> TempDir {
    let directory = configured(more);
    let at = directory.path();
    nix::unistd::chown(at, Some(user.uid), Some(user.gid)).unwrap();
    let keeper = Path::new(AGENT).with_file_name("rsv-keeper");
    // By another process, because one that another test starts meanwhile would hold them open for writing.
    let copied = Command::new("cp")
        .args([Path::new(AGENT), &keeper, at])
        .status();
    assert!(copied.unwrap().success());
    directory
}

fn command_in(directory: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(directory.path().join("rsv-agent"));
    command.args(arguments).current_dir(directory.path());
    command
}

/// The real, effective, saved and file system user of a process.
fn users_of(pid: u32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    line.unwrap().trim().to_owned()
}

fn printed(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The process that listens on a socket.
fn keeper_of(agent: &Agent) -> u32 {
    let socket = agent.directory.path().join("s.rsv/keeper.sock");
    let socket = rsv_keeper::packet::connect(&socket).unwrap();
    let peer = rustix::net::sockopt::socket_peercred(&socket).unwrap();
    peer.pid.as_raw_nonzero().get().unsigned_abs()
}

const WHO: &str = "[program:a]\ncommand=/bin/sh -c 'id -u; id -G; exec sleep 600'\nstartsecs=0\n\
                   stdout_logfile={at}/who.log\n\
                   [program:b]\ncommand=/bin/sleep 600\nuser=root\nstartretries=0\n";

#[test]
fn an_agent_that_root_starts_becomes_its_user_with_keeper_and_programs() {
    if !is_root() {
        return;
    }
    let user = nobody();
    let directory = of_user(&user, &format!("[supervisord]\nuser=nobody\n{SERVER}{WHO}"));
    let command = command_in(&directory, &["-n", "-c", "s.conf"]);
    let agent = started(command, directory);
    let four = vec![user.uid.to_string(); 4].join("\t");
    let expected = printed("id", &["-u", "nobody"]) + &printed("id", &["-G", "nobody"]);
    eventually("the program says who it is", || {
        read(&agent, "who.log") == expected
    });
    assert_eq!(users_of(agent.child.id()), four);
    assert_eq!(users_of(keeper_of(&agent)), four);
    let said = format!("INFO Set uid to user {} succeeded\n", user.uid);
    eventually(&said, || read(&agent, "main.log").contains(&said));
    for name in ["main.log", "s.pid", "who.log", "s.rsv"] {
        let file = fs::metadata(agent.directory.path().join(name)).unwrap();
        assert_eq!(file.uid(), user.uid.as_raw(), "{name}");
    }
    eventually("what wants another user fails", || {
        agent.is_in("b", "FATAL")
    });
    let info = agent.call("getProcessInfo", &["b"]);
    let why = "couldn't setuid to 0: Can't drop privilege as nonroot user";
    assert!(info.contains(why), "{info}");
    assert!(agent.is_in("a", "RUNNING"));
}

#[test]
fn a_user_that_cannot_write_beside_its_pidfile_has_its_directory_there() {
    if !is_root() {
        return;
    }
    let user = nobody();
    let more = format!("[supervisord]\nuser=nobody\npidfile={{at}}/run/s.pid\n{SERVER}{WHO}");
    // The directory has to be there before the file is read.
    let directory = of_user(&user, &more);
    let run = directory.path().join("run");
    fs::create_dir(&run).unwrap();
    let command = command_in(&directory, &["-n", "-c", "s.conf"]);
    let agent = started(command, directory);
    let private = fs::metadata(run.join("s.rsv")).unwrap();
    assert_eq!(private.uid(), user.uid.as_raw());
    assert_eq!(private.permissions().mode() & 0o777, 0o700);
    let said = format!(
        "CRIT could not write pidfile {}",
        run.join("s.pid").display()
    );
    eventually("the program runs", || agent.is_in("a", "RUNNING"));
    eventually(&said, || read(&agent, "main.log").contains(&said));
}

#[test]
fn another_user_is_refused_to_whoever_is_not_root() {
    let (directory, mut command) = if is_root() {
        let directory = of_user(&nobody(), "[supervisord]\nuser=root\n");
        let mut command = Command::new("setpriv");
        command.args(["--reuid=nobody", "--clear-groups", "./rsv-agent"]);
        (directory, command)
    } else {
        let directory = configured("[supervisord]\nuser=root\n");
        (directory, Command::new(AGENT))
    };
    command.args(["-n", "-c", "s.conf"]);
    let output = command.current_dir(directory.path()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        text.starts_with("Error: Can't drop privilege as nonroot user\nFor help, use "),
        "{text}"
    );
    assert!(!directory.path().join("s.rsv").exists());
}

#[test]
fn a_keeper_of_another_user_is_not_taken() {
    if !is_root() {
        return;
    }
    let section = "[agent]\nstate_dir={at}/state\nsocket={at}/a.sock\nkeeper_socket={at}/k.sock\n";
    let directory = of_user(&nobody(), &format!("{section}{SERVER}{WHO}"));
    let mut keeper = Command::new("setpriv");
    keeper.args(["--reuid=nobody", "--clear-groups", "./rsv-keeper"]);
    keeper.args(["--socket", "k.sock"]);
    let mut keeper = keeper.current_dir(directory.path()).spawn().unwrap();
    eventually("the keeper answers", || {
        rsv_keeper::packet::connect(&directory.path().join("k.sock")).is_ok()
    });
    let output = command_in(&directory, &["-n", "-s", "-c", "s.conf"]).output();
    let output = output.unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    kill(Pid::from_raw(keeper.id().cast_signed()), Signal::SIGTERM).unwrap();
    keeper.wait().unwrap();
    assert!(!output.status.success(), "{text}");
    let said = format!("is of user {}, this agent of user 0", nobody().uid);
    assert!(text.contains(&said), "{text}");
    assert!(!directory.path().join("who.log").exists());
}

#[test]
fn programs_of_a_former_agent_of_another_user_are_not_started_a_second_time() {
    if !is_root() {
        return;
    }
    let directory = of_user(
        &nobody(),
        &format!("[supervisord]\nuser=nobody\n{SERVER}{WHO}"),
    );
    let mut agent = started(command_in(&directory, &["-n", "-c", "s.conf"]), directory);
    eventually("the program runs", || agent.is_in("a", "RUNNING"));
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
    let file = agent.directory.path().join("s.conf");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("user=nobody\n", "")).unwrap();
    let output = command_in(&agent.directory, &["-n", "-s", "-c", "s.conf"]).output();
    let output = output.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    let expected = format!("of the user nobody (uid {}), run under", nobody().uid);
    assert!(said.contains(&expected), "{said}");
    // The former user still has them.
    fs::write(&file, text).unwrap();
    let mut command = command_in(&agent.directory, &["-n", "-c", "s.conf"]);
    agent.child = command.stdout(Stdio::null()).spawn().unwrap();
    eventually("it answers", || agent.try_call("getState", &[]).is_some());
    assert!(agent.is_in("a", "RUNNING"));
}

#[test]
fn processes_are_numbered_from_numprocs_start_on() {
    let agent = Agent::start(
        "[program:n]\ncommand=/bin/sh -c 'echo %(process_num)d of %(numprocs)d; exec sleep 600'\n\
         process_name=%(program_name)s_%(process_num)02d\nnumprocs=2\nnumprocs_start=7\nstartsecs=0\n\
         stdout_logfile={at}/%(process_num)d.log\n",
    );
    for (name, log, text) in [
        ("n:n_07", "7.log", "7 of 2\n"),
        ("n:n_08", "8.log", "8 of 2\n"),
    ] {
        eventually("it runs", || agent.is_in(name, "RUNNING"));
        eventually("it has its number", || read(&agent, log) == text);
    }
    let all = agent.call("getAllProcessInfo", &[]);
    assert_eq!(all.matches("<name>group</name>").count(), 2, "{all}");
}

/// What a file says that a command line contradicts in everything.
const FILE: &str = "[supervisord]\nlogfile={at}/file.log\nlogfile_maxbytes=0\nlogfile_backups=0\n\
                    loglevel=critical\npidfile={at}/file.pid\nidentifier=file\nchildlogdir={at}/file\n\
                    minfds=210\nminprocs=110\nstrip_ansi=false\nsilent=false\nnodaemon=false\n\
                    nocleanup=false\numask=022\ndirectory={at}/file\n[unix_http_server]\nfile={at}/s.sock\n";

/// The same directory for everything that `FILE` and a command line name.
fn contradicted(programs: &str) -> TempDir {
    let directory = configured(&format!("{FILE}{programs}"));
    for name in ["file", "cli"] {
        fs::create_dir(directory.path().join(name)).unwrap();
    }
    directory
}

/// The names in a directory that begin so.
fn names(directory: &Path, beginning: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with(beginning)).collect();
    names.sort();
    names
}

/// An agent in the foreground whose command line says something else than its file, in everything.
fn contradicting(directory: TempDir) -> Agent {
    let arguments = [
        "-n",
        "-s",
        "-k",
        "-t",
        "-c",
        "s.conf",
        "-l",
        "cli.log",
        "-y",
        "2KB",
        "-z",
        "2",
        "-e",
        "debug",
        "-j",
        "cli.pid",
        "-i",
        "cli",
        "-q",
        "cli",
        "-a",
        "777",
        "--minprocs",
        "555",
    ];
    let limits = ["--nofile=200:3000", "--nproc=100:900"];
    let mut command = limited(&limits, directory.path());
    let child = command
        .args(arguments)
        .stdout(fs::File::create(directory.path().join("stdout")).unwrap())
        .spawn()
        .unwrap();
    let agent = Agent { child, directory };
    eventually("the agent answers", || {
        UnixStream::connect(agent.socket()).is_ok()
    });
    agent
}

#[test]
fn the_command_line_beats_the_file_in_the_foreground() {
    let directory = contradicted(&format!(
        "[program:a]\n{LIMITS}[program:b]\nstartsecs=0\n\
         command=/bin/sh -c 'printf \"\\033[1mbold\\033[0m\\n\"; seq 1000; seq 1000; exec sleep 600'\n\
         [program:c]\ncommand=/bin/sleep 600\nstartsecs=0\n"
    ));
    let at = directory.path().to_owned();
    let mut agent = contradicting(directory);
    assert_eq!(limits(&agent), ["555:900", "777:3000"]);
    let pid = agent.child.id().to_string() + "\n";
    assert_eq!(read(&agent, "cli.pid"), pid);
    let identification = agent.call("getIdentification", &[]);
    assert!(identification.contains("<string>cli</string>"));
    let logs = names(&at.join("cli"), "b-stdout---cli-");
    assert_eq!(logs.len(), 1, "{logs:?}");
    let log = at.join("cli").join(&logs[0]);
    eventually("it has written", || {
        fs::metadata(&log).is_ok_and(|log| log.len() > 7000)
    });
    assert!(fs::read_to_string(&log).unwrap().starts_with("bold\n1\n"));
    eventually("the main log is rotated, and the oldest goes", || {
        agent.call("stopProcess", &["c"]);
        agent.call("startProcess", &["c"]);
        names(&at, "cli.log") == ["cli.log", "cli.log.1", "cli.log.2"]
    });
    // An orderly end, after which old automatic logs would be removed.
    let pid = Pid::from_raw(agent.child.id().cast_signed());
    kill(pid, Signal::SIGTERM).unwrap();
    agent.child.wait().unwrap();
    assert_eq!(read(&agent, "stdout"), "");
    let directory = std::mem::replace(&mut agent.directory, tempfile::tempdir().unwrap());
    let agent = contradicting(directory);
    eventually("what it had written is there besides", || {
        let names = names(&at.join("cli"), "b-stdout---cli-");
        let logs = names.iter().map(|name| at.join("cli").join(name));
        let all: String = logs.flat_map(fs::read_to_string).collect();
        all.matches("bold\n1\n").count() == 2
    });
    assert_eq!(names(&at, "file."), [] as [&str; 0]);
    assert_eq!(names(&at.join("file"), ""), [] as [&str; 0]);
    drop(agent);
}

/// An agent in the background, by its pidfile; ended with the test.
struct Background(Pid);

impl Background {
    fn start(mut command: Command, pidfile: &Path) -> Self {
        assert!(command.status().unwrap().success());
        let pid = fs::read_to_string(pidfile).unwrap();
        let pid: i32 = pid.trim().parse().unwrap();
        // Anything else would be a whole group, and perhaps that of the test.
        assert!(pid > 0);
        Self(Pid::from_raw(pid))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        kill(self.0, Signal::SIGTERM).ok();
        eventually("it ends", || kill(self.0, None).is_err());
    }
}

#[test]
fn the_command_line_beats_the_file_in_the_background() {
    let program = "[program:a]\ncommand=/bin/sh -c 'umask; pwd; exec sleep 600'\nstartsecs=0\nredirect_stderr=true\n\
                   stdout_logfile={at}/a.log\n";
    let user = nobody();
    let directory = if is_root() {
        of_user(&user, &format!("{FILE}[supervisord]\nuser=root\n{program}"))
    } else {
        configured(&format!("{FILE}{program}"))
    };
    let at = directory.path().to_owned();
    for name in ["file", "cli"] {
        fs::create_dir(at.join(name)).unwrap();
    }
    let path = |name: &str| at.join(name).display().to_string();
    let (pidfile, log, cli) = (path("cli.pid"), path("cli.log"), path("cli"));
    let mut arguments = vec![
        "-c", "s.conf", "-m", "077", "-d", &cli, "-j", &pidfile, "-l", &log,
    ];
    let executable: PathBuf = if is_root() {
        arguments.extend(["-u", "nobody"]);
        at.join("rsv-agent")
    } else {
        AGENT.into()
    };
    let mut command = Command::new(executable);
    command.args(arguments).current_dir(&at);
    let agent = Background::start(command, Path::new(&pidfile));
    assert_eq!(
        fs::read_link(format!("/proc/{}/cwd", agent.0)).unwrap(),
        at.join("cli")
    );
    let file = fs::metadata(&pidfile).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    if is_root() {
        assert_eq!(file.uid(), user.uid.as_raw());
    }
    let expected = format!("0077\n{cli}\n");
    eventually("the program has both", || {
        fs::read_to_string(at.join("a.log")).unwrap_or_default() == expected
    });
    drop(agent);
}

#[test]
fn relative_logs_of_programs_are_in_the_directory_and_the_move_is_logged() {
    let directory = configured(
        "[supervisord]\ndirectory={at}/work\n[program:a]\ncommand=/bin/sh -c 'pwd; exec sleep 600'\n\
         stdout_logfile=logs/a.log\nstderr_logfile=a.err\nstartsecs=0\n",
    );
    let at = directory.path();
    let work = at.join("work");
    fs::create_dir_all(work.join("logs")).unwrap();
    let mut command = Command::new(AGENT);
    command.args(["-c", "s.conf"]).current_dir(at);
    let agent = Background::start(command, &at.join("s.pid"));
    let said = format!("{}\n", work.display());
    eventually("it has written", || {
        fs::read_to_string(work.join("logs/a.log")).is_ok_and(|log| log == said)
    });
    assert!(work.join("a.err").exists() && !at.join("a.err").exists());
    let started = format!("INFO supervisord started with pid {}\n", agent.0);
    let mut log = String::new();
    eventually("its start is logged", || {
        log = fs::read_to_string(at.join("main.log")).unwrap();
        log.contains(&started)
    });
    let lines = log.lines().map(|line| line.splitn(3, ' ').last().unwrap());
    let lines: Vec<_> = lines.collect();
    let place = |wanted: &str| lines.iter().position(|line| *line == wanted);
    let daemonized = place("INFO daemonizing the supervisord process").unwrap();
    let moved = format!("INFO set current directory: '{}'", work.display());
    assert_eq!(place(&moved), Some(daemonized + 1));
    assert!(place(started.trim_end()) > Some(daemonized));
}

#[test]
fn a_question_mark_is_answered() {
    let output = Command::new(AGENT).arg("-?").output().unwrap();
    let help = Command::new(AGENT).arg("-h").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, help.stdout);
    assert!(!output.stdout.is_empty() && output.stderr.is_empty());
}
