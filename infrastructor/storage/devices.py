"""The registered devices, served from memory."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from infrastructor.errors import Conflict, DatabaseOperationError, DeviceNotFound, ValidationFailed
from infrastructor.ports.devices import Device
from infrastructor.storage import sql
from infrastructor.storage.listener import Listener
from infrastructor.storage.pool import Database, sqlstate_of

logger = logging.getLogger(__name__)

SQL = sql.load("devices")
CHANNEL = "infrastructor_devices"
UNIQUE_VIOLATION = "23505"
LOCK_TIMEOUT_S = 5.0
MISS_TIMEOUT_S = 0.5  # how long an unknown name may wait for PostgreSQL


class PostgresDeviceRegistry:
    """`DeviceRegistry` over the table `devices`.

    Loaded at `start()` and reloaded on every NOTIFY and reconnect, so reads cost a dict lookup, see changes of
    other processes within milliseconds, and go on when PostgreSQL is away. Changes need PostgreSQL.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._devices: dict[str, Device] = {}
        self._ordered: tuple[Device, ...] = ()
        self._lock = asyncio.Lock()  # a reload must not undo a change made while it was reading
        self._listener = Listener(database, CHANNEL, self.reload)

    async def start(self) -> None:
        """Load the devices and follow changes. Raises `DatabaseOperationError`."""
        await self.reload()
        await self._listener.start()

    async def close(self) -> None:
        await self._listener.close()

    async def reload(self) -> None:
        async with self._exclusive():
            rows = await self._database.fetch(SQL["all"])
            self._replace({row["hostname"]: _device(row) for row in rows})

    async def find(self, hostname: str) -> Device | None:
        device = self._devices.get(hostname)
        if device is not None or not self._listener.connected:
            return device
        try:
            row = await self._database.fetchrow(SQL["find"], hostname, timeout=MISS_TIMEOUT_S)
        except DatabaseOperationError:
            return None
        return None if row is None else _device(row)

    async def all(self) -> Sequence[Device]:
        return self._ordered

    async def add(self, device: Device) -> None:
        async with self._exclusive():
            values = _values(device)
            await self._change(device, SQL["add"], *values, device.created_at, device.updated_at)
            self._replace({**self._devices, device.hostname: device})

    async def update(self, device: Device) -> None:
        async with self._exclusive():
            status = await self._change(device, SQL["update"], *_values(device), device.updated_at)
            if status == "UPDATE 0":
                raise DeviceNotFound(f"No device has the id {device.id}.", device=device.hostname)
            others = {name: other for name, other in self._devices.items() if other.id != device.id}
            self._replace({**others, device.hostname: device})

    async def remove(self, device_id: UUID) -> bool:
        async with self._exclusive():
            status = await self._database.execute(SQL["remove"], device_id)
            self._replace({name: other for name, other in self._devices.items() if other.id != device_id})
            return status != "DELETE 0"

    @asynccontextmanager
    async def _exclusive(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(LOCK_TIMEOUT_S):
                await self._lock.acquire()
        except TimeoutError:
            raise DatabaseOperationError("PostgreSQL has not answered an earlier change of the devices yet.") from None
        try:
            yield
        finally:
            self._lock.release()

    async def _change(self, device: Device, statement: str, *values: Any) -> str:
        try:
            return await self._database.execute(statement, *values)
        except DatabaseOperationError as error:
            state = sqlstate_of(error) or ""
            if state == UNIQUE_VIOLATION:
                raise Conflict(
                    f"A device named {device.hostname} is registered already.",
                    hint="Choose another name, or device_update the registered one.",
                    device=device.hostname,
                ) from error
            if state.startswith("22") or error.details.get("error") == "DataError":
                raise ValidationFailed(f"A value of {device.hostname!r} cannot be stored: {error.message}") from error
            raise

    def _replace(self, devices: dict[str, Device]) -> None:
        self._devices = devices
        self._ordered = tuple(devices[name] for name in sorted(devices))


def _values(device: Device) -> tuple[Any, ...]:
    return (
        device.id,
        device.hostname,
        device.device_type,
        device.description,
        device.location,
        device.transport.value,
        device.address,
        device.ssh_port,
        device.ssh_username,
        device.ssh_private_key_path,
        device.jump,
        [key.model_dump() for key in device.host_keys],
        device.monitoring_enabled,
        device.tags,
    )


def _device(row: Any) -> Device:
    return Device.model_validate(dict(row))
