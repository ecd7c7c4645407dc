"""The watchers of all devices: one each, started and stopped as devices come, change and go."""

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from infrastructor.errors import InfrastructorError
from infrastructor.ids import uuid7
from infrastructor.ports.audit import AuditLog, AuditRecord
from infrastructor.ports.callers import Caller, Effect, Interface, Role
from infrastructor.ports.devices import Device, DeviceRegistry

logger = logging.getLogger(__name__)

WATCHER = Caller(principal="watcher", role=Role.VIEWER, interface=Interface.WATCHER)
LOOK_S = 5.0
AT_ONCE = 32  # watchers that connect at the same time
SPREAD_S = 2.0


class WatcherState(Protocol):
    """How a watcher is."""

    @property
    def mode(self) -> str: ...

    @property
    def events(self) -> int: ...

    @property
    def connects(self) -> int: ...

    def facts(self) -> Mapping[str, Any]: ...


class Watcher(Protocol):
    """Whatever follows one device. `subjects` are what it does there, for the audit."""

    @property
    def device(self) -> Device: ...

    @property
    def state(self) -> WatcherState: ...

    @property
    def subjects(self) -> Sequence[str]: ...

    async def run(self) -> None: ...


@dataclass(slots=True)
class Watch:
    """A watcher that runs, and what it was made for: another subject takes another watcher."""

    watcher: Watcher
    task: "asyncio.Task[None]"
    subject: Hashable


async def every_device() -> None:
    """Subjects of watchers that follow the same on every device."""
    return


@dataclass(kw_only=True)
class Watchers:
    """`run` goes on until cancelled; only processes that collect call it.

    `watch` makes the watcher of a device and its subject. `subjects` gives the devices that have one; None: all.
    """

    operation: str
    devices: DeviceRegistry
    audit: AuditLog
    watch: Callable[[Device, Any, asyncio.Semaphore], Watcher]
    subjects: Callable[[], Awaitable[Mapping[UUID, Hashable] | None]] = every_device
    watches: dict[UUID, Watch] = field(default_factory=dict)

    async def run(self) -> None:
        connecting = asyncio.Semaphore(AT_ONCE)
        try:
            while True:
                with contextlib.suppress(InfrastructorError):  # the database is away: they go on as they are
                    await self._reconcile(connecting)
                await asyncio.sleep(LOOK_S)
        finally:
            await asyncio.gather(*(self._stop(device_id) for device_id in list(self.watches)))

    async def _reconcile(self, connecting: asyncio.Semaphore) -> None:
        subjects = await self.subjects()
        wanted = {
            device.id: device
            for device in await self.devices.all()
            if _watchable(device) and (subjects is None or device.id in subjects)
        }
        for device_id, watch in list(self.watches.items()):
            device = wanted.get(device_id)
            subject = None if subjects is None else subjects.get(device_id)
            same = device is not None and _way(device) == _way(watch.watcher.device) and subject == watch.subject
            if not same or watch.task.done():
                await self._stop(device_id)
        for device_id, device in wanted.items():
            if device_id not in self.watches:
                subject = None if subjects is None else subjects[device_id]
                watcher = self.watch(device, subject, connecting)
                task = asyncio.create_task(self._audited(watcher), name=f"{self.operation}-{device.hostname}")
                self.watches[device_id] = Watch(watcher, task, subject)

    async def _stop(self, device_id: UUID) -> None:
        """Wait until it has ended, also when cancelled meanwhile: it writes down until when it watched."""
        task = self.watches.pop(device_id).task
        task.cancel()
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as error:
                cancelled = error
        failure = None if task.cancelled() else task.exception()
        if failure is not None and not isinstance(failure, InfrastructorError):  # those end one that has no record
            logger.error("A watcher broke", exc_info=failure)
        if cancelled is not None:
            raise cancelled

    async def _audited(self, watcher: Watcher) -> None:
        """One record for the whole life of a watcher: its intent before the first byte, its outcome at the end."""
        await asyncio.sleep(random.uniform(0, SPREAD_S) if len(self.watches) > AT_ONCE else 0)  # noqa: S311
        record = AuditRecord(
            operation_id=uuid7(),
            operation=self.operation,
            effect=Effect.READ,
            caller=WATCHER,
            started_at=datetime.now(UTC),
            device_id=watcher.device.id,
            device=watcher.device.hostname,
            commands=list(watcher.subjects),
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
