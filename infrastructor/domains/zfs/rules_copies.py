"""Rules on copies elsewhere, on keys, and on receiving that was broken off."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from infrastructor.domains.zfs.datasets import SnapshotRow
from infrastructor.domains.zfs.fact_commands import MAX_AGE
from infrastructor.domains.zfs.facts import Facts
from infrastructor.domains.zfs.health_models import Finding, Grade
from infrastructor.domains.zfs.models import Pool
from infrastructor.domains.zfs.printed import moment
from infrastructor.domains.zfs.rules import day, found, line, span
from infrastructor.domains.zfs.usage import REPLICATORS, maker_of, usual_distance
from infrastructor.errors import ValidationFailed
from infrastructor.times import span as length

_SHOWN = 3
_TIMES = 3  # the usual distance
_LEAST = timedelta(hours=2)
_UNLESS_USUAL = timedelta(days=7)
_RECEIVED = "received"


@dataclass(frozen=True)
class _Copy:
    """When a dataset was last sent or received, as far as its snapshots tell, and how old that may be."""

    dataset: str
    newest: SnapshotRow
    age: timedelta
    limit: timedelta
    judged_by: str


def copy_rules(facts: Facts, pool: Pool) -> Iterator[Finding]:
    """Everything on one pool's copies, keys and half-received datasets."""
    yield from _replication(facts, pool)
    yield from _keys(facts, pool)
    yield from _half_received(facts, pool)


def _replication(facts: Facts, pool: Pool) -> Iterator[Finding]:
    """Told once for all datasets that are late in the same way: they are sent by the same tool."""
    if facts.snapshots is None:
        return
    by_dataset: dict[str, list[SnapshotRow]] = {}
    for row in facts.snapshots:
        if row.name.startswith((f"{pool.name}/", f"{pool.name}@")):
            by_dataset.setdefault(row.dataset, []).append(row)
    late: dict[str, list[_Copy]] = {}
    for dataset, rows in by_dataset.items():
        copy = _copy(facts, dataset, sorted(rows, key=lambda row: row.created))
        if copy is not None and copy.age > copy.limit:
            late.setdefault(copy.judged_by, []).append(copy)
    for judged_by, copies in late.items():
        copies.sort(key=lambda one: -one.age)
        worst = copies[0]
        names = ", ".join(one.dataset for one in copies[:_SHOWN])
        more = f" and {len(copies) - _SHOWN} more" if len(copies) > _SHOWN else ""
        yield found(
            Grade.WARNING,
            "replication_age",
            pool.name,
            f"{names}{more}: last replicated {span(worst.age)} ago, {day(moment(worst.newest.created))} "
            f"({worst.newest.name}); at most {span(worst.limit)} would be in order. Judged by {judged_by}.",
            "Look at whatever sends it: its log, the connection, and whether both sides still have a common snapshot. "
            f"How old it may be is set by the property {MAX_AGE}.",
            subject=worst.dataset,
        )
    for one in facts.datasets_of(pool.name):
        setting = facts.setting(one.name, MAX_AGE)
        if _limit(setting.value) and setting.source == "local" and one.name not in by_dataset:
            yield found(
                Grade.WARNING,
                "replication_missing",
                pool.name,
                f"{one.name} is to be replicated within {setting.value} ({MAX_AGE}), and has no snapshot.",
                "Set its replication up, or take the property off.",
                subject=one.name,
                command=line("zfs", "inherit", MAX_AGE, one.name),
            )


def _copy(facts: Facts, dataset: str, rows: list[SnapshotRow]) -> _Copy | None:
    """None for a dataset of which nothing says that it is replicated. Rows: oldest first."""
    sent = [row for row in rows if maker_of(row.label) in REPLICATORS]
    received = any(one.source == _RECEIVED for one in facts.settings.get(dataset, {}).values())
    wanted = _limit(facts.setting(dataset, MAX_AGE).value)
    if sent:
        chosen, judged_by = sent, f"the newest snapshot of {maker_of(sent[-1].label)}"
    elif received:
        chosen, judged_by = rows, "the newest snapshot of datasets that were received here"
    elif wanted:
        chosen, judged_by = rows, "the newest snapshot, for want of one that a replication made"
    else:
        return None
    newest, usual = chosen[-1], usual_distance(chosen)
    if wanted:
        limit, judged_by = wanted, f"{judged_by}, and the property {MAX_AGE}"
    elif usual:
        limit, judged_by = (
            max(_TIMES * timedelta(seconds=usual), _LEAST),
            f"{judged_by}, and how often they came before",
        )
    else:
        limit, judged_by = _UNLESS_USUAL, f"{judged_by}; too few to know how often they come"
    return _Copy(dataset, newest, timedelta(seconds=facts.now.timestamp() - newest.created), limit, judged_by)


def _limit(text: str) -> timedelta | None:
    """26h or 7d; None for anything else, `-` above all."""
    try:
        return length(text) if text not in {"", "-"} else None
    except (ValueError, KeyError, OverflowError, ValidationFailed):
        return None


def _keys(facts: Facts, pool: Pool) -> Iterator[Finding]:
    closed = [one.name for one in facts.datasets_of(pool.name) if one.key_status == "unavailable"]
    if closed:
        yield found(
            Grade.NOTE,
            "key_unavailable",
            pool.name,
            f"The keys of {len(closed)} encrypted datasets are not loaded: {', '.join(closed[:_SHOWN])}.",
            "Load the key to mount them; copies received raw are meant to stay closed.",
            subject=closed[0],
            command=line("zfs", "load-key", closed[0]),
        )


def _half_received(facts: Facts, pool: Pool) -> Iterator[Finding]:
    for one in facts.datasets_of(pool.name):
        token = facts.setting(one.name, "receive_resume_token").value
        if token not in {"", "-"}:
            yield found(
                Grade.NOTE,
                "receive_interrupted",
                pool.name,
                f"{one.name} was received in part and holds what came; it can be resumed.",
                "Resume it with zfs_snapshot_receive; or drop what came, which cannot be undone.",
                subject=one.name,
                command=line("zfs", "receive", "-A", one.name),
            )
