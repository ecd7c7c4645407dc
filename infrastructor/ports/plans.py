"""Plans of destructive operations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPlan:
    """A plan as kept: bound to caller, device, params and state. Only the token's hash is stored.

    One that `needs_approval` cannot be taken before somebody else is in `approved_by`.
    """

    id: UUID
    token_hash: str
    operation: str
    principal: str
    device_id: UUID | None
    params_hash: str
    fingerprint: str
    body: Mapping[str, Any]
    expires_at: datetime
    needs_approval: bool = False
    approved_by: str | None = None
    used_at: datetime | None = None


class PlanStore(Protocol):
    async def save(self, plan: StoredPlan) -> None: ...

    async def take(self, token_hash: str) -> StoredPlan | None:
        """Mark the plan used and return it; None when unknown, used, expired or unapproved. Atomic over processes."""
        ...

    async def find(self, token_hash: str) -> StoredPlan | None:
        """The plan as it stands, used or not; for telling why it could not be taken."""
        ...

    async def waiting(self) -> Sequence[StoredPlan]:
        """Plans that can still be carried out, oldest first."""
        ...

    async def approve(self, plan_id: UUID, by: str) -> bool:
        """Let it be taken. False when there is no such plan waiting, or it was approved already."""
        ...

    async def withdraw(self, plan_id: UUID) -> bool:
        """Use it up without carrying it out. False when there is no such plan waiting."""
        ...
