"""`zpool events -H -v`: what the ZFS kernel module told lately, one block of `name = value` lines an event.

    Nov 20 2026 15:32:59.064000000<tab>resource.fs.zfs.statechange
            class = "resource.fs.zfs.statechange"
            pool = "old"
            vdev_state = "OFFLINE" (0x2)
            time = 0x6b00682b 0x3d09000
            eid = 0xc1

The time in the heading is the device's local one; `time` holds seconds and nanoseconds since 1970. The module keeps
some hundred events, numbers them from 1 since it was loaded, and says when it dropped some.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from infrastructor.errors import ParseError
from infrastructor.events import Severity
from infrastructor.sanitize import clean

_HEADING = re.compile(r"[A-Z][a-z]{2} [ 0-9]\d \d{4} \d{2}:\d{2}:\d{2}\.\d{1,20}\s+(\S+)")
_VALUE = re.compile(r" {8}([a-z0-9_]+) = (.*)")
_HEX = re.compile(r"0x([0-9a-f]{1,16})")
_QUOTED = re.compile(r'"(.*?)"(?: \(0x[0-9a-f]+\))?', re.DOTALL)
_DROPPED = re.compile(r"dropped (\d{1,18}) events")
_SECOND = 10**9
_LATEST = 253402300799
_TEXT = 300
_TIME_WORDS = 2
_PREFIX = re.compile(r"(?:ereport|resource|sysevent)\.fs\.zfs\.")
# What is worth telling of an event, and what it is called there.
_KEPT = {
    "vdev_path": "vdev", "vdev_state": "vdev_state", "vdev_laststate": "vdev_was", "vdev_type": "vdev_type",
    "parent_type": "parent_type", "history_dsname": "dataset", "history_internal_name": "action",
    "history_internal_str": "detail",
}  # fmt: skip
_NUMBERS = {
    "vdev_read_errors": "read_errors", "vdev_write_errors": "write_errors", "vdev_cksum_errors": "checksum_errors",
    "vdev_delays": "delays", "zio_err": "error_number", "zio_size": "bytes", "zio_offset": "offset",
    "history_txg": "txg", "zio_objset": "object_set", "zio_object": "object",
}  # fmt: skip

NOISE = frozenset({"config_sync"})
"""Kinds that say nothing an owner asks for."""


@dataclass(frozen=True, slots=True)
class ZfsEvent:
    """One event. `eid` counts from 1 since the module was loaded; `dropped` events came before it and are lost."""

    eid: int
    kind: str  # e.g. checksum, statechange, scrub_finish
    event_class: str
    time_ns: int
    pool: str | None = None
    pool_guid: int | None = None
    vdev_guid: int | None = None
    data: Mapping[str, object] = field(default_factory=dict)
    dropped: int = 0

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.time_ns // _SECOND, UTC).replace(microsecond=self.time_ns % _SECOND // 1000)


class Reader:
    """Takes the lines as they come. An event is whole with its number, which the module adds last.

    The empty line after it may come only with the next event: who follows lines cannot tell it from an end.
    """

    def __init__(self) -> None:
        self._class: str | None = None
        self._values: dict[str, str] = {}
        self._last: str | None = None
        self._dropped = 0

    def take(self, line: str) -> ZfsEvent | None:
        """The event that this line ends, or None. Raises `ParseError` for a block without time or number."""
        if not line.strip():
            return self._finish()
        if match := _HEADING.fullmatch(line):
            self._class, self._values, self._last = match[1], {}, None
        elif match := _DROPPED.fullmatch(line):
            self._dropped += int(match[1])
        elif match := _VALUE.fullmatch(line):
            self._last = match[1]
            self._values[match[1]] = match[2]
            return self._finish() if match[1] == "eid" else None
        elif self._class is None:
            raise ParseError(f"zpool events printed: {clean(line, 200)!r}")
        elif self._last is not None and not line.startswith("        ") and len(self._values[self._last]) < _TEXT:
            self._values[self._last] += "\n" + line  # a text with a line break
        return None

    def _finish(self) -> ZfsEvent | None:
        name, values, dropped = self._class, self._values, self._dropped
        if name is None:
            return None
        self._class, self._values, self._last, self._dropped = None, {}, None, 0
        return _event(name, values, dropped)


def events(lines: Iterable[str]) -> Iterator[ZfsEvent]:
    """All events in the lines. The last block counts without an empty line after it, too."""
    reader = Reader()
    for line in (*lines, ""):
        event = reader.take(line)
        if event is not None:
            yield event


def _event(name: str, values: Mapping[str, str], dropped: int) -> ZfsEvent:
    time, eid = _numbers(values.get("time", "")), _number(values, "eid")
    if len(time) != _TIME_WORDS or not 0 < time[0] <= _LATEST or time[1] >= _SECOND or eid is None:
        raise ParseError(f"zpool events told an event without time or number: {clean(name, 80)!r}")
    data: dict[str, object] = {}
    for key, shown in _KEPT.items():
        text = _text(values, key)
        if text is not None:
            data[shown] = text
    for key, shown in _NUMBERS.items():
        number = _number(values, key)
        if number is not None:
            data[shown] = number
    kind = _PREFIX.sub("", name)
    return ZfsEvent(
        eid=eid,
        kind=clean(kind, 60),
        event_class=clean(name, 80),
        time_ns=time[0] * _SECOND + time[1],
        pool=_text(values, "pool"),
        pool_guid=_number(values, "pool_guid"),
        vdev_guid=_number(values, "vdev_guid"),
        data=data,
        dropped=dropped,
    )


def _text(values: Mapping[str, str], key: str) -> str | None:
    value = values.get(key)
    if value is None:
        return None
    match = _QUOTED.fullmatch(value.strip())
    return clean(match[1] if match else value.strip(), _TEXT) or None


def _numbers(text: str) -> list[int]:
    return [int(word, 16) for word in _HEX.findall(text)]


def _number(values: Mapping[str, str], key: str) -> int | None:
    found = _numbers(values.get(key, ""))
    return found[0] if found else None


_SEVERITIES: Mapping[str, Severity] = {
    # Contents are lost, or the pool stands still.
    "data": Severity.CRITICAL, "io_failure": Severity.CRITICAL, "zpool": Severity.CRITICAL,
    "log_replay": Severity.CRITICAL, "vdev.no_replicas": Severity.CRITICAL,
    # A disk gives errors or is gone.
    "io": Severity.ERROR, "checksum": Severity.ERROR, "probe_failure": Severity.ERROR, "deadman": Severity.ERROR,
    "authentication": Severity.ERROR, "removed": Severity.ERROR, "vdev.unknown": Severity.ERROR,
    "vdev.open_failed": Severity.ERROR, "vdev.corrupt_data": Severity.ERROR, "vdev.bad_guid_sum": Severity.ERROR,
    "vdev.too_small": Severity.ERROR, "vdev.bad_label": Severity.ERROR, "vdev.bad_ashift": Severity.ERROR,
    "dio_verify_wr": Severity.ERROR, "dio_verify_rd": Severity.ERROR,
    # Worth a look.
    "delay": Severity.WARNING, "sitout": Severity.WARNING, "config_cache_write": Severity.WARNING,
    "pool_destroy": Severity.WARNING, "vdev_remove": Severity.WARNING, "vdev_remove_dev": Severity.WARNING,
    "vdev_spare": Severity.WARNING, "scrub_abort": Severity.WARNING, "errorscrub_abort": Severity.WARNING,
    "pool_reguid": Severity.WARNING,
}  # fmt: skip
_STATES: Mapping[str, Severity] = {
    "ONLINE": Severity.INFO, "OFFLINE": Severity.WARNING, "DEGRADED": Severity.ERROR, "FAULTED": Severity.ERROR,
    "UNAVAIL": Severity.ERROR, "REMOVED": Severity.ERROR, "CANT_OPEN": Severity.ERROR,
}  # fmt: skip


def severity_of(event: ZfsEvent) -> Severity:
    """How bad: of a change of state, by the new one."""
    if event.kind == "statechange":
        return _STATES.get(str(event.data.get("vdev_state")), Severity.WARNING)
    return _SEVERITIES.get(event.kind, Severity.INFO)
