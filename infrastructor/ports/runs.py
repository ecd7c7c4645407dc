"""Operations under way: how they stand, and how they are stopped."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from infrastructor.ports.audit import AuditRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """How far a run said it is. `total` None: nobody knows."""

    done: float
    total: float | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """A run: its record as it is now. `here` says whether this process runs it; elsewhere progress is unknown."""

    record: AuditRecord
    here: bool = False
    progress: RunProgress | None = None

    @property
    def running(self) -> bool:
        return self.record.outcome == "started"


class RunControl(Protocol):
    """Looking at runs and stopping them, wherever they run."""

    async def find(self, operation_id: UUID) -> RunState | None:
        """From memory when it runs or just ran here, else from the audit store; None when nobody knows it."""
        ...

    async def stop(self, operation_id: UUID, by: str) -> RunState | None:
        """Have it stopped, and wait a while for its true outcome."""
        ...


class CancelRequests(Protocol):
    """How a process asks the others to stop a run of theirs."""

    async def ask(self, operation_id: UUID, by: str) -> None: ...

    async def asked(self, operation_ids: Collection[UUID]) -> Mapping[UUID, str]:
        """Those of these runs that somebody wants stopped, and who."""
        ...
