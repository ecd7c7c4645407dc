"""Deployments under way and done, as a port: what a crash leaves to be finished or undone is found here.

No secrets: of files only hashes. Their contents stay on the device, beside the stack, where only its owner reads them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRecord:
    """One deployment of one stack. `before`: what undoing it needs. `touched_at`: when its server last gave a sign."""

    operation_id: UUID
    device_id: UUID
    stack: str
    folder: str
    before: Mapping[str, Any] = field(default_factory=dict)
    step: str = "begun"
    started_at: datetime
    touched_at: datetime
    finished_at: datetime | None = None
    outcome: str | None = None
    message: str | None = None


_SILENCE = timedelta(seconds=45)


def is_left_alone(record: DeploymentRecord) -> bool:
    """Whether the server that carried it out has given no sign for so long that it must have ended."""
    return datetime.now(UTC) - record.touched_at > _SILENCE


class DeploymentStore(Protocol):
    """Methods raise `DatabaseOperationError` when the store is away; then nothing is deployed."""

    async def begin(self, record: DeploymentRecord) -> DeploymentRecord | None:
        """Write it down, durably. The unfinished one of the same stack instead, when there is one."""
        ...

    async def touch(self, operation_id: UUID, step: str) -> None:
        """Its server lives, and this is what it does."""
        ...

    async def finish(self, operation_id: UUID, outcome: str, message: str) -> None: ...

    async def unfinished(self, device_id: UUID | None = None) -> Sequence[DeploymentRecord]:
        """Those whose end nobody wrote down, oldest first; of one device or of all."""
        ...

    async def last(self, device_id: UUID, stack: str) -> DeploymentRecord | None:
        """The newest of a stack that was begun."""
        ...
