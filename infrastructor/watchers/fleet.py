"""The watchers of all devices: one each, started and stopped as devices come, change and go."""

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from infrastructor.errors import InfrastructorError
from infrastructor.ids import uuid7
from infrastructor.ports import AuditLog, AuditRecord, Caller, Device, DeviceRegistry, Effect, Interface, Role
from infrastructor.watchers.containers import ContainerWatcher

logger = logging.getLogger(__name__)

WATCHER = Caller(principal="watcher", role=Role.VIEWER, interface=Interface.WATCHER)
OPERATION = "container_watch"
LOOK_S = 5.0
AT_ONCE = 32  # watchers that connect at the same time
SPREAD_S = 2.0


@dataclass(slots=True)
class Watch:
    """A watcher that runs."""

    watcher: ContainerWatcher
    task: "asyncio.Task[None]"


@dataclass(kw_only=True)
class ContainerWatchers:
    """`run` goes on until cancelled; only processes that collect call it."""

    devices: DeviceRegistry
    audit: AuditLog
    watch: Callable[[Device, asyncio.Semaphore], ContainerWatcher]
    watches: dict[UUID, Watch] = field(default_factory=dict)

    async def run(self) -> None:
        connecting = asyncio.Semaphore(AT_ONCE)
        try:
            while True:
                await self._reconcile(connecting)
                await asyncio.sleep(LOOK_S)
        finally:
            await asyncio.gather(*(self._stop(device_id) for device_id in list(self.watches)))

    async def _reconcile(self, connecting: asyncio.Semaphore) -> None:
        wanted = {device.id: device for device in await self.devices.all() if _watchable(device)}
        for device_id, watch in list(self.watches.items()):
            device = wanted.get(device_id)
            if device is None or _way(device) != _way(watch.watcher.device) or watch.task.done():
                await self._stop(device_id)
        for device_id, device in wanted.items():
            if device_id not in self.watches:
                watcher = self.watch(device, connecting)
                task = asyncio.create_task(self._audited(watcher), name=f"watch-{device.hostname}")
                self.watches[device_id] = Watch(watcher, task)

    async def _stop(self, device_id: UUID) -> None:
        task = self.watches.pop(device_id).task
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({task})
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, InfrastructorError):  # those end one whose record has no place
            logger.error("A watcher broke", exc_info=error)

    async def _audited(self, watcher: ContainerWatcher) -> None:
        """One record for the whole life of a watcher: its intent before the first byte, its outcome at the end."""
        await asyncio.sleep(random.uniform(0, SPREAD_S) if len(self.watches) > AT_ONCE else 0)  # noqa: S311
        record = AuditRecord(
            operation_id=uuid7(),
            operation=OPERATION,
            effect=Effect.READ,
            caller=WATCHER,
            started_at=datetime.now(UTC),
            device_id=watcher.device.id,
            device=watcher.device.hostname,
            commands=["engine GET /events", "engine GET /containers/json"],
        )
        await self.audit.begin(record)
        try:
            await watcher.run()
        finally:
            record.outcome = "cancelled"
            record.duration_ms = (datetime.now(UTC) - record.started_at).total_seconds() * 1000
            record.details = {"events": watcher.state.events, "connects": watcher.state.connects}
            with contextlib.suppress(InfrastructorError):
                await asyncio.shield(self.audit.finish(record))

    def statistics(self) -> Mapping[str, Any]:
        """How many are in which mode, and each watcher's state by device."""
        states = {watch.watcher.device.hostname: watch.watcher.state for watch in self.watches.values()}
        return {
            "modes": dict(Counter(state.mode for state in states.values())),
            "devices": {name: state.facts() for name, state in sorted(states.items())},
        }


def _watchable(device: Device) -> bool:
    return device.monitoring_enabled and (device.transport == "local" or bool(device.host_keys))


def _way(device: Device) -> tuple[object, ...]:
    return (
        device.hostname,
        device.transport,
        device.address,
        device.ssh_port,
        device.ssh_username,
        device.ssh_private_key_path,
        device.jump,
        device.host_keys,
    )
