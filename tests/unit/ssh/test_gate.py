import asyncio

import pytest

from infrastructor.ssh.gate import PER_ADDRESS, HandshakeGate


class Crowd:
    """Counts how many are inside at once."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0

    async def visit(self, gate: HandshakeGate, address: tuple[str, int]) -> None:
        async with gate.address(address), gate.handshakes:
            self.inside += 1
            self.most = max(self.most, self.inside)
            await asyncio.sleep(0.001)
            self.inside -= 1


async def test_few_handshakes_at_one_address_and_in_the_process() -> None:
    gate, one, many = HandshakeGate(6), Crowd(), Crowd()
    await asyncio.gather(*(one.visit(gate, ("a", 22)) for _ in range(30)))
    await asyncio.gather(*(many.visit(gate, (f"h{n}", 22)) for n in range(30)))
    assert (one.most, many.most) == (PER_ADDRESS, 6)


async def test_an_address_that_drops_connections_is_approached_one_by_one() -> None:
    gate, crowd = HandshakeGate(6), Crowd()
    for _ in range(5):
        gate.dropped(("a", 22))
    await asyncio.gather(*(crowd.visit(gate, ("a", 22)) for _ in range(10)))
    assert crowd.most == 1


async def test_a_slow_address_does_not_use_up_the_process() -> None:
    gate, crowd = HandshakeGate(5), Crowd()
    stuck = asyncio.Event()

    async def hang() -> None:
        async with gate.address(("slow", 22)), gate.handshakes:
            await stuck.wait()

    hung = [asyncio.create_task(hang()) for _ in range(20)]
    async with asyncio.timeout(5):
        await asyncio.gather(*(crowd.visit(gate, (f"h{n}", 22)) for n in range(10)))
    stuck.set()
    await asyncio.gather(*hung)


async def test_those_who_leave_the_queue_take_no_slot_with_them() -> None:
    gate, crowd = HandshakeGate(8), Crowd()
    async with asyncio.TaskGroup() as group:
        holders = [group.create_task(crowd.visit(gate, ("a", 22))) for _ in range(4)]
        leaving = [asyncio.create_task(crowd.visit(gate, ("a", 22))) for _ in range(20)]
        await asyncio.sleep(0)
        for task in leaving[::2]:
            task.cancel()
        assert holders
    await asyncio.gather(*leaving, return_exceptions=True)
    async with asyncio.timeout(5):
        await asyncio.gather(*(crowd.visit(gate, ("a", 22)) for _ in range(10)))
    assert crowd.inside == 0


@pytest.mark.parametrize("count", [0, 1])
async def test_at_least_one_handshake_is_allowed(count: int) -> None:
    async with asyncio.timeout(5):
        await Crowd().visit(HandshakeGate(count), ("a", 22))
