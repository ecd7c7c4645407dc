"""All that is known of the pools of a device at one time, for the rules. What could not be read is said."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from infrastructor.domains.drives.models import Drive
from infrastructor.domains.zfs.arc_models import ArcStats
from infrastructor.domains.zfs.commands import ListPools
from infrastructor.domains.zfs.dataset_commands import ListDatasets, ListSnapshots
from infrastructor.domains.zfs.dataset_models import Dataset
from infrastructor.domains.zfs.datasets import SnapshotRow
from infrastructor.domains.zfs.fact_commands import (
    DiskFacts,
    FindDisks,
    GetPoolProperties,
    GetSettings,
    IoCounters,
    ReadCounters,
    ReadWaits,
    Setting,
    Settings,
    Wait,
)
from infrastructor.domains.zfs.models import Pool, PoolState, Vdev
from infrastructor.domains.zfs.pool_operations import pool_states
from infrastructor.domains.zfs.reach import asked
from infrastructor.errors import CommandNotAvailable, InfrastructorError
from infrastructor.operation import Context

T = TypeVar("T")

_LEAVES = frozenset({"disk", "file", "distributed_spare"})
_MOST_PATHS = 500
UNKNOWN = Setting("", "none")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """None, or an empty collection beside a line in `missing`, is what could not be read."""

    now: datetime
    pools: Sequence[Pool]
    states: Mapping[str, PoolState]
    datasets: Sequence[Dataset] = ()
    snapshots: Sequence[SnapshotRow] | None = None
    settings: Settings = field(default_factory=dict)
    properties: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    disks: Mapping[str, DiskFacts] = field(default_factory=dict)
    waits: Mapping[str, Wait] = field(default_factory=dict)
    drives: Sequence[Drive] | None = None
    arc: ArcStats | None = None
    counters: IoCounters | None = None
    version: tuple[int, int] = (0, 0)
    missing: tuple[str, ...] = ()

    def setting(self, dataset: str, name: str) -> Setting:
        return self.settings.get(dataset, {}).get(name, UNKNOWN)

    def datasets_of(self, pool: str) -> list[Dataset]:
        return [one for one in self.datasets if one.name.partition("/")[0] == pool]

    def vdevs(self, pool: str) -> Sequence[Vdev]:
        state = self.states.get(pool)
        return state.vdevs if state else ()

    def leaves(self, pool: str) -> list[Vdev]:
        return [vdev for vdev in self.vdevs(pool) if vdev.kind in _LEAVES]

    def drive_of(self, vdev: Vdev) -> Drive | None:
        """What SMART says of the disk that a vdev is on."""
        disk = self.disks.get(vdev.name, DiskFacts()).disk
        return next((drive for drive in self.drives or () if disk and _kernel_name(drive.name) == disk), None)

    def rotational(self, pool: str) -> bool | None:
        """Whether all its data disks turn; None where the kernel does not say."""
        known = [
            self.disks.get(leaf.name, DiskFacts()).rotational for leaf in self.leaves(pool) if leaf.role == "normal"
        ]
        return all(known) if known and None not in known else None


def _kernel_name(path: str) -> str:
    """/dev/nvme0 is the controller of /dev/nvme0n1, which pools are on."""
    name = path.rsplit("/", 1)[-1]
    return f"{name}n1" if name.startswith("nvme") and "n" not in name[4:] else name


class Gathering:
    """Asks several things at once, and notes what cannot be had instead of failing."""

    def __init__(self) -> None:
        self.missing: list[str] = []

    async def perhaps(self, what: str, work: Awaitable[T]) -> T | None:
        try:
            return await work
        except InfrastructorError as error:
            hint = f" {error.hint}" if isinstance(error, CommandNotAvailable) and error.hint else ""
            self.missing.append(f"{what}: {error.message}{hint}")
            return None


async def gather(
    ctx: Context,
    *,
    drives: Callable[[Context], Awaitable[Sequence[Drive]]] | None,
    arc: Callable[[Context], Awaitable[ArcStats]],
    counters: bool,
) -> Facts:
    """Everything the rules look at. Raises what tells that ZFS cannot be asked at all."""
    known = Gathering()
    pools, states = await asyncio.gather(asked(ctx, ListPools()), pool_states(ctx))
    paths = tuple(
        dict.fromkeys(vdev.name for state in states for vdev in state.vdevs if vdev.name.startswith("/dev/"))
    )[:_MOST_PATHS]
    (datasets, snapshots, settings, properties), (disks, waits, smart, cache, io) = await asyncio.gather(
        asyncio.gather(
            known.perhaps("datasets", asked(ctx, ListDatasets())),
            known.perhaps("snapshots", asked(ctx, ListSnapshots())),
            known.perhaps("settings of datasets", asked(ctx, GetSettings())),
            known.perhaps("features of pools", asked(ctx, GetPoolProperties())),
        ),
        asyncio.gather(
            known.perhaps("disks behind vdevs", _disks(ctx, paths)),
            known.perhaps("times of disks", asked(ctx, ReadWaits())),
            known.perhaps("SMART", drives(ctx) if drives is not None else _nothing()),
            known.perhaps("ARC", arc(ctx)),
            known.perhaps("counters of I/O", ctx.run(ReadCounters()) if counters else _nothing()),
        ),
    )
    capabilities = await ctx.links.capabilities(ctx.device)
    return Facts(
        now=ctx.now,
        pools=pools,
        states={state.name: state for state in states},
        datasets=datasets or (),
        snapshots=snapshots,
        settings=settings or {},
        properties=properties or {},
        disks=disks or {},
        waits=waits or {},
        drives=smart,
        arc=cache,
        counters=io,
        version=_version(capabilities.zfs_version),
        missing=tuple(known.missing),
    )


async def _disks(ctx: Context, paths: tuple[str, ...]) -> Mapping[str, DiskFacts]:
    return await ctx.run(FindDisks(paths)) if paths else {}


async def _nothing() -> None:
    return None


def _version(text: str | None) -> tuple[int, int]:
    words = (text or "").split(".")
    numbers = [int(word) if word.isascii() and word.isdecimal() else 0 for word in (*words, "", "")[:2]]
    return numbers[0], numbers[1]
