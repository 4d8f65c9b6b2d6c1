//! The keeper's way to its own end, as a pure decision.
//!
//! An agent that is there stops the programs; the keeper does it by itself only when there is none,
//! when it leaves before it is done, or, if it was the keeper that was told to end, when it takes too
//! long.

use std::time::{Duration, Instant};

use rsv_keeper::message::StopRule;

use crate::process::Stop;

/// What an agent gets beyond the longest grace of its programs, to stop them in its own order.
const MARGIN: Duration = Duration::from_secs(10);

/// How long the end of a killed process is waited for. Only one that is stuck in the kernel takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the keeper is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Not on it.
    No,
    /// The agent has begun to stop everything, for a reason of its own, and takes its time.
    Entrusted,
    /// The agent was told and has until then.
    Asked {
        /// When the keeper does it by itself.
        until: Instant,
    },
    /// The keeper stops the programs by itself.
    Stopping {
        /// When it goes without those that cannot be ended.
        give_up: Instant,
        /// An agent came meanwhile. It is let finish: one whose keeper is gone looks for another.
        is_joined: bool,
    },
    /// The agent has stopped everything; the keeper goes when no run is alive.
    Leaving,
}

/// What happens to the keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// It was told to end.
    Told {
        /// An agent is connected.
        is_agent_here: bool,
    },
    /// The agent said that it has begun to stop everything.
    AgentStops,
    /// The agent said that everything is stopped.
    AgentDone,
    /// The agent's connection has ended.
    AgentGone,
    /// An agent was accepted.
    AgentCame,
    /// Time has passed.
    Elapsed,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    None,
    /// Tell the agent.
    TellAgent,
    /// Ask every program to end.
    StopAll,
    /// Kill every program now.
    KillAll,
}

impl Ending {
    /// Moves on by one event. `grace` is the longest of all programs alive.
    pub(crate) fn step(self, event: Event, grace: Duration, now: Instant) -> (Self, Effect) {
        let asked = Self::Asked {
            until: now + grace + MARGIN,
        };
        let stopping = Self::Stopping {
            give_up: now + grace + PATIENCE,
            is_joined: false,
        };
        match (self, event) {
            (
                Self::No | Self::Entrusted | Self::Leaving,
                Event::Told {
                    is_agent_here: true,
                },
            ) => (asked, Effect::TellAgent),
            (
                Self::No | Self::Entrusted | Self::Leaving,
                Event::Told {
                    is_agent_here: false,
                },
            )
            | (Self::Entrusted, Event::AgentGone)
            | (Self::Asked { .. }, Event::Told { .. } | Event::AgentGone) => {
                (stopping, Effect::StopAll)
            }
            (Self::Asked { until }, Event::Elapsed) if until <= now => (stopping, Effect::StopAll),
            (Self::Stopping { .. }, Event::Told { .. }) => (
                Self::Stopping {
                    give_up: now + PATIENCE,
                    is_joined: false,
                },
                Effect::KillAll,
            ),
            (Self::Entrusted | Self::Asked { .. }, Event::AgentCame) => (self, Effect::TellAgent),
            (Self::Stopping { give_up, .. }, Event::AgentCame) => (
                Self::Stopping {
                    give_up,
                    is_joined: true,
                },
                Effect::TellAgent,
            ),
            (Self::Stopping { give_up, .. }, Event::AgentDone | Event::AgentGone) => (
                Self::Stopping {
                    give_up,
                    is_joined: false,
                },
                Effect::None,
            ),
            (Self::No, Event::AgentStops) => (Self::Entrusted, Effect::None),
            // A new agent has other plans than the one that went.
            (Self::Leaving, Event::AgentCame) => (Self::No, Effect::None),
            (Self::No | Self::Entrusted | Self::Asked { .. }, Event::AgentDone) => {
                (Self::Leaving, Effect::None)
            }
            (
                Self::No
                | Self::Entrusted
                | Self::Asked { .. }
                | Self::Stopping { .. }
                | Self::Leaving,
                Event::AgentStops
                | Event::AgentDone
                | Event::AgentGone
                | Event::AgentCame
                | Event::Elapsed,
            ) => (self, Effect::None),
        }
    }

    /// Whether the keeper's end has come, and with which exit code.
    pub(crate) fn is_reached(self, alive: usize, now: Instant) -> Option<u8> {
        match self {
            Self::Leaving if alive == 0 => Some(0),
            Self::Stopping { give_up, is_joined } if alive == 0 => {
                (!is_joined || give_up <= now).then_some(0)
            }
            Self::Stopping { give_up, .. } if give_up <= now => Some(1),
            Self::No
            | Self::Entrusted
            | Self::Asked { .. }
            | Self::Stopping { .. }
            | Self::Leaving => None,
        }
    }

    /// When [`Event::Elapsed`] or the end is due.
    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Asked { until } => Some(until),
            Self::Stopping { give_up, .. } => Some(give_up),
            Self::No | Self::Entrusted | Self::Leaving => None,
        }
    }

    /// Whether programs can still be started.
    pub(crate) fn accepts_programs(self) -> bool {
        self == Self::No
    }
}

