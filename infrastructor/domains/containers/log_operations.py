"""container_logs: the newest matching lines, and older ones by cursor."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from infrastructor.domains.containers import log_lines
from infrastructor.domains.containers.commands import (
    InspectContainers,
    ListContainers,
    PodmanInspectContainers,
    PodmanListContainers,
    PodmanReadLogs,
    ReadLogs,
)
from infrastructor.domains.containers.log_lines import Batch, Line, Place
from infrastructor.domains.containers.models import ContainerLogs, ContainerRef, LogLine
from infrastructor.domains.containers.queries import QueryContainer, QueryContainers, QueryLogs
from infrastructor.domains.containers.reach import ask, inspect
from infrastructor.engine import Reply
from infrastructor.operation import PLAIN, Context, DeviceParams, operation
from infrastructor.paging import ROWS_BUDGET
from infrastructor.ports.callers import Effect
from infrastructor.times import moment

_NS = 1_000_000_000
_FIRST_WINDOW = 2000  # lines looked through at first when there is something to look for
_WIDEST = 40_000  # behind those that were seen already

When = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z:.+-]{1,40}$")]
Older = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{1,20}-[0-9]{1,9}-[0-9]{1,9}$"),
    Field(description="next_cursor of the last answer."),
]


class LogsParams(DeviceParams):
    """Input of container_logs."""

    container: ContainerRef
    tail: int = Field(default=100, ge=1, le=2000, description="Lines at most.", json_schema_extra=PLAIN)
    since: When | None = Field(default=None, description="15m, 2h, 1d, or ISO.")
    until: When | None = Field(default=None, description="The same.", json_schema_extra=PLAIN)
    grep: str | None = Field(default=None, min_length=1, max_length=200, description="Only lines with it.")
    regex: bool = Field(default=False, description="grep is an expression.", json_schema_extra=PLAIN)
    stream: Literal["both", "stdout", "stderr"] = Field(default="both", description="Which.", json_schema_extra=PLAIN)
    cursor: Older | None = None


@operation(
    name="container_logs",
    effect=Effect.READ,
    route="GET /api/containers/{device}/{container}/logs",
    resource_uri="docker://{device}/containers/{container}/logs",
    commands=(
        ListContainers, PodmanListContainers, InspectContainers, PodmanInspectContainers, ReadLogs, PodmanReadLogs,
    ),
    queries=(QueryContainers, QueryContainer, QueryLogs),
)  # fmt: skip
async def container_logs(ctx: Context, params: LogsParams) -> ContainerLogs:
    """Read a container's newest log lines, searched and bounded. Pass next_cursor for older ones."""
    matches = log_lines.matcher(params.grep, regex=params.regex)
    wanted = Wanted(
        since=_nanoseconds(params.since, ctx.now, "since"),
        until=_nanoseconds(params.until, ctx.now, "until"),
        place=Place.of(params.cursor) if params.cursor else None,
        stream=params.stream,
    )
    found = (await inspect(ctx, params.container)).value
    depth = wanted.place.depth if wanted.place else 0
    step = params.tail if params.grep is None else _FIRST_WINDOW
    while True:
        window = depth + step
        reply, asked = await _read(ctx, found.id, wanted, window)
        lines, complete = reply.value.lines, asked is None or reply.value.records < asked
        older = wanted.choose(lines)
        hits = [index for index, line in older if matches(line.text)]
        if len(hits) >= params.tail or complete or asked != window or step >= _WIDEST:
            break
        step = min(_WIDEST, step * 4)
    return _answer(
        ctx.device.hostname,
        found.name,
        reply,
        wanted,
        hits[-params.tail :],
        complete=complete,
        all_hits=hits,
        searched=len(older),
    )


def _nanoseconds(text: str | None, now: datetime, name: str) -> int | None:
    """Since 1970, to the microsecond."""
    return None if text is None else max(0, int(moment(text, now, name).timestamp() * 1e6)) * 1000


class Wanted:
    """Which lines of a log are asked for, grep aside."""

    def __init__(self, *, since: int | None, until: int | None, place: Place | None, stream: str) -> None:
        self.since = since
        self.until = until
        self.place = place
        self.stream = stream

    @property
    def whole(self) -> bool:
        """Both ends are given: the engine sends all between them. It counts `tail` before it looks at `until`."""
        return self.since is not None and self.until is not None

    def choose(self, lines: tuple[Line, ...]) -> list[tuple[int, Line]]:
        """Those in the span and older than the cursor, with their places among all."""
        kept = log_lines.before(lines, self.place)
        return [
            (index, line)
            for index, line in enumerate(kept)
            if (self.since is None or line.ns >= self.since)
            and (self.until is None or line.ns <= self.until)
            and self.stream in ("both", line.stream)
        ]


async def _read(ctx: Context, container: str, wanted: Wanted, window: int) -> tuple[Reply[Batch], int | None]:
    """The newest lines and how many were asked for, None for all.

    They are fewer than `window` where those would be too many bytes, since it is the newest that get cut off.
    """
    since = None if wanted.since is None else str(wanted.since // _NS)
    if wanted.whole:
        until = str((wanted.until or 0) // _NS + 1)
        return await ask(ctx, QueryLogs(container=container, tail="all", since=since, until=until)), None
    while True:
        reply = await ask(ctx, QueryLogs(container=container, tail=str(window), since=since))
        if not reply.value.truncated or window == 1:
            return reply, window
        window = max(1, min(window, len(reply.value.lines)) // 2)


def _answer(
    device: str,
    name: str,
    reply: Reply[Batch],
    wanted: Wanted,
    chosen: list[int],
    *,
    complete: bool,
    all_hits: list[int],
    searched: int,
) -> ContainerLogs:
    lines = reply.value.lines
    shown: list[LogLine] = []
    size = 0
    first = len(lines)
    for index in reversed(chosen):
        line = log_lines.shown(lines[index])
        size += len(line.model_dump_json()) + 1
        if size > ROWS_BUDGET and shown:
            break
        shown.append(line)
        first = index
    if len(shown) < len(all_hits):
        cursor = str(log_lines.place_of(lines, first))
    elif not complete and log_lines.before(lines, wanted.place):
        cursor = str(log_lines.place_of(lines, 0))  # all that was read was looked through
    else:
        cursor = None
    return ContainerLogs(
        device=device,
        name=name,
        via=reply.via,
        lines=shown[::-1],
        searched=searched,
        next_cursor=cursor,
        hint=_hint(reply.value, shown, len(chosen), cursor, wanted, complete=complete),
    )


def _hint(
    batch: Batch, shown: list[LogLine], chosen: int, cursor: str | None, wanted: Wanted, *, complete: bool
) -> str | None:
    if batch.truncated:
        return "There is more than fits; the newest lines of the span were not read. Bring since and until closer."
    if len(shown) < chosen:
        return f"{chosen - len(shown)} of the lines asked for did not fit; next_cursor gives them."
    if cursor is None and not complete:
        return f"What is older lies behind {len(batch.lines)} lines; ask for it with since and until."
    if not shown and not complete:
        text = f"Nothing in the newest {len(batch.lines)} lines; next_cursor looks further back."
        return f"{text} With since as well, that span is read at once." if wanted.until is not None else text
    return None
