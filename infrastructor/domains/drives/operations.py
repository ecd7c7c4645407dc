"""Operations on drives."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from time import monotonic
from typing import Any

from pydantic import Field

from infrastructor.domains.drives.baseline import drive_baseline_accept
from infrastructor.domains.drives.commands import DRIVE_NAME, DRIVE_TYPE, ReadDisks, ReadDrive, SampleDisks, ScanDrives
from infrastructor.domains.drives.diskstats import Reading, compare
from infrastructor.domains.drives.models import Accepted, Drive, DriveHealth, DriveStats, Level
from infrastructor.domains.drives.smartctl import DriveReading, Scanned
from infrastructor.domains.drives.verdict import Past, judge
from infrastructor.errors import CommandTimeout, DatabaseOperationError, ParseError
from infrastructor.operation import Cache, CachedParams, Context, DeviceParams, Operation, operation
from infrastructor.paging import ROWS_BUDGET, fitting
from infrastructor.ports.callers import Effect
from infrastructor.ports.series import DriveBaseline, DriveSample
from infrastructor.sanitize import clean

_FIRST_INTERVAL_S = 0.5
_SHOWN = 64
_SHOWN_NAME = 100
_HISTORY = timedelta(days=365)
_ORDER = [Level.FAILING, Level.WATCH, Level.UNKNOWN, Level.OK]
_NO_COUNT = frozenset({"wear_percent", "spare_percent", "spare_threshold_percent"})
_YOUNGEST_S, _OLDEST_S = 1.0, 300.0  # a reading of this age is worth comparing with


class DriveStatsParams(DeviceParams):
    """Input of drive_stats."""

    interval_seconds: float | None = Field(default=None, ge=0.2, le=5, description="Default: since the last call.")


@operation(
    name="drive_stats",
    effect=Effect.READ,
    route="GET /api/system/{device}/drives/stats",
    resource_uri="device://{device}/drives/stats",
    commands=(ReadDisks, SampleDisks),
)
async def drive_stats(ctx: Context, params: DriveStatsParams) -> DriveStats:
    """Measure I/O rates, latency, queue and utilisation of every drive. Use it when a device is slow on storage."""
    known: tuple[float, Reading] | None = ctx.recall()
    if params.interval_seconds is None and known is not None and _YOUNGEST_S <= monotonic() - known[0] <= _OLDEST_S:
        sample = await ctx.run(ReadDisks())
        before, after = known[1], sample.readings[-1]
        if before.uptime_s < after.uptime_s:  # else it restarted since
            ctx.remember((monotonic(), after))
            return compare(ctx.device.hostname, before, after, sample)
    sample = await ctx.run(SampleDisks(params.interval_seconds or _FIRST_INTERVAL_S))
    ctx.remember((monotonic(), sample.readings[-1]))
    return compare(ctx.device.hostname, sample.readings[0], sample.readings[-1], sample)


class DriveHealthParams(CachedParams):
    """Input of drive_health."""


@operation(
    name="drive_health",
    effect=Effect.READ,
    route="GET /api/system/{device}/drives/health",
    resource_uri="device://{device}/drives/health",
    cache=Cache("drives", timedelta(minutes=10)),
    commands=(ScanDrives, ReadDrive),
)
async def drive_health(ctx: Context, params: DriveHealthParams) -> DriveHealth:
    """Judge each drive by SMART and its past: ok, watch or failing, with evidence. Wakes no sleeping disk."""
    scanned = await ctx.run(ScanDrives())
    readings = _without_twins(await asyncio.gather(*(_read(ctx, row) for row in scanned)))
    histories, baselines, missing = await _history(ctx)
    drives = [
        _drive(reading, Past(histories.get(reading.key, ()), ctx.now, baselines.get(reading.key)))
        for reading in readings
    ]
    await _store(ctx, readings, histories, missing)
    drives.sort(key=lambda drive: (_ORDER.index(drive.verdict), drive.name))
    shown = fitting(drives[:_SHOWN], ROWS_BUDGET)
    note = missing
    if len(shown) < len(drives):
        more = f"{len(drives) - len(shown)} more drives are only counted, none of them worse than the last one shown."
        note = f"{missing} {more}" if missing else more
    if not drives:
        note = "smartctl finds no drive here. A virtual machine's disks have no SMART: ask the machine it runs on."
    return DriveHealth(
        device=ctx.device.hostname,
        verdict=drives[0].verdict if drives else Level.UNKNOWN,
        counts=dict(Counter(drive.verdict for drive in drives)),
        drives=shown,
        note=note,
    )


async def _read(ctx: Context, row: Scanned) -> DriveReading:
    """One drive; one that cannot be read must not hide the others."""
    if not (DRIVE_NAME.match(row.name) and DRIVE_TYPE.match(row.type)):
        name, kind = clean(row.name, _SHOWN_NAME), clean(row.type, _SHOWN_NAME)
        return DriveReading(
            name, kind, problem="smartctl calls it by a name or type that no drive has; it was not asked."
        )
    try:
        return await ctx.run(ReadDrive(row.name, row.type))
    except (CommandTimeout, ParseError) as error:
        return DriveReading(row.name, row.type, problem=error.message)


def _without_twins(readings: Sequence[DriveReading]) -> list[DriveReading]:
    """A drive that is reached on two paths counts once."""
    return list({reading.key: reading for reading in reversed(readings)}.values())[::-1]


async def _history(
    ctx: Context,
) -> tuple[Mapping[str, Sequence[DriveSample]], Mapping[str, DriveBaseline], str | None]:
    """Stored samples by drive, oldest first; accepted counts by drive; and why there are none."""
    if ctx.drives is None:
        return {}, {}, "No history is kept here, so growth is not seen."
    found: dict[str, list[DriveSample]] = {}
    try:
        for sample in await ctx.drives.history(ctx.device.id, ctx.now - _HISTORY):
            found.setdefault(sample.drive, []).append(sample)
        baselines = {row.drive: row for row in await ctx.drives.baselines(ctx.device.id)}
    except DatabaseOperationError:
        return {}, {}, "The history could not be read, so growth was not seen."
    return found, baselines, None


async def _store(
    ctx: Context, readings: Sequence[DriveReading], known: Mapping[str, Sequence[DriveSample]], missing: str | None
) -> None:
    """Keep what changed: a drive at rest costs one row in its life."""
    if ctx.drives is None or missing is not None:
        return
    fresh = [
        DriveSample(
            device_id=ctx.device.id,
            drive=reading.key,
            sampled_at=ctx.now,
            counters=dict(sorted(reading.counters.items())),
        )
        for reading in readings
        if reading.counters
        and (not known.get(reading.key) or dict(known[reading.key][-1].counters) != reading.counters)
    ]
    with contextlib.suppress(DatabaseOperationError):  # the next collection tries again
        await ctx.drives.add(fresh)


def _drive(reading: DriveReading, past: Past) -> Drive:
    verdict, findings, trends = judge(reading, past)
    return Drive(
        name=reading.name,
        type=reading.type,
        model=reading.model,
        serial=reading.serial,
        size_bytes=reading.size_bytes,
        verdict=verdict,
        temperature_celsius=reading.temperature,
        power_on_hours=reading.power_on_hours,
        wear_percent=reading.counters.get("wear_percent"),
        counters={name: value for name, value in reading.counters.items() if value and name not in _NO_COUNT},
        findings=findings,
        trends=trends,
        baseline=None
        if past.baseline is None
        else Accepted(at=past.baseline.accepted_at, by=past.baseline.accepted_by),
    )


OPERATIONS: tuple[Operation[Any, Any], ...] = (drive_stats, drive_health, drive_baseline_accept)
