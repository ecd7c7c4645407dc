"""Operations that look at datasets and snapshots."""

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from infrastructor.domains.zfs import diff
from infrastructor.domains.zfs.commands import ExamineZfs
from infrastructor.domains.zfs.dataset_commands import (
    DiffSnapshots,
    GetProperties,
    GetPropertiesJson,
    ListDatasets,
    ListSnapshots,
)
from infrastructor.domains.zfs.dataset_models import DatasetDetail, DatasetList, SnapshotDiff, SnapshotList
from infrastructor.domains.zfs.datasets import SnapshotRow
from infrastructor.domains.zfs.models import ONE_POOL, PART, DatasetName, PoolName, SnapshotName
from infrastructor.domains.zfs.printed import moment
from infrastructor.domains.zfs.reach import asked
from infrastructor.errors import ValidationFailed
from infrastructor.operation import PLAIN, Cache, CachedParams, Context, completes, operation
from infrastructor.paging import ROWS_BUDGET, Cursor, Limit, characters, fitting, page_within
from infrastructor.ports.callers import Effect

_TTL = timedelta(seconds=60)
_SET = frozenset({"local", "received"})
_DIRECTORIES = 40
_DIRECTORIES_BUDGET = 8_000

AnyName = Annotated[
    str,
    StringConstraints(pattern=rf"^[A-Za-z0-9_.:]({PART})?(/{PART})*(@{PART})?$", max_length=255),
    Field(description="e.g. tank/data, or a snapshot.", json_schema_extra=completes("dataset")),
]
_Part = Annotated[str | None, Field(max_length=255, description="Part of the name.", json_schema_extra=PLAIN)]


class DatasetListParams(CachedParams):
    """Input of zfs_dataset_list."""

    dataset: DatasetName | None = Field(
        default=None, description="Only it and what is below.", json_schema_extra=completes("dataset")
    )
    type: Literal["filesystem", "volume"] | None = Field(
        default=None, description="Only these.", json_schema_extra=PLAIN
    )
    name: _Part = None
    sort: Literal["name", "used", "snapshots"] = Field(default="name", description="Order.", json_schema_extra=PLAIN)
    limit: Limit = 100
    cursor: Cursor | None = None


@operation(
    name="zfs_dataset_list",
    effect=Effect.READ,
    route="GET /api/zfs/{device}/datasets",
    cache=Cache("zfs_datasets", _TTL),
    commands=(ListDatasets, ExamineZfs),
)
async def zfs_dataset_list(ctx: Context, params: DatasetListParams) -> DatasetList:
    """List ZFS file systems and volumes: space and who uses it, quota, mountpoint, encryption."""
    found = await asked(ctx, ListDatasets(params.dataset), params.dataset)
    rows = [
        row
        for row in found
        if (params.type is None or row.type == params.type) and (params.name is None or params.name in row.name)
    ]
    if params.sort == "used":
        rows.sort(key=lambda row: -(row.used_bytes or 0))
    elif params.sort == "snapshots":
        rows.sort(key=lambda row: -(row.used_by_snapshots_bytes or 0))
    shown, next_cursor = page_within(rows, params.limit, params.cursor)
    return DatasetList(device=ctx.device.hostname, datasets=shown, total=len(rows), next_cursor=next_cursor)


class DatasetGetParams(CachedParams):
    """Input of zfs_dataset_get."""

    dataset: AnyName
    pool: PoolName | None = Field(
        default=None, description="dataset is then the name below it.", json_schema_extra=completes("pool")
    )
    name: _Part = None
    local: bool = Field(default=False, description="Only what is set on it.", json_schema_extra=PLAIN)
    limit: Limit = 200
    cursor: Cursor | None = None


@operation(
    name="zfs_dataset_get",
    effect=Effect.READ,
    route="GET /api/zfs/{device}/datasets/{dataset:path}",
    resource_uri="zfs://{device}/{pool}/{dataset*}",
    changed_by=(ONE_POOL,),
    cache=Cache("zfs_dataset", _TTL),
    commands=(GetProperties, GetPropertiesJson, ExamineZfs),
)
async def zfs_dataset_get(ctx: Context, params: DatasetGetParams) -> DatasetDetail:
    """Show the properties of a dataset or snapshot: value, and whether local, inherited (from where) or received."""
    name = params.dataset if params.pool is None else f"{params.pool}/{params.dataset}"
    found = await asked(ctx, GetProperties(name), name)
    rows = [
        row
        for row in found
        if (params.name is None or params.name in row.name)
        and (not params.local or row.source in {"local", "received"})
    ]
    shown, next_cursor = page_within(rows, params.limit, params.cursor)
    return DatasetDetail(
        device=ctx.device.hostname,
        name=name,
        type=next((row.value for row in found if row.name == "type"), None),
        properties=shown,
        total=len(rows),
        next_cursor=next_cursor,
    )


