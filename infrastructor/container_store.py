"""What is kept about containers: the records, and the port of the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerState:
    """A container at one time; None is unknown. Nothing in it changes while nothing happens to the container."""

    name: str
    container_id: str
    state: str  # running, exited, created, paused, restarting, dead; removed when it is gone
    health: str | None = None
    image: str | None = None
    image_id: str | None = None
    restart_count: int | None = None
    exit_code: int | None = None
    oom_killed: bool | None = None
    oom_kills: int | None = None  # of processes in it since its start, where the kernel counts any
    started_at: str | None = None  # as the engine words it
    finished_at: str | None = None
    ports: tuple[str, ...] = ()
    stack: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """A state and since when we know of it."""

    at: datetime
    state: ContainerState


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSample:
    """What a container used. Counters are the engine's, since the container's start; 100 percent is one CPU."""

    name: str
    cpu_percent: float | None = None
    memory_bytes: int | None = None
    rx_bytes: int | None = None
    tx_bytes: int | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None
    pids: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleBucket:
    """Samples of one span of time taken together; bytes are those of the span."""

    start: datetime
    samples: int
    cpu_percent_min: float | None
    cpu_percent_avg: float | None
    cpu_percent_max: float | None
    memory_bytes_min: int | None
    memory_bytes_avg: int | None
    memory_bytes_max: int | None
    rx_bytes: int | None
    tx_bytes: int | None
    read_bytes: int | None
    written_bytes: int | None
    pids_max: int | None


class ContainerStore(Protocol):
    """States as they change and samples as they are taken; a container is known by its device and name."""

    async def add_states(self, device_id: UUID, at: datetime, states: Sequence[ContainerState]) -> Sequence[str]:
        """Keep what changed. `states` are all containers of the device: those that are missing are gone.

        Returns the names whose state was kept. Raises `DatabaseOperationError`.
        """
        ...

    async def states(self, device_id: UUID) -> Sequence[ContainerState]:
        """The last known state of each container that is not gone, by name."""
        ...

    def add_samples(self, device_id: UUID, at: datetime, samples: Sequence[ContainerSample]) -> None:
        """Queue samples; written in bulk within a few seconds, dropped oldest-first when PG stays away."""
        ...

    async def series(
        self, device_id: UUID, name: str, since: datetime, until: datetime, step: timedelta
    ) -> Sequence[SampleBucket]:
        """Samples in buckets of `step`, counted from `since`, oldest first; empty buckets are left out.

        Where only hourly rows are left, no bucket is shorter than an hour and minima are unknown.
        """
        ...

    async def changes(
        self, device_id: UUID, name: str, since: datetime, until: datetime, limit: int
    ) -> Sequence[StateChange]:
        """The newest changes of state in that time, oldest first, and before them the state it began with."""
        ...

    def statistics(self) -> Mapping[str, Any]: ...
