"""API tokens: named, scoped by role, expiring; kept as hashes only."""

import hashlib
import logging
import os
import re
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from uuid import UUID

from infrastructor.errors import Conflict, Unauthenticated, ValidationFailed
from infrastructor.ports.callers import Role
from infrastructor.ports.tokens import ApiToken, TokenStore

logger = logging.getLogger(__name__)

ADMIN_TOKEN_FILE = "admin.token"  # noqa: S105 - a file name
TOKEN_PATTERN = re.compile(r"inf_[A-Za-z0-9_-]{20,200}")
TICKET_LIFETIME = timedelta(seconds=30)
TICKET_HINT = "Ask for a new one: POST /api/ws/ticket."
_TICKET = 100  # characters; more than any of ours has
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,99}")
_REMEMBERED = 1024
_REMEMBER_S = 5.0  # a revoked token dies within this time in every process


class Tokens:
    """Issues and checks tokens. A token has 256 random bits, so one SHA-256 is enough to store it."""

    def __init__(self, store: TokenStore) -> None:
        self._store = store
        self._known: OrderedDict[str, tuple[float, ApiToken]] = OrderedDict()

    async def issue(
        self, name: str, role: Role, lifetime: timedelta | None = None, *, secret: str | None = None
    ) -> tuple[str, ApiToken]:
        """A new token and its record; the secret is shown this once. Raises `Conflict` on a taken name."""
        if not _NAME.fullmatch(name):
            raise ValidationFailed(
                f"{name!r} is no token name.", hint="1 to 100 letters, digits, spaces or ._@-, e.g. 'grafana'."
            )
        secret = secret or new_secret()
        expires = None if lifetime is None else datetime.now(UTC) + lifetime
        return secret, await self._store.create(name, role, hash_secret(secret), expires)

    async def authenticate(self, secret: str | None) -> ApiToken:
        """The token's record. Raises `Unauthenticated` without saying which part was wrong."""
        if not secret:
            raise Unauthenticated("No token was sent.")
        if not TOKEN_PATTERN.fullmatch(secret):
            raise Unauthenticated("The token is unknown, expired or revoked.")
        digest = hash_secret(secret)
        known = self._known.get(digest)
        if known and monotonic() - known[0] < _REMEMBER_S and not _expired(known[1]):
            return known[1]
        token = await self._store.find(digest)
        if token is None:
            self._known.pop(digest, None)
            raise Unauthenticated("The token is unknown, expired or revoked.")
        self._known[digest] = (monotonic(), token)
        self._known.move_to_end(digest)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return token

    async def still(self, token_id: UUID) -> None:
        """Raise `Unauthenticated` once the token has expired or was revoked; for what goes on after it was shown."""
        if await self._store.valid(token_id) is None:
            raise Unauthenticated("The token has expired or was revoked.")

    async def ticket(self, token: ApiToken) -> tuple[str, datetime]:
        """Something to show once in the token's place, where a token may not be written, and until when it works."""
        secret, expires_at = secrets.token_urlsafe(32), datetime.now(UTC) + TICKET_LIFETIME
        await self._store.add_ticket(token.id, hash_secret(secret), expires_at)
        return secret, expires_at

    async def redeem(self, ticket: str | None) -> ApiToken:
        """The token behind a ticket, which is used up. Raises `Unauthenticated`."""
        token = await self._store.take_ticket(hash_secret(ticket)) if ticket and len(ticket) <= _TICKET else None
        if token is None:
            raise Unauthenticated("The ticket is unknown, used or too old.", hint=TICKET_HINT)
        return token

    async def all(self) -> Sequence[ApiToken]:
        return await self._store.all()

    async def revoke(self, name: str) -> bool:
        self._known.clear()
        return await self._store.revoke(name)


async def ensure_admin_token(tokens: Tokens, data_dir: Path) -> None:
    """The first start makes the token `admin`; its secret is in a file that only the server's user may read."""
    path = data_dir / ADMIN_TOKEN_FILE
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        secret = path.read_text().strip()
    else:
        secret = new_secret()
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{secret}\n")
    try:
        await tokens.authenticate(secret)
    except Unauthenticated:
        # A new database, or a file that a crash left empty.
        try:
            await tokens.issue("admin", Role.ADMIN, secret=secret)
        except (Conflict, ValidationFailed):
            logger.warning("The token in %s is not valid; 'infrastructor token create' makes another", path)


def new_secret() -> str:
    return f"inf_{secrets.token_urlsafe(32)}"


def hash_secret(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _expired(token: ApiToken) -> bool:
    return token.expires_at is not None and token.expires_at <= datetime.now(UTC)
