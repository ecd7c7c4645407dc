"""What the core needs from the outside: protocols and the records that cross them.

The drivers (`ssh`, `cache`, `storage`) implement these; only `app.py` knows which.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class Effect(StrEnum):
    """What an operation does to the world; role, hints, HTTP verb and confirmation follow from it."""

    READ = "read"
    CHANGE = "change"
    DESTROY = "destroy"


class Role(StrEnum):
    """viewer may READ, operator may also CHANGE, admin may also DESTROY."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def allows(self, effect: Effect) -> bool:
        return _RANK[self] >= _NEEDED[effect]

    def includes(self, other: "Role") -> bool:
        """Whether this role may do all that the other may."""
        return _RANK[self] >= _RANK[other]


_RANK = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.ADMIN: 2}
_NEEDED = {Effect.READ: 0, Effect.CHANGE: 1, Effect.DESTROY: 2}


class Interface(StrEnum):
    """The door a caller came through."""

    MCP = "mcp"
    REST = "rest"
    CLI = "cli"
    SCHEDULER = "scheduler"
    WATCHER = "watcher"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, in which role, through which door. `client` is e.g. `claude-code/2.1`."""

    principal: str
    role: Role
    interface: Interface
    client: str | None = None


# --- devices -----------------------------------------------------------------------------------------


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


# --- the SSH engine ----------------------------------------------------------------------------------


class Lane(StrEnum):
    """Which channel of a device's connection a command takes."""

    FAST = "fast"  # resident shell: quick, catalogue-only READ commands
    SLOW = "slow"  # an exec channel of its own, under the remote watchdog
    CHANGE = "change"  # detached with a result folder on the device: at most once, outcome readable later


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """One rendered command: POSIX shell text in which every value is already one quoted word.

    timeout_s counts from the first byte written; max_output_bytes caps stdout and stderr each. Once `stop` is set,
    the processes of a CHANGE are ended on the device; it raises `Cancelled` when they had not ended by themselves.
    `step` tells the lines of one operation apart: a CHANGE sent again under the same operation id and step is the same
    change, and runs at most once.
    """

    text: str
    needs: str | None = None
    timeout_s: float = 30.0
    max_output_bytes: int = 1 << 20
    lane: Lane = Lane.FAST
    sudo: bool = False
    plain: bool = False  # one program with its arguments, no script: sudo can be asked for it alone
    stop: asyncio.Event | None = field(default=None, compare=False)
    step: int = field(default=0, compare=False)


@dataclass(slots=True, kw_only=True)  # not frozen: that costs a microsecond, on every command of every device
class CommandOutput:
    """What came back. `exit_status` is always known: a lost connection raises `OutcomeUnknown` instead."""

    exit_status: int
    stdout: bytes
    stderr: bytes = b""
    duration_s: float = 0.0
    truncated: bool = False

    @property
    def text(self) -> str:
        """stdout as text; bytes that are no UTF-8 become U+FFFD."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def error_text(self) -> str:
        return self.stderr.decode("utf-8", "replace").strip()


class Via(StrEnum):
    """The way to a device's container engine."""

    SOCKET = "socket"  # the engine's socket, through the SSH connection
    STDIO = "stdio"  # `docker system dial-stdio`: the same API through a program
    CLI = "cli"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCall:
    """One GET of the Docker Engine API; `target` is path and query, percent-encoded."""

    target: str
    timeout_s: float = 30.0
    max_output_bytes: int = 16 << 20


@dataclass(slots=True, kw_only=True)
class EngineReply:
    """The whole body, or its first max_output_bytes with `truncated` set."""

    status: int
    body: bytes
    via: Via
    truncated: bool = False


