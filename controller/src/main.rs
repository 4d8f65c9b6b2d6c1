//! `rsv-controller`: reads the command line, says what is wrong in one line, and exits with a code that
//! tells which kind of wrong it is.

use std::{
    error::Error,
    io::{self, Write as _},
    process::ExitCode,
    time::SystemTime,
};

use clap::Parser as _;
use rsv_controller::{
    args::{Arguments, Command, InitArguments, LogFormat, RunArguments},
    init::init,
    serve::{Controller, ServeError},
    settings::Settings,
    status::chain,
    store::StoreError,
};
use rsv_proto::telemetry::{FLUSH, Telemetry};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing::Metadata;
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{FilterExt as _, filter_fn},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// Something did not work.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const USAGE: u8 = 2;

/// What went wrong, for people.
struct Failure {
    text: String,
    hint: Option<String>,
    code: u8,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Init(arguments) => make(&arguments),
        Command::Run(arguments) => run(&arguments),
    };
    let Err(failure) = done else {
        return ExitCode::SUCCESS;
    };
    let mut text = format!("rsv-controller: {}\n", failure.text);
    if let Some(hint) = failure.hint {
        text.push_str(&format!("hint: {hint}\n"));
    }
    // Nothing is left to be told to whoever closed this.
    drop(io::stderr().write_all(text.as_bytes()));
    ExitCode::from(failure.code)
}

fn make(arguments: &InitArguments) -> Result<(), Failure> {
    let context = init(arguments, SystemTime::now())
        .map_err(|e| failed(&e, e.hint().map(Into::into), FAILED))?;
    let state = arguments.state_dir.display();
    let text = format!(
        "made a new fleet in {state}\n\
         start it: rsv-controller run --state-dir {state}\n\
         the first operator's context, which is secret:\n{}\n",
        context.display()
    );
    let written = io::stdout().write_all(text.as_bytes());
    written.map_err(|e| failed(&e, None, FAILED))
}

fn run(arguments: &RunArguments) -> Result<(), Failure> {
    let gathered = Settings::gather(arguments);
    let (settings, warnings) =
        gathered.map_err(|e| failed(&e, e.hint(), if e.is_usage() { USAGE } else { FAILED }))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|e| failed(&e, None, FAILED))?;
    let served = runtime.block_on(serve(arguments, settings, warnings));
    // Blocking work that still runs is not waited for: what must be durable has been awaited.
    runtime.shutdown_background();
    served
}

async fn serve(
    arguments: &RunArguments,
    settings: Settings,
    warnings: Vec<String>,
) -> Result<(), Failure> {
    let telemetry = start_logs(arguments.log_format);
    for warning in warnings {
        tracing::warn!(reason = warning, "odd configuration");
    }
    let listen = settings.listen;
    let loaded = tokio::task::spawn_blocking(move || Controller::load(settings, SystemTime::now()));
    let loaded = loaded.await.map_err(|e| failed(&e, None, FAILED))?;
    let controller = loaded.map_err(|e| failed(&e, hint(&e).map(Into::into), FAILED))?;
    let listener = TcpListener::bind(listen).await.map_err(|e| Failure {
        text: format!("cannot listen on {listen}: {e}"),
        hint: Some("is another controller running, or the port below 1024?".into()),
        code: FAILED,
    })?;
    raise_file_limit();
    let stop = stop_on_signal().map_err(|e| failed(&e, None, FAILED))?;
    let ready = |address| {
        tracing::info!(listen = %address, "serving");
        // Not started by systemd: nobody to tell.
        let _nobody = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    };
    let served = controller.serve(listener, stop, ready).await;
    let _nobody = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("stopped");
    if let Some(telemetry) = telemetry {
        drop(tokio::task::spawn_blocking(move || telemetry.shutdown(FLUSH)).await);
    }
    served.map_err(|e| failed(&e, hint(&e).map(Into::into), FAILED))
}

/// Logs to standard error, and traces where the environment says.
fn start_logs(format: LogFormat) -> Option<Telemetry> {
    let (telemetry, error) = match Telemetry::start("rsv-controller", None) {
        Ok(telemetry) => (telemetry, None),
        Err(error) => (None, Some(error)),
    };
    let wanted = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Spans are for traces: in a line their fields would bury the message.
    let events: fn(&Metadata<'_>) -> bool = |line| line.is_event();
    let filter = wanted.and(filter_fn(events));
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let lines = match format {
        LogFormat::Text => lines.compact().with_ansi(false).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let traces = telemetry.as_ref().and_then(Telemetry::layer);
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(traces)
        .init();
    if let Some(error) = error {
        tracing::warn!(error = chain(&error), "traces and metrics are off");
    }
    telemetry
}

/// The first TERM or INT stops in order, the second at once.
fn stop_on_signal() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => "TERM",
                _ = interrupt.recv() => "INT",
            }
        };
        let reason = next().await;
        tracing::info!(reason, "stopping");
        token.cancel();
        next().await;
        std::process::exit(i32::from(FAILED));
    });
    Ok(stop)
}

/// Every agent is an open file: takes as many as the system allows.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

const OWNER: &str = "check that the state directory belongs to the user who runs the controller";

fn hint(error: &ServeError) -> Option<&'static str> {
    match error {
        ServeError::Store(StoreError::InUse(_)) => Some("stop the other one first"),
        ServeError::Store(StoreError::Open { source, .. }) if source.is::<io::Error>() => {
            Some(OWNER)
        }
        ServeError::File(_) => Some(OWNER),
        ServeError::Store(_) | ServeError::Ca(_) | ServeError::Tls(_) => {
            Some("restore the state directory from a backup, or make a new fleet with `init`")
        }
        ServeError::Socket(_) | ServeError::Thread(_) | ServeError::Server(_) => None,
    }
}

fn failed(error: &impl Error, hint: Option<String>, code: u8) -> Failure {
    Failure {
        text: chain(error),
        hint,
        code,
    }
}
