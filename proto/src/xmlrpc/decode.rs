//! From the text of a call to a [`Call`], and from that of an answer to its result or fault.
//!
//! A document type is refused, so there are no entities but the five that XML has; nesting and the
//! number of values are bounded. The grammar is the one that Supervisor accepts.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

use super::{Call, Fault, Value};

/// Values inside values. A multicall of real calls needs four.
const DEPTH: usize = 32;

/// Values in one call. A multicall over some thousand programs needs three for each.
const VALUES: usize = 100_000;

/// Values in one answer. All that is known of a hundred thousand processes is about twenty for each.
const VALUES_OF_ANSWER: usize = 3_000_000;

/// Why a text is not a call, or not an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is not UTF-8.
    #[error("the message is not UTF-8")]
    Encoding,
    /// It is not XML.
    #[error("the message is not well-formed: {0}")]
    Xml(String),
    /// It has a document type.
    #[error("the message has a document type")]
    DocType,
    /// An entity that XML does not have.
    #[error("the message refers to an unknown entity")]
    Entity,
    /// Something stands where it may not.
    #[error("the message has {0} in a wrong place")]
    Grammar(&'static str),
    /// No method is named.
    #[error("the message names no method")]
    NoMethod,
    /// A value cannot be read as its type.
    #[error("the message has a bad {0}")]
    Value(&'static str),
    /// Too deep or too many.
    #[error("the message has too many values")]
    TooMuch,
}

type Result<T> = std::result::Result<T, DecodeError>;

/// Reads a call.
///
/// # Errors
///
/// [`DecodeError`]: the text is none.
pub fn decode(body: &[u8]) -> Result<Call> {
    let mut parser = Parser::new(body, VALUES)?;
    parser.root(Tag::MethodCall)?;
    let call = parser.call()?;
    parser.end()?;
    Ok(call)
}

/// Reads an answer: the result of a call, or its fault.
///
/// # Errors
///
/// [`DecodeError`]: the text is none.
pub fn answer(body: &[u8]) -> Result<std::result::Result<Value, Fault>> {
    let mut parser = Parser::new(body, VALUES_OF_ANSWER)?;
    parser.root(Tag::MethodResponse)?;
    let answer = parser.answer()?;
    parser.close()?;
    parser.end()?;
    Ok(answer)
}

/// The elements there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    MethodCall,
    MethodName,
    MethodResponse,
    Fault,
    Params,
    Param,
    Value,
    Array,
    Data,
    Struct,
    Member,
    Name,
    Scalar(Scalar),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scalar {
    Int,
    Bool,
    Double,
    String,
    Base64,
    DateTime,
}

enum Token {
    Open(Tag),
    /// The element that is open.
    Close,
    /// Some text; blank text between elements is left out by who asks.
    Text(String),
    End,
}

struct Parser<'a> {
    reader: Reader<&'a [u8]>,
    /// Elements that are open.
    open: usize,
    /// Values that may still come.
    values: usize,
}

impl Tag {
    fn of(name: &str) -> Result<Self> {
        Ok(match name {
            "methodCall" => Self::MethodCall,
            "methodName" => Self::MethodName,
            "methodResponse" => Self::MethodResponse,
            "fault" => Self::Fault,
            "params" => Self::Params,
            "param" => Self::Param,
            "value" => Self::Value,
            "array" => Self::Array,
            "data" => Self::Data,
            "struct" => Self::Struct,
            "member" => Self::Member,
            "name" => Self::Name,
            "int" | "i4" | "i8" => Self::Scalar(Scalar::Int),
            "boolean" => Self::Scalar(Scalar::Bool),
            "double" => Self::Scalar(Scalar::Double),
            "string" => Self::Scalar(Scalar::String),
            "base64" => Self::Scalar(Scalar::Base64),
            "dateTime.iso8601" => Self::Scalar(Scalar::DateTime),
            _ => return Err(DecodeError::Grammar("an unknown element")),
        })
    }
}

