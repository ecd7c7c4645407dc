"""From smartctl's JSON to what one drive says of itself. Pure and total: `ParseError` and nothing else.

Seen: smartmontools 7.0 to 7.4, over 168 recorded drives (SATA, SAS, NVMe). Its exit status is a mask of findings
about the drive, not a failure of the program; the same facts stand in the JSON.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from infrastructor.errors import ParseError
from infrastructor.sanitize import clean

_WORD = 0xFFFF
_HOURS_WRAP = 1 << 16  # the self-test log counts hours in 16 bits
_SHOWN = 100
_ASLEEP = re.compile(r"is in (?:STANDBY|SLEEP|IDLE_?\w*|EPC\w*)\b.* mode", re.IGNORECASE)

# Counters by ATA attribute. Names differ (197 has three), the meaning of these numbers does not.
COUNTED = {
    5: "reallocated",
    10: "spin_retries",
    184: "end_to_end_errors",
    187: "reported_uncorrectable",
    188: "command_timeouts",
    196: "reallocation_events",
    197: "pending",
    198: "offline_uncorrectable",
    199: "crc_errors",
}
# Wear has no number of its own: vendors reuse 169, 173, 177, 202, 231 and 233 for other things. The drive database's
# name decides. All of these count down from 100.
_REMAINING_LIFE = re.compile(
    r"^(Wear_Leveling_Count|Media_Wearout_Indicator|SSD_Life_Left|Percent_Lifetime_Remain|Remaining_Lifetime_Perc"
    r"|Percent_Life_Remaining|Drive_Life_Remaining%?|Lifetime_Remaining%?)$"
)


@dataclass(frozen=True, slots=True)
class Scanned:
    """A drive that smartctl found, and how it must be addressed."""

    name: str
    type: str
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Crossed:
    """An ATA attribute that is, or was, at its maker's threshold."""

    id: int
    name: str
    value: int
    threshold: int
    prefailure: bool
    now: bool


@dataclass(frozen=True, slots=True)
class SelfTest:
    """The newest self-test. `age_hours` counts hours of running; None where the log does not say."""

    passed: bool | None
    status: str
    age_hours: int | None


@dataclass(frozen=True, slots=True)
class DriveReading:
    """One drive. Counters that the drive does not have are absent."""

    name: str
    type: str
    protocol: str | None = None
    model: str | None = None
    serial: str | None = None
    firmware: str | None = None
    size_bytes: int | None = None
    spinning: bool | None = None
    asleep: bool = False
    supported: bool | None = None
    passed: bool | None = None
    temperature: int | None = None
    temperature_limit: int | None = None
    power_on_hours: int | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    crossed: tuple[Crossed, ...] = ()
    self_test: SelfTest | None = None
    problem: str | None = None

    @property
    def key(self) -> str:
        """What stays the same when the drive moves to another port."""
        return f"{self.model or ''}:{self.serial}" if self.serial else f"{self.name} {self.type}"


