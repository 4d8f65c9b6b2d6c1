//! Everything that a listener is told which has subscribed to everything, by Supervisor 4.3 and by an agent with the
//! same configuration and the same calls: the events, their headers and their payloads are the same, in the same
//! order for each program. Where they would differ stands in agent/COMPATIBILITY.md: text beyond ASCII, and what is
//! logged around the marks of a communication.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use rsv_tests::binaries::{binary, checkout};
use rsv_tests::eventually::{PATIENCE, eventually};
use rsv_tests::python;
use rsv_tests::site::Site;

const PROGRAMS: &str = include_str!("events.conf");

/// What is done: a line is a method of the interface with its arguments; `await` with a program and the state that it
/// comes into; `hears` with a program and texts that are in an event of it; or several of those. What is told for a
/// line is complete before the next. No signal that Supervisor itself handles: a child that has not come to its program
/// yet would swallow it.
const SCRIPT: &str = "\
startProcess web\nstartProcess web\nsignalProcess web CONT\nstopProcess web\nstopProcess web\n\
startProcess web\nsignalProcess web KILL;await web EXITED\nstartProcess web\nsignalProcess web USR1;await web EXITED\n\
startProcess slow\nstopProcess slow\n\
startProcessGroup worker\nstopProcess worker:worker_0\nstopProcessGroup worker\n\
startProcess both:inner\nstartProcess both:*\n\
signalProcessGroup both USR1;await both:inner EXITED;await both:outer EXITED\nstartProcessGroup both\nstopProcess both:*\n\
startProcess fine;await fine EXITED\nstartProcess three;await three EXITED\nstartProcess expected;await expected EXITED\n\
startProcess once;await once FATAL\nstartProcess early;await early FATAL\n\
startProcess flaky;hears flaky tries:3;stopProcess flaky\n\
startProcess again;hears again tries:0 from_state:EXITED;await again RUNNING\nstopProcess again\n\
startProcess script;await script FATAL\nstartProcess bad\n\
startProcess stubborn;hears stubborn channel:stdout\nstopProcess stubborn\n\
startProcess talker\nsendProcessStdin talker one+;hears talker channel:stdout;hears talker channel:stderr\nstopProcess talker\n\
startProcess reporter\nsendProcessStdin reporter some+;hears reporter some\nstopProcess reporter\n\
startProcess reporter_of_errors\nsendProcessStdin reporter_of_errors other+;hears reporter_of_errors other\n\
stopProcess reporter_of_errors\n\
sendRemoteCommEvent kind data\nsendRemoteCommEvent kind\nsendRemoteCommEvent a+b c+d\n\
removeProcessGroup web\naddProcessGroup web\nremoveProcessGroup both\naddProcessGroup both\nremoveProcessGroup nope\n\
startProcess web\nremoveProcessGroup web\nreloadConfig\nstopProcess web";

/// A daemon with its listener.
struct Side {
    site: Site,
    /// Events that belong to lines before this one.
    read: usize,
    marks: usize,
}

impl Side {
    fn start(daemon: &Path) -> Self {
        let site = Site::start_with(daemon, PROGRAMS, |at| {
            let listener = checkout().join("tests/system/differential/events.py");
            fs::copy(listener, at.join("events.py")).expect("a copy");
            fs::write(at.join("script"), "#!/nonexistent\n").expect("a file");
            let runs = fs::Permissions::from_mode(0o755);
            fs::set_permissions(at.join("script"), runs).expect("its mode");
        });
        let socket = site.path("s.sock");
        eventually("the daemon answers", || {
            UnixStream::connect(&socket).is_ok()
        });
        Self {
            site,
            read: 0,
            marks: 0,
        }
    }

    /// Carries out a line, and gives what the listener was told meanwhile.
    fn run(&mut self, line: &str) -> Vec<Told> {
        for part in line.split(';') {
            let words: Vec<&str> = part.split(' ').collect();
            match words.as_slice() {
                ["await", name, state] => eventually(part, || self.is_in(name, state)),
                ["hears", name, texts @ ..] => eventually(part, || {
                    let told = self.told().into_iter();
                    let mut told = told.filter(|told| told.subject() == *name);
                    told.any(|told| texts.iter().all(|text| told.payload.contains(text)))
                }),
                [method, params @ ..] => drop(self.call(method, params)),
                [] => {}
            }
        }
        self.until_now()
    }

    /// What was told up to a mark of our own, which comes after all that has happened by now.
    fn until_now(&mut self) -> Vec<Told> {
        let mark = format!("type:mark\n{}", self.marks);
        self.marks += 1;
        let n = (self.marks - 1).to_string();
        self.call("sendRemoteCommEvent", &["mark", &n]);
        let mut end = 0;
        eventually("the listener hears the mark", || {
            let told = self.told();
            let found = told.iter().position(|told| told.payload == mark);
            end = found.unwrap_or_default();
            found.is_some()
        });
        let mut told = self.told();
        told.truncate(end);
        let told = told.split_off(self.read);
        self.read = end + 1;
        told
    }

