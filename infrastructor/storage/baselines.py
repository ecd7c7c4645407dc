"""What was declared to be right."""

from collections.abc import Sequence
from uuid import UUID

from infrastructor.snapshot_store import Baseline
from infrastructor.storage import sql
from infrastructor.storage.pool import Database

SQL = sql.load("baselines")


class PostgresBaselineStore:
    """`BaselineStore` over `config_baselines`. Methods raise `DatabaseOperationError` when PostgreSQL is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def baselines(self, device_id: UUID | None = None) -> Sequence[Baseline]:
        return [Baseline(**dict(row)) for row in await self._database.fetch(SQL["all"], device_id)]

    async def pin(self, baseline: Baseline) -> bool:
        return bool(
            await self._database.fetchval(
                SQL["pin"],
                baseline.device_id,
                baseline.path,
                baseline.time,
                baseline.pinned_by,
                baseline.pinned_at,
                baseline.note,
            )
        )

    async def unpin(self, device_id: UUID, path: str) -> bool:
        return not (await self._database.execute(SQL["unpin"], device_id, path)).endswith(" 0")
