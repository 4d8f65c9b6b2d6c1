//! Event listeners as real processes of a real agent: what they are told, what happens when they do not
//! keep to the protocol, and that they outlive the agent.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "compat_support/agent.rs"]
mod agent;

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;

use agent::{Agent, command, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A listener that notes each message in `NAME.events`, and answers with what `NAME.answer` says or `OK`. It starts no
/// other program that it can do without: the agent's end does not wait for it for long.
const LISTENER: &str = r#"
at=$1
newline='
'
printf 'READY\n'
while read -r head; do
    length=${head##*len:}
    payload=
    [ "$length" = 0 ] || payload=$(dd bs=1 count="$length" 2>/dev/null)
    case $payload in
        *"$newline"*) payload=$(printf %s "$payload" | tr '\n' '~') ;;
    esac
    printf '%s|%s\n' "$head" "$payload" >>"$at.events"
    answer=OK
    [ -e "$at.answer" ] && answer=$(cat "$at.answer" 2>/dev/null || printf OK)
    printf 'RESULT %s\n%s' "${#answer}" "$answer"
    printf 'READY\n'
done
"#;

fn started(name: &str, events: &str, more: &str) -> Agent {
    let agent = Agent::start_with(
        &format!(
            "[eventlistener:{name}]\ncommand=/bin/sh {{at}}/listener {{at}}/{name}\nevents={events}\n\
             startsecs=0\nstderr_logfile={{at}}/{name}.err\n{more}"
        ),
        |at| fs::write(at.join("listener"), LISTENER).unwrap(),
    );
    eventually("the listener is up", || agent.is_in(name, "RUNNING"));
    agent
}

fn noted(at: &Path, name: &str) -> Vec<String> {
    let text = fs::read_to_string(at.join(format!("{name}.events"))).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Name and payload of what was noted.
fn heard(agent: &Agent, name: &str) -> Vec<String> {
    let words = |line: String| {
        let (head, payload) = line.split_once('|').unwrap();
        let event = head.split("eventname:").nth(1).unwrap();
        format!("{} {payload}", event.split(' ').next().unwrap())
    };
    let lines = noted(agent.directory.path(), name);
    lines.into_iter().map(words).collect()
}

fn main_log(agent: &Agent) -> String {
    fs::read_to_string(agent.directory.path().join("main.log")).unwrap()
}

fn pid(agent: &Agent, name: &str) -> String {
    pid_in(&agent.call("getProcessInfo", &[name]))
}

fn pid_in(info: &str) -> String {
    let pid = info.split("<name>pid</name>").nth(1).unwrap();
    let pid = pid.split("<int>").nth(1).unwrap();
    pid.split("</int>").next().unwrap().to_owned()
}

#[test]
fn a_listener_is_told_what_it_has_asked_for_in_order() {
    // A busy machine makes the listener slow, and nothing is to be dropped for that.
    let program = "buffer_size=100\n[program:app]\ncommand=/bin/sleep 1000\nautostart=false\nstartsecs=0\n\
                   [program:bad]\ncommand=/bin/false\nautostart=false\nstartretries=0\nstartsecs=60\n";
    let agent = started(
        "l",
        "PROCESS_STATE,REMOTE_COMMUNICATION,PROCESS_GROUP",
        program,
    );
    agent.call("startProcess", &["app"]);
    let app = pid(&agent, "app");
    agent.call("stopProcess", &["app"]);
    agent.call("startProcess", &["bad"]);
    eventually("it is given up", || agent.is_in("bad", "FATAL"));
    agent.call("sendRemoteCommEvent", &["kind", "some\ndata"]);
    agent.call("removeProcessGroup", &["app"]);
    agent.call("addProcessGroup", &["app"]);
    let words = |name, rest: &str| format!("processname:{name} groupname:{name} from_state:{rest}");
    let expected = [
        format!("PROCESS_STATE_STARTING {}", words("app", "STOPPED tries:0")),
        format!(
            "PROCESS_STATE_RUNNING {}",
            words("app", &format!("STARTING pid:{app}"))
        ),
        format!(
            "PROCESS_STATE_STOPPING {}",
            words("app", &format!("RUNNING pid:{app}"))
        ),
        format!(
            "PROCESS_STATE_STOPPED {}",
            words("app", &format!("STOPPING pid:{app}"))
        ),
        format!("PROCESS_STATE_STARTING {}", words("bad", "STOPPED tries:0")),
        format!("PROCESS_STATE_BACKOFF {}", words("bad", "STARTING tries:1")),
        format!("PROCESS_STATE_FATAL {}", words("bad", "BACKOFF")),
        "REMOTE_COMMUNICATION type:kind~some~data".to_owned(),
        "PROCESS_GROUP_REMOVED groupname:app".to_owned(),
        "PROCESS_GROUP_ADDED groupname:app".to_owned(),
    ];
    let told = || -> Vec<String> {
        let heard = heard(&agent, "l").into_iter();
        heard
            .filter(|line| !line.contains("processname:l "))
            .collect()
    };
    // The groups of the start come first: of those after its own, and of itself.
    eventually("all of it is heard", || {
        told().ends_with(&expected[9..]) && told().len() > 12
    });
    let told = told();
    assert_eq!(
        told[..3],
        [
            "PROCESS_GROUP_ADDED groupname:l",
            "PROCESS_GROUP_ADDED groupname:app",
            "PROCESS_GROUP_ADDED groupname:bad"
        ]
    );
    assert_eq!(told[3..], expected);
    let serials: Vec<u64> = noted(agent.directory.path(), "l")
        .iter()
        .map(|line| line.split("poolserial:").nth(1).unwrap())
        .map(|rest| rest.split(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(
        serials.windows(2).all(|pair| pair[0] < pair[1]),
        "{serials:?}"
    );
}

#[test]
fn last_words_come_before_the_end() {
    let script =
        "printf '<!--XSUPERVISOR:BEGIN-->said<!--XSUPERVISOR:END-->'; printf out; echo err >&2";
    let agent = started(
        "l",
        "PROCESS_STATE_EXITED,PROCESS_COMMUNICATION,PROCESS_LOG",
        &format!(
            "buffer_size=1000\n[program:e]\ncommand=/bin/sh -c \"{script}\"\nnumprocs=20\n\
             process_name=e%(process_num)d\nstartsecs=0\nautostart=false\nautorestart=false\n\
             stdout_capture_maxbytes=1000\nstdout_events_enabled=true\nstderr_events_enabled=true\n"
        ),
    );
    agent.call("startProcessGroup", &["e"]);
    let of_them = || -> Vec<String> {
        let heard = heard(&agent, "l").into_iter();
        heard.filter(|line| line.contains("groupname:e ")).collect()
    };
    eventually("all is told of all", || of_them().len() == 20 * 4);
    let heard = of_them();
    let mut late = Vec::new();
    for n in 0..20 {
        let name = format!("processname:e{n} ");
        let own = heard.iter().filter(|line| line.contains(&name));
        let kinds: Vec<&str> = own.map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(kinds.len(), 4, "{kinds:?}");
        if kinds[3] != "PROCESS_STATE_EXITED" {
            late.push(kinds.join(" "));
        }
    }
    // Whoever reads what they say is waited for, though not without end: a busy machine may be late with some. Without
    // the wait, nearly all are.
    assert!(late.len() < 10, "{late:?}");
}

#[test]
fn output_and_ticks_are_events() {
    let script = "printf 'a<!--XSUPERVISOR:BEGIN-->said<!--XSUPERVISOR:END-->b'; exec sleep 1000";
    let agent = started(
        "l",
        "PROCESS_COMMUNICATION,PROCESS_LOG_STDERR,TICK_5",
        &format!(
            "[program:app]\ncommand=/bin/sh -c \"{script}\"\nautostart=false\nstartsecs=0\n\
             stdout_capture_maxbytes=1KB\n[program:err]\ncommand=/bin/sh -c 'echo oops >&2; exec sleep 1000'\n\
             autostart=false\nstartsecs=0\nstderr_events_enabled=true\n"
        ),
    );
    agent.call("startProcess", &["app"]);
    agent.call("startProcess", &["err"]);
    let (app, err) = (pid(&agent, "app"), pid(&agent, "err"));
    let communication =
        format!("PROCESS_COMMUNICATION_STDOUT processname:app groupname:app pid:{app}~said");
    let log =
        format!("PROCESS_LOG_STDERR processname:err groupname:err pid:{err} channel:stderr~oops");
    eventually("all of it is heard", || {
        let heard = heard(&agent, "l");
        let has = |line: &String| heard.contains(line);
        has(&communication)
            && has(&log)
            && heard.iter().any(|line| line.starts_with("TICK_5 when:"))
    });
    let tick = heard(&agent, "l")
        .into_iter()
        .find(|line| line.starts_with("TICK_5"))
        .unwrap();
    let when: u64 = tick.split(':').nth(1).unwrap().parse().unwrap();
    assert_eq!(when % 5, 0);
}

#[test]
fn what_is_rejected_comes_again_and_a_full_buffer_is_told() {
    let agent = started("l", "REMOTE_COMMUNICATION", "buffer_size=2\n");
    let answer = agent.directory.path().join("l.answer");
    fs::write(&answer, "FAIL").unwrap();
    agent.call("sendRemoteCommEvent", &["t", "first"]);
    eventually("it is offered again", || {
        noted(agent.directory.path(), "l").len() >= 3
    });
    let lines = noted(agent.directory.path(), "l");
    assert_eq!(lines[0], lines[1]);
    eventually("that is told", || {
        main_log(&agent).contains("WARN l: event was rejected")
    });
    for event in ["a", "b", "c", "d"] {
        agent.call("sendRemoteCommEvent", &["t", event]);
    }
    eventually("the overflow is told", || {
        main_log(&agent).contains("ERRO pool l event buffer overflowed, discarding event ")
    });
    fs::remove_file(&answer).unwrap();
    eventually("the last of them is delivered", || {
        let heard = heard(&agent, "l");
        heard.last().is_some_and(|line| line.ends_with("type:t~d"))
    });
}

#[test]
fn a_listener_that_breaks_the_protocol_is_started_anew() {
    let agent = Agent::start(
        "[eventlistener:l]\ncommand=/bin/sh -c 'echo hello world; exec sleep 1000'\n\
         events=TICK_3600\nstartsecs=0\nautorestart=false\n",
    );
    eventually("it has been started anew", || {
        main_log(&agent).matches("spawned: 'l' with pid").count() >= 3
    });
    let log = main_log(&agent);
    assert!(log.contains(
        "WARN l: has entered the UNKNOWN state and will no longer receive events, this usually \
         indicates the process violated the eventlistener protocol"
    ));
    assert!(
        log.contains("l: is started anew, because it does not keep to the eventlistener protocol")
    );
}

#[test]
fn a_listener_outlives_the_agent_and_goes_on_with_the_next() {
    let mut agent = started("l", "REMOTE_COMMUNICATION", "");
    for round in 0..10 {
        let listener = pid(&agent, "l");
        let event = format!("round {round}");
        agent.call("sendRemoteCommEvent", &["t", &event]);
        if round % 2 == 0 {
            eventually("it is heard", || {
                heard(&agent, "l").iter().any(|line| line.ends_with(&event))
            });
        }
        agent.child.kill().unwrap();
        agent.child.wait().unwrap();
        agent.child = command(agent.directory.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        eventually("the next agent answers", || {
            agent.try_call("getState", &[]).is_some()
        });
        assert_eq!(pid(&agent, "l"), listener, "round {round}");
        let event = format!("after {round}");
        agent.call("sendRemoteCommEvent", &["t", &event]);
        eventually("the next agent is heard", || {
            heard(&agent, "l").iter().any(|line| line.ends_with(&event))
        });
    }
    let heard = heard(&agent, "l");
    for line in &heard {
        assert_eq!(
            heard.iter().filter(|other| *other == line).count(),
            1,
            "{line}"
        );
    }
}

/// Killed at any point of an event's way, the agent leaves a listener with which the next one can go on.
#[test]
fn no_kill_amid_events_leaves_a_listener_deaf() {
    let mut agent = started("l", "REMOTE_COMMUNICATION", "buffer_size=1000\n");
    let listener = pid(&agent, "l");
    for round in 0..12 {
        let before = noted(agent.directory.path(), "l").len();
        // More than it can take, so that it is never at rest; the kill comes a little later each time.
        for n in 0..20 {
            agent.call("sendRemoteCommEvent", &["t", &format!("{round}.{n}.")]);
        }
        eventually("it has begun with them", || {
            noted(agent.directory.path(), "l").len() > before + round / 3
        });
        agent.child.kill().unwrap();
        agent.child.wait().unwrap();
        agent.child = command(agent.directory.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        eventually("the next agent answers", || {
            agent.try_call("getState", &[]).is_some()
        });
        let event = format!("after {round}.");
        agent.call("sendRemoteCommEvent", &["t", &event]);
        eventually("the next agent is heard", || {
            heard(&agent, "l").iter().any(|line| line.ends_with(&event))
        });
    }
    assert_eq!(pid(&agent, "l"), listener);
    let mut heard = heard(&agent, "l");
    let all = heard.len();
    heard.sort();
    heard.dedup();
    assert_eq!(heard.len(), all, "nothing is told twice");
}

#[test]
fn a_flood_of_output_events_costs_no_listener_its_place() {
    let flood = "[program:flood]\ncommand=/bin/sh -c 'exec yes'\nstdout_logfile=NONE\n\
                 stdout_events_enabled=true\nautostart=false\nstartsecs=0\n";
    let agent = started("l", "REMOTE_COMMUNICATION", flood);
    let listener = pid(&agent, "l");
    agent.call("startProcess", &["flood"]);
    for n in 0..50 {
        agent.call("sendRemoteCommEvent", &["t", &format!("amid {n}.")]);
        eventually("it is heard", || {
            let heard = heard(&agent, "l");
            heard
                .last()
                .is_some_and(|line| line.ends_with(&format!("amid {n}.")))
        });
    }
    assert_eq!(pid(&agent, "l"), listener);
    assert!(!main_log(&agent).contains("UNKNOWN state"));
}

#[test]
fn a_listener_that_ends_by_itself_is_not_started_against_its_rules() {
    let agent = Agent::start(
        "[eventlistener:l]\ncommand=/bin/sh -c 'echo hello world'\nevents=TICK_3600\nstartsecs=0\n\
         autorestart=false\n",
    );
    eventually("it has ended", || agent.is_in("l", "EXITED"));
    eventually("its words are known", || {
        main_log(&agent).contains("l: has entered the UNKNOWN state")
    });
    // An answer comes after all that was asked before it.
    agent.call("sendRemoteCommEvent", &["t", "x"]);
    assert!(agent.is_in("l", "EXITED"));
}

/// Programs that are at rest, so that nothing but listeners is left to be stopped.
const AT_REST: &str = "[program:stopped]\ncommand=/bin/sleep 1000\nautostart=false\n\
                       [program:exited]\ncommand=/bin/true\nstartsecs=0\nautorestart=false\n\
                       [program:fatal]\ncommand=/bin/false\nstartretries=0\nstartsecs=60\n";

/// An agent whose programs are at rest and whose listener has come to rest, too.
fn at_rest() -> Agent {
    let agent = started("l", "SUPERVISOR_STATE_CHANGE,TICK_3600", AT_REST);
    for (name, state) in [
        ("stopped", "STOPPED"),
        ("exited", "EXITED"),
        ("fatal", "FATAL"),
    ] {
        eventually(name, || agent.is_in(name, state));
    }
    eventually("it has heard of the start", || {
        heard(&agent, "l") == ["SUPERVISOR_STATE_CHANGE_RUNNING "]
    });
    agent
}

/// The names of all events that were heard.
fn names(agent: &Agent) -> Vec<String> {
    let names = heard(agent, "l").into_iter();
    names.map(|line| line.trim_end().to_owned()).collect()
}

const TO_THE_END: [&str; 2] = [
    "SUPERVISOR_STATE_CHANGE_RUNNING",
    "SUPERVISOR_STATE_CHANGE_STOPPING",
];

#[test]
fn who_listens_hears_of_the_end_before_it_is_stopped() {
    let mut agent = at_rest();
    agent.call("shutdown", &[]);
    eventually("the agent ends", || agent.ended());
    assert_eq!(names(&agent), TO_THE_END);
}

/// Also when they end at once, and have to be killed.
#[test]
fn who_listens_hears_how_every_program_has_ended() {
    let programs = "[program:app]\ncommand=/bin/sleep 1000\nstartsecs=0\n\
                    [program:hard]\ncommand=/bin/sh -c 'trap \"\" TERM; echo up; sleep 1000'\nstopwaitsecs=1\n\
                    stdout_logfile={at}/hard.log\nstartsecs=0\n";
    let mut agent = started("l", "PROCESS_STATE_STOPPED", programs);
    eventually("it does not mind to be asked", || {
        fs::read_to_string(agent.directory.path().join("hard.log")).is_ok_and(|log| !log.is_empty())
    });
    agent.call("shutdown", &[]);
    eventually("the agent ends", || agent.ended());
    let heard = heard(&agent, "l");
    let of = |name: &str| format!("PROCESS_STATE_STOPPED processname:{name} ");
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(
        heard[0].starts_with(&of("app")) && heard[1].starts_with(&of("hard")),
        "{heard:?}"
    );
}

#[test]
fn who_listens_hears_of_an_end_by_a_signal() {
    let mut agent = at_rest();
    let pid = i32::try_from(agent.child.id()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    eventually("the agent ends", || agent.ended());
    assert_eq!(names(&agent), TO_THE_END);
}

#[test]
fn who_listens_hears_of_the_end_before_a_new_start() {
    let agent = at_rest();
    let listener = pid(&agent, "l");
    agent.call("restart", &[]);
    eventually("another one is up", || {
        let info = agent.try_call("getProcessInfo", &["l"]);
        info.is_some_and(|info| {
            info.contains("<string>RUNNING</string>") && pid_in(&info) != listener
        })
    });
    eventually("it has heard of the start", || names(&agent).len() > 2);
    assert_eq!(names(&agent)[..2], TO_THE_END);
    assert_eq!(names(&agent)[2..], TO_THE_END[..1]);
}

#[test]
fn a_listener_that_does_not_read_holds_up_nobody() {
    let deaf = "[eventlistener:deaf]\ncommand=/bin/sh -c 'echo READY; exec sleep 1000'\n\
                events=REMOTE_COMMUNICATION\nstartsecs=0\nbuffer_size=2\n\
                [program:app]\ncommand=/bin/sleep 1000\nautostart=false\nstartsecs=0\n";
    let agent = started("l", "PROCESS_STATE", deaf);
    eventually("the other is up", || agent.is_in("deaf", "RUNNING"));
    // Far more than its pipe takes, and then more than its pool keeps.
    let large = "x".repeat(1024 * 1024);
    for _ in 0..5 {
        agent.call("sendRemoteCommEvent", &["t", &large]);
    }
    eventually("its pool overflows", || {
        main_log(&agent).contains("pool deaf event buffer overflowed, discarding event")
    });
    agent.call("startProcess", &["app"]);
    eventually("who reads is told", || {
        let heard = heard(&agent, "l");
        heard
            .iter()
            .any(|line| line.contains("processname:app groupname:app from_state:STARTING"))
    });
    agent.call("stopProcess", &["deaf"]);
    assert!(agent.is_in("deaf", "STOPPED"));
}

/// Programs that outlive the listeners that have started them, ended with the test.
struct Holders<'a>(&'a Path);

impl Holders<'_> {
    fn pids(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.0.join("holders")).unwrap_or_default();
        let pids = text.lines().filter_map(|line| line.parse().ok());
        // Anything else would be a whole group, and perhaps that of the test.
        pids.filter(|pid| *pid > 0).collect()
    }

    /// Whether the last one has the beginning of an event, which it does not read.
    fn has_event(&self) -> bool {
        let Some(Ok(pipe)) = self.pids().last().map(|pid| {
            let mut options = fs::OpenOptions::new();
            options.read(true).custom_flags(libc::O_NONBLOCK);
            options.open(format!("/proc/{pid}/fd/3"))
        }) else {
            return false;
        };
        rustix::io::ioctl_fionread(&pipe).unwrap() > 0
    }
}

impl Drop for Holders<'_> {
    fn drop(&mut self) {
        for pid in self.pids() {
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
    }
}

#[test]
fn an_event_is_written_no_longer_than_its_process_lives_whoever_has_the_other_end() {
    let agent = Agent::start_with(
        "[eventlistener:l]\ncommand=/bin/sh {at}/l.sh {at}\nevents=REMOTE_COMMUNICATION\nstartsecs=0\n\
         autorestart=true\n",
        |at| {
            let script = "exec 3<&0\nsetsid sleep 1000 >/dev/null 2>&1 &\necho $! >>\"$1/holders\"\n\
                          echo READY\nexec sleep 1000\n";
            fs::write(at.join("l.sh"), script).unwrap();
        },
    );
    let holders = Holders(agent.directory.path());
    // Far more than the pipe takes.
    agent.call("sendRemoteCommEvent", &["t", &"x".repeat(1024 * 1024)]);
    let held = || {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", agent.child.id()));
        descriptors.unwrap().count()
    };
    eventually("it is being written", || holders.has_event());
    let first = held();
    for n in 2..=8 {
        agent.call("signalProcess", &["l", "KILL"]);
        eventually("it is being written to the next one", || {
            holders.pids().len() == n && holders.has_event()
        });
    }
    // A connection of this test may still be there at either moment.
    eventually("the ends of former ones are closed", || held() <= first + 2);
}

#[test]
fn an_event_is_given_to_another_process_of_the_pool_when_its_own_ends() {
    let agent = Agent::start_with(
        "[eventlistener:l]\ncommand=/bin/sh {at}/listener {at}/l%(process_num)s\nnumprocs=2\n\
         process_name=l%(process_num)s\nevents=REMOTE_COMMUNICATION\nstartsecs=0\nautostart=false\nautorestart=false\n",
        |at| {
            // The one who gets an event first waits for its end with it.
            let first =
                "[ \"$at\" != \"${at%l0}l0\" ] || { read -r head; >\"$at.has\"; exec sleep 1000; }";
            let script = LISTENER.replace(
                "printf 'READY\\n'\nwhile",
                &format!("printf 'READY\\n'\n{first}\nwhile"),
            );
            fs::write(at.join("listener"), script).unwrap();
        },
    );
    // The other one comes later, so that it cannot be the one.
    agent.call("startProcess", &["l:l0"]);
    agent.call("sendRemoteCommEvent", &["t", "one"]);
    eventually("the first one has an event", || {
        agent.directory.path().join("l0.has").exists()
    });
    agent.call("startProcess", &["l:l1"]);
    agent.call("sendRemoteCommEvent", &["t", "two"]);
    eventually("the second one has the other event", || {
        noted(agent.directory.path(), "l1").len() == 1
    });
    agent.call("signalProcess", &["l:l0", "KILL"]);
    eventually("it is given on", || {
        noted(agent.directory.path(), "l1").len() == 2
    });
    let lines = noted(agent.directory.path(), "l1");
    assert!(
        lines[1].contains("serial:0 pool:l poolserial:0"),
        "{lines:?}"
    );
}
