"""The journal of deployments."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from infrastructor.deployment_store import DeploymentRecord
from infrastructor.storage import sql
from infrastructor.storage.pool import Database

SQL = sql.load("deployments")


class PostgresDeploymentStore:
    """`DeploymentStore` over the table `deployments`; at most one of a stack is unfinished, over all processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, record: DeploymentRecord) -> DeploymentRecord | None:
        for _ in range(3):  # the one in the way may end in between
            rows = await self._database.fetch(
                SQL["begin"],
                record.operation_id,
                record.device_id,
                record.stack,
                record.folder,
                dict(record.before),
                record.step,
                record.started_at,
            )
            if rows:
                return None
            found = await self._database.fetch(SQL["in_the_way"], record.device_id, record.stack)
            if found:
                return _record(found[0])
        return record

    async def touch(self, operation_id: UUID, step: str) -> None:
        await self._database.execute(SQL["touch"], operation_id, step)

    async def finish(self, operation_id: UUID, outcome: str, message: str) -> None:
        await self._database.execute(SQL["finish"], operation_id, outcome, message.replace("\0", "")[:2000])

    async def unfinished(self, device_id: UUID | None = None) -> Sequence[DeploymentRecord]:
        return [_record(row) for row in await self._database.fetch(SQL["unfinished"], device_id)]

    async def last(self, device_id: UUID, stack: str) -> DeploymentRecord | None:
        rows = await self._database.fetch(SQL["last"], device_id, stack)
        return _record(rows[0]) if rows else None


def _record(row: Any) -> DeploymentRecord:
    return DeploymentRecord(**dict(row))
