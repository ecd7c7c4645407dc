"""Rules for recommendations on vdevs, snapshots and the ARC, where what was measured speaks for them."""

from collections.abc import Iterator
from datetime import timedelta

from infrastructor.domains.zfs.fact_commands import DiskFacts
from infrastructor.domains.zfs.facts import Facts
from infrastructor.domains.zfs.health_models import Recommendation
from infrastructor.domains.zfs.models import Pool
from infrastructor.domains.zfs.printed import moment
from infrastructor.domains.zfs.rules import GIB, Group, groups, line, size, span

_MIB = 1 << 20
_COMMITS_PER_S = 5
_IDLE = 7 * 86400
_POOR_METADATA = 95
_METADATA_MISSES_PER_S = 10
_NO_SNAPSHOT = timedelta(days=7)
_POOR_HITS = 90
_GHOSTS = 0.05
_NEARLY_FULL = 0.95
_MUCH_MEMORY, _LITTLE_MEMORY = 0.25, 0.05
_MOST_OF_MEMORY = 0.8
_OLD_TRIM = timedelta(days=30)
_SHOWN = 3
_SPECIAL_IS_LOG_SINCE = (2, 4)  # from where a special vdev takes what a log vdev would


def pool_advice(facts: Facts, pool: Pool) -> Iterator[Recommendation]:
    """Everything on one pool's vdevs and snapshots."""
    all_groups = list(groups(facts.vdevs(pool.name)))
    yield from _ashift(pool, all_groups)
    yield from _trim(facts, pool)
    yield from _names(facts, pool)
    yield from _log(facts, pool, all_groups)
    yield from _special(facts, pool, all_groups)
    yield from _snapshots(facts, pool)


def _ashift(pool: Pool, all_groups: list[Group]) -> Iterator[Recommendation]:
    """A new pool is the one way: ZFS removes no vdev from a pool whose vdevs have sectors of several sizes."""
    for group in all_groups:
        small = [
            vdev for vdev in (group.top, *group.members) if vdev.configured_block_bytes and vdev.native_block_bytes
        ]
        if not small:
            continue
        native = max(vdev.native_block_bytes or 0 for vdev in small)
        wanted = native.bit_length() - 1
        disks = len(group.members)
        kind = [group.top.kind] if group.top.kind not in {"disk", "file"} else []
        new = [f"NEW_DISK{number}" for number in range(1, disks + 1)]
        yield Recommendation(
            priority="medium",
            code="ashift",
            pool=pool.name,
            subject=group.top.name,
            measured=f"{small[0].name} is written in blocks of {small[0].configured_block_bytes} B; the disk's own are "
            f"{native} B.",
            effect="Once everything was sent there (zfs_snapshot_send), small writes are no longer read, changed and "
            "written back by the disk.",
            risk="ashift is fixed for a vdev's life, and no vdev can be removed from a pool of several: it needs other "
            "disks for a new pool, or a backup to restore from.",
            command=line("zpool", "create", "-o", f"ashift={wanted}", "NEW_POOL", *kind, *new),
        )


def _trim(facts: Facts, pool: Pool) -> Iterator[Recommendation]:
    flash = [
        leaf
        for leaf in facts.leaves(pool.name)
        if facts.disks.get(leaf.name, DiskFacts()).rotational is False
        and facts.disks.get(leaf.name, DiskFacts()).discards
        and leaf.role not in {"cache", "spare"}
        and leaf.trim not in {"unsupported", "running"}
    ]
    late = [leaf for leaf in flash if leaf.trimmed_at is None or facts.now - leaf.trimmed_at > _OLD_TRIM]
    if pool.autotrim is not False or not late:
        return
    last = max((leaf.trimmed_at for leaf in late if leaf.trimmed_at), default=None)
    yield Recommendation(
        priority="low",
        code="trim",
        pool=pool.name,
        measured=f"autotrim is off, and {len(late)} flash disks that take trims "
        + ("were never trimmed." if last is None else f"were last trimmed {span(facts.now - last)} ago."),
        effect="Disks know what is free: they stay fast and wear less.",
        risk="Some disks get slow while they trim: do it in quiet hours, or set autotrim=on to have it done always.",
        command=line("zpool", "trim", pool.name),
    )


