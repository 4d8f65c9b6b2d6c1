//! How an operation goes about its hosts: in which order, how many at a time, and what has to hold in
//! between. Pure.

use std::{num::NonZeroU32, time::Duration};

use rsv_proto::name::HostName;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A number of things, or a share of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Share {
    /// So many.
    Count(NonZeroU32),
    /// 1 to 100 of a hundred, rounded up.
    Percent(NonZeroU32),
}

/// What a batch must fulfil before the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gate {
    /// Every host has answered.
    None,
    /// The programs are RUNNING, and remain so for the soak time.
    Running,
    /// The same until programs have health checks.
    Healthy,
}

/// What happens when too many targets have failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnFail {
    /// No further host is asked.
    Abort,
    /// No further host is asked until the operation is resumed.
    Pause,
    /// Nothing.
    Continue,
    /// Abort, and undo what was done.
    RollBack,
}

/// In which order hosts have their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// By name, numbers in them by value.
    Name,
    /// The other way round.
    Reverse,
    /// By lot, another for each operation.
    Random,
}

/// What is done to programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// Start.
    Start,
    /// Stop.
    Stop,
    /// Stop and start.
    Restart,
    /// Send a signal.
    Signal,
    /// Bring groups in line with the configuration files.
    Update,
    /// Read the configuration files again.
    Reread,
    /// Empty log files.
    Clear,
    /// Begin to supervise groups.
    Add,
    /// Stop everything on the host and start its agent anew.
    Reload,
    /// Stop everything on the host, and its agent.
    Shutdown,
    /// Cease to supervise groups.
    Remove,
}

/// How an operation goes about its hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Hosts in one batch.
    pub batch: Share,
    /// Hosts of a first batch of its own; 0: none.
    pub canary: u32,
    /// What has to hold after each host's answer.
    pub gate: Gate,
    /// For how long.
    pub soak: Duration,
    /// So many failed targets are too many.
    pub max_fail: Share,
    /// What happens then.
    pub on_fail: OnFail,
    /// No host is asked while one of its programs is down on so many.
    pub at_most_down: Option<NonZeroU32>,
    /// Who comes first.
    pub order: Order,
}

/// Why a rollout makes no sense for an action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RolloutError {
    /// There is no inverse.
    #[error(
        "on-fail `rollback` cannot undo a {0}: only a start (by a stop) and a stop (by a start) can be \
         undone; accepted here: abort, pause, continue"
    )]
    NothingUndoes(&'static str),
    /// A stopped program does not run.
    #[error("gate `{0}` cannot be passed by a program that was stopped; accepted for a stop: none")]
    StoppedCannotRun(&'static str),
    /// It is answered for in the words of its agent.
    #[error(
        "gate `{gate}` looks at programs that are named, and a {deed} is of all that there is; accepted for \
         a {deed}: none"
    )]
    NamesNoPrograms {
        /// The gate.
        gate: &'static str,
        /// The verb.
        deed: &'static str,
    },
    /// Nothing would bring them up again.
    #[error(
        "a stop of `{program}` on {targets} hosts keeps {targets} of them down, at most {limit} may be; \
         select fewer hosts"
    )]
    StopsTooMany {
        /// Which program.
        program: String,
        /// On how many hosts.
        targets: usize,
        /// How many may be down.
        limit: u32,
    },
}

impl Share {
    /// All of them.
    pub const ALL: Self = Self::Percent(NonZeroU32::new(100).expect("100 is not 0"));
    /// One of them.
    pub const ONE: Self = Self::Count(NonZeroU32::MIN);

    /// How many of so many that is; one at least.
    pub fn of(self, total: usize) -> usize {
        match self {
            Self::Count(count) => count.get() as usize,
            Self::Percent(percent) => (total * percent.get() as usize).div_ceil(100).max(1),
        }
    }
}

impl Deed {
    /// Whether it takes a running program down, be it for a moment.
    pub fn takes_down(self) -> bool {
        matches!(
            self,
            Self::Stop | Self::Restart | Self::Update | Self::Reload | Self::Shutdown
        )
    }

    /// Whether the host alone knows what it is about: its configuration, groups of it, and its agent.
    pub fn is_of_configuration(self) -> bool {
        matches!(
            self,
            Self::Update | Self::Reread | Self::Add | Self::Remove | Self::Reload | Self::Shutdown
        )
    }

    /// What undoes it.
    pub fn inverse(self) -> Option<Self> {
        match self {
            Self::Start => Some(Self::Stop),
            Self::Stop => Some(Self::Start),
            Self::Restart
            | Self::Signal
            | Self::Update
            | Self::Reread
            | Self::Clear
            | Self::Add
            | Self::Remove
            | Self::Reload
            | Self::Shutdown => None,
        }
    }

    /// The verb as it is typed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Signal => "signal",
            Self::Update => "update",
            Self::Reread => "reread",
            Self::Clear => "clear",
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Reload => "reload",
            Self::Shutdown => "shutdown",
        }
    }
}

