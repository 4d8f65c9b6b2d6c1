//! The methods about methods.

use super::super::fault::FaultCode;
use super::arguments::Arguments;
use super::table::{Method, Row, TABLE};
use super::{Given, Rpc};
use rsv_proto::xmlrpc::{Call, Value};

/// What the answers to the calls of one `multicall` may come to. A request of some megabytes can hold
/// thousands of calls, each with megabytes for an answer, and all answers are held until the last.
const ANSWERS: usize = 64 << 20;

impl Rpc {
    pub(super) fn list_methods(&self) -> Value {
        let mut names = Vec::new();
        for row in TABLE {
            if row.method.is_of_system() {
                names.push(format!("system.{}", row.name));
            } else {
                let full = |namespace| format!("{namespace}.{}", row.name);
                names.extend(self.namespaces.iter().map(full));
            }
        }
        names.sort();
        Value::Array(names.into_iter().map(Value::from).collect())
    }

    pub(super) fn help(&self, name: &str) -> Given {
        let row = self.row(name)?;
        let mut text = format!("{}\n", row.help);
        for (name, kind) in row.takes {
            text.push_str(&format!("\n@param {} {name}", kind.word()));
        }
        text.push_str(&format!("\n@return {} result\n", row.gives.word()));
        Ok(text.into())
    }

    pub(super) fn signature(&self, name: &str) -> Given {
        let row = self.row(name)?;
        let takes = row.takes.iter().map(|(_, kind)| *kind);
        let words = std::iter::once(row.gives).chain(takes);
        Ok(Value::Array(words.map(|kind| kind.word().into()).collect()))
    }

    fn row(&self, name: &str) -> Result<&'static Row, FaultCode> {
        let method = self.method(name);
        method
            .map(Method::row)
            .ok_or(FaultCode::SignatureUnsupported)
    }

    /// Makes calls in order, each after the former one's answer. A fault of one is its result. Once
    /// the answers are too large together, no further call is made.
    pub(super) async fn multicall(&self, calls: Vec<Value>) -> Given {
        let mut results = Vec::with_capacity(calls.len());
        let mut weight = 0;
        for call in calls {
            let result = match weight {
                0..ANSWERS => self.one_of_many(&call).await,
                _ => Err(FaultCode::Failed.about("the answers before are too large")),
            };
            weight += result.as_ref().map_or(0, Value::weight);
            results.push(result.unwrap_or_else(|fault| {
                Value::Struct(vec![
                    ("faultCode".into(), fault.code.number().into()),
                    ("faultString".into(), fault.text().into()),
                ])
            }));
        }
        Ok(results.into())
    }

    async fn one_of_many(&self, call: &Value) -> Given {
        let Some(Value::String(name)) = call.member("methodName") else {
            return Err(FaultCode::IncorrectParameters.about("No methodName"));
        };
        let params = match call.member("params") {
            None => Vec::new(),
            Some(Value::Array(params)) => params.clone(),
            Some(_) => return Err(FaultCode::IncorrectParameters.into()),
        };
        let call = Call {
            method: name.clone(),
            params,
        };
        let method = self.method(&call.method).ok_or(FaultCode::UnknownMethod)?;
        if method == Method::Multicall {
            let why = "Recursive system.multicall forbidden";
            return Err(FaultCode::IncorrectParameters.about(why));
        }
        let arguments = Arguments::of(method, call.params)?;
        self.answer(method, arguments).await
    }
}
