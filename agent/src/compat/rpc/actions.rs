//! Starting, stopping and signalling, one process or many.

use std::collections::BTreeMap;

use rsv_proto::process::display_name;
use rsv_proto::wire::{
    self, ProcessState, ProcessStatus, Refusal, RestartAction, SignalAction, StartAction,
    StopAction, action::Verb,
};

use super::super::fault::{Fault, FaultCode};
use super::arguments::{Arguments, Target};
use super::table::Method;
use super::{Given, Rpc};
use crate::hub::Key;
use rsv_proto::xmlrpc::Value;

/// What is to be done, and whether its end is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Act {
    pub(crate) doing: Doing,
    pub(crate) wait: bool,
}

/// What is to be done with a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Doing {
    Start,
    Stop,
    Restart,
    /// The signal as the caller wrote it.
    Signal(String),
}

/// What came of it for one process.
pub(crate) type Outcome = Result<(), Fault>;

impl Act {
    /// The act of a method whose last argument stands at this place.
    pub(super) fn of(method: Method, arguments: &Arguments, last: usize) -> Result<Self, Fault> {
        use Method as M;
        let doing = match method {
            M::StartProcess | M::StartProcessGroup | M::StartAllProcesses => Doing::Start,
            M::StopProcess | M::StopProcessGroup | M::StopAllProcesses => Doing::Stop,
            _ => Doing::Signal(arguments.signal(last)?),
        };
        let wait = match doing {
            Doing::Signal(_) => true,
            _ => arguments.yes_unless_no(last),
        };
        Ok(Self { doing, wait })
    }
}

impl Doing {
    /// Whether a group's process in that state is taken along; the others are passed over.
    fn concerns(&self, state: ProcessState) -> bool {
        use ProcessState as S;
        match self {
            Self::Start => !is_up(state),
            Self::Stop => is_up(state),
            Self::Restart => true,
            Self::Signal(_) => matches!(state, S::Starting | S::Running | S::Stopping),
        }
    }

    /// What is sent to the hub; `None`: the null signal, which only asks whether there is somebody.
    fn verb(&self) -> Result<Option<Verb>, Fault> {
        Ok(Some(match self {
            Self::Start => Verb::Start(StartAction {}),
            Self::Stop => Verb::Stop(StopAction {}),
            Self::Restart => Verb::Restart(RestartAction {}),
            Self::Signal(name) => match signal_number(name) {
                Some(0) => return Ok(None),
                Some(signal) => Verb::Signal(SignalAction { signal }),
                None => return Err(FaultCode::BadSignal.about(name)),
            },
        }))
    }
}

impl Rpc {
    /// Acts on one process, or on a group that is written as `group:*`.
    pub(super) async fn act_on_one(&self, name: &str, act: Act) -> Given {
        let key = match Target::parse(name) {
            Target::Group(group) => {
                let bad = |_| FaultCode::BadName.about(name);
                let statuses = self.of_group(&group).await?.map_err(bad)?;
                return self.many(statuses, act).await;
            }
            Target::Process(key) => key,
        };
        let processes = self.supervision.processes().await?;
        let status = find(&processes, &Target::Process(key.clone()));
        let status = status.ok_or_else(|| FaultCode::BadName.about(name))?;
        let is_signal = matches!(act.doing, Doing::Signal(_));
        let verb = act.doing.verb()?;
        if is_signal && !act.doing.concerns(status.state()) {
            return Err(FaultCode::NotRunning.about(name));
        }
        let is_stop = matches!(act.doing, Doing::Stop);
        // What it has left is ended; that it does not run is known without waiting for that.
        let is_known = is_stop && !act.wait && is_at_rest(status.state());
        let outcomes = self.carry_out(&[key], verb, act.wait).await?;
        if is_known {
            return Err(FaultCode::NotRunning.about(name));
        }
        for outcome in outcomes {
            outcome.map_err(|refused| refused.fault(name))?;
        }
        Ok(true.into())
    }

    pub(super) async fn act_on_group(&self, group: &str, act: Act) -> Given {
        let statuses = self.of_group(group).await?;
        let statuses = statuses.map_err(|NoSuchGroup| FaultCode::BadName.about(group))?;
        self.many(statuses, act).await
    }

    pub(super) async fn act_on_all(&self, act: Act) -> Given {
        let statuses = self.in_order().await?;
        self.many(statuses, act).await
    }

