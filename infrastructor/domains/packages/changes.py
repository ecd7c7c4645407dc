"""What was installed, upgraded and removed on a device in a span, by what its package manager wrote down.

Seen: dpkg 1.21, pacman 6.0, rpm 4.18. apk keeps no log.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from infrastructor.command import Command
from infrastructor.domains.packages.pending import sections
from infrastructor.errors import ParseError
from infrastructor.ports.ssh import CommandOutput, Lane
from infrastructor.sanitize import clean

_NAME = 120
_ABSENT = "<none>"
_DPKG = re.compile(r"(\S+ \S+) (install|upgrade|remove|purge) (\S+) (\S+) (\S+)")
_PACMAN = re.compile(r"\[(\S+)\] \[ALPM\] (installed|reinstalled|upgraded|downgraded|removed) (\S+) \((.+)\)")
_RPM = re.compile(r"(\d{1,11}) (\S+) (\S+)")
_ZONE = re.compile(r"([+-])(\d\d)(\d\d)")


@dataclass(frozen=True, slots=True)
class PackageChange:
    """One package; `before` and `after` are versions, None where it was not there, or nobody wrote it down."""

    at: datetime
    action: Literal["installed", "upgraded", "removed"]
    name: str
    before: str | None
    after: str | None

    @property
    def text(self) -> str:
        """`nginx 1.22-1 → 1.24-1`, `nginx 1.22-1 installed`."""
        if self.before and self.after:
            return f"{self.name} {self.before} → {self.after}"
        return f"{self.name} {self.before or self.after or ''} {self.action}".replace("  ", " ")


@dataclass(frozen=True, slots=True)
class PackageLog:
    """`kept`: there is something that tells. Oldest first."""

    kept: bool
    changes: tuple[PackageChange, ...]


@dataclass(frozen=True)
class ReadPackageChanges(Command[PackageLog]):
    """The logs of dpkg and pacman, or when rpm installed what is there now; between two times in seconds."""

    # The logs have the device's own time of day, so the span is told in it too.
    script = r"""
since=$1 until=$2
from=$(date -d "@$since" '+%Y-%m-%d %H:%M:%S') && to=$(date -d "@$until" '+%Y-%m-%d %H:%M:%S') || exit 1
printf '==> /zone <==\n%s\n' "$(date -d "@$since" +%z)"
if [ -r /var/log/dpkg.log ]; then
  printf '==> /dpkg <==\n'
  for f in /var/log/dpkg.log.1 /var/log/dpkg.log; do
    [ -r "$f" ] && awk -v from="$from" -v to="$to" '
      $3 ~ /^(install|upgrade|remove|purge)$/ { at = $1 " " $2; if (at >= from && at <= to) print }' "$f"
  done | tail -n 2000
elif [ -r /var/log/pacman.log ]; then
  printf '==> /pacman <==\n'
  awk -v from="$from" -v to="$to" '
    $2 == "[ALPM]" { at = substr($1, 2, 19); sub("T", " ", at); if (at >= from && at <= to) print }' \
    /var/log/pacman.log | tail -n 2000
elif [ -d /var/lib/rpm ] || [ -d /usr/lib/sysimage/rpm ]; then
  printf '==> /rpm <==\n'
  rpm -qa --qf '%{INSTALLTIME} %{NAME} %{VERSION}-%{RELEASE}\n' 2>/dev/null |
    awk -v from="$since" -v to="$until" '$1 >= from && $1 <= to' | sort -n | tail -n 2000
fi
true
"""
    template = "{since} {until}"
    needs = "awk"
    timeout = timedelta(seconds=20)
    lane = Lane.SLOW
    since: int
    until: int

    def parse(self, output: CommandOutput) -> PackageLog:
        parts = sections(output.text)
        zone = _ZONE.fullmatch(parts.get("zone", "").strip())
        if zone is None:
            raise ParseError(f"Not what tells of packages: {clean(output.text, 200)!r}")
        behind = timedelta(hours=int(zone[2]), minutes=int(zone[3])) * (-1 if zone[1] == "-" else 1)
        kept = [name for name in _READERS if name in parts]
        found = [
            change for name in kept for line in parts[name].splitlines() if (change := _READERS[name](line, behind))
        ]
        return PackageLog(bool(kept), tuple(sorted(found, key=lambda one: one.at)))


def by_occasion(changes: tuple[PackageChange, ...], apart: timedelta) -> Iterator[list[PackageChange]]:
    """Those that came together, as by one run of the package manager."""
    together: list[PackageChange] = []
    for one in changes:
        if together and one.at - together[-1].at > apart:
            yield together
            together = []
        together.append(one)
    if together:
        yield together


def _dpkg(line: str, behind: timedelta) -> PackageChange | None:
    match = _DPKG.fullmatch(line.strip())
    at = _moment(match[1], behind) if match else None
    if match is None or at is None:
        return None
    before, after = (None if version == _ABSENT else clean(version, _NAME) for version in (match[4], match[5]))
    gone = match[2] in {"remove", "purge"}
    name = clean(match[3].partition(":")[0], _NAME)
    if gone:
        return None if before is None else PackageChange(at, "removed", name, before, None)
    return PackageChange(at, "installed" if before is None else "upgraded", name, before, after)


def _pacman(line: str, behind: timedelta) -> PackageChange | None:
    match = _PACMAN.fullmatch(line.strip())
    at = _moment(match[1][:19].replace("T", " "), behind) if match else None
    if match is None or at is None:
        return None
    old, arrow, new = match[4].partition(" -> ")
    name, first = clean(match[3], _NAME), clean(old, _NAME)
    if match[2] == "removed":
        return PackageChange(at, "removed", name, first, None)
    if arrow:
        return PackageChange(at, "upgraded", name, first, clean(new, _NAME))
    return PackageChange(at, "installed", name, None, first)


def _rpm(line: str, behind: timedelta) -> PackageChange | None:
    """What is there now: whether it was there before, and what was removed, rpm does not know."""
    del behind
    match = _RPM.fullmatch(line.strip())
    if match is None:
        return None
    at = datetime.fromtimestamp(int(match[1]), UTC)
    return PackageChange(at, "installed", clean(match[2], _NAME), None, clean(match[3], _NAME))


def _moment(text: str, behind: timedelta) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC) - behind
    except (ValueError, OverflowError):
        return None


_READERS: Mapping[str, Callable[[str, timedelta], PackageChange | None]] = {
    "dpkg": _dpkg, "pacman": _pacman, "rpm": _rpm,
}  # fmt: skip
