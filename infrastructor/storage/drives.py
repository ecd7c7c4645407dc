"""The history of drives, and what of it is accepted."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from infrastructor.ports.series import DriveBaseline, DriveSample
from infrastructor.storage import sql
from infrastructor.storage.pool import Database

SQL = sql.load("drives")


class PostgresDriveStore:
    """`DriveStore` over `drive_samples` and `drive_baselines`. Raises `DatabaseOperationError` kinds."""

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

    async def accept(self, baseline: DriveBaseline) -> None:
        await self._database.execute(
            SQL["accept"],
            baseline.device_id,
            baseline.drive,
            dict(baseline.counters),
            baseline.accepted_at,
            baseline.accepted_by,
        )

    async def baselines(self, device_id: UUID) -> Sequence[DriveBaseline]:
        return [DriveBaseline(**dict(row)) for row in await self._database.fetch(SQL["baselines"], device_id)]
