#!/usr/bin/env bash
# Print the folder with nginx and the modules SWAG's includes need, fetching Debian's own packages into .dev/ once.
# They are unpacked and not installed: installed, nginx would start and take port 80.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

home=$PWD/.dev/nginx
mkdir -p "$home"
exec 9>"$home/lock"
flock 9 # test workers ask side by side, and one download is enough
if [ ! -x "$home/tree/usr/sbin/nginx" ]; then
  command -v apt-get >/dev/null || { echo "nginx is not installed" >&2; exit 1; }
  cd "$home"
  packages="nginx nginx-common libnginx-mod-http-ndk libnginx-mod-http-set-misc"
  apt-get -qq -o APT::Sandbox::User=root download $packages >&2 ||
    { apt-get -qq update >&2 && apt-get -qq -o APT::Sandbox::User=root download $packages >&2; }
  for package in *.deb; do dpkg-deb -x "$package" tree; done
fi
printf '%s\n' "$home/tree"
