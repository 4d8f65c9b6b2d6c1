//! Running the built command.

use std::{
    ffi::OsStr,
    path::Path,
    process::{Command, Stdio},
};

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its exit code.
    pub(crate) code: i32,
    /// Its standard output.
    pub(crate) out: String,
    /// Its standard error.
    pub(crate) err: String,
}

impl Ran {
    /// Output and code together, for comparisons.
    pub(crate) fn result(&self) -> (&str, i32) {
        (&self.out, self.code)
    }
}

/// The command in an environment of its own: nothing of the user's contexts, UTC, no terminal.
pub(crate) fn rsv(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rsv"));
    for variable in ["RSV_CONTEXT", "RSV_CONFIG", "XDG_CONFIG_HOME", "NO_COLOR"] {
        command.env_remove(variable);
    }
    command
        .env("HOME", home)
        .env("TZ", "UTC")
        .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
        .current_dir(home)
        .stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) async fn run<S: AsRef<OsStr>>(
    mut command: Command,
    arguments: impl IntoIterator<Item = S>,
) -> Ran {
    command.args(arguments);
    let ran = tokio::task::spawn_blocking(move || command.output());
    let output = ran.await.unwrap().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
