//! What a program is started as, from its configuration to the process: user, groups, limits, mask,
//! directory, environment; and what is said when it cannot be.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "hub/rig.rs"]
mod rig;

use std::path::Path;

use rig::executable::write_executable;
use rig::{Agent, Rig, eventually};
use rsv_agent::spec::{Ambience, AutoLogs, Program, load};
use rsv_config::host::SystemHost;
use rsv_config::{Overrides, Strictness, load_str};
use rsv_proto::wire::{ProcessState, Refusal};

/// The programs of a configuration, for an agent with this environment.
fn programs(text: &str, environment: &[(&str, &str)]) -> Vec<Program> {
    let file = Path::new("/etc/agent.conf");
    let strictness = Strictness::Lenient;
    let host = SystemHost::new();
    let loaded = load_str(text, file, &Overrides::default(), strictness, &host);
    let environment = environment.iter().map(|(n, v)| (n.into(), v.into()));
    let ambience = Ambience {
        environment: environment.collect(),
        directory: "/".into(),
    };
    let config = loaded.unwrap().config;
    load(&config, ambience, &AutoLogs::of(&config))
}

/// One program that says what it finds and goes on; what it said.
async fn said(rig: &Rig, options: &str, script: &str, environment: &[(&str, &str)]) -> String {
    std::fs::write(
        rig.path("say.sh"),
        format!("{script}\necho end\nexec sleep 1000\n"),
    )
    .unwrap();
    let at = rig.directory.path().display();
    let text = format!(
        "[supervisord]\nchildlogdir={at}\npidfile={at}/s.pid\n[program:app]\ncommand=/bin/sh {at}/say.sh\n\
         startsecs=0\nredirect_stderr=true\nstdout_logfile={at}/app.log\n{options}"
    );
    let agent = rig.agent(programs(&text, environment)).await;
    eventually("all is said", || rig.log("app").ends_with("end\n")).await;
    agent.stop().await;
    rig.log("app").trim_end_matches("end\n").to_owned()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What a command of this machine prints.
fn printed(command: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(command).args(arguments).output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

#[tokio::test]
async fn limits_mask_and_directory_are_as_configured() {
    let rig = Rig::with_keeper();
    let options = "umask=027\ndirectory=/usr\nrlimit_nofile=123:456\nrlimit_core=0\n";
    let script = "umask; pwd; ulimit -Sn; ulimit -Hn; ulimit -c; ls /proc/self/fd | wc -l";
    let said = said(&rig, options, script, &[]).await;
    assert_eq!(said, "0027\n/usr\n123\n456\n0\n4\n");
}

#[tokio::test]
async fn another_user_comes_with_all_its_groups_and_the_agents_home() {
    if !is_root() {
        return;
    }
    for user in ["nobody", "daemon"] {
        let rig = Rig::with_keeper();
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(rig.directory.path(), everybody).unwrap();
        let script = "id -u; id -G; echo $HOME $USER; grep CapEff /proc/self/status";
        let home = [("HOME", "/of/the/agent"), ("USER", "agent")];
        let said = said(&rig, &format!("user={user}\n"), script, &home).await;
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines[0], printed("id", &["-u", user]).trim());
        let sorted = |text: &str| {
            let mut numbers: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
            numbers.sort();
            numbers
        };
        assert_eq!(sorted(lines[1]), sorted(&printed("id", &["-G", user])));
        assert_eq!(lines[2], "/of/the/agent agent");
        assert!(lines[3].ends_with("\t0000000000000000"), "{said}");
    }
}

#[tokio::test]
async fn names_and_configured_values_are_in_the_environment_and_nothing_of_ours_leaks() {
    let rig = Rig::with_keeper();
    let options = "environment=A=\"own\",SUPERVISOR_ENABLED=\"0\"\n";
    let environment = [("A", "agent"), ("B", "agent"), ("PATH", "/usr/bin:/bin")];
    let script = "env | grep -v -e ^PWD= -e ^OLDPWD= -e ^SHLVL= -e ^_= -e ^RSV_ | sort";
    let said = said(&rig, options, script, &environment).await;
    let expected = "A=own\nB=agent\nPATH=/usr/bin:/bin\nSUPERVISOR_ENABLED=0\n\
        SUPERVISOR_GROUP_NAME=app\nSUPERVISOR_PROCESS_NAME=app\n";
    assert_eq!(said, expected);
}

async fn refusal(agent: &Agent, name: &str) -> (Refusal, String) {
    let result = agent.start(name).await;
    (result.refusal(), result.detail)
}

#[tokio::test]
async fn what_cannot_be_executed_is_named_as_it_is_written() {
    let rig = Rig::with_keeper();
    let at = rig.directory.path();
    write_executable(&at.join("garbage"), "\u{1}\u{2}");
    write_executable(&at.join("nowhere"), "#!/nonexistent/interpreter\n");
    let at = at.display();
    let program = |name: &str, command: &str, options: &str| {
        format!(
            "[program:{name}]\ncommand={command}\nautostart=false\nstdout_logfile=NONE\nstderr_logfile=NONE\n{options}\n"
        )
    };
    let text = [
        program("garbage", "./garbage -x", &format!("directory={at}")),
        program("nowhere", &format!("{at}/nowhere"), ""),
        program("lost", "/bin/sleep 9", "directory=/nonexistent"),
        program("missing", "no-such-command", ""),
        program("quote", "/bin/sh 'x", ""),
    ];
    let text = format!("[supervisord]\n{}", text.concat());
    let agent = rig.agent(programs(&text, &[("PATH", "/bin")])).await;
    for (name, kind, why) in [
        (
            "garbage",
            Refusal::SpawnError,
            "couldn't exec ./garbage: ENOEXEC",
        ),
        (
            "nowhere",
            Refusal::SpawnError,
            &format!("couldn't exec {at}/nowhere: ENOENT"),
        ),
        (
            "lost",
            Refusal::SpawnError,
            "couldn't chdir to /nonexistent: ENOENT",
        ),
        (
            "missing",
            Refusal::NoFile,
            "can't find command 'no-such-command'",
        ),
        (
            "quote",
            Refusal::NotExecutable,
            "can't parse command \"/bin/sh 'x\": No closing quotation",
        ),
    ] {
        let (refusal, detail) = refusal(&agent, name).await;
        assert_eq!(refusal, kind, "{name}");
        if refusal == Refusal::SpawnError {
            assert_eq!(detail, why, "{name}");
        }
    }
    let shown = agent.until_state("garbage", ProcessState::Backoff).await;
    assert_eq!(shown.spawn_error, "couldn't exec ./garbage: ENOEXEC");
    agent.stop().await;
}
