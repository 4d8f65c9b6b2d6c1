//! What happens to the output of a stream besides its log: communications, events, the system's log.
//!
//! Only bytes that are in the log already, or are none of its business, come here, so that a retry after
//! a full disk repeats nothing. Nothing here waits: what is not taken is counted, with a reason for
//! people.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Instant;

use rsv_keeper::message::{Channel, Run};

use super::LogSpec;
use super::events::{CaptureEvent, EventSender, Offered, Written};
use super::recorder::Recorder;
use super::shown::{OutputSink, Shown};
use super::sieve::Sifted;
use super::syslog::{Lines, Syslog, SyslogTarget};

/// Who writes.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(super) run: Run,
    pub(super) pid: Option<u32>,
    pub(super) channel: Channel,
}

/// What one stream's output is wanted for.
#[derive(Debug, Default)]
pub(super) struct Aside {
    recorder: Option<Recorder>,
    syslog: Option<(SyslogTarget, Lines)>,
    has_log_events: bool,
}

/// Where it goes; shared by all streams.
#[derive(Debug, Default)]
pub(super) struct Outlets {
    pub(super) shown: Shown,
    events: Option<EventSender>,
    syslogs: HashMap<PathBuf, Syslog>,
    /// The listener has come or gone, and the streams have to be told.
    is_news: bool,
}

/// What did not get to where it was meant to.
#[derive(Debug, Default)]
pub(super) struct Lost {
    pub(super) bytes: u64,
    /// The latest reason.
    pub(super) why: Option<String>,
    /// How many communications, events and lines, by the kind of reason.
    pub(super) records: BTreeMap<LostTo, u64>,
}

/// Why a record did not get to where it was meant to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LostTo {
    /// A communication was longer than its bound: its beginning is missing.
    Bound,
    /// A communication had no end.
    Unfinished,
    /// Whoever listens to events is too slow.
    Listener,
    /// The system's log did not take a line.
    Syslog,
}

impl Aside {
    /// Brings it in line with a spec; what was begun goes on.
    pub(super) fn set(&mut self, spec: &LogSpec) {
        self.has_log_events = spec.events;
        match (&mut self.recorder, spec.capture_maxbytes) {
            (recorder, 0) => *recorder = None,
            (Some(recorder), bound) => recorder.set_bound(bound),
            (None, bound) => self.recorder = Some(Recorder::new(bound)),
        }
        self.syslog = match (self.syslog.take(), &spec.syslog) {
            (_, None) => None,
            (Some((_, lines)), Some(target)) => Some((target.clone(), lines)),
            (None, Some(target)) => Some((target.clone(), Lines::default())),
        };
    }

    /// Passes on what a look has found.
    pub(super) fn take(
        &mut self,
        origin: &Origin,
        sifted: Sifted,
        outlets: &mut Outlets,
        now: Instant,
        lost: &mut Lost,
    ) {
        outlets.shown.show(origin, &sifted.text);
        if let Some((target, lines)) = &mut self.syslog {
            lines.take(&sifted.text, |line| {
                outlets.syslog(target, line, now, lost);
            });
        }
        if outlets.events.is_none() {
            return;
        }
        self.record(origin, &sifted, outlets, lost);
        if self.has_log_events && !sifted.text.is_empty() {
            let event = CaptureEvent::Log(origin.wrote(sifted.text, 0));
            outlets.event(event, lost);
        }
    }

    /// Nothing more comes: what waited for more goes out as it is.
    pub(super) fn finish(&mut self, outlets: &mut Outlets, now: Instant, lost: &mut Lost) {
        if let Some((target, lines)) = &mut self.syslog
            && let Some(line) = lines.finish()
        {
            outlets.syslog(target, &line, now, lost);
        }
        if let Some(recorder) = &mut self.recorder {
            let unfinished = recorder.finish().bytes.len() as u64;
            lost.add(unfinished, || "a communication was not finished".to_owned());
            lost.count(LostTo::Unfinished, u64::from(unfinished > 0));
        }
    }

