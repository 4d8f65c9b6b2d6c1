//! Metrics of a real small fleet, by their names, units and attributes.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rsv_tests::{
    collector::{Collector, Point},
    command::{command, run},
    eventually::eventually,
    fleet::Fleet,
    host::Host,
};

const PROGRAMS: &str = "[program:app]\ncommand = /bin/sleep 1000\nstartsecs = 0\n\
                        [program:once]\ncommand = /bin/sh -c 'exit 3'\nstartsecs = 0\nautorestart = false\n";

/// The latest point of the one series that has all of this.
fn point(collector: &Collector, metric: &str, attributes: &[(&str, &str)]) -> Option<Point> {
    let has_all = |point: &Point| {
        let mut attributes = attributes.iter();
        attributes.all(|(key, value)| point.attribute(key) == *value)
    };
    let points = collector.points().into_iter();
    let mut found = points.filter(|point| point.metric == metric && has_all(point));
    found.next()
}

#[test]
fn a_fleet_measures_what_happens_to_it() {
    let collector = Collector::start();
    let mut fleet = Fleet::start(&["web01", "web02"], PROGRAMS);
    let exports = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "200"),
    ];
    fleet.controller().terminate();
    fleet.start_controller_with(&exports);
    fleet.host("web01").agent().kill();
    fleet.host("web01").start_with(&exports);
    fleet.wait_connected(2);
    eventually("app runs", || fleet.host("web01").state("app") == "RUNNING");

    let process = [("rsv.group.name", "app"), ("rsv.process.name", "app")];
    let with = |more: (&'static str, &'static str)| [process[0], process[1], more];
    let value = |metric, attributes: &[(&str, &str)]| {
        point(&collector, metric, attributes).map(|point| point.value)
    };
    let state = |name| value("rsv.process.state", &with(("rsv.process.state", name)));
    eventually("its state is measured", || {
        state("RUNNING") == Some(1.0) && state("STOPPED") == Some(0.0)
    });
    let running = with(("rsv.process.state", "RUNNING"));
    let shape = |metric, attributes: &[(&str, &str)]| {
        let point = point(&collector, metric, attributes).expect("a point");
        (point.service, point.kind, point.unit)
    };
    let agents = |kind, unit: &str| ("rsv-agent".to_owned(), kind, unit.to_owned());
    let controllers = |kind, unit: &str| ("rsv-controller".to_owned(), kind, unit.to_owned());
    assert_eq!(
        shape("rsv.process.state", &running),
        agents("up-down", "{process}")
    );
    assert_eq!(shape("process.uptime", &process), agents("gauge", "s"));

    // A crash, and a restart by command.
    let pid = fleet.host("web01").pid("app");
    let pid = Pid::from_raw(pid);
    kill(pid, Signal::SIGKILL).expect("it can be killed");
    let restarts = |reason| {
        value(
            "rsv.process.restarts",
            &with(("rsv.restart.reason", reason)),
        )
    };
    eventually("the crash is counted", || restarts("exit") == Some(1.0));
    let killed = with(("rsv.exit.kind", "signal"));
    eventually("its end is counted", || {
        value("rsv.process.exits", &killed) == Some(1.0)
    });
    assert_eq!(shape("rsv.process.exits", &killed), agents("sum", "{exit}"));
    fleet.rsv(["-H", "web01", "restart", "app"]).expect_code(0);
    eventually("the command is counted", || {
        restarts("command") == Some(1.0)
    });
    let restarted = with(("rsv.restart.reason", "command"));
    assert_eq!(
        shape("rsv.process.restarts", &restarted),
        agents("sum", "{restart}")
    );
    fleet.rsv(["-H", "web01", "start", "once"]);
    let unexpected = [
        ("rsv.process.name", "once"),
        ("rsv.exit.kind", "unexpected"),
        ("process.exit.code", "3"),
    ];
    eventually("its code is counted", || {
        value("rsv.process.exits", &unexpected) >= Some(1.0)
    });

    // How long starts and stops took, what the process uses, and the calls of its agent.
    let started = with(("rsv.outcome", "running"));
    eventually("starts and stops are measured", || {
        let count =
            |metric, with: &[(&str, &str)]| point(&collector, metric, with).map(|p| p.count);
        count("rsv.process.start.duration", &started) >= Some(1)
            && count("rsv.process.stop.duration", &process) >= Some(1)
    });
    assert_eq!(
        shape("rsv.process.start.duration", &started),
        agents("histogram", "s")
    );
    let user = with(("cpu.mode", "user"));
    for (metric, attributes, kind, unit) in [
        ("process.cpu.time", &user[..], "sum", "s"),
        ("process.memory.usage", &process, "up-down", "By"),
        ("process.memory.virtual", &process, "up-down", "By"),
        ("process.thread.count", &process, "up-down", "{thread}"),
        (
            "process.unix.file_descriptor.count",
            &process,
            "up-down",
            "{file_descriptor}",
        ),
    ] {
        eventually(metric, || value(metric, attributes).is_some());
        assert_eq!(shape(metric, attributes), agents(kind, unit), "{metric}");
    }
    assert!(value("process.memory.usage", &process) > Some(4096.0));
    let attach = [
        ("rpc.method", "rsv.v1.AgentLink/Attach"),
        ("rpc.status_code", "OK"),
    ];
    assert_eq!(
        shape("rpc.client.call.duration", &attach),
        agents("histogram", "s")
    );

    // The controller's side.
    let status = |status| value("rsv.controller.agents", &[("rsv.agent.status", status)]);
    eventually("agents are counted", || {
        status("connected") == Some(2.0) && status("lost") == Some(0.0)
    });
    fleet.host("web02").agent().signal(Signal::SIGSTOP);
    eventually("the silent one is stale before it is lost", || {
        status("stale") == Some(1.0)
    });
    fleet.host("web02").agent().signal(Signal::SIGCONT);
    eventually("it is heard again", || status("connected") == Some(2.0));
    let connected = [("rsv.agent.status", "connected")];
    assert_eq!(
        shape("rsv.controller.agents", &connected),
        controllers("up-down", "{agent}")
    );
    let web01 = [("rsv.agent.id", "web01")];
    eventually("ages are measured", || {
        value("rsv.agent.heartbeat.age", &web01).is_some_and(|age| (0.0..60.0).contains(&age))
    });
    assert_eq!(
        shape("rsv.agent.heartbeat.age", &web01),
        controllers("gauge", "s")
    );
    let command = [
        ("rsv.command.kind", "restart"),
        ("rsv.command.outcome", "done"),
    ];
    eventually("the operation is measured", || {
        point(&collector, "rsv.command.duration", &command).is_some_and(|point| point.count == 1)
    });
    assert_eq!(
        shape("rsv.command.duration", &command),
        controllers("histogram", "s")
    );
    let call = [
        ("rpc.system.name", "grpc"),
        ("rpc.method", "rsv.v1.Fleet/Act"),
        ("rpc.status_code", "OK"),
    ];
    let calls = point(&collector, "rpc.server.call.duration", &call).expect("a point");
    assert_eq!((calls.kind, calls.unit.as_str()), ("histogram", "s"));
    assert_eq!(calls.bounds[..3], [0.005, 0.01, 0.025]);

    fleet.host("web02").agent().kill();
    eventually("the lost one is counted", || {
        status("connected") == Some(1.0) && status("lost") == Some(1.0)
    });
    assert_listed(&collector);
    // Nothing that grows without end is an attribute.
    for point in collector.points() {
        for key in point.attributes.keys() {
            assert!(
                !key.contains("pid") && !key.contains("command.id"),
                "{point:?}"
            );
        }
    }
}

