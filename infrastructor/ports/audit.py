"""The record of every run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from infrastructor.ports.cache import CacheState
from infrastructor.ports.callers import Caller, Effect


@dataclass(slots=True, kw_only=True)
class AuditRecord:
    """One operation run: intent, then outcome. Mutable only while the run goes on.

    outcome: started, ok, refused, error, cancelled, unknown. `changes` are the places of those among `commands` that
    change something. Secrets among params and commands are masked where the record is kept.
    """

    operation_id: UUID
    operation: str
    effect: Effect
    caller: Caller
    started_at: datetime
    parent_id: UUID | None = None
    device_id: UUID | None = None
    device: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    changes: list[int] = field(default_factory=list)
    plan_id: UUID | None = None
    cache: CacheState = CacheState.BYPASS
    outcome: str = "started"
    error_code: str | None = None
    error_message: str | None = None
    retries: int = 0
    duration_ms: float | None = None
    details: Mapping[str, Any] | None = None


class AuditTrail(Protocol):
    """Looking back at what was asked of devices."""

    async def around(
        self, device_id: UUID, since: datetime, until: datetime, *, limit: int = 200, reads: bool = False
    ) -> Sequence[AuditRecord]:
        """Runs on a device that began in that time, newest first; without `reads` only those that change something.

        Raises `DatabaseOperationError`.
        """
        ...


class AuditLog(AuditTrail, Protocol):
    """Durable record of every operation. All times are UTC."""

    async def begin(self, record: AuditRecord) -> None:
        """Return once the intent is durable. Raises `AuditUnavailable` when it cannot be (changes: PG only)."""
        ...

    async def finish(self, record: AuditRecord) -> None:
        """Return once the outcome is durable; works for a record that never began (a refusal)."""
        ...

    def note(self, record: AuditRecord) -> None:
        """Write a finished record within a second; for answers that reached no device."""
        ...

    async def find(self, operation_id: UUID) -> AuditRecord | None:
        """The record as it stands in the store, None when it has none. Raises `DatabaseOperationError`."""
        ...

    def statistics(self) -> Mapping[str, Any]: ...
