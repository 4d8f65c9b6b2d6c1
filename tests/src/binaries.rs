//! Where the binaries under test are: beside the test executable's own directory, where
//! `cargo build --workspace` puts them.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The path of a binary of the workspace.
///
/// # Panics
///
/// When it has not been built: a test must not pass, nor be skipped, without it.
pub fn binary(name: &str) -> PathBuf {
    let path = directory().join(name);
    assert!(
        path.exists(),
        "`{}` is missing: run `cargo build --workspace --locked` first",
        path.display()
    );
    path
}

/// The directory of the binaries.
pub fn directory() -> PathBuf {
    let test = env::current_exe().expect("a running test has an executable");
    // target/debug/deps/fleet-0123456789abcdef
    let deps = test.parent().and_then(Path::parent);
    deps.expect("a test executable lies in target/PROFILE/deps")
        .to_owned()
}

/// The checkout's root.
pub fn checkout() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent()
        .expect("this crate lies in the checkout")
        .to_owned()
}
