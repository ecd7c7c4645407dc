"""`WatchStore`: what is to be watched. Every call reads the database, so every process sees every change."""

from collections.abc import Sequence
from uuid import UUID

from infrastructor.errors import DeviceNotFound
from infrastructor.snapshot_store import ConfigWatch
from infrastructor.storage import sql
from infrastructor.storage.pool import Database
from infrastructor.storage.versions import original, path_key, storable

SQL = sql.load("watches")


class PostgresWatchStore:
    """Over `configuration_watches`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def watches(self, device_id: UUID | None = None) -> Sequence[ConfigWatch]:
        rows = await self._database.fetch(SQL["watches"], device_id)
        return [
            ConfigWatch(
                device_id=row["device_id"],
                path=original(row["path"]),
                source=row["source"],
                recursive=row["recursive"],
                include=tuple(row["include"]),
                exclude=tuple(row["exclude"]),
            )
            for row in rows
        ]

    async def add_watch(self, watch: ConfigWatch) -> bool:
        path = storable(watch.path)
        added = await self._database.fetchval(
            SQL["add"],
            watch.device_id,
            path_key(path),
            watch.source,
            path,
            watch.recursive,
            list(watch.include),
            list(watch.exclude),
        )
        if added is None:
            raise DeviceNotFound(f"No device has the id {watch.device_id}.")
        return bool(added)

    async def remove_watch(self, device_id: UUID, path: str, source: str) -> bool:
        status = await self._database.execute(SQL["remove"], device_id, path_key(storable(path)), source)
        return status != "DELETE 0"
