"""Operations on logs."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, StringConstraints, WithJsonSchema

from infrastructor.domains.containers.log_lines import matcher
from infrastructor.domains.logs.commands import Excerpt, ReadContainerLog, ReadJournal, ReadLogFile
from infrastructor.domains.logs.merge import Part, merge
from infrastructor.domains.logs.models import (
    DeviceLine,
    DeviceProblem,
    LogLine,
    LogPage,
    LogSearch,
    Priority,
    SourceProblem,
)
from infrastructor.domains.logs.patterns import as_extended, as_literal
from infrastructor.domains.logs.times import EPOCH, from_micros, read_cursor, seconds
from infrastructor.errors import (
    CommandFailed,
    CommandNotAvailable,
    DataCollectionError,
    InfrastructorError,
    ValidationFailed,
)
from infrastructor.fleet import Selector, fan_out, select
from infrastructor.masking import MASK
from infrastructor.operation import PLAIN, Context, DeviceName, Operation, Params, operation
from infrastructor.operation import DeviceParams as OneDevice
from infrastructor.paging import Limit, fitting
from infrastructor.ports.callers import Effect
from infrastructor.times import moment

_SOURCES_MOST = 8
_FLEET_DEADLINE_S = 60.0
_LINES_MOST, _LINES_LEAST = 5000, 100  # asked of one source
_PROBLEMS = 5000  # characters of what could not be read in a fleet
_SOURCE = re.compile(
    r"^(?:system|journal|kernel|logread"
    r"|unit:(?P<unit>[A-Za-z0-9:_.\\@-]{1,256})"
    r"|file:(?P<file>/var/log/[\w./+@~-]{1,400})"
    r"|container:(?P<container>[A-Za-z0-9][A-Za-z0-9_.-]{0,127}))$"
)
# In logs without levels, words stand for them.
_WORDS = {
    **dict.fromkeys(("emerg", "alert", "crit"), "emerg|alert|crit|fatal|panic"),
    "err": "emerg|alert|crit|fatal|panic|err|fail|segfault|denied|refused|unable|cannot",
    "warning": "emerg|alert|crit|fatal|panic|err|fail|segfault|denied|refused|unable|cannot|warn|timed? ?out",
}
_MAY_NOT = "Add the login user to group systemd-journal or adm on the device."
_NO_JOURNAL = "systemd does not run there, so no journal is written."
_OTHER_SOURCE = "Ask for a source that it has: journal, file:/var/log/… or container:…."

SourceList = Annotated[
    str,
    Field(
        max_length=1000,
        description="Comma list of system, kernel, unit:x, file:/var/log/x, container:x.",
    ),
]
# Spelled out as an enumeration it would cost every listing of the tools thirty tokens, twice.
Level = Annotated[Priority, WithJsonSchema({"type": "string", "description": "err, warning …: or worse."})]
Moment = Annotated[str, StringConstraints(min_length=1, max_length=40)]
Cursor = Annotated[
    str,
    StringConstraints(pattern=r"^\d{1,17}-\d{1,5}$"),
    Field(description="next_cursor of the last answer.", json_schema_extra=PLAIN),
]


class Filters(Params):
    """What the two log operations can narrow by."""

    source: SourceList = "system"
    grep: str | None = Field(
        default=None, min_length=1, max_length=200, description="Text to find; case ignored.", json_schema_extra=PLAIN
    )
    regex: bool = Field(default=False, description="grep is a regular expression.", json_schema_extra=PLAIN)
    priority: Level | None = None
    since: Moment | None = Field(default=None, description="2h, 7d or ISO.")
    until: Moment | None = Field(default=None, description="Like since.", json_schema_extra=PLAIN)
    limit: Limit = 100
    cursor: Cursor | None = None


class LogQueryParams(Filters, OneDevice):
    """Input of log_query."""

    device: DeviceName
    boot: int | None = Field(default=None, ge=-100, le=0, description="0 this, -1 the last.")
    rotated: bool = Field(default=False, description="Read rotated files too.", json_schema_extra=PLAIN)


@operation(
    name="log_query",
    effect=Effect.READ,
    route="GET /api/system/{device}/logs",
    resource_uri="logs://{device}/{source}/{grep}",
    commands=(ReadJournal, ReadLogFile, ReadContainerLog),
)
async def log_query(ctx: Context, params: LogQueryParams) -> LogPage:
    """Read the newest log lines of a device, its sources merged by time. Use log_search for many devices."""
    query = _Query(params, ctx.now)
    names = list(dict.fromkeys(name.strip() for name in params.source.split(",") if name.strip()))
    if not 1 <= len(names) <= _SOURCES_MOST:
        raise ValidationFailed(f"Name 1 to {_SOURCES_MOST} sources, not {len(names)}.", hint="The usual one is system.")
    for name in names:
        _match(name)
    answers = await asyncio.gather(*(_read(ctx, query, name) for name in names))
    failures = [(name, answer) for name, answer in zip(names, answers, strict=True) if not isinstance(answer, Excerpt)]
    excerpts = [(name, answer) for name, answer in zip(names, answers, strict=True) if isinstance(answer, Excerpt)]
    if failures and not excerpts:
        raise failures[0][1]
    parts = [
        Part(query.visible(excerpt.lines), len(excerpt.lines) < query.wanted and not excerpt.cut)
        for _, excerpt in excerpts
    ]
    lines, cursor = merge(parts, params.limit, query.newest, query.shown)
    problems = [SourceProblem(source=name, problem=error.one_line()) for name, error in failures]
    problems += [problem for name, excerpt in excerpts for problem in _remarks(name, excerpt, params.priority)]
    if not (await ctx.links.capabilities(ctx.device)).systemd:
        empty = [name for name, excerpt in excerpts if _is_of_journal(name) and not excerpt.lines]
        problems += [SourceProblem(source=name, problem=f"{_NO_JOURNAL} {_OTHER_SOURCE}") for name in empty]
    return LogPage(device=ctx.device.hostname, lines=lines, problems=problems, next_cursor=cursor)


class _Query:
    """The filters as the commands take them."""

    def __init__(self, params: LogQueryParams, now: datetime) -> None:
        self.newest, self.shown = read_cursor(params.cursor)
        self.since = None if params.since is None else max(EPOCH, moment(params.since, now))
        until = None if params.until is None else max(EPOCH, moment(params.until, now, "until"))
        cursor = None if self.newest is None else from_micros(self.newest)
        self.until = cursor or until
        if self.since and until and self.since > until:
            raise ValidationFailed(f"since {params.since} is after until {params.until}.", hint="Swap the two.")
        # Never few: whether there are more must not tell of a single line that is not shown.
        self.wanted = min(_LINES_MOST, max(_LINES_LEAST, params.limit + self.shown))
        self.priority = params.priority
        self.boot = params.boot
        self.rotated = params.rotated
        grep = params.grep
        if grep is not None and not grep.isprintable():
            raise ValidationFailed("grep holds a control character.", hint="Search for one line of plain text.")
        self.literal = None if params.regex else grep
        self.expression = None if grep is None else as_extended(grep) if params.regex else as_literal(grep)
        self._matches = None if self.expression is None else _matcher(self.expression)

    def visible(self, lines: Sequence[LogLine]) -> list[LogLine]:
        """Those that still match now that secrets are masked, or a search could guess them letter by letter."""
        if self._matches is None:
            return list(lines)
        return [
            line
            for line in lines
            if MASK not in line.message or self._matches(f"{line.unit} {line.process}: {line.message}")
        ]


def _matcher(expression: str) -> Callable[[str], bool]:
    """For lines with secrets in them; none matches an expression that only the devices' programs can read."""
    try:
        return matcher(f"(?i){expression}", regex=True)
    except ValidationFailed:
        return lambda _: False


