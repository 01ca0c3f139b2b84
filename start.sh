#!/usr/bin/env bash
# Set up everything and run the dashboard. Options go to `detect up`, for example:
#   ./start.sh
#   ./start.sh --no-browser --model nanodet-m-320
#   ./start.sh --help
# A second start skips what is done. DETECT_VENV puts the environment elsewhere than .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

VENV="${DETECT_VENV:-.venv}"
STAMP="$VENV/.detect-installed"
LOG="$VENV/install.log"

# Words go to stderr: with --json, stdout is for the machine-readable line alone.
step() { printf '\033[1m[%s/3]\033[0m %s\n' "$1" "$2" >&2; }
note() { printf '      %s\n' "$1" >&2; }
fail() {
  printf '\033[31m      %s\033[0m\n' "$1" >&2
  shift
  printf '      %s\n' "$@" >&2
  exit 1
}
# shellcheck source=scripts/environment.sh
. scripts/environment.sh

# Changes when anything that goes into the installed package changes, committed or not.
fingerprint() {
  "$VENV/bin/python" - <<'PYTHON'
import hashlib
import pathlib

skipped = {"node_modules", "static", "__pycache__", "coverage"}
names = ["pyproject.toml", "hatch_build.py", "models/registry.toml"]
paths = [pathlib.Path(name) for name in names]
for folder in ("detect", "notebooks"):
    paths += pathlib.Path(folder).rglob("*")
digest = hashlib.sha256()
for path in sorted(paths):
    if path.is_file() and not skipped & set(path.parts):
        digest.update(str(path).encode() + b"\0" + path.read_bytes() + b"\0")
print(digest.hexdigest())
PYTHON
}

step 1 "Python environment"
make_environment

step 2 "Packages and front-end"
want=$(fingerprint)
if [ "$(cat "$STAMP" 2>/dev/null)" = "$want" ] && [ -x "$VENV/bin/detect" ]; then
  note "installed already, nothing changed"
else
  note "installing (a few minutes the first time; log in $LOG) …"
  rm -f "$STAMP"
  if ! "$VENV/bin/python" -m pip install --disable-pip-version-check . >"$LOG" 2>&1; then
    tail -n 25 "$LOG" >&2
    fail "The installation failed; the end of its log is above." \
      "No network? The first installation needs one." \
      "Something half-installed? Remove $VENV and start again."
  fi
  printf '%s\n' "$want" >"$STAMP"
  note "installed"
fi

step 3 "Model"
if [ -e "$VENV/.detect-model" ]; then
  note "looked for already"
elif "$VENV/bin/python" -c 'import sys
from detect.config import DEFAULT_MODEL
from detect.zoo import find_model
sys.exit(find_model(DEFAULT_MODEL, allow_download=False).notice is not None)' 2>/dev/null ||
  "$VENV/bin/detect" models pull >&2; then
  touch "$VENV/.detect-model"
  note "here"
else
  note "No model could be downloaded now. The dashboard still shows the picture, without boxes,"
  note "or with another model that is here. Later: $VENV/bin/detect models pull"
fi

exec "$VENV/bin/detect" up "$@"
