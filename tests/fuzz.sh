#!/usr/bin/env bash
# Fuzzes what reads text from outside, each target for so many seconds:
#   tests/fuzz.sh [SECONDS [TARGET...]]     60 seconds, every target; 0 seconds only builds them
#
# The targets in tests/fuzz are cargo-fuzz's: where that and a nightly toolchain are installed,
# `cargo +nightly fuzz run --fuzz-dir tests/fuzz TARGET` adds a sanitizer. This needs no more than the
# pinned toolchain and a C++ compiler: libFuzzer with coverage, and with checks of arithmetic and
# assertions instead of a sanitizer.
# What was found to lead somewhere stays in target/fuzz/corpus; an input that fails is printed, kept in
# target/fuzz/artifacts, and repeated by giving its file to the target's binary.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
[ $# -eq 0 ] || shift
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for file in tests/fuzz/fuzz_targets/*.rs; do
        targets+=("$(basename "$file" .rs)")
    done
fi

# Every version is the workspace's; cargo adds those of the fuzzer.
cp Cargo.lock tests/fuzz/Cargo.lock
triple=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR=$PWD/target/fuzz
# The flags that cargo-fuzz gives; naming the triple keeps them away from build scripts.
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0 \
-Ccodegen-units=1" \
    cargo build --release --manifest-path tests/fuzz/Cargo.toml --target "$triple" --bins

[ "$seconds" -gt 0 ] || exit 0
for target in "${targets[@]}"; do
    corpus=target/fuzz/corpus/$target
    artifacts=target/fuzz/artifacts/$target/
    mkdir -p "$corpus" "$artifacts"
    echo "== $target: $seconds s"
    "target/fuzz/$triple/release/$target" "$corpus" "tests/fuzz/seeds/$target" \
        -dict=tests/fuzz/words.dict -artifact_prefix="$artifacts" -max_len=4096 -timeout=10 \
        -rss_limit_mb=1024 -print_final_stats=1 -max_total_time="$seconds" 2>&1 |
        grep -v -E '^(INFO|WARNING: Failed to find|Dictionary|###### |"|[[:space:]]+NEW_FUNC)|^#[0-9]+[[:space:]]+[NRp]'
done
