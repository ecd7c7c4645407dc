"""Samples over time: of machines and of their drives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID


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
