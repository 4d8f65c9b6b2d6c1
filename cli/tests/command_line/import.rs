//! `import`: what a file of Supervisor's meets here, and the way over.

use crate::run::{Ran, rsv, run};

const FILE: &str = "\
[supervisord]
[inet_http_server]
port = *:9001
[program:web]
command = /bin/sleep 1000
startsecs = 0
stdout_logfile = NONE
";

async fn import(text: &str, arguments: &[&str]) -> Ran {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("a.conf"), text).unwrap();
    run(rsv(home.path()), arguments).await
}

#[tokio::test]
async fn what_has_to_be_changed_comes_first_and_is_the_exit_code() {
    let ran = import(FILE, &["import", "a.conf"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    let expected = [
        "a.conf: 1 program in 1 group\n\nTo change first:\n  a.conf:3: [inet_http_server] port: an inet server",
        "What will be different:\n  a.conf:3: [inet_http_server] port: state-changing links",
        "  a.conf:6: [program:web] startsecs: `startsecs=0` and ends at once\n    Supervisor: ",
        "    hint: set autorestart=false",
        "more differences do not depend on the file",
        "  [agent]\n  name = ",
        "/a.conf\n  rsv-agent check -c ",
        "systemctl disable --now supervisor\n",
        "And back:",
    ];
    let mut rest = ran.out.as_str();
    for part in expected {
        let at = rest.find(part);
        assert!(at.is_some(), "{part:?} is not in {rest}");
        rest = &rest[at.unwrap_or_default() + part.len()..];
    }
}

#[tokio::test]
async fn a_file_that_is_taken_as_it_is_exits_with_zero() {
    let text = FILE.replace("*:9001", "127.0.0.1:9001") + "[agent]\nname = web01\n";
    let ran = import(&text, &["-c", "a.conf", "import"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let is_asked = ran.out.contains("To change first") || ran.out.contains("[agent]");
    assert!(!is_asked, "{}", ran.out);
}

#[tokio::test]
async fn json_has_each_finding_with_its_place_and_the_commands() {
    let ran = import(FILE, &["-o", "json", "import", "a.conf"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    let object: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(object["schema"], "rsv/import/v1");
    assert_eq!(
        (&object["processes"], &object["refused"]),
        (&1.into(), &true.into())
    );
    let first = &object["findings"][0];
    assert_eq!(
        (&first["severity"], &first["line"]),
        (&"refused".into(), &3.into())
    );
    assert_eq!(first["key"], "port");
    let section = object["agent_section"].as_str().unwrap();
    assert!(section.starts_with("[agent]\nname = "), "{section}");
    let commands = object["commands"].as_array().unwrap().iter();
    let commands: Vec<&str> = commands.map(|command| command.as_str().unwrap()).collect();
    assert!(
        commands[0].starts_with("printf '\\n[agent]"),
        "{commands:?}"
    );
    assert!(
        commands[1].starts_with("rsv-agent check -c /"),
        "{commands:?}"
    );
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_wrong_usage() {
    for arguments in [
        &["import", "none.conf"][..],
        &["import"],
        &["-A", "import", "a.conf"],
    ] {
        let ran = import(FILE, arguments).await;
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (2, ""),
            "{arguments:?}: {ran:?}"
        );
        assert!(!ran.err.is_empty());
    }
    let ran = import("command = x\n", &["import", "a.conf"]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
}
