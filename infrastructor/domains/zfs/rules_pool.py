"""Rules on the state of pools: what is lost, what gives errors, what the last scrub said.

A pool is ONLINE with errors on every side of its mirrors, so its state is only where the looking begins: the counters
of each vdev, the figures of the last scrub and the code of the message decide.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from infrastructor.domains.zfs.facts import Facts
from infrastructor.domains.zfs.health_models import Finding, Grade
from infrastructor.domains.zfs.models import Activity, Pool, PoolState, Vdev
from infrastructor.domains.zfs.rules import (
    GIB,
    LOST,
    Group,
    below,
    counted,
    counts_of,
    day,
    found,
    groups,
    line,
    size,
    span,
)

_SCRUB_AGE = timedelta(days=35)
_SLOW = 10
_SHOWN = 3
_LEAF = frozenset({"disk", "file", "distributed_spare"})
_HINTS = {
    "OFFLINE": "It was taken offline: bring it back, or replace it.",
    "REMOVED": "It was pulled out or its bus lost it: check cable and power, or replace it.",
    "FAULTED": "It gave too many errors: replace it.",
    "UNAVAIL": "It cannot be opened: check cable and power, or replace it.",
}


def pool_rules(facts: Facts, pool: Pool) -> Iterator[Finding]:
    """Everything on one pool's state."""
    state = facts.states.get(pool.name)
    if state is None:
        return
    findings = [
        *_standing(state),
        *_lost(state),
        *_errors(state),
        *_data_errors(state),
        *_scans(facts, pool, state),
        *_checkpoint(facts, state),
        *_spares(state),
    ]
    yield from findings
    serious = [one for one in findings if one.severity is not Grade.NOTE]
    if state.message and not serious:
        yield found(
            Grade.WARNING,
            "message",
            pool.name,
            f"zpool status says {state.message}: {state.status or 'no more than that'}",
            state.action or f"Read {state.see}.",
        )


def _standing(state: PoolState) -> Iterator[Finding]:
    if state.state == "SUSPENDED":
        yield found(
            Grade.CRITICAL,
            "suspended",
            state.name,
            "All I/O of the pool is suspended: it lost more disks than it can do without.",
            "Bring the lost disks back, then let the pool go on.",
            command=line("zpool", "clear", state.name),
        )
    elif state.state in LOST:
        yield found(
            Grade.CRITICAL,
            "pool_state",
            state.name,
            f"The pool is {state.state}: {state.status or 'too much of it is missing'}",
            state.action or "Bring the missing disks back, then import it again.",
        )


def _lost(state: PoolState) -> Iterator[Finding]:
    """Vdevs that are gone, judged by how many more of their group may go."""
    for group in groups(state.vdevs):
        for vdev in below(state.vdevs, group.top):
            if vdev.kind not in _LEAF or vdev.state not in LOST:
                continue
            left = group.left
            rest = f"{group.top.name} may lose {left} more" if left > 0 else f"{group.top.name} may lose no other"
            log = group.top.role == "log"
            yield found(
                Grade.WARNING if left > 0 or log else Grade.CRITICAL,
                "vdev_state",
                state.name,
                f"{vdev.name} is {vdev.state}{f' ({vdev.problem})' if vdev.problem else ''}; {rest}.",
                _HINTS[str(vdev.state)],
                subject=vdev.was or vdev.name,
                command=line("zpool", "online", state.name, vdev.name)
                if vdev.state in {"OFFLINE", "REMOVED"}
                else f"{line('zpool', 'replace', state.name, vdev.name)} NEW_DISK",
            )
    for vdev in state.vdevs:
        if vdev.role == "cache" and vdev.state in LOST:
            yield found(
                Grade.NOTE,
                "cache_state",
                state.name,
                f"The cache disk {vdev.name} is {vdev.state}; no data is lost by it.",
                "Replace or remove it.",
                subject=vdev.name,
                command=line("zpool", "remove", state.name, vdev.name),
            )


def _errors(state: PoolState) -> Iterator[Finding]:
    """Counters of disks; and of groups, whose errors are of data that no disk below could give."""
    for group in groups(state.vdevs):
        rows = below(state.vdevs, group.top)
        bad = [vdev for vdev in rows if vdev.kind in _LEAF and counted(vdev)]
        if _beyond_repair(state, group, bad):
            yield found(
                Grade.CRITICAL,
                "errors_on_all_sides",
                state.name,
                f"{len(bad)} of {len(group.members)} members of {group.top.name} gave errors, more than it can do "
                f"without: {', '.join(f'{vdev.name}: {counts_of(vdev)}' for vdev in bad[:_SHOWN])}. The pool is "
                f"{state.state} all the same.",
                "Save what is dear, look for a common cause (memory, controller, cable), then scrub.",
                subject=group.top.name,
                command=line("zpool", "scrub", state.name),
            )
        for vdev in bad:
            yield found(
                Grade.WARNING,
                "checksum_errors" if not (vdev.read_errors or vdev.write_errors) else "io_errors",
                state.name,
                f"{vdev.name} gave {counts_of(vdev)} since they were last cleared.",
                "Check its SMART data and cable. If they grow after a scrub replace it; else clear the counters.",
                subject=vdev.name,
                command=line("zpool", "clear", state.name, vdev.name),
            )
        for vdev in rows:
            if vdev.kind in _LEAF and vdev.slow_ios and not counted(vdev):
                yield _slow(state, vdev)
    for vdev in state.vdevs:
        if vdev.kind not in _LEAF and vdev.role not in {"cache", "spare"} and counted(vdev):
            yield found(
                Grade.CRITICAL,
                "unrepaired_errors",
                state.name,
                f"{vdev.name} itself gave {counts_of(vdev)}: no disk below it had the right data.",
                "List the damaged files, restore them, then scrub.",
                subject=vdev.name,
                command=line("zpool", "status", "-v", state.name),
            )


