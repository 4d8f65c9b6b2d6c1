//! The asynchronous life of the agent: builds each owner, connects them, and takes them apart in
//! the opposite order.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rsv_config::{Config, Loaded, Warning};
use rsv_proto::telemetry::{FLUSH, Telemetry};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::detach::Report;
use super::front::Front;
use super::leftover::Leftover;
use super::origin::Origin;
use super::prepare::Prepared;
use super::shared::Shared;
use super::signals::{Asked, Signals};
use super::signpost::Signpost;
use super::{Ending, logging, systemd};
use crate::args::DaemonArgs;
use crate::capture::Capture;
use crate::desired::{Desired, DesiredFile};
use crate::failure::{Failure, chain};
use crate::hub::{Hub, HubHandle, Settings, Shutdown};
use crate::identity::{StateDir, StateLock};
use crate::keeper_client::{self, KeeperBinary, KeeperError, KeeperOptions, KeeperPort};
use crate::link::{self, Facts, LinkHandle, LinkOptions};
use crate::listeners::{self, Listeners};
use crate::local::{self, DaemonAsk, LocalHandle};
use crate::mainlog::{CRITICAL, MainLog, SUPERVISOR};
use crate::metrics;
use crate::roster::{self, LastGood, RosterHandle, RosterOptions};
use crate::spare::Reserve;
use crate::spec;

/// Asks of local callers to the daemon; a second one of a kind says nothing new.
const ASKS: usize = 1;

/// Callers of the local socket who are answered at once when no descriptor is free.
const CALLERS: usize = 8;

/// The same for Supervisor's clients, on all servers together.
const CLIENTS: usize = 8;

/// The kernel's id of this boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Everything that runs.
struct Running {
    log: MainLog,
    telemetry: Option<Telemetry>,
    capture: Capture,
    hub: HubHandle,
    roster: RosterHandle,
    /// SIGHUP asks first whether the configuration would be accepted; absent: that is not being asked.
    check: Option<BoxFuture<'static, bool>>,
    listeners: Listeners,
    hub_task: JoinHandle<Shutdown>,
    local: LocalHandle,
    front: Front,
    asks: mpsc::Receiver<DaemonAsk>,
    link: Option<LinkHandle>,
    /// The local socket's name and the pidfile, to be removed at the end.
    leftovers: Vec<Leftover>,
    /// Stays when the programs do.
    signpost: Option<Signpost>,
    /// Held to the end: the next agent must not find anything half gone.
    lock: StateLock,
}

/// What the main loop hears.
enum Event {
    Signal(Asked),
    Ask(DaemonAsk),
    /// The check is over: whether the configuration would be accepted.
    Checked(bool),
    /// The hub has ended by itself, because the keeper was told to end.
    HubEnded,
    /// The service manager expects a sign.
    Watchdog,
}

/// What is to be done at the end.
#[derive(Debug, Clone, Copy)]
struct Farewell {
    mode: Shutdown,
    ending: Ending,
}

impl Farewell {
    const EXIT: Self = Self {
        mode: Shutdown::StopPrograms,
        ending: Ending::Exit,
    };

    const RESTART: Self = Self {
        mode: Shutdown::StopPrograms,
        ending: Ending::Restart,
    };
}

/// Runs the agent.
pub(super) async fn run(
    prepared: Prepared,
    origin: Origin,
    args: &DaemonArgs,
    argv0: &str,
    report: &mut Report,
) -> Result<Ending, Failure> {
    let mut signals = Signals::listen()
        .map_err(|error| Failure::failed(format!("cannot listen to signals: {error}")))?;
    let mut running = start(prepared, origin, args, argv0).await?;
    report.up();
    systemd::ready();
    let farewell = running.serve(&mut signals, args).await;
    systemd::stopping();
    Ok(attentively(running.end(farewell), &mut signals).await)
}

