//! What the keeper does in the agent's place while none is there: it moves output into its files, or
//! keeps it for the next one.

use std::time::Instant;

use rsv_keeper::message::Channel;

use crate::drain::{self, Draining, Keeping, Moved, Presence};
use crate::ending::Ending;
use crate::keeper::Keeper;
use crate::log::say;
use crate::poll::{Poll, Token};
use crate::process::Output;
use crate::table::Id;

const OUTPUTS: [Channel; 2] = [Channel::Stdout, Channel::Stderr];

impl Keeper {
    fn drains_from(&self) -> Option<Instant> {
        self.presence
            .drains_from(matches!(self.ending, Ending::Stopping { .. }))
    }

    /// Begins to drain when it is time to, and goes on where a pause is over.
    pub(crate) fn drain_when_due(&mut self, now: Instant) {
        let has_begun = self.is_draining;
        if !has_begun && self.drains_from().is_none_or(|from| from > now) {
            return;
        }
        self.is_draining = true;
        if !has_begun {
            self.room_to_keep = drain::KEPT_OF_ALL;
        }
        for id in self.table.ids() {
            for channel in OUTPUTS {
                let Some(output) = self.output_mut(id, channel) else {
                    continue;
                };
                match output.draining {
                    Draining::Idle if !has_begun && output.file.is_some() => {
                        self.watch(id, channel, now);
                    }
                    Draining::Paused(until) if until <= now => self.watch(id, channel, now),
                    Draining::Kept(until) if until <= now => self.keep(id, channel, now),
                    Draining::Idle
                    | Draining::Paused(_)
                    | Draining::Kept(_)
                    | Draining::Watching
                    | Draining::Finished => {}
                }
            }
        }
    }

    /// When [`Keeper::drain_when_due`] has something to do.
    pub(crate) fn drain_deadline(&self) -> Option<Instant> {
        if !self.is_draining {
            return self.drains_from();
        }
        let outputs = self.table.iter().flat_map(|(_, process)| {
            OUTPUTS
                .into_iter()
                .filter_map(|channel| process.output(channel))
        });
        let pauses = outputs.filter_map(|output| match output.draining {
            Draining::Paused(until) | Draining::Kept(until) => Some(until),
            Draining::Idle | Draining::Watching | Draining::Finished => None,
        });
        pauses.min()
    }

    fn output_mut(&mut self, id: Id, channel: Channel) -> Option<&mut Output> {
        self.table.get_mut(id)?.output_mut(channel)
    }

    fn watch(&mut self, id: Id, channel: Channel, now: Instant) {
        let Some(process) = self.table.get_mut(id) else {
            return;
        };
        let Some(output) = process.output_mut(channel) else {
            return;
        };
        output.draining = match self.poll.add(&output.pipe, Token::Output(id, channel)) {
            Ok(()) => Draining::Watching,
            Err(_) => drain::after(Moved::Refused(rustix::io::Errno::NOMEM), now),
        };
    }

    /// There is output to move.
    pub(crate) fn drain(&mut self, id: Id, channel: Channel, now: Instant) {
        if !self.is_draining {
            return;
        }
        let Some(process) = self.table.get_mut(id) else {
            return;
        };
        let Some(output) = process.output_mut(channel) else {
            return;
        };
        if output.draining != Draining::Watching {
            return;
        }
        if output.keeps && !output.is_raw {
            // From now on there is something in it, and the clock says when to look.
            self.poll.remove(&output.pipe);
            return self.keep(id, channel, now);
        }
        let moved = drain::move_once(output);
        output.draining = drain::after(moved, now);
        if output.draining != Draining::Watching {
            self.poll.remove(&output.pipe);
        }
        // Once for each time that it begins, not for each attempt.
        let was_known = output.is_refusal_known;
        output.is_refusal_known = match moved {
            Moved::Refused(_) => true,
            Moved::Some => false,
            Moved::Nothing | Moved::End => was_known,
        };
        if let Moved::Refused(errno) = moved
            && !was_known
        {
            let key = &process.run.key;
            say(format_args!(
                "cannot save the output of `{key}`, it waits in its pipe: {errno}"
            ));
        }
    }

    /// Looks after a pipe that is kept for the next agent.
    fn keep(&mut self, id: Id, channel: Channel, now: Instant) {
        let Some(process) = self.table.get_mut(id) else {
            return;
        };
        let Some(output) = process.output_mut(channel) else {
            return;
        };
        let keeping = drain::keep(output, &mut self.room_to_keep);
        output.draining = drain::after_look(keeping, now);
        if keeping == Keeping::TooMuch {
            output.is_raw = true;
            let key = &process.run.key;
            say(format_args!(
                "no agent has looked at the output of `{key}` for too long: it goes into its log as it is"
            ));
            self.watch(id, channel, now);
        }
    }

    /// Stops draining, before the next agent begins to read.
    pub(crate) fn stop_draining(&mut self) {
        if !std::mem::take(&mut self.is_draining) {
            return;
        }
        for id in self.table.ids() {
            for channel in OUTPUTS {
                let Some(process) = self.table.get_mut(id) else {
                    continue;
                };
                let Some(output) = process.output_mut(channel) else {
                    continue;
                };
                stop(&self.poll, output);
            }
        }
    }

    /// The agent that the keeper had broken with does not read any more.
    pub(crate) fn estranged_ended(&mut self) {
        if let Some(pidfd) = self.estranged.take() {
            self.poll.remove(&pidfd);
        }
        if let Presence::Gone { is_estranged, .. } = &mut self.presence {
            *is_estranged = false;
        }
    }

    /// Moves all that is in the pipes. The keeper is about to go, and the pipes with it.
    pub(crate) fn drain_the_rest(&mut self) {
        for (_, process) in self.table.iter() {
            for output in OUTPUTS
                .into_iter()
                .filter_map(|channel| process.output(channel))
            {
                if let Err(error) = drain::empty(output) {
                    let key = &process.run.key;
                    say(format_args!(
                        "cannot save the last output of `{key}`: {error}"
                    ));
                }
            }
        }
    }
}

fn stop(poll: &Poll, output: &mut Output) {
    if output.draining == Draining::Watching {
        poll.remove(&output.pipe);
    }
    output.draining = Draining::Idle;
    output.is_raw = false;
}
