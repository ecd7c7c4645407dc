"""An operation: what a caller may ask, declared once.

    @operation(
        name="zfs_pool_list", effect=Effect.READ, route="GET /api/zfs/{device}/pools",
        cache=Cache("zfs_pools", ttl=timedelta(minutes=5)), commands=(ZpoolList,),
    )
    async def pool_list(ctx: Context, params: PoolListParams) -> PoolList:
        \"\"\"List the ZFS pools of a device. Start here for any storage question.\"\"\"
        return PoolList(pools=await ctx.run(ZpoolList(pool=params.pool)))

MCP tool, MCP resource, REST endpoint, CLI command, audit row and reference page all read this literal.
Nothing registers itself: each domain lists its operations in `OPERATIONS`, `catalog.py` lists the domains.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Annotated, Any, Generic, Literal, Protocol, TypeVar, get_type_hints
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from infrastructor.command import Command
from infrastructor.container_store import ContainerStore
from infrastructor.deployment_store import DeploymentStore
from infrastructor.engine import EngineQuery, Reply
from infrastructor.events import GAP, Event, EventBus
from infrastructor.formats.secrets import Masker
from infrastructor.ports.audit import AuditTrail
from infrastructor.ports.cache import CacheState
from infrastructor.ports.callers import Caller, Effect, Interface, Role
from infrastructor.ports.devices import Device, DeviceRegistry
from infrastructor.ports.plans import PlanStore
from infrastructor.ports.runs import RunControl
from infrastructor.ports.series import DriveStore, MetricStore
from infrastructor.ports.ssh import DeviceLinks, Flow
from infrastructor.snapshot_store import BaselineStore, SnapshotStore, WatchStore

T = TypeVar("T")

_LONGEST_ID = 128

PLAIN: dict[str, JsonValue] = {"x-plain": True}
"""For `json_schema_extra`: the field's name says it all, so a model is not made to pay for its description."""


def completes(source: str) -> dict[str, JsonValue]:
    """For `json_schema_extra`: which source of `catalog.COMPLETIONS` knows the values of this field."""
    return {"x-completes": source}


DeviceName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$"),
    Field(
        description="Registered name, e.g. nas; device_list tells them.", json_schema_extra=PLAIN | completes("device")
    ),
]


class Params(BaseModel):
    """Input of an operation."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DeviceParams(Params):
    """Input of an operation on one device."""

    device: DeviceName


class CachedParams(DeviceParams):
    """Input of a READ operation whose answer may come from the cache."""

    force_refresh: bool = Field(
        default=False, description="Ask the device now instead of the cache.", json_schema_extra=PLAIN
    )


class DestroyParams(DeviceParams):
    """Input of a DESTROY operation: without a token it plans, with one it acts."""

    plan_token: str | None = Field(
        default=None,
        max_length=200,
        description="From the plan; without it only plans.",
    )


class Result(BaseModel):
    """Output of an operation: always an object; units in the names; None is unknown, never zero."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class Plan(Result):
    """What a DESTROY operation would do."""

    summary: str = Field(description="What would happen, in one sentence.")
    effects: list[str] = Field(description="Everything that would be lost or changed.")
    commands: list[str] = Field(description="Exact command lines that would run on the device.")
    reversible: bool = Field(description="Whether it can be undone.")
    plan_id: UUID = Field(description="Names the plan; it is no secret.")
    needs_approval: bool = Field(default=False, description="True: an admin must approve it first, outside MCP.")
    plan_token: str = Field(description="Pass as plan_token to carry out exactly this plan. Single use.")
    expires_at: datetime = Field(description="When the token stops working (UTC).")


class DestroyResult(Result):
    """Output of a DESTROY operation. Subclasses give every field of their own a default."""

    status: Literal["planned", "done"] = Field(description="planned: nothing was changed yet; read the plan.")
    plan: Plan | None = Field(default=None, description="Present when status is planned.")


@dataclass(frozen=True, kw_only=True)
class PlanDraft:
    """What a plan function reports. `fingerprint` changes whenever the state it looked at changes.

    `found` is what it looked at: the handler takes it from `Context.planned` instead of looking a second time.
    """

    summary: str
    effects: tuple[str, ...]
    fingerprint: str
    reversible: bool = False
    commands: tuple[str, ...] = ()
    found: object = None


@dataclass(frozen=True)
class Cache:
    """Where answers are kept and how long. Parameters other than the device are part of the key."""

    data_type: str
    ttl: timedelta = timedelta(seconds=300)