def document(text: str) -> Mapping[str, Any]:
    """The JSON of one call. Raises `ParseError`, with what to do when smartctl is too old for it."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ParseError(
            f"Not JSON of smartctl: {clean(text, 200)!r}",
            hint="smartmontools 7.0 or newer is needed, for its --json." if "smartctl" in text else None,
        ) from error
    if not isinstance(found, dict) or not isinstance(found.get("smartctl"), dict):
        raise ParseError(f"Not JSON of smartctl: {clean(text, 200)!r}")
    return found


def scan(text: str) -> tuple[Scanned, ...]:
    """The answer of `smartctl --scan-open`."""
    found = []
    for row in _rows(document(text).get("devices")):
        name, kind = _text(row, "name"), _text(row, "type")
        if name:
            found.append(Scanned(name, kind or "auto", _text(row, "open_error")))
    return tuple(found)


def drive(text: str, name: str, kind: str) -> DriveReading:
    """The answer of `smartctl -x` about one drive."""
    said = document(text)
    problem = _messages(said)
    if problem is not None and _ASLEEP.search(problem):
        return DriveReading(name, kind, asleep=True)
    device = _map(said, "device")
    support = said.get("smart_support")
    health = _map(said, "nvme_smart_health_information_log")
    has_data = bool(health) or "ata_smart_attributes" in said or "smart_status" in said
    counters = {**dict(_ata_counters(said)), **dict(_nvme_counters(said)), **dict(_scsi_counters(said))}
    wear = _wear(said)
    if wear is not None:
        counters["wear_percent"] = wear
    rotation = _int(said, "rotation_rate")
    hours = _int(_map(said, "power_on_time"), "hours")
    return DriveReading(
        name=name,
        type=kind,
        protocol=_text(device, "protocol"),
        model=_text(said, "model_name") or _text(said, "scsi_model_name"),
        serial=_text(said, "serial_number"),
        firmware=_text(said, "firmware_version") or _text(said, "scsi_revision"),
        size_bytes=_int(_map(said, "user_capacity"), "bytes") or _int(said, "nvme_total_capacity"),
        spinning=False if health else None if rotation is None else rotation > 0,
        supported=_supported(support, has_data),
        passed=_bool(_map(said, "smart_status"), "passed"),
        temperature=_int(_map(said, "temperature"), "current"),
        temperature_limit=_temperature_limit(said),
        power_on_hours=hours,
        counters=counters,
        crossed=tuple(_crossed(said)),
        self_test=_self_test(said, hours),
        problem=None if has_data else problem,
    )


def leading(attribute: Mapping[str, Any]) -> int | None:
    """The number an attribute means. Raw values pack others beside it, which the drive database undoes in `string`.

    `0 (0 8)`, `31 (Min/Max 17/45)`, `4053h+12m` and `2 2 2` all begin with it.
    """
    raw = _map(attribute, "raw")
    match = re.match(r"\d{1,19}", str(raw.get("string", "")))
    value = int(match[0]) if match else _int(raw, "value")
    if value is not None and _int(attribute, "id") == 188 and value > _WORD:  # noqa: PLR2004
        # Three 16-bit counts in one, where the database does not know the model: 17180131332 is 4, 4 and 4.
        return max(value & _WORD, value >> 16 & _WORD, value >> 32 & _WORD)
    return value


def _attributes(said: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return _rows(_map(said, "ata_smart_attributes").get("table"))


def _ata_counters(said: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for attribute in _attributes(said):
        name = COUNTED.get(_int(attribute, "id") or 0)
        value = leading(attribute)
        if name is not None and value is not None:
            yield name, value


def _nvme_counters(said: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    health = _map(said, "nvme_smart_health_information_log")
    for name, counter in (
        ("media_errors", "media_errors"),
        ("critical_warning", "critical_warning"),
        ("available_spare", "spare_percent"),
        ("available_spare_threshold", "spare_threshold_percent"),
    ):
        value = _int(health, name)
        if value is not None:
            yield counter, value


def _scsi_counters(said: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    grown = _int(said, "scsi_grown_defect_list")
    if grown is not None:
        yield "grown_defects", grown
    log = _map(said, "scsi_error_counter_log")
    uncorrected = [_int(_map(log, kind), "total_uncorrected_errors") for kind in ("read", "write", "verify")]
    known = [value for value in uncorrected if value is not None]
    if known:
        yield "uncorrected_errors", sum(known)


def _wear(said: Mapping[str, Any]) -> int | None:
    """Endurance used up, in percent; it may pass 100."""
    used = _int(_map(said, "endurance_used"), "current_percent")
    if used is None:
        used = _int(_map(said, "nvme_smart_health_information_log"), "percentage_used")
    if used is None:
        used = _int(said, "scsi_percentage_used_endurance_indicator")
    if used is not None:
        return used
    for page in _rows(_map(said, "ata_device_statistics").get("pages")):
        for row in _rows(page.get("table")):
            if row.get("name") == "Percentage Used Endurance Indicator":
                return _int(row, "value")
    for attribute in _attributes(said):
        value = _int(attribute, "value")
        if value is not None and 0 < value <= 100 and _REMAINING_LIFE.match(_text(attribute, "name") or ""):  # noqa: PLR2004
            return 100 - value
    return None


def _crossed(said: Mapping[str, Any]) -> Iterator[Crossed]:
    for attribute in _attributes(said):
        when = attribute.get("when_failed")
        if when in {"now", "past"}:
            yield Crossed(
                id=_int(attribute, "id") or 0,
                name=_text(attribute, "name") or "unknown",
                value=_int(attribute, "value") or 0,
                threshold=_int(attribute, "thresh") or 0,
                prefailure=_bool(_map(attribute, "flags"), "prefailure") is True,
                now=when == "now",
            )


def _temperature_limit(said: Mapping[str, Any]) -> int | None:
    temperature = _map(said, "temperature")
    threshold = _map(said, "nvme_composite_temperature_threshold")
    values = (
        _int(threshold, "warning"),
        _int(temperature, "op_limit_max"),
        _int(temperature, "drive_trip"),
    )
    return next((value for value in values if value), None)


def _self_test(said: Mapping[str, Any], hours: int | None) -> SelfTest | None:
    for log in (_map(said, "ata_smart_self_test_log"),):
        for kind in ("extended", "standard"):
            for row in _rows(_map(log, kind).get("table")):
                status = _map(row, "status")
                at = _int(row, "lifetime_hours")
                age = None if at is None or hours is None else (hours - at) % _HOURS_WRAP
                return SelfTest(_bool(status, "passed"), _text(status, "string") or "unknown", age)
    for row in _rows(_map(said, "nvme_self_test_log").get("table")):
        result = _map(row, "self_test_result")
        at, code = _int(row, "power_on_hours"), _int(result, "value")
        age = None if at is None or hours is None else max(0, hours - at)
        # NVMe base specification, self-test log: 0 passed, 5 to 7 failed, the rest was stopped.
        passed = None if code is None else True if code == 0 else False if code in {5, 6, 7} else None
        return SelfTest(passed, _text(result, "string") or "unknown", age)
    return None


def _supported(support: Any, has_data: bool) -> bool | None:
    if isinstance(support, dict):
        available = support.get("available")
        return available if isinstance(available, bool) else has_data or None
    return support if isinstance(support, bool) else has_data or None


def _messages(said: Mapping[str, Any]) -> str | None:
    texts = [_text(row, "string") for row in _rows(_map(said, "smartctl").get("messages"))]
    return clean(" ".join(text for text in texts if text), 300) or None


def _map(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def _rows(value: Any) -> Iterator[Mapping[str, Any]]:
    return (row for row in value if isinstance(row, dict)) if isinstance(value, list) else iter(())


def _int(values: Mapping[str, Any], name: str) -> int | None:
    found = values.get(name)
    if isinstance(found, bool) or not isinstance(found, int) or abs(found) >= 1 << 63:
        return None
    return found


def _bool(values: Mapping[str, Any], name: str) -> bool | None:
    found = values.get(name)
    return found if isinstance(found, bool) else None


def _text(values: Mapping[str, Any], name: str) -> str | None:
    found = values.get(name)
    return clean(found.strip(), _SHOWN) or None if isinstance(found, str) else None
