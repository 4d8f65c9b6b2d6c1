//! Programs start as they were asked for, or not at all.

use std::io::Write;

use rsv_keeper::message::{Channel, Credentials, Refused, Rlimit, Scope, Stage, Stdin};

use crate::executable::write_executable;
use crate::rig::{
    Program, Rig, children_of, eventually, is_running, read_to_end, run, stat_fields, write_line,
};

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn refusal(program: &Program) -> (Stage, i32) {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let before = rig.descriptors();
    let Refused { run, stage, errno } = agent.try_spawn(program).unwrap_err();
    assert_eq!(run, program.spawn.run);
    agent.settle();
    assert_eq!(
        rig.descriptors(),
        before,
        "descriptors are left of a refused program"
    );
    eventually("nothing is left of a refused program", || {
        rig.children().is_empty().then_some(())
    });
    (Stage::try_from(stage).unwrap(), errno)
}

#[test]
fn a_program_is_told_with_its_identity_and_its_streams() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let mut running = agent.spawn(&Program::shell(
        "app",
        "read x; echo out $x; echo err >&2; exit 3",
    ));
    let fields = stat_fields(running.pid()).unwrap();
    assert_eq!(running.held.start_ticks.to_string(), fields[19]);
    assert_eq!(fields[1], rig.pid().to_string(), "the keeper is the parent");
    assert_eq!(
        fields[2],
        running.pid().to_string(),
        "it leads its own group"
    );
    assert_eq!(
        fields[3],
        stat_fields(rig.pid()).unwrap()[3],
        "it stays in the keeper's session"
    );
    assert!(running.held.spawned_at_ns > 0);
    write_line(&mut running.stdin, "hello");
    assert_eq!(running.output(), "out hello\n");
    assert_eq!(read_to_end(running.stderr.as_mut().unwrap()), b"err\n");
    let exited = agent.finish(&running.run());
    assert_eq!((exited.code, exited.signal), (Some(3), None));
    assert!(exited.at_ns >= running.held.spawned_at_ns);
    assert!(exited.max_rss_kib > 0);
    agent.settle();
    assert!(rig.connect_again(agent).held.is_empty());
}

#[test]
fn a_death_by_signal_is_told_as_that() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    for (attempt, signal) in [(1, libc::SIGTERM), (2, libc::SIGKILL), (3, 34)] {
        let script = format!("kill -{signal} $$; sleep 60");
        let running = agent.spawn(&Program::shell("app", &script).attempt(attempt));
        let exited = agent.finish(&running.run());
        assert_eq!((exited.code, exited.signal), (None, Some(signal)));
    }
}

#[test]
fn environment_directory_umask_and_arguments_are_exactly_as_asked() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let directory = rig.directory.path().canonicalize().unwrap();
    let program =
        Program::shell("app", "env -u PWD | sort; pwd -P; umask; echo $0 \"$1\"").spec(|spec| {
            spec.env = [&b"PATH=/usr/bin:/bin"[..], b"B=2 3", b"A=\xff"]
                .map(Vec::from)
                .into();
            spec.directory = Some(directory.to_str().unwrap().into());
            spec.umask = Some(0o27);
            spec.argv.extend([b"zero".to_vec(), b"a  b".to_vec()]);
        });
    let mut running = agent.spawn(&program);
    let output = read_to_end(running.stdout.as_mut().unwrap());
    let output = String::from_utf8_lossy(&output).replace("_=/usr/bin/env\n", "");
    let expected = "A=\u{fffd}\nB=2 3\nPATH=/usr/bin:/bin\n";
    assert_eq!(
        output,
        format!("{expected}{}\n0027\nzero a  b\n", directory.display())
    );
    agent.finish(&running.run());
}

#[test]
fn a_relative_executable_is_looked_for_in_the_directory() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let script = rig.path("run.sh");
    write_executable(&script, "#!/bin/sh\necho here\n");
    let mut running = agent.spawn(&Program::shell("app", "").spec(|spec| {
        spec.executable = b"./run.sh".into();
        spec.directory = Some(rig.directory.path().to_str().unwrap().into());
    }));
    assert_eq!(running.output(), "here\n");
}