@dataclass(frozen=True, kw_only=True)
class ChangedBy:
    """Events after which the operation's resource reads differently, so that whoever subscribed to it is told.

    They are of `topic` (None: of every topic), and of the device in the parameter `device`, where there is one.
    `subject` names the parameter that says what an event is about; without it, whatever it is about counts. What the
    event calls its subject must be the parameter's value, or one of its data `names`, or one of its data `ids`, of
    which the parameter may hold only the beginning.
    """

    topic: str | None
    subject: str | None = None
    names: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()

    def announces(self, event: Event) -> bool:
        return self.topic in {None, event.topic}

    def may_have_missed(self, event: Event) -> bool:
        """Whether the event says that for a while nobody knows what happened to all this on its device."""
        return event.kind == GAP and event.subject == self.topic and not event.data.get("complete")

    def called(self, event: Event) -> Iterator[str]:
        """Everything that a parameter may hold to mean what the event is about."""
        if event.subject is not None:
            yield event.subject
        for key in self.names:
            yield str(event.data.get(key, ""))
        for key in self.ids:
            whole = str(event.data.get(key, ""))[:_LONGEST_ID]
            yield from (whole[:length] for length in range(1, len(whole) + 1))


P = TypeVar("P", bound=Params)
R = TypeVar("R", bound=Result)
P2 = TypeVar("P2", bound=Params)
R2 = TypeVar("R2", bound=Result)


@dataclass(frozen=True, kw_only=True)
class Answer(Generic[R]):
    """A result and where it came from. `collected_at` is when the device said it.

    `body` is the result as JSON, ready for a door; `result` is read from it when somebody asks.
    """

    body: bytes
    model: type[R]
    operation_id: UUID
    cache: CacheState
    collected_at: datetime
    duration_ms: float

    @cached_property
    def result(self) -> R:
        return self.model.model_validate_json(self.body)


class Context(Protocol):
    """All that a handler may touch."""

    @property
    def device(self) -> Device:
        """The device of this call, resolved. Raises when the operation has none."""
        ...

    @property
    def caller(self) -> Caller: ...

    @property
    def now(self) -> datetime: ...

    @property
    def devices(self) -> DeviceRegistry: ...

    @property
    def links(self) -> DeviceLinks: ...

    @property
    def metrics(self) -> MetricStore: ...

    @property
    def events(self) -> EventBus: ...

    @property
    def containers(self) -> ContainerStore: ...

    @property
    def drives(self) -> DriveStore | None:
        """The history of drives, where one is kept."""
        ...

    @property
    def snapshots(self) -> SnapshotStore: ...

    @property
    def watches(self) -> WatchStore: ...

    @property
    def baselines(self) -> BaselineStore: ...

    @property
    def masker(self) -> Masker: ...

    @property
    def trail(self) -> AuditTrail: ...

    @property
    def operation_id(self) -> UUID:
        """The id of this run, under which it is audited."""
        ...

    @property
    def deployments(self) -> DeploymentStore:
        """The journal of deployments. Raises `DatabaseOperationError` where none is kept."""
        ...

    @property
    def runs(self) -> RunControl: ...

    @property
    def plans(self) -> PlanStore: ...

    def recall(self) -> Any:
        """What the previous run of this operation on this device left with `remember`, or None."""
        ...

    def remember(self, value: Any) -> None:
        """Keep something for the next run, in this process's memory only."""
        ...

    def planned(self, kind: type[T]) -> T:
        """What the plan function found when the plan was redeemed, just now: act on this and on nothing else.

        A second look by name could meet another thing of that name, which nobody has agreed to lose.
        """
        ...

    async def run(self, command: Command[T]) -> T:
        """Run a declared command on the device and parse its output."""
        ...

    async def follow(self, command: Command[Any], line: Callable[[bytes], None]) -> None:
        """Run a declared command that takes its time, and hand on each line of its stdout as it comes.

        It runs only as long as somebody listens: it ends on the device when this is cancelled or the connection lost.
        """
        ...

    async def pipe(self, send: Command[Any], sink: Device, receive: Command[Any], flow: Flow) -> None:
        """Stream what a declared command writes here into another declared command on `sink`.

        Raises as `SSHClient.pipe` does. Raises `ReadOnlyMode` where `receive` changes a device that is only read.
        """
        ...

    async def outdate(self, device: Device) -> None:
        """Say that this operation changes another device too, so that no answer from before is given of it."""
        ...

    async def ask(self, query: EngineQuery[T]) -> Reply[T]:
        """Put a declared query to the device's container engine; its command where the API is out of reach."""
        ...

    async def call(self, operation: "Operation[P2, R2]", params: P2) -> Answer[R2]:
        """Run another operation, declared in `uses`, as a child of this one."""
        ...

    def operation(self, name: str) -> "Operation[Any, Any]":
        """Look an operation up by name. Raises `OperationNotFound`."""
        ...

    async def submit(self, operation: "Operation[Any, Any]", arguments: Mapping[str, Any]) -> Answer[Any]:
        """Validate arguments and run the operation as a child. For operations declared with `fan_out`."""
        ...

    def on(self, device: Device) -> "Context":
        """The same context for another device."""
        ...

    async def progress(self, done: float, total: float | None, message: str) -> None: ...


