"""The part of a deployment that touches anything: one detached run on the device, which puts back what it cannot
bring to health. So neither the end of the server nor that of the connection leaves it half done.

Beside the compose file stands `.infrastructor/<operation id>/`, mode 0700: `new` and `old` hold the files as they are
to be and as they were, `containers` what ran before, `progress` what it is doing, `report` how it ended. The report
is what the run prints; its lines are `word text`, and the log at its end is the last words of what failed.
"""

import shlex
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, get_args

from infrastructor.command import Command
from infrastructor.domains.containers.commands import needs_sudo
from infrastructor.errors import ParseError
from infrastructor.ports.ssh import Capabilities, CommandOutput, Lane
from infrastructor.sanitize import clean

LONGEST_WAIT_S = 900
LONGEST_RUN = timedelta(seconds=3 * LONGEST_WAIT_S)
ABSENT = "absent"
_COLUMNS = 12

Outcome = Literal["deployed", "refused", "rolled_back", "rollback_failed", "nothing", "running"]


@dataclass(frozen=True, slots=True)
class Instance:
    """One container of a stack at one moment. `health` and `config_hash` are '-' where there is none."""

    service: str
    name: str
    image_id: str
    image: str
    status: str
    health: str
    exit_code: int
    restarts: int
    policy: str
    config_hash: str
    id: str
    started_at: str

    @property
    def running(self) -> bool:
        return self.status in {"running", "restarting", "paused"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a deployment ended. refused: nothing was touched; nothing: there is no trace of it."""

    outcome: Outcome
    reason: str = ""
    rollback: str = ""
    notes: tuple[str, ...] = ()
    before: tuple[Instance, ...] = ()
    after: tuple[Instance, ...] = ()
    log: str = field(default="", repr=False)


@dataclass(frozen=True)
class RunDeployment(Command[Report]):
    """Swap the files of a stack, bring it up, wait until it is healthy; else put files, images and containers back.

    `action`: apply, or undo what an interrupted one did. Lists have an item a line; a file whose `expect` and
    `sha` are the same stays as it is.
    """

    script = r"""
action=$1 folder=$2 id=$3 project=$4 main=$5 more=$6 env_file=$7 env=$8 patience=$9; shift 9
services=$1 pull=$2 removed=$3 retag=$4 folders=$5 settle=$6; shift 6
main_expect=$1 main_sha=$2 env_expect=$3 env_sha=$4 main_text=$5 env_text=$6
use_main=$main use_env=$env why=
home=${main%/*}/.infrastructor dir=${main%/*}/.infrastructor/$id
label=label=com.docker.compose.project=$project
IFS='
'
set -f
umask 077
say() { printf '%s %s\n' "$(date +%s)" "$*" >>"$dir/progress"; }
one_line() { tr '\n\r' '  ' | tail -c 900; }
last_words() { tail -c 4000 "$dir/log" 2>/dev/null | sed 's/^/log /'; }
refuse() {
  printf 'outcome refused\nreason %s\n' "$*" 2>/dev/null >"$dir/report"
  rm -rf -- "$dir/new" "$dir/pid"
  printf 'outcome refused\nreason %s\n' "$*"; last_words
  exit 0
}
sum() { if [ -e "$1" ]; then sha256sum <"$1" | cut -d' ' -f1; else echo absent; fi; }
mine() { printf '%s %s\n' $$ "$(tr '\000' ' ' </proc/$$/cmdline)"; }
alive() {
  IFS=' ' read -r other line 2>/dev/null <"$1" || return 1
  [ "$(tr '\000' ' ' 2>/dev/null <"/proc/$other/cmdline")" = "$line " ] ||
    [ "$(tr '\000' ' ' 2>/dev/null <"/proc/$other/cmdline")" = "$line" ]
}
if docker compose version >/dev/null 2>&1; then plugin=1; never=
  case $(docker compose up --help 2>/dev/null) in *--pull*) never=--pull=never;; esac
else plugin= never=; command -v docker-compose >/dev/null || { printf 'outcome refused\nreason no compose\n'; exit 0; }
fi
# Always in a subshell, which becomes the program. IFS is a newline: a list of files may hold spaces.
compose() {
  for f in $more; do set -- -f "$f" "$@"; done
  set -- -f "$use_main" "$@"
  [ -z "$use_env" ] || set -- --env-file "$use_env" "$@"
  set -- -p "$project" --project-directory "$folder" "$@"
  cd "$folder" || exit 1
  if [ -n "$plugin" ]; then exec docker compose "$@"; else exec docker-compose "$@"; fi
}
# service name image-id image status health exit-code restarts policy config-hash id started. `.Id`, which the
# program's own structures call otherwise, makes every version read the engine's words themselves.
form='{{or (index .Config.Labels "com.docker.compose.service") "-"}} {{.Name}} {{.Image}} {{.Config.Image}}'
form=$form' {{.State.Status}} {{with (index .State "Health")}}{{.Status}}{{else}}-{{end}} {{.State.ExitCode}}'
form=$form' {{.RestartCount}} {{or .HostConfig.RestartPolicy.Name "no"}}'
form=$form' {{or (index .Config.Labels "com.docker.compose.config-hash") "-"}} {{.Id}} {{.State.StartedAt}}'
form=$form'{{if eq (or (index .Config.Labels "com.docker.compose.oneoff") "False") "True"}} oneoff{{end}}'
snap() {
  ids=$(docker ps -aq --no-trunc --filter "$label") || return 1
  [ -z "$ids" ] || docker inspect -f "$form" $ids 2>/dev/null | sed -e '/ oneoff$/d' -e 's| /| |' | sort
}
# Of such lines: `ok`, `firm` (every one has a check that passes), `wait why` or `bad why`.
judge() {
  SERVICES=$1 awk '
    BEGIN { count = split(ENVIRON["SERVICES"], list, "\n"); for (i in list) if (list[i] != "") want[list[i]] = 1 }
    !($1 in want) { next }
    { seen[$1] = 1 }
    $5 == "running" && $6 == "healthy" { next }
    $5 == "running" && $6 == "-" { loose = 1; next }
    $5 == "running" && $6 == "unhealthy" { bad = bad $2 " is unhealthy; "; next }
    $5 == "running" { waiting = waiting $2 " is " $6 "; "; next }
    $5 == "exited" && $7 == 0 && ($9 == "no" || $9 == "on-failure") { next }
    $5 == "exited" && $9 == "no" { bad = bad $2 " ended with code " $7 "; "; next }
    $5 == "restarting" && $8 >= 3 { bad = bad $2 " keeps restarting (code " $7 "); "; next }
    $5 == "dead" { bad = bad $2 " is dead; "; next }
    { waiting = waiting $2 " is " $5 ($5 == "exited" ? " with code " $7 : "") "; " }
    END {
      for (name in want) if (!(name in seen)) waiting = waiting name " has no container; "
      if (bad) print "bad " bad; else if (waiting) print "wait " waiting; else if (loose) print "ok"; else print "firm"
    }'
}
# Wait until the services are well. A container without a check has to stay as it is for a while.
settled() {
  steady=0 before= said= reason=
  while :; do
    verdict="wait the engine does not answer"
    now=$(snap) && verdict=$(printf '%s\n' "$now" | judge "$1")
    verdict=${verdict%; }
    case $verdict in
      firm) return 0;;
      bad*) reason=${verdict#bad }; return 1;;
      ok)
        if [ "$now" = "$before" ]; then steady=$((steady+1)); else steady=0; fi
        before=$now reason="not steady for $settle s within $patience s"
        [ $steady -lt "$settle" ] || return 0;;
      *)
        steady=0 before= reason="not well after $patience s: ${verdict#wait }"
        [ "$verdict" = "$said" ] || say "waiting: ${verdict#wait }"
        said=$verdict;;
    esac
    [ "$(date +%s)" -lt "$until" ] || return 1
    sleep 1
  done
}
# Compose itself waits for what others depend on, and would do so for ever.
bring_up() {
  until=$(($(date +%s) + patience)) reason=
  ( compose up -d "$@" ) >>"$dir/log" 2>&1 </dev/null &
  pid=$!
  while kill -0 $pid 2>/dev/null; do
    if [ "$(date +%s)" -ge "$until" ]; then
      kill $pid; wait $pid; reason="compose up took more than $patience s"; return 1
    fi
    sleep 0.3 2>/dev/null || sleep 1
  done
  wait $pid || { reason="compose up failed: $(tail -n 3 "$dir/log" | one_line)"; return 1; }
}
# The new content takes the place of the old one whole; mode and owner stay.
swap() {
  real=$2; [ ! -L "$2" ] || real=$(readlink -f -- "$2")
  next=${real%/*}/.${real##*/}.$$.infrastructor keep=
  if [ -e "$real" ]; then
    cp -p -- "$real" "$next" && cat -- "$1" >"$next" || { rm -f -- "$next"; return 1; }
    [ "$(stat -c '%a %u:%g' -- "$real")" = "$(stat -c '%a %u:%g' -- "$next")" ] || keep=1
    [ "$(stat -c %h -- "$real")" = 1 ] || keep=1
  elif [ "$3" = as_it_was ]; then
    cp -p -- "$1" "$next" || { rm -f -- "$next"; return 1; }
  else
    cat -- "$1" >"$next" && chmod "$3" "$next" || { rm -f -- "$next"; return 1; }
    chown "$(stat -c %u:%g -- "${real%/*}")" "$next" 2>/dev/null
  fi
  [ "$(sum "$next")" = "$(sum "$1")" ] || { rm -f -- "$next"; return 1; }
  sync -- "$next" 2>/dev/null || sync
  if [ -n "$keep" ]; then cat -- "$next" >"$real"; code=$?; rm -f -- "$next"; return $code; fi
  # The old file itself stays at hand: putting it back then takes no room.
  [ -z "$4" ] || ln -f -- "$real" "$dir/old/$4.link" 2>/dev/null
  mv -f -- "$next" "$real" || { rm -f -- "$next"; return 1; }
}
put_back() {
  if [ -e "$dir/old/$1" ]; then
    [ "$(sum "$2")" != "$(sum "$dir/old/$1")" ] || return 0
    rm -f -- "$dir/new/$1"
    if [ "$(sum "$dir/old/$1.link")" = "$(sum "$dir/old/$1")" ]; then
      real=$2; [ ! -L "$2" ] || real=$(readlink -f -- "$2")
      mv -f -- "$dir/old/$1.link" "$real" && return 0
    fi
    swap "$dir/old/$1" "$2" as_it_was && return 0
    # Without room for a copy the old content still fits where the new one is.
    [ -e "$2" ] && cat -- "$dir/old/$1" >"$2" && [ "$(sum "$2")" = "$(sum "$dir/old/$1")" ]
  elif [ -e "$dir/new/$1" ] && [ "$(sum "$2")" = "$(sum "$dir/new/$1")" ]; then
    rm -f -- "$2"
  fi
}
restore_images() {
  while IFS=' ' read -r service name image ref rest; do
    case $ref in
      *@* | sha256:* | "$image") ;;
      *) docker tag "$image" "$ref" || docker tag "infrastructor-kept:$project-$(short "$image")" "$ref";;
    esac
  done <"$dir/containers" >>"$dir/log" 2>&1
}
short() { printf %.24s "${1#sha256:}"; }
finish() {
  rm -rf -- "$dir/new" "$dir/pid" "$dir/old/main.link" "$dir/old/env.link"
  text=$(
    printf 'outcome %s\n' "$1"
    [ -z "$why" ] || printf 'reason %s\n' "$why"
    [ -z "$2" ] || printf 'rollback %s\n' "$2"
    cat "$dir/notes" 2>/dev/null
    sed 's/^/before /' "$dir/containers"
    snap | sed 's/^/after /'
    last_words)
  printf '%s\n' "$text"
  { printf '%s\n' "$text" >"$dir/report.new" && mv -f "$dir/report.new" "$dir/report"; } 2>/dev/null
  say "$1" 2>/dev/null
}
# Of those that are not well, what they said last; for they will be gone.
collect_words() {
  printf '%s\n' "$now" | while IFS=' ' read -r service name image ref status health rest; do
    [ -n "$name" ] || continue
    case $status/$health in running/- | running/healthy) continue;; esac
    printf '%s (%s %s): ' "$name" "$status" "$health"
    docker inspect -f '{{.State.Error}}' "$name"
    docker logs --tail 15 "$name" 2>&1 | tail -c 1500
    [ "$health" = - ] || docker inspect -f '{{range .State.Health.Log}}{{.Output}}{{end}}' "$name" | tail -c 300
  done >>"$dir/log" 2>&1
}
undo() {
  why=$1
  say "undoing: $why"
  now=$(snap)
  collect_words
  put_back main "$main" && put_back env "$env_file" || {
    finish rollback_failed "the old files cannot be written"; return; }
  restore_images
  use_main=$main use_env=$env
  known=$(cut -d' ' -f1 "$dir/containers" | sort -u)
  printf '%s\n' "$now" | while IFS=' ' read -r service name rest; do
    [ -n "$name" ] || continue
    printf '%s\n' "$known" | grep -qxF -- "$service" || docker rm -f "$name" </dev/null >>"$dir/log" 2>&1
  done
  running=$(awk '$5 ~ /^(running|restarting|paused)$/ { print $1 }' "$dir/containers" | sort -u)
  resting=$(awk '$5 !~ /^(running|restarting|paused)$/ { print $1 }' "$dir/containers" | sort -u)
  columns() { cut -d' ' -f1,3,5,11 | sort; }
  if [ "$(snap | columns)" != "$(columns <"$dir/containers")" ]; then
    if [ -n "$resting" ]; then
      ( compose up --no-start $resting ) >>"$dir/log" 2>&1 </dev/null
      for service in $resting; do
        printf '%s\n' "$running" | grep -qxF -- "$service" ||
          ( compose stop "$service" ) >>"$dir/log" 2>&1 </dev/null
      done
    fi
    if [ -n "$running" ]; then
      bring_up $never $running || { finish rollback_failed "$reason"; return; }
      # It may have been no better before.
      settled "$running" || grep -q -E ' (running unhealthy|restarting [a-z-]*|running starting) ' "$dir/containers" ||
        { finish rollback_failed "$reason"; return; }
    fi
  fi
  docker network ls -q --filter "$label" | while read -r net; do
    grep -qxF "$net" "$dir/networks" || docker network rm "$net"
  done >/dev/null 2>&1
  wrong=$(snap | awk '
    NR == FNR { if ($5 ~ /^(running|restarting|paused)$/) want[$1] = $3; next }
    ($1 in want) && $5 ~ /^(running|restarting|paused)$/ && $3 == want[$1] { good[$1] = 1 }
    END { for (name in want) if (!(name in good)) printf "%s ", name }' "$dir/containers" -)
  if [ -n "$wrong" ]; then finish rollback_failed "not on the old image: $wrong"; return; fi
  finish rolled_back "${running:+what ran before runs again, on the same images}"
}

if [ "$action" = undo ]; then
  [ -d "$dir" ] || { echo "outcome nothing"; exit 0; }
  [ ! -s "$dir/report" ] || { cat "$dir/report"; exit 0; }
  if alive "$dir/pid"; then echo "outcome running"; exit 0; fi
  [ -e "$dir/containers" ] || : >"$dir/containers"
  [ -e "$dir/touched" ] || { restore_images; refuse "it was interrupted before anything was touched"; }
  mine >"$dir/pid"
  undo "it was interrupted"
  exit 0
fi

( umask 022; mkdir -p -- "$folder" "${main%/*}" ) 2>/dev/null
mkdir -p -- "$home" 2>/dev/null && chmod 700 "$home" && mkdir -- "$dir" 2>/dev/null || {
  printf 'outcome refused\nreason %s cannot be written to\n' "$home"; exit 0; }
[ -e "$home/.gitignore" ] || echo '*' >"$home/.gitignore"
mine >"$dir/pid"
set +f
for other in "$home"/*/pid; do
  [ "$other" = "$dir/pid" ] || ! alive "$other" || refuse "another deployment is under way: ${other%/pid}"
done
set -f
: >"$dir/containers"
say "preparing"
mkdir "$dir/new" "$dir/old" && printf %s "$main_text" >"$dir/new/main" && printf %s "$env_text" >"$dir/new/env" ||
  refuse "there is no room for the new files"
[ "$main_sha" != "$main_expect" ] || cp -- "$main" "$dir/new/main"
if [ "$env_sha" = absent ]; then rm -f "$dir/new/env"
elif [ "$env_sha" = "$env_expect" ]; then cp -- "$env_file" "$dir/new/env"; fi
[ "$(sum "$main")" = "$main_expect" ] || refuse "$main was changed meanwhile"
[ "$(sum "$env_file")" = "$env_expect" ] || refuse "$env_file was changed meanwhile"
[ "$(sum "$dir/new/main")" = "$main_sha" ] && [ "$(sum "$dir/new/env")" = "$env_sha" ] ||
  refuse "there is no room for the new files"
[ ! -e "$main" ] || cp -p -- "$main" "$dir/old/main"
[ ! -e "$env_file" ] || cp -p -- "$env_file" "$dir/old/env"
[ "$(sum "$dir/old/main")" = "$main_expect" ] && [ "$(sum "$dir/old/env")" = "$env_expect" ] ||
  refuse "there is no room for a copy of the old files"
snap >"$dir/containers" || refuse "the engine does not answer"
docker network ls -q --filter "$label" >"$dir/networks"
while IFS=' ' read -r service name image rest; do
  docker tag "$image" "infrastructor-kept:$project-$(short "$image")" 2>/dev/null
done <"$dir/containers"
use_main=$dir/new/main use_env=$env
[ "$env_sha" = absent ] || use_env=$dir/new/env
( compose config -q ) >>"$dir/log" 2>&1 </dev/null ||
  refuse "compose does not take it: $(tail -n 3 "$dir/log" | one_line)"
if [ -n "$pull" ]; then
  say "pulling $(printf '%s' "$pull" | tr '\n' ' ')"
  ( compose pull -q $pull ) >>"$dir/log" 2>&1 </dev/null || {
    restore_images; refuse "an image cannot be pulled: $(tail -n 3 "$dir/log" | one_line)"; }
fi
[ "$(sum "$main")" = "$main_expect" ] && [ "$(sum "$env_file")" = "$env_expect" ] || {
  restore_images; refuse "the files were changed meanwhile"; }
: >"$dir/touched" || refuse "there is no room"
say "writing"
for f in $folders; do
  ( umask 022; mkdir -p -- "${f#* }" ) >>"$dir/log" 2>&1 || { undo "${f#* } cannot be made"; exit 0; }
  [ "${f%% *}" = - ] || chown "${f%% *}" "${f#* }" >>"$dir/log" 2>&1
done
if [ "$main_sha" != "$main_expect" ]; then
  swap "$dir/new/main" "$main" 644 main || { undo "$main cannot be written"; exit 0; }
fi
if [ "$env_sha" != "$env_expect" ]; then
  if [ "$env_sha" = absent ]; then rm -f -- "$env_file"; else swap "$dir/new/env" "$env_file" 600 env; fi ||
    { undo "$env_file cannot be written"; exit 0; }
fi
use_main=$main use_env=$env
for pair in $retag; do
  docker tag "${pair#* }" "${pair%% *}" >>"$dir/log" 2>&1 || { undo "the image ${pair#* } is gone"; exit 0; }
done
say "starting"
old_ids() { awk -v s="$1" '$1 == s { print $11 }' "$dir/containers"; }
for service in $removed; do docker stop $(old_ids "$service"); done >>"$dir/log" 2>&1
bring_up ${retag:+$never} && settled "$services" || { undo "$reason"; exit 0; }
for service in $removed; do docker rm $(old_ids "$service"); done >>"$dir/log" 2>&1
hashes=$( ( compose config --hash '*' ) 2>/dev/null </dev/null)
snap | cut -d' ' -f1,10 | sort -u | while IFS=' ' read -r service hash; do
  want=$(printf '%s\n' "$hashes" | awk -v s="$service" '$1 == s { print $2 }')
  [ -z "$want" ] || [ "$want" = "$hash" ] || echo "note $service runs with another configuration than its file has"
done >"$dir/notes"
why=
rm -f "$dir/log"
finish deployed ""
# Only the last few versions and their images are kept.
count=0
for old in $(ls -1 "$home" | grep -E '^[0-9a-f]{8}-' | sort -r); do
  grep -q '^outcome deployed' "$home/$old/report" 2>/dev/null && count=$((count+1))
  [ $count -le 5 ] || rm -rf -- "${home:?}/$old"
done
set +f
docker image ls --format '{{.Tag}}' infrastructor-kept 2>/dev/null | while read -r tag; do
  [ "${tag%-*}" = "$project" ] || continue
  cat "$home"/*/containers | grep -q -F "sha256:${tag##*-}" || docker rmi "infrastructor-kept:$tag" >/dev/null 2>&1
done
exit 0
"""
    template = (
        "{action} {folder} {operation} {project} {main} {more} {env_file} {env_option} {patience} {services} {pull} "
        "{removed} {retag} {folders} {settle} {main_expect} {main_sha} {env_expect} {env_sha} {main_text} {env_text}"
    )
    needs = "docker"
    lane = Lane.CHANGE
    timeout = LONGEST_RUN
    may_sudo = True
    action: str
    folder: str
    operation: str
    project: str
    main: str
    more: str = ""  # further compose files, last first
    env_file: str = ""
    env_option: str = ""  # the same where it has to be named
    patience: int = 120
    services: str = ""
    pull: str = ""
    removed: str = ""
    retag: str = ""  # `image id`
    folders: str = ""  # `uid:gid path`, or `- path`
    settle: int = 5
    main_expect: str = ABSENT
    main_sha: str = ABSENT
    env_expect: str = ABSENT
    env_sha: str = ABSENT
    main_text: str = field(default="", repr=False)
    env_text: str = field(default="", repr=False)

    def variant(self, capabilities: Capabilities) -> Command[Report]:
        return self.as_root() if needs_sudo(capabilities) else self

    def summary(self) -> str:
        """What it does to what; contents hold secrets, so only their hashes."""
        words = [self.action, self.main, f"sha256={self.main_sha[:16]}", f"was={self.main_expect[:16]}"]
        if self.env_sha != self.env_expect:
            words += [f"env={self.env_sha[:16]}", f"env_was={self.env_expect[:16]}"]
        words += [f"project={self.project}", f"wait={self.patience}", f"operation={self.operation}"]
        line = " ".join(["RunDeployment", *(shlex.quote(word) for word in words)])
        return f"sudo {line}" if self.sudo else line

    def parse(self, output: CommandOutput) -> Report:
        return read_report(output.text)


def read_report(text: str) -> Report:
    """The report of a deployment, as printed or as kept beside the stack."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        found.setdefault(word, []).append(rest)
    outcomes: list[Outcome] = [one for one in get_args(Outcome) if [one] == found.get("outcome", [])[:1]]
    if not outcomes:
        raise ParseError(f"Not the report of a deployment: {clean(text, 200)!r}")
    return Report(
        outcome=outcomes[0],
        reason=clean(" ".join(found.get("reason", [])), 1000),
        rollback=clean(" ".join(found.get("rollback", [])), 1000),
        notes=tuple(clean(note, 300) for note in found.get("note", [])),
        before=tuple(map(_instance, found.get("before", []))),
        after=tuple(map(_instance, found.get("after", []))),
        log="\n".join(found.get("log", [])),
    )


def _instance(line: str) -> Instance:
    words = line.split()
    if len(words) != _COLUMNS:
        raise ParseError(f"Not a container of a deployment: {clean(line, 200)!r}")
    try:
        service, name, image_id, image, status, health, code, restarts, policy, config_hash, identity, started = words
        return Instance(
            service=service,
            name=name,
            image_id=image_id,
            image=image,
            status=status,
            health=health,
            exit_code=int(code),
            restarts=int(restarts),
            policy=policy,
            config_hash=config_hash,
            id=identity,
            started_at=started,
        )
    except ValueError as error:
        raise ParseError(f"Not a container of a deployment: {clean(line, 200)!r}") from error
