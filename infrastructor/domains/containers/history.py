"""What a container was, did and used in a time: answered from the store, no device is asked."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil
from typing import Annotated, TypeVar

from pydantic import Field

from infrastructor.container_store import SampleBucket, StateChange
from infrastructor.domains.containers.models import ONE_CONTAINER, ContainerRef
from infrastructor.domains.containers.rows import short_image
from infrastructor.errors import Conflict, NotFound, ValidationFailed
from infrastructor.events import Event, EventFilter, Severity
from infrastructor.operation import PLAIN, Context, DeviceParams, Result, operation
from infrastructor.paging import fitting
from infrastructor.ports.callers import Effect
from infrastructor.times import Span, Until, When, moment, span

N = TypeVar("N", int, float)

_MOST_POINTS = 150
_POINTS = 48  # unless a step is asked for
_MOST_LINES = 100
_STORY_BUDGET = 10_000  # characters; the figures take up to 28,000
_NAMES = 20
_OOM = "container.oom"
_STEPS_S = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800)


class HistoryParams(DeviceParams):
    """Input of container_history."""

    container: Annotated[ContainerRef, Field(json_schema_extra=PLAIN)]
    since: When = "24h"
    until: Until | None = None
    step: Span | None = None


class Usage(Result):
    """One list per figure, one place in each per span; null: nothing was sampled."""

    start: list[datetime] = Field(description="When each span begins (UTC); empty spans are left out.")
    cpu_percent_avg: list[float | None] = Field(description="100 is one CPU.")
    cpu_percent_max: list[float | None] = Field(description="Highest sample.")
    cpu_percent_min: list[float | None] = Field(description="Lowest sample; null where only hours are kept.")
    memory_bytes_avg: list[int | None] = Field(description="Without inactive file cache.")
    memory_bytes_max: list[int | None] = Field(description="Highest sample.")
    memory_bytes_min: list[int | None] = Field(description="Lowest sample; null where only hours are kept.")
    received_bytes: list[int | None] = Field(description="Network, within the span.")
    sent_bytes: list[int | None] = Field(description="Network, within the span.")
    read_bytes: list[int | None] = Field(description="From disks, within the span.")
    written_bytes: list[int | None] = Field(description="To disks, within the span.")


class Happening(Result):
    """A line of its story."""

    at: datetime = Field(description="When (UTC).")
    what: str = Field(description="In words.")


class ContainerHistory(Result):
    """A container over a time."""

    device: str = Field(description="Device name.")
    name: str = Field(description="Name of the container.")
    since: datetime = Field(description="Begin (UTC).")
    until: datetime = Field(description="End (UTC).")
    step_seconds: int = Field(description="Length of a span.")
    starts: int = Field(description="Times it was started.")
    failed_ends: int = Field(description="Ends with an exit code other than 0 that nobody asked for.")
    oom_kills: int = Field(description="Times the kernel killed in it for want of memory.")
    unhealthy: int = Field(description="Times its health check began to fail.")
    cpu_percent_avg: float | None = Field(description="Over the whole time.")
    cpu_percent_max: float | None = Field(description="Highest sample.")
    memory_bytes_avg: int | None = Field(description="Over the whole time.")
    memory_bytes_max: int | None = Field(description="Highest sample.")
    story: list[Happening] = Field(description="Events and changes of state, newest first.")
    story_omitted: int = Field(description="Older lines left out; event_list has them.")
    usage: Usage = Field(description="What it used, oldest first.")


@operation(
    name="container_history",
    effect=Effect.READ,
    route="GET /api/containers/{device}/{container}/history",
    resource_uri="docker://{device}/containers/{container}/history",
    changed_by=(ONE_CONTAINER,),
)
async def container_history(ctx: Context, params: HistoryParams) -> ContainerHistory:
    """Show a container's past: CPU, memory, restarts, OOM kills. It asks no device."""
    now = ctx.now
    since, until = moment(params.since, now), moment(params.until, now, "until") if params.until else now
    step = _step(since, until, params.step)
    device = ctx.device
    name = await _name(ctx, params.container)
    buckets = await ctx.containers.series(device.id, name, since, until, step)
    changes = await ctx.containers.changes(device.id, name, since, until, _MOST_LINES)
    wanted = EventFilter(topics=("containers",), device_id=device.id, subject=name, since=since, until=until)
    events = await ctx.events.latest(wanted, _MOST_LINES)
    if not (buckets or changes or events):
        await _nothing(ctx, name, since)
    tally = await ctx.events.tally(wanted)
    of_changes = _of_changes(changes, since, [event.at for event in events if event.kind == _OOM])
    story = sorted([*_of_events(events), *of_changes], key=lambda line: line.at, reverse=True)
    told = fitting(story[:_MOST_LINES], _STORY_BUDGET)
    average_cpu = _weighted([(one.cpu_percent_avg, one.samples) for one in buckets])
    average_memory = _weighted([(one.memory_bytes_avg, one.samples) for one in buckets])
    return ContainerHistory(
        device=device.hostname,
        name=name,
        since=since,
        until=until,
        step_seconds=int(step.total_seconds()),
        starts=_counted(tally, "container.start", Severity.INFO),
        failed_ends=_counted(tally, "container.die"),
        # The engine misses a kill now and then; what the kernel counted is known where it was sampled.
        oom_kills=max(_counted(tally, _OOM), _kills(changes, since)),
        unhealthy=_counted(tally, "container.health_status"),
        cpu_percent_avg=None if average_cpu is None else round(average_cpu, 1),
        cpu_percent_max=_round(_highest([one.cpu_percent_max for one in buckets])),
        memory_bytes_avg=None if average_memory is None else round(average_memory),
        memory_bytes_max=_highest([one.memory_bytes_max for one in buckets]),
        story=told,
        story_omitted=sum(tally.values()) + len(of_changes) - len(told),
        usage=_usage(buckets),
    )


