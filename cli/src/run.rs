//! One run, from the words on the command line to the exit code.

use std::{ffi::OsString, process::ExitCode};

use rsv_proto::wire::control_operation_request::Control;
use tracing::Instrument as _;

use crate::{
    args::{Arguments, Verb},
    command, complete,
    error::{Exit, Failure},
    invocation::Invocation,
    shell, telemetry,
    ui::{Ui, typed_line},
};

/// Runs what the process was started with.
pub(crate) fn run() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    if let Some(answered) = complete::asked(&words) {
        return answered;
    }
    let arguments = match Arguments::read(words.clone()) {
        Ok(arguments) => arguments,
        Err(error) => return say_usage(&error),
    };
    let Arguments { global, verb } = arguments;
    let mut invocation = Invocation::new(global);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let exit = match (runtime, verb) {
        (Ok(runtime), Some(verb)) => runtime.block_on(traced(&mut invocation, verb)),
        (Ok(runtime), None) => shell::run(words, invocation.global, runtime),
        (Err(error), _) => {
            let failure = Failure::new(Exit::Failed, "cannot start").because(&error);
            invocation.ui.failure(&failure);
            failure.exit
        }
    };
    ExitCode::from(exit as u8)
}

/// A run in its span, which exists only when traces are exported.
async fn traced(invocation: &mut Invocation, verb: Verb) -> Exit {
    let telemetry = telemetry::start(&mut invocation.ui);
    let span = telemetry::root(verb.name());
    let exit = within(invocation, verb).instrument(span.clone()).await;
    telemetry::record(&span, exit);
    drop(span);
    telemetry::finish(telemetry).await;
    exit
}

/// Runs the verb, for as long as it is not interrupted.
pub(crate) async fn within(invocation: &mut Invocation, verb: Verb) -> Exit {
    let exit = tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => None,
        exit = finished(invocation, verb) => Some(exit),
    };
    match exit {
        Some(exit) => exit,
        None => interrupted(invocation).await,
    }
}

/// The end of a run that was interrupted. An operation belongs to the controller: whoever is there is
/// asked what is to become of it, and a second interrupt leaves it alone.
async fn interrupted(invocation: &mut Invocation) -> Exit {
    invocation.ui.leave_question();
    if let Some(line) = invocation.left_by_interrupt.take() {
        let written = invocation.ui.line(line);
        return match written.and_then(|()| invocation.ui.flush()) {
            Ok(()) => Exit::Done,
            Err(failure) => failure.exit,
        };
    }
    let asked = invocation
        .operation
        .take()
        .filter(|_| invocation.ui.can_ask());
    let decided = match &asked {
        Some(operation) => {
            tokio::select! {
                control = decision(&mut invocation.ui, operation) => control,
                _ = tokio::signal::ctrl_c() => None,
            }
        }
        None => None,
    };
    if let (Some(operation), Some(control)) = (asked, decided) {
        match command::control(invocation, operation, control).await {
            Ok(words) => invocation.ui.say(&words),
            Err(failure) => invocation.ui.failure(&failure),
        }
    } else if let Some(words) = invocation.on_interrupt.take() {
        invocation.ui.note(&format!("rsv: {words}"));
    }
    // The output that there is comes before the end; a lost one is no news after an interrupt.
    let _lost = invocation.ui.flush();
    Exit::Interrupted
}

/// What whoever is there decides: nothing leaves the operation alone. What is no answer is asked again,
/// until there is nobody any more.
async fn decision(ui: &mut Ui, operation: &str) -> Option<Control> {
    loop {
        ui.say(&format!(
            "operation {operation}: [d]etach, [p]ause or [c]ancel? [d] "
        ));
        let answer = typed_line().await.unwrap_or_default();
        match answer.trim().to_lowercase().as_str() {
            "p" | "pause" => return Some(Control::Pause),
            "c" | "cancel" => return Some(Control::Cancel),
            "" | "d" | "detach" => return None,
            _ => {}
        }
    }
}

/// Runs the verb, says what went wrong, and lets the output be seen.
async fn finished(invocation: &mut Invocation, verb: Verb) -> Exit {
    let result = match invocation.choose_hosts() {
        Ok(()) => command::run(invocation, verb).await,
        Err(failure) => Err(failure),
    };
    let result = result.and_then(|exit| invocation.ui.flush().map(|()| exit));
    match result {
        Ok(exit) => exit,
        Err(failure) => {
            invocation.ui.failure(&failure);
            // The output that there is comes before the end; its loss is no news after a failure.
            let _lost = invocation.ui.flush();
            failure.exit
        }
    }
}

/// Help and version go to standard output, anything else that clap says to standard error.
fn say_usage(error: &clap::Error) -> ExitCode {
    match error.print() {
        Ok(()) => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8)),
        Err(_closed) => ExitCode::from(Exit::BrokenPipe as u8),
    }
}
