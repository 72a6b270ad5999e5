#!/bin/sh
# Make a virtual environment at $1 and install the locked requirements $2 and this project into it.
# Works on a bare Debian: where python3-venv is missing it is installed (root) or replaced by
# virtualenv from pip.
set -eu
venv=$1
lock=$2
python=${PYTHON:-python3}
if [ ! -x "$venv/bin/python" ]; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        { echo "error: Perdure needs Python 3.11 or newer; set PYTHON=..." >&2; exit 2; }
    if ! "$python" -m venv "$venv" 2>/dev/null; then
        rm -rf "$venv"
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null &&
                "$python" -m venv "$venv"
        else
            "$python" -m pip install --quiet --user --break-system-packages virtualenv 2>/dev/null ||
                "$python" -m pip install --quiet --user virtualenv
            "$python" -m virtualenv --quiet "$venv"
        fi
    fi
fi
echo "Installing $lock into $venv ..."
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    --no-build-isolation -e .
