//! What an operator has done: by which verb, to which programs, on which hosts, in which steps.

use std::{num::NonZeroU32, time::Duration};

use rsv_controller::{
    hub::Submission,
    operation::{Deed, Gate, OnFail, Order, Patience, Rollout, Share},
};
use rsv_proto::wire::HostSelection;

use super::{
    meaning::selected,
    world::{HOSTS, Stage},
};

/// What is done, and how often.
const DEEDS: [Deed; 17] = [
    Deed::Restart,
    Deed::Restart,
    Deed::Restart,
    Deed::Restart,
    Deed::Start,
    Deed::Start,
    Deed::Stop,
    Deed::Stop,
    Deed::Signal,
    Deed::Update,
    Deed::Update,
    Deed::Reread,
    Deed::Clear,
    Deed::Add,
    Deed::Remove,
    Deed::Reload,
    Deed::Shutdown,
];

/// To which programs.
const PROGRAMS: [&[&str]; 4] = [&["all"], &["app"], &["web:*"], &["web:web_1", "app"]];

/// To which groups.
const GROUPS: [&[&str]; 4] = [&["all"], &["extra"], &["web"], &["app", "extra"]];

/// Something to be done.
pub(super) fn errand(stage: &mut Stage, id: String) -> Submission {
    let deed = stage.dice.one_of(&DEEDS);
    let key = match stage.dice.chance(600) {
        true => format!("key-{id}"),
        false => String::new(),
    };
    let names = match deed {
        Deed::Reload | Deed::Shutdown => &["all"],
        _ if deed.is_of_configuration() => stage.dice.one_of(&GROUPS),
        _ => stage.dice.one_of(&PROGRAMS),
    };
    let selection = selection(stage);
    let hosts: Vec<usize> = selected(&selection).into_iter().collect();
    let programs = names.iter().map(|name| operand(stage, name, &hosts));
    let programs = programs.collect();
    Submission {
        id,
        actor: "operator/ann".into(),
        selection,
        programs,
        deed,
        signal: if deed == Deed::Signal { 10 } else { 0 },
        rollout: rollout(stage, deed),
        patience: Patience {
            deadline: stage.dice.one_of(&[5, 20, 30]).into_seconds(),
            timeout: Some(40.into_seconds()),
        },
        expect_hosts: None,
        is_dry_run: false,
        key,
        retry_of: String::new(),
        trace: Default::default(),
    }
}

/// What stands in the place of an errand that is said once more by its number.
pub(super) fn nothing() -> Submission {
    Submission {
        id: String::new(),
        actor: String::new(),
        selection: HostSelection::default(),
        programs: Vec::new(),
        deed: Deed::Stop,
        signal: 0,
        rollout: Rollout::at_once(Deed::Stop),
        patience: Patience {
            deadline: Duration::ZERO,
            timeout: None,
        },
        expect_hosts: None,
        is_dry_run: false,
        key: String::new(),
        retry_of: String::new(),
        trace: Default::default(),
    }
}

/// A PROGRAM: on every host, on some that are selected, or, by mistake, on one that is not.
fn operand(stage: &mut Stage, name: &str, hosts: &[usize]) -> String {
    let dice = &mut stage.dice;
    let form = dice.below(10);
    let mut one = || format!("{:02}", 1 + hosts[dice.below(hosts.len())]);
    match (form, name.contains(':')) {
        (0..6, _) => name.to_owned(),
        (6, _) => format!("h{}::{name}", one()),
        // Behind one colon it is of a host because there is one of that name.
        (7, _) => format!("h{}:{name}", one()),
        (8, _) => format!("h[{},{}]::{name}", one(), one()),
        (_, true) => format!("h{}*:{name}", dice.below(5)),
        (_, false) => format!("h{:02}::{name}", 1 + dice.below(HOSTS)),
    }
}

/// Some hosts.
fn selection(stage: &mut Stage) -> HostSelection {
    let is_wide = stage.focus > 10;
    let include = match stage.dice.below(4) {
        0 if is_wide => {
            return HostSelection {
                all: true,
                ..Default::default()
            };
        }
        1 if is_wide => vec![format!("h{}*", stage.dice.below(5))],
        _ => (0..=stage.dice.below(8))
            .map(|_| format!("h{:02}", 1 + stage.dice.below(stage.focus)))
            .collect(),
    };
    HostSelection {
        include,
        ..Default::default()
    }
}

fn rollout(stage: &mut Stage, deed: Deed) -> Rollout {
    let dice = &mut stage.dice;
    let percent = |n| Share::Percent(NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN));
    let is_stop = deed == Deed::Stop;
    let has_programs = !matches!(deed, Deed::Stop | Deed::Reload | Deed::Shutdown);
    let on_fail = match deed.inverse() {
        None => dice.one_of(&[OnFail::Abort, OnFail::Pause, OnFail::Continue]),
        Some(_) => dice.one_of(&[OnFail::Abort, OnFail::RollBack, OnFail::Continue]),
    };
    Rollout {
        batch: dice.one_of(&[percent(30), percent(50), percent(100)]),
        canary: dice.one_of(&[0, 0, 1]),
        gate: match has_programs {
            true => dice.one_of(&[Gate::None, Gate::Running]),
            false => Gate::None,
        },
        soak: dice.one_of(&[0, 0, 1]).into_seconds(),
        max_fail: dice.one_of(&[Share::ONE, percent(20), percent(100)]),
        on_fail,
        at_most_down: match is_stop {
            true => None,
            false => dice.one_of(&[None, None, NonZeroU32::new(10)]),
        },
        order: dice.one_of(&[Order::Name, Order::Reverse, Order::Random]),
    }
}

/// Seconds, said shortly.
trait Seconds {
    fn into_seconds(self) -> Duration;
}

impl Seconds for u64 {
    fn into_seconds(self) -> Duration {
        Duration::from_secs(self)
    }
}
