#!/bin/sh
# Make the environment at $1 that the peers of the benchmarks run in: their Python packages, locked
# with hashes, and Restate's server from npm. Nothing of it is needed by Perdure itself.
set -eu
venv=$1
here=$(dirname "$0")
python=${PYTHON:-python3}
lock=$here/../requirements/peers.txt
restate=1.7.12
if [ ! -x "$venv/bin/python" ]; then
    "$python" -m venv "$venv"
fi
if ! cmp -s "$lock" "$venv/peers.txt"; then
    echo "Installing $lock into $venv ..."
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock"
    cp "$lock" "$venv/peers.txt"
fi
if [ ! -d "$venv/node/node_modules/@restatedev/restate-server" ]; then
    if command -v npm >/dev/null; then
        npm install --silent --no-audit --no-fund --prefix "$venv/node" \
            "@restatedev/restate-server@$restate"
    else
        echo "npm is missing: Restate will be left out" >&2
    fi
fi
