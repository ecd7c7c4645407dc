"""In-memory twins of every port. The real ones pass the same contract tests."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from infrastructor.container_store import REMOVED, ContainerSample, ContainerState, SampleBucket, StateChange
from infrastructor.deployment_store import DeploymentRecord
from infrastructor.errors import (
    AuditUnavailable,
    Conflict,
    DeviceNotFound,
    EngineUnavailable,
    InfrastructorError,
    SubscriberTooSlow,
)
from infrastructor.events import Event, EventFilter, Severity
from infrastructor.ids import uuid7
from infrastructor.ports.audit import AuditRecord
from infrastructor.ports.cache import CacheEntry, CacheKey, CacheState
from infrastructor.ports.callers import Effect, Role
from infrastructor.ports.devices import Device, HostKey
from infrastructor.ports.plans import StoredPlan
from infrastructor.ports.series import DriveBaseline, DriveSample, MetricSample
from infrastructor.ports.ssh import (
    Capabilities,
    CommandLine,
    CommandOutput,
    EngineCall,
    EngineReply,
    Flow,
    LinkState,
    LinkStatus,
    Via,
)
from infrastructor.ports.tokens import ApiToken


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
    """SSHClient that answers from `outputs`, by the longest beginning of the line there is; `sent` is what reached it.

    A line that begins with a key of `after` changes the outputs to what they are from then on. Its engine answers from
    `replies`, by the path asked; a body is sent with status 200. Without any it has no engine.
    """

    outputs: dict[str, CommandOutput | InfrastructorError] = field(default_factory=dict)
    after: dict[str, Mapping[str, CommandOutput]] = field(default_factory=dict)
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
        known = [key for key in self.outputs if re.match(rf"{re.escape(key)}(\s|$)", line.text)]
        output = self.outputs[max(known, key=len)] if known else CommandOutput(exit_status=0, stdout=b"")
        for begins in [key for key in self.after if line.text.startswith(key)]:
            self.outputs.update(self.after[begins])
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

    async def pipe(self, source: Device, send: CommandLine, sink: Device, receive: CommandLine, flow: Flow) -> None:
        """Both commands run, and as many bytes pass as the first one's output has."""
        flow.moved += len((await self.execute_command(source, send)).stdout)
        await self.execute_command(sink, receive)

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

    async def around(
        self, device_id: UUID, since: datetime, until: datetime, *, limit: int = 200, reads: bool = False
    ) -> Sequence[AuditRecord]:
        latest = {record.operation_id: record for record in (*self.begun, *self.finished)}
        found = [
            record
            for record in latest.values()
            if record.device_id == device_id
            and since <= record.started_at < until
            and (reads or record.effect is not Effect.READ)
        ]
        return sorted(found, key=lambda record: record.started_at, reverse=True)[:limit]

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
        self.tickets: dict[str, tuple[UUID, datetime]] = {}

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

    async def valid(self, token_id: UUID) -> ApiToken | None:
        found = [key for key, row in self.rows.items() if row.id == token_id]
        return await self.find(found[0]) if found else None

    async def add_ticket(self, token_id: UUID, ticket_hash: str, expires_at: datetime) -> None:
        self.tickets[ticket_hash] = (token_id, expires_at)

    async def take_ticket(self, ticket_hash: str) -> ApiToken | None:
        token_id, expires_at = self.tickets.pop(ticket_hash, (None, None))
        if token_id is None or expires_at is None or expires_at <= datetime.now(UTC):
            return None
        return await self.valid(token_id)


class FakeMetrics:
    """MetricStore over a list."""

    def __init__(self) -> None:
        self.samples: list[MetricSample] = []

    async def add(self, sample: MetricSample) -> None:
        self.samples.append(sample)

    async def history(self, device_id: UUID, since: datetime, limit: int = 1000) -> Sequence[MetricSample]:
        return [row for row in self.samples if row.device_id == device_id and row.timestamp >= since][:limit]