async fn start(
    prepared: Prepared,
    origin: Origin,
    args: &DaemonArgs,
    argv0: &str,
) -> Result<Running, Failure> {
    let Prepared {
        loaded,
        state,
        lock,
        logs,
        listener,
        socket,
        bound,
        unbound,
        troubles,
        notes,
        signpost,
    } = prepared;
    let Loaded { config, warnings } = loaded;
    let config = Arc::new(config);
    let name = config.agent.as_ref().map(|agent| agent.name.as_str());
    let (log, telemetry) = logging::start(logs, config.supervisord.log_level, name)?;
    tell_of_the_start(&config, &notes);
    tell_of_trouble(&config, &warnings, &troubles, &origin.notice);
    // Before anything that takes descriptors by the thousand.
    let (at_home, for_clients) = (reserve(CALLERS)?, reserve(CLIENTS)?);
    let (port, capture) = start_capture(&log, &config)?;
    let Started {
        hub,
        hub_task,
        listeners,
        auto,
    } = start_hub(&config, args, &state, port, &capture).await?;
    let (asking, asks) = mpsc::channel(ASKS);
    let roster = start_roster(&config, origin, &hub, &listeners, auto);
    if telemetry.as_ref().is_some_and(Telemetry::has_metrics) {
        metrics::watch(&hub, &listeners, &roster);
    }
    let shared = Shared {
        hub: hub.clone(),
        capture: capture.clone(),
        roster: roster.clone(),
        listeners: listeners.clone(),
        main_log: main_log(&config),
        log: log.clone(),
        daemon: asking,
    };
    let local =
        local::serve(listener, at_home, shared.for_local()).map_err(|error| no_local(&error))?;
    let front = Front::start(bound, unbound, &for_clients, shared.for_front())?;
    let link = start_link(&config, state, shared.for_link(), argv0);
    tell_that_it_runs();
    Ok(Running {
        log,
        telemetry,
        capture,
        hub,
        roster,
        check: None,
        listeners,
        hub_task,
        local,
        front,
        asks,
        link,
        leftovers: leftovers(socket, &config),
        signpost,
        lock,
    })
}

/// What an agent that has ended leaves behind.
fn leftovers(socket: Leftover, config: &Config) -> Vec<Leftover> {
    let pidfile = Leftover::pidfile(&config.supervisord.pidfile);
    [Some(socket), pidfile].into_iter().flatten().collect()
}

fn tell_that_it_runs() {
    let pid = std::process::id();
    info!(target: SUPERVISOR, pid, "supervisord started with pid {pid}");
}

/// The hub, and what is made with it.
struct Started {
    hub: HubHandle,
    hub_task: JoinHandle<Shutdown>,
    listeners: Listeners,
    auto: spec::AutoLogs,
}

/// Connects to the keeper and starts the hub, which has taken over what the keeper holds.
async fn start_hub(
    config: &Arc<Config>,
    args: &DaemonArgs,
    state: &StateDir,
    port: KeeperPort,
    capture: &Capture,
) -> Result<Started, Failure> {
    // Both write files that are to last; a disk makes neither of them wait for the other.
    let ((epoch, desired), (auto, programs)) =
        tokio::try_join!(kept(config, state), programs(config))?;
    let (client, inputs) = keeper_client::connect(keeper_options(config, args))
        .await
        .map_err(|error| no_keeper(&error))?;
    let identifier = &config.supervisord.identifier;
    let (listeners, starting) = listeners::prepare(identifier, &config.groups, capture);
    let settings = Settings {
        host: name_of(config),
        epoch,
        programs,
        maxprocs: config.max_processes,
        purge: (!config.supervisord.nocleanup).then(|| auto.clone()),
        listeners: listeners.clone(),
        desired,
    };
    let (hub, handle) = Hub::new(settings, inputs, port, capture.clone());
    starting.start(handle.clone(), capture.clone());
    tokio::spawn(client.run());
    let hub_task = tokio::spawn(hub.run());
    // The answer comes after the adoption of what the keeper holds.
    handle
        .snapshot()
        .await
        .map_err(|error| Failure::failed(chain(&error)))?;
    Ok(Started {
        hub: handle,
        hub_task,
        listeners,
        auto,
    })
}

