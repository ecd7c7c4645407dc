"""The operation on the space that snapshots hold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from pydantic import Field

from infrastructor.command import Command
from infrastructor.domains.zfs.commands import ExamineZfs
from infrastructor.domains.zfs.dataset_commands import ListDatasets, ListSnapshots
from infrastructor.domains.zfs.datasets import SnapshotRow
from infrastructor.domains.zfs.models import PART, DatasetName
from infrastructor.domains.zfs.pools import number
from infrastructor.domains.zfs.printed import moment
from infrastructor.domains.zfs.reach import asked
from infrastructor.domains.zfs.usage import by_maker, gaps, runs, usual_distance
from infrastructor.domains.zfs.usage_models import Gap, Kept, MakerUsage, RangeUsage, SnapshotUsage
from infrastructor.errors import NotFound, ParseError, ValidationFailed
from infrastructor.operation import PLAIN, Cache, CachedParams, Context, operation
from infrastructor.paging import fitting
from infrastructor.ports.callers import Effect
from infrastructor.ports.ssh import CommandOutput, Lane
from infrastructor.sanitize import clean

_AGES_DAYS = (365, 180, 90, 30, 7)
_MOST_SPANS = 150  # of one command line
_SHOWN = 10
_KEPT_BUDGET = 6_000


@dataclass(frozen=True)
class DryRun:
    """What `zfs destroy -n -v -p` says would go, and what that would free; None where it could not go."""

    snapshots: tuple[str, ...]
    reclaim_bytes: int | None


@dataclass(frozen=True)
class ReckonReclaim(Command[DryRun]):
    """What destroying snapshots of one dataset would free. With -n nothing is destroyed."""

    template = "zfs destroy -n -v -p -- {spans}"
    needs = "zfs"
    lane = Lane.SLOW
    timeout = timedelta(seconds=60)
    max_output = 16 << 20
    ok_statuses = frozenset({0, 1})
    may_sudo = True
    spans: str

    def parse(self, output: CommandOutput) -> DryRun:
        names: list[str] = []
        reclaim: int | None = None
        for line in output.text.splitlines():
            word, _, rest = line.partition("\t")
            if word == "destroy":
                names.append(rest)
            elif word == "reclaim":
                reclaim = number(rest)
            elif line:
                raise ParseError(f"zfs destroy -n printed: {clean(line, 200)!r}")
        return DryRun(tuple(names), reclaim if output.exit_status == 0 else None)


class SnapshotUsageParams(CachedParams):
    """Input of zfs_snapshot_usage."""

    dataset: DatasetName
    first: str | None = Field(
        default=None, pattern=rf"^{PART}$", max_length=255, description="Reckon from here …", json_schema_extra=PLAIN
    )
    last: str | None = Field(
        default=None, pattern=rf"^{PART}$", max_length=255, description="… to here: names after the @.",
        json_schema_extra=PLAIN,
    )  # fmt: skip


@operation(
    name="zfs_snapshot_usage",
    effect=Effect.READ,
    route="GET /api/zfs/{device}/snapshot-usage",
    cache=Cache("zfs_snapshot_usage", timedelta(seconds=300)),
    commands=(ListDatasets, ListSnapshots, ReckonReclaim, ExamineZfs),
)
async def zfs_snapshot_usage(ctx: Context, params: SnapshotUsageParams) -> SnapshotUsage:
    """Explain what a dataset's snapshots hold: alone, shared, by age, by maker; gaps. Use it before deleting any."""
    name = params.dataset
    rows = sorted(await asked(ctx, ListSnapshots(name, alone=True), name), key=lambda row: (row.created, row.name))
    dataset = next((one for one in await asked(ctx, ListDatasets(name), name) if one.name == name), None)
    if dataset is None:
        raise NotFound(f"{ctx.device.hostname} told nothing of the dataset {name!r}.")
    total = dataset.used_by_snapshots_bytes or 0
    unique = sum(max(row.used, 0) for row in rows)
    held = runs(rows)[1]
    usual = usual_distance(rows)
    return SnapshotUsage(
        device=ctx.device.hostname,
        dataset=name,
        snapshots=len(rows),
        used_by_snapshots_bytes=total,
        unique_bytes=unique,
        shared_bytes=max(total - unique, 0),
        oldest_at=moment(rows[0].created) if rows else None,
        newest_at=moment(rows[-1].created) if rows else None,
        usual_seconds=None if usual is None else round(usual),
        makers=_makers(rows),
        ranges=[await _reckoned(ctx, what, chosen) for what, chosen in _ranges(rows, params, ctx)],
        largest=[
            f"{clean(row.name)}: {row.used}" for row in sorted(rows, key=lambda row: -row.used)[:_SHOWN] if row.used > 0
        ],
        gaps=[_gap(*gap) for gap in gaps(rows)[:_SHOWN]],
        kept=fitting([_kept(row) for row in held], _KEPT_BUDGET),
        kept_total=len(held),
    )


