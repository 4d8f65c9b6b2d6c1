//! Any text as a value in which names are expanded.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use rsv_config::host::FixedHost;
use rsv_config::{Overrides, Strictness, load_str};

fuzz_target!(|text: &str| {
    let value = text.replace(['\r', '\n'], " ");
    let host = FixedHost::default().variable("NAME", "value");
    let file = format!(
        "[supervisord]\nidentifier=x\n[program:p]\ncommand=/bin/x {value}\nnumprocs=2\n\
         process_name=%(program_name)s_%(process_num)02d\nstdout_logfile=/srv/{value}\n\
         environment=A=\"{value}\",B=%(ENV_NAME)s\n"
    );
    let overrides = Overrides::default();
    let loaded = load_str(
        &file,
        Path::new("/srv/s.conf"),
        &overrides,
        Strictness::Lenient,
        &host,
    );
    if let Err(errors) = loaded {
        assert!(!errors.to_string().is_empty());
    }
});
