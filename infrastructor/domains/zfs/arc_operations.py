"""The operation on the ARC."""

import re
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic

from pydantic import Field

from infrastructor.command import Command
from infrastructor.domains.zfs import arc
from infrastructor.domains.zfs.arc import ArcReading, ArcSample
from infrastructor.domains.zfs.arc_models import ArcStats
from infrastructor.errors import CommandNotAvailable, ParseError, ZfsNotLoaded
from infrastructor.operation import Context, DeviceParams, operation
from infrastructor.ports.callers import Effect
from infrastructor.ports.ssh import CommandOutput, Lane
from infrastructor.sanitize import clean

_HEADER = re.compile(r"^==> (\w+)(?: ([0-9.]{1,20}))? <==\n", re.MULTILINE)
_FIRST_INTERVAL_S = 1.0
_YOUNGEST_S, _OLDEST_S = 1.0, 600.0  # a reading of this age is worth comparing with


@dataclass(frozen=True)
class ReadArc(Command[ArcSample]):
    """Read the counters of the ARC once, its limit, and the machine's memory."""

    # "$1", where there is one, is the pause before a second reading.
    script = r"""
reading() { read -r up rest </proc/uptime; printf '\n==> reading %s <==\n' "$up"
  cat /proc/spl/kstat/zfs/arcstats 2>/dev/null; }
printf '==> max <==\n'; cat /sys/module/zfs/parameters/zfs_arc_max 2>/dev/null
printf '\n==> memory <==\n'; grep -E '^Mem(Total|Available):' /proc/meminfo 2>/dev/null
reading
if [ -n "${1-}" ] && [ -e /proc/spl/kstat/zfs/arcstats ]; then sleep "$1" 2>/dev/null || sleep 1; reading; fi
:
"""
    template = "{interval_seconds}"
    timeout = timedelta(seconds=30)
    interval_seconds: float | None = None

    def parse(self, output: CommandOutput) -> ArcSample:
        pieces = _HEADER.split(output.text)
        parts = list(zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True))
        readings = [
            ArcReading(_seconds(up), arc.counters(text))
            for name, up, text in parts
            if name == "reading" and up is not None
        ]
        texts = {name: text for name, _, text in parts}
        if not readings or not {"max", "memory"} <= texts.keys():
            raise ParseError(f"No reading of the ARC in: {clean(output.text, 200)!r}")
        limit = texts["max"].strip()
        return ArcSample(
            tuple(readings),
            int(limit) if limit.isascii() and limit.isdigit() and len(limit) < 20 else None,  # noqa: PLR2004
            arc.meminfo(texts["memory"]),
        )


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ParseError(f"Not an uptime: {text!r}") from error


@dataclass(frozen=True)
class SampleArc(ReadArc):
    """Read the counters of the ARC twice, a pause apart, in one round trip."""

    lane = Lane.SLOW
    interval_seconds: float | None = 1.0


class ArcStatsParams(DeviceParams):
    """Input of zfs_arc_stats."""

    interval_seconds: float | None = Field(default=None, ge=0.2, le=10, description="Default: since the last call.")


@operation(
    name="zfs_arc_stats",
    effect=Effect.READ,
    route="GET /api/zfs/{device}/arc",
    commands=(ReadArc, SampleArc),
)
async def zfs_arc_stats(ctx: Context, params: ArcStatsParams) -> ArcStats:
    """Measure the ZFS cache: hit ratio over an interval and since boot, size, ghost hits, L2ARC, memory pressure."""
    known: tuple[float, ArcReading] | None = ctx.recall()
    if params.interval_seconds is None and known is not None and _YOUNGEST_S <= monotonic() - known[0] <= _OLDEST_S:
        sample = await ctx.run(ReadArc())
        if known[1].uptime_s < sample.readings[-1].uptime_s:  # else it restarted since
            return await _stats(ctx, known[1], sample)
    sample = await ctx.run(SampleArc(params.interval_seconds or _FIRST_INTERVAL_S))
    return await _stats(ctx, sample.readings[0], sample)


async def _stats(ctx: Context, before: ArcReading, sample: ArcSample) -> ArcStats:
    device = ctx.device.hostname
    if not sample.readings[-1].counters:
        if not (await ctx.links.capabilities(ctx.device)).tools & {"zfs", "zpool"}:
            raise CommandNotAvailable(f"{device} has no ZFS.", hint="Ask a device whose pools zfs_pool_list tells.")
        raise ZfsNotLoaded(f"{device} has the ZFS programs, but its kernel has not loaded the ZFS module.")
    ctx.remember((monotonic(), sample.readings[-1]))
    return arc.stats(device, before, sample)
