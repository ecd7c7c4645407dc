"""What the headings scan, remove, expand and checkpoint of `zpool status` say is going on, or went on last."""

import re
from datetime import datetime

from infrastructor.domains.zfs import printed
from infrastructor.domains.zfs.models import Activity
from infrastructor.sanitize import clean

_ON = r" on (?P<end>\w{3} \w{3} +\d.*)"
_SIZE = r"[0-9.]+[BKMGTPEZ]?"
_FINISHED = re.compile(
    rf"(?:thorough )?(?:scrub repaired|resilvered(?: \((?P<vdev>[^)]+)\))?) (?P<size>{_SIZE}) "
    rf"in (?P<took>.+) with (?P<errors>\d{{1,20}}) errors{_ON}"
)
_CANCELED = re.compile(rf"(?:thorough )?(?:error )?(?:scrub|resilver)(?: \((?P<vdev>[^)]+)\))? canceled{_ON}")
_RUNNING = re.compile(
    r"(?:thorough )?(?P<error>error )?(?:scrub|resilver)(?: \((?P<vdev>[^)]+)\))? (?P<state>in progress|paused) "
    r"since (?P<since>.*)"
)
_STARTED = re.compile(r"(?:thorough )?(?:error )?scrub started on (?P<start>.*)")
_ERROR_SCRUBBED = re.compile(rf"scrubbed \d{{1,20}} error blocks in (?P<took>.+){_ON}")
# Up to 2.1: `51.4M scanned at 25.7M/s, 9.53M issued at 4.76M/s, 51.9M total`
_OLD_AMOUNTS = re.compile(
    rf"(?P<scanned>{_SIZE}) scanned(?: at {_SIZE}/s)?, (?P<issued>{_SIZE}) issued(?: at (?P<rate>{_SIZE})/s)?, "
    rf"(?P<total>{_SIZE}) total"
)
# Since 2.2: `51.6M / 52.0M scanned, 5.74M / 51.8M issued at 5.74M/s`
_AMOUNTS = re.compile(
    rf"(?P<scanned>{_SIZE}) / {_SIZE} scanned(?: at {_SIZE}/s)?, (?P<issued>{_SIZE}) / (?P<total>{_SIZE}) issued"
    rf"(?: at (?P<rate>{_SIZE})/s)?"
)
_PROGRESS = re.compile(
    rf"(?:(?P<size>{_SIZE}) (?:repaired|resilvered), )?(?P<done>[0-9.]{{1,20}}|-?nan|inf)% done"
    r"(?:, (?P<left>[^,]+) to go)?(?:, .*)?"
)
_EVACUATION = re.compile(r"Evacuation of (?P<vdev>.+) in progress since (?P<since>.*)")
_EVACUATED = re.compile(rf"Removal of (?P<vdev>vdev \d+) copied (?P<size>{_SIZE}) in (?P<took>\S+), completed{_ON}")
_NOT_REMOVED = re.compile(rf"Removal of (?P<vdev>.+) canceled{_ON}")
_EXPANSION = re.compile(r"expansion of (?P<vdev>.+) in progress since (?P<since>.*)")
_EXPANDED = re.compile(rf"expanded (?P<vdev>\S+) copied (?P<size>{_SIZE}) in (?P<took>.+), on (?P<end>\w{{3}} .*)")
_COPIED = re.compile(
    rf"(?P<issued>{_SIZE}) (?:copied out of|/) (?P<total>{_SIZE})(?: copied)? at (?P<rate>{_SIZE})/s, "
    r"(?P<done>[0-9.]{1,20})% done(?:, (?P<left>[^,()]+) to go)?(?:, .*)?"
)
_CREATED = re.compile(rf"created (?P<at>\w{{3}} .*), consumes (?P<size>{_SIZE})")
_DISCARDING = re.compile(rf"discarding, (?P<size>{_SIZE}) remaining\.?")

_ABSURD = 1e6

_FIRST = {
    "scan": ((_FINISHED, "finished"), (_CANCELED, "canceled"), (_RUNNING, "running")),
    "scrub": ((_ERROR_SCRUBBED, "finished"), (_CANCELED, "canceled"), (_RUNNING, "running")),
    "remove": ((_EVACUATION, "running"), (_EVACUATED, "finished"), (_NOT_REMOVED, "canceled")),
    "expand": ((_EXPANSION, "running"), (_EXPANDED, "finished")),
}
_KINDS = {"scrub": "error_scrub", "remove": "removal", "expand": "expansion"}


def activity(key: str, lines: list[str]) -> Activity | None:
    """What stands under one of these headings; None for `none requested` and what nobody knows."""
    said = lines[0] if lines else ""
    for pattern, state in _FIRST[key]:
        match = pattern.fullmatch(said)
        if match is None:
            continue
        found = match.groupdict()
        values = {"state": "paused" if found.get("state") == "paused" else state} | _ended(found)
        if "since" in found and values["state"] == "running":
            values["started_at"] = printed.time(found["since"])
        values["kind"] = _KINDS.get(key) or ("resilver" if said.startswith("resilver") else "scrub")
        for line in lines[1:]:
            values |= _more(line)
        return Activity.model_validate(values)
    return None


def _ended(found: dict[str, str | None]) -> dict[str, object]:
    end, took = printed.time(found.get("end") or ""), printed.seconds(found.get("took") or "")
    vdev, errors = found.get("vdev"), found.get("errors")
    return {
        "vdev": vdev and clean(vdev, 200),
        "ended_at": end,
        "duration_seconds": took,
        "started_at": printed.before(end, took),
        "repaired_bytes": printed.size(found.get("size") or ""),
        "errors": None if errors is None else int(errors),
    }


def _more(line: str) -> dict[str, object]:
    """A line below the first: when it started, how much is done, how far that is."""
    if match := _STARTED.fullmatch(line):
        return {"started_at": printed.time(match["start"])}
    for pattern in (_OLD_AMOUNTS, _AMOUNTS, _COPIED, _PROGRESS):
        if match := pattern.fullmatch(line):
            found = match.groupdict()
            values: dict[str, object] = {
                name: printed.size(found.get(key) or "")
                for name, key in (
                    ("scanned_bytes", "scanned"),
                    ("issued_bytes", "issued"),
                    ("total_bytes", "total"),
                    ("bytes_per_second", "rate"),
                    ("repaired_bytes", "size"),
                )
                if key in found
            }
            if "done" in found:
                values |= {
                    "done_percent": _percent(found["done"]),
                    "seconds_left": printed.seconds(found["left"] or ""),
                }
            return values
    return {}


def _percent(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < _ABSURD else None  # of nothing to do, it is not a number


def checkpoint(text: str | None) -> tuple[datetime | None, int | None]:
    """When a checkpoint was made, and what it holds."""
    if match := _CREATED.fullmatch(text or ""):
        return printed.time(match["at"]), printed.size(match["size"])
    match = _DISCARDING.fullmatch(text or "")
    return None, printed.size(match["size"]) if match else None