class Capabilities(BaseModel):
    """What one batch at first connect found out about a device. Unknown is None, never a guess."""

    model_config = ConfigDict(frozen=True)

    system: str | None = Field(default=None, description="uname -s, e.g. Linux.")
    kernel: str | None = Field(default=None, description="uname -r.")
    machine: str | None = Field(default=None, description="uname -m, e.g. x86_64.")
    os_id: str | None = Field(default=None, description="ID from os-release, e.g. debian.")
    os_version: str | None = Field(default=None, description="VERSION_ID from os-release.")
    os_name: str | None = Field(default=None, description="PRETTY_NAME from os-release.")
    user: str | None = Field(default=None, description="The login user.")
    is_root: bool = Field(default=False, description="Whether the login user is root.")
    sudo: str = Field(default="none", description="root, nopasswd, limited (single programs), password or none.")
    busybox: bool = Field(default=False, description="True when the common tools are BusyBox applets.")
    tools: frozenset[str] = Field(default=frozenset(), description="Programs found on the device's PATH.")
    docker_socket: str | None = Field(default=None, description="A Docker or Podman socket the user may use.")
    zfs_version: str | None = Field(default=None, description="Userland version of OpenZFS.")
    systemd: bool = Field(default=False, description="systemd runs as PID 1.")

    @property
    def has_engine(self) -> bool:
        """Whether there is a container engine, running or not."""
        return self.docker_socket is not None or not self.tools.isdisjoint({"docker", "podman"})


class LinkState(StrEnum):
    IDLE = "idle"
    CONNECTING = "connecting"
    READY = "ready"
    DRAINING = "draining"
    BACKOFF = "backoff"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStatus:
    """The state of one device's connection, as health and device_test show it."""

    state: LinkState
    reason: str | None = None  # error code of the last failure: why it is BACKOFF or BLOCKED
    message: str | None = None
    retry_in_s: float | None = None
    connected_since: datetime | None = None
    commands: int = 0
    failures: int = 0


class DeviceLinks(Protocol):
    """The parts of the SSH engine a handler may see: no way to run a command."""

    async def scan_host_keys(self, device: Device) -> tuple[HostKey, ...]:
        """Fetch the keys the device shows now, ed25519 first, without logging in or trusting anything."""
        ...

    async def capabilities(self, device: Device, *, refresh: bool = False) -> Capabilities: ...

    def status(self, device_id: UUID) -> LinkStatus: ...

    async def forget(self, device_id: UUID) -> None:
        """Close the connection and forget its state: its device changed or is gone."""
        ...


class Conversation(Protocol):
    """A command that runs on and listens."""

    @property
    def lines(self) -> AsyncIterator[bytes]:
        """The lines of its stdout, as `SSHClient.follow` gives them."""
        ...

    def send(self, data: bytes) -> None:
        """Write to its stdin; not before its first line has come. What is sent to a lost connection is lost."""
        ...


