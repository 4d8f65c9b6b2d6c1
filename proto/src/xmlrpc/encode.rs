//! From values to text, in one pass, with the line breaks that Supervisor's answers have.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Call, Value};

const HEAD: &str = "<?xml version='1.0'?>\n<methodResponse>\n";

/// The text of a call.
pub fn call(call: &Call) -> String {
    let mut out = String::with_capacity(512);
    out.push_str("<?xml version='1.0'?>\n<methodCall>\n<methodName>");
    write_text(&mut out, &call.method);
    out.push_str("</methodName>\n<params>\n");
    for param in &call.params {
        out.push_str("<param>\n");
        write_value(&mut out, param);
        out.push_str("</param>\n");
    }
    out.push_str("</params>\n</methodCall>\n");
    out
}

/// The text of an answer with a result.
pub fn response(value: &Value) -> String {
    let mut out = String::with_capacity(1024);
    out.push_str(HEAD);
    out.push_str("<params>\n<param>\n");
    write_value(&mut out, value);
    out.push_str("</param>\n</params>\n</methodResponse>\n");
    out
}

/// The text of an answer with a fault.
pub fn fault(code: i32, text: &str) -> String {
    let mut out = String::with_capacity(512);
    out.push_str(HEAD);
    out.push_str("<fault>\n");
    let members = vec![
        ("faultCode".into(), code.into()),
        ("faultString".into(), text.into()),
    ];
    write_value(&mut out, &Value::Struct(members));
    out.push_str("</fault>\n</methodResponse>\n");
    out
}

/// Bytes of a log as text that every reader accepts: what is not UTF-8 becomes U+FFFD, and a
/// control character its picture.
pub fn visible(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(acceptable)
        .collect()
}

fn write_value(out: &mut String, value: &Value) {
    out.push_str("<value>");
    match value {
        Value::Int(number) => {
            let least = i64::from(i32::MIN);
            let number = (*number).clamp(least, i64::from(i32::MAX));
            write(out, format_args!("<int>{number}</int>"));
        }
        Value::Bool(value) => {
            out.push_str("<boolean>");
            out.push(if *value { '1' } else { '0' });
            out.push_str("</boolean>");
        }
        Value::Double(number) => write(out, format_args!("<double>{number:?}</double>")),
        Value::String(text) => {
            out.push_str("<string>");
            write_text(out, text);
            out.push_str("</string>");
        }
        Value::Bytes(bytes) => {
            out.push_str("<base64>\n");
            STANDARD.encode_string(bytes, out);
            out.push_str("\n</base64>");
        }
        Value::Array(values) => {
            out.push_str("<array><data>\n");
            values.iter().for_each(|value| write_value(out, value));
            out.push_str("</data></array>");
        }
        Value::Struct(members) => {
            out.push_str("<struct>\n");
            for (name, value) in members {
                out.push_str("<member>\n<name>");
                write_text(out, name);
                out.push_str("</name>\n");
                write_value(out, value);
                out.push_str("</member>\n");
            }
            out.push_str("</struct>");
        }
    }
    out.push_str("</value>\n");
}

fn write(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments)
        .expect("writing to a string cannot fail");
}

/// Most texts have nothing to escape and are copied whole.
fn write_text(out: &mut String, text: &str) {
    let is_plain = |byte: u8| byte >= b' ' && !b"&<>\x7f\xef".contains(&byte) || byte == b'\n';
    if text.bytes().all(is_plain) {
        return out.push_str(text);
    }
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // A bare one would be read back as a line break.
            '\r' => out.push_str("&#13;"),
            other => out.push(acceptable(other)),
        }
    }
}

/// XML has no control characters but three, and no non-characters.
fn acceptable(character: char) -> char {
    match character {
        '\t' | '\n' | '\r' => character,
        '\0'..='\x1f' => picture(character).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\x7f' => '\u{2421}',
        '\u{fffe}' | '\u{ffff}' => char::REPLACEMENT_CHARACTER,
        _ => character,
    }
}

fn picture(character: char) -> Option<char> {
    char::from_u32(0x2400 + u32::from(character))
}
