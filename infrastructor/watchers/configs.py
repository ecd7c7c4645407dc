"""The watchers of configuration files of all devices that have something to watch."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from uuid import UUID

from infrastructor.ports.audit import AuditLog
from infrastructor.ports.devices import Device, DeviceRegistry
from infrastructor.ports.ssh import SSHClient
from infrastructor.settings import Settings
from infrastructor.snapshot_store import REFUSED, ConfigWatch, SnapshotStore, WatchStore
from infrastructor.watchers.files import RemoteFileWatcher
from infrastructor.watchers.fleet import Watchers
from infrastructor.watchers.inotify import WatchOptions

OPERATION = "config_watch"


def watch_options(settings: Settings) -> WatchOptions:
    return WatchOptions(
        settle_s=settings.watch_settle_ms / 1000,
        per_s=settings.watch_versions_per_s,
        poll_s=settings.watch_poll_s,
        check_s=settings.watch_check_s,
        max_files=settings.watch_max_files,
        max_file_bytes=settings.watch_max_file_bytes,
        sudo=settings.watch_sudo,
    )


def config_watchers(
    settings: Settings,
    *,
    devices: DeviceRegistry,
    audit: AuditLog,
    ssh: SSHClient,
    snapshots: SnapshotStore,
    watches: WatchStore,
) -> Watchers:
    """One a device; its watcher is made anew when what is to be watched changes."""
    options = watch_options(settings)

    async def subjects() -> Mapping[UUID, tuple[ConfigWatch, ...]]:
        found: defaultdict[UUID, list[ConfigWatch]] = defaultdict(list)
        for watch in await watches.watches():
            if watch.source != REFUSED:
                found[watch.device_id].append(watch)
        return {
            device_id: tuple(sorted(mine, key=lambda watch: (watch.path, watch.source)))
            for device_id, mine in found.items()
        }

    def watch(device: Device, wanted: Sequence[ConfigWatch], connecting: asyncio.Semaphore) -> RemoteFileWatcher:
        return RemoteFileWatcher(
            device, ssh=ssh, store=snapshots, watches=wanted, options=options, connecting=connecting
        )

    return Watchers(operation=OPERATION, devices=devices, audit=audit, watch=watch, subjects=subjects)
