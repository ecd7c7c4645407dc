#!/usr/bin/env bash
# One command for everything: ./dev.sh start | stop | status | logs | test
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
  cat <<'TEXT'
Usage: ./dev.sh COMMAND

  start [--foreground]   PostgreSQL, Valkey, REST API and MCP server (in the background unless told otherwise)
  stop                   stop all of it, gracefully
  status                 what runs, where, and how it is
  logs [-n LINES]        follow the log
  test [pytest args]     lint, types, import contracts, tests against real servers

Settings: INFRASTRUCTOR_API_PORT (9101), INFRASTRUCTOR_MCP_PORT (9102), INFRASTRUCTOR_DATA_DIR.
TEXT
}

say() { printf '%s\n' "$*" >&2; }

# uv makes .venv from uv.lock; it is fetched by pip where it is missing.
uv() {
  if command -v uv >/dev/null 2>&1; then command uv "$@"; else "$UV_HOME/bin/uv" "$@"; fi
}

environment() {
  UV_HOME="$PWD/.dev/uv"
  if ! command -v uv >/dev/null 2>&1 && [ ! -x "$UV_HOME/bin/uv" ]; then
    command -v python3 >/dev/null || { say "Python 3.11 or newer is needed: apt-get install python3 python3-venv"; exit 1; }
    say "Installing uv into .dev/uv"
    python3 -m venv "$UV_HOME" 2>/dev/null \
      || { say "python3 cannot make a virtual environment: apt-get install python3-venv"; exit 1; }
    "$UV_HOME/bin/pip" install --quiet --disable-pip-version-check uv
  fi
  if [ ! -e .venv/.synced ] || [ uv.lock -nt .venv/.synced ] || [ pyproject.toml -nt .venv/.synced ]; then
    say "Making .venv from uv.lock"
    uv sync --quiet --locked
    touch .venv/.synced
  fi
}

command=${1:-help}
[ $# -gt 0 ] && shift
case $command in
  start|stop|status|logs)
    environment
    exec .venv/bin/infrastructor "$command" "$@"
    ;;
  test)
    environment
    exec bash tests/run.sh "$@"
    ;;
  help|-h|--help)
    usage
    ;;
  *)
    usage >&2
    exit 2
    ;;
esac
