//! Every method, over a fake agent.

use std::sync::atomic::Ordering;

use rsv_proto::wire::Refusal;

use super::super::fake::Fake;
use super::table::TABLE;
use super::*;

struct Rig {
    fake: Arc<Fake>,
    rpc: Rpc,
    directory: tempfile::TempDir,
}

fn rig_of(build: impl FnOnce(Fake) -> Fake) -> Rig {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.log"), "hello\n").unwrap();
    std::fs::write(directory.path().join("main.log"), "main \x1b\n").unwrap();
    let fake = Arc::new(build(Fake::new(directory.path())));
    let supervision: Arc<dyn Supervision> = Arc::clone(&fake) as _;
    let rpc = Rpc::new(supervision, vec!["supervisor".to_owned()]);
    Rig {
        fake,
        rpc,
        directory,
    }
}

fn rig() -> Rig {
    rig_of(|fake| fake)
}

impl Rig {
    /// The result in a short notation, or the fault's number and text.
    async fn call(&self, method: &str, params: Vec<Value>) -> String {
        let method = method.to_owned();
        match self.rpc.call(Call { method, params }).await {
            Ok(value) => shown(&value),
            Err(fault) => format!("FAULT {} {}", fault.code.number(), fault.text()),
        }
    }

    async fn supervisor(&self, method: &str, params: Vec<Value>) -> String {
        self.call(&format!("supervisor.{method}"), params).await
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Int(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Double(number) => number.to_string(),
        Value::String(text) => format!("{text:?}"),
        Value::Bytes(bytes) => format!("{bytes:?}"),
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(shown).collect();
            format!("[{}]", values.join(", "))
        }
        Value::Struct(members) => {
            let member = |(name, value): &(std::borrow::Cow<'_, str>, Value)| {
                format!("{name}: {}", shown(value))
            };
            let members: Vec<_> = members.iter().map(member).collect();
            format!("{{{}}}", members.join(", "))
        }
    }
}

#[tokio::test]
async fn there_are_the_methods_that_supervisor_has() {
    let rig = rig();
    let listed = rig.call("system.listMethods", Vec::new()).await;
    let names = "addProcessGroup clearAllProcessLogs clearLog clearProcessLog clearProcessLogs \
        getAPIVersion getAllConfigInfo getAllProcessInfo getIdentification getPID getProcessInfo \
        getState getSupervisorVersion getVersion readLog readMainLog readProcessLog \
        readProcessStderrLog readProcessStdoutLog reloadConfig removeProcessGroup restart \
        sendProcessStdin sendRemoteCommEvent shutdown signalAllProcesses signalProcess \
        signalProcessGroup startAllProcesses startProcess startProcessGroup stopAllProcesses \
        stopProcess stopProcessGroup tailProcessLog tailProcessStderrLog tailProcessStdoutLog";
    let mut expected: Vec<_> = names
        .split_whitespace()
        .map(|name| format!("{:?}", format!("supervisor.{name}")))
        .collect();
    for name in ["listMethods", "methodHelp", "methodSignature", "multicall"] {
        expected.push(format!("{:?}", format!("system.{name}")));
    }
    assert_eq!(TABLE.len(), 41);
    assert_eq!(listed, format!("[{}]", expected.join(", ")));
}

#[tokio::test]
async fn every_method_of_the_table_is_found_explained_and_counts_its_arguments() {
    let rig = rig();
    for row in TABLE {
        let namespace = match row.method.is_of_system() {
            true => "system",
            false => "supervisor",
        };
        assert_eq!(row.method.row().name, row.name);
        let name = format!("{namespace}.{}", row.name);
        let signature = rig
            .call("system.methodSignature", vec![name[..].into()])
            .await;
        assert_eq!(signature.matches(',').count(), row.takes.len(), "{name}");
        let help = rig.call("system.methodHelp", vec![name[..].into()]).await;
        assert!(help.contains("@return"), "{name}");
        let too_many = vec![Value::Int(0); row.takes.len() + 1];
        let fault = rig.call(&name, too_many).await;
        assert_eq!(fault, "FAULT 2 INCORRECT_PARAMETERS", "{name}");
        if row.takes.len() > row.optional {
            let too_few = rig.call(&name, Vec::new()).await;
            assert_eq!(too_few, "FAULT 2 INCORRECT_PARAMETERS", "{name}");
        }
    }
}

