"""What the drive operations may run on a device."""

import re
from dataclasses import dataclass
from datetime import timedelta

from infrastructor.command import Command
from infrastructor.domains.drives.diskstats import DiskSample, reading
from infrastructor.errors import ParseError
from infrastructor.ports import CommandOutput, Lane
from infrastructor.sanitize import clean

_HEADER = re.compile(r"^==> (/[^\n]+) <==\n", re.MULTILINE)
_LABEL = re.compile(r"^/sys/block/([^/]+)/(?:device/model|dm/name|md/level)$")
_MEMBER = re.compile(r"^/sys/block/([^/]+)/slaves/([^/]+)$")
_SHOWN_LABEL = 100


@dataclass(frozen=True)
class ReadDisks(Command[DiskSample]):
    """Read /proc/diskstats once, with the names sysfs and /dev/zvol give its devices."""

    # "$1", where there is one, is the pause before a second reading.
    script = r"""
printf '==> /links <==\n'
for s in /sys/block/*/slaves/*; do [ -e "$s" ] && printf '%s\n' "$s"; done
n=0
for z in /dev/zvol/*/* /dev/zvol/*/*/* /dev/zvol/*/*/*/*; do
  [ -L "$z" ] || continue
  n=$((n+1)); [ $n -gt 64 ] && break
  t=$(readlink "$z") && printf 'zvol %s %s\n' "${t##*/}" "${z#/dev/zvol/}"
done
printf '\n'
tail -n +1 /sys/block/*/device/model /sys/block/*/dm/name /sys/block/*/md/level 2>/dev/null
read -r up rest </proc/uptime
printf '\n==> /first <==\n%s\n' "$up"
cat /proc/diskstats || exit 1
if [ -n "${1-}" ]; then
  sleep "$1" 2>/dev/null || sleep 1
  read -r up rest </proc/uptime
  printf '\n==> /second <==\n%s\n' "$up"
  cat /proc/diskstats
fi
"""
    template = "{interval_seconds}"
    timeout = timedelta(seconds=20)
    max_output = 4 << 20
    interval_seconds: float | None = None

    def parse(self, output: CommandOutput) -> DiskSample:
        pieces = _HEADER.split(output.text)
        parts = dict(zip(pieces[1::2], pieces[2::2], strict=True))
        if "/first" not in parts:
            raise ParseError(f"No /proc/diskstats in: {clean(output.text, 200)!r}")
        labels: dict[str, str] = {}
        members: dict[str, tuple[str, ...]] = {}
        for path, content in parts.items():
            if match := _LABEL.match(path):
                labels[match[1]] = clean(content.strip(), _SHOWN_LABEL)
        for line in parts.get("/links", "").splitlines():
            if match := _MEMBER.match(line):
                members[match[1]] = (*members.get(match[1], ()), match[2])
            elif line.startswith("zvol "):
                _, name, volume = (*line.split(" ", 2), "", "")[:3]
                labels[name] = clean(volume, _SHOWN_LABEL)
        readings = tuple(reading(parts[name]) for name in ("/first", "/second") if name in parts)
        return DiskSample(readings, {name: label for name, label in labels.items() if label}, members)


@dataclass(frozen=True)
class SampleDisks(ReadDisks):
    """Read /proc/diskstats twice, a pause apart, in one round trip."""

    lane = Lane.SLOW
    interval_seconds: float | None = 0.5