/// `talk` says 1000 bytes and 100 more, and puts some on the disk; `mark` has more to say than it may; `deaf`
/// wants to hear of everything and never reads.
const TALKERS: &str = r#"
[program:talk]
command = /bin/sh -c 'printf "%%01000d" 0; printf "%%0100d" 0 >&2; printf "%%0100000d" 0 > {dir}/blob; exec sleep 1000'
startsecs = 0
[program:mark]
command = /bin/sh -c 'printf "<!--XSUPERVISOR:BEGIN-->0123456789abcdef<!--XSUPERVISOR:END-->"; exec sleep 1000'
stdout_capture_maxbytes = 10
startsecs = 0
[eventlistener:deaf]
command = /bin/sleep 1000
events = PROCESS_STATE,PROCESS_COMMUNICATION
buffer_size = 2
startsecs = 0
"#;

/// The page that lists every metric, by its name.
const PAGE: &str = include_str!("../../deploy/README.md");

/// Nothing is measured that the page does not tell of, by name and with its attributes.
#[track_caller]
fn assert_listed(collector: &Collector) {
    for point in collector.points() {
        let row = PAGE.lines().find(|line| {
            let name = format!("`{}`", point.metric);
            line.starts_with('|') && line.contains(&name)
        });
        let row = row.unwrap_or_else(|| panic!("{} is not on the page", point.metric));
        let of_all = ["rsv.group.name", "rsv.process.name", "rpc.system.name"];
        for key in point.attributes.keys() {
            let is_told = of_all.contains(&&**key) || row.contains(&format!("`{key}`"));
            assert!(is_told, "{key} of {} is not on the page", point.metric);
        }
    }
}

