//! From the arguments of a call to what its method takes. Whatever does not fit is the fault
//! `INCORRECT_PARAMETERS`.

use super::super::fault::{Fault, FaultCode};
use super::table::Method;
use crate::hub::Key;
use rsv_proto::xmlrpc::Value;

/// Arguments of the right number.
#[derive(Debug, PartialEq)]
pub(crate) struct Arguments(Vec<Value>);

/// What a name names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// `group:*` or `group:`.
    Group(String),
    /// `name`, which is also its group's, or `group:name`.
    Process(Key),
}

impl Arguments {
    pub(crate) fn of(method: Method, params: Vec<Value>) -> Result<Self, Fault> {
        let row = method.row();
        let least = row.takes.len() - row.optional;
        if (least..=row.takes.len()).contains(&params.len()) {
            Ok(Self(params))
        } else {
            Err(incorrect())
        }
    }

    pub(crate) fn text(&self, place: usize) -> Result<String, Fault> {
        match self.0.get(place) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Bytes(bytes)) => String::from_utf8(bytes.clone()).map_err(|_| incorrect()),
            _ => Err(incorrect()),
        }
    }

    /// A text as its bytes; the fault repeats a number, as Supervisor's does.
    pub(crate) fn bytes(&self, place: usize) -> Result<Vec<u8>, Fault> {
        match self.0.get(place) {
            Some(Value::String(text)) => Ok(text.clone().into_bytes()),
            Some(Value::Bytes(bytes)) => Ok(bytes.clone()),
            Some(Value::Int(number)) => {
                Err(FaultCode::IncorrectParameters.about(number.to_string()))
            }
            _ => Err(incorrect()),
        }
    }

    /// A whole number; also written as a text.
    pub(crate) fn number(&self, place: usize) -> Result<i64, Fault> {
        match self.0.get(place) {
            Some(Value::Int(number)) => Ok(*number),
            Some(Value::Bool(value)) => Ok((*value).into()),
            Some(Value::Double(number)) if number.is_finite() => Ok(number.trunc() as i64),
            Some(Value::String(text)) => text.trim().parse().map_err(|_| incorrect()),
            _ => Err(incorrect()),
        }
    }

    /// A choice that is yes when it is left out.
    pub(crate) fn yes_unless_no(&self, place: usize) -> bool {
        match self.0.get(place) {
            None => true,
            Some(Value::Bool(value)) => *value,
            Some(Value::Int(number)) => *number != 0,
            Some(Value::Double(number)) => *number != 0.0,
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Bytes(bytes)) => !bytes.is_empty(),
            Some(Value::Array(values)) => !values.is_empty(),
            Some(Value::Struct(members)) => !members.is_empty(),
        }
    }

    /// A signal by name or number; a text or a number.
    pub(crate) fn signal(&self, place: usize) -> Result<String, Fault> {
        match self.0.get(place) {
            Some(Value::Int(number)) => Ok(number.to_string()),
            _ => self.text(place),
        }
    }

    /// The only argument, which is an array.
    pub(crate) fn values(mut self) -> Result<Vec<Value>, Fault> {
        match self.0.pop() {
            Some(Value::Array(values)) => Ok(values),
            _ => Err(incorrect()),
        }
    }
}

impl Target {
    pub(crate) fn parse(name: &str) -> Self {
        match name.split_once(':') {
            Some((group, "" | "*")) => Self::Group(group.to_owned()),
            Some((group, name)) => Self::process(group, name),
            None => Self::process(name, name),
        }
    }

    fn process(group: &str, name: &str) -> Self {
        Self::Process(Key {
            group: group.to_owned(),
            name: name.to_owned(),
        })
    }
}

fn incorrect() -> Fault {
    FaultCode::IncorrectParameters.into()
}
