//! A rollout, and where an operation stands, as the wire carries them.

use std::{num::NonZeroU32, time::Duration};

use rsv_proto::{
    time::{duration_from_wire, duration_to_wire},
    wire::{self, OperationState, OutcomeCounts, share::Size},
};

use super::{Counts, Deed, Gate, OnFail, Order, Phase, Rollout, Share, Why};

/// The longest soak time: what takes longer is two operations.
const LONGEST_SOAK: Duration = Duration::from_secs(24 * 3600);

/// The most that a number of hosts or targets can be.
const MOST: u32 = 1_000_000;

/// Reads a rollout for an action; what is not said is as for all hosts at once. An error says which
/// field is wrong, what it is, and what is accepted.
pub fn read(rollout: Option<&wire::Rollout>, deed: Deed) -> Result<Rollout, String> {
    let usual = Rollout::at_once(deed);
    let Some(said) = rollout else {
        return Ok(usual);
    };
    if said.canary > MOST {
        return Err(format!(
            "canary is {}: 0 to {MOST} is accepted",
            said.canary
        ));
    }
    let soak = match &said.soak {
        None => Duration::ZERO,
        Some(soak) => duration_from_wire(soak)
            .filter(|soak| *soak <= LONGEST_SOAK)
            .ok_or("the soak time must be 0 to 24h")?,
    };
    let at_most_down = match said.at_most_down {
        None => None,
        Some(limit) => Some(
            NonZeroU32::new(limit)
                .filter(|limit| limit.get() <= MOST)
                .ok_or_else(|| format!("at-most-down is {limit}: 1 to {MOST} is accepted"))?,
        ),
    };
    Ok(Rollout {
        batch: share(said.batch.as_ref(), "batch")?.unwrap_or(usual.batch),
        canary: said.canary,
        gate: match wire::Gate::try_from(said.gate) {
            Ok(wire::Gate::Unspecified) => usual.gate,
            Ok(wire::Gate::None) => Gate::None,
            Ok(wire::Gate::Running) => Gate::Running,
            Ok(wire::Gate::Healthy) => Gate::Healthy,
            Err(_) => return Err(unknown("gate", said.gate, "none, running, healthy")),
        },
        soak,
        max_fail: share(said.max_fail.as_ref(), "max-fail")?.unwrap_or(usual.max_fail),
        on_fail: match wire::OnFail::try_from(said.on_fail) {
            Ok(wire::OnFail::Unspecified) => usual.on_fail,
            Ok(wire::OnFail::Abort) => OnFail::Abort,
            Ok(wire::OnFail::Pause) => OnFail::Pause,
            Ok(wire::OnFail::Continue) => OnFail::Continue,
            Ok(wire::OnFail::Rollback) => OnFail::RollBack,
            Err(_) => {
                let accepted = "abort, pause, continue, rollback";
                return Err(unknown("on-fail", said.on_fail, accepted));
            }
        },
        at_most_down,
        order: match wire::HostOrder::try_from(said.order) {
            Ok(wire::HostOrder::Unspecified | wire::HostOrder::Name) => Order::Name,
            Ok(wire::HostOrder::Reverse) => Order::Reverse,
            Ok(wire::HostOrder::Random) => Order::Random,
            Err(_) => return Err(unknown("order", said.order, "name, reverse, random")),
        },
    })
}

fn unknown(what: &str, number: i32, accepted: &str) -> String {
    format!("{what} {number} is not known to this controller: it knows {accepted}")
}

fn share(said: Option<&wire::Share>, what: &str) -> Result<Option<Share>, String> {
    let Some(said) = said else { return Ok(None) };
    let (number, most) = match said.size {
        Some(Size::Count(count)) => (count, MOST),
        Some(Size::Percent(percent)) => (percent, 100),
        None => (0, MOST),
    };
    let number = NonZeroU32::new(number).filter(|number| number.get() <= most);
    let number =
        number.ok_or_else(|| format!("{what} must be a number from 1, or 1 % to 100 %"))?;
    Ok(Some(match said.size {
        Some(Size::Percent(_)) => Share::Percent(number),
        _ => Share::Count(number),
    }))
}

