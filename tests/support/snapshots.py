"""A store of configuration history that a test of watchers can look into, and send away."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from infrastructor.errors import DatabaseOperationError
from infrastructor.snapshot_store import BlindTime, Change, Head, Snapshot, Version
from tests.fake_snapshots import FakeSnapshots


class SnapshotsSeen(FakeSnapshots):
    """`kept` in order; `stored` the newest version of each file that is there. `away`: PostgreSQL is not there."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.kept: list[Snapshot] = []
        self.stored: dict[str, Snapshot] = {}

    def _check(self) -> None:
        if self.away:
            raise DatabaseOperationError("PostgreSQL is away.")

    async def add(self, device_id: UUID, versions: Sequence[Version]) -> Sequence[Snapshot]:
        self._check()
        kept = await super().add(device_id, versions)
        self.kept += kept
        for one in kept:
            self.stored[one.path] = one
            if one.change is Change.DELETE:
                del self.stored[one.path]
        return kept

    async def heads(self, device_id: UUID) -> Sequence[Head]:
        self._check()
        return await super().heads(device_id)

    async def add_blind(self, device_id: UUID, span: BlindTime) -> None:
        self._check()
        await super().add_blind(device_id, span)

    async def blind(self, device_id: UUID, since: datetime, until: datetime) -> Sequence[BlindTime]:
        self._check()
        return await super().blind(device_id, since, until)
