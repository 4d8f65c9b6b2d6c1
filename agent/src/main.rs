//! The binary `rsv-agent`.

fn main() {}