Handler = Callable[[Context, P], Awaitable[R]]
Planner = Callable[[Context, P], Awaitable[PlanDraft]]


@dataclass(frozen=True)
class Route:
    """`GET /api/zfs/{device}/pools`."""

    method: str
    path: str

    @classmethod
    def of(cls, text: str) -> "Route":
        method, path = text.split(" ", 1)
        return cls(method, path)


@dataclass(frozen=True, kw_only=True)
class Operation(Generic[P, R]):
    """The declaration. Data only; `service.py` runs it and the doors show it."""

    name: str
    effect: Effect
    params: type[P]
    result: type[R]
    handler: Handler[P, R]
    route: Route
    summary: str
    description: str
    resource_uri: str | None = None
    changed_by: tuple[ChangedBy, ...] = ()
    cache: Cache | None = None
    invalidates: tuple[str, ...] = ()
    commands: tuple[type[Command[Any]], ...] = ()
    queries: tuple[type[EngineQuery[Any]], ...] = ()
    uses: "tuple[Operation[Any, Any], ...]" = ()
    fan_out: bool = False
    background: bool = False
    plan: Planner[P] | None = None
    deadline: timedelta = timedelta(seconds=120)
    opt_in: tuple[Interface, ...] = ()
    """Doors that neither show nor run it unless the operator's settings allow it there."""
    role: Role | None = None
    """The least role, where the effect alone would ask for less."""
    hidden_from: tuple[Interface, ...] = ()
    """Doors that do not show it and may not call it."""
    guarded: tuple[tuple[str, Role], ...] = ()
    """Parameters that need a role of their own when they are given and not false."""
    registration_only: bool = False
    """It changes what we know of its device and nothing on it, so a device marked read-only allows it."""

    def allows(self, role: Role) -> bool:
        """Whether this role may run it."""
        return role.allows(self.effect) and (self.role is None or role.includes(self.role))

    @property
    def domain(self) -> str:
        """The first word of the name: the CLI group and the MCP toolset."""
        return self.name.partition("_")[0]

    @property
    def title(self) -> str:
        """`Zfs: pool list`, for people."""
        domain, _, rest = self.name.partition("_")
        return f"{domain.capitalize()}: {rest.replace('_', ' ')}"

    @property
    def reaches_device(self) -> bool:
        """Whether its intent must be durable before it starts."""
        return bool(self.commands or self.queries or self.uses or self.fan_out) or self.effect is not Effect.READ

    @cached_property
    def schema_fingerprint(self) -> str:
        """Changes when the result model changes, so that old cache entries count as misses."""
        schema = json.dumps(self.result.model_json_schema(), sort_keys=True)
        return hashlib.sha256(schema.encode()).hexdigest()[:16]


def operation(
    *,
    name: str,
    effect: Effect,
    route: str,
    resource_uri: str | None = None,
    changed_by: tuple[ChangedBy, ...] = (),
    cache: Cache | None = None,
    invalidates: tuple[str, ...] = (),
    commands: tuple[type[Command[Any]], ...] = (),
    queries: tuple[type[EngineQuery[Any]], ...] = (),
    uses: tuple[Operation[Any, Any], ...] = (),
    fan_out: bool = False,
    background: bool = False,
    plan: Planner[Any] | None = None,  # with P, callers' types would be settled before the handler is seen
    deadline: timedelta = timedelta(seconds=120),
    opt_in: tuple[Interface, ...] = (),
    role: Role | None = None,
    hidden_from: tuple[Interface, ...] = (),
    guarded: Mapping[str, Role] | None = None,
    registration_only: bool = False,
) -> Callable[[Handler[P, R]], Operation[P, R]]:
    """Declare the decorated function as an operation; its docstring becomes summary and description.

    First paragraph of the docstring: sentence 1 says what it does, sentence 2 when to use it.
    """

    def declare(handler: Handler[P, R]) -> Operation[P, R]:
        hints = get_type_hints(handler)
        text = " ".join((handler.__doc__ or "").split())
        summary, _, _ = text.partition(". ")
        return Operation(
            name=name,
            effect=effect,
            params=hints["params"],
            result=hints["return"],
            handler=handler,
            route=Route.of(route),
            summary=summary.rstrip(".") + ".",
            description=text,
            resource_uri=resource_uri,
            changed_by=changed_by,
            cache=cache,
            invalidates=invalidates,
            commands=commands,
            queries=queries,
            uses=uses,
            fan_out=fan_out,
            background=background,
            plan=plan,
            deadline=deadline,
            opt_in=opt_in,
            role=role,
            hidden_from=hidden_from,
            guarded=tuple((guarded or {}).items()),
            registration_only=registration_only,
        )

    return declare
