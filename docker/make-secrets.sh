#!/usr/bin/env bash
# Random passwords for docker-compose.yml into ./secrets. Existing files are kept.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 077
mkdir -p secrets ssh

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
keep_or_make() { [ -s "secrets/$1" ] || printf '%s' "$2" >"secrets/$1"; }

keep_or_make postgres_password "$(random)"
keep_or_make redis_password "$(random)"
postgres=$(cat secrets/postgres_password)
redis=$(cat secrets/redis_password)
keep_or_make redis_config "requirepass $redis
protected-mode yes
"
keep_or_make infrastructor_database_url "postgresql://postgres:$postgres@postgres:5432/infrastructor"
keep_or_make infrastructor_redis_url "redis://:$redis@redis:6379/0"
# Compose bind-mounts the files: the containers' users must read them, other users must not reach the folder.
chmod 0700 secrets
chmod 0444 secrets/*
echo "Secrets are in $PWD/secrets"