/// How long a program may take to end.
pub(crate) fn grace(rule: &StopRule) -> Duration {
    // A year is as good as for ever, and a sum of it with any moment is a moment.
    Duration::from_millis(rule.grace_ms).min(Duration::from_secs(365 * 24 * 3600))
}

/// Whether a program that was asked to end is to be killed now.
pub(crate) fn is_kill_due(stop: Stop, now: Instant) -> bool {
    matches!(stop, Stop::Asked { kill_at } if kill_at <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    fn story(events: &[(u64, Event, Effect)]) -> (Ending, Instant) {
        let start = Instant::now();
        let mut ending = Ending::No;
        for (seconds, event, effect) in events {
            let now = start + Duration::from_secs(*seconds);
            let (next, answer) = ending.step(*event, GRACE, now);
            assert_eq!(answer, *effect, "{ending:?} {event:?}");
            ending = next;
        }
        (ending, start)
    }

    const HERE: Event = Event::Told {
        is_agent_here: true,
    };
    const ALONE: Event = Event::Told {
        is_agent_here: false,
    };

    #[test]
    fn an_agent_that_is_there_stops_the_programs() {
        let (ending, start) = story(&[
            (0, HERE, Effect::TellAgent),
            (3, Event::Elapsed, Effect::None),
            (9, Event::AgentDone, Effect::None),
        ]);
        assert_eq!(ending, Ending::Leaving);
        assert_eq!(ending.is_reached(1, start), None);
        assert_eq!(ending.is_reached(0, start), Some(0));
    }

    #[test]
    fn the_keeper_does_it_when_the_agent_does_not() {
        for (seconds, event) in [(1, Event::AgentGone), (1, HERE), (16, Event::Elapsed)] {
            let (ending, start) = story(&[
                (0, HERE, Effect::TellAgent),
                (seconds, event, Effect::StopAll),
            ]);
            assert!(matches!(ending, Ending::Stopping { .. }));
            assert_eq!(ending.is_reached(1, start), None);
            assert_eq!(
                ending.is_reached(1, start + Duration::from_secs(32)),
                Some(1)
            );
            assert_eq!(ending.is_reached(0, start), Some(0));
        }
    }

    #[test]
    fn an_agent_that_dies_while_it_stops_everything_is_stood_in_for() {
        let (ending, start) = story(&[
            (0, Event::AgentStops, Effect::None),
            (3600, Event::Elapsed, Effect::None),
            (3600, Event::AgentGone, Effect::StopAll),
            (3601, Event::AgentCame, Effect::TellAgent),
            (3601, Event::AgentStops, Effect::None),
        ]);
        assert!(!ending.accepts_programs());
        assert_eq!(ending.is_reached(0, start), None, "the new agent finishes");
        let late = start + Duration::from_secs(3600) + GRACE + PATIENCE;
        assert_eq!(ending.is_reached(0, late), Some(0));
        for event in [Event::AgentGone, Event::AgentDone] {
            let (ending, _) = ending.step(event, GRACE, start);
            assert_eq!(ending.is_reached(1, start), None);
            assert_eq!(ending.is_reached(0, start), Some(0));
        }
    }

    #[test]
    fn an_agent_that_stops_everything_takes_its_time_unless_the_keeper_is_told_to_end() {
        let (ending, _) = story(&[(0, Event::AgentStops, Effect::None)]);
        assert_eq!(ending.deadline(), None);
        assert!(!ending.accepts_programs());
        let (ending, start) = story(&[
            (0, Event::AgentStops, Effect::None),
            (1, HERE, Effect::TellAgent),
            (16, Event::Elapsed, Effect::StopAll),
        ]);
        assert_eq!(ending.is_reached(0, start), Some(0));
        let (ending, _) = story(&[
            (0, Event::AgentStops, Effect::None),
            (9, Event::AgentDone, Effect::None),
        ]);
        assert_eq!(ending, Ending::Leaving);
    }

    #[test]
    fn told_again_the_keeper_stops_waiting() {
        let (ending, _) = story(&[
            (0, ALONE, Effect::StopAll),
            (1, Event::AgentGone, Effect::None),
            (1, Event::AgentCame, Effect::TellAgent),
            (1, Event::AgentStops, Effect::None),
            (1, Event::AgentDone, Effect::None),
            (1, ALONE, Effect::KillAll),
        ]);
        assert!(!ending.accepts_programs());
    }

    #[test]
    fn a_new_agent_keeps_a_keeper_that_was_about_to_leave() {
        let (ending, _) = story(&[
            (0, Event::AgentDone, Effect::None),
            (1, Event::AgentGone, Effect::None),
            (2, Event::AgentCame, Effect::None),
        ]);
        assert_eq!(ending, Ending::No);
        assert_eq!(ending.deadline(), None);
    }
}
