"""What a drive's readings mean, now and against its own past. Pure.

Levels that makers define (SMART status, thresholds, critical warnings, spare) decide at once. Counts decide by growth:
a few reallocated sectors that stay the same for months are no news, the same number within a week is. Interface errors
(CRC) speak of cables, not of disks. Rules and figures: Backblaze's drive statistics by way of Scrutiny's thresholds,
NVMe base specification 2.0 (critical warning), smartmontools' drive database.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from infrastructor.domains.drives.models import Finding, Level, Trend
from infrastructor.domains.drives.smartctl import DriveReading
from infrastructor.ports.series import DriveBaseline, DriveSample

DAY, WEEK = timedelta(days=1), timedelta(days=7)
SETTLED = timedelta(days=30)  # without growth so long, a count is history
_MUCH_IN_A_WEEK = 10
_TEST_HOURS = 30 * 24
_WEAR_SPAN = timedelta(days=7)
_WEAR_SOON_DAYS, _WEAR_WATCH_PERCENT = 180, 90
_HOT_SPINNING, _HOT_FLASH = 60, 70  # Celsius, for drives that do not tell their own limit

# By (prefailure, now): old-age attributes that once crossed, as a hot summer leaves them, are no reason to act.
_CROSSED = {
    (True, True): Level.FAILING,
    (True, False): Level.WATCH,
    (False, True): Level.WATCH,
    (False, False): Level.NOTE,
}
_DEFECTS = {
    "reallocated": "Bad sectors were replaced by spares. Growth often precedes failure by days to months.",
    "reallocation_events": "Attempts to replace bad sectors. Growth often precedes failure.",
    "reported_uncorrectable": "Reads that could not be corrected: data was lost or rebuilt from redundancy.",
    "pending": "Sectors that cannot be read now; what is in them is lost unless there is redundancy.",
    "offline_uncorrectable": "Sectors the drive's own scan could not read.",
    "end_to_end_errors": "Data was damaged inside the drive, between its cache and the medium.",
    "media_errors": "Data could not be recovered from the flash.",
    "grown_defects": "Bad blocks since manufacture. Growth often precedes failure.",
    "uncorrected_errors": "Reads or writes that could not be corrected.",
    "spin_retries": "The motor needed more than one attempt to reach its speed: bearings or power supply.",
}
_LINKS = {
    "crc_errors": "Transmission errors between drive and controller: cable, backplane or connector, not the disk.",
    "command_timeouts": "Commands the drive did not finish in time: power, cable or a struggling disk.",
}
COUNTED = frozenset(_DEFECTS) | frozenset(_LINKS)
"""Counts that are judged by growth, and that can be accepted."""

_WARNINGS = (
    (0x01, Level.FAILING, "spare below threshold", "Replacement blocks run out; writes will fail."),
    (0x02, Level.WATCH, "temperature outside of its limits", "It slows down, and ages faster."),
    (0x04, Level.FAILING, "reliability degraded", "Media or internal errors: replace it."),
    (0x08, Level.FAILING, "read-only", "The drive no longer takes writes: copy the data off now."),
    (0x10, Level.FAILING, "volatile memory backup failed", "A power loss can lose data."),
    (0x20, Level.WATCH, "persistent memory region unreliable", "Only matters where it is used."),
)


@dataclass(frozen=True)
class Past:
    """Stored samples of one drive, oldest first; a sample is stored when a count changes."""

    samples: Sequence[DriveSample]
    now: datetime
    baseline: DriveBaseline | None = None

    def growth(self, counter: str, current: int, within: timedelta) -> int | None:
        """How much a count grew; None when the history does not reach back so far. A smaller count is a reset."""
        start = self.now - within
        known = [sample for sample in self.samples if counter in sample.counters]
        before = [sample for sample in known if sample.sampled_at <= start]
        if before:
            return max(0, current - before[-1].counters[counter])
        return max(0, current - known[0].counters[counter]) if known else None

    def accepted(self, counter: str) -> int | None:
        """The count that somebody accepted."""
        return None if self.baseline is None else self.baseline.counters.get(counter)

    def settled(self, counter: str, current: int) -> bool:
        """Whether the count has been what it is for long."""
        start = self.now - SETTLED
        before = [sample for sample in self.samples if sample.sampled_at <= start and counter in sample.counters]
        return bool(before) and before[-1].counters[counter] >= current

    def wear_days(self, current: int) -> int | None:
        """Days until the rated endurance is used up, at the pace so far."""
        first = next((sample for sample in self.samples if "wear_percent" in sample.counters), None)
        if first is None or self.now - first.sampled_at < _WEAR_SPAN:
            return None
        used = current - first.counters["wear_percent"]
        if used <= 0 or current >= 100:  # noqa: PLR2004
            return None
        return int((100 - current) * ((self.now - first.sampled_at) / DAY) / used)


def judge(reading: DriveReading, past: Past) -> tuple[Level, list[Finding], list[Trend]]:
    """The verdict, its reasons worst first, and the counts that grew."""
    if reading.asleep:
        return Level.UNKNOWN, [_finding(Level.NOTE, "asleep", "It sleeps and was not woken.", None)], []
    findings = [
        *_by_level(reading),
        *_by_count(reading, past),
        *_wear(reading, past),
        *_tests(reading),
        *_heat(reading),
    ]
    trends = list(_trends(reading, past))
    if reading.passed is None and not reading.counters:
        why = reading.problem or "The drive gives no SMART data, as USB bridges and virtual disks do."
        return Level.UNKNOWN, [*findings, _finding(Level.NOTE, "no_data", why, None)], trends
    findings.sort(key=lambda finding: _RANK[finding.level])
    worst = findings[0].level if findings else Level.OK
    return Level.OK if worst is Level.NOTE else worst, findings, trends


_RANK = {Level.FAILING: 0, Level.WATCH: 1, Level.NOTE: 2, Level.UNKNOWN: 3, Level.OK: 4}


def _by_level(reading: DriveReading) -> list[Finding]:
    found = []
    if reading.passed is False:
        found.append(
            _finding(Level.FAILING, "smart_status", "The drive predicts its own failure.", "Copy the data, replace it.")
        )
    for attribute in reading.crossed:
        level = _CROSSED[attribute.prefailure, attribute.now]
        when = "is at" if attribute.now else "once was at"
        text = f"{attribute.name} ({attribute.id}) {when} its threshold: {attribute.value} of {attribute.threshold}."
        predicts = "The maker expects failure soon." if attribute.prefailure else "Age, wear or heat, not failure."
        found.append(_finding(level, f"attribute_{attribute.id}", text, predicts))
    counters = reading.counters
    for bit, level, name, predicts in _WARNINGS:
        if counters.get("critical_warning", 0) & bit:
            found.append(_finding(level, "critical_warning", f"The drive warns: {name}.", predicts))
    spare, threshold = counters.get("spare_percent"), counters.get("spare_threshold_percent")
    if spare is not None and threshold and spare < threshold and not counters.get("critical_warning", 0) & 0x01:
        text = f"Spare is {spare} %, below its threshold of {threshold} %."
        found.append(_finding(Level.FAILING, "spare", text, "Replacement blocks run out; writes will fail."))
    return found


def _by_count(reading: DriveReading, past: Past) -> list[Finding]:
    found = []
    for counter, predicts in {**_DEFECTS, **_LINKS}.items():
        current = reading.counters.get(counter)
        if not current:
            continue
        name = counter.replace("_", " ")
        if past.baseline is not None and past.accepted(counter) is not None:
            found.append(_since_accepted(counter, current, past, past.baseline, predicts))
            continue
        day, week = past.growth(counter, current, DAY), past.growth(counter, current, WEEK)
        if week:
            defect = counter in _DEFECTS
            level = Level.FAILING if defect and week >= _MUCH_IN_A_WEEK else Level.WATCH
            text = f"{current} {name}: {week} more within 7 days, {day or 0} of them within 24 h."
        elif counter in _LINKS or past.settled(counter, current):
            level, text = Level.NOTE, f"{current} {name}, no growth seen."
        else:
            level, text = Level.WATCH, f"{current} {name}; too little history to say whether it grows."
        found.append(_finding(level, counter, text, predicts))
    return found


def _since_accepted(counter: str, current: int, past: Past, baseline: DriveBaseline, predicts: str) -> Finding:
    """Only what came on top of an accepted count is news, however slowly it came."""
    accepted = baseline.counters[counter]
    name = counter.replace("_", " ")
    who = f"{accepted} accepted by {baseline.accepted_by} on {baseline.accepted_at:%Y-%m-%d}"
    more = current - accepted
    if more <= 0:
        return _finding(Level.NOTE, counter, f"{current} {name}: no growth beyond the {who}.", predicts)
    week = min(more, past.growth(counter, current, WEEK) or 0)
    level = Level.FAILING if counter in _DEFECTS and week >= _MUCH_IN_A_WEEK else Level.WATCH
    return _finding(
        level, counter, f"{current} {name}: {more} more than the {who}, {week} of them within 7 days.", predicts
    )


def _wear(reading: DriveReading, past: Past) -> list[Finding]:
    used = reading.counters.get("wear_percent")
    if used is None:
        return []
    days = past.wear_days(used)
    if used >= _WEAR_WATCH_PERCENT:
        return [_finding(Level.WATCH, "wear", f"{used} % of the rated endurance is used.", "Plan its replacement.")]
    if days is not None and days < _WEAR_SOON_DAYS:
        text = f"{used} % of the rated endurance is used; at this pace all of it in {days} days."
        return [_finding(Level.WATCH, "wear", text, "Find what writes so much, or plan its replacement.")]
    return []


def _tests(reading: DriveReading) -> list[Finding]:
    test = reading.self_test
    if test is None:
        return []
    if test.passed is False:
        return [_finding(Level.FAILING, "self_test", f"Its last self-test failed: {test.status}.", "Replace it.")]
    if test.age_hours is not None and test.age_hours > _TEST_HOURS:
        days = test.age_hours // 24
        return [_finding(Level.NOTE, "self_test_old", f"Its last self-test is {days} days of running ago.", None)]
    return []


def _heat(reading: DriveReading) -> list[Finding]:
    if reading.temperature is None:
        return []
    limit = reading.temperature_limit or (_HOT_SPINNING if reading.spinning else _HOT_FLASH)
    if reading.temperature < limit:
        return []
    text = f"{reading.temperature} °C, its limit is {limit} °C."
    return [_finding(Level.WATCH, "temperature", text, "Heat shortens its life: check fans and air flow.")]


def _trends(reading: DriveReading, past: Past) -> list[Trend]:
    found = []
    for counter, current in reading.counters.items():
        if counter not in _DEFECTS and counter not in _LINKS:
            continue
        day, week = past.growth(counter, current, DAY), past.growth(counter, current, WEEK)
        if week:
            found.append(Trend(counter=counter, value=current, grown_in_24_hours=day, grown_in_7_days=week))
    return found


def _finding(level: Level, code: str, text: str, predicts: str | None) -> Finding:
    return Finding(level=level, code=code, evidence=text, predicts=predicts)
