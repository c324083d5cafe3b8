#!/bin/sh
# What a fresh machine lacks. `make` calls this; there is no need to run it by hand.
#   bootstrap.sh venv DIR     make a virtual environment with Python >= 3.11 in DIR
#   bootstrap.sh chromium     find a Chromium for tests/browser, or install it where apt-get may
set -eu

say() { printf '%s\n' "perchq: $*" >&2; }

# apt-get as root or through a sudo that asks nothing; fails elsewhere.
apt_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    if [ "$(id -u)" = 0 ]; then as_root=""; elif sudo -n true 2>/dev/null; then as_root="sudo"; else return 1; fi
    say "installing $* with apt-get"
    # The package lists of a new machine may be missing or old.
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q update >/dev/null </dev/null || return 1
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends "$@" \
        >/dev/null </dev/null
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    for candidate in "${PYTHON:-python3}" python3 python3.13 python3.12 python3.11 python3.14 python; do
        if new_enough "$candidate"; then printf '%s\n' "$candidate"; return 0; fi
    done
    return 1
}

make_venv() {
    if ! python=$(find_python); then
        apt_install python3 python3-venv || true
        if ! python=$(find_python); then
            say "error: Python 3.11 or newer was not found. Install it, or name it: make PYTHON=/path/to/python3.11"
            exit 1
        fi
    fi
    # Debian keeps the part of venv that installs pip in a package of its own.
    if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        apt_install "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" || {
            say "error: $python has no venv module. On Debian and Ubuntu: apt-get install python3-venv"
            exit 1
        }
    fi
    "$python" -m venv "$1"
}

find_chromium() {
    if [ -n "${PERCHQ_CHROMIUM:-}" ]; then [ -x "$PERCHQ_CHROMIUM" ]; return; fi
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        if command -v "$name" >/dev/null 2>&1; then return 0; fi
    done
    [ -x "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" ]
}

get_chromium() {
    find_chromium && return 0
    if [ -n "${PERCHQ_CHROMIUM:-}" ]; then
        say "PERCHQ_CHROMIUM names $PERCHQ_CHROMIUM, which cannot be run: the browser tests will be skipped."
        return 0
    fi
    apt_install chromium || true
    find_chromium && return 0
    say "no Chromium found and none could be installed: the browser tests will be skipped."
    say "Install one (Debian: apt-get install chromium) or name it: PERCHQ_CHROMIUM=/path/to/chromium"
}

case "${1:-}" in
    venv) make_venv "$2" ;;
    chromium) get_chromium ;;
    *) say "usage: bootstrap.sh venv DIR | chromium"; exit 2 ;;
esac
