//! Contexts: installing, choosing, and files that must not be used.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use crate::{
    controller::Controller,
    fake::Answers,
    run::{Ran, rsv, run},
};

async fn plain(home: &Path, line: &str) -> Ran {
    let words: Vec<&str> = line.split_whitespace().collect();
    run(rsv(home), words).await
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn an_imported_context_is_in_use_and_for_its_owner_alone() {
    let controller = Controller::with(Answers::default()).await;
    let home = controller.path();
    let ran = plain(&home, "ctx import admin.context").await;
    assert_eq!(
        ran.result(),
        ("admin: installed, in use\n", 0),
        "{}",
        ran.err
    );
    let config = home.join(".config/rsv/config");
    assert_eq!(mode(&config), 0o600);
    assert_eq!(mode(config.parent().unwrap()), 0o700);
    let ran = plain(&home, "host ls").await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let ran = plain(&home, "ctx ls -o json").await;
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["contexts"][0]["current"], true);
    // Again: replaced, not added.
    plain(&home, "ctx import admin.context").await;
    let text = fs::read_to_string(&config).unwrap();
    assert_eq!(text.matches("[context:admin]").count(), 1, "{text}");
}

#[tokio::test]
async fn one_of_several_contexts_is_chosen() {
    let controller = Controller::with(Answers::default()).await;
    let home = controller.path();
    let text = fs::read_to_string(home.join("admin.context")).unwrap();
    let second = text.replace("[context:admin]", "[context:second]");
    fs::write(home.join("admin.context"), format!("{text}\n{second}")).unwrap();
    let ran = plain(&home, "ctx import admin.context").await;
    let out = "admin: installed, in use\nsecond: installed\n";
    assert_eq!(ran.result(), (out, 0), "{}", ran.err);
    for (line, schema) in [
        ("-o json ctx import admin.context", "rsv/ctx-import/v1"),
        ("-o json ctx ls", "rsv/ctx-ls/v1"),
        ("-o json ctx use admin", "rsv/ctx-use/v1"),
    ] {
        let ran = plain(&home, line).await;
        let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(value["schema"], schema, "{}", ran.err);
    }
    let ran = plain(&home, "ctx use second").await;
    assert_eq!(ran.result(), ("second: in use\n", 0), "{}", ran.err);
    let ran = plain(&home, "ctx ls").await;
    assert!(ran.out.contains("*  second"), "{}", ran.out);
    for (line, code) in [
        ("--context admin host ls", 0),
        ("--context ./admin.context host ls", 2),
        ("--context nope host ls", 2),
        ("ctx use nope", 2),
    ] {
        let ran = plain(&home, line).await;
        assert_eq!(ran.code, code, "{line}: {}", ran.err);
    }
}

#[tokio::test]
async fn a_context_of_another_fleet_takes_no_other_ones_place() {
    let (first, second) = (
        Controller::with(Answers::default()).await,
        Controller::with(Answers::default()).await,
    );
    let home = first.path();
    fs::copy(
        second.path().join("admin.context"),
        home.join("other.context"),
    )
    .unwrap();
    plain(&home, "ctx import admin.context").await;
    let config = home.join(".config/rsv/config");
    let before = fs::read_to_string(&config).unwrap();
    let ran = plain(&home, "ctx import other.context").await;
    assert_eq!(ran.result(), ("", 2), "{}", ran.err);
    let words = format!("for another fleet, at {}", first.address);
    assert!(ran.err.contains(&words), "{}", ran.err);
    assert_eq!(fs::read_to_string(&config).unwrap(), before);
    for name in ["a]b", "", "a/b"] {
        let words = ["ctx", "import", "other.context", "--as", name];
        assert_eq!(run(rsv(&home), words).await.code, 2, "{name:?}");
    }
    for (line, out) in [
        ("ctx import other.context --as prod", "prod: installed\n"),
        (
            "ctx import other.context --yes",
            "admin: installed, in use\n",
        ),
    ] {
        let ran = plain(&home, line).await;
        assert_eq!(ran.result(), (out, 0), "{line}: {}", ran.err);
    }
    assert_eq!(plain(&home, "--context prod host ls").await.code, 0);
}

#[tokio::test]
async fn files_that_cannot_be_used_are_refused_with_a_hint() {
    let controller = Controller::with(Answers::default()).await;
    let home = controller.path();
    let open = home.join("open.context");
    fs::copy(home.join("admin.context"), &open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    for (name, text) in [
        ("empty.context", ""),
        ("half.context", "[context:a]\ncontroller = x:1\n"),
        ("broken.context", "[context:a\n"),
        ("prose.context", "[context:a]\nThis is prose.\n"),
    ] {
        fs::write(home.join(name), text).unwrap();
        fs::set_permissions(home.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::write(home.join("s.conf"), "[program:x]\ncommand = cat\n").unwrap();
    fs::write(home.join("notes"), "Buy milk.\n").unwrap();
    fs::write(home.join("image"), [0xff, 0xd8, 0xff, 0xe0]).unwrap();
    for (line, words) in [
        ("--context ./open.context host ls", "open to everybody"),
        ("ctx import ./open.context", "open to everybody"),
        (
            "ctx import empty.context",
            "`empty.context` is not a context",
        ),
        ("ctx import s.conf", "`s.conf` is not a context"),
        ("ctx import notes", "`notes` is not a context"),
        ("ctx import image", "`image` is not a context"),
        ("ctx import half.context", "has no `ca`"),
        ("ctx import broken.context", "broken.context:1: a section's"),
        (
            "ctx import prose.context",
            "prose.context:2: not a `key = value` line",
        ),
        ("ctx import missing.context", "cannot read"),
        ("host ls", "no context"),
    ] {
        let ran = plain(&home, line).await;
        assert_eq!(ran.result(), ("", 2), "{line}: {}", ran.err);
        assert!(ran.err.contains(words), "{line}: {}", ran.err);
    }
    assert!(!home.join(".config").exists());
}

#[tokio::test]
async fn installed_contexts_that_are_not_ini_are_refused_with_file_and_line() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("config");
    fs::write(&config, "[rsv]\nnonsense\n").unwrap();
    let mut command = rsv(home.path());
    command.env("RSV_CONFIG", &config);
    let ran = run(command, ["ctx", "ls"]).await;
    assert_eq!(ran.result(), ("", 2));
    let words = format!("rsv: {}:2: not a `key = value` line\n", config.display());
    assert!(ran.err.starts_with(&words), "{}", ran.err);
}
