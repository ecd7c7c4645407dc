"""Registered devices and the registry that knows them."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class Transport(StrEnum):
    SSH = "ssh"
    LOCAL = "local"


class HostKey(BaseModel):
    """A device's public host key as OpenSSH prints it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    algorithm: str = Field(description="Key algorithm, e.g. ssh-ed25519.")
    public_key: str = Field(description="Base64 of the public key, as in known_hosts.")
    fingerprint: str = Field(description="SHA256:… as ssh-keygen -lf prints it.")


class Device(BaseModel):
    """A registered host. `hostname` is the name callers use; `address` is where it is dialled."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    hostname: str
    device_type: str = "server"
    description: str | None = None
    location: str | None = None
    transport: Transport = Transport.SSH
    address: str | None = None
    ssh_port: int = 22
    ssh_username: str | None = None
    ssh_private_key_path: str | None = None
    jump: str | None = None
    host_keys: tuple[HostKey, ...] = ()
    monitoring_enabled: bool = True
    tags: dict[str, str] = Field(default_factory=dict)
    created_at: datetime
    updated_at: datetime


class DeviceRegistry(Protocol):
    """The registered devices. Reads are served from memory and stay right across processes."""

    async def find(self, hostname: str) -> Device | None: ...

    async def all(self) -> Sequence[Device]:
        """All devices ordered by hostname."""
        ...

    async def add(self, device: Device) -> None:
        """Raises `Conflict` when the hostname is taken."""
        ...

    async def update(self, device: Device) -> None:
        """Replace the row with this id. Raises `DeviceNotFound`, or `Conflict` on a taken hostname."""
        ...

    async def remove(self, device_id: UUID) -> bool:
        """Delete the row; its history rows keep their audit, not their device. False when it was gone."""
        ...
