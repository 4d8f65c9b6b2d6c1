//! The codec against itself, against hostile texts and against noise.

use proptest::prelude::*;

use super::*;

fn call_with(inside: &str) -> Result<Call, DecodeError> {
    decode(format!("<methodCall>{inside}</methodCall>").as_bytes())
}

fn with_value(value: &str) -> Result<Value, DecodeError> {
    let text =
        format!("<methodName>m</methodName><params><param><value>{value}</value></param></params>");
    call_with(&text).map(|mut call| call.params.remove(0))
}

/// The value of an answer, read as the argument of a call.
fn reread(value: &Value) -> Value {
    let text = response(value);
    let inside = text
        .strip_prefix("<?xml version='1.0'?>\n<methodResponse>\n")
        .and_then(|rest| rest.strip_suffix("</methodResponse>\n"))
        .unwrap();
    let mut params = call_with(&format!("<methodName>m</methodName>{inside}"))
        .unwrap()
        .params;
    params.remove(0)
}

#[test]
fn answers_have_the_shape_that_clients_know() {
    let value = Value::Struct(vec![
        ("name".into(), "a<b&c".into()),
        ("ids".into(), vec![1.into(), true.into()].into()),
    ]);
    assert_eq!(
        response(&value),
        "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n<value><struct>\n<member>\n\
         <name>name</name>\n<value><string>a&lt;b&amp;c</string></value>\n</member>\n<member>\n\
         <name>ids</name>\n<value><array><data>\n<value><int>1</int></value>\n\
         <value><boolean>1</boolean></value>\n</data></array></value>\n</member>\n\
         </struct></value>\n</param>\n</params>\n</methodResponse>\n"
    );
    assert_eq!(
        fault(10, "BAD_NAME: x"),
        "<?xml version='1.0'?>\n<methodResponse>\n<fault>\n<value><struct>\n<member>\n\
         <name>faultCode</name>\n<value><int>10</int></value>\n</member>\n<member>\n\
         <name>faultString</name>\n<value><string>BAD_NAME: x</string></value>\n</member>\n\
         </struct></value>\n</fault>\n</methodResponse>\n"
    );
}

#[test]
fn numbers_stay_within_what_clients_can_read() {
    assert_eq!(
        reread(&Value::Int(1 << 40)),
        Value::Int(i64::from(i32::MAX))
    );
}

#[test]
fn any_bytes_become_text_that_can_be_read_back() {
    let text = visible(b"\x1b[31mred\x00\xff\r\n");
    assert_eq!(text, "\u{241b}[31mred\u{2400}\u{fffd}\r\n");
    assert_eq!(reread(&Value::String(text.clone())), Value::String(text));
}

#[test]
fn every_type_is_read_and_a_bare_text_is_a_string() {
    for (text, value) in [
        ("a b", Value::from("a b")),
        ("", Value::from("")),
        (" <string> x </string> ", Value::from(" x ")),
        ("<string/>", Value::from("")),
        ("<int> -5 </int>", Value::Int(-5)),
        ("<i4>5</i4>", Value::Int(5)),
        ("<boolean>1</boolean>", Value::Bool(true)),
        ("<double>1.5</double>", Value::Double(1.5)),
        ("<base64>aGk=\n</base64>", Value::Bytes(b"hi".to_vec())),
        (
            "<string>&lt;&#65;&quot;<![CDATA[<&]]></string>",
            Value::from("<A\"<&"),
        ),
        ("<array><data/></array>", Value::Array(Vec::new())),
        (
            "<struct><member><name>k</name><value>v</value></member></struct>",
            Value::Struct(vec![("k".into(), "v".into())]),
        ),
    ] {
        assert_eq!(with_value(text), Ok(value), "{text}");
    }
}

#[test]
fn a_call_needs_a_method_and_no_params() {
    let text =
        "<?xml version=\"1.0\"?>\n<methodCall>\n<methodName>a.b</methodName></methodCall>  \n";
    let method = "a.b".to_owned();
    let params = Vec::new();
    assert_eq!(decode(text.as_bytes()), Ok(Call { method, params }));
    assert_eq!(call_with("<params/>"), Err(DecodeError::NoMethod));
    assert_eq!(call_with("<methodName/>"), Err(DecodeError::NoMethod));
}

