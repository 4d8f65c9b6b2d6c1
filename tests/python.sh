#!/usr/bin/env bash
# Makes a Python environment with Supervisor's own client, its library for event listeners, and
# superlance, all unmodified and at pinned versions, and prints its path. Nothing of it is in the tree.
set -euo pipefail
cd "$(dirname "$0")/.."

# Supervisor imports pkg_resources, which newer versions of setuptools lack.
packages=(supervisor==4.3.0 superlance==2.0.0 setuptools==80.9.0)
digest=$(printf '%s\n' "${packages[@]}" "$(python3 --version)" | sha256sum | cut -c1-12)
place=$PWD/target/python-$digest

mkdir -p target
# Tests that run side by side make it once.
exec 9>"$place.lock"
flock 9
if [ ! -e "$place/whole" ]; then
    rm -rf "$place"
    # In its place from the beginning: its scripts name their interpreter by its path.
    python3 -m venv "$place" >&2
    "$place/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}" >&2 || {
        echo "tests/python.sh: pip cannot install ${packages[*]}" >&2
        echo "hint: pip needs a package index, see \`pip config list\` and PIP_INDEX_URL" >&2
        exit 1
    }
    "$place/bin/python" -c 'import pkg_resources, supervisor.childutils, superlance.memmon' 2>/dev/null || {
        echo "tests/python.sh: the packages in $place cannot be imported" >&2
        exit 1
    }
    touch "$place/whole"
fi
echo "$place"
