//! The methods that Supervisor's clients call.
//!
//! A name from the wire only ever selects from the fixed table in `table`; its arguments are read
//! by `arguments`, and each method is a few lines here or in a module by theme: `actions` on
//! processes, `info` about them, windows into `files`, and `system` for the table itself.

mod actions;
mod arguments;
mod files;
mod info;
mod system;
pub(crate) mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rsv_keeper::message::Channel;
use rsv_proto::xmlrpc::{Call, Value, visible};

use super::fault::{Fault, FaultCode};
use super::supervision::{Configured, End, Reread, Supervision};
use crate::hub::Key;
use actions::Act;
use arguments::Arguments;
use table::Method;

pub(crate) use actions::{Doing, Outcome, find};
pub(crate) use arguments::Target;
pub(crate) use files::{read_window, tail_window};

/// The version of the interface, which clients check.
const API_VERSION: &str = "3.0";

/// What a method gives.
type Given = Result<Value, Fault>;

/// Answers calls.
#[derive(Debug, Clone)]
pub struct Rpc {
    supervision: Arc<dyn Supervision>,
    /// The names under which Supervisor's own interface is configured; usually `supervisor`.
    namespaces: Arc<[String]>,
}

impl Rpc {
    /// Answers calls to the interface under these names.
    pub fn new(supervision: Arc<dyn Supervision>, namespaces: impl Into<Arc<[String]>>) -> Self {
        Self {
            supervision,
            namespaces: namespaces.into(),
        }
    }

    /// Answers one call.
    ///
    /// # Errors
    ///
    /// The fault that the caller gets.
    pub async fn call(&self, call: Call) -> Given {
        let method = self.method(&call.method).ok_or(FaultCode::UnknownMethod)?;
        let arguments = Arguments::of(method, call.params)?;
        if method == Method::Multicall {
            return self.multicall(arguments.values()?).await;
        }
        self.answer(method, arguments).await
    }

    fn method(&self, name: &str) -> Option<Method> {
        let (namespace, name) = name.split_once('.')?;
        let method = Method::named(name)?;
        let is_there = match method.is_of_system() {
            true => namespace == "system",
            false => self.namespaces.iter().any(|known| known == namespace),
        };
        is_there.then_some(method)
    }

    /// Answers a call of anything but `multicall`.
    async fn answer(&self, method: Method, arguments: Arguments) -> Given {
        if self.supervision.is_ending() && !method.is_answered_at_the_end() {
            return Err(FaultCode::ShutdownState.into());
        }
        match method {
            Method::ListMethods => Ok(self.list_methods()),
            // What is no text is the name of no method.
            Method::Help => self.help(&arguments.text(0).unwrap_or_default()),
            Method::Signature => self.signature(&arguments.text(0).unwrap_or_default()),
            Method::Multicall => Err(FaultCode::IncorrectParameters.into()),
            Method::GetApiVersion | Method::GetVersion => Ok(API_VERSION.into()),
            Method::GetSupervisorVersion => Ok(env!("CARGO_PKG_VERSION").into()),
            Method::GetIdentification => Ok(self.config().config.supervisord.identifier[..].into()),
            Method::GetState => Ok(info::running()),
            Method::GetPid => Ok(std::process::id().into()),
            Method::GetProcessInfo => self.process_info(&arguments.text(0)?).await,
            Method::GetAllProcessInfo => self.all_process_info().await,
            Method::GetAllConfigInfo => Ok(info::all_config(&self.config())),
            _ if method.is_action() => self.action(method, &arguments).await,
            _ if method.is_of_logs() => self.logs(method, &arguments).await,
            _ => self.administer(method, &arguments).await,
        }
    }

    async fn action(&self, method: Method, arguments: &Arguments) -> Given {
        use Method as M;
        match method {
            M::StartAllProcesses | M::StopAllProcesses | M::SignalAllProcesses => {
                let act = Act::of(method, arguments, 0)?;
                self.act_on_all(act).await
            }
            M::StartProcessGroup | M::StopProcessGroup | M::SignalProcessGroup => {
                let act = Act::of(method, arguments, 1)?;
                self.act_on_group(&arguments.text(0)?, act).await
            }
            _ => {
                let act = Act::of(method, arguments, 1)?;
                self.act_on_one(&arguments.text(0)?, act).await
            }
        }
    }