    fn record(&mut self, origin: &Origin, sifted: &Sifted, outlets: &mut Outlets, lost: &mut Lost) {
        let Some(recorder) = &mut self.recorder else {
            return;
        };
        let too_long = || "a communication was longer than its bound".to_owned();
        let mut from = 0;
        for end in &sifted.ends {
            lost.add(recorder.add(&sifted.captured[from..*end]), too_long);
            from = *end;
            let whole = recorder.finish();
            lost.count(LostTo::Bound, u64::from(whole.dropped > 0));
            let written = origin.wrote(whole.bytes, whole.dropped);
            outlets.event(CaptureEvent::Communication(written), lost);
        }
        lost.add(recorder.add(&sifted.captured[from..]), too_long);
    }
}

impl Origin {
    fn wrote(&self, data: Vec<u8>, dropped: u64) -> Written {
        Written {
            run: self.run.clone(),
            pid: self.pid,
            channel: self.channel,
            data,
            dropped,
        }
    }
}

impl Outlets {
    /// Everything is shown there from now on.
    pub(super) fn show(&mut self, sink: OutputSink) {
        self.shown = Shown::at(sink);
    }

    /// Somebody listens from now on.
    pub(super) fn listen(&mut self, sender: EventSender) {
        self.events = Some(sender);
        self.is_news = true;
    }

    /// Whether somebody listens.
    pub(super) fn is_heard(&self) -> bool {
        self.events.is_some()
    }

    /// Whether that has changed since this was asked last.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.is_news)
    }

    /// Tells what an event listener says; whether anybody hears it.
    pub(super) fn protocol(&mut self, origin: &Origin, said: &[u8]) -> bool {
        self.tell(CaptureEvent::Protocol(origin.wrote(said.to_vec(), 0)))
    }

    /// Tells that it is out of the pipe.
    pub(super) fn taken(&mut self, origin: &Origin) {
        self.tell(CaptureEvent::Taken(origin.run.clone()));
    }

    fn tell(&mut self, message: CaptureEvent) -> bool {
        let events = self.events.as_ref();
        let is_heard = events.is_some_and(|events| events.tell(message));
        if !is_heard && self.events.take().is_some() {
            self.is_news = true;
        }
        is_heard
    }

    fn event(&mut self, event: CaptureEvent, lost: &mut Lost) {
        let size = event.size() as u64;
        match self.events.as_ref().map(|events| events.offer(event)) {
            None | Some(Offered::Sent) => {}
            Some(Offered::Dropped) => {
                lost.count(LostTo::Listener, 1);
                lost.add(size.max(1), || {
                    "events are dropped, because whoever listens is too slow".to_owned()
                });
            }
            Some(Offered::Gone) => {
                self.events = None;
                self.is_news = true;
            }
        }
    }

    fn syslog(&mut self, target: &SyslogTarget, line: &[u8], now: Instant, lost: &mut Lost) {
        let socket = &target.socket;
        if !self.syslogs.contains_key(socket) {
            let syslog = Syslog::new(socket.clone());
            self.syslogs.insert(socket.clone(), syslog);
        }
        let Some(syslog) = self.syslogs.get_mut(socket) else {
            return;
        };
        if let Err(error) = syslog.send(&target.name, line, now) {
            lost.count(LostTo::Syslog, 1);
            lost.add(line.len() as u64 + 1, || {
                let socket = socket.display();
                format!("the system's log at `{socket}` does not take all lines: {error}")
            });
        }
    }
}

impl Lost {
    fn add(&mut self, bytes: u64, why: impl FnOnce() -> String) {
        if bytes > 0 {
            self.bytes += bytes;
            self.why = Some(why());
        }
    }

    fn count(&mut self, reason: LostTo, records: u64) {
        if records > 0 {
            *self.records.entry(reason).or_default() += records;
        }
    }
}

impl LostTo {
    /// As metrics have it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Unfinished => "unfinished",
            Self::Listener => "listener_slow",
            Self::Syslog => "syslog",
        }
    }
}