def _beyond_repair(state: PoolState, group: Group, bad: list[Vdev]) -> bool:
    """Whether more members gave errors than the group can do without. A lone disk has no other side."""
    members = {vdev.index: member for member in group.members for vdev in below(state.vdevs, member)}
    return group.redundant and len({members[vdev.index].index for vdev in bad}) > group.left


def _slow(state: PoolState, vdev: Vdev) -> Finding:
    return found(
        Grade.WARNING if (vdev.slow_ios or 0) >= _SLOW else Grade.NOTE,
        "slow_ios",
        state.name,
        f"{vdev.name} took over 30 s for {vdev.slow_ios} I/Os.",
        "Look at its SMART data and the kernel's log; a disk that stalls holds up the whole pool.",
        subject=vdev.name,
        command=line("zpool", "iostat", "-v", "-l", state.name, "5"),
    )


def _data_errors(state: PoolState) -> Iterator[Finding]:
    if state.data_errors:
        yield found(
            Grade.CRITICAL,
            "data_errors",
            state.name,
            f"{state.data_errors} data errors are on record: blocks of files or objects that could not be repaired.",
            "List the files, restore them from a backup or snapshot, then scrub and clear.",
            command=line("zpool", "status", "-v", state.name),
        )


def _scans(facts: Facts, pool: Pool, state: PoolState) -> Iterator[Finding]:
    scrub = next((one for one in state.activities if one.kind == "scrub"), None)
    for one in state.activities:
        if one.state in {"running", "paused"}:
            yield _going_on(state, one)
    if scrub is not None and scrub.errors:
        yield found(
            Grade.CRITICAL,
            "scrub_errors",
            state.name,
            f"The scrub that ended {day(scrub.ended_at)} found {scrub.errors} errors it could not repair.",
            "List the damaged files and restore them.",
            command=line("zpool", "status", "-v", state.name),
        )
    elif scrub is not None and scrub.state == "finished" and scrub.repaired_bytes:
        yield found(
            Grade.WARNING,
            "scrub_repaired",
            state.name,
            f"The scrub that ended {day(scrub.ended_at)} repaired {size(scrub.repaired_bytes)} a disk gave wrongly.",
            "Find the disk by its checksum errors, SMART data and zfs_event_list; scrub again.",
            command=line("zpool", "scrub", state.name),
        )
    yield from _scrub_age(facts, pool, state, scrub)


def _going_on(state: PoolState, one: Activity) -> Finding:
    done = "" if one.done_percent is None else f", {one.done_percent:g} % done"
    left = "" if one.seconds_left is None else f", {span(one.seconds_left)} to go"
    return found(
        Grade.NOTE,
        one.kind,
        state.name,
        f"A {one.kind.replace('_', ' ')} is {one.state}{done}{left}.",
        "Wait for its end; a resilver restores redundancy." if one.state == "running" else "Let it go on.",
        subject=one.vdev,
        command=line("zpool", "scrub", state.name) if one.state == "paused" else None,
    )


def _scrub_age(facts: Facts, pool: Pool, state: PoolState, scrub: Activity | None) -> Iterator[Finding]:
    if scrub is not None and scrub.state in {"running", "paused"}:
        return
    command = line("zpool", "scrub", state.name)
    ended = scrub.ended_at if scrub is not None else None
    if scrub is not None and scrub.state == "canceled":
        yield found(
            Grade.NOTE,
            "scrub_canceled",
            state.name,
            f"The last scrub was canceled {day(ended)}.",
            "Scrub.",
            command=command,
        )
    elif ended is not None and facts.now - ended > _SCRUB_AGE:
        yield found(
            Grade.WARNING,
            "scrub_age",
            state.name,
            f"The last scrub ended {span(facts.now - ended)} ago ({day(ended)}).",
            "Scrub, and let it be done every month.",
            command=command,
        )
    elif scrub is None and (pool.allocated_bytes or 0) >= GIB and _is_old(facts, pool):
        resilver = next((one for one in state.activities if one.kind == "resilver"), None)
        why = (
            "No scrub is on record" if resilver is None else "The last scan was a resilver: it checks less than a scrub"
        )
        yield found(
            Grade.WARNING if resilver is None else Grade.NOTE,
            "scrub_never",
            state.name,
            f"{why}, of {size(pool.allocated_bytes or 0)} in use.",
            "Scrub, and let it be done every month.",
            command=command,
        )


def _is_old(facts: Facts, pool: Pool) -> bool:
    """Whether it has been there long enough to be scrubbed once. Unknown counts as old."""
    root: datetime | None = next((one.created_at for one in facts.datasets if one.name == pool.name), None)
    return root is None or facts.now - root > _SCRUB_AGE


def _checkpoint(facts: Facts, state: PoolState) -> Iterator[Finding]:
    if state.checkpoint_at is not None and facts.now - state.checkpoint_at > timedelta(days=7):
        yield found(
            Grade.WARNING,
            "checkpoint",
            state.name,
            f"A checkpoint of {day(state.checkpoint_at)} holds {size(state.checkpoint_bytes or 0)} and forbids "
            "changes to the vdevs.",
            "Discard it once nobody will go back to it. That cannot be undone.",
            command=line("zpool", "checkpoint", "-d", state.name),
        )


def _spares(state: PoolState) -> Iterator[Finding]:
    for vdev in state.vdevs:
        if vdev.role == "spare" and vdev.state == "INUSE":
            yield found(
                Grade.WARNING,
                "spare_in_use",
                state.name,
                f"The spare {vdev.name} stands in for another disk.",
                "Replace the failed disk; or detach it, so that the spare takes its place for good.",
                subject=vdev.name,
            )
