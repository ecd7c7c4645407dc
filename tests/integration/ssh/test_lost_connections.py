"""A connection that dies is never success, and never leaves anything behind on the device."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from uuid import uuid4

import pytest

from infrastructor.errors import OutcomeUnknown, SSHConnectionError
from infrastructor.ports.ssh import Lane, LinkState
from infrastructor.ssh import AsyncSSHClient
from tests.support.programs import program, running
from tests.support.proxy import relay
from tests.support.sshd import Registry, Sshd, line, local_device, settings
from tests.support.wait import until

LANES = [Lane.FAST, Lane.SLOW]


def number() -> str:
    return str(uuid4().int % 10**9 + 10**9)


@pytest.mark.parametrize("lane", LANES)
async def test_a_read_without_an_answer_is_sent_once_more(
    client: AsyncSSHClient, start_sshd: Callable[..., Sshd], lane: Lane
) -> None:
    server = start_sshd()
    host, path = server.device(), f"/tmp/{uuid4().hex}"
    text = f"echo x >>{path}; [ $(wc -l <{path}) = 1 ] && sleep 60; cat {path}; rm {path}"
    task = asyncio.create_task(client.execute_command(host, line(text, lane)))
    await until(lambda: Path(path).exists())
    server.kill_sessions()

    assert (await task).stdout == b"x\nx\n"
    assert client.statistics()["reconnects"] == 1


@pytest.mark.parametrize("lane", LANES)
async def test_half_an_answer_is_no_answer(client: AsyncSSHClient, start_sshd: Callable[..., Sshd], lane: Lane) -> None:
    server, argument = start_sshd(), number()
    task = asyncio.create_task(client.execute_command(server.device(), line(f"echo begun; sleep {argument}", lane)))
    await until(lambda: running(argument))
    await asyncio.sleep(0.2)
    server.kill_sessions()

    with pytest.raises(OutcomeUnknown):
        await task
    await until(lambda: not running(argument))


@pytest.mark.parametrize("lane", [*LANES, Lane.CHANGE])
async def test_a_device_that_stays_away_is_an_error(
    client: AsyncSSHClient, start_sshd: Callable[..., Sshd], lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infrastructor.ssh.detached.RECONNECT_S", 1.0)
    server, argument = start_sshd(), number()
    host = server.device()
    task = asyncio.create_task(client.execute_command(host, line(f"sleep {argument}", lane, timeout_s=3)))
    await until(lambda: running(argument))
    server.stop()

    with pytest.raises((OutcomeUnknown, SSHConnectionError)) as caught:
        await task
    assert isinstance(caught.value, OutcomeUnknown) == (lane is Lane.CHANGE)
    for pid in running(argument):
        os.kill(pid, signal.SIGKILL)


async def test_the_true_outcome_of_a_change_is_read_after_reconnecting(
    client: AsyncSSHClient, start_sshd: Callable[..., Sshd]
) -> None:
    server, path = start_sshd(), f"/tmp/{uuid4().hex}"
    host = server.device()
    text = f"echo x >>{path}; sleep 1; echo done; exit 5"
    task = asyncio.create_task(client.execute_command(host, line(text, Lane.CHANGE), operation_id=uuid4()))
    await until(lambda: Path(path).exists())
    server.kill_sessions()
    output = await task

    assert (output.exit_status, output.stdout) == (5, b"done\n")
    assert (await client.execute_command(host, line(f"cat {path}; rm {path}"))).stdout == b"x\n"


async def test_a_change_runs_once_however_often_the_connection_dies(
    client: AsyncSSHClient, start_sshd: Callable[..., Sshd]
) -> None:
    server, path = start_sshd(), f"/tmp/{uuid4().hex}"
    host = server.device()
    task = asyncio.create_task(
        client.execute_command(host, line(f"echo x >>{path}; sleep 2", Lane.CHANGE), operation_id=uuid4())
    )
    await until(lambda: Path(path).exists())
    while not task.done():
        server.kill_sessions()
        await asyncio.sleep(0.5)
    assert (await task).exit_status == 0
    assert (await client.execute_command(host, line(f"cat {path}; rm {path}"))).stdout == b"x\n"


async def test_a_silent_network_is_noticed_within_16_seconds(
    client: AsyncSSHClient, start_sshd: Callable[..., Sshd]
) -> None:
    server = start_sshd()
    async with relay(server.port) as middle:
        host = server.device(ssh_port=middle.port)
        await client.execute_command(host, line("true"))
        middle.silence()
        started = monotonic()
        output = await client.execute_command(host, line("echo hi", timeout_s=60))

        assert (output.stdout, middle.accepted) == (b"hi\n", 2)
        assert 5 < monotonic() - started < 17


def iptables(*arguments: str) -> None:
    subprocess.run([program("iptables"), "-w", *arguments], check=True)


async def test_dropped_packets_are_noticed_within_16_seconds(
    client: AsyncSSHClient, start_sshd: Callable[..., Sshd]
) -> None:
    server = start_sshd()
    rules = [
        ["INPUT", "-i", "lo", "-p", "tcp", side, str(server.port), "-j", "DROP"] for side in ("--dport", "--sport")
    ]
    host = server.device()
    await client.execute_command(host, line("true"))
    started = monotonic()
    try:
        for rule in rules:
            iptables("-I", *rule)
        with pytest.raises(SSHConnectionError):
            await client.execute_command(host, line("echo hi", timeout_s=60))
    finally:
        for rule in rules:
            iptables("-D", *rule)
    # 15 s for three keepalives, and 5 s for the reconnection that also finds nobody.
    assert monotonic() - started < 16 + 5.5


CLIENT = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from infrastructor.ports.devices import Device
from infrastructor.ssh import AsyncSSHClient
from tests.support.sshd import line, settings
from infrastructor.ports.ssh import Lane

async def main():
    async def nobody(name): return None
    client = AsyncSSHClient(settings(), nobody)
    device = Device.model_validate_json(sys.argv[2])
    await asyncio.gather(*(client.execute_command(device, line(f"sleep {sys.argv[3]} {n}", lane, timeout_s=100))
                           for n in range(2) for lane in (Lane.FAST, Lane.SLOW)))

asyncio.run(main())
"""


