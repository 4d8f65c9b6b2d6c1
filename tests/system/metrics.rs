//! Metrics of a real small fleet, by their names, units and attributes.

use nix::sys::signal::Signal;
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

/// The points that have come, with what the tests ask of them.
struct Measured<'a>(&'a Collector);

impl Measured<'_> {
    fn value(&self, metric: &str, attributes: &[(&str, &str)]) -> Option<f64> {
        point(self.0, metric, attributes).map(|point| point.value)
    }

    /// Whether a series with this attribute has ever had this value.
    fn has_been(&self, metric: &str, (key, value): (&str, &str), wanted: f64) -> bool {
        let points = self.0.history().into_iter();
        let mut of_series =
            points.filter(|point| point.metric == metric && point.attribute(key) == value);
        of_series.any(|point| point.value.total_cmp(&wanted).is_eq())
    }

    fn count(&self, metric: &str, attributes: &[(&str, &str)]) -> Option<u64> {
        point(self.0, metric, attributes).map(|point| point.count)
    }

    fn has_shape(&self, metric: &str, attributes: &[(&str, &str)], shape: [&str; 3]) {
        let point = point(self.0, metric, attributes).expect("a point");
        let found = [point.service.as_str(), point.kind, point.unit.as_str()];
        assert_eq!(found, shape, "{metric}");
    }

    /// Agents in a state, as the controller counts them.
    fn agents(&self, status: &str) -> Option<f64> {
        self.value("rsv.controller.agents", &[("rsv.agent.status", status)])
    }
}

/// The program that most is done to.
const APP: [(&str, &str); 2] = [("rsv.group.name", "app"), ("rsv.process.name", "app")];

/// A point of that program with one attribute more.
fn with(more: (&'static str, &'static str)) -> [(&'static str, &'static str); 3] {
    [APP[0], APP[1], more]
}

