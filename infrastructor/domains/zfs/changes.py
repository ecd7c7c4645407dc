"""The operations that change ZFS, and those that belong to them."""

from typing import Any

from infrastructor.domains.zfs.scrub_operations import zfs_scrub
from infrastructor.domains.zfs.snapshot_operations import (
    zfs_snapshot_clone,
    zfs_snapshot_create,
    zfs_snapshot_destroy,
    zfs_snapshot_rollback,
)
from infrastructor.domains.zfs.transfer_operations import (
    zfs_receive_abort,
    zfs_receive_force,
    zfs_receive_list,
    zfs_snapshot_receive,
    zfs_snapshot_send,
)
from infrastructor.operation import Operation

CHANGES: tuple[Operation[Any, Any], ...] = (
    zfs_snapshot_create,
    zfs_snapshot_clone,
    zfs_snapshot_send,
    zfs_snapshot_receive,
    zfs_snapshot_destroy,
    zfs_snapshot_rollback,
    zfs_receive_list,
    zfs_receive_abort,
    zfs_receive_force,
    zfs_scrub,
)