    async fn logs(&self, method: Method, arguments: &Arguments) -> Given {
        use Method as M;
        match method {
            M::ReadLog | M::ReadMainLog => {
                let path = self.config().main_log().cloned();
                let (offset, length) = (arguments.number(0)?, arguments.number(1)?);
                read_window(path, offset, length)
                    .await
                    .map(|text| visible(&text).into())
            }
            M::ClearLog => {
                self.supervision.clear_main_log().await?;
                Ok(true.into())
            }
            M::ReadProcessLog | M::ReadProcessStdoutLog => {
                self.read_log(arguments, Channel::Stdout).await
            }
            M::ReadProcessStderrLog => self.read_log(arguments, Channel::Stderr).await,
            M::TailProcessLog | M::TailProcessStdoutLog => {
                self.tail_log(arguments, Channel::Stdout).await
            }
            M::TailProcessStderrLog => self.tail_log(arguments, Channel::Stderr).await,
            M::ClearAllProcessLogs => self.clear_all().await,
            _ => {
                let name = arguments.text(0)?;
                let key = self.one(&name).await?;
                let cleared = self.supervision.clear(&key).await;
                cleared.map_err(|denied| clear_fault(denied, &name))?;
                Ok(true.into())
            }
        }
    }

    async fn administer(&self, method: Method, arguments: &Arguments) -> Given {
        match method {
            Method::Shutdown => self.supervision.end(End::Exit).await?,
            Method::Restart => self.supervision.end(End::Restart).await?,
            Method::ReloadConfig => return Ok(reread_value(self.supervision.reread().await?)),
            Method::AddProcessGroup => {
                let name = arguments.text(0)?;
                let added = self.supervision.add_group(&name).await;
                added.map_err(|denied| Fault::denied(denied, &name))?;
            }
            Method::RemoveProcessGroup => {
                let name = arguments.text(0)?;
                let removed = self.supervision.remove_group(&name).await;
                removed.map_err(|denied| Fault::denied(denied, &name))?;
            }
            Method::SendProcessStdin => {
                let (name, bytes) = (arguments.text(0)?, arguments.bytes(1)?);
                let key = self.one(&name).await?;
                let written = self.supervision.write_stdin(&key, bytes).await;
                written.map_err(|denied| Fault::denied(denied, &name))?;
            }
            _ => {
                let (kind, data) = (arguments.text(0)?, arguments.bytes(1)?);
                self.supervision.announce(kind, data).await?;
            }
        }
        Ok(true.into())
    }

    async fn read_log(&self, arguments: &Arguments, channel: Channel) -> Given {
        let key = self.one(&arguments.text(0)?).await?;
        let (offset, length) = (arguments.number(1)?, arguments.number(2)?);
        let configured = self.config();
        let path = configured.log_file(&key, channel).cloned();
        match read_window(path, offset, length).await {
            Ok(bytes) => Ok(visible(&bytes).into()),
            Err(fault) if fault.code == FaultCode::NoFile && configured.is_auto(&key, channel) => {
                Ok("".into())
            }
            Err(fault) => Err(fault),
        }
    }

    async fn tail_log(&self, arguments: &Arguments, channel: Channel) -> Given {
        let key = self.one(&arguments.text(0)?).await?;
        let (offset, length) = (arguments.number(1)?, arguments.number(2)?);
        let path = self.config().log_file(&key, channel).cloned();
        let tail = tail_window(path, offset, length).await;
        Ok(vec![
            visible(&tail.bytes).into(),
            tail.offset.into(),
            tail.overflow.into(),
        ]
        .into())
    }

    async fn clear_all(&self) -> Given {
        let mut results = Vec::new();
        for status in self.in_order().await? {
            let key = actions::key(&status);
            let cleared = self.supervision.clear(&key).await;
            let result = cleared.map_err(|denied| clear_fault(denied, &key.to_string()));
            results.push(actions::result_value(&key, result.as_ref().err()));
        }
        Ok(results.into())
    }

    /// The key of exactly one process.
    async fn one(&self, name: &str) -> Result<Key, Fault> {
        let processes = self.supervision.processes().await?;
        let status = find(&processes, &Target::parse(name)).ok_or(FaultCode::BadName.about(name));
        status.map(actions::key)
    }

    fn config(&self) -> Arc<Configured> {
        self.supervision.configured()
    }
}

fn clear_fault(denied: super::supervision::Denied, name: &str) -> Fault {
    match denied {
        super::supervision::Denied::Failed(_) => FaultCode::Failed.about(name),
        other => Fault::denied(other, name),
    }
}

/// An array in an array, as clients take it apart.
fn reread_value(reread: Reread) -> Value {
    let names = |names: Vec<String>| Value::Array(names.into_iter().map(Value::from).collect());
    let three = vec![
        names(reread.added),
        names(reread.changed),
        names(reread.removed),
    ];
    vec![three.into()].into()
}