class SnapshotListParams(CachedParams):
    """Input of zfs_snapshot_list."""

    pool: PoolName | None = Field(default=None, description="Only of this pool.", json_schema_extra=completes("pool"))
    dataset: DatasetName | None = Field(
        default=None, description="Only of it and what is below.", json_schema_extra=completes("dataset")
    )
    recursive: bool = Field(default=True, description="Also of the datasets below.", json_schema_extra=PLAIN)
    name: _Part = None
    sort: Literal["newest", "oldest", "used"] = Field(default="newest", description="Order.", json_schema_extra=PLAIN)
    limit: Limit = 100
    cursor: Cursor | None = None


@operation(
    name="zfs_snapshot_list",
    effect=Effect.READ,
    route="GET /api/zfs/{device}/snapshots",
    resource_uri="zfs://{device}/{pool}/snapshots",
    changed_by=(ONE_POOL,),
    cache=Cache("zfs_snapshots", _TTL),
    commands=(ListSnapshots, ExamineZfs),
)
async def zfs_snapshot_list(ctx: Context, params: SnapshotListParams) -> SnapshotList:
    """List ZFS snapshots: creation, used, written, holds, clones, guid. What deleting frees: zfs_snapshot_usage."""
    root = params.dataset or params.pool
    if params.dataset and params.pool and params.dataset.partition("/")[0] != params.pool:
        raise ValidationFailed(f"The dataset {params.dataset!r} is not in the pool {params.pool!r}.")
    found = await asked(ctx, ListSnapshots(root, alone=bool(root) and not params.recursive), root)
    rows = [row for row in found if params.name is None or params.name in row.name] if params.name else list(found)
    rows.sort(key=_order(params.sort))
    start = int(params.cursor or 0)
    # Only the rows that can be on the page become results: there may be very many.
    shown = fitting([row.shown() for row in rows[start : start + params.limit]], ROWS_BUDGET, least=1)
    end = start + len(shown)
    times = [row.created for row in rows if row.created > 0]
    return SnapshotList(
        device=ctx.device.hostname,
        snapshots=shown,
        total=len(rows),
        datasets=len({row.dataset for row in rows}),
        oldest_at=moment(min(times, default=0)),
        newest_at=moment(max(times, default=0)),
        used_bytes=sum(row.used for row in rows if row.used > 0),
        next_cursor=str(end) if end < len(rows) else None,
    )


def _order(sort: str) -> Callable[[SnapshotRow], tuple[int, str]]:
    orders: dict[str, Callable[[SnapshotRow], tuple[int, str]]] = {
        "newest": lambda row: (-row.created, row.name),
        "oldest": lambda row: (row.created, row.name),
        "used": lambda row: (-row.used, row.name),
    }
    return orders[sort]


class SnapshotDiffParams(CachedParams):
    """Input of zfs_snapshot_diff."""

    snapshot: SnapshotName
    newer: str | None = Field(
        default=None,
        pattern=rf"^{PART}$",
        max_length=255,
        description="A later snapshot of the same dataset, without its name; default: the dataset now.",
    )
    path: _Part = None
    limit: Limit = 100
    cursor: Cursor | None = None


@operation(
    name="zfs_snapshot_diff",
    effect=Effect.READ,
    route="GET /api/zfs/{device}/diff",
    cache=Cache("zfs_diff", _TTL),
    commands=(DiffSnapshots, ExamineZfs),
    deadline=timedelta(seconds=300),
)
async def zfs_snapshot_diff(ctx: Context, params: SnapshotDiffParams) -> SnapshotDiff:
    """List files that changed between two ZFS snapshots, or since one: by directory, then one by one."""
    dataset = params.snapshot.partition("@")[0]
    newer = dataset if params.newer is None else f"{dataset}@{params.newer}"
    found = await asked(ctx, DiffSnapshots(params.snapshot, newer), params.snapshot, privileged=True)
    changes = found.changes
    if params.path is not None:
        changes = tuple(one for one in changes if params.path in diff.unescaped(one.path))
    directories = diff.directories(changes)
    top = fitting(directories[:_DIRECTORIES], _DIRECTORIES_BUDGET)
    start = int(params.cursor or 0)
    rows = [one.shown() for one in changes[start : start + params.limit]]
    shown = fitting(rows, ROWS_BUDGET - characters(top), least=1)
    end = start + len(shown)
    return SnapshotDiff(
        device=ctx.device.hostname,
        older=params.snapshot,
        newer=newer,
        counts=diff.counts(changes),
        directories=top,
        directories_total=len(directories),
        changes=shown,
        total=len(changes),
        complete=found.complete,
        next_cursor=str(end) if end < len(changes) else None,
    )
