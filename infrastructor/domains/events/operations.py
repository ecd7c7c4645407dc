"""Looking at events. They are in the store: no device is asked."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from infrastructor.domains.events.models import EventList, EventRow
from infrastructor.errors import DeviceNotFound
from infrastructor.events import EventFilter, Severity
from infrastructor.operation import PLAIN, ChangedBy, Context, DeviceName, Operation, Params, operation
from infrastructor.paging import ROWS_BUDGET, Limit, fitting
from infrastructor.ports.callers import Effect
from infrastructor.times import Until, When, moment

# A sequence and the way it is read from there: newer rows come in while one pages, so an offset would not do.
_Cursor = Annotated[
    str, StringConstraints(pattern=r"^[<>][0-9]{1,18}$"), Field(description="next_cursor.", json_schema_extra=PLAIN)
]


_TEXT = r"^[^\x00]*$"  # PostgreSQL takes no NUL


def _plain(description: str, **limits: Any) -> Any:
    return Field(default=None, description=description, json_schema_extra=PLAIN, **limits)


class ListParams(Params):
    """Input of event_list."""

    device: DeviceName | None = None
    topic: str | None = _plain("containers, zfs, watchers or events.", max_length=40, pattern=_TEXT)
    kind: str | None = _plain("e.g. container.die.", max_length=60, pattern=_TEXT)
    subject: str | None = _plain("What it happened to, e.g. a container's name.", max_length=300, pattern=_TEXT)
    severity: Literal["warning", "error"] | None = _plain("At least.")
    since: When | None = None
    until: Until | None = None
    after: int | None = _plain("A sequence: what came after it, oldest first.", ge=0, lt=2**63)
    limit: Limit = 50
    cursor: _Cursor | None = None


@operation(
    name="event_list",
    effect=Effect.READ,
    route="GET /api/events",
    resource_uri="events://recent",
    changed_by=(ChangedBy(topic=None),),
)
async def event_list(ctx: Context, params: ListParams) -> EventList:
    """List what happened (containers, watchers), newest first. Use it to find what changed when."""
    device_id = None
    if params.device is not None:
        device = await ctx.devices.find(params.device)
        if device is None:
            raise DeviceNotFound(f"No device is named {params.device!r}.")
        device_id = device.id
    wanted = EventFilter(
        topics=(params.topic,) if params.topic else (),
        kinds=(params.kind,) if params.kind else (),
        device_id=device_id,
        subject=params.subject,
        severity=Severity(params.severity) if params.severity else None,
        since=moment(params.since, ctx.now) if params.since else None,
        until=moment(params.until, ctx.now, "until") if params.until else None,
    )
    start = f">{params.after}" if params.cursor is None and params.after is not None else params.cursor
    forward = start is not None and start.startswith(">")
    position = int(start[1:]) if start is not None else None
    if forward:
        found = await ctx.events.since(position or 0, wanted, params.limit + 1)
    else:
        found = await ctx.events.latest(wanted, params.limit + 1, position)
    rows = fitting([EventRow.of(event) for event in found[: params.limit]], ROWS_BUDGET, least=1)
    more = bool(rows) and len(found) > len(rows)
    return EventList(
        events=rows,
        newest=max((row.sequence for row in rows), default=params.after),
        next_cursor=f"{'>' if forward else '<'}{rows[-1].sequence}" if more else None,
    )


OPERATIONS: tuple[Operation[Any, Any], ...] = (event_list,)
