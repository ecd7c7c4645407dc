"""The in-memory history of configuration: the fake stores, and what operations need beside them."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from infrastructor.formats.secrets import Masker
from infrastructor.snapshot_store import Baseline, History, Snapshot, Version
from tests.fake_snapshots import FakeSnapshots, FakeWatches


class FakeExpectingSnapshots(FakeSnapshots):
    """A store that knows what operations of ours are about to write."""

    def __init__(self) -> None:
        super().__init__()
        self.expected: dict[tuple[UUID, str, str], UUID] = {}

    async def add(self, device_id: UUID, versions: Sequence[Version]) -> Sequence[Snapshot]:
        return await super().add(device_id, [self._claimed(device_id, version) for version in versions])

    def _claimed(self, device_id: UUID, version: Version) -> Version:
        ours = self.expected.get((device_id, version.path, version.content_hash or ""))
        return version if ours is None or version.operation_id else replace(version, operation_id=ours)

    async def expect(self, device_id: UUID, path: str, content_hash: str, operation_id: UUID) -> None:
        self.expected[device_id, path, content_hash] = operation_id


class FakeBaselines:
    """BaselineStore over a dict."""

    def __init__(self) -> None:
        self.rows: dict[tuple[UUID, str], Baseline] = {}

    async def baselines(self, device_id: UUID | None = None) -> Sequence[Baseline]:
        found = [row for row in self.rows.values() if device_id is None or row.device_id == device_id]
        return sorted(found, key=lambda row: (row.device_id.int, row.path))

    async def pin(self, baseline: Baseline) -> bool:
        key = baseline.device_id, baseline.path
        new = key not in self.rows
        self.rows[key] = replace(baseline)
        return new

    async def unpin(self, device_id: UUID, path: str) -> bool:
        return self.rows.pop((device_id, path), None) is not None


def fake_history() -> History:
    """Empty stores, with a key of its own for fingerprints."""
    return History(
        snapshots=FakeExpectingSnapshots(),
        watches=FakeWatches(),
        baselines=FakeBaselines(),
        masker=Masker(b"fingerprints of a test"),
    )