/// The port is the one that it tells the keeper by, and is put in place by the hub.
fn start_capture(log: &MainLog, config: &Config) -> Result<(KeeperPort, Capture), Failure> {
    let port = KeeperPort::new();
    let capture = Capture::start(port.clone())
        .map_err(|error| Failure::failed(format!("cannot start the capture of logs: {error}")))?;
    if let Some(sink) = logging::output(log, config.supervisord.log_level) {
        capture.show_output(sink);
    }
    Ok((port, capture))
}

fn reserve(size: usize) -> Result<Reserve, Failure> {
    Reserve::new(size)
        .map_err(|error| Failure::failed(format!("cannot keep descriptors back: {error}")))
}

fn tell_of_the_start(config: &Config, notes: &[String]) {
    for file in &config.included {
        info!(target: SUPERVISOR, "Included extra file \"{}\" during parsing", file.display());
    }
    for note in notes {
        info!(target: SUPERVISOR, "{note}");
    }
    let is_root = nix::unistd::geteuid().is_root();
    if is_root && config.supervisord.user.is_none() && config.agent.is_none() {
        error!(
            target: CRITICAL,
            "Supervisor is running as root.  Privileges were not dropped because no user is \
             specified in the config file.  If you intend to run as root, you can set user=root in \
             the config file to avoid this message."
        );
    }
}

fn tell_of_trouble(config: &Config, warnings: &[Warning], troubles: &[String], notice: &str) {
    for warning in warnings {
        warn!("{warning}");
    }
    for error in config.broken.iter().flat_map(|program| &program.errors) {
        error!("{error}");
    }
    for trouble in troubles {
        error!(target: CRITICAL, "{trouble}");
    }
    if !notice.is_empty() {
        error!("{notice}");
    }
}

/// What the state directory holds for the hub: the number of this start, and what the fleet wanted last. A host
/// that is in none has nobody to want anything.
async fn kept(config: &Config, state: &StateDir) -> Result<(u64, Desired), Failure> {
    let state = state.clone();
    let has_fleet = config.agent.is_some();
    let kept = blocking(move || {
        let (epoch, trouble) = state.next_epoch(SystemTime::now());
        if let Some(error) = trouble {
            // Programs that nobody looks after would be worse than a number that comes twice.
            let (what, hint) = (chain(&error), error.hint());
            error!("{what}: this start is not counted ({hint})");
        }
        let file = has_fleet.then(|| DesiredFile::new(state.path()));
        let desired = file.map(|file| file.read_or_tell());
        (epoch, desired.unwrap_or_default())
    });
    kept.await
}

/// The programs, with the names of their logs and their users looked up, which may ask a directory server.
async fn programs(config: &Arc<Config>) -> Result<(spec::AutoLogs, Vec<spec::Program>), Failure> {
    let config = Arc::clone(config);
    blocking(move || {
        let auto = spec::AutoLogs::of(&config);
        let programs = spec::load(&config, spec::Ambience::of_this_process(), &auto);
        (auto, programs)
    })
    .await
}

/// The name of this host; empty outside a fleet.
fn name_of(config: &Config) -> String {
    let agent = config.agent.as_ref();
    agent.map(|agent| agent.name.clone()).unwrap_or_default()
}

fn keeper_options(config: &Config, args: &DaemonArgs) -> KeeperOptions {
    let mut options = KeeperOptions::new(config.locations.keeper_socket.clone());
    if args.await_keeper {
        options.binary = KeeperBinary::Foreign;
    }
    options
}

fn no_local(error: &io::Error) -> Failure {
    Failure::failed(format!("cannot serve the local socket: {error}"))
}