def _names(facts: Facts, pool: Pool) -> Iterator[Recommendation]:
    loose = [leaf.name for leaf in facts.leaves(pool.name) if leaf.name.startswith(("/dev/sd", "/dev/vd", "/dev/hd"))]
    if loose:
        yield Recommendation(
            priority="low",
            code="device_names",
            pool=pool.name,
            measured=f"{len(loose)} vdevs are known by names that change with the order of detection: "
            f"{', '.join(loose[:_SHOWN])}.",
            effect="A disk is known by model and serial number, so the right one is pulled.",
            risk="The pool is away between export and import.",
            command=f"{line('zpool', 'export', pool.name)} && "
            f"{line('zpool', 'import', '-d', '/dev/disk/by-id', pool.name)}",
        )


def _log(facts: Facts, pool: Pool, all_groups: list[Group]) -> Iterator[Recommendation]:
    """The module counts the intent log of all pools together, so it speaks for one only where there is one."""
    counters = facts.counters
    if counters is None or len(facts.pools) != 1 or not counters.intent_log:
        return
    log = counters.intent_log
    commits = log.get("zil_commit_count", 0)
    per_second = commits / max(counters.uptime_s, 1)
    logs = [group.top for group in all_groups if group.top.role == "log"]
    on_special = facts.version >= _SPECIAL_IS_LOG_SINCE and any(group.top.role == "special" for group in all_groups)
    if not logs and not on_special and facts.rotational(pool.name) and per_second >= _COMMITS_PER_S:
        yield Recommendation(
            priority="medium",
            code="log_vdev",
            pool=pool.name,
            measured=f"Programs waited for {commits} synchronous commits since boot, {per_second:.1f} a second, each "
            "on disks that turn; there is no log vdev.",
            effect="Synchronous writes end when flash has them instead of after a turn of the disks.",
            risk="Needs disks with power-loss protection, mirrored. It does nothing for other writes.",
            command=f"{line('zpool', 'add', pool.name, 'log', 'mirror')} NEW_DISK1 NEW_DISK2",
        )
    elif logs and counters.uptime_s > _IDLE and commits and log.get("zil_itx_metaslab_slog_count") == 0:
        yield Recommendation(
            priority="low",
            code="log_vdev",
            pool=pool.name,
            subject=logs[0].name,
            measured=f"In {span(counters.uptime_s)} of {commits} commits nothing was written to the log vdev.",
            effect="The disk is free for something else, e.g. as a spare.",
            risk="Synchronous writes to come, if there are any, wait for the main disks.",
            command=line("zpool", "remove", pool.name, logs[0].name),
        )


def _special(facts: Facts, pool: Pool, all_groups: list[Group]) -> Iterator[Recommendation]:
    arc, counters = facts.arc, facts.counters
    if arc is None or counters is None or facts.rotational(pool.name) is not True or len(facts.pools) != 1:
        return
    misses = arc.since_boot.demand_metadata_misses / max(counters.uptime_s, 1)
    percent = arc.since_boot.demand_metadata_hit_percent
    if any(group.top.role == "special" for group in all_groups) or percent is None:
        return
    if percent < _POOR_METADATA and misses >= _METADATA_MISSES_PER_S:
        yield Recommendation(
            priority="medium",
            code="special_vdev",
            pool=pool.name,
            measured=f"Since boot {percent:g} % of the metadata somebody waited for was in memory; {misses:.0f} reads "
            "a second went to disks that turn.",
            effect="Metadata written from then on lies on flash: listing, finding and scrubbing get faster.",
            risk="If it is lost the whole pool is lost: mirror it. It cannot be removed from a pool with raidz. More "
            "memory for the ARC may do as well.",
            command=f"{line('zpool', 'add', pool.name, 'special', 'mirror')} NEW_DISK1 NEW_DISK2",
        )


