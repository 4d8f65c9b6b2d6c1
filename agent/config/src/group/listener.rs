//! The pool of an `[eventlistener:x]`: which events it hears and how many may wait.

use crate::error::ValueError;
use crate::expand::{Here, Names};
use crate::program::Scope;
use crate::read::Reader;
use crate::value::{boolean, integer, list};

/// What the processes of an event listener share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPool {
    /// How many events wait before the oldest is dropped; at least 1.
    pub buffer_size: u32,
    /// The kinds subscribed to, sorted, each once.
    pub events: Vec<EventKind>,
    /// `result_handler` as written; only the default one can be had outside Python.
    pub result_handler: String,
}

/// A kind of event, by Supervisor's name for it. A parent stands for all that are below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKind(&'static str);

/// Makes a constant of each kind, and the list of all.
macro_rules! kinds {
    ($($name:ident)*) => {
        const KINDS: &[&str] = &[$(stringify!($name)),*];

        impl EventKind {
            $(
                #[doc = concat!("`", stringify!($name), "`")]
                pub const $name: Self = Self(stringify!($name));
            )*
        }
    };
}

kinds! {
    EVENT
    PROCESS_COMMUNICATION
    PROCESS_COMMUNICATION_STDERR
    PROCESS_COMMUNICATION_STDOUT
    PROCESS_GROUP
    PROCESS_GROUP_ADDED
    PROCESS_GROUP_REMOVED
    PROCESS_LOG
    PROCESS_LOG_STDERR
    PROCESS_LOG_STDOUT
    PROCESS_STATE
    PROCESS_STATE_BACKOFF
    PROCESS_STATE_EXITED
    PROCESS_STATE_FATAL
    PROCESS_STATE_RUNNING
    PROCESS_STATE_STARTING
    PROCESS_STATE_STOPPED
    PROCESS_STATE_STOPPING
    PROCESS_STATE_UNKNOWN
    REMOTE_COMMUNICATION
    SUPERVISOR_STATE_CHANGE
    SUPERVISOR_STATE_CHANGE_RUNNING
    SUPERVISOR_STATE_CHANGE_STOPPING
    TICK
    TICK_3600
    TICK_5
    TICK_60
}

impl EventKind {
    /// The kind of that name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        let upper = name.to_uppercase();
        let known = KINDS.iter().find(|known| **known == upper)?;
        Some(Self(known))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// Whether an event of kind `other` is delivered to a subscriber of this one.
    pub fn includes(self, other: Self) -> bool {
        let below = other.0.strip_prefix(self.0);
        self.0 == "EVENT" || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    }
}

pub(crate) const DEFAULT_RESULT_HANDLER: &str = "supervisor.dispatchers:default_handler";

/// The group's priority and its pool; `None` when something was refused.
pub(super) fn read(reader: &mut Reader<'_>, scope: &Scope<'_>) -> (i64, Option<EventPool>) {
    let names = Names::new(scope.names_env, Here::Listed);
    let section = reader.section.name.clone();
    let priority = reader.read("priority", &names, integer).unwrap_or(-1);
    let buffer_size = reader
        .read("buffer_size", &names, |text| buffer_size(&section, text))
        .unwrap_or(10);
    let result_handler = reader
        .text("result_handler", &names)
        .unwrap_or_else(|| DEFAULT_RESULT_HANDLER.to_owned());
    if result_handler != DEFAULT_RESULT_HANDLER {
        reader.advise(
            "result_handler",
            format!(
                "`{result_handler}` cannot be called; results are judged by the default handler"
            ),
        );
    }
    let events = reader.read("events", &names, |text| events(&section, text));
    if reader.raw("events").is_none() {
        reader.fail(
            format!("[{section}] section requires an \"events\" line"),
            "add a line such as events=PROCESS_STATE",
        );
    }
    let redirect = reader.read("redirect_stderr", &names, boolean);
    if redirect == Some(true) {
        let text = format!(
            "[{section}] section sets redirect_stderr=true but this is not allowed because it will \
             interfere with the eventlistener protocol"
        );
        reader.refuse("redirect_stderr", &ValueError::new(text, "false"));
    }
    let pool = events.map(|events| EventPool {
        buffer_size,
        events,
        result_handler,
    });
    (priority, pool)
}

fn buffer_size(section: &str, text: &str) -> Result<u32, ValueError> {
    let number = integer(text)?;
    u32::try_from(number)
        .ok()
        .filter(|size| *size > 0)
        .ok_or_else(|| {
            ValueError::new(
                format!("[{section}] section sets invalid buffer_size ({number})"),
                "a whole number from 1",
            )
        })
}

fn events(section: &str, text: &str) -> Result<Vec<EventKind>, ValueError> {
    let accepted = "names of event types with commas between them";
    let names = list(text);
    if names.is_empty() {
        return Err(ValueError::new(
            format!("[{section}] section requires an \"events\" line"),
            accepted,
        ));
    }
    let mut kinds = names
        .iter()
        .map(|name| {
            EventKind::from_name(name).ok_or_else(|| {
                let upper = name.to_uppercase();
                let text = format!("Unknown event type {upper} in [{section}] events");
                ValueError::new(text, accepted)
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    kinds.sort();
    kinds.dedup();
    Ok(kinds)
}
