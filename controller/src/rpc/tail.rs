//! The output of programs, from their hosts to one reader.
//!
//! Each program of each host is a source of its own, with a task of its own. A source reads from its
//! host only as the reader takes, so that a reader that stands still costs one buffer, and holds up nobody
//! else. A follower survives what happens to its host: it goes on where it stood.

use std::{
    pin::pin,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use rsv_proto::{
    name::HostName,
    process::display_name,
    wire::{
        Channel, HostState, OpenLog, Refusal, ServeLogRequest, TailRequest, TailResponse,
        tail_response::{Away, Back, End, Event, Gap},
    },
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use uuid::Uuid;

mod later;

use self::later::Later;
use super::{Shared, seam::Seam, selection, view::Wanted};
use crate::{
    host::{HostView, is_connected},
    hub::{Arrival, HubError, HubHandle},
};

/// How long an agent may take to dial back with the log it was asked for.
const DIAL_BACK: Duration = Duration::from_secs(5);

/// The most programs that one reader reads at a time, unless it asks for more, and then.
const SOURCES: usize = 100;
const MOST_SOURCES: usize = 1000;

/// How long a log may go on after its host was lost: what had been sent before still comes.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Items that wait for the reader: with full chunks half a megabyte, all sources together.
const ITEMS: usize = 8;

/// The pause before a source that broke is opened again, and what it grows to when that fails too.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

type Items = mpsc::Sender<Result<TailResponse, Status>>;

/// Opens every source that a request means.
pub(super) async fn tail(
    shared: &Shared,
    request: TailRequest,
) -> Result<ReceiverStream<Result<TailResponse, Status>>, Status> {
    if request.programs.is_empty() != is_main_log(&request) {
        return Err(Status::invalid_argument(
            match request.programs.is_empty() {
                true => "no program is named",
                false => "the agent's own log is of no program",
            },
        ));
    }
    let mut view = shared.hub.view(selection(request.hosts.clone())).await??;
    let wanted = Wanted::settle(&request.programs, &mut view)?;
    let (mut sources, mut ends, mut absent) = (Vec::new(), Vec::new(), Vec::new());
    for host in &view.hosts {
        match plan(host, &wanted, &request) {
            Ok((found, unmatched)) => {
                sources.extend(found);
                ends.extend(unmatched);
            }
            Err(reason) if request.follow => absent.push((host.name.clone(), reason)),
            Err(reason) => {
                ends.push(end(host.name.as_str(), "", &reason, Refusal::Unspecified));
            }
        }
    }
    for host in view.missing {
        ends.push(end(
            &host,
            "",
            "no host of this name is enrolled",
            Refusal::Unspecified,
        ));
    }
    let room = room_beside(sources.len(), &request)?;
    let (items, stream) = mpsc::channel(ITEMS);
    let later = Arc::new(Later {
        room: AtomicUsize::new(room),
        request,
        wanted,
    });
    for (host, reason) in absent {
        let later = Arc::clone(&later);
        tokio::spawn(later.join(shared.clone(), items.clone(), host, reason));
    }
    for source in sources {
        tokio::spawn(source.run(shared.clone(), items.clone()));
    }
    tokio::spawn(async move {
        for end in ends {
            if items.send(Ok(end)).await.is_err() {
                return;
            }
        }
    });
    Ok(ReceiverStream::new(stream))
}

/// How many sources more may come beside so many.
fn room_beside(sources: usize, request: &TailRequest) -> Result<usize, Status> {
    let most = match usize::try_from(request.max_streams) {
        Ok(0) => SOURCES,
        most => most.unwrap_or(MOST_SOURCES).min(MOST_SOURCES),
    };
    let Some(room) = most.checked_sub(sources) else {
        return Err(Status::invalid_argument(format!(
            "{sources} programs match, at most {most} are read at a time (max-streams, up to {MOST_SOURCES})"
        )));
    };
    if request.from.is_some() && sources > 1 {
        return Err(Status::invalid_argument(
            "a cursor is a place in the output of one program",
        ));
    }
    Ok(room)
}

/// The sources of one host, and what can be said at once of what is none; an error says why nothing can
/// be read there now.
fn plan(
    host: &HostView,
    wanted: &Wanted,
    request: &TailRequest,
) -> Result<(Vec<Source>, Vec<TailResponse>), String> {
    let name = host.name.as_str();
    if !is_connected(host.state) {
        return Err(match host.state {
            HostState::Never => "the host has not been seen since it was enrolled".to_owned(),
            _ => format!("the host is unreachable: {}", host.reason),
        });
    }
    let source = |shown, programs| {
        let request = TailRequest {
            hosts: None,
            programs,
            ..request.clone()
        };
        Source::new(host.name.clone(), shown, request)
    };
    if is_main_log(request) {
        return Ok((vec![source(String::new(), Vec::new())], Vec::new()));
    }
    let Some(programs) = host.programs.as_deref() else {
        return Err("the host's programs are not known yet".to_owned());
    };
    let meant = programs.keys().filter(|(g, p)| wanted.matches(name, g, p));
    let sources = meant.map(|(group, program)| {
        source(
            display_name(group, program),
            vec![format!("{group}:{program}")],
        )
    });
    let unmatched = wanted.unmatched(name, programs).into_iter();
    let ends = unmatched.map(|(pattern, refusal)| end(name, pattern.program(), "", refusal));
    Ok((sources.collect(), ends.collect()))
}

/// The output of one program.
struct Source {
    host: HostName,
    program: String,
    request: TailRequest,
    seam: Seam,
    /// The reader has been told that nothing comes for now.
    is_away: bool,
}

/// Nobody reads any more.
struct Gone;

/// How one reading of a source came to its end.
enum Ending {
    /// All has been said, or nobody listens any more.
    Over,
    /// The host broke it off, for this reason; with whether anything had come.
    Broken(String, bool),
}

/// Whether it is the agents' own logs that are asked for.
fn is_main_log(request: &TailRequest) -> bool {
    request.channel() == Channel::MainLog
}

impl Source {
    fn new(host: HostName, program: String, request: TailRequest) -> Self {
        Self {
            host,
            program,
            request,
            seam: Seam::default(),
            is_away: false,
        }
    }

    async fn run(mut self, shared: Shared, items: Items) {
        let stopping = shared.stopping.clone();
        if stopping
            .run_until_cancelled(self.follow(&shared.hub, &items))
            .await
            .is_none()
        {
            let status = Status::unavailable("the controller is shutting down");
            // The reader may have gone.
            drop(items.send(Err(status)).await);
        }
    }

    async fn follow(&mut self, hub: &HubHandle, items: &Items) {
        let mut pause = PAUSE;
        loop {
            let ending = tokio::select! {
                ending = self.read(hub, items) => ending,
                () = items.closed() => return,
            };
            let Ending::Broken(reason, had_any) = ending else {
                return;
            };
            if !self.request.follow {
                let end = end(
                    self.host.as_str(),
                    &self.program,
                    &reason,
                    Refusal::Unspecified,
                );
                // The reader may have gone.
                drop(items.send(Ok(end)).await);
                return;
            }
            tracing::debug!(host = %self.host, program = self.program, reason, "will follow again");
            if !self.is_away {
                self.is_away = true;
                if self.say(items, Event::Away(Away { reason })).await.is_err() {
                    return;
                }
            }
            pause = if had_any {
                PAUSE
            } else {
                (pause * 2).min(LONGEST_PAUSE)
            };
            let returned = async {
                tokio::time::sleep(pause).await;
                hub.when_connected(self.host.clone()).await
            };
            tokio::select! {
                // Busy: the next round asks again, after a longer pause.
                returned = returned => if returned == Err(HubError::Stopped) { return },
                () = items.closed() => return,
            }
        }
    }

    /// Reads from where the reader stands until something ends it.
    async fn read(&mut self, hub: &HubHandle, items: &Items) -> Ending {
        let mut request = self.request.clone();
        if let Some(cursor) = self.seam.cursor() {
            request.from = Some(cursor.clone());
            (request.bytes, request.lines, request.since) = (None, None, None);
        } else if self.is_away && is_main_log(&request) {
            // It has no places: what was written meanwhile stays on the host.
            request.bytes = Some(0);
        }
        let wanted = OpenLog {
            request: Some(request),
            ..OpenLog::default()
        };
        let Arrival {
            items: mut log,
            reader,
        } = match open(hub, &self.host, wanted).await {
            Ok(arrival) => arrival,
            Err(reason) => return Ending::Broken(reason, false),
        };
        if std::mem::take(&mut self.is_away) && self.is_back(items).await.is_err() {
            return Ending::Over;
        }
        let ending = self.forward(hub, &mut log, items).await;
        // The agent learns that nobody reads any more when this end is gone.
        drop::<oneshot::Sender<()>>(reader);
        ending
    }

    /// Tells the reader that the source goes on, and what it does not get.
    async fn is_back(&self, items: &Items) -> Result<(), Gone> {
        self.say(items, Event::Back(Back {})).await?;
        if !is_main_log(&self.request) {
            return Ok(());
        }
        let reason = "written while the host was away: it stands in the file".to_owned();
        let gap = Gap {
            reason,
            ..Gap::default()
        };
        self.say(items, Event::Gap(gap)).await
    }

    /// Tells the reader; an error says that it has gone.
    async fn say(&self, items: &Items, event: Event) -> Result<(), Gone> {
        say(items, &self.host, &self.program, event).await
    }

    async fn forward(
        &mut self,
        hub: &HubHandle,
        log: &mut Streaming<ServeLogRequest>,
        items: &Items,
    ) -> Ending {
        let mut lost = pin!(lost(hub.clone(), self.host.clone()));
        let mut had_any = false;
        loop {
            // Nothing is given up that has arrived: the reader's place is already behind it.
            let message = tokio::select! {
                biased;
                message = log.message() => message,
                reason = &mut lost => return Ending::Broken(reason, had_any),
            };
            let item = match message {
                Ok(Some(message)) => message.item,
                Ok(None) => return Ending::Broken("the host broke off".into(), had_any),
                Err(_) => {
                    return Ending::Broken("the connection to the host was lost".into(), had_any);
                }
            };
            let Some(event) = item.and_then(|item| item.event) else {
                continue;
            };
            had_any = true;
            let is_end = matches!(event, Event::End(_));
            for event in self.seam.join(event) {
                if self.say(items, event).await.is_err() {
                    return Ending::Over;
                }
            }
            if is_end {
                return Ending::Over;
            }
        }
    }
}

/// Waits until a host is lost, and for what it had sent before. A connection that is cut without a word may
/// look as if it were merely silent for much longer.
async fn lost(hub: HubHandle, host: HostName) -> String {
    match hub.when_lost(host).await {
        Ok(reason) => {
            tokio::time::sleep(LAST_WORDS).await;
            reason
        }
        // Then the log itself has to tell.
        Err(_busy_or_stopped) => std::future::pending().await,
    }
}

/// Asks a host for what is to be read there, and waits for it.
pub(super) async fn open(
    hub: &HubHandle,
    host: &HostName,
    open: OpenLog,
) -> Result<Arrival, String> {
    let stream = Uuid::new_v4().simple().to_string();
    let open = OpenLog { stream, ..open };
    let arrival = match hub.open_log(host.clone(), open).await {
        Ok(Ok(arrival)) => arrival,
        Ok(Err(unreachable)) => return Err(format!("the host is unreachable: {}", unreachable.0)),
        Err(error) => return Err(error.to_string()),
    };
    match tokio::time::timeout(DIAL_BACK, arrival).await {
        Ok(Ok(arrival)) => Ok(arrival),
        Ok(Err(_)) => Err("the controller is shutting down".into()),
        Err(_) => Err(format!(
            "the host did not open the log within {} s",
            DIAL_BACK.as_secs()
        )),
    }
}

/// Tells the reader of a source; an error says that it has gone.
async fn say(items: &Items, host: &HostName, program: &str, event: Event) -> Result<(), Gone> {
    let item = TailResponse {
        host: host.to_string(),
        program: program.to_owned(),
        event: Some(event),
    };
    items.send(Ok(item)).await.map_err(|_| Gone)
}

fn end(host: &str, program: &str, reason: &str, refusal: Refusal) -> TailResponse {
    let end = End {
        reason: reason.to_owned(),
        refusal: refusal.into(),
    };
    TailResponse {
        host: host.to_owned(),
        program: program.to_owned(),
        event: Some(Event::End(end)),
    }
}