def _ranges(
    rows: Sequence[SnapshotRow], params: SnapshotUsageParams, ctx: Context
) -> Iterator[tuple[str, Sequence[SnapshotRow]]]:
    """What to reckon: what was asked for, else all, and all of each age that not all have."""
    if params.first is not None or params.last is not None:
        chosen = _between(rows, params.first, params.last, params.dataset)
        yield f"from {chosen[0].label} to {chosen[-1].label}", chosen
        return
    if rows:
        yield "all", rows
    seen = {0, len(rows)}
    now = ctx.now.timestamp()
    for days in _AGES_DAYS:
        old = [row for row in rows if now - row.created > days * 86400]
        if len(old) not in seen:
            seen.add(len(old))
            yield f"older than {days} days", old


def _between(rows: Sequence[SnapshotRow], first: str | None, last: str | None, dataset: str) -> Sequence[SnapshotRow]:
    labels = [row.label for row in rows]
    for label in (first, last):
        if label is not None and label not in labels:
            raise NotFound(f"{dataset!r} has no snapshot {label!r}.", hint="zfs_snapshot_list names those it has.")
    start = 0 if first is None else labels.index(first)
    end = len(rows) if last is None else labels.index(last) + 1
    if start >= end:
        raise ValidationFailed(f"The snapshot {first!r} is not older than {last!r}.", hint="Swap first and last.")
    return rows[start:end]


async def _reckoned(ctx: Context, what: str, rows: Sequence[SnapshotRow]) -> RangeUsage:
    """One dry run. Snapshots share blocks only with neighbours, so those that stay do not make the sum wrong."""
    free, kept = runs(rows)
    spans = ",".join(run.span if place == 0 else run.span.partition("@")[2] for place, run in enumerate(free))
    reclaim: int | None = 0
    if len(free) > _MOST_SPANS:
        reclaim = None
    elif free:
        reclaim = (await asked(ctx, ReckonReclaim(spans), free[0].first.name)).reclaim_bytes
    return RangeUsage(
        what=what,
        snapshots=sum(run.count for run in free),
        first=clean(rows[0].name),
        last=clean(rows[-1].name),
        reclaim_bytes=reclaim,
        kept=len(kept),
        spans=clean(spans, 1000),
    )


def _makers(rows: Sequence[SnapshotRow]) -> list[MakerUsage]:
    found = [
        MakerUsage(
            maker=maker,
            snapshots=len(made),
            unique_bytes=sum(max(row.used, 0) for row in made),
            oldest_at=moment(made[0].created),
            newest_at=moment(made[-1].created),
        )
        for maker, made in by_maker(rows).items()
    ]
    return sorted(found, key=lambda one: (-one.snapshots, one.maker))


def _gap(after: SnapshotRow, before: SnapshotRow, seconds: int) -> Gap:
    return Gap(after=clean(after.name), before=clean(before.name), seconds=seconds)


def _kept(row: SnapshotRow) -> Kept:
    shown = row.shown()
    return Kept(snapshot=shown.name, holds=shown.holds, clones=shown.clones)
