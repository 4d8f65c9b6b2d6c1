//! Any text as a command: split into words that, quoted, are split into themselves.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rsv_config::split_command;

fuzz_target!(|command: &str| {
    let Ok(words) = split_command(command) else {
        return;
    };
    let quoted: Vec<_> = words
        .iter()
        .map(|word| format!("'{}'", word.replace('\'', "'\"'\"'")))
        .collect();
    assert_eq!(split_command(&quoted.join(" ")), Ok(words));
});
