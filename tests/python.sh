#!/usr/bin/env bash
# Makes a Python environment with Supervisor's own client, its library for event listeners,
# superlance, and Ansible with its module for Supervisor, all unmodified and at pinned versions, and
# prints its path. Nothing of it is in the tree.
set -euo pipefail
cd "$(dirname "$0")/.."

# Supervisor imports pkg_resources, which newer versions of setuptools lack.
packages=(supervisor==4.3.0 superlance==2.0.0 setuptools==80.9.0 ansible-core==2.19.14)
# Ansible's collections are one package of 20,000 files, which take minutes to install. One of them
# has the module, and is taken out of it.
collections=ansible==12.3.0
collection=ansible_collections/community/general/
digest=$(printf '%s\n' "${packages[@]}" "$collections" "$(python3 --version)" | sha256sum | cut -c1-12)
place=$PWD/target/python-$digest

mkdir -p target
# Tests that run side by side make it once.
exec 9>"$place.lock"
flock 9
if [ ! -e "$place/whole" ]; then
    rm -rf "$place"
    # In its place from the beginning: its scripts name their interpreter by its path.
    python3 -m venv "$place" >&2
    pip() {
        "$place/bin/pip" "$@" --quiet --disable-pip-version-check >&2 || {
            echo "tests/python.sh: pip cannot $*" >&2
            echo "hint: pip needs a package index, see \`pip config list\` and PIP_INDEX_URL" >&2
            exit 1
        }
    }
    pip install "${packages[@]}"
    pip download --no-deps --only-binary :all: --dest "$place/wheels" "$collections"
    "$place/bin/python" - "$collection" "$place"/wheels/*.whl <<'PYTHON'
import sys, sysconfig, zipfile

collection, wheel = sys.argv[1:]
with zipfile.ZipFile(wheel) as files:
    names = [name for name in files.namelist() if name.startswith(collection)]
    files.extractall(sysconfig.get_path("purelib"), names)
PYTHON
    rm -r "$place/wheels"
    modules='pkg_resources, supervisor.childutils, superlance.memmon, ansible, ansible_collections.community.general'
    "$place/bin/python" -c "import $modules" 2>/dev/null || {
        echo "tests/python.sh: the packages in $place cannot be imported" >&2
        exit 1
    }
    touch "$place/whole"
fi
echo "$place"