#[tokio::test]
async fn a_name_that_is_not_in_the_table_is_unknown() {
    let rig = rig();
    for name in [
        "supervisor.nope",
        "foo.bar",
        "supervisor.a.b",
        "supervisor._update",
        "getState",
        "system.getState",
        "supervisor.listMethods",
        "",
        ".",
    ] {
        let fault = rig.call(name, Vec::new()).await;
        assert_eq!(fault, "FAULT 1 UNKNOWN_METHOD", "{name}");
    }
    let fault = rig.call("system.methodSignature", vec!["x.y".into()]).await;
    assert_eq!(fault, "FAULT 4 SIGNATURE_UNSUPPORTED");
}

#[tokio::test]
async fn facts_of_the_daemon_are_told() {
    let rig = rig();
    for (method, answer) in [
        ("getAPIVersion", "\"3.0\"".to_owned()),
        ("getVersion", "\"3.0\"".to_owned()),
        ("getIdentification", "\"fake\"".to_owned()),
        (
            "getState",
            "{statecode: 1, statename: \"RUNNING\"}".to_owned(),
        ),
        ("getPID", std::process::id().to_string()),
        (
            "getSupervisorVersion",
            format!("{:?}", env!("CARGO_PKG_VERSION")),
        ),
    ] {
        assert_eq!(rig.supervisor(method, Vec::new()).await, answer, "{method}");
    }
    assert_eq!(rig.supervisor("shutdown", Vec::new()).await, "true");
    assert_eq!(rig.supervisor("restart", Vec::new()).await, "true");
    assert_eq!(rig.fake.asked(), ["Exit", "Restart"]);
}

#[tokio::test]
async fn a_process_is_described_by_the_keys_that_clients_know() {
    let rig = rig();
    let info = rig.supervisor("getProcessInfo", vec!["b".into()]).await;
    assert!(info.starts_with("{name: \"b\", group: \"b\", start: 0, stop: 0, now: "));
    assert!(info.contains("state: 0, statename: \"STOPPED\", spawnerr: \"\", exitstatus: 0"));
    assert!(
        info.ends_with("pid: 0, description: \"Not started\"}"),
        "{info}"
    );
    let info = rig.supervisor("getProcessInfo", vec!["a".into()]).await;
    let log = rig.directory.path().join("a.log");
    let logs = format!("logfile: {log:?}, stdout_logfile: {log:?}, stderr_logfile: \"\", pid: 42");
    assert!(info.contains(&logs), "{info}");
    let all = rig.supervisor("getAllProcessInfo", Vec::new()).await;
    assert_eq!(all.matches("{name:").count(), 4);
    for name in ["zz", "a:*", "grp", "grp:zz", ""] {
        let fault = rig.supervisor("getProcessInfo", vec![name.into()]).await;
        assert_eq!(fault, format!("FAULT 10 BAD_NAME: {name}"));
    }
}

#[tokio::test]
async fn the_configuration_is_told_in_the_types_that_clients_know() {
    let rig = rig();
    let all = rig.supervisor("getAllConfigInfo", Vec::new()).await;
    let keys = "autostart directory uid command exitcodes group group_prio inuse killasgroup name \
        process_prio redirect_stderr startretries startsecs stdout_capture_maxbytes \
        stdout_events_enabled stdout_logfile stdout_logfile_backups stdout_logfile_maxbytes \
        stdout_syslog stopsignal stopwaitsecs stderr_capture_maxbytes stderr_events_enabled \
        stderr_logfile stderr_logfile_backups stderr_logfile_maxbytes stderr_syslog serverurl";
    for key in keys.split_whitespace() {
        let places = [format!("{{{key}: "), format!(", {key}: ")];
        let count: usize = places.iter().map(|place| all.matches(place).count()).sum();
        assert_eq!(count, 4, "{key}");
    }
    assert!(all.starts_with(
        "[{autostart: true, directory: \"none\", uid: \"none\", command: \"/bin/cat\", \
         exitcodes: [0], group: \"a\", group_prio: 2, inuse: true,"
    ));
    assert!(all.contains("stderr_logfile: \"none\""));
}