/// An agent in no fleet, and what it measures.
fn alone(programs: &str) -> (tempfile::TempDir, Collector, Host) {
    let collector = Collector::start();
    let directory = tempfile::tempdir().expect("a directory");
    let mut host = Host::new(directory.path(), "h", "", programs);
    host.start_with(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "200"),
    ]);
    (directory, collector, host)
}

/// The value of the one series, if it is of this kind and unit.
fn value_of(
    collector: &Collector,
    (metric, kind, unit): (&str, &str, &str),
    attributes: &[(&str, &str)],
) -> Option<f64> {
    let point = point(collector, metric, attributes)?;
    assert_eq!((point.kind, point.unit.as_str()), (kind, unit), "{metric}");
    Some(point.value)
}

#[test]
fn what_programs_say_write_and_are_not_told_is_counted() {
    let (_directory, collector, host) = alone(TALKERS);
    eventually("talk runs", || host.state("talk") == "RUNNING");

    let said = |stream| {
        let log = ("rsv.log.io", "sum", "By");
        value_of(
            &collector,
            log,
            &[("rsv.process.name", "talk"), ("log.iostream", stream)],
        )
    };
    eventually("what it says is counted", || {
        said("stdout") == Some(1000.0) && said("stderr") == Some(100.0)
    });

    // The kernel's own figures, whatever kind of disk it is.
    let written = |direction| {
        let disk = ("process.disk.io", "sum", "By");
        value_of(
            &collector,
            disk,
            &[
                ("rsv.process.name", "talk"),
                ("disk.io.direction", direction),
            ],
        )
    };
    let told = |name: &str| {
        let io = std::fs::read_to_string(format!("/proc/{}/io", host.pid("talk"))).ok()?;
        let line = io.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next()?.parse::<f64>().ok()
    };
    eventually("what it writes is counted", || {
        written("write").is_some() && written("write") == told("write_bytes:")
    });
    assert_eq!(written("read"), told("read_bytes:"));

    let cut = [("rsv.process.name", "mark"), ("rsv.drop.reason", "bound")];
    eventually("what is too long is counted", || {
        value_of(&collector, ("rsv.log.dropped", "sum", "{record}"), &cut) == Some(1.0)
    });

    let pool = ("rsv.pool.name", "deaf");
    let usage = ("rsv.event.listener.buffer.usage", "up-down", "{event}");
    let dropped = ("rsv.event.dropped", "sum", "{event}");
    let full = [pool, ("rsv.drop.reason", "buffer_full")];
    eventually("what waits for the deaf is counted", || {
        value_of(&collector, usage, &[pool]) == Some(2.0)
    });
    eventually("what it missed is counted", || {
        value_of(&collector, dropped, &full) >= Some(1.0)
    });
    let before = value_of(&collector, dropped, &full);
    host.rsv(["restart", "talk"]).expect_code(0);
    eventually("what it misses now, too", || {
        value_of(&collector, dropped, &full) > before
    });
    assert_listed(&collector);
}

#[test]
fn changes_of_the_configuration_are_counted_and_refused_ones_are_told() {
    let (_directory, collector, host) = alone(PROGRAMS);
    let generation = || value_of(&collector, ("rsv.config.generation", "gauge", ""), &[]);
    let at = |outcome| {
        let moment = ("rsv.config.last_apply.timestamp", "gauge", "s");
        value_of(&collector, moment, &[("rsv.outcome", outcome)])
    };
    eventually("the first one is measured", || generation() == Some(1.0));
    let first = at("applied");
    assert!(first > Some(1.6e9), "{first:?}");
    assert_eq!(at("refused"), None);

    let more = "[program:more]\ncommand = /bin/sleep 1000\n";
    host.configure("", &format!("{PROGRAMS}{more}"));
    host.rsv(["update"]).expect_code(0);
    eventually("the second one is in force", || {
        generation() == Some(2.0) && at("applied") > first
    });
    let second = at("applied");

    // What is refused changes nothing but that it was refused, and what differs in nothing is no change.
    let readable = host.path("readable.conf");
    std::fs::copy(host.configuration(), &readable).expect("a copy");
    std::fs::write(host.configuration(), "no section\n").expect("a file");
    let mut update = command("rsv", ["-c"]);
    let update = run(update.arg(&readable).arg("update"));
    assert!(update.both().contains("CANT_REREAD"), "{update:?}");
    eventually("the refusal is told", || at("refused") > second);
    host.configure("", &format!("{PROGRAMS}{more}"));
    host.rsv(["update"]).expect_code(0);
    host.rsv(["stop", "more"]).expect_code(0);
    host.rsv(["remove", "more"]).expect_code(0);
    eventually("a removal is one more", || generation() == Some(3.0));
}