async def _read(ctx: Context, query: _Query, name: str) -> Excerpt | DataCollectionError:
    """One source; what goes wrong with it alone is its own answer."""
    try:
        excerpt = await _ask(ctx, query, name)
    except DataCollectionError as error:
        return error
    if excerpt.failure is not None:
        return CommandFailed(
            f"{name} on {ctx.device.hostname} could not be read: {excerpt.failure}",
            hint=_MAY_NOT if excerpt.restricted else "Ask for another boot, unit or source.",
        )
    return excerpt


async def _ask(ctx: Context, query: _Query, name: str) -> Excerpt:
    match = _match(name)
    capabilities = await ctx.links.capabilities(ctx.device)
    if match["container"]:
        if not capabilities.tools & {"docker", "podman"}:
            raise CommandNotAvailable(f"{ctx.device.hostname} has neither docker nor podman.", hint=_OTHER_SOURCE)
        return await ctx.run(ReadContainerLog(**_text(query, "container", match["container"])))
    if match["file"]:
        return await ctx.run(ReadLogFile(**_text(query, "file", match["file"])))
    if name == "logread":
        if "logread" not in capabilities.tools:
            raise CommandNotAvailable(f"{ctx.device.hostname} has no logread.", hint=_OTHER_SOURCE)
        return await ctx.run(ReadLogFile(**_text(query, "logread", "")))
    if name == "system" and not capabilities.systemd:
        excerpt = await ctx.run(ReadLogFile(**_text(query, "auto", "")))
        if excerpt.source is None:
            raise CommandNotAvailable(
                f"{ctx.device.hostname} keeps no system log: no journal, no /var/log/syslog or messages, no logread.",
                hint=_OTHER_SOURCE,
            )
        return excerpt
    return await ctx.run(
        ReadJournal(
            limit=query.wanted,
            unit=match["unit"],
            priority=query.priority,
            since=seconds(query.since),
            until=seconds(query.until),
            boot=query.boot,
            grep=query.expression,
            case_sensitive=None if query.expression is None else "false",
            kernel=name == "kernel",
        )
    )


