//! Every command of agent/MIGRATING.md, in its order, with real binaries and a real Supervisor.
//!
//! In an `ini` block the first line names the file that it is. In a `console` block a line with `$` is a
//! command, which must exit with 0, and the lines behind it are to be found in its output, in order; `...`
//! stands for anything. What the page has in `/etc`, `/srv`, `/var` and `/run` is below a temporary directory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rsv_tests::{
    binaries::{checkout, directory},
    command::{Ended, run},
    eventually::eventually,
};

/// A block of the page that is of use here.
enum Block {
    File { path: String, text: String },
    Commands(Vec<Step>),
}

struct Step {
    command: String,
    output: Vec<String>,
}

/// The machine that the page is about.
struct Machine {
    root: tempfile::TempDir,
    python: PathBuf,
    supervisord: Option<Child>,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            continue;
        };
        let inside: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        match kind {
            "ini" => blocks.push(file(&inside)),
            "console" => blocks.push(Block::Commands(steps(&inside))),
            other => panic!("a block of `{other}`, which is not run"),
        }
    }
    blocks
}

fn file(lines: &[&str]) -> Block {
    let path = lines[0].strip_prefix("; ").expect("the file's name");
    Block::File {
        path: path.to_owned(),
        text: lines[1..].join("\n") + "\n",
    }
}

fn steps(lines: &[&str]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in lines {
        match line.strip_prefix("$ ") {
            Some(command) => steps.push(Step {
                command: command.to_owned(),
                output: Vec::new(),
            }),
            None => {
                let step = steps.last_mut().expect("a command before its output");
                step.output.push((*line).to_owned());
            }
        }
    }
    steps
}

/// Whether a line is as the page has it.
fn is_as(line: &str, shown: &str) -> bool {
    let mut parts = shown.split("...").map(|part| part.trim_matches(' '));
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.trim_start().strip_prefix(first) else {
        return false;
    };
    parts.all(|part| {
        rest.find(part).is_some_and(|at| {
            rest = &rest[at + part.len()..];
            true
        })
    })
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::Builder::new()
            .prefix("rsv")
            .tempdir()
            .expect("a directory");
        for name in ["run", "var/log"] {
            fs::create_dir_all(root.path().join(name)).expect("a directory");
        }
        let made = run(&mut Command::new(checkout().join("tests/python.sh"))).expect_code(0);
        Self {
            root,
            python: PathBuf::from(made.stdout.trim()),
            supervisord: None,
        }
    }

    /// A text of the page as it is on this machine.
    fn here(&self, text: &str) -> String {
        let root = self.root.path().display();
        ["etc", "srv", "var", "run"]
            .iter()
            .fold(text.to_owned(), |text, name| {
                let places = [" ", "//", "="].map(|before| format!("{before}/{name}/"));
                places.iter().fold(text, |text, place| {
                    let before = place.trim_end_matches(&format!("/{name}/"));
                    text.replace(place, &format!("{before}{root}/{name}/"))
                })
            })
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, self.here(text)).expect("a file");
    }

    fn command(&self, program: &str) -> Command {
        let mut path = vec![directory(), self.python.join("bin")];
        path.extend(std::env::split_paths(
            &std::env::var_os("PATH").unwrap_or_default(),
        ));
        let path = std::env::join_paths(path).expect("directories without a colon");
        let mut command = Command::new(program);
        command
            .env("PATH", path)
            .env("HOME", self.root.path())
            .current_dir(self.root.path());
        command
    }

    /// Starts what the page supposes to run.
    fn start_supervisor(&mut self) {
        let mut supervisord =
            self.command(&self.python.join("bin/supervisord").display().to_string());
        let file = self.root.path().join("etc/supervisor/supervisord.conf");
        supervisord.args(["-n", "-s", "-c"]).arg(file);
        supervisord
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.supervisord = Some(supervisord.spawn().expect("Supervisor starts"));
        let pidfile = self.root.path().join("run/supervisord.pid");
        let socket = self.root.path().join("run/supervisor.sock");
        eventually("Supervisor is up", || pidfile.exists() && socket.exists());
    }

    fn check(&self, step: &Step) {
        let command = self.here(&step.command);
        // In files: a daemon that it leaves behind would keep a pipe open.
        let output = self.root.path().join("output");
        let both = format!("( {command}\n) > {} 2>&1", output.display());
        let ended: Ended = run(self.command("sh").arg("-c").arg(&both));
        let said = fs::read_to_string(&output).expect("the output");
        assert_eq!(ended.code, 0, "{command}\n{said}");
        let mut lines = said.lines();
        for shown in &step.output {
            let is_there = lines.any(|line| is_as(line, shown.trim_start()));
            assert!(is_there, "{command}\nhas no line `{shown}` in\n{said}");
        }
    }
}

impl Drop for Machine {
    /// Whatever the page has left running goes with it.
    fn drop(&mut self) {
        let pidfiles = ["run/supervisord.pid", "run/rsv-agent.pid"];
        for pid in pidfiles.map(|name| fs::read_to_string(self.root.path().join(name))) {
            if let Some(pid) = pid.ok().and_then(|pid| pid.trim().parse().ok()) {
                let pid = nix::unistd::Pid::from_raw(pid);
                // It may have ended by itself.
                nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).ok();
            }
        }
        if let Some(supervisord) = &mut self.supervisord {
            supervisord.wait().ok();
        }
        let is_gone = |name: &str| !self.root.path().join(name).exists();
        eventually("the daemons have ended", || {
            pidfiles.into_iter().all(is_gone)
        });
    }
}

#[test]
fn the_page_is_what_happens() {
    let page =
        fs::read_to_string(Path::new(&checkout()).join("agent/MIGRATING.md")).expect("the page");
    let mut machine = Machine::new();
    for block in blocks(&page) {
        match block {
            Block::File { path, text } => {
                machine.write(&path, &text);
                if path.ends_with("/supervisord.conf") {
                    machine.start_supervisor();
                }
            }
            Block::Commands(steps) => steps.iter().for_each(|step| machine.check(step)),
        }
    }
}

#[test]
fn a_line_is_as_the_page_has_it() {
    for (line, shown, is_it) in [
        (
            "web   RUNNING   pid 7, uptime 0:00:01",
            "web ... RUNNING   pid ..., uptime ...",
            true,
        ),
        ("web   STOPPED   Nov 26", "web ... RUNNING   pid ...", false),
        ("  /tmp/a.conf:3: x", "...a.conf:3: x", true),
        ("Shut down", "Shut down", true),
        ("", "Shut down", false),
    ] {
        assert_eq!(is_as(line, shown), is_it, "{line}");
    }
}
