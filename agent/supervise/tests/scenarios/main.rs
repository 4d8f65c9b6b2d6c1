//! Stories: what one process goes through, as tables of time, event and what the machine wants.

mod ending;
mod pacing;
mod reconfiguring;
mod starting;
mod stopping;
mod story;
