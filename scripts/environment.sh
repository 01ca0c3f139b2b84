# shellcheck shell=bash
# Sourced by start.sh and test.sh: find a Python, make the environment. Needs VENV, note and fail.

# The first Python that runs and is new enough; a name alone proves nothing (pyenv's stand-ins).
find_python() {
  local candidate
  for candidate in "${DETECT_PYTHON:-python3.13}" python3.13 python3.12 python3.11 python3 python; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' \
      >/dev/null 2>&1; then
      printf '%s' "$candidate"
      return 0
    fi
  done
  return 1
}

# One that lacks pip, because its making broke off, is made again in the same place.
make_environment() {
  local python
  if [ -x "$VENV/bin/python" ] && "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
    note "found $VENV ($("$VENV/bin/python" --version))"
    return 0
  fi
  python=$(find_python) || fail "Python 3.11 or newer is needed, and none was found." \
    "Debian, Ubuntu: sudo apt install python3 python3-venv" \
    "macOS:          brew install python@3.13" \
    "elsewhere:      https://www.python.org/downloads/"
  note "making $VENV with $("$python" --version)"
  "$python" -m venv "$VENV" || fail "The environment could not be made." \
    "Debian, Ubuntu: sudo apt install python3-venv, remove $VENV, and start again." \
    "Or use another folder: DETECT_VENV=~/detect-venv $0"
}
