"""What is known to have happened around a time on a device: from events, audit, history, figures and packages."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from infrastructor.domains.configs.comparison import tell
from infrastructor.domains.configs.ranking import Fact, Kind, step
from infrastructor.domains.packages.changes import PackageChange, ReadPackageChanges, by_occasion
from infrastructor.errors import CommandNotAvailable, DatabaseOperationError, DataCollectionError, SSHConnectionError
from infrastructor.events import Event, EventFilter, Severity
from infrastructor.operation import Context
from infrastructor.ports.audit import AuditRecord
from infrastructor.ports.series import MetricSample
from infrastructor.snapshot_store import Snapshot

_MOST_EVENTS = 500
_MOST_CHANGES = 40
_MOST_SAMPLES = 1000
_ONE_RUN = timedelta(seconds=60)  # of a package manager, between two packages
_NAMED, _SHOWN = 3, 20
_SEVERITIES = {Severity.INFO: 0.1, Severity.WARNING: 0.6, Severity.ERROR: 0.9, Severity.CRITICAL: 1.0}
_FIGURES = {"cpu_usage_percent": "CPU", "memory_usage_percent": "memory", "disk_usage_percent": "disk"}
_TOPICS: Mapping[str, Kind] = {"containers": "container", "watchers": "watcher"}


async def of_events(ctx: Context, change: Snapshot, since: datetime, until: datetime) -> list[Fact]:
    """What containers did, and what watchers could not see."""
    wanted = EventFilter(topics=tuple(_TOPICS), device_id=change.device_id, since=since, until=until)
    return [_of_event(event) for event in await ctx.events.latest(wanted, _MOST_EVENTS)]


def _of_event(event: Event) -> Fact:
    data = event.data
    parts = [event.subject or "", event.kind.replace(".", " ").replace("_", " ")]
    if data.get("exit_code") is not None:
        parts.append(f"with exit code {data['exit_code']}")
    if data.get("health"):
        parts.append(f"({data['health']})")
    names = {str(name).lower() for name in (event.subject, data.get("stack"), data.get("service")) if name}
    return Fact(
        at=event.at,
        kind=_TOPICS.get(event.topic, "watcher"),
        what=" ".join(part for part in parts if part),
        severity=_SEVERITIES[event.severity],
        names=frozenset(names),
        evidence=_known({"event": event.sequence, "image": data.get("image"), "stack": data.get("stack")}),
    )


async def of_operations(
    ctx: Context, change: Snapshot, since: datetime, until: datetime, problems: list[str]
) -> list[Fact]:
    """What was asked of the device and was no mere look."""
    try:
        records = await ctx.trail.around(change.device_id, since, until)
    except DatabaseOperationError as error:
        problems.append(f"The audit could not be asked: {error.message}")
        return []
    return [_of_record(record) for record in records if record.operation_id != ctx.operation_id]


def _of_record(record: AuditRecord) -> Fact:
    params = record.params
    path = params.get("path")
    names = {
        str(params[key]).lower()
        for key in ("container", "stack", "service", "name")
        if isinstance(params.get(key), str)
    }
    outcome = "" if record.outcome == "ok" else f": {record.outcome} {record.error_code or ''}".rstrip()
    return Fact(
        at=record.started_at,
        kind="operation",
        what=f"{record.caller.principal} ran {record.operation} over {record.caller.interface}{outcome}",
        severity=0.4 if record.outcome in {"ok", "refused"} else 0.7,
        names=frozenset(names),
        path=path if isinstance(path, str) else None,
        operation_id=record.operation_id,
        evidence=_known({"operation_id": str(record.operation_id), "client": record.caller.client}),
    )


async def of_changes(ctx: Context, change: Snapshot, since: datetime, until: datetime) -> list[Fact]:
    """Other files of the device that changed."""
    found = await ctx.snapshots.history(device_id=change.device_id, since=since, until=until, limit=_MOST_CHANGES)
    facts = []
    for told in await tell(ctx, [one for one in found if one.id != change.id]):
        one = told.snapshot
        cosmetic = told.about == ["cosmetic"]
        facts.append(
            Fact(
                at=one.time,
                kind="config",
                what=f"{one.path} {one.change.value.lower()}: {'; '.join(told.what[:3])}",
                severity=0.0 if cosmetic else 0.3,
                path=one.path,
                operation_id=one.operation_id,
                evidence={"version": str(one.id)},
            )
        )
    return facts


async def of_packages(ctx: Context, since: datetime, until: datetime, problems: list[str]) -> list[Fact]:
    """What was installed, upgraded and removed. The device itself is asked: only its package manager knows."""
    command = ReadPackageChanges(int(since.timestamp()), int(until.timestamp()) + 1)
    try:
        log = await ctx.run(command)
    except CommandNotAvailable:
        return []
    except (DataCollectionError, SSHConnectionError) as error:
        problems.append(f"Package changes are not known: {error.message}")
        return []
    if not log.kept:
        problems.append("Package changes are not known: nothing on the device tells of them.")
    return [_of_packages(together) for together in by_occasion(log.changes, _ONE_RUN)]


def _of_packages(together: Sequence[PackageChange]) -> Fact:
    more = len(together) - _NAMED
    named = ", ".join(one.text for one in together[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    names = {word for one in together for word in (one.name.lower(), one.name.lower().partition("-")[0])}
    return Fact(
        at=together[0].at,
        kind="package",
        what=f"packages: {named}",
        severity=0.4,
        names=frozenset(names),
        evidence={"packages": [one.text for one in together[:_SHOWN]]},
    )


async def of_metrics(ctx: Context, change: Snapshot, since: datetime, until: datetime) -> list[Fact]:
    """Figures that went to another level around the change, and a restart of the whole device."""
    samples = await ctx.metrics.history(change.device_id, since, _MOST_SAMPLES)
    samples = [sample for sample in samples if sample.timestamp < until]
    earlier = [sample for sample in samples if sample.timestamp < change.time]
    later = [sample for sample in samples if sample.timestamp >= change.time]
    facts = []
    for name, label in _FIGURES.items():
        found = step(name, _values(earlier, name), _values(later, name))
        if found is not None:
            facts.append(
                Fact(
                    at=later[0].timestamp,
                    kind="metric",
                    what=f"{label} of the device: {found.before:g} → {found.after:g} %",
                    severity=found.severity,
                    evidence={"metric": name, "before": found.before, "after": found.after},
                )
            )
    return [*facts, *_reboots(samples)]


def _values(samples: Sequence[MetricSample], name: str) -> list[float]:
    return [value for sample in samples if (value := getattr(sample, name)) is not None]


def _reboots(samples: Sequence[MetricSample]) -> list[Fact]:
    facts = []
    for before, after in pairwise(samples):
        old, new = before.uptime_seconds, after.uptime_seconds
        if old is not None and new is not None and new < old:
            facts.append(
                Fact(
                    at=after.timestamp,
                    kind="metric",
                    what="the device was started anew",
                    severity=0.8,
                    evidence={"uptime_seconds": new},
                )
            )
    return facts


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