@pytest.mark.parametrize("user", ["root", "plain"])
async def test_our_death_leaves_no_read_running(sshd: Sshd, plain_user: str, user: str) -> None:
    host = sshd.device(ssh_username="root" if user == "root" else plain_user)
    argument = number()
    root = str(Path(__file__).parents[3])
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", CLIENT, root, host.model_dump_json(), argument)
    # The two FAST ones share a lane, so one of them is still waiting for the other.
    await until(lambda: len(remote_sleeps(argument)) >= 3, 15)
    process.kill()
    await process.wait()

    await until(lambda: not remote_sleeps(argument), 5)


def remote_sleeps(argument: str) -> list[int]:
    return [pid for pid in running(argument) if _name(pid) == "sleep"]


def _name(pid: int) -> str | None:
    """None when it is gone by now."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return None


async def test_an_idle_connection_is_closed_and_comes_back(sshd: Sshd, registry: Registry) -> None:
    client = AsyncSSHClient(settings(ssh_idle_timeout_s=0.4), registry.find)
    host = sshd.device()
    try:
        await client.execute_command(host, line("true"))
        assert client.status(host.id).state is LinkState.READY
        await until(lambda: client.status(host.id).state is LinkState.IDLE)
        assert (await client.execute_command(host, line("echo back"))).stdout == b"back\n"
    finally:
        await client.close()


async def test_close_leaves_nothing_running(start_sshd: Callable[..., Sshd], registry: Registry) -> None:
    server, argument = start_sshd(), number()
    client = AsyncSSHClient(settings(), registry.find)
    hosts = [server.device(), local_device()]
    asks = [
        asyncio.create_task(client.execute_command(host, line(f"sleep {argument}", lane)))
        for host in hosts
        for lane in LANES
    ]
    await until(lambda: len(running(argument)) == 4)
    await client.close()

    results = await asyncio.gather(*asks, return_exceptions=True)
    assert all(isinstance(result, SSHConnectionError) for result in results), results
    await until(lambda: not running(argument) and not server.sessions())
    with pytest.raises(SSHConnectionError):
        await client.execute_command(hosts[0], line("true"))