def _snapshots(facts: Facts, pool: Pool) -> Iterator[Recommendation]:
    if facts.snapshots is None:
        return
    newest: dict[str, int] = {}
    for row in facts.snapshots:
        newest[row.dataset] = max(newest.get(row.dataset, 0), row.created)
    bare, stale = [], []
    for one in facts.datasets_of(pool.name):
        if (one.referenced_bytes or 0) < GIB or one.origin:
            continue
        last = moment(newest.get(one.name, 0))
        if last is None:
            bare.append(one)
        elif facts.now - last > _NO_SNAPSHOT and (one.written_bytes or 0) > _MIB:
            stale.append(one)
    late = [*bare, *stale]
    if not late:
        return
    names = ", ".join(one.name for one in late[:_SHOWN])
    contents = size(sum(one.referenced_bytes or 0 for one in late))
    yield Recommendation(
        priority="medium",
        code="snapshot_policy",
        pool=pool.name,
        subject=late[0].name,
        measured=f"{len(bare)} datasets of a GiB and more have no snapshot, {len(stale)} were changed since their "
        f"newest, which is over a week old: {names}{' …' if len(late) > _SHOWN else ''}, {contents} of contents.",
        effect="What is deleted or overwritten can be had back, and a replication has what to send.",
        risk="Snapshots hold the space of what is deleted: have them made and pruned by a tool (sanoid, zrepl). They "
        "are no backup: they go with the pool.",
        command=line("zfs", "snapshot", "-r", f"{late[0].name}@{facts.now:%Y-%m-%d}"),
    )


def arc_advice(facts: Facts) -> Iterator[Recommendation]:
    """The size of the ARC."""
    arc = facts.arc
    if arc is None or not arc.max_bytes or not arc.memory_total_bytes or arc.memory_available_bytes is None:
        return
    total, free, most = arc.memory_total_bytes, arc.memory_available_bytes, arc.max_bytes
    boot = arc.since_boot
    misses = round(boot.reads * (100 - boot.hit_percent) / 100) if boot.hit_percent is not None else 0
    ghosts = boot.mfu_ghost_hits + boot.mru_ghost_hits
    if (
        boot.hit_percent is not None
        and boot.hit_percent < _POOR_HITS
        and ghosts > _GHOSTS * misses
        and arc.size_bytes >= _NEARLY_FULL * most
        and free >= _MUCH_MEMORY * total
    ):
        wanted = min(most + free // 2, int(_MOST_OF_MEMORY * total)) // (256 * _MIB) * (256 * _MIB)
        if wanted > most:
            yield _resize(
                wanted,
                f"{boot.hit_percent:g} % of {boot.reads} reads since boot were in memory. The ARC is as large as it "
                f"may be ({size(most)}), {ghosts} misses were of what it had dropped, {size(free)} are available.",
                "A part of those misses becomes hits.",
                "Programs find less free memory; the ARC gives it back, but not at once.",
            )
    elif arc.throttled_lately or (free < _LITTLE_MEMORY * total and arc.size_bytes > total // 2):
        wanted = max(int(0.75 * arc.size_bytes), total // 8) // (256 * _MIB) * (256 * _MIB)
        if 0 < wanted < most:
            yield _resize(
                wanted,
                f"The ARC takes {size(arc.size_bytes)} of {size(total)}, {size(free)} are available, and writes waited "
                f"for memory {arc.throttled_lately} times in {arc.sampled_over_seconds:g} s.",
                "Programs and writes no longer wait for memory.",
                "Reads find less in memory; watch the hit ratio with zfs_arc_stats.",
            )


def _resize(wanted: int, measured: str, effect: str, risk: str) -> Recommendation:
    return Recommendation(
        priority="medium",
        code="arc_size",
        measured=measured,
        effect=effect,
        risk=f"{risk} To keep it over a restart put 'options zfs zfs_arc_max={wanted}' into /etc/modprobe.d/zfs.conf.",
        command=f"echo {wanted} > /sys/module/zfs/parameters/zfs_arc_max",
    )