def _step(since: datetime, until: datetime, asked: str | None) -> timedelta:
    length = (until - since).total_seconds()
    if length <= 0:
        raise ValidationFailed(f"until ({until:%FT%TZ}) is not after since ({since:%FT%TZ}).")
    if asked is None:
        seconds = next((step for step in _STEPS_S if length / step <= _POINTS), ceil(length / _POINTS))
        return timedelta(seconds=seconds)
    step = span(asked)
    if not step or length / step.total_seconds() > _MOST_POINTS:
        raise ValidationFailed(
            f"step={asked} makes more than {_MOST_POINTS} spans of that time.",
            hint="Ask for a longer step or a shorter time, or leave step out.",
        )
    return step


async def _name(ctx: Context, ref: str) -> str:
    """The name that is meant: a reference may be the start of an id that is known."""
    states = await ctx.containers.states(ctx.device.id)
    if any(state.name == ref for state in states):
        return ref
    meant = [state.name for state in states if state.container_id.startswith(ref.lower())]
    if len(meant) > 1:
        names = ", ".join(meant[:_NAMES])
        raise Conflict(
            f"{ref!r} is the start of {len(meant)} container ids on {ctx.device.hostname}: {names}.",
            hint="Use a name, or more of the id.",
        )
    return meant[0] if meant else ref


def _counted(tally: Mapping[tuple[str, Severity], int], kind: str, *severities: Severity) -> int:
    """Events of a kind; unless others are named, those that were worth a look."""
    wanted = severities or tuple(severity for severity in Severity if severity is not Severity.INFO)
    return sum(count for (one, severity), count in tally.items() if one == kind and severity in wanted)


def _kills(changes: Sequence[StateChange], since: datetime) -> int:
    """What the kernel's count grew by; it begins anew with each start."""
    total = 0
    for before, after in pairwise(changes):
        old, new = before.state, after.state
        same = (old.container_id, old.started_at) == (new.container_id, new.started_at)
        gained = (new.oom_kills or 0) - ((old.oom_kills or 0) if same else 0)
        total += max(0, gained) if after.at >= since else 0
    return total


