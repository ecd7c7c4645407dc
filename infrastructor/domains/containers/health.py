"""What is wrong with containers: from their inspections and their cgroups' counters. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Literal

from infrastructor.domains.containers.cgroups import Counters
from infrastructor.domains.containers.inspection import Inspection
from infrastructor.domains.containers.models import ContainerProblem

_LOOP_RESTARTS = 3
_LOOP_SPAN = timedelta(minutes=10)
_ASKED_TO_STOP = frozenset({0, 130, 143})  # well, or by SIGINT or SIGTERM
_KILLED = 137
_OUTPUT = 300
_ORDER = ("dead", "restart_loop", "oom_killed", "unhealthy", "failed_to_start", "exited", "restarted", "paused")

Severity = Literal["critical", "warning"]


def problems(found: Iterable[Inspection], counters: Mapping[str, Counters], now: datetime) -> list[ContainerProblem]:
    """At most one problem a container, its worst; worst first, then by name."""
    listed = [problem for one in found if (problem := _problem(one, counters.get(one.id), now)) is not None]
    return sorted(listed, key=lambda problem: (problem.severity, _ORDER.index(problem.what), problem.name))


def _problem(one: Inspection, counters: Counters | None, now: datetime) -> ContainerProblem | None:
    """The first that fits; they are told worst first."""
    told = _of_running(one, counters, now) if one.state.status == "running" else _of_others(one, now)
    return next(told, None)


def _of_running(one: Inspection, counters: Counters | None, now: datetime) -> Iterator[ContainerProblem]:
    state, restarts = one.state, one.state.restarts or 0
    since = _when(state.started_at, now)
    kills = (counters.oom_kills if counters is not None else None) or 0
    if restarts >= _LOOP_RESTARTS and state.started_at is not None and now - state.started_at < _LOOP_SPAN:
        yield _of(one, "restart_loop", "critical", f"was restarted {restarts} times, last{since}.")
    if state.health == "unhealthy":
        yield _of(one, "unhealthy", "critical", "fails its health check.", output=_said(one))
    if kills:
        limit = one.limits.memory_bytes
        within = f" at its limit of {limit >> 20} MiB" if limit else ""
        yield _of(one, "oom_killed", "warning", f"had {kills} processes killed for want of memory{within}.")
    if restarts >= _LOOP_RESTARTS:
        yield _of(one, "restarted", "warning", f"was restarted {restarts} times; it runs since{since}.")


def _of_others(one: Inspection, now: datetime) -> Iterator[ContainerProblem]:
    state, code = one.state, one.state.exit_code
    since = _when(state.finished_at, now)
    if state.status == "dead":
        yield _of(one, "dead", "critical", f"is dead: the engine could not remove it. {state.error or ''}".strip())
    if state.status == "restarting":
        why = ", for want of memory" if state.oom_killed else ""
        restarts = state.restarts or 0
        yield _of(
            one, "restart_loop", "critical", f"keeps restarting: {restarts} times, last ended with {code}{since}{why}."
        )
    if state.status == "paused":
        yield _of(one, "paused", "warning", "is paused: it holds its memory and answers nobody.")
    if state.error:
        yield _of(one, "failed_to_start", "critical", f"did not start: {state.error}")
    if state.status == "exited" and state.oom_killed:
        yield _of(one, "oom_killed", "critical", f"was killed for want of memory{since}.")
    if state.status == "exited" and code is not None and code not in _ASKED_TO_STOP:
        killed = " (killed, or out of memory)" if code == _KILLED else ""
        yield _of(one, "exited", "warning", f"ended with code {code}{since}{killed}.")


def _of(one: Inspection, what: str, severity: Severity, message: str, output: str | None = None) -> ContainerProblem:
    return ContainerProblem(
        name=one.name, what=what, severity=severity, message=f"{one.name} {message}", stack=one.stack, output=output
    )


def _said(one: Inspection) -> str | None:
    """What its health check printed when it last failed."""
    failed = next((probe for probe in one.state.health_log if probe.exit_code != 0), None)
    return failed.output[:_OUTPUT] if failed is not None and failed.output else None


def _when(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return ""
    seconds = max(0, int((now - moment).total_seconds()))
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f" {count} {unit}{'s' if count > 1 else ''} ago"
    return f" {seconds} s ago"


def verdict(found: Iterable[ContainerProblem]) -> Literal["green", "amber", "red"]:
    severities = {problem.severity for problem in found}
    return "red" if "critical" in severities else "amber" if severities else "green"
