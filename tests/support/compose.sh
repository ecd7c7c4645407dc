#!/usr/bin/env bash
# Print the path of a docker compose v2 program, fetching Debian's own package into .dev/ where there is none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if docker compose version >/dev/null 2>&1; then
  printf 'docker compose\n'
  exit 0
fi
home=$PWD/.dev/compose
program=$home/usr/libexec/docker/cli-plugins/docker-compose
mkdir -p "$home"
exec 9>"$home/lock"
flock 9 # test workers ask side by side, and one download is enough
if [ ! -x "$program" ]; then
  command -v apt-get >/dev/null || { echo "docker compose is not installed" >&2; exit 1; }
  # Debian 12 carries only v1, so the package of the next release is taken, which needs nothing but libc.
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 -E '/debian/?$')
  mkdir -p "$home/lists/partial" "$home/cache"
  printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s trixie main\n' "$mirror" >"$home/sources.list"
  apt=(apt-get -qq -o "Dir::Etc::SourceList=$home/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$home/lists" -o "Dir::Cache=$home/cache" -o APT::Sandbox::User=root)
  "${apt[@]}" update >&2
  (cd "$home" && "${apt[@]}" download docker-compose >&2 && dpkg-deb -x docker-compose_*.deb .)
fi
printf '%s\n' "$program"