#[tokio::test]
async fn one_process_is_acted_on_and_what_is_refused_is_said() {
    let rig = rig_of(|fake| {
        fake.refusing("a", Refusal::AlreadyStarted, "")
            .refusing("b", Refusal::NoFile, "can't find command '/x'")
            .refusing("grp:one", Refusal::AbnormalTermination, "")
            .refusing("grp:two", Refusal::SpawnError, "why")
    });
    for (name, fault) in [
        ("a", "FAULT 60 ALREADY_STARTED: a"),
        ("b", "FAULT 20 NO_FILE: can't find command '/x'"),
        ("grp:one", "FAULT 40 ABNORMAL_TERMINATION: grp:one"),
        ("grp:two", "FAULT 50 SPAWN_ERROR: grp:two"),
        ("zz", "FAULT 10 BAD_NAME: zz"),
        ("zz:*", "FAULT 10 BAD_NAME: zz:*"),
    ] {
        assert_eq!(
            rig.supervisor("startProcess", vec![name.into()]).await,
            fault
        );
    }
    let none = rig.supervisor("startProcess", vec![5.into()]).await;
    assert_eq!(none, "FAULT 2 INCORRECT_PARAMETERS");
}

#[tokio::test]
async fn without_waiting_only_what_is_settled_at_once_is_a_fault() {
    let refused = |fake: Fake| fake.refusing("b", Refusal::AbnormalTermination, "");
    let params = || vec!["b".into(), false.into()];
    let slow = rig_of(|fake| refused(fake).slow());
    assert_eq!(slow.supervisor("startProcess", params()).await, "true");
    let waiting = slow.supervisor("startProcess", vec!["b".into()]).await;
    assert_eq!(waiting, "FAULT 40 ABNORMAL_TERMINATION: b");
    let quick = rig_of(refused);
    let at_once = quick.supervisor("startProcess", params()).await;
    assert_eq!(at_once, "FAULT 40 ABNORMAL_TERMINATION: b");
}

#[tokio::test]
async fn many_are_acted_on_in_the_order_of_starting_and_each_has_its_result() {
    let rig = rig_of(|fake| fake.refusing("b", Refusal::NoFile, "no"));
    let results = rig.supervisor("startAllProcesses", Vec::new()).await;
    assert_eq!(
        results,
        "[{name: \"b\", group: \"b\", status: 20, description: \"NO_FILE: no\"}, \
         {name: \"two\", group: \"grp\", status: 80, description: \"OK\"}]"
    );
    let results = rig.supervisor("stopAllProcesses", vec![false.into()]).await;
    assert_eq!(results.matches("status: 80").count(), 2);
    rig.supervisor("stopProcess", vec!["grp:*".into()]).await;
    rig.supervisor("signalProcessGroup", vec!["grp".into(), "hup".into()])
        .await;
    assert_eq!(
        rig.fake.asked(),
        [
            "start b grp:two",
            "stop a grp:one",
            // What rests may have left something.
            "stop b grp:two",
            "stop grp:one",
            "stop grp:two",
            "signal 1 grp:one"
        ]
    );
    let none = rig
        .supervisor("stopProcessGroup", vec!["empty".into()])
        .await;
    assert_eq!(none, "[]");
    let fault = rig.supervisor("stopProcessGroup", vec!["zz".into()]).await;
    assert_eq!(fault, "FAULT 10 BAD_NAME: zz");
}

#[tokio::test]
async fn a_process_that_came_to_the_wanted_state_meanwhile_has_no_result() {
    let rig = rig_of(|fake| fake.refusing("b", Refusal::AlreadyStarted, ""));
    let results = rig.supervisor("startProcessGroup", vec!["b".into()]).await;
    assert_eq!(results, "[]");
}

