"""What the compose operations read from a device, and the short changes among them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from infrastructor.command import Command
from infrastructor.domains.compose.deploy_command import Report, read_report
from infrastructor.domains.containers.commands import needs_sudo
from infrastructor.errors import ParseError
from infrastructor.ports.ssh import Capabilities, CommandOutput, Lane
from infrastructor.sanitize import clean

_UNSET = re.compile(r'(?:The )?\\?"?([A-Za-z_][A-Za-z0-9_]*)\\?"? variable is not set')


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What compose makes of the files of a stack, and what the device has for them. Free space in KiB, None unknown."""

    version: str
    status: int
    config: str = field(default="", repr=False)  # resolved, so it holds secrets
    said: str = ""
    unset: tuple[str, ...] = ()
    unset_now: tuple[str, ...] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    networks: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    folder_exists: bool = False
    writable: bool = False
    free_kib: int | None = None
    engine_free_kib: int | None = None

    @property
    def is_v1(self) -> bool:
        return self.version.startswith("1.")


@dataclass(frozen=True)
class CheckStack(Command[Checked]):
    """What compose makes of these files, from copies in a temporary folder: nothing of the stack is touched.

    `text` and `env_text` take the place of the files of those names when `given` holds their letters, m and e.
    """

    script = r"""
folder=$1 project=$2 main=$3 more=$4 env_file=$5 env=$6 given=$7 main_text=$8 env_text=$9
if docker compose version >/dev/null 2>&1; then plugin=1
elif command -v docker-compose >/dev/null; then plugin=
else exit 127; fi
IFS='
'
set -f
umask 077
work=$(mktemp -d) || { echo "no temporary folder" >&2; exit 2; }
trap 'rm -rf -- "$work"' EXIT
compose() {
  for f in $more; do set -- -f "$f" "$@"; done
  set -- -f "$use_main" "$@"
  [ -z "$use_env" ] || set -- --env-file "$use_env" "$@"
  set -- -p "$project" --project-directory "$folder" "$@"
  cd "$folder" 2>/dev/null || cd "$work" || exit 1
  if [ -n "$plugin" ]; then exec docker compose "$@"; else exec docker-compose "$@"; fi
}
section() { printf '%s %s\n' "$1" "$(wc -c <"$work/out")"; cat "$work/out"; }
{ if [ -n "$plugin" ]; then docker compose version --short; else docker-compose version --short; fi
} >"$work/out" 2>/dev/null
section version
use_main=$main use_env=$env
case $given in
  *m*) printf %s "$main_text" >"$work/compose.yaml" || { echo "no room in the temporary folder" >&2; exit 2; }
    if [ -e "$main" ]; then ( compose config -q ) >/dev/null 2>"$work/out" </dev/null; section now; fi
    use_main=$work/compose.yaml;;
esac
case $given in
  *e*) printf %s "$env_text" >"$work/.env" || { echo "no room in the temporary folder" >&2; exit 2; }
    use_env=$work/.env;;
esac
( compose config ) >"$work/out" 2>"$work/said" </dev/null
status=$?
section config
[ "$use_main" = "$main" ] || sed "s|$work/compose.yaml|$main|g" "$work/said" >"$work/out"
[ "$use_main" != "$main" ] || cp "$work/said" "$work/out"
section said
echo $status >"$work/out"; section status
( compose config --hash '*' ) >"$work/out" 2>/dev/null </dev/null; section hashes
{ docker image ls --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}'
  docker image ls --no-trunc --digests --format '{{.Repository}}@{{.Digest}} {{.ID}}'; } >"$work/out" 2>/dev/null
section images
docker network ls --format '{{.Name}}' >"$work/out" 2>/dev/null; section networks
docker volume ls --format '{{.Name}}' >"$work/out" 2>/dev/null; section volumes
near=$folder; while [ -n "$near" ] && [ ! -d "$near" ]; do near=${near%/*}; done; near=${near:-/}
{ [ ! -d "$folder" ] || echo exists
  if [ -w "$near" ] && { [ ! -e "$main" ] || [ -r "$main" ]; }; then echo writable; fi
  echo "free $(df -Pk "$near" 2>/dev/null | awk 'NR == 2 { print $4 }')"
  root=$(docker info -f '{{.DockerRootDir}}' 2>/dev/null)
  [ -z "$root" ] || echo "engine $(df -Pk "$root" 2>/dev/null | awk 'NR == 2 { print $4 }')"; } >"$work/out"
section facts
"""
    template = "{folder} {project} {main} {more} {env_file} {env_option} {given} {main_text} {env_text}"
    needs = "docker compose"
    lane = Lane.SLOW
    timeout = timedelta(seconds=90)
    max_output = 16 << 20
    may_sudo = True
    folder: str
    project: str
    main: str
    more: str = ""
    env_file: str = ""
    env_option: str = ""
    given: str = ""
    main_text: str = field(default="", repr=False)
    env_text: str = field(default="", repr=False)

    def variant(self, capabilities: Capabilities) -> Command[Checked]:
        return self.as_root() if needs_sudo(capabilities) else self

    def summary(self) -> str:
        line = f"CheckStack {self.main} project={self.project}"
        return f"sudo {line}" if self.sudo else line

    def parse(self, output: CommandOutput) -> Checked:
        parts = sections(output.stdout)
        said = parts.get("said", "")
        facts = dict(line.partition(" ")[::2] for line in parts.get("facts", "").splitlines())
        return Checked(
            version=clean(parts.get("version", "").strip().removeprefix("v"), 40) or "unknown",
            status=_number(parts.get("status", "").strip()) or 0,
            config=parts.get("config", ""),
            said=clean(said, 4000),
            unset=unset_variables(said),
            unset_now=unset_variables(parts.get("now", "")),
            hashes=_pairs(parts.get("hashes", "")),
            images=_pairs(parts.get("images", "")),
            networks=tuple(sorted(parts.get("networks", "").split())),
            volumes=tuple(sorted(parts.get("volumes", "").split())),
            folder_exists="exists" in facts,
            writable="writable" in facts,
            free_kib=_number(facts.get("free", "")),
            engine_free_kib=_number(facts.get("engine", "")),
        )


