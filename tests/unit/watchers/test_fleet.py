"""Watchers of many devices, and their end."""

import asyncio
from types import SimpleNamespace

import pytest

from infrastructor.ports.devices import Device
from infrastructor.watchers.fleet import Watchers
from tests.fakes import FakeAudit, FakeDevices, device


class Slow:
    """A watcher that takes a while to end."""

    subjects = ()
    state = SimpleNamespace(mode="", events=0, connects=0)

    def __init__(self, device: Device) -> None:
        self.device = device
        self.started, self.may_end = asyncio.Event(), asyncio.Event()
        self.ended = False

    async def run(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await self.may_end.wait()
            self.ended = True


async def test_who_is_cancelled_while_stopping_a_watcher_waits_for_its_end() -> None:
    watched = device("nas", transport="local")
    slow = Slow(watched)
    watchers = Watchers(operation="x", devices=FakeDevices(watched), audit=FakeAudit(), watch=lambda *_: slow)  # type: ignore[arg-type, return-value]
    await watchers._reconcile(asyncio.Semaphore(1))
    await slow.started.wait()
    stopping = asyncio.create_task(watchers._stop(watched.id))
    for _ in range(3):
        await asyncio.sleep(0)
        stopping.cancel()
    await asyncio.sleep(0)
    assert not stopping.done()
    slow.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert slow.ended
    assert watchers.watches == {}