impl<'a> Parser<'a> {
    fn new(body: &'a [u8], values: usize) -> Result<Self> {
        let text = std::str::from_utf8(body).map_err(|_| DecodeError::Encoding)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = Reader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        Ok(Self {
            reader,
            open: 0,
            values,
        })
    }
}

impl Parser<'_> {
    /// What stands in an open `methodResponse`, but its end.
    fn answer(&mut self) -> Result<std::result::Result<Value, Fault>> {
        match self.child()? {
            Some(Tag::Params) => {
                let mut params = self.params()?;
                match (params.pop(), params.pop()) {
                    (Some(value), None) => Ok(Ok(value)),
                    _ => Err(DecodeError::Value("number of results")),
                }
            }
            Some(Tag::Fault) => {
                self.only_child(Tag::Value)?;
                let value = self.value(0)?;
                self.close()?;
                fault_of(&value).map(Err)
            }
            Some(_) => Err(DecodeError::Grammar("an element")),
            None => Err(DecodeError::Grammar("an end")),
        }
    }

    /// Nothing comes after it.
    fn end(&mut self) -> Result<()> {
        match self.next()? {
            Token::End => Ok(()),
            Token::Open(_) | Token::Close | Token::Text(_) => Err(DecodeError::Grammar("more")),
        }
    }

    fn call(&mut self) -> Result<Call> {
        let (mut method, mut params) = (String::new(), Vec::new());
        while let Some(tag) = self.child()? {
            match tag {
                Tag::MethodName => method = self.text()?,
                Tag::Params => params = self.params()?,
                _ => return Err(DecodeError::Grammar("an element")),
            }
        }
        if method.is_empty() {
            return Err(DecodeError::NoMethod);
        }
        Ok(Call { method, params })
    }

    fn params(&mut self) -> Result<Vec<Value>> {
        let mut params = Vec::new();
        while let Some(tag) = self.child()? {
            require(tag, Tag::Param)?;
            self.only_child(Tag::Value)?;
            params.push(self.value(0)?);
            self.close()?;
        }
        Ok(params)
    }

    /// What stands in an open `value`, to its end.
    fn value(&mut self, depth: usize) -> Result<Value> {
        self.values = self.values.checked_sub(1).ok_or(DecodeError::TooMuch)?;
        if depth > DEPTH {
            return Err(DecodeError::TooMuch);
        }
        let mut text = String::new();
        loop {
            match self.next()? {
                Token::Text(more) => text.push_str(&more),
                Token::Close => return Ok(Value::String(text)),
                Token::Open(tag) if is_blank(&text) => {
                    let value = self.typed(tag, depth)?;
                    self.close()?;
                    return Ok(value);
                }
                Token::Open(_) => return Err(DecodeError::Grammar("text")),
                Token::End => return Err(DecodeError::Grammar("the end")),
            }
        }
    }

    fn typed(&mut self, tag: Tag, depth: usize) -> Result<Value> {
        match tag {
            Tag::Scalar(scalar) => scalar.read(self.text()?),
            Tag::Array => {
                self.only_child(Tag::Data)?;
                let mut values = Vec::new();
                while let Some(tag) = self.child()? {
                    require(tag, Tag::Value)?;
                    values.push(self.value(depth + 1)?);
                }
                self.close()?;
                Ok(Value::Array(values))
            }
            Tag::Struct => {
                let mut members = Vec::new();
                while let Some(tag) = self.child()? {
                    require(tag, Tag::Member)?;
                    members.push(self.member(depth)?);
                }
                Ok(Value::Struct(members))
            }
            _ => Err(DecodeError::Grammar("an element")),
        }
    }

    fn member(&mut self, depth: usize) -> Result<(Cow<'static, str>, Value)> {
        self.only_child(Tag::Name)?;
        let name = self.text()?;
        self.only_child(Tag::Value)?;
        let value = self.value(depth + 1)?;
        self.close()?;
        Ok((name.into(), value))
    }

    /// The text of the open element, to its end.
    fn text(&mut self) -> Result<String> {
        let mut text = String::new();
        loop {
            match self.next()? {
                Token::Text(more) => text.push_str(&more),
                Token::Close => return Ok(text),
                Token::Open(_) => return Err(DecodeError::Grammar("an element")),
                Token::End => return Err(DecodeError::Grammar("the end")),
            }
        }
    }

    /// The next element inside the open one; `None` at its end.
    fn child(&mut self) -> Result<Option<Tag>> {
        loop {
            match self.next()? {
                Token::Open(tag) => return Ok(Some(tag)),
                Token::Close => return Ok(None),
                Token::Text(text) if is_blank(&text) => {}
                Token::Text(_) => return Err(DecodeError::Grammar("text")),
                Token::End => return Err(DecodeError::Grammar("the end")),
            }
        }
    }

    fn only_child(&mut self, wanted: Tag) -> Result<()> {
        match self.child()? {
            Some(tag) => require(tag, wanted),
            None => Err(DecodeError::Grammar("an end")),
        }
    }

    fn close(&mut self) -> Result<()> {
        match self.child()? {
            None => Ok(()),
            Some(_) => Err(DecodeError::Grammar("an element")),
        }
    }

    fn root(&mut self, wanted: Tag) -> Result<()> {
        match self.next()? {
            Token::Open(tag) => require(tag, wanted),
            Token::Close | Token::Text(_) | Token::End => Err(DecodeError::Grammar("text")),
        }
    }

    fn next(&mut self) -> Result<Token> {
        loop {
            let event = self.reader.read_event();
            let event = event.map_err(|error| DecodeError::Xml(error.to_string()))?;
            return Ok(match event {
                Event::Start(start) => {
                    self.open += 1;
                    Token::Open(Tag::of(start.local_name().as_ref())?)
                }
                Event::End(_) => {
                    self.open = self.open.saturating_sub(1);
                    Token::Close
                }
                Event::Text(text) => {
                    let text = text.xml10_content();
                    // Around the outermost element; the rules inside are those of who asks.
                    if self.open == 0 && is_blank(&text) {
                        continue;
                    }
                    Token::Text(text.into_owned())
                }
                Event::CData(text) => Token::Text(text.xml10_content().into_owned()),
                Event::GeneralRef(name) => Token::Text(resolve(&name)?.into()),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => continue,
                Event::DocType(_) => return Err(DecodeError::DocType),
                Event::Empty(_) => return Err(DecodeError::Grammar("an element")),
                Event::Eof => Token::End,
            });
        }
    }
}

