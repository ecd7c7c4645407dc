"""What the log operations may run on a device."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from infrastructor.command import Command
from infrastructor.domains.containers.commands import EngineScript
from infrastructor.domains.logs.models import LogLine, Priority
from infrastructor.domains.logs.syslog import split
from infrastructor.domains.logs.times import from_micros
from infrastructor.errors import ParseError
from infrastructor.masking import mask_secrets
from infrastructor.ports.ssh import CommandOutput, Lane
from infrastructor.sanitize import clean

_SHOWN_MESSAGE = 2000
_READ_MESSAGE = 4000
_ANSI = re.compile(r"(?:\x1b|#033)\[[0-9;]{0,20}[A-Za-z]")  # rsyslog writes ESC as #033
_LEVELS = tuple(Priority)
_HINT = re.compile(r"not seeing messages from other users|insufficient permissions", re.IGNORECASE)
_NOTHING = re.compile(r"no journal files were found|^-- no entries --$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The newest lines of one source, oldest first. `cut`: it was longer than the answer may be."""

    lines: tuple[LogLine, ...]
    source: str | None
    cut: bool = False
    restricted: bool = False
    failure: str | None = None


@dataclass(frozen=True)
class ReadJournal(Command[Excerpt]):
    """The newest entries of systemd's journal, newest first so that a cut loses the oldest."""

    template = (
        "journalctl --no-pager --all --reverse --output=json"
        " --output-fields=MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,_COMM,_PID,SYSLOG_PID,_SYSTEMD_UNIT,UNIT,_TRANSPORT"
        " --lines={limit} --unit={unit} --priority={priority} --since=@{since} --until=@{until} --boot={boot}"
        " --grep={grep} --case-sensitive={case_sensitive} {kernel}"
    )
    flags: ClassVar[Mapping[str, str]] = {"kernel": "--dmesg"}
    needs = "journalctl"
    timeout = timedelta(seconds=45)
    max_output = 4 << 20
    accepts_truncated = True
    lane = Lane.SLOW
    ok_statuses = frozenset({0, 1})  # 1: nothing matches --grep, on newer versions
    limit: int = 100
    unit: str | None = None
    priority: str | None = None
    since: str | None = None
    until: str | None = None
    boot: int | None = None
    grep: str | None = None
    case_sensitive: str | None = None
    kernel: bool = False

    def parse(self, output: CommandOutput) -> Excerpt:
        source = f"unit:{self.unit}" if self.unit else "kernel" if self.kernel else "journal"
        rows = output.text.splitlines()
        if output.truncated and rows:
            rows.pop()
        found = [_entry(row, source) for row in rows if row.startswith("{")]
        said = output.error_text
        failed = output.exit_status != 0 and not found and bool(said) and not _NOTHING.search(said)
        return Excerpt(
            lines=tuple(reversed(found)),
            source=source,
            cut=output.truncated,
            restricted=_HINT.search(said) is not None,
            failure=clean(said, 300) if failed else None,
        )


def _entry(row: str, source: str) -> LogLine:
    try:
        fields = json.loads(row)
        stamp = int(_first(fields, "__REALTIME_TIMESTAMP") or "")
    except (ValueError, RecursionError) as error:
        raise ParseError(f"Not an entry of journalctl -o json: {clean(row, 200)!r}") from error
    name = _first(fields, "SYSLOG_IDENTIFIER") or _first(fields, "_COMM")
    pid = _first(fields, "_PID") or _first(fields, "SYSLOG_PID")
    level = _first(fields, "PRIORITY") or ""
    return LogLine(
        time=from_micros(stamp),
        source=source,
        unit=_first(fields, "UNIT") or _first(fields, "_SYSTEMD_UNIT"),
        process=clean(f"{name}[{pid}]" if pid else name, 100) if name else None,
        priority=_LEVELS[int(level)] if re.fullmatch("[0-7]", level) else None,
        message=shown(_first(fields, "MESSAGE") or ""),
    )


def _first(fields: Mapping[str, Any], name: str) -> str | None:
    """A field as text: it may be repeated (a list of texts) or no UTF-8 (a list of byte values)."""
    value = fields.get(name)
    if isinstance(value, list):
        if value and all(isinstance(item, int) and 0 <= item <= 255 for item in value):  # noqa: PLR2004
            return bytes(value).decode("utf-8", "replace")
        value = value[0] if value else None
    return value if isinstance(value, str) else None