class FakeEvents:
    """EventBus over a list."""

    def __init__(self, *, most_behind: int = 2000) -> None:
        self.rows: list[Event] = []
        self.forgotten = 0  # so many of the oldest are past their time
        self.most_behind = most_behind
        self._more = asyncio.Condition()
        self._readers = 0
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        async with self._more:
            self._more.notify_all()

    async def publish(self, events: Sequence[Event]) -> bool:
        for event in events:
            if all(row.id != event.id for row in self.rows):
                now = datetime.now(UTC)
                self.rows.append(replace(event, sequence=len(self.rows) + 1, recorded_at=now))
        async with self._more:
            self._more.notify_all()
        return True

    @asynccontextmanager
    async def subscribe(
        self, *topics: str, device_id: UUID | None = None, after: int | None = None
    ) -> AsyncIterator[AsyncIterator[Event]]:
        position = len(self.rows) if after is None else after
        wanted = EventFilter(topics=topics, device_id=device_id)
        lagging_from = max(position, len(self.rows))

        def more() -> bool:
            return len(self.rows) > position or self._closed

        async def events() -> AsyncIterator[Event]:
            nonlocal position
            live = False
            while True:
                async with self._more:
                    await self._more.wait_for(more)
                if len(self.rows) <= position:
                    return
                if live and len(self.rows) - max(position, lagging_from) > self.most_behind:
                    raise SubscriberTooSlow("A reader of events was too far behind.", after=position)
                event = self.rows[position]
                position += 1
                live = position >= lagging_from
                if _matches(event, wanted):
                    yield event

        self._readers += 1
        try:
            yield events()
        finally:
            self._readers -= 1

    async def since(self, sequence: int, wanted: EventFilter, limit: int = 500) -> Sequence[Event]:
        return [row for row in self.rows if row.sequence > sequence and _matches(row, wanted)][:limit]

    async def latest(self, wanted: EventFilter, limit: int = 500, before: int | None = None) -> Sequence[Event]:
        rows = [row for row in self.rows if (before is None or row.sequence < before) and _matches(row, wanted)]
        return rows[::-1][:limit]

    async def tally(self, wanted: EventFilter) -> Mapping[tuple[str, Severity], int]:
        return Counter((row.kind, row.severity) for row in self.rows if _matches(row, wanted))

    async def extent(self) -> tuple[int, int]:
        return self.forgotten + 1, len(self.rows)

    def statistics(self) -> Mapping[str, Any]:
        return {"published": len(self.rows), "waiting": 0, "dropped": 0, "subscribers": self._readers, "state": "ok"}


def _matches(event: Event, wanted: EventFilter) -> bool:
    ranks = list(Severity)
    return (
        (not wanted.topics or event.topic in wanted.topics)
        and (not wanted.kinds or event.kind in wanted.kinds)
        and wanted.device_id in {None, event.device_id}
        and wanted.subject in {None, event.subject}
        and (wanted.severity is None or ranks.index(event.severity) >= ranks.index(wanted.severity))
        and (wanted.since is None or event.at >= wanted.since)
        and (wanted.until is None or event.at < wanted.until)
    )


class FakeContainers:
    """ContainerStore over lists."""

    def __init__(self) -> None:
        self.kept: list[tuple[UUID, StateChange]] = []
        self.samples: list[tuple[UUID, datetime, ContainerSample]] = []

    async def add_states(self, device_id: UUID, at: datetime, states: Sequence[ContainerState]) -> Sequence[str]:
        known = {state.name: state for state in await self.states(device_id)}
        names = {state.name for state in states}
        changed = [state for state in states if known.get(state.name) != state]
        changed += [
            ContainerState(name=name, container_id=state.container_id, state=REMOVED, image=state.image)
            for name, state in known.items()
            if name not in names
        ]
        self.kept += [(device_id, StateChange(at=at, state=state)) for state in changed]
        return [state.name for state in changed]

    async def states(self, device_id: UUID) -> Sequence[ContainerState]:
        last = {change.state.name: change.state for owner, change in self.kept if owner == device_id}
        return [state for _, state in sorted(last.items()) if state.state != REMOVED]

    def add_samples(self, device_id: UUID, at: datetime, samples: Sequence[ContainerSample]) -> None:
        self.samples += [(device_id, at, sample) for sample in samples]

    async def flush(self) -> None:
        return None

    async def series(
        self, device_id: UUID, name: str, since: datetime, until: datetime, step: timedelta
    ) -> Sequence[SampleBucket]:
        found = [(at, row) for owner, at, row in self.samples if owner == device_id and row.name == name]
        buckets: dict[datetime, list[ContainerSample]] = {}
        gained: dict[datetime, dict[str, int]] = {}
        before: ContainerSample | None = None
        for at, row in sorted(found, key=lambda pair: pair[0]):
            start = since + (at - since) // step * step
            if since <= at < until:
                buckets.setdefault(start, []).append(row)
                for field_name in ("rx_bytes", "tx_bytes", "read_bytes", "written_bytes"):
                    now, then = getattr(row, field_name), getattr(before, field_name, None)
                    if before is not None and now is not None:
                        total = gained.setdefault(start, {})
                        plus = now - then if then is not None and now >= then else now
                        total[field_name] = total.get(field_name, 0) + plus
            before = row
        return [_bucket(start, rows, gained.get(start, {})) for start, rows in buckets.items()]

    async def changes(
        self, device_id: UUID, name: str, since: datetime, until: datetime, limit: int
    ) -> Sequence[StateChange]:
        own = [change for owner, change in self.kept if owner == device_id and change.state.name == name]
        inside = [change for change in own if since <= change.at < until][-limit:]
        before = [change for change in own if change.at < (inside[0].at if inside else since)][-1:]
        return [*before, *inside]

    def statistics(self) -> Mapping[str, Any]:
        return {"written": len(self.samples)}