def sections(body: bytes) -> Mapping[str, str]:
    """Parts that each begin with their name and length: whatever they hold, they cannot pass for another."""
    found: dict[str, str] = {}
    position = 0
    while position < len(body):
        end = body.find(b"\n", position)
        name, _, size = body[position : end if end >= 0 else None].partition(b" ")
        if end < 0 or not size.strip().isdigit() or not name.isalpha():
            raise ParseError(f"Not a section of an answer: {body[position : position + 80]!r}")
        start = end + 1
        position = start + int(size)
        found[name.decode("ascii", "replace")] = body[start:position].decode("utf-8", "replace")
    if "version" not in found:
        raise ParseError(f"Not what was asked of compose: {body[:80]!r}")
    return found


def unset_variables(said: str) -> tuple[str, ...]:
    """Names that compose replaced by nothing, as v1 and v2 warn of them."""
    return tuple(dict.fromkeys(_UNSET.findall(said)))[:50]


def _pairs(text: str) -> dict[str, str]:
    return {words[0]: words[1] for words in map(str.split, text.splitlines()) if len(words) == 2}  # noqa: PLR2004


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None  # noqa: PLR2004


@dataclass(frozen=True, slots=True, kw_only=True)
class PathFact:
    """What is at a path: folder, file, other or missing."""

    kind: str
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True)
class LookAtPaths(Command[Mapping[str, PathFact]]):
    """What is at some paths, and whose it is; and the device's time zone under the name `TZ`."""

    script = r"""
zone=$(cat /etc/timezone 2>/dev/null || readlink -f /etc/localtime 2>/dev/null)
printf 'zone - - %s\n' "${zone#*/zoneinfo/}"
for path; do
  if [ -d "$path" ]; then kind=folder; elif [ -f "$path" ]; then kind=file
  elif [ -e "$path" ]; then kind=other; else echo "missing - - $path"; continue; fi
  set -- $(stat -c '%u %g' -- "$path" 2>/dev/null)
  echo "$kind ${1:--} ${2:--} $path"
done
"""
    template = "{paths}"
    max_output = 1 << 20
    may_sudo = True
    paths: tuple[str, ...] = ()

    def parse(self, output: CommandOutput) -> Mapping[str, PathFact]:
        found: dict[str, PathFact] = {}
        for line in output.text.splitlines():
            kind, _, rest = line.partition(" ")
            uid, _, rest = rest.partition(" ")
            gid, _, path = rest.partition(" ")
            if kind == "zone":
                found["TZ"] = PathFact(kind=clean(path, 64))
            elif kind in {"folder", "file", "other", "missing"} and path:
                found[path] = PathFact(kind=kind, uid=_number(uid), gid=_number(gid))
            else:
                raise ParseError(f"Not what is known of a path: {clean(line, 200)!r}")
        return found


