"""The in-memory history of configuration: the fake stores, and what operations need beside them."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from infrastructor.formats.secrets import Masker
from infrastructor.snapshot_store import Baseline, History
from tests.fake_snapshots import FakeSnapshots, FakeWatches


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
        snapshots=FakeSnapshots(),
        watches=FakeWatches(),
        baselines=FakeBaselines(),
        masker=Masker(b"fingerprints of a test"),
    )