#[tokio::test]
async fn signals_are_checked_before_the_state() {
    let rig = rig();
    for (name, signal, answer) in [
        ("a", Value::from("NOPE"), "FAULT 11 BAD_SIGNAL: NOPE"),
        ("b", "NOPE".into(), "FAULT 11 BAD_SIGNAL: NOPE"),
        ("zz", "NOPE".into(), "FAULT 10 BAD_NAME: zz"),
        ("b", "HUP".into(), "FAULT 70 NOT_RUNNING: b"),
        ("a", "0".into(), "true"),
        ("a", "SIGCONT".into(), "true"),
        ("a", 18.into(), "true"),
        ("a", "99999".into(), "FAULT 11 BAD_SIGNAL: 99999"),
    ] {
        let params = vec![name.into(), signal];
        assert_eq!(rig.supervisor("signalProcess", params).await, answer);
    }
    assert_eq!(rig.fake.asked(), ["signal 18 a", "signal 18 a"]);
    let bad = rig.supervisor("signalAllProcesses", vec!["X".into()]).await;
    assert_eq!(
        bad.matches("status: 11, description: \"BAD_SIGNAL: X\"")
            .count(),
        2
    );
}

#[tokio::test]
async fn logs_are_read_as_windows_of_bytes_and_cleared() {
    let rig = rig();
    let log = |name: &str, offset: i64, length: i64| -> Vec<Value> {
        vec![name.into(), offset.into(), length.into()]
    };
    for (method, params, answer) in [
        ("readProcessLog", log("a", 1, 3), "\"ell\""),
        ("readProcessStdoutLog", log("a", -3, 0), "\"lo\\n\""),
        (
            "readProcessStdoutLog",
            log("a", -3, 1),
            "FAULT 3 BAD_ARGUMENTS",
        ),
        ("readProcessStderrLog", log("a", 0, 0), "FAULT 20 NO_FILE"),
        ("tailProcessLog", log("a", 0, 3), "[\"lo\\n\", 6, true]"),
        ("tailProcessStderrLog", log("a", 0, 3), "[\"\", 0, false]"),
        (
            "readLog",
            vec![0.into(), "0".into()],
            "\"main \u{241b}\\n\"",
        ),
        (
            "readMainLog",
            vec![0.into(), "x".into()],
            "FAULT 2 INCORRECT_PARAMETERS",
        ),
        ("clearLog", Vec::new(), "true"),
        ("clearProcessLogs", vec!["a".into()], "true"),
        (
            "clearProcessLog",
            vec!["zz".into()],
            "FAULT 10 BAD_NAME: zz",
        ),
    ] {
        assert_eq!(rig.supervisor(method, params).await, answer, "{method}");
    }
    let missing = rig.supervisor("readProcessLog", log("b", 0, 0)).await;
    assert!(missing.starts_with("FAULT 20 NO_FILE: /"), "{missing}");
    let unmade = rig.supervisor("readProcessLog", log("grp:one", 0, 0)).await;
    assert_eq!(unmade, "\"\"");
    assert_eq!(rig.fake.asked(), ["clear main log", "clear a"]);
    let failing = rig_of(|fake| fake.refusing("b", Refusal::Other, ""));
    let all = failing.supervisor("clearAllProcessLogs", Vec::new()).await;
    assert!(all.starts_with(
        "[{name: \"b\", group: \"b\", status: 30, description: \"FAILED: b\"}, {name: \"a\""
    ));
}

#[tokio::test]
async fn groups_events_and_input_are_handed_on() {
    let rig = rig();
    for (method, params, answer) in [
        ("reloadConfig", vec![], "[[[\"new\"], [], [\"old\"]]]"),
        ("addProcessGroup", vec!["new".into()], "true"),
        (
            "addProcessGroup",
            vec!["a".into()],
            "FAULT 90 ALREADY_ADDED: a",
        ),
        (
            "addProcessGroup",
            vec!["zz".into()],
            "FAULT 10 BAD_NAME: zz",
        ),
        ("removeProcessGroup", vec!["b".into()], "true"),
        (
            "removeProcessGroup",
            vec!["a".into()],
            "FAULT 91 STILL_RUNNING: a",
        ),
        ("sendProcessStdin", vec!["a".into(), "hi".into()], "true"),
        (
            "sendProcessStdin",
            vec!["b".into(), "x".into()],
            "FAULT 70 NOT_RUNNING: b",
        ),
        (
            "sendProcessStdin",
            vec!["a".into(), 5.into()],
            "FAULT 2 INCORRECT_PARAMETERS: 5",
        ),
        ("sendRemoteCommEvent", vec!["t".into(), "d".into()], "true"),
    ] {
        assert_eq!(rig.supervisor(method, params).await, answer, "{method}");
    }
    assert_eq!(rig.fake.asked(), ["stdin a hi", "stdin b x", "event t d"]);
}

