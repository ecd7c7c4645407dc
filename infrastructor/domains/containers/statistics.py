"""From counters of cgroups, or an engine's own account, to `ContainerUse` rows. Pure."""

from collections.abc import Iterable, Mapping

from infrastructor.domains.containers.cgroups import Counters, Reading
from infrastructor.domains.containers.engine_stats import EngineUse
from infrastructor.domains.containers.models import ContainerUse
from infrastructor.domains.containers.rows import SHORT_ID, Row


def from_cgroups(
    rows: Iterable[Row], before: Reading | None, now: Reading, memory_total: int | None
) -> list[ContainerUse]:
    """A row for each container that has counters; rates only where the earlier reading has it too."""
    seconds = 0.0 if before is None else now.uptime_s - before.uptime_s
    found = []
    for row in rows:
        counters = now.containers.get(row.id)
        if counters is None:
            continue
        earlier = before.containers.get(row.id) if before is not None and seconds > 0 else None
        used = counters.memory_used
        limit = counters.memory_limit
        if limit is not None and memory_total is not None and limit >= memory_total:
            limit = None
        found.append(
            ContainerUse(
                name=row.name,
                cpu_percent=_cpu_percent(earlier, counters, seconds),
                cpu_limit=counters.quota,
                throttled_percent=_throttled(earlier, counters) if counters.quota is not None else None,
                memory_bytes=used,
                memory_limit_bytes=limit,
                memory_percent=_percent(used, limit or memory_total),
                oom_kills=counters.oom_kills or None,
                pids=counters.pids,
                pids_limit=counters.pids_limit,
                received_bytes=counters.received,
                sent_bytes=counters.sent,
                read_bytes=counters.read,
                written_bytes=counters.written,
            )
        )
    return found


def from_engine(rows: Iterable[Row], uses: Mapping[str, EngineUse]) -> list[ContainerUse]:
    """The engine's own account; what it rounds stays rounded, its limit may be the device's memory."""
    found = []
    for row in rows:
        use = uses.get(row.id[:SHORT_ID])
        if use is None:
            continue
        found.append(
            ContainerUse(
                name=row.name,
                cpu_percent=use.cpu_percent,
                memory_bytes=use.memory_bytes,
                memory_limit_bytes=use.memory_limit_bytes or None,
                memory_percent=_percent(use.memory_bytes, use.memory_limit_bytes),
                pids=use.pids,
                received_bytes=use.received_bytes,
                sent_bytes=use.sent_bytes,
                read_bytes=use.read_bytes,
                written_bytes=use.written_bytes,
            )
        )
    return found


def _cpu_percent(before: Counters | None, now: Counters, seconds: float) -> float | None:
    if before is None or before.cpu_us is None or now.cpu_us is None or now.cpu_us < before.cpu_us:
        return None  # a counter that went back is another start of the container
    return round((now.cpu_us - before.cpu_us) / (seconds * 10_000), 1)


def _throttled(before: Counters | None, now: Counters) -> float | None:
    """Over the interval; over its whole life where no period passed in it."""
    if now.periods is None or now.throttled_periods is None:
        return None
    periods, throttled = now.periods, now.throttled_periods
    if before is not None and before.periods is not None and before.periods < periods:
        periods -= before.periods
        throttled -= before.throttled_periods or 0
    return _percent(max(0, throttled), periods)


def _percent(part: int | None, whole: int | None) -> float | None:
    return None if part is None or not whole else round(100 * part / whole, 1)


def total(values: Iterable[float | None]) -> float | None:
    """The sum of what is known; None when nothing is."""
    known = [value for value in values if value is not None]
    return round(sum(known), 1) if known else None