#[test]
fn a_program_gets_the_limits_asked_for_and_otherwise_those_the_keeper_was_started_with() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap();
    let mut running = agent.spawn(&Program::shell("app", "ulimit -Sn"));
    assert_eq!(running.output(), format!("{own}\n"));
    let limited = Program::shell("limited", "ulimit -Sn; ulimit -Hn; ulimit -Sc").spec(|spec| {
        spec.rlimits = vec![
            Rlimit {
                resource: libc::RLIMIT_NOFILE,
                soft: 50,
                hard: 60,
            },
            Rlimit {
                resource: libc::RLIMIT_CORE,
                soft: 0,
                hard: 0,
            },
        ];
    });
    assert_eq!(agent.spawn(&limited).output(), "50\n60\n0\n");
    let adjustment = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let mut running = agent.spawn(&Program::shell("oom", "cat /proc/self/oom_score_adj"));
    assert_eq!(running.output(), adjustment);
}

#[test]
fn a_program_becomes_its_user_with_exactly_the_groups_given() {
    if !is_root() {
        return;
    }
    let rig = Rig::start();
    let mut agent = rig.agent();
    let program =
        Program::shell("app", "id -u; id -g; id -G; grep CapEff /proc/self/status").spec(|spec| {
            let groups = vec![65534, 4711];
            spec.credentials = Some(Credentials {
                uid: 65534,
                gid: 65534,
                groups,
            });
        });
    let output = agent.spawn(&program).output();
    assert_eq!(
        output,
        "65534\n65534\n65534 4711\nCapEff:\t0000000000000000\n"
    );
    // The keeper can still be looked at by its own user.
    assert!(rig.descriptors() > 0);
    assert_eq!(
        agent.spawn(&Program::shell("root", "id -u")).output(),
        "0\n"
    );
}

#[test]
fn signals_are_neither_blocked_nor_ignored_in_a_program() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let mut running = agent.spawn(&Program::shell(
        "app",
        "grep -E '^Sig(Blk|Ign)' /proc/self/status",
    ));
    for line in running.output().lines() {
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
}

#[test]
fn a_program_inherits_its_three_streams_and_nothing_else() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    for index in 0..20 {
        agent.spawn(&Program::shell(&format!("other{index}"), "sleep 600"));
    }
    let mut running = agent.spawn(&Program::shell("app", "cd /proc/$$/fd; echo *"));
    // The shell opens the directory itself to list it.
    let output = running.output();
    let open: Vec<_> = output.split_ascii_whitespace().collect();
    assert_eq!(open[..3], ["0", "1", "2"]);
    assert!(open.len() <= 4, "{output}");
}

#[test]
fn standard_input_may_be_given_or_nothing_and_standard_error_may_be_merged() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    std::fs::File::from(writer).write_all(b"given").unwrap();
    let mut given = Program::shell("given", "cat; echo err >&2").spec(|spec| {
        spec.stdin = Stdin::Given.into();
        spec.merge_stderr = true;
    });
    given.fds.push(reader);
    let mut running = agent.spawn(&given);
    // What was given is kept for the next agent.
    assert!(running.stdin.is_some() && running.stderr.is_none());
    assert_eq!(running.output(), "givenerr\n");
    let null = Program::shell("null", "cat; readlink /proc/self/fd/0");
    let mut running = agent.spawn(&null.spec(|spec| spec.stdin = Stdin::Null.into()));
    assert!(running.stdin.is_none());
    assert_eq!(running.output(), "/dev/null\n");
}

#[test]
fn what_the_program_is_to_read_ends_when_agent_and_keeper_close_it() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let mut running = agent.spawn(&Program::shell("app", "cat; echo end"));
    write_line(&mut running.stdin, "line");
    running.stdin = None;
    agent.close_stream(&running.run(), Channel::Stdin);
    assert_eq!(running.output(), "line\nend\n");
}