@dataclass(frozen=True)
class ReadProgress(Command[str]):
    """What a deployment is doing: the last line that it wrote."""

    script = 'tail -n 1 -- "$1/progress" 2>/dev/null | cut -c1-300; true'
    template = "{folder}"
    may_sudo = True
    folder: str

    def parse(self, output: CommandOutput) -> str:
        _, _, words = output.text.strip().partition(" ")
        return clean(words, 300)


@dataclass(frozen=True, slots=True)
class Version:
    """An earlier deployment of a stack, as its folder keeps it."""

    id: str
    report: Report
    has_main: bool
    has_env: bool


@dataclass(frozen=True)
class ReadStackVersions(Command[tuple[Version, ...]]):
    """The deployments whose old files are still beside the stack, newest first."""

    script = r"""
echo versions
cd "$1/.infrastructor" 2>/dev/null || exit 0
for id in $(ls -1 | grep -E '^[0-9a-f]{8}-' | sort -r | head -n 20); do
  [ -s "$id/report" ] || continue
  report=$(grep -v '^log ' "$id/report") main=- env=-
  [ ! -e "$id/old/main" ] || main=main
  [ ! -e "$id/old/env" ] || env=env
  printf '%s %s %s %s\n%s\n' "$id" $main $env "$(printf %s "$report" | wc -c)" "$report"
done
"""
    template = "{folder}"
    max_output = 4 << 20
    may_sudo = True
    folder: str

    def parse(self, output: CommandOutput) -> tuple[Version, ...]:
        head, newline, body = output.stdout.partition(b"\n")
        if head != b"versions":
            raise ParseError(f"Not a list of deployments: {output.text[:80]!r}")
        found = []
        while newline and body:
            words, _, body = body.partition(b"\n")
            try:
                identity, main, env, size = words.decode().split()
                length = int(size)
            except ValueError as error:
                raise ParseError(f"Not a deployment of a list: {words[:120]!r}") from error
            report = read_report(body[:length].decode("utf-8", "replace"))
            found.append(Version(identity, report, main == "main", env == "env"))
            body = body[length + 1 :]
        return tuple(found)


@dataclass(frozen=True)
class RunCompose(Command[CommandOutput]):
    """A word of compose for a whole stack: restart, pull or down. Files that are gone are not named to it."""

    script = r"""
folder=$1 project=$2 main=$3 more=$4 env=$5; shift 5
IFS='
'
set -f
if [ -e "$main" ]; then
  for f in $more; do set -- -f "$f" "$@"; done
  set -- --project-directory "$folder" -f "$main" "$@"
  [ -z "$env" ] || set -- --env-file "$env" "$@"
fi
cd "$folder" 2>/dev/null || cd /
if docker compose version >/dev/null 2>&1; then exec docker compose -p "$project" "$@"; fi
command -v docker-compose >/dev/null || exit 127
exec docker-compose -p "$project" "$@"
"""
    template = "{folder} {project} {main} {more} {env_option} {words}"
    needs = "docker compose"
    lane = Lane.CHANGE
    timeout = timedelta(minutes=20)
    max_output = 256 << 10
    ok_statuses = frozenset(range(256)) - {127}
    accepts_truncated = True
    may_sudo = True
    folder: str
    project: str
    main: str
    words: tuple[str, ...]
    more: str = ""
    env_option: str = ""

    def variant(self, capabilities: Capabilities) -> Command[CommandOutput]:
        return self.as_root() if needs_sudo(capabilities) else self

    def parse(self, output: CommandOutput) -> CommandOutput:
        return output
