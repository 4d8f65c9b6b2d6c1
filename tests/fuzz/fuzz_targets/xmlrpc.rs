//! Any bytes as a call: refused, or made of values that survive being written and read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rsv_proto::xmlrpc::{Value, answer, decode, response, visible};

fuzz_target!(|bytes: &[u8]| {
    let text = visible(bytes);
    assert!(!text.contains('\0'));
    drop(answer(bytes));
    let Ok(call) = decode(bytes) else {
        return;
    };
    for value in call.params {
        // What XML cannot hold is replaced the first time, and then stays.
        let once = response(&reread(&value));
        let twice = response(&reread(&reread(&value)));
        assert_eq!(once, twice);
    }
});

/// What a reader makes of a value that was written.
fn reread(value: &Value) -> Value {
    let text = response(value);
    let (_, params) = text.split_once("<params>").expect("an answer has a value");
    let (params, _) = params
        .rsplit_once("</params>")
        .expect("an answer has an end");
    let call =
        format!("<methodCall><methodName>m</methodName><params>{params}</params></methodCall>");
    let call = decode(call.as_bytes()).expect("what is written can be read");
    call.params
        .into_iter()
        .next()
        .expect("one value was written")
}
