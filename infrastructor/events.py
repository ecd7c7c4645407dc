"""Events: what happened, and the bus that stores and tells it. A port like those of `ports`."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

GAP = "watch.gap"
"""The kind of an event that says: what is followed on this device (`subject`: the topic) was not, for a while."""


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened. `at` is the device's time; `sequence` and `recorded_at` are given when it is stored.

    An event published again under the same id is the same event: it is stored once.
    """

    topic: str  # e.g. containers
    kind: str  # e.g. container.die
    at: datetime
    id: UUID
    severity: Severity = Severity.INFO
    device_id: UUID | None = None
    device: str | None = None
    subject: str | None = None  # e.g. a container's name
    data: Mapping[str, Any] = field(default_factory=dict)
    sequence: int = 0
    recorded_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events are meant; what is empty or None does not matter. `severity` is the least."""

    topics: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    device_id: UUID | None = None
    subject: str | None = None
    severity: Severity | None = None
    since: datetime | None = None  # device's time, inclusive
    until: datetime | None = None  # exclusive


class EventBus(Protocol):
    """Events of all processes in one order: whoever has seen sequence n can ask for what came after, exactly."""

    async def publish(self, events: Sequence[Event]) -> bool:
        """Store and announce. False when the store is away: they wait in memory, the oldest dropped when too many."""
        ...

    def subscribe(
        self, *topics: str, device_id: UUID | None = None, after: int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Events as they are stored by any process, in order; from after a sequence, or from now on.

        Raises `SubscriberTooSlow` where a reader lags too far behind; it can subscribe again `after` what it had.
        Ends when the bus is closed.
        """
        ...

    async def since(self, sequence: int, wanted: EventFilter, limit: int = 500) -> Sequence[Event]:
        """Stored events after a sequence, oldest first."""
        ...

    async def latest(self, wanted: EventFilter, limit: int = 500, before: int | None = None) -> Sequence[Event]:
        """Stored events before a sequence, newest first."""
        ...

    async def tally(self, wanted: EventFilter) -> Mapping[tuple[str, Severity], int]:
        """How many stored events there are of each kind and severity."""
        ...

    async def extent(self) -> tuple[int, int]:
        """The sequence of the oldest event still stored, and the last one ever given; (n + 1, n) where none is left."""
        ...

    def statistics(self) -> Mapping[str, Any]:
        """published, waiting, dropped, subscribers, state."""
        ...
