#!/usr/bin/env bash
# Brings axe-core, which the tests of the pages check accessibility with, and prints the path of its
# script. The version and the digest are pinned; nothing of it is in the tree.
set -euo pipefail
cd "$(dirname "$0")/.."

version=4.14.1
digest=29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c
file=$PWD/target/axe-core-$version.min.js

if [ ! -e "$file" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    (cd "$work" && npm pack --silent "axe-core@$version" >&2)
    tar -xzf "$work/axe-core-$version.tgz" -C "$work" package/axe.min.js
    echo "$digest  $work/package/axe.min.js" | sha256sum --check --quiet >&2
    mkdir -p target
    cp "$work/package/axe.min.js" "$work/whole"
    mv "$work/whole" "$file"
fi
echo "$file"
