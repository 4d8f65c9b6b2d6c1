//! Any text as a configuration: read, or refused with errors that say where.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use rsv_config::host::FixedHost;
use rsv_config::{Overrides, Strictness, load_str};

fuzz_target!(|text: &str| {
    let host = FixedHost::default().variable("NAME", "value");
    let file = Path::new("/srv/s.conf");
    for strictness in [Strictness::Lenient, Strictness::Strict] {
        match load_str(text, file, &Overrides::default(), strictness, &host) {
            Ok(loaded) => assert!(loaded.config.processes().all(|one| !one.id.name.is_empty())),
            Err(errors) => assert!(!errors.to_string().is_empty()),
        }
    }
});