impl Gate {
    /// What an action has to pass when its caller does not say.
    pub fn of(deed: Deed) -> Self {
        match deed {
            Deed::Start | Deed::Restart | Deed::Update => Self::Running,
            Deed::Stop
            | Deed::Signal
            | Deed::Reread
            | Deed::Clear
            | Deed::Add
            | Deed::Remove
            | Deed::Reload
            | Deed::Shutdown => Self::None,
        }
    }

    /// The word as it is typed.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Running => "running",
            Self::Healthy => "healthy",
        }
    }
}

impl Rollout {
    /// All hosts at once.
    pub fn at_once(deed: Deed) -> Self {
        Self {
            batch: Share::ALL,
            canary: 0,
            gate: Gate::of(deed),
            soak: Duration::ZERO,
            max_fail: Share::ONE,
            on_fail: OnFail::Abort,
            at_most_down: None,
            order: Order::Name,
        }
    }

    /// Whether it can be kept with this action.
    pub fn check(&self, deed: Deed) -> Result<(), RolloutError> {
        if self.on_fail == OnFail::RollBack && deed.inverse().is_none() {
            return Err(RolloutError::NothingUndoes(deed.word()));
        }
        if deed == Deed::Stop && self.gate != Gate::None {
            return Err(RolloutError::StoppedCannotRun(self.gate.word()));
        }
        if matches!(deed, Deed::Reload | Deed::Shutdown) && self.gate != Gate::None {
            let (gate, deed) = (self.gate.word(), deed.word());
            return Err(RolloutError::NamesNoPrograms { gate, deed });
        }
        Ok(())
    }

    /// The hosts, which come in natural order, in their batches.
    pub fn batches(&self, id: &str, mut hosts: Vec<HostName>) -> Vec<Vec<HostName>> {
        let size = self.batch.of(hosts.len());
        match self.order {
            Order::Name => {}
            Order::Reverse => hosts.reverse(),
            Order::Random => hosts.sort_by_cached_key(|host| {
                let text = format!("{id}\n{host}");
                <[u8; 32]>::from(Sha256::digest(text.as_bytes()))
            }),
        }
        let canary = (self.canary as usize).min(hosts.len());
        let rest = hosts.split_off(canary);
        let mut batches: Vec<Vec<HostName>> = rest.chunks(size).map(<[_]>::to_vec).collect();
        if canary > 0 {
            batches.insert(0, hosts);
        }
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(text: &str) -> Share {
        let number = |text: &str| text.parse().unwrap();
        match text.strip_suffix('%') {
            Some(percent) => Share::Percent(number(percent)),
            None => Share::Count(number(text)),
        }
    }

    fn hosts(n: usize) -> Vec<HostName> {
        (1..=n).map(|n| format!("h{n}").parse().unwrap()).collect()
    }

    #[test]
    fn hosts_are_cut_into_batches_with_the_canary_first() {
        for (batch, canary, sizes) in [
            ("25%", 0, vec![5, 5, 5, 5]),
            ("25%", 1, vec![1, 5, 5, 5, 4]),
            ("3", 0, vec![3, 3, 3, 3, 3, 3, 2]),
            ("100%", 0, vec![20]),
            ("1%", 18, vec![18, 1, 1]),
            ("50", 30, vec![20]),
        ] {
            let rollout = Rollout {
                batch: share(batch),
                canary,
                ..Rollout::at_once(Deed::Restart)
            };
            let batches = rollout.batches("op", hosts(20));
            let found: Vec<usize> = batches.iter().map(Vec::len).collect();
            assert_eq!(found, sizes, "{batch} {canary}");
            let mut all: Vec<HostName> = batches.into_iter().flatten().collect();
            all.sort();
            assert_eq!(all, hosts(20));
        }
    }

    #[test]
    fn lots_differ_from_operation_to_operation_and_stay_within_one() {
        let rollout = Rollout {
            order: Order::Random,
            ..Rollout::at_once(Deed::Restart)
        };
        let order = |id: &str| rollout.batches(id, hosts(20)).concat();
        assert_eq!(order("a"), order("a"));
        assert_ne!(order("a"), order("b"));
        assert_ne!(order("a"), hosts(20));
    }

    #[test]
    fn rollouts_that_cannot_be_kept_are_refused() {
        let rollback = |deed| Rollout {
            on_fail: OnFail::RollBack,
            ..Rollout::at_once(deed)
        };
        for (deed, is_fine) in [
            (Deed::Start, true),
            (Deed::Stop, true),
            (Deed::Restart, false),
            (Deed::Signal, false),
        ] {
            assert_eq!(rollback(deed).check(deed).is_ok(), is_fine, "{deed:?}");
        }
        let running = Rollout::at_once(Deed::Start);
        for deed in [Deed::Stop, Deed::Reload, Deed::Shutdown] {
            assert!(running.check(deed).is_err(), "{deed:?}");
            assert_eq!(Rollout::at_once(deed).check(deed), Ok(()), "{deed:?}");
        }
        assert_eq!(running.check(Deed::Update), Ok(()));
    }
}
