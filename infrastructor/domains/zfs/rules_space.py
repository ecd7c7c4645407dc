"""Rules on space: capacity, fragmentation, snapshots, quotas; on features; and on the ARC."""

from collections import Counter
from collections.abc import Iterator

from infrastructor.domains.zfs.facts import Facts
from infrastructor.domains.zfs.health_models import Finding, Grade
from infrastructor.domains.zfs.models import Pool
from infrastructor.domains.zfs.rules import GIB, found, line, size

_FULL, _NEARLY = 90, 80
_FRAGMENTED, _FRAGMENTED_AT = 50, 70
_VERY_FRAGMENTED = 80
_MANY_SNAPSHOTS = 1000  # of one dataset; listing and destroying get slow
_SNAPSHOT_SHARE = 30
_QUOTA = 90
_SHOWN = 3
_LITTLE_MEMORY = 0.05
_LEFT_OFF = frozenset({"dynamic_gang_header"})  # what zpool upgrade leaves off: only zpool set turns it on


def space_rules(facts: Facts, pool: Pool) -> Iterator[Finding]:
    """Everything on one pool's space and features."""
    yield from _capacity(pool)
    yield from _snapshots(facts, pool)
    yield from _quotas(facts, pool)
    yield from _features(facts, pool)


def _capacity(pool: Pool) -> Iterator[Finding]:
    used, fragmented = pool.capacity_percent, pool.fragmentation_percent
    if used is None:
        return
    free = f"{size(pool.free_bytes or 0)} of {size(pool.size_bytes or 0)} are free"
    if used >= _NEARLY:
        yield found(
            Grade.CRITICAL if used >= _FULL else Grade.WARNING,
            "capacity",
            pool.name,
            f"The pool is {used} % full: {free}. Writes get slow, and a full pool cannot even destroy.",
            "Destroy snapshots (zfs_snapshot_usage tells what that frees), move data away, or add a vdev.",
        )
    if fragmented is not None and fragmented > _FRAGMENTED and used > _FRAGMENTED_AT:
        yield found(
            Grade.WARNING,
            "fragmentation",
            pool.name,
            f"{fragmented} % of the free space is in small pieces, at {used} % full.",
            "Free space: it heals by itself below 70 %. Only sending the data to a new pool mends it at once.",
        )
    elif fragmented is not None and fragmented >= _VERY_FRAGMENTED:
        yield found(
            Grade.NOTE,
            "fragmentation",
            pool.name,
            f"{fragmented} % of the free space is in small pieces, at {used} % full.",
            "Keep an eye on it; it hurts once the pool is fuller.",
        )


def _snapshots(facts: Facts, pool: Pool) -> Iterator[Finding]:
    mine = [row for row in facts.snapshots or () if row.name.startswith((f"{pool.name}/", f"{pool.name}@"))]
    many = [
        (name, count) for name, count in Counter(row.dataset for row in mine).most_common() if count > _MANY_SNAPSHOTS
    ]
    if many:
        told = ", ".join(f"{name}: {count}" for name, count in many[:_SHOWN])
        yield found(
            Grade.WARNING,
            "snapshot_count",
            pool.name,
            f"{len(many)} datasets have more than {_MANY_SNAPSHOTS} snapshots ({told}); {len(mine)} in the pool.",
            "Let whatever makes them prune them: listing, replicating and destroying get slow.",
            subject=many[0][0],
        )
    held = sorted(facts.datasets_of(pool.name), key=lambda one: -(one.used_by_snapshots_bytes or 0))
    total = sum(one.used_by_snapshots_bytes or 0 for one in held)
    root = next((one for one in held if one.name == pool.name), None)
    used = (root.used_bytes if root else None) or 0
    if used >= GIB and 100 * total > _SNAPSHOT_SHARE * used:
        told = ", ".join(f"{one.name}: {size(one.used_by_snapshots_bytes or 0)}" for one in held[:_SHOWN])
        yield found(
            Grade.WARNING if (pool.capacity_percent or 0) >= _NEARLY else Grade.NOTE,
            "snapshot_space",
            pool.name,
            f"Snapshots hold {size(total)}, {100 * total // used} % of what is used ({told}).",
            "Ask zfs_snapshot_usage of these datasets which ranges would free most.",
            subject=held[0].name,
        )


def _quotas(facts: Facts, pool: Pool) -> Iterator[Finding]:
    for one in facts.datasets_of(pool.name):
        for name, limit, used in (
            ("quota", one.quota_bytes, one.used_bytes),
            ("refquota", one.refquota_bytes, one.referenced_bytes),
        ):
            if limit and used is not None and 100 * used > _QUOTA * limit:
                yield found(
                    Grade.WARNING,
                    name,
                    pool.name,
                    f"{one.name} uses {size(used)} of its {name} of {size(limit)}; at the limit writes stall and fail.",
                    f"Free space in it, or raise the {name}.",
                    subject=one.name,
                    command=line("zfs", "set", f"{name}={limit * 5 // 4}", one.name),
                )


def _features(facts: Facts, pool: Pool) -> Iterator[Finding]:
    properties = facts.properties.get(pool.name, {})
    if properties.get("compatibility", "off") != "off":
        return  # they are off on purpose
    off = sorted(
        name.removeprefix("feature@")
        for name, value in properties.items()
        if name.startswith("feature@") and value == "disabled" and name.removeprefix("feature@") not in _LEFT_OFF
    )
    if off:
        boots = properties.get("bootfs", "-") != "-"
        yield found(
            Grade.NOTE,
            "features_disabled",
            pool.name,
            f"{len(off)} features the software has are disabled in the pool: {', '.join(off[:_SHOWN])}"
            f"{' …' if len(off) > _SHOWN else ''}.",
            "Upgrade only when no older software must import it: that cannot be undone."
            + (" It has a boot file system: its boot loader must know the features, too." if boots else ""),
            command=line("zpool", "upgrade", pool.name),
        )


def arc_rules(facts: Facts) -> Iterator[Finding]:
    """Everything on the cache in memory."""
    arc = facts.arc
    if arc is None:
        return
    if arc.throttled_lately:
        yield found(
            Grade.WARNING,
            "arc_throttled",
            None,
            f"Writes waited for memory {arc.throttled_lately} times in {arc.sampled_over_seconds:g} s, "
            f"{arc.throttled} times since boot.",
            "Find what takes the memory with process_list; zfs_recommendations tells a size for the ARC.",
        )
    elif arc.throttled:
        yield found(
            Grade.NOTE,
            "arc_throttled",
            None,
            f"Since boot writes waited for memory {arc.throttled} times.",
            "Look again with zfs_arc_stats while the machine is busy.",
        )
    total, free = arc.memory_total_bytes, arc.memory_available_bytes
    if arc.may_not_grow and total and free is not None and free < _LITTLE_MEMORY * total:
        yield found(
            Grade.WARNING,
            "memory_short",
            None,
            f"The ARC ({size(arc.size_bytes)}) may not grow: of {size(total)} memory {size(free)} are available.",
            "Find what takes the memory with process_list.",
        )
    if arc.l2arc is not None and arc.l2arc.errors:
        yield found(
            Grade.WARNING,
            "cache_errors",
            None,
            f"Cache disks gave {arc.l2arc.errors} errors since boot; no data is lost by it.",
            "Look at their SMART data; replace or remove them.",
        )