#[test]
fn a_fleet_measures_what_happens_to_it() {
    let collector = Collector::start();
    let measured = Measured(&collector);
    let mut fleet = Fleet::attentive(&["web01", "web02"], PROGRAMS);
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

    states_are_measured(&measured);
    ends_and_restarts_are_counted(&mut fleet, &measured);
    durations_and_what_is_used_are_measured(&measured);
    agents_are_counted(&mut fleet, &measured);
    operations_and_calls_are_measured(&measured);

    fleet.host("web02").agent().kill();
    eventually("the lost one is counted", || {
        measured.agents("connected") == Some(1.0) && measured.agents("lost") == Some(1.0)
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

fn states_are_measured(measured: &Measured<'_>) {
    let state = |name| measured.value("rsv.process.state", &with(("rsv.process.state", name)));
    eventually("its state is measured", || {
        state("RUNNING") == Some(1.0) && state("STOPPED") == Some(0.0)
    });
    let running = with(("rsv.process.state", "RUNNING"));
    let shape = ["rsv-agent", "up-down", "{process}"];
    measured.has_shape("rsv.process.state", &running, shape);
    measured.has_shape("process.uptime", &APP, ["rsv-agent", "gauge", "s"]);
}

/// A crash, a restart by command, and a program that ends by itself.
fn ends_and_restarts_are_counted(fleet: &mut Fleet, measured: &Measured<'_>) {
    let restarts = |reason| {
        let attributes = with(("rsv.restart.reason", reason));
        measured.value("rsv.process.restarts", &attributes)
    };
    let killed = with(("rsv.exit.kind", "signal"));
    eventually("a series begins before there is anything to count", || {
        let end = measured.value("rsv.process.exits", &killed);
        [restarts("exit"), restarts("command"), end] == [Some(0.0); 3]
    });
    fleet.host("web01").signal("app", Signal::SIGKILL);
    eventually("the crash is counted", || restarts("exit") == Some(1.0));
    eventually("its end is counted", || {
        measured.value("rsv.process.exits", &killed) == Some(1.0)
    });
    measured.has_shape("rsv.process.exits", &killed, ["rsv-agent", "sum", "{exit}"]);
    fleet.rsv(["-H", "web01", "restart", "app"]).expect_code(0);
    eventually("the command is counted", || {
        restarts("command") == Some(1.0)
    });
    let restarted = with(("rsv.restart.reason", "command"));
    let shape = ["rsv-agent", "sum", "{restart}"];
    measured.has_shape("rsv.process.restarts", &restarted, shape);
    fleet.rsv(["-H", "web01", "start", "once"]);
    let unexpected = [
        ("rsv.process.name", "once"),
        ("rsv.exit.kind", "unexpected"),
        ("process.exit.code", "3"),
    ];
    eventually("its code is counted", || {
        measured.value("rsv.process.exits", &unexpected) >= Some(1.0)
    });
}

/// How long starts and stops took, what the process uses, and the calls of its agent.
fn durations_and_what_is_used_are_measured(measured: &Measured<'_>) {
    let started = with(("rsv.outcome", "running"));
    eventually("starts and stops are measured", || {
        measured.count("rsv.process.start.duration", &started) >= Some(1)
            && measured.count("rsv.process.stop.duration", &APP) >= Some(1)
    });
    let histogram = ["rsv-agent", "histogram", "s"];
    measured.has_shape("rsv.process.start.duration", &started, histogram);
    let user = with(("cpu.mode", "user"));
    for (metric, attributes, kind, unit) in [
        ("process.cpu.time", &user[..], "sum", "s"),
        ("process.memory.usage", &APP, "up-down", "By"),
        ("process.memory.virtual", &APP, "up-down", "By"),
        ("process.thread.count", &APP, "up-down", "{thread}"),
        (
            "process.unix.file_descriptor.count",
            &APP,
            "up-down",
            "{file_descriptor}",
        ),
    ] {
        eventually(metric, || measured.value(metric, attributes).is_some());
        measured.has_shape(metric, attributes, ["rsv-agent", kind, unit]);
    }
    assert!(measured.value("process.memory.usage", &APP) > Some(4096.0));
    let attach = [
        ("rpc.method", "rsv.v1.AgentLink/Attach"),
        ("rpc.status_code", "OK"),
    ];
    measured.has_shape("rpc.client.call.duration", &attach, histogram);
}

fn agents_are_counted(fleet: &mut Fleet, measured: &Measured<'_>) {
    eventually("agents are counted", || {
        measured.agents("connected") == Some(2.0) && measured.agents("lost") == Some(0.0)
    });
    fleet.host("web02").agent().signal(Signal::SIGSTOP);
    eventually("the silent one is stale before it is lost", || {
        measured.has_been("rsv.controller.agents", ("rsv.agent.status", "stale"), 1.0)
    });
    fleet.host("web02").agent().signal(Signal::SIGCONT);
    eventually("it is heard again", || {
        measured.agents("connected") == Some(2.0)
    });
    let connected = [("rsv.agent.status", "connected")];
    let shape = ["rsv-controller", "up-down", "{agent}"];
    measured.has_shape("rsv.controller.agents", &connected, shape);
    let web01 = [("rsv.agent.id", "web01")];
    eventually("ages are measured", || {
        let age = measured.value("rsv.agent.heartbeat.age", &web01);
        age.is_some_and(|age| (0.0..60.0).contains(&age))
    });
    let shape = ["rsv-controller", "gauge", "s"];
    measured.has_shape("rsv.agent.heartbeat.age", &web01, shape);
}

fn operations_and_calls_are_measured(measured: &Measured<'_>) {
    let command = [
        ("rsv.command.kind", "restart"),
        ("rsv.command.outcome", "done"),
    ];
    eventually("the operation is measured", || {
        measured.count("rsv.command.duration", &command) == Some(1)
    });
    let shape = ["rsv-controller", "histogram", "s"];
    measured.has_shape("rsv.command.duration", &command, shape);
    let call = [
        ("rpc.system.name", "grpc"),
        ("rpc.method", "rsv.v1.Fleet/Act"),
        ("rpc.status_code", "OK"),
    ];
    let calls = point(measured.0, "rpc.server.call.duration", &call).expect("a point");
    assert_eq!((calls.kind, calls.unit.as_str()), ("histogram", "s"));
    assert_eq!(calls.bounds[..3], [0.005, 0.01, 0.025]);
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
    eventually("what it reads and writes is counted", || {
        written("write").is_some()
            && written("write") == told("write_bytes:")
            && written("read") == told("read_bytes:")
    });

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