    /// What a page does with one process.
    pub(crate) async fn act_for_page(&self, key: &Key, doing: Doing) -> Outcome {
        let verb = doing.verb()?;
        let name = key.to_string();
        let outcomes = self
            .carry_out(std::slice::from_ref(key), verb, true)
            .await?;
        for outcome in outcomes {
            outcome.map_err(|refused| refused.fault(&name))?;
        }
        Ok(())
    }

    /// What a page does with every process; how many there were, and those that failed.
    pub(crate) async fn act_on_all_for_page(
        &self,
        doing: Doing,
    ) -> Result<(usize, Vec<Fault>), Fault> {
        let statuses = self.in_order().await?;
        let concerned = statuses.iter().filter(|s| doing.concerns(s.state()));
        let keys: Vec<Key> = concerned.map(key).collect();
        let outcomes = self.carry_out(&keys, doing.verb()?, true).await?;
        self.end_what_is_left(&at_rest(&statuses, &doing), true)
            .await?;
        let failed = keys.iter().zip(outcomes).filter_map(|(key, outcome)| {
            let refused = outcome.err()?;
            (!refused.is_moot()).then(|| refused.fault(&key.to_string()))
        });
        Ok((keys.len(), failed.collect()))
    }

    async fn many(&self, mut statuses: Vec<ProcessStatus>, act: Act) -> Given {
        let resting = at_rest(&statuses, &act.doing);
        statuses.retain(|status| act.doing.concerns(status.state()));
        let keys: Vec<Key> = statuses.iter().map(key).collect();
        let verb = match act.doing.verb() {
            Ok(verb) => verb,
            Err(fault) => {
                let result = |key| result_value(key, Some(&fault));
                return Ok(Value::Array(keys.iter().map(result).collect()));
            }
        };
        let outcomes = self.carry_out(&keys, verb, act.wait).await?;
        self.end_what_is_left(&resting, act.wait).await?;
        let mut results = Vec::with_capacity(keys.len());
        // What was refused at once comes first, as with Supervisor.
        let (refused, rest): (Vec<_>, Vec<_>) = keys
            .iter()
            .zip(outcomes)
            .partition(|(_, outcome)| outcome.as_ref().is_err_and(Refused::is_immediate));
        for (key, outcome) in refused.into_iter().chain(rest) {
            let fault = match outcome {
                Ok(()) => None,
                // The state changed between looking and acting: it is no longer concerned.
                Err(refused) if refused.is_moot() => continue,
                Err(refused) => Some(refused.fault(&key.to_string())),
            };
            results.push(result_value(key, fault.as_ref()));
        }
        Ok(results.into())
    }

    /// Ends what those have left that do not run. Nobody is told of them: nothing of theirs was stopped.
    async fn end_what_is_left(&self, resting: &[Key], wait: bool) -> Result<(), Fault> {
        let stop = Verb::Stop(StopAction {});
        self.carry_out(resting, Some(stop), wait).await?;
        Ok(())
    }

    /// Acts on processes and gives what came of each, in their order. Without waiting, what is not
    /// settled at once has gone well so far.
    async fn carry_out(
        &self,
        keys: &[Key],
        verb: Option<Verb>,
        wait: bool,
    ) -> Result<Vec<Result<(), Refused>>, Fault> {
        let Some(verb) = verb.filter(|_| !keys.is_empty()) else {
            return Ok(vec![Ok(()); keys.len()]);
        };
        let mut receiver = self.supervision.act(keys, verb).await?;
        let mut results = BTreeMap::new();
        while results.len() < keys.len() {
            let result = match wait {
                true => receiver.recv().await,
                false => receiver.try_recv().ok(),
            };
            let Some(result) = result else {
                break;
            };
            results.insert(result.program.clone(), Refused::of(result));
        }
        let outcome = |key: &Key| match results.remove(&display_name(&key.group, &key.name)) {
            Some(outcome) => outcome,
            None if wait => Err(Refused {
                refusal: Refusal::Other,
                detail: "no result: the agent is ending".to_owned(),
            }),
            None => Ok(()),
        };
        Ok(keys.iter().map(outcome).collect())
    }

    /// Every process in the order of starting.
    pub(super) async fn in_order(&self) -> Result<Vec<ProcessStatus>, Fault> {
        let mut statuses = self.supervision.processes().await?;
        let configured = self.config();
        statuses.sort_by_key(|status| configured.place(&key(status)));
        Ok(statuses)
    }

