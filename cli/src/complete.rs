//! What could stand where the cursor is: asked for by the scripts of `rsv completion`, and by the prompt.
//!
//! `line` takes a line apart, `grammar` finds out what is wanted at its end, `names` asks an agent or a
//! controller for what is there, `offer` chooses from it. A shell waits for us at each key, so that what is
//! not known within [`LIMIT`] is not offered, whoever is slow, hangs, or is not there.

mod grammar;
mod line;
mod names;
mod offer;

use std::{
    ffi::OsString,
    io::Write as _,
    process::ExitCode,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

pub(crate) use grammar::{Place, Wanted};
pub(crate) use names::Names;
pub(crate) use offer::Offer;

use crate::args::Arguments;

/// The first word with which a script asks; the second one is the line up to the cursor.
pub(crate) const WORD: &str = "__complete";

/// From the start of the process to its answer: what is left of the 200 ms that a person does not notice goes to
/// the shell and to the start of a process.
pub(crate) const LIMIT: Duration = Duration::from_millis(150);

/// What a script is told where it should offer files itself.
const FILES: u8 = 3;

/// Answers a script, if the process was started by one.
pub(crate) fn asked(words: &[OsString]) -> Option<ExitCode> {
    let started = Instant::now();
    let [_, word, line] = words else { return None };
    if word != WORD {
        return None;
    }
    let place = Place::at_end_of(&line.to_string_lossy(), &Arguments::grammar());
    if place.wanted == Wanted::Files {
        return Some(ExitCode::from(FILES));
    }
    let names = known_until(started + LIMIT, &place);
    let mut text = String::new();
    for Offer { value, about } in offer::offers(&place, &names) {
        text.extend([&value, "\t", &about, "\n"]);
    }
    // Whoever asked may have gone.
    let shown = std::io::stdout().write_all(text.as_bytes());
    Some(ExitCode::from(u8::from(shown.is_err())))
}

/// What could stand at a place; `names` were asked for before.
pub(crate) fn offers(place: &Place, names: &Names) -> Vec<Offer> {
    offer::offers(place, names)
}

/// What is there, as far as it is known until then. The thread that asks is left to itself when it is late: it may
/// hang where nothing can end it, such as in a look-up of a name, and ends with the process.
fn known_until(until: Instant, place: &Place) -> Names {
    let Some(question) = names::question(place) else {
        return Names::default();
    };
    let (sender, names) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        if let Ok(runtime) = runtime {
            // Nobody listens any more when it is late.
            sender.send(runtime.block_on(names::ask(&question))).ok();
        }
    });
    let left = until.saturating_duration_since(Instant::now());
    names.recv_timeout(left).unwrap_or_default()
}

/// As [`asked`] does it, for a caller that goes on afterwards.
pub(crate) fn known(place: &Place) -> Names {
    known_until(Instant::now() + LIMIT, place)
}
