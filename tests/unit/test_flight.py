"""Identical reads run once; nobody waits for a stranger's cancel or an answer from the past."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from infrastructor.flight import Flight, Flights


class Work:
    """A run that ends when told to."""

    def __init__(self) -> None:
        self.runs = 0
        self.cancelled = False
        self.finish = asyncio.Event()

    async def __call__(self, flight: Flight[int]) -> int:
        self.runs += 1
        try:
            await self.finish.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return 7


async def ask(flights: Flights, work: Callable[[Flight[int]], Awaitable[int]], *, fresh: bool = False) -> Any:
    joined = flights.join("key", fresh=fresh)
    return await (joined or flights.start("key", "device", work)).wait()  # type: ignore[arg-type]


async def test_a_hundred_callers_share_one_run() -> None:
    flights, work = Flights(), Work()
    callers = [asyncio.create_task(ask(flights, work)) for _ in range(100)]
    await asyncio.sleep(0)
    work.finish.set()
    assert await asyncio.gather(*callers) == [7] * 100
    assert work.runs == 1


async def test_a_caller_that_leaves_only_detaches() -> None:
    flights, work = Flights(), Work()
    first, second = asyncio.create_task(ask(flights, work)), asyncio.create_task(ask(flights, work))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    work.finish.set()
    assert await second == 7
    assert not work.cancelled


async def test_the_last_caller_to_leave_stops_the_run() -> None:
    flights, work = Flights(), Work()
    callers = [asyncio.create_task(ask(flights, work)) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for caller in callers:
        caller.cancel()
    await asyncio.wait(callers)
    await asyncio.sleep(0)
    assert work.cancelled


async def test_a_caller_who_wants_it_fresh_does_not_join_a_run_that_has_asked() -> None:
    flights, work = Flights(), Work()
    first = asyncio.create_task(ask(flights, work))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running = flights.join("key", fresh=True)
    assert running is not None
    running.asked = True
    assert flights.join("key", fresh=True) is None
    assert flights.join("key", fresh=False) is running
    work.finish.set()
    await first


async def test_nobody_joins_a_run_older_than_a_change() -> None:
    flights, work = Flights(), Work()
    first = asyncio.create_task(ask(flights, work))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    flights.outdate("device")
    assert flights.join("key", fresh=False) is None
    work.finish.set()
    await first


async def test_every_waiter_gets_the_failure() -> None:
    async def broken(flight: Flight[int]) -> int:
        await asyncio.sleep(0)
        raise ValueError("no")

    flights = Flights()
    callers = [asyncio.create_task(ask(flights, broken)) for _ in range(3)]
    for outcome in await asyncio.gather(*callers, return_exceptions=True):
        assert isinstance(outcome, ValueError)
    with pytest.raises(ValueError, match="no"):
        await ask(flights, broken)


async def test_a_change_makes_every_run_old_those_too_that_a_fresh_one_has_replaced() -> None:
    flights = Flights()
    seen: list[Flight[int]] = []
    end = asyncio.Event()

    async def work(flight: Flight[int]) -> int:
        seen.append(flight)
        flight.asked = True
        await end.wait()
        return 7

    callers = []
    for fresh in (False, True):
        callers.append(asyncio.create_task(ask(flights, work, fresh=fresh)))
        await asyncio.sleep(0.01)
    with flights.alone("device") as alone, flights.alone("other") as elsewhere:
        flights.outdate("device")
        assert [flight.outdated for flight in (*seen, alone, elsewhere)] == [True, True, True, False]
    end.set()
    await asyncio.gather(*callers)
    assert not flights._flying
