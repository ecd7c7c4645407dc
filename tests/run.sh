#!/usr/bin/env bash
# ./dev.sh test: style, types, import contracts, generated files, then the tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONDONTWRITEBYTECODE # hundreds of processes are started: none should compile everything anew

# Real servers the tests talk to, as Debian packages: program → package.
needed="sshd:openssh-server dropbear:dropbear-bin busybox:busybox-static fish:fish tcsh:tcsh zsh:zsh iptables:iptables ip:iproute2 sudo:sudo ps:procps setpriv:util-linux dockerd:docker.io docker:docker.io docker-compose:docker-compose podman:podman smartctl:smartmontools inotifywait:inotify-tools toybox:toybox unshare:util-linux"
missing=
for pair in $needed; do
  PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
done
if [ -n "$missing" ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing what the tests need:$missing" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
  elif [ "${CI:-}" = true ]; then
    echo "The tests need:$missing. Install them: sudo apt-get install$missing" >&2
    exit 1
  else
    echo "Not installed:$missing. Tests that need them are skipped; run: sudo apt-get install$missing" >&2
  fi
fi

if [ $# -eq 0 ]; then
  .venv/bin/ruff check .
  .venv/bin/ruff format --check .
  .venv/bin/mypy
  .venv/bin/lint-imports
  .venv/bin/infrastructor reference --check
fi
exec .venv/bin/pytest -n "${PYTEST_WORKERS:-3}" --dist loadgroup "$@"
