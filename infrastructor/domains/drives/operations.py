"""Operations on drives."""

from time import monotonic
from typing import Any

from pydantic import Field

from infrastructor.domains.drives.commands import ReadDisks, SampleDisks
from infrastructor.domains.drives.diskstats import Reading, compare
from infrastructor.domains.drives.models import DriveStats
from infrastructor.operation import Context, DeviceParams, Operation, operation
from infrastructor.ports import Effect

_FIRST_INTERVAL_S = 0.5
_YOUNGEST_S, _OLDEST_S = 1.0, 300.0  # a reading of this age is worth comparing with


class DriveStatsParams(DeviceParams):
    """Input of drive_stats."""

    interval_seconds: float | None = Field(
        default=None, ge=0.2, le=5, description="Measure so long; default: since the last call."
    )


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


OPERATIONS: tuple[Operation[Any, Any], ...] = (drive_stats,)