def shown(message: str) -> str:
    """A message as an answer may hold it."""
    # Cut before masking, which takes its time with long lines; what is cut is never shown.
    cut = _ANSI.sub("", message[:_READ_MESSAGE].rstrip())
    return clean(mask_secrets(cut), _SHOWN_MESSAGE)


@dataclass(frozen=True)
class ReadLogFile(Command[Excerpt]):
    """The newest matching lines of a text log, each with the time the device itself reads in it.

    The device knows its zone and the year; a line without a time has that of the line before.
    """

    # "$1" is file, auto, logread or container. With auto the first of syslog, messages and logread is taken.
    script = r"""
kind=$1 name=$2 rotated=$3 limit=$4 since=$5 until=$6 pattern=$7 how=$8 words=$9
logs=$(readlink -f /var/log 2>/dev/null) || logs=/var/log
if [ "$kind" = auto ]; then
  kind=none
  for name in /var/log/syslog /var/log/messages; do [ -e "$name" ] && kind=file && break; done
  [ $kind = none ] && command -v logread >/dev/null 2>&1 && kind=logread
fi
case $kind in
  none) echo '# none'; exit 0 ;;
  logread) command -v logread >/dev/null 2>&1 || exit 127; echo '# logread' ;;
  container)
    engine=docker
    command -v docker >/dev/null 2>&1 || engine=podman
    command -v $engine >/dev/null 2>&1 || exit 127
    $engine container inspect --format x -- "$name" >/dev/null || exit 1
    echo "# container:$name" ;;
  file)
    real=$(readlink -f "$name" 2>/dev/null)
    case $real in
      "$logs"/*) ;;
      '') echo "$name does not exist." >&2; exit 66 ;;
      *) echo "$name lies outside of /var/log, at $real." >&2; exit 66 ;;
    esac
    [ -e "$real" ] || { echo "$name does not exist." >&2; exit 66; }
    [ -f "$real" ] || { echo "$name is not a plain file." >&2; exit 66; }
    [ -r "$real" ] || { echo "The login user $(id -un) may not read $name; add it to group adm." >&2; exit 77; }
    echo "# file:$name" ;;
esac
files() {
  [ "$rotated" = 1 ] && ls -tr "$real".[0-9]* "$real"-[0-9]* 2>/dev/null
  printf '%s\n' "$real"
}
emit() {
  case $kind in
    logread) logread ;;
    container)
      if [ -z "$until$pattern$words" ]; then
        set -- --tail "$limit"
      else
        set --
      fi
      [ -n "$since" ] && set -- "$@" --since "$since"
      [ -n "$until" ] && [ "$engine" = docker ] && set -- "$@" --until "${until%.*}.999999999"
      $engine logs --timestamps "$@" -- "$name" 2>&1 ;;
    file)
      files | while IFS= read -r f; do
        [ -f "$f" ] && [ ! -L "$f" ] || continue
        case $f in
          *.gz) gzip -dc "$f" ;;
          *.xz|*.zst|*.bz2) ;;
          *) if [ -z "$until$pattern$words" ]; then tail -n "$limit" "$f"; else cat "$f"; fi ;;
        esac
      done 2>/dev/null ;;
  esac
}
matching() {
  if [ -z "$2" ]; then cat; elif [ "$1" = F ]; then grep -i -F -e "$2"; else grep -i -E -e "$2"; fi
}
local='function wall(y,m,d,H,M,S) { return utc(y,m,d,H,M,S) - off }'
if awk 'BEGIN { exit mktime("2000 01 01 00 00 00") > 0 ? 0 : 1 }' 2>/dev/null; then
  local='function wall(y,m,d,H,M,S) { return mktime(y " " m " " d " " H " " M " " S) }'
fi
set -- $(date '+%Y %m %d %z')
emit | tr -d '\000' | matching "$how" "$pattern" | matching E "$words" |
awk -v year="$1" -v month="$2" -v day="$3" -v zone="$4" -v since="$since" -v until="$until" "$local"'
function utc(y,m,d,H,M,S) {
  if (m <= 2) { y--; m += 12 }
  d = 365*y + int(y/4) - int(y/100) + int(y/400) + int((153*(m-3)+2)/5) + d - 719469
  return d*86400 + H*3600 + M*60 + S
}
function shift(z) {
  gsub(/[: ]/, "", z)
  return (substr(z,1,1) == "-" ? -1 : 1) * (substr(z,2,2)*3600 + substr(z,4,2)*60)
}
function months(name) { return int((index("JanFebMarAprMayJunJulAugSepOctNovDec", name) + 2) / 3) }
function guess(m,d) { return m*100 + d > month*100 + day + 1 ? year - 1 : year }
function at(s, p) { return substr(s, p, 2) + 0 }
BEGIN {
  off = shift(zone); last = "-"
  dd = "[0-9][0-9]"; time = dd ":" dd ":" dd; mon = "[A-Z][a-z][a-z] "; year4 = dd dd; off4 = " ?[-+]" dd ":?" dd
  iso = "^[^0-9A-Za-z]?" year4 "[-/]" dd "[-/]" dd "[T ]" time
  openwrt = "^" mon mon "[ 0-9][0-9] " time " " year4
  rfc3164 = "^" mon "[ 0-9][0-9] " time
  clf = "[[]" dd "/[A-Z][a-z][a-z]/" year4 ":" time " [-+]" dd dd "[]]"
}
{
  s = $0; t = ""; f = ""
  if (match(s, iso)) {
    r = substr(s, RLENGTH + 1); s = substr(s, RLENGTH - 18, 19)
    if (match(r, /^[.,][0-9]+/)) { f = "." substr(r, 2, RLENGTH - 1); r = substr(r, RLENGTH + 1) }
    y = substr(s, 1, 4) + 0
    if (r ~ /^ ?Z/) t = utc(y, at(s,6), at(s,9), at(s,12), at(s,15), at(s,18))
    else if (match(r, "^" off4))
      t = utc(y, at(s,6), at(s,9), at(s,12), at(s,15), at(s,18)) - shift(substr(r, 1, RLENGTH))
    else t = wall(y, at(s,6), at(s,9), at(s,12), at(s,15), at(s,18))
  } else if (match(s, openwrt)) {
    t = wall(substr(s, 21, 4) + 0, months(substr(s, 5, 3)), at(s,9), at(s,12), at(s,15), at(s,18))
  } else if (match(s, rfc3164)) {
    m = months(substr(s, 1, 3)); d = at(s,5)
    if (m) t = wall(guess(m, d), m, d, at(s,8), at(s,11), at(s,14))
  } else if (match(s, clf)) {
    s = substr(s, RSTART + 1, RLENGTH - 2); y = substr(s, 8, 4) + 0
    t = utc(y, months(substr(s, 4, 3)), at(s,1), at(s,13), at(s,16), at(s,19)) - shift(substr(s, 22))
  }
  if (t != "") last = sprintf("%.0f", t) f
  if (since != "" && (last == "-" || last + 0 < since + 0)) next
  if (until != "" && last != "-" && substr(last, 1, 17) + 0 > until + 0) next
  print last "\t" substr($0, 1, 8000)
}' | tail -n "$limit" | tail -c 1500000
"""
    template = "{kind} {name} {rotated} {limit} {since} {until} {grep} {how} {words}"
    timeout = timedelta(seconds=45)
    max_output = 2 << 20
    lane = Lane.SLOW
    kind: str = "auto"
    name: str = ""
    rotated: int = 0
    limit: int = 100
    since: str = ""
    until: str = ""
    grep: str = ""
    how: str = "F"
    words: str = ""

    def parse(self, output: CommandOutput) -> Excerpt:
        header, _, rest = output.text.partition("\n")
        if not header.startswith("# "):
            raise ParseError(f"Not an excerpt of a log: {clean(header, 200)!r}")
        source = clean(header[2:], 300)
        lines = []
        for row in rest.split("\n"):
            stamp, tab, text = row.partition("\t")
            if tab and _STAMP.fullmatch(stamp):
                lines.append(_line(stamp, text, source))
        return Excerpt(tuple(lines), None if source == "none" else source, cut=len(rest) >= _CUT_AT)


@dataclass(frozen=True)
class ReadContainerLog(EngineScript[Excerpt], ReadLogFile):
    """The newest matching lines of a container, by Docker or else Podman."""

    kind: str = "container"


_CUT_AT = 1_400_000
_STAMP = re.compile(r"-|\d{1,13}(?:\.\d{1,9})?")
_DOCKER_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d) ")


def _line(stamp: str, text: str, source: str) -> LogLine:
    time = None
    if stamp != "-":
        whole, _, fraction = stamp.partition(".")
        time = from_micros(int(whole) * 1_000_000 + int(f"{fraction:0<6}"[:6]))
    if source.startswith("container:"):
        text = _DOCKER_TIME.sub("", text, count=1)
        return LogLine(time=time, source=source, unit=None, process=None, priority=None, message=shown(text))
    parsed = split(text)
    return LogLine(
        time=time,
        source=source,
        unit=None,
        process=parsed.process,
        priority=parsed.priority,
        message=shown(parsed.message),
    )
