"""What the drive operations may run on a device."""

import re
from dataclasses import dataclass
from datetime import timedelta

from infrastructor.command import Command
from infrastructor.domains.drives.diskstats import DiskSample, reading
from infrastructor.domains.drives.smartctl import DriveReading, Scanned, drive, scan
from infrastructor.errors import ParseError
from infrastructor.ports.ssh import CommandOutput, Lane
from infrastructor.sanitize import clean

_HEADER = re.compile(r"^==> (/[^\n]+) <==\n", re.MULTILINE)
_LABEL = re.compile(r"^/sys/block/([^/]+)/(?:device/model|dm/name|md/level)$")
_MEMBER = re.compile(r"^/sys/block/([^/]+)/slaves/([^/]+)$")
_SHOWN_LABEL = 100

# What a device says its drives are called is put into a command line: only what such names look like.
DRIVE_NAME = re.compile(r"/dev/[A-Za-z0-9][A-Za-z0-9_./:-]{0,200}\Z")
DRIVE_TYPE = re.compile(r"[a-z0-9][a-z0-9_+-]{0,30}(?:[,+/:][a-z0-9_+-]{1,30}){0,4}\Z")


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


# A mask of findings about the drive; 126 and 127 are the shell's own.
_ANY_STATUS = frozenset(range(256)) - {126, 127}


@dataclass(frozen=True)
class ScanDrives(Command[tuple[Scanned, ...]]):
    """The drives smartctl can speak to: SATA, SAS, NVMe, behind USB bridges and RAID controllers."""

    template = "smartctl --scan-open --json"
    needs = "smartctl"
    sudo = True
    ok_statuses = _ANY_STATUS
    lane = Lane.SLOW

    def parse(self, output: CommandOutput) -> tuple[Scanned, ...]:
        return scan(output.text)


@dataclass(frozen=True)
class ReadDrive(Command[DriveReading]):
    """All that one drive says of itself. A sleeping disk is left asleep."""

    template = "smartctl --json --xall --nocheck=standby --device={type} -- {name}"
    needs = "smartctl"
    sudo = True
    ok_statuses = _ANY_STATUS
    timeout = timedelta(seconds=45)
    lane = Lane.SLOW
    name: str
    type: str = "auto"

    def parse(self, output: CommandOutput) -> DriveReading:
        return drive(output.text, self.name, self.type)