    /// Everything that was told so far.
    fn told(&self) -> Vec<Told> {
        let text = fs::read_to_string(self.site.path("events")).unwrap_or_default();
        let whole = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        let told = whole.map(|line| {
            let (headers, payload): (String, String) =
                serde_json::from_str(line).expect("what the listener has noted");
            Told { headers, payload }
        });
        told.collect()
    }

    fn is_in(&self, name: &str, state: &str) -> bool {
        let info = self.call("getProcessInfo", &[name]);
        info.contains(&format!("<string>{state}</string>"))
    }

    /// Calls a method; `+` in an argument stands for the end of a line.
    fn call(&self, method: &str, params: &[&str]) -> String {
        let mut body = format!("<methodCall><methodName>supervisor.{method}</methodName><params>");
        for param in params {
            let param = param.replace('+', "&#10;");
            write!(
                body,
                "<param><value><string>{param}</string></value></param>"
            )
            .expect("memory");
        }
        body.push_str("</params></methodCall>");
        let length = body.len();
        let request = format!(
            "POST /RPC2 HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let mut stream =
            UnixStream::connect(self.site.path("s.sock")).expect("the daemon's socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }
}

/// An event as the listener has got it.
#[derive(Debug, Clone)]
struct Told {
    headers: String,
    payload: String,
}

impl Told {
    fn header(&self, name: &str) -> &str {
        let mut words = self.headers.split_whitespace();
        let value = words.find_map(|word| word.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("no {name} in {}", self.headers))
    }

    /// Whose it is: events of several at once come in the order in which they happen to be ready.
    fn subject(&self) -> String {
        let mut words = self.payload.split_whitespace();
        words
            .find_map(|word| word.strip_prefix("processname:"))
            .unwrap_or_default()
            .to_owned()
    }

    /// Without what cannot be the same: numbers of events and processes.
    fn settled(&self) -> String {
        let word = |word: &str| match word.split_once(':') {
            Some((name @ ("serial" | "poolserial" | "len"), _)) => format!("{name}:N"),
            Some(("pid", pid)) if pid != "0" => "pid:N".to_owned(),
            _ => word.to_owned(),
        };
        let (first, rest) = match self.payload.split_once('\n') {
            Some((first, rest)) => (first, format!("|{rest}")),
            None => (self.payload.as_str(), String::new()),
        };
        let words = |line: &str| line.split(' ').map(word).collect::<Vec<_>>().join(" ");
        format!(
            "{} {}{rest}",
            words(self.headers.trim_end_matches('\n')),
            words(first)
        )
    }

    fn is_tick(&self) -> bool {
        self.header("eventname").starts_with("TICK_")
    }
}

/// The events of a line, those of each program together.
fn in_order(told: &[Told]) -> Vec<String> {
    let mut by_subject: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for told in told.iter().filter(|told| !told.is_tick()) {
        by_subject
            .entry(told.subject())
            .or_default()
            .push(told.settled());
    }
    by_subject.into_values().flatten().collect()
}

/// Each event is whole, they are numbered without gaps, and ticks come when they should.
fn check_headers(told: &[Told]) {
    for (n, one) in told.iter().enumerate() {
        let number = n.to_string();
        assert_eq!(
            (one.header("serial"), one.header("poolserial")),
            (&*number, &*number),
            "{one:?}"
        );
        assert_eq!(one.header("len"), one.payload.len().to_string(), "{one:?}");
        if let Some(seconds) = one.header("eventname").strip_prefix("TICK_") {
            let when: u64 = one
                .payload
                .strip_prefix("when:")
                .and_then(|w| w.parse().ok())
                .expect("a moment");
            let seconds: u64 = seconds.parse().expect("a period");
            assert_eq!(when % seconds, 0, "{one:?}");
        }
    }
}

#[test]
fn a_listener_of_everything_is_told_the_same() {
    let supervisord = python::environment().join("bin/supervisord");
    let tell = |daemon: &Path| {
        let mut side = Side::start(daemon);
        let lines = ["await all RUNNING"].into_iter().chain(SCRIPT.split('\n'));
        let told: Vec<_> = lines
            .map(|line| (line, in_order(&side.run(line))))
            .collect();
        check_headers(&side.told());
        told
    };
    let (theirs, ours) = thread::scope(|scope| {
        let theirs = scope.spawn(|| tell(&supervisord));
        let ours = tell(&binary("rsv-agent"));
        (theirs.join().expect("Supervisor tells"), ours)
    });
    let mut differences = String::new();
    for ((line, theirs), (_, ours)) in theirs.iter().zip(&ours) {
        if theirs != ours {
            write!(
                differences,
                "{line}\n--- theirs\n{theirs:#?}\n--- ours\n{ours:#?}\n\n"
            )
            .expect("memory");
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
    let n_told: usize = ours.iter().map(|(_, told)| told.len()).sum();
    assert!(n_told > 100, "{n_told}");
}
