"""What sshd refuses is waited for; callers never see it."""

import asyncio
import random
from collections.abc import Callable
from uuid import uuid4

import pytest

from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import Lane
from infrastructor.ssh import AsyncSSHClient
from tests.support.programs import resident_bytes, running
from tests.support.sshd import Sshd, line
from tests.support.wait import until


@pytest.mark.parametrize("sessions", [1, 2, 10])
async def test_max_sessions_is_invisible_to_fifty_callers(
    client: AsyncSSHClient, start_sshd: Callable[..., Sshd], sessions: int
) -> None:
    host = start_sshd(f"MaxSessions {sessions}").device()
    lanes = [Lane.FAST, Lane.SLOW, Lane.FAST, Lane.SLOW, Lane.CHANGE]
    outputs = await asyncio.gather(*(client.execute_command(host, line(f"echo {n}", lanes[n % 5])) for n in range(50)))
    assert [int(output.text) for output in outputs] == list(range(50))


async def test_one_session_is_shared_by_turns(client: AsyncSSHClient, start_sshd: Callable[..., Sshd]) -> None:
    host = start_sshd("MaxSessions 1").device()
    for n in range(3):
        for lane in (Lane.FAST, Lane.SLOW):
            assert (await client.execute_command(host, line(f"echo {n}", lane))).stdout == f"{n}\n".encode()


async def test_max_startups_is_invisible_to_fifty_devices(
    client: AsyncSSHClient, start_sshd: Callable[..., Sshd], plain_user: str
) -> None:
    server = start_sshd("MaxStartups 2:90:3")
    hosts = [server.device(f"host{n}", ssh_username=plain_user) for n in range(50)]
    # Somebody else's login that does not get on takes one of the places.
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    outputs = await asyncio.gather(*(client.execute_command(host, line("echo hi")) for host in hosts))
    writer.close()
    await writer.wait_closed()

    assert {output.stdout for output in outputs} == {b"hi\n"}
    assert server.logged("MaxStartups") > 0


async def test_random_cancels_and_timeouts_leave_nothing(client: AsyncSSHClient, sshd: Sshd) -> None:
    """A few hundred here; the benchmark does ten thousand."""
    host, argument = sshd.device(), str(uuid4().int % 10**9 + 10**9)
    dice = random.Random(7)

    async def one(n: int) -> None:
        duration, lane = dice.choice(["0", "0.01", "5"]), dice.choice([Lane.FAST, Lane.SLOW])
        # `sh -c '…' x ARGUMENT` carries the marker in its arguments.
        text = f"sh -c 'sleep {duration}; echo {n}' x {argument}"
        task = asyncio.create_task(client.execute_command(host, line(text, lane, timeout_s=dice.choice([0.05, 5]))))
        await asyncio.sleep(dice.random() * 0.2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    for start in range(0, 300, 30):
        await asyncio.gather(*(one(start + n) for n in range(30)))
    await until(lambda: not running(argument))
    # All sessions are free again: as many at once as the budget has.
    outputs = await asyncio.gather(
        *(client.execute_command(host, line(f"sleep 0.1; echo {n}", Lane.SLOW)) for n in range(6))
    )
    assert [int(output.text) for output in outputs] == list(range(6))
    link = client._links[host.id]
    assert link._lanes is not None
    await until(lambda: link._lanes is not None and link._lanes.count <= 1)


async def test_a_question_that_was_cancelled_while_it_waited_blocks_no_later_one(
    client: AsyncSSHClient, start_sshd: Callable[..., Sshd]
) -> None:
    host = start_sshd("MaxSessions 1").device()
    await client.execute_command(host, line("true"))
    slow = asyncio.create_task(client.execute_command(host, line("sleep 0.6", Lane.SLOW)))
    await asyncio.sleep(0.3)
    waiting = asyncio.create_task(client.execute_command(host, line("echo waiting")))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await slow
    async with asyncio.timeout(5):
        assert (await client.execute_command(host, line("echo later"))).stdout == b"later\n"


@pytest.mark.parametrize("lane", [Lane.FAST, Lane.SLOW])
async def test_a_hundred_megabytes_are_not_held(client: AsyncSSHClient, ssh_host: Device, lane: Lane) -> None:
    await client.execute_command(ssh_host, line("true", lane))
    peak = before = resident_bytes()

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, resident_bytes())
            await asyncio.sleep(0.002)

    watcher = asyncio.create_task(watch())
    output = await client.execute_command(ssh_host, line("head -c 100000000 /dev/zero", lane, max_output_bytes=8 << 20))
    watcher.cancel()
    assert (output.truncated, len(output.stdout)) == (True, 8 << 20)
    assert peak - before < 48 << 20
