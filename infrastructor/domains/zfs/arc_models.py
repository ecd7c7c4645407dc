"""Results on the ARC, the cache of ZFS in memory. None is unknown."""

from pydantic import Field

from infrastructor.operation import Result


class ArcHits(Result):
    """How well reads were served, over some time."""

    reads: int = Field(description="Reads of blocks that were asked of the ARC.")
    reads_per_second: float | None = Field(description="Mean.")
    hit_percent: float | None = Field(description="Served from memory; null without reads.")
    demand_hit_percent: float | None = Field(description="Of the reads somebody waited for.")
    demand_data_hit_percent: float | None = Field(description="Of those, of file contents.")
    demand_metadata_hit_percent: float | None = Field(description="Of those, of metadata.")
    demand_metadata_misses: int = Field(description="Metadata somebody waited for, read from disks.")
    prefetch_hit_percent: float | None = Field(description="Of the reads ahead.")
    mfu_hits: int = Field(description="In the part kept for being used often.")
    mru_hits: int = Field(description="In the part kept for being used lately.")
    mfu_ghost_hits: int = Field(description="Misses on what was dropped from the often used: a larger ARC had hit.")
    mru_ghost_hits: int = Field(description="Misses on what was dropped from the lately used.")


class L2Arc(Result):
    """The second level of the cache, on disks."""

    size_bytes: int = Field(description="Held, uncompressed.")
    allocated_bytes: int = Field(description="Held, as it lies on the disk.")
    header_bytes: int = Field(description="Memory its index takes from the ARC.")
    hit_percent: float | None = Field(description="Of the reads the ARC missed; over the interval.")
    hit_percent_since_boot: float | None = Field(description="The same since the module was loaded.")
    errors: int = Field(description="Failed I/Os and wrong checksums.")


class ArcStats(Result):
    """The ARC of a device: size, hit ratios over an interval and since boot, pressure."""

    device: str = Field(description="Device name.")
    sampled_over_seconds: float = Field(description="Length of the interval.")
    interval: ArcHits = Field(description="Over the interval.")
    since_boot: ArcHits = Field(description="Since the module was loaded.")
    size_bytes: int = Field(description="Now.")
    target_bytes: int = Field(description="What it adapts to (c).")
    min_bytes: int | None = Field(description="Least (c_min).")
    max_bytes: int | None = Field(description="Most (c_max).")
    max_is_set: bool | None = Field(description="Whether zfs_arc_max was set; else the kernel module chose.")
    data_bytes: int | None = Field(description="File contents in it.")
    metadata_bytes: int | None = Field(description="Metadata in it.")
    mfu_bytes: int | None = Field(description="Part for what is used often.")
    mru_bytes: int | None = Field(description="Part for what was used lately.")
    compress_ratio: float | None = Field(description="Contents to what they take.")
    memory_total_bytes: int | None = Field(description="Of the machine.")
    memory_available_bytes: int | None = Field(description="Not counting what the ARC could give back.")
    throttled: int = Field(description="Times a write waited for want of memory, since boot.")
    throttled_lately: int = Field(description="The same over the interval.")
    direct_reclaims: int | None = Field(description="Times the kernel took memory while somebody waited, since boot.")
    may_not_grow: bool | None = Field(description="Memory is short: it may not grow now.")
    l2arc: L2Arc | None = Field(description="Null without cache disks.")
