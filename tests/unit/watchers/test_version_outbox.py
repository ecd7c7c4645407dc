"""Which batches may be on their way to the store at the same time."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from infrastructor.ids import uuid7
from infrastructor.snapshot_store import BlindTime, Snapshot, Version
from infrastructor.watchers.version_outbox import BATCH, VersionOutbox
from tests.fake_snapshots import FakeSnapshots
from tests.support.wait import until

NOW = datetime(2026, 11, 29, tzinfo=UTC)


class Gated(FakeSnapshots):
    """Notes what begins and ends; nothing ends before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.may_end = asyncio.Event()

    async def add(self, device_id: UUID, versions: Sequence[Version]) -> Sequence[Snapshot]:
        name = versions[0].path
        self.said.append(f"begin {name}")
        await self.may_end.wait()
        self.said.append(f"end {name}")
        return []

    async def add_blind(self, device_id: UUID, span: BlindTime) -> None:
        self.said.append("blind")


def version(path: str) -> Version:
    return Version(path=path, time=NOW, config_type="text", signature=None)


async def stand(store: Gated, said: list[str]) -> None:
    """It has come so far, and no further."""
    await until(lambda: store.said == said)
    await asyncio.sleep(0.02)
    assert store.said == said


async def test_two_batches_of_other_files_go_side_by_side_and_no_third() -> None:
    store = Gated()
    async with VersionOutbox(uuid7(), store, lambda _: None) as outbox:
        for name in "abc":
            for number in range(BATCH):
                await outbox.put(version(f"/{name}{number}"))
        await stand(store, ["begin /a0", "begin /b0"])
        store.may_end.set()
    assert sorted(store.said) == [f"{word} /{name}0" for word in ("begin", "end") for name in "abc"]


async def test_versions_of_one_file_are_stored_one_after_the_other() -> None:
    store = Gated()
    async with VersionOutbox(uuid7(), store, lambda _: None) as outbox:
        await outbox.put(version("/a"))
        await outbox.put(version("/b"))
        await outbox.put(version("/b"))
        await stand(store, ["begin /a"])
        store.may_end.set()
    assert store.said == ["begin /a", "end /a", "begin /b", "end /b"]


async def test_a_blind_time_waits_for_what_was_before_it() -> None:
    store = Gated()
    span = BlindTime(begin=NOW, end=NOW + timedelta(seconds=1), reason="a test")
    async with VersionOutbox(uuid7(), store, lambda _: None) as outbox:
        for item in (version("/a"), span, version("/b")):
            await outbox.put(item)
        await stand(store, ["begin /a"])
        store.may_end.set()
    assert store.said == ["begin /a", "end /a", "blind", "begin /b", "end /b"]
