"""What is made of a device's words on their way to the store."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest

from infrastructor.ids import uuid7
from infrastructor.snapshot_store import Snapshot, Version
from infrastructor.watchers.agent_protocol import FileContent
from infrastructor.watchers.file_state import FileWatchState
from infrastructor.watchers.version_outbox import VersionOutbox
from infrastructor.watchers.view import View
from tests.fake_snapshots import FakeSnapshots
from tests.support.wait import until

LATEST = 2**63 - 1


class Broken(FakeSnapshots):
    """A store with a bug."""

    async def add(self, device_id: UUID, versions: Sequence[Version]) -> Sequence[Snapshot]:
        raise ZeroDivisionError


def told(ctime_ns: int) -> FileContent:
    return FileContent(b"/a", f"1,1,0,{ctime_ns},33188,0,0".encode(), b"x")


async def test_a_bug_behind_it_ends_the_watcher_instead_of_losing_what_comes() -> None:
    async def watch() -> None:
        async with VersionOutbox(uuid7(), Broken(), lambda problem: None) as outbox:
            view = View((), outbox, FileWatchState())
            await view.take(told(0))
            await until(lambda: outbox._sender is not None and outbox._sender.done())
            await view.take(told(1))
            raise AssertionError("it was taken, and kept by nobody")

    with pytest.raises(ZeroDivisionError):
        await watch()


@pytest.mark.parametrize("clock_ns", [-LATEST, 0, LATEST])
@pytest.mark.parametrize("ctime_ns", [-LATEST, 0, LATEST])
async def test_clocks_of_no_calendar_do_no_harm(clock_ns: int, ctime_ns: int) -> None:
    store = FakeSnapshots()
    begin = datetime.now(UTC)
    async with VersionOutbox(uuid7(), store, lambda problem: None) as outbox:
        view = View((), outbox, FileWatchState())
        view.begin_with((), begin, "a test")
        view.hear(clock_ns)
        await view.take(told(ctime_ns))
    (kept,) = store.kept
    assert begin <= kept.time <= datetime.now(UTC)