def _bucket(start: datetime, rows: Sequence[ContainerSample], gained: Mapping[str, int]) -> SampleBucket:
    cpu = [row.cpu_percent for row in rows if row.cpu_percent is not None]
    memory = [row.memory_bytes for row in rows if row.memory_bytes is not None]
    return SampleBucket(
        start=start,
        samples=len(rows),
        cpu_percent_min=min(cpu, default=None),
        cpu_percent_avg=sum(cpu) / len(cpu) if cpu else None,
        cpu_percent_max=max(cpu, default=None),
        memory_bytes_min=min(memory, default=None),
        memory_bytes_avg=round(sum(memory) / len(memory)) if memory else None,
        memory_bytes_max=max(memory, default=None),
        rx_bytes=gained.get("rx_bytes"),
        tx_bytes=gained.get("tx_bytes"),
        read_bytes=gained.get("read_bytes"),
        written_bytes=gained.get("written_bytes"),
        pids_max=max((row.pids for row in rows if row.pids is not None), default=None),
    )


class FakeDeployments:
    """DeploymentStore over a dict."""

    def __init__(self) -> None:
        self.rows: dict[UUID, DeploymentRecord] = {}

    async def begin(self, record: DeploymentRecord) -> DeploymentRecord | None:
        for row in self.rows.values():
            if (row.device_id, row.stack, row.finished_at) == (record.device_id, record.stack, None):
                return row
        self.rows[record.operation_id] = record
        return None

    async def touch(self, operation_id: UUID, step: str) -> None:
        self._amend(operation_id, touched_at=datetime.now(UTC), step=step)

    async def finish(self, operation_id: UUID, outcome: str, message: str) -> None:
        self._amend(operation_id, finished_at=datetime.now(UTC), outcome=outcome, message=message)

    def _amend(self, operation_id: UUID, **changes: Any) -> None:
        row = self.rows.get(operation_id)
        if row is not None and row.finished_at is None:
            self.rows[operation_id] = replace(row, **changes)

    async def unfinished(self, device_id: UUID | None = None) -> Sequence[DeploymentRecord]:
        return [row for row in self.rows.values() if row.finished_at is None and device_id in {None, row.device_id}]

    async def last(self, device_id: UUID, stack: str) -> DeploymentRecord | None:
        mine = [row for row in self.rows.values() if (row.device_id, row.stack) == (device_id, stack)]
        return max(mine, key=lambda row: row.started_at, default=None)


class FakeDrives:
    """DriveStore over a list."""

    def __init__(self) -> None:
        self.samples: list[DriveSample] = []
        self.accepted: dict[tuple[UUID, str], DriveBaseline] = {}

    async def add(self, samples: Sequence[DriveSample]) -> None:
        self.samples += samples

    async def history(self, device_id: UUID, since: datetime) -> Sequence[DriveSample]:
        mine = sorted((row for row in self.samples if row.device_id == device_id), key=lambda row: row.sampled_at)
        last_before = {row.drive: row for row in mine if row.sampled_at < since}
        return [*last_before.values(), *(row for row in mine if row.sampled_at >= since)]

    async def accept(self, baseline: DriveBaseline) -> None:
        self.accepted[baseline.device_id, baseline.drive] = baseline

    async def baselines(self, device_id: UUID) -> Sequence[DriveBaseline]:
        return [row for row in self.accepted.values() if row.device_id == device_id]
