"""Operations on ZFS."""

from collections.abc import Mapping
from typing import Any

from infrastructor.completion import Source, listed
from infrastructor.domains.zfs.changes import CHANGES
from infrastructor.domains.zfs.dataset_operations import (
    zfs_dataset_get,
    zfs_dataset_list,
    zfs_snapshot_diff,
    zfs_snapshot_list,
)
from infrastructor.domains.zfs.pool_operations import zfs_pool_list, zfs_pool_status
from infrastructor.operation import Operation

OPERATIONS: tuple[Operation[Any, Any], ...] = (
    zfs_pool_list,
    zfs_pool_status,
    zfs_dataset_list,
    zfs_dataset_get,
    zfs_snapshot_list,
    zfs_snapshot_diff,
    *CHANGES,
)

COMPLETIONS: Mapping[str, Source] = {
    "pool": listed(zfs_pool_list, lambda result: [pool.name for pool in result.pools]),
}