#[test]
fn hostile_texts_are_refused() {
    let bomb =
        b"<!DOCTYPE a [<!ENTITY b \"c\">]><methodCall><methodName>&b;</methodName></methodCall>";
    assert_eq!(decode(bomb), Err(DecodeError::DocType));
    assert_eq!(with_value("<string>&b;</string>"), Err(DecodeError::Entity));
    assert_eq!(decode(b"\xff"), Err(DecodeError::Encoding));
    let deep = |n: usize| {
        let (open, close) = ("<array><data><value>", "</value></data></array>");
        with_value(&format!("{}{}", open.repeat(n), close.repeat(n)))
    };
    assert!(deep(32).is_ok());
    assert_eq!(deep(33), Err(DecodeError::TooMuch));
    assert_eq!(deep(50_000), Err(DecodeError::TooMuch));
    let many = "<value/>".repeat(100_001);
    let many = with_value(&format!("<array><data>{many}</data></array>"));
    assert_eq!(many, Err(DecodeError::TooMuch));
    for text in ["foo", "", "<methodCall>", "<a/>", "<methodCall></x>"] {
        assert!(decode(text.as_bytes()).is_err(), "{text}");
    }
    for value in ["<nil/>", "<int>x</int>", "x<int>1</int>", "<int>1</int>x"] {
        assert!(with_value(value).is_err(), "{value}");
    }
}

#[test]
fn an_answer_is_one_result_or_a_fault() {
    let of = |inside: &str| {
        let text = format!("<?xml version='1.0'?>\n<methodResponse>{inside}</methodResponse>\n");
        answer(text.as_bytes())
    };
    let one = "<params><param><value><int>5</int></value></param></params>";
    assert_eq!(of(one), Ok(Ok(Value::Int(5))));
    let text = "CANT_REREAD: <x>".to_owned();
    assert_eq!(
        answer(fault(92, &text).as_bytes()),
        Ok(Err(Fault { code: 92, text }))
    );
    for inside in [
        "",
        "<params/>",
        "<fault/>",
        "<fault><value>x</value></fault>",
        "<value/>",
        "<params><param><value/></param><param><value/></param></params>",
        "<params><param><value/></param></params><params/>",
    ] {
        assert!(of(inside).is_err(), "{inside}");
    }
}

fn values() -> impl Strategy<Value = Value> {
    let text = proptest::collection::vec(any::<char>(), 0..20)
        .prop_map(|chars| chars.into_iter().collect::<String>());
    let leaf = prop_oneof![
        any::<i32>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        (-1e9..1e9f64).prop_map(Value::Double),
        text.clone().prop_map(Value::String),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        let member = (text.clone(), inner.clone()).prop_map(|(name, value)| (name.into(), value));
        prop_oneof![
            proptest::collection::vec(inner, 0..5).prop_map(Value::Array),
            proptest::collection::vec(member, 0..5).prop_map(Value::Struct),
        ]
    })
}

/// What becomes of a value on its way: texts are made acceptable, nothing else changes.
fn made_acceptable(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(visible(text.as_bytes())),
        Value::Array(values) => Value::Array(values.iter().map(made_acceptable).collect()),
        Value::Struct(members) => {
            let member = |(name, value): &(std::borrow::Cow<'static, str>, Value)| {
                (visible(name.as_bytes()).into(), made_acceptable(value))
            };
            Value::Struct(members.iter().map(member).collect())
        }
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(value in values()) {
        prop_assert_eq!(reread(&value), made_acceptable(&value));
    }

    #[test]
    fn a_call_is_read_back(method in "[a-zA-Z.]{1,20}", params in proptest::collection::vec(values(), 0..5)) {
        let acceptable = params.iter().map(made_acceptable).collect();
        let text = call(&Call { method: method.clone(), params });
        prop_assert_eq!(decode(text.as_bytes()), Ok(Call { method, params: acceptable }));
    }

    #[test]
    fn an_answer_is_read_back(value in values(), code in any::<i32>(), text in "[ -~]{0,20}") {
        prop_assert_eq!(answer(response(&value).as_bytes()), Ok(Ok(made_acceptable(&value))));
        let code_read = i64::from(code);
        let read = answer(fault(code, &text).as_bytes());
        prop_assert_eq!(read, Ok(Err(Fault { code: code_read, text })));
    }

    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(decode(&bytes));
        drop(answer(&bytes));
        drop(visible(&bytes));
    }

    #[test]
    fn pieces_of_calls_never_panic(pieces in proptest::collection::vec(0..14usize, 0..30)) {
        const PIECES: [&str; 14] = [
            "<methodCall>", "</methodCall>", "<methodName>", "</methodName>", "<params>", "<value>",
            "</value>", "<array><data>", "<struct><member>", "&#1;", "x", "<int/>", "<methodResponse>",
            "<fault>",
        ];
        let text: String = pieces.into_iter().map(|piece| PIECES[piece]).collect();
        drop(decode(text.as_bytes()));
        drop(answer(text.as_bytes()));
    }
}