#[tokio::test]
async fn while_everything_is_being_stopped_only_events_are_taken() {
    let rig = rig();
    rig.fake.is_ending.store(true, Ordering::Relaxed);
    for row in TABLE.iter().filter(|row| !row.method.is_of_system()) {
        let params = row.takes.iter().map(|_| "x".into()).collect();
        let answer = rig.supervisor(row.name, params).await;
        match row.name {
            "sendRemoteCommEvent" => assert_eq!(answer, "true"),
            name => assert_eq!(answer, "FAULT 6 SHUTDOWN_STATE", "{name}"),
        }
    }
}

#[tokio::test]
async fn a_multicall_answers_each_call_in_order() {
    let rig = rig();
    let call = |members: Vec<(&'static str, Value)>| {
        let members = members.into_iter();
        Value::Struct(members.map(|(name, value)| (name.into(), value)).collect())
    };
    let params = |value: Value| ("params", Value::Array(vec![value]));
    let calls = vec![
        call(vec![("methodName", "supervisor.getAPIVersion".into())]),
        call(vec![
            ("methodName", "supervisor.getProcessInfo".into()),
            params("zz".into()),
        ]),
        call(vec![("methodName", "system.multicall".into())]),
        call(vec![params("x".into())]),
        "no struct".into(),
        call(vec![("methodName", "x.y".into())]),
    ];
    let answer = rig.call("system.multicall", vec![calls.into()]).await;
    assert_eq!(
        answer,
        "[\"3.0\", {faultCode: 10, faultString: \"BAD_NAME: zz\"}, {faultCode: 2, faultString: \
         \"INCORRECT_PARAMETERS: Recursive system.multicall forbidden\"}, {faultCode: 2, \
         faultString: \"INCORRECT_PARAMETERS: No methodName\"}, {faultCode: 2, faultString: \
         \"INCORRECT_PARAMETERS: No methodName\"}, {faultCode: 1, faultString: \"UNKNOWN_METHOD\"}]"
    );
}

#[tokio::test]
async fn a_multicall_ends_when_its_answers_are_too_large() {
    let rig = rig();
    let log = vec![b'x'; 4 << 20];
    std::fs::write(rig.directory.path().join("main.log"), log).unwrap();
    let one = Value::Struct(vec![
        ("methodName".into(), "supervisor.readLog".into()),
        ("params".into(), Value::Array(vec![0.into(), 0.into()])),
    ]);
    let call = Call {
        method: "system.multicall".to_owned(),
        params: vec![Value::Array(vec![one; 20])],
    };
    let Value::Array(results) = rig.rpc.call(call).await.unwrap() else {
        panic!("no array");
    };
    let is_refused = |result: &&Value| result.member("faultCode") == Some(&30.into());
    let refused = results.iter().filter(is_refused).count();
    assert_eq!((results.len(), refused), (20, 4));
}

#[tokio::test]
async fn without_the_interface_there_are_only_the_methods_about_methods() {
    let rig = rig();
    let supervision: Arc<dyn Supervision> = Arc::clone(&rig.fake) as _;
    let bare = Rpc::new(supervision, Vec::new());
    let call = |method: &str| Call {
        method: method.to_owned(),
        params: Vec::new(),
    };
    let fault = bare.call(call("supervisor.getState")).await.unwrap_err();
    assert_eq!(fault.text(), "UNKNOWN_METHOD");
    let listed = bare.call(call("system.listMethods")).await.unwrap();
    assert_eq!(shown(&listed).matches("system.").count(), 4);
}