fn no_keeper(error: &KeeperError) -> Failure {
    let hint = match error {
        KeeperError::NoBinary(_) | KeeperError::Launch { .. } => {
            "install rsv-keeper beside rsv-agent"
        }
        KeeperError::Ended { .. } => "run it by hand with --socket to see why",
        KeeperError::Connect { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            "start rsv-keeper with --socket, or leave --await-keeper away"
        }
        KeeperError::Connect { .. } => "see that the socket's directory belongs to this user",
        KeeperError::Foreign { .. } => {
            "end that keeper (SIGTERM stops its programs too), or run both as one user"
        }
        KeeperError::Silent(_) | KeeperError::Closed(_) => "see whether that rsv-keeper is stopped",
        KeeperError::Busy { .. } => {
            "stop the other agent, or name another keeper_socket in [agent]"
        }
    };
    Failure::failed(chain(error)).hint(hint)
}

fn start_roster(
    config: &Arc<Config>,
    origin: Origin,
    hub: &HubHandle,
    listeners: &Listeners,
    auto: spec::AutoLogs,
) -> RosterHandle {
    let Origin {
        source,
        inputs,
        notice,
    } = origin;
    let state_dir = &config.locations.state_dir;
    roster::start(RosterOptions {
        hub: hub.clone(),
        listeners: listeners.clone(),
        last_good: Some(LastGood::new(state_dir, &source.file)),
        source,
        config: Arc::clone(config),
        inputs,
        auto,
        notice,
    })
}

fn main_log(config: &Config) -> Option<PathBuf> {
    match &config.supervisord.logfile {
        rsv_config::MainLog::File(path) => Some(path.clone()),
        rsv_config::MainLog::Syslog => None,
    }
}

/// Without an `[agent]` section this host is in no fleet.
fn start_link(
    config: &Config,
    state: StateDir,
    owners: link::Owners,
    argv0: &str,
) -> Option<LinkHandle> {
    let agent = config.agent.as_ref()?;
    let boot_id = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
    let facts = Facts {
        boot_id: boot_id.trim().to_owned(),
        instance: uuid::Uuid::new_v4().to_string(),
        labels: agent.labels.clone().into_iter().collect(),
    };
    Some(link::start(LinkOptions {
        controllers: agent.controllers.iter().map(ToString::to_string).collect(),
        state,
        facts,
        owners,
        join_command: format!("{argv0} join --token TOKEN -c {}", config.file.display()),
    }))
}

impl Running {
    /// Serves until something says how to end.
    async fn serve(&mut self, signals: &mut Signals, args: &DaemonArgs) -> Farewell {
        let watchdog = systemd::watchdog();
        loop {
            match self.next(signals, watchdog).await {
                Event::Signal(Asked::ReopenLogs) => self.reopen_logs(),
                Event::Signal(Asked::Restart) => self.begin_check(),
                Event::Signal(Asked::End(name)) => {
                    warn!(target: SUPERVISOR, "received {name} indicating exit request");
                    let mode = if args.leave_programs {
                        Shutdown::LeavePrograms
                    } else {
                        Shutdown::StopPrograms
                    };
                    return Farewell {
                        mode,
                        ..Farewell::EXIT
                    };
                }
                Event::Ask(DaemonAsk::Shutdown) => {
                    info!("a shutdown was asked for");
                    return Farewell::EXIT;
                }
                Event::Ask(DaemonAsk::Restart) => {
                    warn!("a restart was asked for");
                    return Farewell::RESTART;
                }
                Event::Checked(true) => return Farewell::RESTART,
                // What is wrong has been logged.
                Event::Checked(false) => {
                    self.check = None;
                    error!("not restarted: the configuration is refused");
                }
                Event::HubEnded => return Farewell::EXIT,
                // A hub that does not answer is what the watchdog is there for.
                Event::Watchdog => {
                    if self.hub.resolve(&[]).await.is_ok() {
                        systemd::alive();
                    }
                }
            }
        }
    }

    async fn next(&mut self, signals: &mut Signals, watchdog: Option<Duration>) -> Event {
        tokio::select! {
            asked = signals.next() => Event::Signal(asked),
            Some(ask) = self.asks.recv() => Event::Ask(ask),
            is_startable = checked(&mut self.check) => Event::Checked(is_startable),
            () = hub_ended(&self.hub) => Event::HubEnded,
            () = due(watchdog) => Event::Watchdog,
        }
    }

