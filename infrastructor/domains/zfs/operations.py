"""Operations on ZFS."""

from collections.abc import Iterable, Mapping
from typing import Any

from infrastructor.completion import Lookup, Source, listed
from infrastructor.domains.zfs.arc_operations import zfs_arc_stats
from infrastructor.domains.zfs.changes import CHANGES
from infrastructor.domains.zfs.dataset_operations import (
    zfs_dataset_get,
    zfs_dataset_list,
    zfs_snapshot_diff,
    zfs_snapshot_list,
)
from infrastructor.domains.zfs.event_operations import zfs_event_list
from infrastructor.domains.zfs.health_operations import zfs_health_check, zfs_recommendations
from infrastructor.domains.zfs.pool_operations import zfs_pool_list, zfs_pool_status
from infrastructor.domains.zfs.report import zfs_report
from infrastructor.domains.zfs.usage_operations import zfs_snapshot_usage
from infrastructor.operation import Operation

OPERATIONS: tuple[Operation[Any, Any], ...] = (
    zfs_pool_list,
    zfs_pool_status,
    zfs_dataset_list,
    zfs_dataset_get,
    zfs_snapshot_list,
    zfs_snapshot_diff,
    zfs_snapshot_usage,
    zfs_arc_stats,
    zfs_event_list,
    zfs_health_check,
    zfs_recommendations,
    zfs_report,
    *CHANGES,
)


async def _datasets(lookup: Lookup) -> Iterable[str]:
    """Datasets of the device; below the pool that was typed already, without its name, as a URI has them."""
    device, pool = lookup.arguments.get("device"), lookup.arguments.get("pool")
    if not device:
        return ()
    arguments = {"device": device, "limit": 500} | ({"dataset": pool} if pool else {})
    names = [one.name for one in (await lookup.ask(zfs_dataset_list, arguments)).datasets]
    return [name.removeprefix(f"{pool}/") for name in names if name != pool] if pool else names


COMPLETIONS: Mapping[str, Source] = {
    "pool": listed(zfs_pool_list, lambda result: [pool.name for pool in result.pools]),
    "dataset": _datasets,
    "zfs_snapshot": listed(zfs_snapshot_list, lambda result: [one.name for one in result.snapshots], limit=500),
}