/// A rollout for the wire, with everything said.
pub fn write(rollout: &Rollout) -> wire::Rollout {
    let share = |share: Share| wire::Share {
        size: Some(match share {
            Share::Count(count) => Size::Count(count.get()),
            Share::Percent(percent) => Size::Percent(percent.get()),
        }),
    };
    let gate = match rollout.gate {
        Gate::None => wire::Gate::None,
        Gate::Running => wire::Gate::Running,
        Gate::Healthy => wire::Gate::Healthy,
    };
    let on_fail = match rollout.on_fail {
        OnFail::Abort => wire::OnFail::Abort,
        OnFail::Pause => wire::OnFail::Pause,
        OnFail::Continue => wire::OnFail::Continue,
        OnFail::RollBack => wire::OnFail::Rollback,
    };
    let order = match rollout.order {
        Order::Name => wire::HostOrder::Name,
        Order::Reverse => wire::HostOrder::Reverse,
        Order::Random => wire::HostOrder::Random,
    };
    wire::Rollout {
        batch: Some(share(rollout.batch)),
        canary: rollout.canary,
        gate: gate.into(),
        soak: Some(duration_to_wire(rollout.soak)),
        max_fail: Some(share(rollout.max_fail)),
        on_fail: on_fail.into(),
        at_most_down: rollout.at_most_down.map(NonZeroU32::get),
        order: order.into(),
    }
}

/// Where an operation stands, and why.
pub fn state(phase: &Phase) -> (OperationState, String) {
    match phase {
        Phase::Going => (OperationState::Running, String::new()),
        Phase::Paused(why) => (OperationState::Paused, why.clone()),
        Phase::Stopping(_, reason) => (OperationState::Stopping, reason.clone()),
        Phase::Over(None) => (OperationState::Finished, String::new()),
        Phase::Over(Some((why, reason))) => (end_state(*why), reason.clone()),
    }
}

/// What an operation that ends early will be.
pub fn end_state(why: Why) -> OperationState {
    match why {
        Why::Aborted => OperationState::Aborted,
        Why::Cancelled => OperationState::Cancelled,
    }
}

/// Counts for the wire.
pub fn counts(counts: Counts) -> OutcomeCounts {
    OutcomeCounts {
        done: counts.done,
        failed: counts.failed,
        unreachable: counts.unreachable,
        expired: counts.expired,
        denied: counts.denied,
        not_attempted: counts.not_attempted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_nothing_said_is_the_usual() {
        for deed in [Deed::Start, Deed::Stop, Deed::Restart, Deed::Signal] {
            let usual = Rollout::at_once(deed);
            assert_eq!(read(None, deed), Ok(usual));
            assert_eq!(read(Some(&wire::Rollout::default()), deed), Ok(usual));
            let odd = Rollout {
                batch: Share::Percent(NonZeroU32::new(25).unwrap()),
                canary: 2,
                gate: Gate::Healthy,
                soak: Duration::from_millis(1500),
                max_fail: Share::Count(NonZeroU32::new(3).unwrap()),
                on_fail: OnFail::RollBack,
                at_most_down: NonZeroU32::new(4),
                order: Order::Random,
            };
            assert_eq!(read(Some(&write(&odd)), deed), Ok(odd));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        let size = |size| Some(wire::Share { size: Some(size) });
        let soak = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let none = wire::Rollout::default;
        for (rollout, reason) in [
            (
                wire::Rollout {
                    batch: size(Size::Count(0)),
                    ..none()
                },
                "batch",
            ),
            (
                wire::Rollout {
                    batch: size(Size::Percent(101)),
                    ..none()
                },
                "batch",
            ),
            (
                wire::Rollout {
                    batch: Some(wire::Share::default()),
                    ..none()
                },
                "batch",
            ),
            (
                wire::Rollout {
                    max_fail: size(Size::Percent(0)),
                    ..none()
                },
                "max-fail",
            ),
            (
                wire::Rollout {
                    canary: u32::MAX,
                    ..none()
                },
                "canary",
            ),
            (
                wire::Rollout {
                    soak: soak(-1),
                    ..none()
                },
                "soak",
            ),
            (
                wire::Rollout {
                    soak: soak(1_000_000),
                    ..none()
                },
                "soak",
            ),
            (wire::Rollout { gate: 9, ..none() }, "gate 9"),
            (
                wire::Rollout {
                    on_fail: 9,
                    ..none()
                },
                "on-fail 9",
            ),
            (wire::Rollout { order: 9, ..none() }, "order 9"),
            (
                wire::Rollout {
                    at_most_down: Some(0),
                    ..none()
                },
                "at-most-down",
            ),
        ] {
            let error = read(Some(&rollout), Deed::Restart).unwrap_err();
            assert!(error.contains(reason), "{error}: {reason}");
        }
    }
}
