//! What has held up the loop: while one thing is done nothing else is, so what takes long is said.
//!
//! Only the kernel can make any of it long: a disk that does not answer, a lock of the cgroups that
//! somebody else holds, a machine without memory.

use std::fmt::Arguments;
use std::time::{Duration, Instant};

use rsv_keeper::message::{Request, ToKeeper};

use crate::log::say;

/// What takes longer is said: a hundred times what anything takes on a busy machine.
const LONG: Duration = Duration::from_millis(500);

/// Measures one thing.
#[derive(Debug)]
pub(crate) struct Watch {
    since: Instant,
}

impl Watch {
    /// It begins.
    pub(crate) fn start() -> Self {
        Self {
            since: Instant::now(),
        }
    }

    /// It is done, and the next thing begins.
    pub(crate) fn end(self, what: Arguments<'_>) -> Self {
        let next = Self::start();
        let took = next.since.saturating_duration_since(self.since);
        if let Some(text) = complaint(took, what) {
            say(format_args!("{text}"));
        }
        next
    }
}

/// What a request is about.
pub(crate) fn request(message: &ToKeeper) -> String {
    let (what, key) = match &message.request {
        Some(Request::Spawn(spawn)) => ("starting", &spawn.run.key),
        Some(Request::Signal(signal)) => ("signalling", &signal.run.key),
        Some(Request::Note(note)) => ("noting", &note.key),
        Some(Request::Ack(run)) => ("forgetting", &run.key),
        Some(Request::CloseStream(stream)) => ("closing a stream of", &stream.run.key),
        Some(Request::DrainTo(stream)) => ("taking a drain file of", &stream.run.key),
        Some(Request::Adopt(adopt)) => ("adopting", &adopt.held.run.key),
        Some(Request::Rules(rules)) => ("taking the rules of", &rules.run.key),
        Some(Request::Reexec(_) | Request::StopsAll(_) | Request::Exit(_) | Request::Hello(_))
        | None => {
            return "a request".to_owned();
        }
    };
    format!("{what} `{key}`")
}

fn complaint(took: Duration, what: Arguments<'_>) -> Option<String> {
    let millis = took.as_millis();
    (took >= LONG).then(|| format!("{what} took {millis} ms; everything else had to wait"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsv_keeper::message::{Run, Spawn};

    #[test]
    fn only_what_takes_long_is_said_and_by_its_name() {
        let run = Run {
            key: "web:web".into(),
            attempt: 3,
        };
        let spawn = Request::Spawn(Spawn {
            run,
            ..Spawn::default()
        });
        let what = request(&ToKeeper {
            request: Some(spawn),
        });
        let short = complaint(LONG / 2, format_args!("{what}"));
        assert_eq!(short, None);
        let long = complaint(LONG, format_args!("{what}"));
        let expected = "starting `web:web` took 500 ms; everything else had to wait";
        assert_eq!(long.as_deref(), Some(expected));
    }
}
