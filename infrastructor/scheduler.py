"""Periodic work: collecting metrics of the fleet, and keeping tables to their retention.

Each job runs by itself: one that fails is logged once, and once more when it works again.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic

from infrastructor.deployment_store import is_left_alone
from infrastructor.errors import InfrastructorError
from infrastructor.ports.callers import Caller, Interface, Role
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import LinkState
from infrastructor.service import UnifiedDataCollectionService

logger = logging.getLogger(__name__)

SCHEDULER = Caller(principal="scheduler", role=Role.VIEWER, interface=Interface.SCHEDULER)
RECOVERY = Caller(principal="collector", role=Role.OPERATOR, interface=Interface.SCHEDULER)
_JITTER = 0.1
_PATIENCE_S = 20.0


@dataclass(eq=False)
class Job:
    """Something to do every `interval_s` seconds; a run that takes longer delays the next, never overlaps it."""

    name: str
    interval_s: float
    work: Callable[[], Awaitable[None]]
    runs: int = 0
    last_error: str | None = None
    last_finished: datetime | None = None
    last_duration_s: float | None = None

    async def run_once(self) -> None:
        """Run it; failures are kept and logged when they begin and when they end."""
        started = monotonic()
        try:
            await self.work()
        except Exception as error:  # noqa: BLE001 - a job must never end the scheduler
            if self.last_error is None:
                logger.warning("Job fails", extra={"job": self.name, "error": repr(error)})
            self.last_error = repr(error)
        else:
            if self.last_error is not None:
                logger.info("Job works again", extra={"job": self.name})
            self.last_error = None
        self.runs += 1
        self.last_finished = datetime.now(UTC)
        self.last_duration_s = monotonic() - started


@dataclass
class Scheduler:
    """Runs jobs until cancelled."""

    jobs: list[Job] = field(default_factory=list)

    def every(self, interval_s: float, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Add a job; an interval of 0 leaves it out."""
        if interval_s > 0:
            self.jobs.append(Job(name, interval_s, work))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for job in self.jobs:
                group.create_task(self._repeat(job))

    async def _repeat(self, job: Job) -> None:
        while True:
            due = monotonic() + job.interval_s * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311
            await job.run_once()
            await asyncio.sleep(max(0.0, due - monotonic()))


async def collect_metrics(service: UnifiedDataCollectionService) -> None:
    """Refresh the metrics of every monitored device that may be asked, as one audited sweep."""
    await _sweep(service, "system_metrics")


async def collect_drives(service: UnifiedDataCollectionService) -> None:
    """Read the drives of every such device, so that their history grows."""
    await _sweep(service, "drive_health")


async def discover_configs(service: UnifiedDataCollectionService, devices: Sequence[Device]) -> dict[str, str]:
    """Find what is worth watching on some devices, as one audited sweep; the outcome by hostname."""
    return await service.sweep(service.operation("config_watch_discover"), devices, SCHEDULER)


async def _sweep(service: UnifiedDataCollectionService, operation: str) -> None:
    devices = [device for device in await service.devices.all() if _askable(device)]
    if devices:
        await service.sweep(service.operation(operation), devices, SCHEDULER)


async def collect_containers(service: UnifiedDataCollectionService) -> None:
    """Sample the containers of every monitored device that has an engine, as one audited sweep."""
    asked = [device for device in await service.devices.all() if _askable(device)]
    found = await asyncio.gather(*(_has_engine(service, device) for device in asked))
    devices = [device for device, has_engine in zip(asked, found, strict=True) if has_engine]
    if devices:
        await service.sweep(service.operation("container_stats"), devices, SCHEDULER)


async def recover_deployments(service: UnifiedDataCollectionService) -> None:
    """Finish or undo deployments whose server ended, on the devices that may be reached now."""
    if service.deployments is None:
        return
    waiting = {record.device_id for record in await service.deployments.unfinished() if is_left_alone(record)}
    for device in await service.devices.all() if waiting else ():
        if device.id in waiting and service.ssh.status(device.id).state not in {LinkState.BACKOFF, LinkState.BLOCKED}:
            with suppress(InfrastructorError):  # it is audited, and tried again
                await service.submit(service.operation("stack_recover"), {"device": device.hostname}, RECOVERY)


async def _has_engine(service: UnifiedDataCollectionService, device: Device) -> bool:
    """False too where it cannot be told now: the sweep of the metrics says which devices are away."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return (await service.ssh.capabilities(device)).has_engine
    except (InfrastructorError, TimeoutError):
        return False


def _askable(device: Device) -> bool:
    return device.monitoring_enabled and (device.transport == "local" or bool(device.host_keys))
