"""In-memory twins of every port. The real ones pass the same contract tests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from infrastructor.errors import AuditUnavailable, Conflict, DeviceNotFound, EngineUnavailable, InfrastructorError
from infrastructor.ids import uuid7
from infrastructor.ports import (
    ApiToken,
    AuditRecord,
    CacheEntry,
    CacheKey,
    CacheState,
    Capabilities,
    CommandLine,
    CommandOutput,
    Device,
    DriveSample,
    EngineCall,
    EngineReply,
    HostKey,
    LinkState,
    LinkStatus,
    MetricSample,
    Role,
    StoredPlan,
    Via,
)


def device(hostname: str, **fields: Any) -> Device:
    now = datetime.now(UTC)
    return Device(id=uuid7(), hostname=hostname, created_at=now, updated_at=now, **fields)


class FakeDevices:
    """DeviceRegistry over a dict."""

    def __init__(self, *devices: Device) -> None:
        self.rows = {device.hostname: device for device in devices}

    async def find(self, hostname: str) -> Device | None:
        return self.rows.get(hostname)

    async def all(self) -> Sequence[Device]:
        return sorted(self.rows.values(), key=lambda device: device.hostname)

    async def add(self, device: Device) -> None:
        if device.hostname in self.rows:
            raise Conflict(f"{device.hostname} is registered already.")
        self.rows[device.hostname] = device

    async def update(self, device: Device) -> None:
        old = next((row for row in self.rows.values() if row.id == device.id), None)
        if old is None:
            raise DeviceNotFound(f"No device has the id {device.id}.")
        del self.rows[old.hostname]
        await self.add(device)

    async def remove(self, device_id: UUID) -> bool:
        found = [row.hostname for row in self.rows.values() if row.id == device_id]
        for hostname in found:
            del self.rows[hostname]
        return bool(found)


@dataclass
class FakeSSH:
    """SSHClient that answers from `outputs`, by the first word of the line; `sent` is what reached it.

    Its engine answers from `replies`, by the path asked; a body is sent with status 200. Without any it has no engine.
    """

    outputs: dict[str, CommandOutput | InfrastructorError] = field(default_factory=dict)
    replies: dict[str, bytes | EngineReply | InfrastructorError] = field(default_factory=dict)
    sent: list[tuple[str, str]] = field(default_factory=list)
    lines: list[CommandLine] = field(default_factory=list)
    found: Capabilities = field(default_factory=Capabilities)
    keys: tuple[HostKey, ...] = ()

    async def execute_command(
        self, device: Device, line: CommandLine, *, operation_id: UUID | None = None
    ) -> CommandOutput:
        self.sent.append((device.hostname, line.text))
        self.lines.append(line)
        output = self.outputs.get(line.text.split(" ")[0], CommandOutput(exit_status=0, stdout=b""))
        if isinstance(output, InfrastructorError):
            raise output.again()
        return output

    async def ask_engine(self, device: Device, call: EngineCall) -> EngineReply:
        if not self.replies:
            raise EngineUnavailable(f"{device.hostname} has no container engine that this login can see.")
        self.sent.append((device.hostname, call.target))
        unknown = EngineReply(status=404, body=b'{"message": "No such container"}', via=Via.SOCKET)
        reply = self.replies.get(call.target.partition("?")[0], unknown)
        if isinstance(reply, InfrastructorError):
            raise reply.again()
        return EngineReply(status=200, body=reply, via=Via.SOCKET) if isinstance(reply, bytes) else reply

    @asynccontextmanager
    async def follow(self, device: Device, source: CommandLine | EngineCall) -> AsyncIterator[AsyncIterator[bytes]]:
        """The lines of what the same command or call would answer, and then the end."""
        if isinstance(source, CommandLine):
            body = (await self.execute_command(device, source)).stdout
        else:
            body = (await self.ask_engine(device, source)).body

        async def lines() -> AsyncIterator[bytes]:
            for line in body.splitlines():
                yield line

        yield lines()

    async def scan_host_keys(self, device: Device) -> tuple[HostKey, ...]:
        return self.keys

    async def capabilities(self, device: Device, *, refresh: bool = False) -> Capabilities:
        return self.found

    def status(self, device_id: UUID) -> LinkStatus:
        return LinkStatus(state=LinkState.IDLE)

    async def forget(self, device_id: UUID) -> None:
        return None

    def statistics(self) -> Mapping[str, Any]:
        return {"commands": len(self.sent)}

    async def close(self) -> None:
        return None


class FakeCache:
    """CacheManager that forgets nothing by itself."""

    def __init__(self) -> None:
        self.entries: dict[str, CacheEntry] = {}

    async def get(self, key: CacheKey) -> tuple[CacheState, CacheEntry | None]:
        entry = self.entries.get(str(key))
        return (CacheState.MISS if entry is None else CacheState.HIT), entry

    async def set(self, key: CacheKey, entry: CacheEntry, ttl: timedelta) -> None:
        self.entries[str(key)] = entry

    async def delete(self, key: CacheKey) -> None:
        self.entries.pop(str(key), None)

    async def invalidate(self, data_type: str, device_id: str) -> None:
        prefix = f"infra_cache:{data_type}:{device_id}:"
        self.entries = {key: entry for key, entry in self.entries.items() if not key.startswith(prefix)}

    def statistics(self) -> Mapping[str, Any]:
        return {"entries": len(self.entries)}


class FakeAudit:
    """AuditLog that keeps intents and finished records in order; `down` makes intent impossible."""

    def __init__(self) -> None:
        self.begun: list[AuditRecord] = []
        self.finished: list[AuditRecord] = []
        self.down = False
        self._more = asyncio.Event()

    async def seen(self, count: int) -> None:
        """Return once so many records are finished."""
        while len(self.finished) < count:
            self._more.clear()
            await self._more.wait()

    async def begin(self, record: AuditRecord) -> None:
        if self.down:
            raise AuditUnavailable("The audit store is down.")
        self.begun.append(replace(record))

    async def finish(self, record: AuditRecord) -> None:
        self.note(record)

    def note(self, record: AuditRecord) -> None:
        self.finished.append(record)
        self._more.set()

    async def find(self, operation_id: UUID) -> AuditRecord | None:
        known = [*self.begun, *self.finished]
        return next((record for record in reversed(known) if record.operation_id == operation_id), None)

    def statistics(self) -> Mapping[str, Any]:
        return {"records": len(self.finished)}


class FakePlans:
    """PlanStore with single-use tokens."""

    def __init__(self) -> None:
        self.rows: dict[str, StoredPlan] = {}

    async def save(self, plan: StoredPlan) -> None:
        self.rows[plan.token_hash] = plan

    async def take(self, token_hash: str) -> StoredPlan | None:
        plan = self.rows.get(token_hash)
        if plan is None or not _waits(plan) or (plan.needs_approval and plan.approved_by is None):
            return None
        self.rows[token_hash] = replace(plan, used_at=datetime.now(UTC))
        return self.rows[token_hash]

    async def find(self, token_hash: str) -> StoredPlan | None:
        return self.rows.get(token_hash)

    async def waiting(self) -> Sequence[StoredPlan]:
        return [plan for plan in self.rows.values() if _waits(plan)]

    async def approve(self, plan_id: UUID, by: str) -> bool:
        return self._amend(plan_id, lambda plan: plan.needs_approval and plan.approved_by is None, approved_by=by)

    async def withdraw(self, plan_id: UUID) -> bool:
        return self._amend(plan_id, lambda plan: True, used_at=datetime.now(UTC))

    def _amend(self, plan_id: UUID, condition: Callable[[StoredPlan], bool], **changes: Any) -> bool:
        found = [key for key, plan in self.rows.items() if plan.id == plan_id and _waits(plan) and condition(plan)]
        for key in found:
            self.rows[key] = replace(self.rows[key], **changes)
        return bool(found)


def _waits(plan: StoredPlan) -> bool:
    return plan.used_at is None and plan.expires_at > datetime.now(UTC)


class FakeCancels:
    """CancelRequests between services of one test: what was asked, and whom to tell."""

    def __init__(self) -> None:
        self.rows: dict[UUID, str] = {}
        self.followers: list[Callable[[], Awaitable[None]]] = []

    async def ask(self, operation_id: UUID, by: str) -> None:
        self.rows.setdefault(operation_id, by)
        for heed in self.followers:
            await heed()

    async def asked(self, operation_ids: Collection[UUID]) -> Mapping[UUID, str]:
        return {key: by for key, by in self.rows.items() if key in operation_ids}


class FakeTokens:
    """TokenStore over a dict of hashes."""

    def __init__(self) -> None:
        self.rows: dict[str, ApiToken] = {}

    async def create(self, name: str, role: Role, secret_hash: str, expires_at: datetime | None) -> ApiToken:
        if any(row.name == name and row.revoked_at is None for row in self.rows.values()):
            raise Conflict(f"A token named {name!r} exists.")
        token = ApiToken(id=uuid7(), name=name, role=role, created_at=datetime.now(UTC), expires_at=expires_at)
        self.rows[secret_hash] = token
        return token

    async def find(self, secret_hash: str) -> ApiToken | None:
        token = self.rows.get(secret_hash)
        if token is None or token.revoked_at is not None:
            return None
        return None if token.expires_at is not None and token.expires_at <= datetime.now(UTC) else token

    async def all(self) -> Sequence[ApiToken]:
        return list(self.rows.values())

    async def revoke(self, name: str) -> bool:
        found = [key for key, row in self.rows.items() if row.name == name and row.revoked_at is None]
        for key in found:
            self.rows[key] = replace(self.rows[key], revoked_at=datetime.now(UTC))
        return bool(found)


class FakeMetrics:
    """MetricStore over a list."""

    def __init__(self) -> None:
        self.samples: list[MetricSample] = []

    async def add(self, sample: MetricSample) -> None:
        self.samples.append(sample)

    async def history(self, device_id: UUID, since: datetime, limit: int = 1000) -> Sequence[MetricSample]:
        return [row for row in self.samples if row.device_id == device_id and row.timestamp >= since][:limit]


class FakeDrives:
    """DriveStore over a list."""

    def __init__(self) -> None:
        self.samples: list[DriveSample] = []

    async def add(self, samples: Sequence[DriveSample]) -> None:
        self.samples += samples

    async def history(self, device_id: UUID, since: datetime) -> Sequence[DriveSample]:
        mine = sorted((row for row in self.samples if row.device_id == device_id), key=lambda row: row.sampled_at)
        last_before = {row.drive: row for row in mine if row.sampled_at < since}
        return [*last_before.values(), *(row for row in mine if row.sampled_at >= since)]