    async fn of_group(
        &self,
        group: &str,
    ) -> Result<Result<Vec<ProcessStatus>, NoSuchGroup>, Fault> {
        let mut statuses = self.in_order().await?;
        statuses.retain(|status| status.group == group);
        let is_known = !statuses.is_empty() || self.config().groups.contains(group);
        Ok(is_known.then_some(statuses).ok_or(NoSuchGroup))
    }
}

/// There is no group of that name; the fault repeats what the caller wrote.
#[derive(Debug)]
struct NoSuchGroup;

/// Why a process was not acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    refusal: Refusal,
    detail: String,
}

impl Refused {
    fn of(result: wire::TargetResult) -> Result<(), Self> {
        let refusal = result.refusal();
        if result.outcome() == wire::Outcome::Done && refusal == Refusal::Unspecified {
            return Ok(());
        }
        let detail = result.detail;
        Err(Self { refusal, detail })
    }

    /// There was nothing to do.
    fn is_moot(&self) -> bool {
        matches!(self.refusal, Refusal::AlreadyStarted | Refusal::NotRunning)
    }

    /// Whether it is known before anything is done.
    fn is_immediate(&self) -> bool {
        !matches!(
            self.refusal,
            Refusal::SpawnError | Refusal::AbnormalTermination | Refusal::Superseded
        )
    }

    fn in_words(self, code: FaultCode) -> Fault {
        if self.detail.is_empty() {
            code.into()
        } else {
            code.about(self.detail)
        }
    }

    fn fault(self, name: &str) -> Fault {
        use FaultCode as F;
        match self.refusal {
            Refusal::NoSuchProcess | Refusal::NoSuchGroup => F::BadName.about(name),
            Refusal::AlreadyStarted => F::AlreadyStarted.about(name),
            Refusal::NotRunning => F::NotRunning.about(name),
            Refusal::NoFile => self.in_words(F::NoFile),
            Refusal::NotExecutable => self.in_words(F::NotExecutable),
            Refusal::SpawnError => F::SpawnError.about(name),
            // A start that a stop overtook has not come up.
            Refusal::AbnormalTermination | Refusal::Superseded => {
                F::AbnormalTermination.about(name)
            }
            Refusal::BadSignal => F::BadSignal.about(name),
            Refusal::ShuttingDown => F::ShutdownState.into(),
            Refusal::TooManyProcesses
            | Refusal::Disabled
            | Refusal::Other
            | Refusal::Unspecified => self.in_words(F::Failed),
        }
    }
}

/// The process of exactly that name.
pub(crate) fn find<'a>(
    processes: &'a [ProcessStatus],
    target: &Target,
) -> Option<&'a ProcessStatus> {
    let Target::Process(key) = target else {
        return None;
    };
    processes
        .iter()
        .find(|status| status.group == key.group && status.name == key.name)
}

pub(super) fn key(status: &ProcessStatus) -> Key {
    Key {
        group: status.group.clone(),
        name: status.name.clone(),
    }
}

/// One result of many.
pub(super) fn result_value(key: &Key, fault: Option<&Fault>) -> Value {
    let code = fault.map_or(FaultCode::Success, |fault| fault.code);
    let text = fault.map_or_else(|| "OK".to_owned(), Fault::text);
    Value::Struct(vec![
        ("name".into(), key.name[..].into()),
        ("group".into(), key.group[..].into()),
        ("status".into(), code.number().into()),
        ("description".into(), text.into()),
    ])
}

/// Those that a stop finds at rest, and that may have left something.
fn at_rest(statuses: &[ProcessStatus], doing: &Doing) -> Vec<Key> {
    let is_stop = matches!(doing, Doing::Stop);
    let resting = statuses
        .iter()
        .filter(|status| is_stop && is_at_rest(status.state()));
    resting.map(key).collect()
}

fn is_at_rest(state: ProcessState) -> bool {
    use ProcessState as S;
    matches!(state, S::Stopped | S::Exited | S::Fatal)
}

fn is_up(state: ProcessState) -> bool {
    use ProcessState as S;
    matches!(state, S::Starting | S::Running | S::Backoff)
}

/// The number of a signal; zero is one that only asks.
fn signal_number(name: &str) -> Option<i32> {
    if let Ok(number) = name.trim().parse::<i32>() {
        let is_known = number == 0 || rsv_config::Signal::from_number(number).is_some();
        return is_known.then_some(number);
    }
    rsv_config::Signal::from_name(name).map(rsv_config::Signal::number)
}
