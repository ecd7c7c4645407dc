#!/usr/bin/env bash
# One command for everything: ./dev.sh start | stop | status | logs | test | lab
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
  lab zfs [SUITE]        tests against a machine with real ZFS in an emulator (made in half an hour, and kept):
                         bookworm-backports (OpenZFS 2.3, the default), bookworm (2.1), trixie (2.3),
                         trixie-backports (2.4), or bookworm-2.2 (built from LAB_ZFS_SOURCE=TARBALL)

Settings: INFRASTRUCTOR_API_PORT (9101), INFRASTRUCTOR_MCP_PORT (9102), INFRASTRUCTOR_DATA_DIR.
TEXT
}

say() { printf '%s\n' "$*" >&2; }

# Print the path of uv, which makes .venv from uv.lock; pip fetches it into .dev/uv where it is missing.
find_uv() {
  local own="$PWD/.dev/uv"
  if uv --version >/dev/null 2>&1; then command -v uv; return; fi
  if [ ! -x "$own/bin/uv" ]; then
    command -v python3 >/dev/null || { say "Python 3.11 or newer is needed: apt-get install python3 python3-venv"; exit 1; }
    say "Installing uv into .dev/uv"
    python3 -m venv "$own" 2>/dev/null >&2 \
      || { say "python3 cannot make a virtual environment: apt-get install python3-venv"; exit 1; }
    "$own/bin/pip" install --quiet --disable-pip-version-check uv >&2 \
      || { say "uv could not be fetched: pip needs a package index it can reach, or install uv yourself"; exit 1; }
  fi
  echo "$own/bin/uv"
}

environment() {
  if [ ! -e .venv/.synced ] || [ uv.lock -nt .venv/.synced ] || [ pyproject.toml -nt .venv/.synced ]; then
    local uv
    uv=$(find_uv)
    say "Making .venv from uv.lock"
    "$uv" sync --quiet --locked --compile-bytecode
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
  lab)
    environment
    [ "${1:-}" = zfs ] || { usage >&2; exit 2; }
    shift
    exec bash tests/lab/zfs/run.sh "$@"
    ;;
  help|-h|--help)
    usage
    ;;
  *)
    usage >&2
    exit 2
    ;;
esac
