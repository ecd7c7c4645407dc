"""Tokens of the API."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from infrastructor.ports.callers import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """A named token as stored: its secret exists only in the caller's hands."""

    id: UUID
    name: str
    role: Role
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


class TokenStore(Protocol):
    async def create(self, name: str, role: Role, secret_hash: str, expires_at: datetime | None) -> ApiToken:
        """Raises `Conflict` when an unrevoked token has this name."""
        ...

    async def find(self, secret_hash: str) -> ApiToken | None:
        """The valid token with this hash; None when unknown, expired or revoked."""
        ...

    async def all(self) -> Sequence[ApiToken]: ...

    async def revoke(self, name: str) -> bool: ...

    async def valid(self, token_id: UUID) -> ApiToken | None:
        """The token with this id; None when it has expired, or was revoked."""
        ...

    async def add_ticket(self, token_id: UUID, ticket_hash: str, expires_at: datetime) -> None:
        """Keep something that stands for the token once, until then."""
        ...

    async def take_ticket(self, ticket_hash: str) -> ApiToken | None:
        """The valid token a ticket stands for, which is used up by this; None when there is none (any more)."""
        ...
