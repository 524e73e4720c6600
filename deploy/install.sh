#!/bin/sh
# Makes .venv and installs exactly what requirements.lock names, every file checked against its hash. Called by the Makefile.
set -eu
python=${1:-python3}
say() { echo "$*" >&2; }

if ! command -v "$python" >/dev/null 2>&1; then
    say "Python 3.11 or newer is needed, and there is no $python here; install it, or name another one: make up PYTHON=/path/to/python3."
    exit 2
fi
if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))'; then
    say "Python 3.11 to 3.14 is needed, and $python is $("$python" -V 2>&1); name another one: make up PYTHON=/path/to/python3."
    exit 2
fi
say "Installing into .venv with $("$python" -V) ..."
if ! .venv/bin/python -c '' 2>/dev/null; then
    rm -rf .venv
    if ! "$python" -m venv .venv >/dev/null 2>&1; then
        rm -rf .venv
        say "$python cannot make a virtual environment; install its venv module (on Debian and Ubuntu: the package python3-venv)."
        exit 2
    fi
fi
# The installer itself comes out of the lock as well, with its hashes.
if ! .venv/bin/python -m uv --version >/dev/null 2>&1; then
    .venv/bin/python -m ensurepip >/dev/null 2>&1 || true
    sed -n '/^uv==/,/^[^ ]/{/^uv==/p;/^    --hash/p}' requirements.lock >.venv/uv.lock
    .venv/bin/python -m pip install --quiet --no-deps --require-hashes --requirement .venv/uv.lock
fi
# Where the system keeps certificates, they count: a company's proxy signs with its own.
if [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/pki/tls/certs/ca-bundle.crt ] || [ -e /etc/ssl/cert.pem ]; then
    export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"
fi
UV_PYTHON_DOWNLOADS=never .venv/bin/python -m uv pip sync --quiet --require-hashes --compile-bytecode \
    --python .venv/bin/python requirements.lock
cp requirements.lock .venv/installed.lock