async def _nothing(ctx: Context, name: str, since: datetime) -> None:
    known = sorted(state.name for state in await ctx.containers.states(ctx.device.id))
    names = ", ".join(known[:_NAMES]) + (f" and {len(known) - _NAMES} more" if len(known) > _NAMES else "")
    unsampled = "Its containers have not been sampled yet; it is done every minute."
    raise NotFound(
        f"Nothing is known of a container {name!r} on {ctx.device.hostname} since {since:%FT%TZ}.",
        hint=f"Known there: {names}." if known else unsampled,
    )


def _of_events(events: Sequence[Event]) -> list[Happening]:
    return [Happening(at=event.at, what=_words(event)) for event in events]


def _words(event: Event) -> str:
    data = event.data
    parts = [event.kind.removeprefix("container.").replace("_", " ")]
    if data.get("health"):
        parts = [str(data["health"])]
    if data.get("exit_code") is not None:
        parts.append(f"with exit code {data['exit_code']}")
    if data.get("signal"):
        parts.append(f"by signal {data['signal']}")
    if data.get("old_name"):
        parts.append(f"from {data['old_name']}")
    if data.get("source") == "resync":
        parts.append("(found by comparing; it happened while nobody listened)")
    return " ".join(parts)


def _of_changes(changes: Sequence[StateChange], since: datetime, told: Sequence[datetime]) -> list[Happening]:
    """What events do not tell: another image, other ports, a restart count that grew, kills but for those `told`."""
    lines = []
    for before, after in pairwise(changes):
        old, new = before.state, after.state
        words = []
        if new.image != old.image and new.image:
            words.append(f"image {short_image(old.image or '?')} -> {short_image(new.image)}")
        elif new.image_id and old.image_id and new.image_id != old.image_id:
            words.append("another build of the image")
        if new.container_id != old.container_id:
            words.append("recreated")
        if new.ports != old.ports and new.state == old.state:
            words.append(f"ports {' '.join(old.ports) or 'none'} -> {' '.join(new.ports) or 'none'}")
        if (new.restart_count or 0) > (old.restart_count or 0):
            words.append(f"restarted by its policy, {new.restart_count} times so far")
        if _kills([before, after], since) and not any(before.at < at <= after.at for at in told):
            words.append(f"{new.oom_kills} processes were killed in it for want of memory")
        if new.oom_killed and not old.oom_killed:
            words.append("ended for want of memory")
        if words and after.at >= since:
            lines.append(Happening(at=after.at, what="; ".join(words)))
    return lines


def _usage(buckets: Sequence[SampleBucket]) -> Usage:
    return Usage(
        start=[b.start for b in buckets],
        cpu_percent_avg=[_round(b.cpu_percent_avg) for b in buckets],
        cpu_percent_max=[_round(b.cpu_percent_max) for b in buckets],
        cpu_percent_min=[_round(b.cpu_percent_min) for b in buckets],
        memory_bytes_avg=[b.memory_bytes_avg for b in buckets],
        memory_bytes_max=[b.memory_bytes_max for b in buckets],
        memory_bytes_min=[b.memory_bytes_min for b in buckets],
        received_bytes=[b.rx_bytes for b in buckets],
        sent_bytes=[b.tx_bytes for b in buckets],
        read_bytes=[b.read_bytes for b in buckets],
        written_bytes=[b.written_bytes for b in buckets],
    )


def _weighted(values: Sequence[tuple[float | None, int]]) -> float | None:
    known = [(value, count) for value, count in values if value is not None]
    total = sum(count for _, count in known)
    return sum(value * count for value, count in known) / total if total else None


def _highest(values: Sequence[N | None]) -> N | None:
    return max((value for value in values if value is not None), default=None)


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
