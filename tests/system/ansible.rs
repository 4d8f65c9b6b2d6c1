//! Ansible's own module for Supervisor, `community.general.supervisorctl`, unmodified: what it does to a real
//! agent and what it says of it is what it does and says with Supervisor, through Supervisor's client and
//! through `rsv` in its place, over a Unix socket and over TCP with a password.

use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread;

use rsv_tests::binaries::binary;
use rsv_tests::command::run;
use rsv_tests::eventually::eventually;
use rsv_tests::fleet::free_port;
use rsv_tests::python;
use rsv_tests::site::Site;
use serde_json::{Value, json};

const PROGRAMS: &str = "[program:web]\ncommand=/bin/sh HERE/web.sh HERE\nstartsecs=0\nautostart=false\n\
                        [program:worker]\ncommand=/bin/sleep 1000\nnumprocs=2\nstartsecs=0\nautostart=false\n\
                        process_name=%(program_name)s_%(process_num)d\n\
                        [program:zbad]\ncommand=/nonexistent/program\nautostart=false\n";

/// What a play has put into the configuration before it uses the module.
const NEW: &str = "[program:new]\ncommand=/bin/sleep 1000\nstartsecs=0\n";

/// A program that notes a signal.
const WEB: &str =
    "trap 'echo usr1 >>$1/signals' USR1\necho up >>$1/starts\nwhile :; do sleep 0.1; done\n";

/// Each step with what comes of it, and which processes it says are affected.
const STEPS: [(&str, &str, &str, &str); 24] = [
    ("none", "started", "failed", ""),
    ("new", "present", "changed", ""),
    ("new", "present", "ok", ""),
    ("new", "started", "ok", ""),
    ("web", "started", "changed", "web"),
    ("web", "started", "ok", ""),
    ("web", "signalled", "changed", "web"),
    ("web", "restarted", "changed", "web"),
    (
        "worker:",
        "started",
        "changed",
        "worker:worker_0 worker:worker_1",
    ),
    ("worker:", "started", "ok", ""),
    ("worker:worker_1", "stopped", "changed", "worker:worker_1"),
    (
        "worker:",
        "restarted",
        "changed",
        "worker:worker_0 worker:worker_1",
    ),
    (
        "worker:",
        "stopped",
        "changed",
        "worker:worker_0 worker:worker_1",
    ),
    ("worker:", "stopped", "ok", ""),
    ("worker:", "signalled", "ok", ""),
    ("web", "stopped", "changed", "web"),
    ("web", "stopped", "ok", ""),
    ("zbad", "started", "failed", ""),
    ("web", "absent", "changed", ""),
    ("web", "absent", "ok", ""),
    ("new", "absent", "failed", ""),
    ("new", "absent, stopped before", "changed", ""),
    // It updates first, so that those are back; the last one cannot be started.
    ("all", "restarted", "failed", ""),
    (
        "all",
        "stopped",
        "changed",
        "new web worker:worker_0 worker:worker_1",
    ),
];

/// How the module reaches the daemon.
#[derive(Clone, Copy)]
enum Way {
    Unix,
    /// A port, with a password.
    Inet(u16),
}

impl Way {
    fn server(self) -> String {
        match self {
            Self::Unix => "[unix_http_server]\nfile=HERE/s.sock\n\
                           [supervisorctl]\nserverurl=unix://HERE/s.sock\n"
                .to_owned(),
            Self::Inet(port) => format!(
                "[inet_http_server]\nport=127.0.0.1:{port}\nusername=ansible\npassword=s3cret word\n"
            ),
        }
    }

    fn is_up(self, site: &Site) -> bool {
        match self {
            Self::Unix => UnixStream::connect(site.path("s.sock")).is_ok(),
            Self::Inet(port) => TcpStream::connect(("127.0.0.1", port)).is_ok(),
        }
    }

    fn arguments(self, site: &Site, password: &str) -> Value {
        match self {
            Self::Unix => json!({"config": site.path("s.conf")}),
            Self::Inet(port) => json!({
                "server_url": format!("http://127.0.0.1:{port}"),
                "username": "ansible",
                "password": password,
            }),
        }
    }
}

fn step(name: &str, state: &str) -> Value {
    match state {
        "signalled" => json!({"name": name, "state": state, "signal": "USR1"}),
        "absent, stopped before" => {
            json!({"name": name, "state": "absent", "stop_before_removing": true})
        }
        _ => json!({"name": name, "state": state}),
    }
}