impl Scalar {
    fn read(self, text: String) -> Result<Value> {
        let trimmed = text.trim();
        match self {
            Self::Int => {
                let number = trimmed.parse().map_err(|_| DecodeError::Value("int"))?;
                Ok(Value::Int(number))
            }
            Self::Bool => Ok(Value::Bool(trimmed == "1")),
            Self::Double => {
                let number = trimmed.parse().map_err(|_| DecodeError::Value("double"))?;
                Ok(Value::Double(number))
            }
            Self::String | Self::DateTime => Ok(Value::String(text)),
            Self::Base64 => {
                let packed: String = text.split_ascii_whitespace().collect();
                let bytes = STANDARD.decode(packed);
                Ok(Value::Bytes(
                    bytes.map_err(|_| DecodeError::Value("base64"))?,
                ))
            }
        }
    }
}

fn fault_of(value: &Value) -> Result<Fault> {
    match (value.member("faultCode"), value.member("faultString")) {
        (Some(Value::Int(code)), Some(Value::String(text))) => Ok(Fault {
            code: *code,
            text: text.clone(),
        }),
        _ => Err(DecodeError::Value("fault")),
    }
}

fn require(tag: Tag, wanted: Tag) -> Result<()> {
    if tag == wanted {
        Ok(())
    } else {
        Err(DecodeError::Grammar("an element"))
    }
}

fn is_blank(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_whitespace())
}

fn resolve(name: &BytesRef<'_>) -> Result<char> {
    if let Some(character) = name.resolve_char_ref().map_err(|_| DecodeError::Entity)? {
        return Ok(character);
    }
    Ok(match name.xml10_content().as_ref() {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => return Err(DecodeError::Entity),
    })
}
