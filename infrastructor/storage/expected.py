"""What operations of ours are about to write, so that the watcher's version of it carries their id."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from infrastructor.snapshot_store import Version
from infrastructor.storage import sql
from infrastructor.storage.pool import Database
from infrastructor.storage.versions import path_key, storable

SQL = sql.load("expected")


class ExpectedWrites:
    """Over `config_expected_writes`. Methods raise `DatabaseOperationError` when PostgreSQL is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def expect(self, device_id: UUID, path: str, content_hash: str, operation_id: UUID) -> None:
        key = path_key(storable(path))
        await self._database.execute(SQL["expect"], device_id, key, bytes.fromhex(content_hash), operation_id)

    async def claim(self, device_id: UUID, versions: Sequence[Version]) -> Sequence[Version]:
        """The versions, those of ours with the id of the operation that wrote them."""
        keys = {path_key(storable(version.path)) for version in versions if version.signature is not None}
        if not keys:
            return versions
        rows = await self._database.fetch(SQL["claimed"], device_id, list(keys))
        if not rows:
            return versions
        ours = {(row["path_key"], bytes(row["content_hash"])): row["operation_id"] for row in rows}
        return [_with(version, ours.get((path_key(storable(version.path)), _digest(version)))) for version in versions]


def _with(version: Version, operation_id: UUID | None) -> Version:
    if operation_id is None or version.operation_id is not None:
        return version
    return replace(version, operation_id=operation_id)


def _digest(version: Version) -> bytes:
    if version.content is not None:
        return hashlib.sha256(version.content).digest()
    return bytes.fromhex(version.content_hash or "")
