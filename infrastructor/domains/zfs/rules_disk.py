"""Rules on disks: what SMART says of those that pools are on, sectors that do not fit, and what has no second copy."""

from collections.abc import Iterator
from statistics import median

from infrastructor.domains.drives.models import Level
from infrastructor.domains.zfs.facts import Facts
from infrastructor.domains.zfs.health_models import Finding, Grade
from infrastructor.domains.zfs.models import Pool, Vdev
from infrastructor.domains.zfs.rules import Group, below, counted, counts_of, found, groups, line

_SHOWN = 3
_SLOW_MS, _TIMES_SLOWER = 20.0, 5.0
_SPECIAL = frozenset({"special", "dedup"})


def disk_rules(facts: Facts, pool: Pool) -> Iterator[Finding]:
    """Everything on one pool's disks."""
    vdevs = facts.vdevs(pool.name)
    for group in groups(vdevs):
        for vdev in below(vdevs, group.top):
            yield from _smart(facts, pool, group, vdev)
            yield from _sectors(pool, vdev)
        yield from _slower(facts, pool, group)
    yield from _redundancy(pool, list(groups(vdevs)))


def _smart(facts: Facts, pool: Pool, group: Group, vdev: Vdev) -> Iterator[Finding]:
    drive = facts.drive_of(vdev)
    if drive is None or drive.verdict not in {Level.FAILING, Level.WATCH}:
        return
    reasons = "; ".join(one.evidence.rstrip(".") for one in drive.findings[:_SHOWN])
    also = f" ZFS counted {counts_of(vdev)} on it." if counted(vdev) else ""
    failing = drive.verdict is Level.FAILING
    yield found(
        (Grade.CRITICAL if group.left <= 0 else Grade.WARNING) if failing else Grade.NOTE,
        "drive_failing" if failing else "drive_watch",
        pool.name,
        f"SMART judges {drive.name} ({drive.model or 'unknown model'}, serial {drive.serial or 'unknown'}) to be "
        f"{drive.verdict}: {reasons}.{also} {group.top.name} may lose {max(group.left, 0)} more.",
        "Replace it now, while the others are well." if failing else "Keep a disk ready; look at drive_health again.",
        subject=vdev.name,
        command=f"{line('zpool', 'replace', pool.name, vdev.name)} NEW_DISK" if failing else None,
    )


def _sectors(pool: Pool, vdev: Vdev) -> Iterator[Finding]:
    if vdev.configured_block_bytes and vdev.native_block_bytes:
        yield found(
            Grade.WARNING,
            "ashift",
            pool.name,
            f"{vdev.name} is written in blocks of {vdev.configured_block_bytes} B; its own are "
            f"{vdev.native_block_bytes} B, so each small write is a read and a write.",
            "It cannot be changed in place: zfs_recommendations tells the way out.",
            subject=vdev.name,
        )


def _slower(facts: Facts, pool: Pool, group: Group) -> Iterator[Finding]:
    """A disk that takes much longer than those beside it: its group is as slow as it is."""
    for kind in ("read_ms", "write_ms"):
        times = {member.name: getattr(facts.waits.get(member.name), kind, None) for member in group.members}
        known = {name: time for name, time in times.items() if time is not None}
        for name, time in known.items():
            others = [other for beside, other in known.items() if beside != name]
            if others and time >= _SLOW_MS and time > _TIMES_SLOWER * median(others):
                what = kind.removesuffix("_ms")
                yield found(
                    Grade.WARNING,
                    "slow_disk",
                    pool.name,
                    f"{name} takes {time:.0f} ms for a {what} on average since the pool was imported, the others of "
                    f"{group.top.name} {median(others):.1f} ms.",
                    "Look at its SMART data, its cable and the kernel's log; a failing disk gets slow first.",
                    subject=name,
                    command=line("zpool", "iostat", "-v", "-l", pool.name, "5"),
                )


def _redundancy(pool: Pool, all_groups: list[Group]) -> Iterator[Finding]:
    """What is lost with one disk."""
    data = [group for group in all_groups if group.top.role == "normal"]
    lone = [group for group in data if not group.redundant]
    if lone and len(lone) < len(data):
        yield found(
            Grade.CRITICAL,
            "mixed_redundancy",
            pool.name,
            f"{_names(lone)} has no second copy, beside others that have: with that one disk the whole pool is lost.",
            "Attach a second disk to it.",
            subject=lone[0].top.name,
            command=f"{line('zpool', 'attach', pool.name, lone[0].top.name)} NEW_DISK",
        )
    elif lone:
        yield found(
            Grade.NOTE,
            "no_redundancy",
            pool.name,
            f"No vdev of the pool has a second copy: with {'any one of its' if len(lone) > 1 else 'its one'} "
            f"disk{'s' if len(lone) > 1 else ''} the whole pool is lost, and errors are found but not repaired.",
            "Attach a second disk to each, or be sure of the backup.",
            command=f"{line('zpool', 'attach', pool.name, lone[0].top.name)} NEW_DISK",
        )
    redundant = any(group.redundant for group in data)
    for group in all_groups:
        if group.top.role in _SPECIAL and not group.redundant and redundant:
            yield found(
                Grade.CRITICAL,
                "special_not_redundant",
                pool.name,
                f"The {group.top.role} vdev {group.top.name} has no second copy: with it the whole pool is lost.",
                "Attach a second disk to it.",
                subject=group.top.name,
                command=f"{line('zpool', 'attach', pool.name, group.top.name)} NEW_DISK",
            )
        elif group.top.role == "log" and not group.redundant and redundant:
            yield found(
                Grade.NOTE,
                "log_not_redundant",
                pool.name,
                f"The log {group.top.name} has no second copy: if it fails while power fails, the last seconds of "
                "synchronous writes are lost.",
                "Attach a second disk to it where that matters.",
                subject=group.top.name,
                command=f"{line('zpool', 'attach', pool.name, group.top.name)} NEW_DISK",
            )


def _names(some: list[Group]) -> str:
    names = [group.top.name for group in some]
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
