"""Finding new configuration soon after containers came, and now and then everywhere."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from infrastructor.errors import InfrastructorError
from infrastructor.ports.devices import Device, DeviceRegistry

logger = logging.getLogger(__name__)

SETTLE_S = 2.0  # a stack comes in several containers
LOOK_S = 2.0
EVERY_S = 3600.0
AGAIN_S = 300.0  # of a device that could not be asked

Discover = Callable[[Sequence[Device]], Awaitable[dict[str, str]]]
"""Asks devices; gives the outcome by hostname."""


class Discoverer:
    """`run` goes on until cancelled: new devices at once, devices with news soon, all of them every hour."""

    def __init__(self, devices: DeviceRegistry, discover: Discover) -> None:
        self._devices = devices
        self._discover = discover
        self._due: dict[UUID, float] = {}

    def touch(self, device: Device) -> None:
        """Something of its containers changed."""
        soon = asyncio.get_running_loop().time() + SETTLE_S
        self._due[device.id] = min(soon, self._due.get(device.id, soon))

    async def run(self) -> None:
        while True:
            try:
                await self._look()
            except InfrastructorError as error:
                logger.warning("Discovery fails", extra={"error": error.message})
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        wanted = {one.id: one for one in await self._devices.all() if one.monitoring_enabled and _reachable(one)}
        self._due = {key: due for key, due in self._due.items() if key in wanted}
        asked = [device for key, device in wanted.items() if self._due.get(key, 0.0) <= now]
        if not asked:
            return
        self._due |= dict.fromkeys((device.id for device in asked), now + EVERY_S)
        outcomes = await self._discover(asked)
        for device in asked:
            if outcomes.get(device.hostname) != "ok":
                self._due[device.id] = min(self._due[device.id], now + AGAIN_S)


def _reachable(device: Device) -> bool:
    return device.transport == "local" or bool(device.host_keys)