#[test]
fn a_refused_request_leaves_nothing_behind() {
    let unacceptable = (Stage::Request, libc::EINVAL);
    let shell = || Program::shell("app", "true");
    assert_eq!(
        refusal(&shell().spec(|spec| spec.argv.clear())),
        unacceptable
    );
    assert_eq!(
        refusal(&shell().spec(|spec| spec.env.push(b"\0".into()))),
        unacceptable
    );
    assert_eq!(refusal(&shell().spec(|spec| spec.stdin = 77)), unacceptable);
    let missing = refusal(&shell().spec(|spec| spec.stdin = Stdin::Given.into()));
    assert_eq!(missing, (Stage::Request, libc::EMFILE));
}

#[test]
fn each_step_that_fails_is_named_with_its_error() {
    let directory = tempfile::tempdir().unwrap();
    let plain = directory.path().join("plain");
    std::fs::write(&plain, "no program").unwrap();
    let no_format = directory.path().join("format");
    write_executable(&no_format, "no program");
    let exec = |path: &std::path::Path| {
        let path = path.to_str().unwrap().into();
        refusal(&Program::shell("app", "").spec(|spec| spec.executable = path))
    };
    assert_eq!(
        exec(&directory.path().join("missing")),
        (Stage::Exec, libc::ENOENT)
    );
    assert_eq!(exec(&plain), (Stage::Exec, libc::EACCES));
    assert_eq!(exec(&no_format), (Stage::Exec, libc::ENOEXEC));
    let huge = Program::shell("app", "").spec(|spec| spec.argv.push(vec![b'x'; 1 << 20]));
    assert_eq!(refusal(&huge), (Stage::Exec, libc::E2BIG));
    let lost = Program::shell("app", "").spec(|spec| spec.directory = Some(b"/missing".into()));
    assert_eq!(refusal(&lost), (Stage::Directory, libc::ENOENT));
    let limited = Program::shell("app", "").spec(|spec| {
        spec.rlimits = vec![Rlimit {
            resource: 4711,
            soft: 1,
            hard: 1,
        }];
    });
    assert_eq!(refusal(&limited), (Stage::Rlimit, libc::EINVAL));
    let lost = Program::shell("app", "").spec(|spec| spec.cgroup = Some(b"/missing".into()));
    assert_eq!(refusal(&lost), (Stage::Cgroup, libc::ENOENT));
    let no_cgroup = Program::shell("app", "").spec(|spec| spec.cgroup = Some(b"/tmp".into()));
    assert_eq!(refusal(&no_cgroup).0, Stage::Cgroup);
    if !is_root() {
        let credentials = Credentials {
            uid: 0,
            gid: 0,
            groups: vec![0],
        };
        let program = Program::shell("app", "").spec(|spec| spec.credentials = Some(credentials));
        assert_eq!(refusal(&program), (Stage::Groups, libc::EPERM));
    }
}

#[test]
fn a_slot_has_one_live_process_whatever_is_asked_for() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let running = agent.spawn(&Program::shell("app", "sleep 600"));
    let refused = agent
        .try_spawn(&Program::shell("app", "sleep 600"))
        .unwrap_err();
    assert_eq!(
        (refused.stage(), refused.errno),
        (Stage::Request, libc::EEXIST)
    );
    assert_eq!(refused.run, run("app", 1));
    let refused = agent
        .try_spawn(&Program::shell("app", "sleep 600").attempt(2))
        .unwrap_err();
    assert_eq!(
        (refused.stage(), refused.errno),
        (Stage::Request, libc::EBUSY)
    );
    assert!(is_running(running.pid()));
    assert_eq!(children_of(rig.pid()).len(), 1);
    assert_eq!(
        agent.signal(&running.run(), libc::SIGKILL, Scope::Process),
        0
    );
    agent.unacknowledged_exit_of(&running.run());
    agent.spawn(&Program::shell("app", "sleep 600").attempt(2));
}

#[test]
fn five_hundred_programs_leave_no_descriptor_and_no_zombie() {
    let rig = Rig::start();
    let mut agent = rig.agent();
    let before = rig.descriptors();
    for attempt in 0..500 {
        let program = Program::shell("app", "").attempt(attempt).spec(|spec| {
            spec.executable = b"/bin/true".into();
        });
        let running = agent.spawn(&program);
        assert_eq!(agent.finish(&running.run()).code, Some(0));
    }
    agent.settle();
    assert_eq!(rig.descriptors(), before);
    assert_eq!(rig.children(), []);
}