class SSHClient(DeviceLinks, Protocol):
    """One path to every device. Founding name: `execute_command`."""

    async def execute_command(
        self, device: Device, line: CommandLine, *, operation_id: UUID | None = None
    ) -> CommandOutput:
        """Run one line. Raises `SSHConnectionError` and `DataCollectionError` kinds; never a silent None.

        `operation_id` and the line's step name the result folder of a CHANGE, so the same ones run at most once.
        Cancelling the caller stops the remote process of a FAST or SLOW command.
        """
        ...

    async def ask_engine(self, device: Device, call: EngineCall) -> EngineReply:
        """Ask the container engine by its socket, else through dial-stdio.

        Raises `EngineUnavailable` when the login user may use neither; the command line tool may still answer.
        """
        ...

    def follow(
        self, device: Device, source: CommandLine | EngineCall
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Follow what does not end by itself: the lines of a command's stdout, or of an API stream's body.

        Entering raises what `execute_command` and `ask_engine` raise. The lines end when the source ends well;
        `CommandFailed` when it ends with another status, `OutcomeUnknown` when the connection is lost. Leaving
        the context ends the remote process. A slow reader slows the device down; nothing piles up here.
        """
        ...

    def converse(self, device: Device, line: CommandLine) -> AbstractAsyncContextManager[Conversation]:
        """Follow a command that also reads its stdin. It must print a line before it reads any."""
        ...

    def statistics(self) -> Mapping[str, Any]: ...

    async def close(self) -> None: ...


# --- cache -------------------------------------------------------------------------------------------


class CacheState(StrEnum):
    HIT = "hit"
    MISS = "miss"
    BYPASS = "bypass"  # not cacheable, not asked for, or the cache did not answer in time


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheKey:
    """`infra_cache:{data_type}:{device_id}:{additional_key}`."""

    data_type: str
    device_id: str
    additional_key: str = ""

    def __str__(self) -> str:
        return f"infra_cache:{self.data_type}:{self.device_id}:{self.additional_key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """`body` is the JSON of a result; `schema` fingerprints the model that wrote it."""

    schema: str
    collected_at: datetime
    body: bytes


class CacheManager(Protocol):
    """Makes things faster and nothing else: no method raises, every one answers within its deadline."""

    async def get(self, key: CacheKey) -> tuple[CacheState, CacheEntry | None]: ...

    async def set(self, key: CacheKey, entry: CacheEntry, ttl: timedelta) -> None: ...

    async def delete(self, key: CacheKey) -> None: ...

    async def invalidate(self, data_type: str, device_id: str) -> None: ...

    def statistics(self) -> Mapping[str, Any]:
        """hits, misses, bypasses, errors, hit_ratio, mean_ms, state."""
        ...


# --- audit -------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class AuditRecord:
    """One operation run: intent, then outcome. Mutable only while the run goes on.

    outcome: started, ok, refused, error, cancelled, unknown. `changes` are the places of those among `commands` that
    change something. Secrets among params and commands are masked where the record is kept.
    """

    operation_id: UUID
    operation: str
    effect: Effect
    caller: Caller
    started_at: datetime
    parent_id: UUID | None = None
    device_id: UUID | None = None
    device: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    changes: list[int] = field(default_factory=list)
    plan_id: UUID | None = None
    cache: CacheState = CacheState.BYPASS
    outcome: str = "started"
    error_code: str | None = None
    error_message: str | None = None
    retries: int = 0
    duration_ms: float | None = None
    details: Mapping[str, Any] | None = None


class AuditTrail(Protocol):
    """Looking back at what was asked of devices."""

    async def around(
        self, device_id: UUID, since: datetime, until: datetime, *, limit: int = 200, reads: bool = False
    ) -> Sequence[AuditRecord]:
        """Runs on a device that began in that time, newest first; without `reads` only those that change something.

        Raises `DatabaseOperationError`.
        """
        ...


class AuditLog(AuditTrail, Protocol):
    """Durable record of every operation. All times are UTC."""

    async def begin(self, record: AuditRecord) -> None:
        """Return once the intent is durable. Raises `AuditUnavailable` when it cannot be (changes: PG only)."""
        ...

    async def finish(self, record: AuditRecord) -> None:
        """Return once the outcome is durable; works for a record that never began (a refusal)."""
        ...

    def note(self, record: AuditRecord) -> None:
        """Write a finished record within a second; for answers that reached no device."""
        ...

    async def find(self, operation_id: UUID) -> AuditRecord | None:
        """The record as it stands in the store, None when it has none. Raises `DatabaseOperationError`."""
        ...

    def statistics(self) -> Mapping[str, Any]: ...


# --- operations under way ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """How far a run said it is. `total` None: nobody knows."""

    done: float
    total: float | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """A run: its record as it is now. `here` says whether this process runs it; elsewhere progress is unknown."""

    record: AuditRecord
    here: bool = False
    progress: RunProgress | None = None

    @property
    def running(self) -> bool:
        return self.record.outcome == "started"


class RunControl(Protocol):
    """Looking at runs and stopping them, wherever they run."""

    async def find(self, operation_id: UUID) -> RunState | None:
        """From memory when it runs or just ran here, else from the audit store; None when nobody knows it."""
        ...

    async def stop(self, operation_id: UUID, by: str) -> RunState | None:
        """Have it stopped, and wait a while for its true outcome."""
        ...


class CancelRequests(Protocol):
    """How a process asks the others to stop a run of theirs."""

    async def ask(self, operation_id: UUID, by: str) -> None: ...

    async def asked(self, operation_ids: Collection[UUID]) -> Mapping[UUID, str]:
        """Those of these runs that somebody wants stopped, and who."""
        ...


# --- plans, tokens, metrics --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPlan:
    """A plan as kept: bound to caller, device, params and state. Only the token's hash is stored.

    One that `needs_approval` cannot be taken before somebody else is in `approved_by`.
    """

    id: UUID
    token_hash: str
    operation: str
    principal: str
    device_id: UUID | None
    params_hash: str
    fingerprint: str
    body: Mapping[str, Any]
    expires_at: datetime
    needs_approval: bool = False
    approved_by: str | None = None
    used_at: datetime | None = None


class PlanStore(Protocol):
    async def save(self, plan: StoredPlan) -> None: ...

    async def take(self, token_hash: str) -> StoredPlan | None:
        """Mark the plan used and return it; None when unknown, used, expired or unapproved. Atomic over processes."""
        ...

    async def find(self, token_hash: str) -> StoredPlan | None:
        """The plan as it stands, used or not; for telling why it could not be taken."""
        ...

    async def waiting(self) -> Sequence[StoredPlan]:
        """Plans that can still be carried out, oldest first."""
        ...

    async def approve(self, plan_id: UUID, by: str) -> bool:
        """Let it be taken. False when there is no such plan waiting, or it was approved already."""
        ...

    async def withdraw(self, plan_id: UUID) -> bool:
        """Use it up without carrying it out. False when there is no such plan waiting."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """A named token as stored: its secret exists only in the caller's hands."""

    id: UUID
    name: str
    role: Role
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


class TokenStore(Protocol):
    async def create(self, name: str, role: Role, secret_hash: str, expires_at: datetime | None) -> ApiToken:
        """Raises `Conflict` when an unrevoked token has this name."""
        ...

    async def find(self, secret_hash: str) -> ApiToken | None:
        """The valid token with this hash; None when unknown, expired or revoked."""
        ...

    async def all(self) -> Sequence[ApiToken]: ...

    async def revoke(self, name: str) -> bool: ...

    async def valid(self, token_id: UUID) -> ApiToken | None:
        """The token with this id; None when it has expired, or was revoked."""
        ...

    async def add_ticket(self, token_id: UUID, ticket_hash: str, expires_at: datetime) -> None:
        """Keep something that stands for the token once, until then."""
        ...

    async def take_ticket(self, ticket_hash: str) -> ApiToken | None:
        """The valid token a ticket stands for, which is used up by this; None when there is none (any more)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSample:
    """One row of `system_metrics`; percent 0–100, None is unknown."""

    device_id: UUID
    timestamp: datetime
    cpu_usage_percent: float | None
    memory_usage_percent: float | None
    disk_usage_percent: float | None
    load_average_1m: float | None
    uptime_seconds: int | None
    metadata: Mapping[str, Any] = field(default_factory=dict)


class MetricStore(Protocol):
    async def add(self, sample: MetricSample) -> None:
        """Queue a sample; written in bulk within a few seconds, dropped oldest-first when PG stays away."""
        ...

    async def history(self, device_id: UUID, since: datetime, limit: int = 1000) -> Sequence[MetricSample]:
        """Samples since then, oldest first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveSample:
    """Counters of one drive at the time they took these values. `drive` is its model and serial number."""

    device_id: UUID
    drive: str
    sampled_at: datetime
    counters: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveBaseline:
    """Counts of one drive that somebody looked at and accepted."""

    device_id: UUID
    drive: str
    counters: Mapping[str, int]
    accepted_at: datetime
    accepted_by: str


class DriveStore(Protocol):
    """What drives' counters were, a row for each change and none for a drive at rest; and which are accepted."""

    async def add(self, samples: Sequence[DriveSample]) -> None: ...

    async def history(self, device_id: UUID, since: datetime) -> Sequence[DriveSample]:
        """All samples of a device since then and, of each drive, the last one before; oldest first."""
        ...

    async def accept(self, baseline: DriveBaseline) -> None:
        """Keep the baseline in the place of the drive's last one."""
        ...

    async def baselines(self, device_id: UUID) -> Sequence[DriveBaseline]: ...
