"""`/proc/spl/kstat/zfs/arcstats`: counters and sizes; the names changed between versions, what they mean did not."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from infrastructor.domains.zfs.arc_models import ArcHits, ArcStats, L2Arc

Counters = Mapping[str, int]

_LONGEST_NUMBER = 20
_FIELDS = 3


@dataclass(frozen=True)
class ArcReading:
    """One reading: seconds since boot, and the counters; none where there is no ARC."""

    uptime_s: float
    counters: Counters


@dataclass(frozen=True)
class ArcSample:
    """One or two readings, what zfs_arc_max is set to, and the machine's memory."""

    readings: tuple[ArcReading, ...]
    set_max: int | None = None
    memory: Counters = field(default_factory=dict)


def counters(text: str) -> dict[str, int]:
    """`name type data` lines; the heading is none."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == _FIELDS and _number(words[1]) is not None:
            value = _number(words[2].removeprefix("-"))
            if value is not None:
                found[words[0]] = -value if words[2].startswith("-") else value
    return found


def meminfo(text: str) -> dict[str, int]:
    """`MemTotal: 1459168 kB` → bytes."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        value = _number((rest.split() or [""])[0])
        if value is not None:
            found[name] = value * 1024
    return found


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER else None


def stats(device: str, before: ArcReading, sample: ArcSample) -> ArcStats:
    """What the last reading of the sample says, and what happened since the one before."""
    now = sample.readings[-1]
    seconds = max(now.uptime_s - before.uptime_s, 0.0)
    one, past = now.counters, before.counters
    change = {name: max(value - past.get(name, 0), 0) for name, value in one.items()}
    return ArcStats(
        device=device,
        sampled_over_seconds=round(seconds, 2),
        interval=hits(change, seconds),
        since_boot=hits(one, now.uptime_s),
        size_bytes=one.get("size", 0),
        target_bytes=one.get("c", 0),
        min_bytes=one.get("c_min"),
        max_bytes=one.get("c_max"),
        max_is_set=None if sample.set_max is None else sample.set_max > 0,
        data_bytes=one.get("data_size"),
        metadata_bytes=one.get("arc_meta_used", one.get("metadata_size")),
        mfu_bytes=one.get("mfu_size"),
        mru_bytes=one.get("mru_size"),
        compress_ratio=_ratio(one.get("uncompressed_size"), one.get("compressed_size")),
        memory_total_bytes=sample.memory.get("MemTotal", one.get("memory_all_bytes")),
        memory_available_bytes=sample.memory.get("MemAvailable"),
        throttled=one.get("memory_throttle_count", 0),
        throttled_lately=change.get("memory_throttle_count", 0),
        direct_reclaims=one.get("memory_direct_count"),
        may_not_grow=None if "arc_no_grow" not in one else bool(one["arc_no_grow"]),
        l2arc=_l2arc(one, change),
    )


def hits(counted: Counters, seconds: float) -> ArcHits:
    """Ratios of counters; a read that waited for one already under way was no hit."""
    reads = _sum(counted, "hits", "iohits", "misses")
    return ArcHits(
        reads=reads,
        reads_per_second=round(reads / seconds, 1) if seconds > 0 else None,
        hit_percent=percent(counted.get("hits", 0), reads),
        demand_hit_percent=_share(counted, "demand_data", "demand_metadata"),
        demand_data_hit_percent=_share(counted, "demand_data"),
        demand_metadata_hit_percent=_share(counted, "demand_metadata"),
        demand_metadata_misses=counted.get("demand_metadata_misses", 0),
        prefetch_hit_percent=_share(counted, "prefetch_data", "prefetch_metadata"),
        mfu_hits=counted.get("mfu_hits", 0),
        mru_hits=counted.get("mru_hits", 0),
        mfu_ghost_hits=counted.get("mfu_ghost_hits", 0),
        mru_ghost_hits=counted.get("mru_ghost_hits", 0),
    )


def _l2arc(one: Counters, change: Counters) -> L2Arc | None:
    if not one.get("l2_size") and not one.get("l2_hits") and not one.get("l2_feeds"):
        return None
    return L2Arc(
        size_bytes=one.get("l2_size", 0),
        allocated_bytes=one.get("l2_asize", 0),
        header_bytes=one.get("l2_hdr_size", 0),
        hit_percent=percent(change.get("l2_hits", 0), _sum(change, "l2_hits", "l2_misses")),
        hit_percent_since_boot=percent(one.get("l2_hits", 0), _sum(one, "l2_hits", "l2_misses")),
        errors=_sum(one, "l2_io_error", "l2_cksum_bad", "l2_writes_error"),
    )


def _share(counted: Counters, *kinds: str) -> float | None:
    got = _sum(counted, *(f"{kind}_hits" for kind in kinds))
    return percent(got, got + _sum(counted, *(f"{kind}_{end}" for kind in kinds for end in ("iohits", "misses"))))


def _sum(counted: Counters, *names: str) -> int:
    return sum(counted.get(name, 0) for name in names)


def percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 2) if whole > 0 else None


def _ratio(whole: int | None, part: int | None) -> float | None:
    return round(whole / part, 2) if whole and part else None
