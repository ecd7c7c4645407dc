"""The operation on the events of ZFS: from the store; from the device where nothing is stored yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from infrastructor.command import Command
from infrastructor.domains.zfs.commands import ExamineZfs
from infrastructor.domains.zfs.digest import TOPIC, digested
from infrastructor.domains.zfs.events import ZfsEvent, events
from infrastructor.domains.zfs.models import PoolName, absent
from infrastructor.domains.zfs.reach import asked
from infrastructor.errors import DatabaseOperationError
from infrastructor.events import Event, EventFilter, Severity
from infrastructor.operation import PLAIN, Context, DeviceParams, Result, completes, operation
from infrastructor.paging import ROWS_BUDGET, Limit, fitting
from infrastructor.ports.callers import Effect
from infrastructor.ports.ssh import CommandOutput, Lane
from infrastructor.times import Until, When, moment

_RANK = list(Severity)
_Cursor = Annotated[
    str, StringConstraints(pattern=r"^[<@][0-9]{1,18}$"), Field(description="next_cursor.", json_schema_extra=PLAIN)
]


@dataclass(frozen=True)
class ReadEvents(Command[tuple[ZfsEvent, ...]]):
    """The events the kernel module still has, oldest first."""

    template = "zpool events -H -v"
    needs = "zpool"
    lane = Lane.SLOW
    max_output = 32 << 20
    may_sudo = True

    def parse(self, output: CommandOutput) -> tuple[ZfsEvent, ...]:
        return tuple(events(output.text.splitlines()))


class ZfsEventRow(Result):
    """Something ZFS told; what it does not have is left out."""

    at: datetime = Field(description="When, by the device's clock (UTC).")
    kind: str = Field(description="e.g. zfs.checksum, zfs.statechange, zfs.scrub_finish, zfs.history.")
    severity: Severity = Field(
        default=Severity.INFO, exclude_if=lambda value: value is Severity.INFO, description="Absent: info."
    )
    pool: str | None = Field(default=None, exclude_if=absent, description="Pool.")
    vdev: str | None = Field(default=None, exclude_if=absent, description="Disk, as its path.")
    data: dict[str, Any] = Field(
        default_factory=dict, exclude_if=lambda value: not value, description="What else was told, e.g. error counts."
    )

    @classmethod
    def of(cls, event: Event) -> "ZfsEventRow":
        data = {key: value for key, value in event.data.items() if key not in {"pool", "vdev", "eid"}}
        vdev = event.data.get("vdev")
        return cls(
            at=event.at,
            kind=event.kind,
            severity=event.severity,
            pool=event.subject,
            vdev=vdev if isinstance(vdev, str) else None,
            data=data,
        )


class ZfsEventList(Result):
    """Events of ZFS, newest first; many that say the same are told by the first and the last."""

    device: str = Field(description="Device name.")
    source: str = Field(description="store: as followed live; device: what its kernel module still has.")
    events: list[ZfsEventRow] = Field(description="The rows of this page.")
    next_cursor: str | None = Field(description="Pass as cursor for the rest.")


class EventListParams(DeviceParams):
    """Input of zfs_event_list."""

    pool: PoolName | None = Field(default=None, description="Only of this pool.", json_schema_extra=completes("pool"))
    kind: str | None = Field(
        default=None, max_length=60, pattern=r"^[a-z0-9_.]*$", description="e.g. checksum.", json_schema_extra=PLAIN
    )
    severity: Literal["warning", "error", "critical"] | None = Field(
        default=None, description="At least.", json_schema_extra=PLAIN
    )
    since: When | None = None
    until: Until | None = None
    limit: Limit = 50
    cursor: _Cursor | None = None


@operation(
    name="zfs_event_list",
    effect=Effect.READ,
    route="GET /api/zfs/{device}/events",
    commands=(ReadEvents, ExamineZfs),
)
async def zfs_event_list(ctx: Context, params: EventListParams) -> ZfsEventList:
    """List what ZFS told, newest first: checksum and I/O errors, disks lost, scrubs, changes. For what broke when."""
    wanted = EventFilter(
        topics=(TOPIC,),
        kinds=(f"zfs.{params.kind.removeprefix('zfs.')}",) if params.kind else (),
        device_id=ctx.device.id,
        subject=params.pool,
        severity=Severity(params.severity) if params.severity else None,
        since=moment(params.since, ctx.now) if params.since else None,
        until=moment(params.until, ctx.now, "until") if params.until else None,
    )
    if params.cursor is None or params.cursor.startswith("<"):
        position = int(params.cursor[1:]) if params.cursor else None
        stored = await _stored(ctx, wanted, params.limit + 1, position)
        if stored is not None:
            shown = fitting([ZfsEventRow.of(event) for event in stored[: params.limit]], ROWS_BUDGET, least=1)
            more = len(stored) > len(shown) > 0
            return _list(ctx, "store", shown, f"<{stored[len(shown) - 1].sequence}" if more else None)
    found = await asked(ctx, ReadEvents(), privileged=True)
    matching = [event for event in reversed(digested(ctx.device, found)) if _matches(event, wanted)]
    start = int(params.cursor[1:]) if params.cursor else 0
    rows = [ZfsEventRow.of(event) for event in matching[start : start + params.limit]]
    shown = fitting(rows, ROWS_BUDGET, least=1)
    end = start + len(shown)
    return _list(ctx, "device", shown, f"@{end}" if end < len(matching) else None)


def _list(ctx: Context, source: str, rows: list[ZfsEventRow], next_cursor: str | None) -> ZfsEventList:
    return ZfsEventList(device=ctx.device.hostname, source=source, events=rows, next_cursor=next_cursor)


async def _stored(ctx: Context, wanted: EventFilter, limit: int, before: int | None) -> Sequence[Event] | None:
    """Stored events; None where none was ever stored of this device, or the store is away."""
    try:
        found = await ctx.events.latest(wanted, limit, before)
        if found or before is not None:
            return found
        any_of_it = await ctx.events.latest(EventFilter(topics=(TOPIC,), device_id=ctx.device.id), 1)
    except DatabaseOperationError:
        return None
    return found if any_of_it else None


def _matches(event: Event, wanted: EventFilter) -> bool:
    return (
        (not wanted.kinds or event.kind in wanted.kinds)
        and wanted.subject in {None, event.subject}
        and (wanted.severity is None or _RANK.index(event.severity) >= _RANK.index(wanted.severity))
        and (wanted.since is None or event.at >= wanted.since)
        and (wanted.until is None or event.at < wanted.until)
    )
