"""Bulk writes lose nothing at the end."""

import asyncio

from infrastructor.storage.flushing import Flushing


class Slow:
    """A write that takes until it may end."""

    def __init__(self) -> None:
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()
        self.queue, self.written = ["one"], list[str]()

    async def write(self) -> None:
        taken, self.queue = self.queue, []
        self.begun.set()
        await self.may_end.wait()
        self.written += taken


async def test_the_end_waits_for_what_is_on_its_way() -> None:
    slow = Slow()
    flushing = Flushing(slow.write, 0.001, name="x")
    flushing.start()
    await slow.begun.wait()
    asked, closing = asyncio.create_task(flushing.now()), asyncio.create_task(flushing.close())
    slow.queue.append("two")
    await asyncio.sleep(0.01)
    assert not asked.done()
    assert not closing.done()
    slow.may_end.set()
    await asyncio.gather(asked, closing)
    assert slow.written == ["one", "two"]


async def test_the_end_is_not_waited_for() -> None:
    slow = Slow()
    slow.may_end.set()
    flushing = Flushing(slow.write, 3600, name="x")
    flushing.start()
    await asyncio.wait_for(flushing.close(), 5)
    assert slow.written == ["one"]


async def test_a_write_that_breaks_is_followed_by_others() -> None:
    turns = list[int]()
    third = asyncio.Event()

    async def write() -> None:
        turns.append(len(turns))
        if len(turns) == 3:
            third.set()
        elif not third.is_set():
            raise ValueError("broke")

    flushing = Flushing(write, 0.001, name="x")
    flushing.start()
    await asyncio.wait_for(third.wait(), 5)
    await flushing.close()
    assert len(turns) >= 4