    fn reopen_logs(&self) {
        info!(target: SUPERVISOR, "received SIGUSR2 indicating log reopen request");
        self.log.reopen();
        info!(target: SUPERVISOR, "supervisord logreopen");
        let capture = self.capture.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = capture.reopen_all() {
                warn!(%error, "the logs of programs are not reopened");
            }
        });
    }

    /// Begins to look whether the configuration, as it is now, would be accepted: nothing is stopped for one
    /// that would not. A disk that hangs may keep the answer back for ever; nothing else waits for it.
    fn begin_check(&mut self) {
        if self.check.is_some() {
            warn!("SIGHUP is ignored: the configuration is being read already");
            return;
        }
        warn!(target: SUPERVISOR, "received SIGHUP indicating restart request");
        let roster = self.roster.clone();
        self.check = Some(async move { roster.check().await.is_ok() }.boxed());
    }

    /// Takes everything apart in order.
    async fn end(mut self, farewell: Farewell) -> Ending {
        let Farewell { mode, ending } = farewell;
        self.asks.close();
        self.front.end_is_near();
        if matches!(mode, Shutdown::StopPrograms) {
            self.listeners.stopping().await;
        }
        let hub = self.hub.clone();
        // An error says that the hub has gone: there is nothing left to stop.
        hub.shutdown(mode).await.ok();
        if let Err(error) = self.hub_task.await {
            error!(%error, "the supervising task has failed");
        }
        let reason = match (mode, ending) {
            (Shutdown::LeavePrograms, _) => "leaving; the programs run on",
            (Shutdown::StopPrograms, Ending::Exit) => "shutting down",
            (Shutdown::StopPrograms, Ending::Restart) => "restarting",
        };
        if let Some(link) = self.link {
            link.leave(reason).await;
        }
        self.local.stop().await;
        self.front.stop().await;
        drop(self.leftovers);
        if let (Shutdown::StopPrograms, Some(signpost)) = (mode, self.signpost) {
            signpost.take_down();
        }
        if let Some(telemetry) = self.telemetry {
            let flushed = tokio::task::spawn_blocking(move || telemetry.shutdown(FLUSH));
            flushed.await.ok();
        }
        info!("ended");
        let log = self.log.clone();
        blocking(move || log.flush()).await.ok();
        drop(self.lock);
        ending
    }
}

/// Takes everything apart and hears signals meanwhile. They hurry nothing, as with Supervisor, but
/// one that asks for the end turns a restart into one.
async fn attentively(end: impl Future<Output = Ending>, signals: &mut Signals) -> Ending {
    tokio::pin!(end);
    let mut is_over = false;
    loop {
        tokio::select! {
            ending = &mut end => return if is_over { Ending::Exit } else { ending },
            asked = signals.next() => match asked {
                Asked::End(name) => {
                    is_over = true;
                    warn!("{name}: the programs are being stopped already");
                }
                Asked::Restart => warn!("SIGHUP is ignored: the programs are being stopped"),
                Asked::ReopenLogs => {}
            },
        }
    }
}

/// Waits for the end of the hub. The journal ends with it, and unlike its task can be waited for many
/// times.
async fn hub_ended(hub: &HubHandle) {
    hub.subscribe().ended().await;
}

/// Waits for the end of a check, if there is one. Safe to cancel: the check goes on when it is asked for again.
async fn checked(check: &mut Option<BoxFuture<'static, bool>>) -> bool {
    match check {
        Some(check) => check.await,
        None => std::future::pending().await,
    }
}

async fn due(period: Option<Duration>) {
    match period {
        Some(period) => tokio::time::sleep(period).await,
        None => std::future::pending().await,
    }
}

/// Runs what may block off the runtime's own thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::failed(format!("a task has failed: {error}")))
}