def _text(query: _Query, kind: str, name: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "name": name,
        "rotated": int(query.rotated),
        "limit": query.wanted,
        "since": seconds(query.since) or "",
        "until": seconds(query.until) or "",
        "grep": query.literal or query.expression or "",
        "how": "F" if query.literal else "E",
        "words": _WORDS.get(query.priority or "", ""),
    }


def _match(name: str) -> re.Match[str]:
    match = _SOURCE.match(name)
    if match is None or "/../" in f"{name}/":
        raise ValidationFailed(
            f"Not a source of logs: {name[:80]!r}.",
            hint="One of system, journal, kernel, logread, unit:NAME, file:/var/log/…, container:NAME.",
        )
    return match


def _is_of_journal(name: str) -> bool:
    return name in {"journal", "kernel"} or name.startswith("unit:")


def _remarks(name: str, excerpt: Excerpt, priority: Priority | None) -> list[SourceProblem]:
    found = []
    if excerpt.restricted:
        found.append(f"Shows only what the login user may see. {_MAY_NOT}")
    textual = excerpt.source is not None and excerpt.source.startswith(("file:", "container:", "logread"))
    if priority in _WORDS and textual and not any(line.priority for line in excerpt.lines):
        found.append(f"This log has no levels; lines were chosen by words that stand for {priority}.")
    return [SourceProblem(source=name, problem=text) for text in found]


class LogSearchParams(Filters):
    """Input of log_search."""

    selector: Selector
    source: SourceList = Field(default="system", description="As in log_query.")


@operation(name="log_search", effect=Effect.READ, route="GET /api/fleet/logs", fan_out=True)
async def log_search(ctx: Context, params: LogSearchParams) -> LogSearch:
    """Search the logs of many devices, merged by time. Use it for what happened across the fleet."""
    newest, shown = read_cursor(params.cursor)
    devices = select(await ctx.devices.all(), params.selector)
    asked = params.model_dump(mode="json", exclude={"selector", "cursor"}, exclude_none=True)
    asked["limit"] = min(500, params.limit + shown)
    if params.cursor is not None:
        asked["cursor"] = f"{newest}-0"
    outcomes = await fan_out(ctx, ctx.operation("log_query"), devices, asked, deadline_s=_FLEET_DEADLINE_S)
    parts, problems = [], []
    for name, outcome in outcomes.items():
        if isinstance(outcome, InfrastructorError):
            problems.append(DeviceProblem(device=name, problem=outcome.one_line()))
            continue
        page: LogPage = outcome.result
        problems += [DeviceProblem(device=name, problem=f"{row.source}: {row.problem}") for row in page.problems]
        parts.append(Part([_of(name, line) for line in page.lines], page.next_cursor is None))
    lines, cursor = merge(parts, params.limit, newest, shown)
    return LogSearch(
        devices=len(devices),
        counts=dict(Counter(line.device for line in lines)),
        lines=lines,
        problems=_fitting(problems),
        next_cursor=cursor,
    )


def _fitting(problems: list[DeviceProblem]) -> list[DeviceProblem]:
    """As many as fit beside the lines, and how many are left out."""
    shown = fitting(problems, _PROBLEMS)
    if len(shown) == len(problems):
        return shown
    more = f"{len(problems) - len(shown)} more devices or sources could not be read; narrow the selector."
    return [*shown, DeviceProblem(device="…", problem=more)]


def _of(device: str, line: LogLine) -> DeviceLine:
    return DeviceLine(device=device, **dict(line))


OPERATIONS: tuple[Operation[Any, Any], ...] = (log_query, log_search)
