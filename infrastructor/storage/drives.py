"""The history of drives."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from infrastructor.ports import DriveSample
from infrastructor.storage import sql
from infrastructor.storage.pool import Database

SQL = sql.load("drives")


class PostgresDriveStore:
    """`DriveStore` over the table `drive_samples`. Methods raise `DatabaseOperationError` when PostgreSQL is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, samples: Sequence[DriveSample]) -> None:
        if not samples:
            return
        await self._database.execute(
            SQL["add"],
            [sample.device_id for sample in samples],
            [sample.drive for sample in samples],
            [sample.sampled_at for sample in samples],
            [dict(sample.counters) for sample in samples],
        )

    async def history(self, device_id: UUID, since: datetime) -> Sequence[DriveSample]:
        return [DriveSample(**dict(row)) for row in await self._database.fetch(SQL["history"], device_id, since)]
