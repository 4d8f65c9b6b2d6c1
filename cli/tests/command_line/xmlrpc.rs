//! The verbs at a server of XML-RPC: supervisorctl's calls in its order, its lines, its exit codes.

use rsv_proto::xmlrpc::Value;

use crate::{
    agent::Agent,
    fake,
    remote::Remote,
    run::{Ran, rsv, run},
};

fn members(members: &[(&'static str, Value)]) -> Value {
    let members = members.iter().cloned();
    Value::Struct(members.map(|(name, value)| (name.into(), value)).collect())
}

fn info(group: &'static str, name: &'static str, state: &'static str, pid: i64) -> Value {
    members(&[
        ("group", group.into()),
        ("name", name.into()),
        ("statename", state.into()),
        ("pid", pid.into()),
        ("start", 1_000.into()),
        ("now", 1_061.into()),
    ])
}

fn done(group: &'static str, name: &'static str, status: i64) -> Value {
    members(&[
        ("group", group.into()),
        ("name", name.into()),
        ("status", status.into()),
        ("description", "OK".into()),
    ])
}

fn names(names: &[&'static str]) -> Value {
    Value::Array(names.iter().map(|name| (*name).into()).collect())
}

/// A Supervisor with `up`, `off` and the group `g`.
fn supervisor(method: &str, params: &[Value]) -> Result<Value, (i32, &'static str)> {
    let first = match params.first() {
        Some(Value::String(name)) => name.as_str(),
        _ => "",
    };
    Ok(match (method, first) {
        ("getAllProcessInfo", _) => Value::Array(vec![
            info("g", "g_0", "RUNNING", 7),
            info("off", "off", "STARTING", 0),
            info("up", "up", "RUNNING", 42),
        ]),
        ("getSupervisorVersion", _) => "4.3.0".into(),
        ("getPID", _) => 99.into(),
        ("getVersion", _) => "3.0".into(),
        (_, "nope") => return Err((10, "BAD_NAME: nope")),
        ("startProcess", "up") => return Err((60, "ALREADY_STARTED: up")),
        ("stopProcess" | "signalProcess", "off") => return Err((70, "NOT_RUNNING: off")),
        ("stopProcessGroup", "odd") => Value::Array(vec![done("odd", "odd", 30)]),
        ("stopProcessGroup", _) => Value::Array(vec![done("g", "g_0", 80)]),
        ("startProcessGroup", _) => Value::Array(vec![done("g", "g_0", 50)]),
        ("reloadConfig", _) => Value::Array(vec![Value::Array(vec![
            names(&["new"]),
            names(&["g"]),
            names(&["gone", "odd"]),
        ])]),
        ("readProcessStdoutLog", _) | ("readLog", _) => "one\ntwo\n".into(),
        ("readProcessStderrLog", _) => return Err((20, "NO_FILE")),
        ("shutdown" | "restart", _) => return Err((6, "SHUTDOWN_STATE")),
        _ => true.into(),
    })
}

async fn at(remote: &Remote, line: &str) -> Ran {
    let home = tempfile::tempdir().unwrap();
    let words = ["-s", &remote.url].into_iter();
    run(rsv(home.path()), words.chain(line.split(' '))).await
}

async fn check(remote: &Remote, line: &str, out: &str, code: i32) {
    let ran = at(remote, line).await;
    assert_eq!(ran.result(), (out, code), "{line}: {}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_and_codes_are_supervisorctls() {
    let remote = Remote::tcp("", supervisor).await;
    for (line, out, code) in [
        (
            "status up nope",
            "nope: ERROR (no such process)\n\
             up                               RUNNING   pid 42, uptime 0:01:01\n",
            4,
        ),
        ("pid up", "42\n", 0),
        ("pid", "99\n", 0),
        ("version", "4.3.0\n", 0),
        ("start up", "up: ERROR (already started)\n", 0),
        ("start g:*", "g:g_0: ERROR (spawn error)\n", 7),
        ("start nope:*", "nope: ERROR (no such group)\n", 2),
        (
            "stop nope off",
            "nope: ERROR (no such process)\noff: ERROR (not running)\n",
            1,
        ),
        (
            "restart off g:*",
            "off: ERROR (not running)\ng:g_0: stopped\noff: started\ng:g_0: ERROR (spawn error)\n",
            7,
        ),
        ("signal HUP off", "off: ERROR (not running)\n", 7),
        ("wait nope --for running", "nope: no such program\n", 10),
        (
            "-n stop up nope",
            "would stop up\nnope: ERROR (no such process)\n",
            1,
        ),
        ("help tail more", "*** No help on tail more\n", 0),
        ("", "", 0),
        ("clear up", "up: cleared\n", 0),
        ("tail up", "one\ntwo\n\n", 0),
        ("tail --lines 1 up", "two\n\n", 0),
        ("tail up stderr", "up: ERROR (no log file)\n", 1),
        ("tail -f up", "==> Press Ctrl-C to exit <==\none\ntwo\n", 0),
        ("tail -f nope", "==> Press Ctrl-C to exit <==\n", 0),
        ("maintail", "one\ntwo\n\n", 0),
        (
            "reread",
            "g: changed\ngone: disappeared\nnew: available\nodd: disappeared\n",
            0,
        ),
        ("add up", "up: added process group\n", 0),
        ("remove nope", "ERROR: no such process/group: nope\n", 1),
        ("reload", "ERROR: already shutting down\n", 1),
        ("shutdown", "ERROR: already shutting down\n", 0),
    ] {
        check(&remote, line, out, code).await;
    }
}

/// A Supervisor that shuts down refuses every call, the one for its version too.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_at_its_end_is_told_in_supervisorctls_words() {
    let remote = Remote::tcp("", |_, _| Err((6, "SHUTDOWN_STATE"))).await;
    for (line, out, code) in [
        ("shutdown", "ERROR: already shutting down\n", 0),
        ("reload", "ERROR: already shutting down\n", 1),
        ("update", "ERROR: already shutting down\n", 1),
        ("reread", "ERROR: supervisor shutting down\n", 1),
        ("avail", "ERROR: supervisor shutting down\n", 1),
        ("add x", "ERROR: shutting down\n", 1),
        ("status", "", 1),
    ] {
        check(&remote, line, out, code).await;
    }
    check(&remote, &format!("open {}", remote.url), "", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_makes_supervisorctls_calls_in_its_order() {
    let remote = Remote::tcp("", supervisor).await;
    let out = "ERROR: no such group: nope\n";
    check(&remote, "update nope", out, 1).await;
    let before = remote.asked().len();
    let out = "gone: stopped\ngone: removed process group\n\
               odd: stopped\nodd: has problems; not removing\n\
               g: stopped\ng: updated process group\nnew: added process group\n";
    check(&remote, "update", out, 1).await;
    assert_eq!(
        remote.asked()[before..],
        [
            "reloadConfig",
            "getAllProcessInfo",
            "stopProcessGroup gone",
            "removeProcessGroup gone",
            "stopProcessGroup odd",
            "stopProcessGroup g",
            "removeProcessGroup g",
            "addProcessGroup g",
            "addProcessGroup new",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_asked_for_and_given() {
    // u:pw
    let remote = Remote::tcp("Basic dTpwdw==", supervisor).await;
    let wanted = "Server requires authentication\n";
    check(&remote, "pid up", wanted, 1).await;
    check(&remote, "-u u -p bad status", wanted, 1).await;
    check(&remote, "-u u -p pw pid up", "42\n", 0).await;
    let home = tempfile::tempdir().unwrap();
    let text = format!(
        "[supervisord]\n[supervisorctl]\nserverurl = {}\nusername = u\npassword = pw\n",
        remote.url
    );
    std::fs::write(home.path().join("s.conf"), text).unwrap();
    let ran = run(rsv(home.path()), ["-c", "s.conf", "pid", "up"]).await;
    assert_eq!(ran.result(), ("42\n", 0), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_prompt_asks_who_is_there_and_goes_on_with_it() {
    // u:pw
    let remote = Remote::tcp("Basic dTpwdw==", supervisor).await;
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("lines"), "u\nbad\nu\npw\npid up\n").unwrap();
    let mut prompt = rsv(home.path());
    let lines = std::fs::File::open(home.path().join("lines")).unwrap();
    prompt.stdin(std::process::Stdio::from(lines));
    let ran = run(prompt, ["-s", &remote.url]).await;
    let question = "Server requires authentication\nUsername:Password:\n";
    let begin = format!("{question}{question}g:g_0 ");
    assert!(ran.out.starts_with(&begin), "{}", ran.out);
    assert!(ran.out.contains("supervisor> 42\n"), "{}", ran.out);
    assert!(!ran.err.contains("pw"), "{}", ran.err);
    // Nobody answers any more.
    std::fs::write(home.path().join("lines"), "u\nbad\n").unwrap();
    let mut prompt = rsv(home.path());
    let lines = std::fs::File::open(home.path().join("lines")).unwrap();
    prompt.stdin(std::process::Stdio::from(lines));
    let ran = run(prompt, ["-s", &remote.url]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.ends_with("supervisor> \n"), "{}", ran.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_interface_is_said_to_be_one() {
    let old = |method: &str, _: &[Value]| match method {
        "getVersion" => Ok("1.0".into()),
        _ => Err((1, "UNKNOWN_METHOD")),
    };
    let remote = Remote::tcp("", old).await;
    let ran = at(&remote, "pid").await;
    assert_eq!(ran.code, 5);
    assert!(
        ran.out.contains("the remote version is 1.0."),
        "{}",
        ran.out
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agents_own_socket_comes_first_and_the_server_is_what_is_left() {
    let agent = Agent::absent();
    let remote = Remote::unix(&agent.path().join("sup.sock"), supervisor);
    let ran = agent.rsv("version").await;
    assert_eq!(ran.result(), ("4.3.0\n", 0), "{}", ran.err);
    // What is spoken at a socket is found out by a look at it.
    check(&remote, "version", "4.3.0\n", 0).await;
    let events = agent.rsv("events").await;
    assert_eq!(events.code, 5);
    assert!(events.err.contains("tells no events"), "{}", events.err);
    drop(remote);

    let agent = Agent::with(fake::Answers::default());
    let remote = Remote::unix(&agent.path().join("sup.sock"), supervisor);
    agent.rsv("status").await;
    assert_eq!(remote.asked(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_get_one_object_over_xmlrpc_too() {
    let remote = Remote::tcp("", supervisor).await;
    for line in [
        "status",
        "start up",
        "stop up",
        "restart up",
        "signal HUP up",
        "pid up",
        "tail up",
        "clear up",
        "maintail",
        "reread",
        "update",
        "add up",
        "remove up",
        "avail",
        "reload",
        "shutdown",
        "version",
    ] {
        let home = tempfile::tempdir().unwrap();
        let words = ["-s", &remote.url, "-o", "json"];
        let words = words.into_iter().chain(line.split(' '));
        let ran = run(rsv(home.path()), words).await;
        let told: serde_json::Value = serde_json::from_str(&ran.out)
            .unwrap_or_else(|error| panic!("{line}: {error}: {ran:?}"));
        let verb = line.split(' ').next().unwrap();
        assert_eq!(told["schema"], format!("rsv/{verb}/v1"), "{line}");
    }
    for line in ["fg up", "open http://127.0.0.1:1"] {
        let home = tempfile::tempdir().unwrap();
        let words = ["-s", &remote.url, "-o", "json"];
        let ran = run(rsv(home.path()), words.into_iter().chain(line.split(' '))).await;
        assert_eq!(ran.result(), ("", 2), "{line}: {}", ran.err);
        assert!(ran.err.contains("no form for scripts"), "{}", ran.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_is_nothing_that_a_supervisor_knows_of() {
    let remote = Remote::tcp("", supervisor).await;
    let home = tempfile::tempdir().unwrap();
    let words = ["-s", &remote.url, "tail", "--since", "10m", "up"];
    let ran = run(rsv(home.path()), words).await;
    assert_eq!(ran.result(), ("", 2), "{}", ran.err);
    let words = "over XML-RPC nothing is known of when output was written";
    assert!(ran.err.contains(words), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_told_is_refused_before_anything_is_shown() {
    let remote = Remote::tcp("", supervisor).await;
    let home = tempfile::tempdir().unwrap();
    for line in ["tail -f --lines 2 up", "maintail -f --lines 2"] {
        let words = ["-s", &remote.url].into_iter().chain(line.split(' '));
        let ran = run(rsv(home.path()), words).await;
        assert_eq!(ran.result(), ("", 2), "{line}: {}", ran.err);
        assert!(ran.err.contains("its last 1024 bytes"), "{}", ran.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_truncated_at_a_supervisor_is_followed_on() {
    let remote = Remote::tcp("", supervisor).await;
    let home = tempfile::tempdir().unwrap();
    let words = ["-s", &remote.url, "tail", "-f", "cut"];
    let ran = run(rsv(home.path()), words).await;
    let out = "==> Press Ctrl-C to exit <==\none\ntwo\nthree\n";
    assert_eq!((ran.result(), &*ran.err), ((out, 0), ""));
    let asked = "/logtail/cut/stdout";
    assert_eq!(remote.asked(), [asked, asked]);
}