/// Runs the module once a step, and returns its results.
fn play(site: &Site, arguments: &Value, steps: &[Value]) -> Vec<Value> {
    let python = python::environment().join("bin");
    let steps: Vec<Value> = steps
        .iter()
        .map(|step| {
            let mut all = arguments.clone();
            let fields = all.as_object_mut().expect("an object");
            fields.extend(step.as_object().expect("an object").clone());
            all
        })
        .collect();
    let results = site.path("results.json");
    // A play is YAML, which JSON is.
    let play = json!([{
        "hosts": "localhost",
        "gather_facts": false,
        "tasks": [
            {
                "community.general.supervisorctl": "{{ item }}",
                "loop": steps,
                "register": "done",
                "ignore_errors": true,
            },
            {"ansible.builtin.copy": {"content": "{{ done.results | to_json }}", "dest": results}},
        ],
    }]);
    fs::write(site.path("play.yml"), play.to_string()).expect("a file");
    let mut command = Command::new(python.join("ansible-playbook"));
    command
        .args(["-i", "localhost,", "-c", "local", "play.yml"])
        .arg("-e")
        .arg(format!(
            "ansible_python_interpreter={}",
            python.join("python").display()
        ))
        .current_dir(site.path(""))
        .env("HOME", site.path(""))
        .env("ANSIBLE_HOME", site.path("ansible"))
        .env("ANSIBLE_PIPELINING", "true")
        .env("LC_ALL", "C.UTF-8");
    let ended = run(&mut command).expect_code(0);
    let text =
        fs::read_to_string(&results).unwrap_or_else(|error| panic!("{error}: {}", ended.both()));
    serde_json::from_str(&text).expect("results are JSON")
}

fn came_of(result: &Value) -> &'static str {
    match (result["failed"].as_bool(), result["changed"].as_bool()) {
        (Some(true), _) => "failed",
        (_, Some(true)) => "changed",
        _ => "ok",
    }
}

fn affected(result: &Value) -> String {
    let names = result["affected"].as_array().into_iter().flatten();
    let names: Vec<&str> = names.filter_map(Value::as_str).collect();
    names.join(" ")
}

/// What Supervisor's and ours have to have in common.
fn said(site: &Site, result: &Value) -> String {
    let text = |key: &str| site.placeless(result[key].as_str().unwrap_or_default());
    format!(
        "{} [{}] {} {}",
        came_of(result),
        affected(result),
        text("msg"),
        text("stdout")
    )
}

/// All steps with one daemon, one client and one way between them; what was said at each.
fn all_steps(daemon: &Path, client: &Path, way: Way) -> Vec<String> {
    let start = format!("{}{PROGRAMS}", way.server());
    let site = Site::start_with(daemon, &start, |at| {
        fs::write(at.join("web.sh"), WEB).expect("a file");
    });
    eventually("the daemon answers", || way.is_up(&site));
    site.write(&format!("{start}{NEW}"));
    let mut arguments = way.arguments(&site, "s3cret word");
    arguments["supervisorctl_path"] = json!(client);
    let steps = STEPS.map(|(name, state, ..)| step(name, state));
    let results = play(&site, &arguments, &steps);
    for ((name, state, outcome, names), result) in STEPS.into_iter().zip(&results) {
        let got = (came_of(result), affected(result));
        assert_eq!(got, (outcome, names.to_owned()), "{name} {state}: {result}");
    }
    assert_eq!(results.len(), STEPS.len());
    let noted = |name| fs::read_to_string(site.path(name)).unwrap_or_default();
    assert_eq!(noted("signals"), "usr1\n");
    assert_eq!(
        noted("starts"),
        "up\nup\nup\n",
        "started, restarted, restarted with all"
    );
    results.iter().map(|result| said(&site, result)).collect()
}

#[test]
fn the_module_finds_no_difference() {
    let python = python::environment().join("bin");
    let (supervisord, supervisorctl) = (python.join("supervisord"), python.join("supervisorctl"));
    let (agent, rsv) = (binary("rsv-agent"), binary("rsv"));
    thread::scope(|scope| {
        let expected = scope.spawn(|| all_steps(&supervisord, &supervisorctl, Way::Unix));
        let pairs = [
            (&supervisorctl, Way::Unix),
            (&supervisorctl, Way::Inet(free_port())),
            (&rsv, Way::Inet(free_port())),
        ];
        let ours = pairs.map(|(client, way)| {
            let agent = &agent;
            (client, scope.spawn(move || all_steps(agent, client, way)))
        });
        let expected = expected.join().expect("Supervisor does as expected");
        for (client, ours) in ours {
            let ours = ours.join().expect("the agent does as expected");
            assert_eq!(ours, expected, "{}", client.display());
        }
    });
}

#[test]
fn a_wrong_password_is_a_failure() {
    let supervisorctl = python::environment().join("bin/supervisorctl");
    let way = Way::Inet(free_port());
    let site = Site::start(&binary("rsv-agent"), &format!("{}{PROGRAMS}", way.server()));
    eventually("the agent answers", || way.is_up(&site));
    for client in [supervisorctl, binary("rsv")] {
        let mut arguments = way.arguments(&site, "guessed");
        arguments["supervisorctl_path"] = json!(client);
        let results = play(&site, &arguments, &[step("web", "started")]);
        assert_eq!(came_of(&results[0]), "failed", "{results:?}");
    }
    assert!(!site.path("starts").exists());
}
