//! The values of XML-RPC.

use std::borrow::Cow;

/// A call as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The method's name; never empty.
    pub method: String,
    /// Its arguments in order.
    pub params: Vec<Value>,
}

/// What is answered when a call fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fault {code}: {text}")]
pub struct Fault {
    /// Which one, of Supervisor's numbers.
    pub code: i64,
    /// `NAME`, or `NAME: detail`.
    pub text: String,
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `int`, `i4`, `i8`. Written within 32 bits, which is all that clients read.
    Int(i64),
    /// `boolean`.
    Bool(bool),
    /// `double`.
    Double(f64),
    /// `string`, a bare text, or `dateTime.iso8601`.
    String(String),
    /// `base64`.
    Bytes(Vec<u8>),
    /// `array`.
    Array(Vec<Value>),
    /// `struct`, in the order of writing.
    Struct(Vec<(Cow<'static, str>, Value)>),
}

impl Value {
    /// The member of that name; the last one wins.
    pub fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Struct(members) => members
                .iter()
                .rev()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// About how many bytes the value takes, here and when it is written.
    pub fn weight(&self) -> usize {
        /// The tags around one value.
        const TAGS: usize = 32;
        TAGS + match self {
            Self::Int(_) | Self::Bool(_) | Self::Double(_) => 8,
            Self::String(text) => text.len(),
            Self::Bytes(bytes) => bytes.len() / 3 * 4,
            Self::Array(values) => values.iter().map(Self::weight).sum(),
            Self::Struct(members) => {
                let member = |(name, value): &(Cow<'_, str>, Self)| name.len() + value.weight();
                members.iter().map(member).sum()
            }
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Int(value.into())
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<Vec<Value>> for Value {
    fn from(values: Vec<Value>) -> Self {
        Self::Array(values)
    }
}
