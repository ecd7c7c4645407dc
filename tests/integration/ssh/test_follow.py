"""Following commands that do not end by themselves, over real sshd and locally."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from infrastructor.errors import CommandFailed, OutcomeUnknown
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import Lane
from infrastructor.ssh import AsyncSSHClient
from tests.support.programs import resident_bytes, running
from tests.support.sshd import Sshd, line, local_device
from tests.support.wait import until


@pytest.fixture(params=["ssh", "local"])
def device(request: pytest.FixtureRequest, sshd: Sshd) -> Device:
    return sshd.device() if request.param == "ssh" else local_device()


async def lines_of(client: AsyncSSHClient, device: Device, text: str) -> list[bytes]:
    async with asyncio.timeout(20), client.follow(device, line(text)) as lines:
        return [row async for row in lines]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("echo a; echo b", [b"a", b"b"]),
        ("printf 'a\\nb'", [b"a", b"b"]),
        ("printf 'a\\n\\n'; sleep 0.05; printf '\\nb\\n\\n'", [b"a", b"", b"", b"b", b""]),
        (":", []),
        ("echo noise >&2; echo a", [b"a"]),
        ("printf a; sleep 0.05; printf b", [b"ab"]),
    ],
)
async def test_lines_are_exact(client: AsyncSSHClient, device: Device, text: str, expected: list[bytes]) -> None:
    assert await lines_of(client, device, text) == expected


async def test_a_line_comes_when_it_is_written(client: AsyncSSHClient, device: Device) -> None:
    async with asyncio.timeout(10), client.follow(device, line("echo now; sleep 1000")) as lines:
        assert await anext(lines) == b"now"


async def test_a_failing_command_says_what_it_said(client: AsyncSSHClient, device: Device) -> None:
    with pytest.raises(CommandFailed, match="status 3 and said: oh no") as failed:
        await lines_of(client, device, "echo a; echo oh no >&2; sleep 0.05; exit 3")
    assert failed.value.details["exit_status"] == 3


async def test_leaving_ends_the_process(client: AsyncSSHClient, device: Device) -> None:
    argument = "1234567877"
    async with client.follow(device, line(f"echo on; sleep {argument}")) as lines:
        assert await anext(lines) == b"on"
        await until(lambda: running(argument))
    await until(lambda: not running(argument))


async def test_a_cancelled_follower_leaves_nothing(client: AsyncSSHClient, device: Device) -> None:
    argument = "1234567878"

    async def watch() -> None:
        async with client.follow(device, line(f"sleep {argument}")) as lines:
            async for _ in lines:
                pass

    task = asyncio.create_task(watch())
    await until(lambda: running(argument))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await until(lambda: not running(argument))


async def test_a_lost_connection_is_not_a_quiet_end(client: AsyncSSHClient, sshd: Sshd) -> None:
    async with client.follow(sshd.device(), line("echo on; sleep 1000")) as lines:
        assert await anext(lines) == b"on"
        sshd.kill_sessions()
        with pytest.raises(OutcomeUnknown):
            await anext(lines)


async def test_followers_and_commands_share_few_sessions(client: AsyncSSHClient, ssh_folder: Path) -> None:
    folder = ssh_folder / "three-sessions"
    folder.mkdir()
    server = Sshd(folder, options="MaxSessions 3").start()
    try:
        host = server.device()
        async with client.follow(host, line("echo on; sleep 1000")) as lines:
            assert await anext(lines) == b"on"
            outputs = await asyncio.gather(
                *(client.execute_command(host, line(f"echo {n}", Lane.SLOW)) for n in range(6)),
                *(client.execute_command(host, line(f"echo {n}")) for n in range(6)),
            )
            assert [output.stdout for output in outputs] == [b"%d\n" % n for n in (*range(6), *range(6))]
    finally:
        server.stop()


async def test_a_follower_gives_way_where_there_is_one_session_only(client: AsyncSSHClient, ssh_folder: Path) -> None:
    folder = ssh_folder / "one-session"
    folder.mkdir()
    server = Sshd(folder, options="MaxSessions 1").start()
    try:
        host = server.device()
        async with client.follow(host, line("echo on; sleep 1000")) as lines:
            assert await anext(lines) == b"on"
            assert (await client.execute_command(host, line("echo off"))).stdout == b"off\n"
            with pytest.raises(CommandFailed, match="make room"):
                await anext(lines)
    finally:
        server.stop()


async def test_a_slow_reader_slows_the_device_and_not_this_process(client: AsyncSSHClient, device: Device) -> None:
    async with asyncio.timeout(60), client.follow(device, line("yes 0123456789abcdef0123456789abcde")) as lines:
        assert await anext(lines) == b"0123456789abcdef0123456789abcde"
        await asyncio.sleep(0.5)
        count = 0
        async for row in lines:
            assert row == b"0123456789abcdef0123456789abcde"
            count += 1
            if count == 300_000:
                break
        stream = lines.ag_frame.f_locals["self"]  # type: ignore[attr-defined]
        assert stream._ahead < 8 << 20


async def test_a_reader_that_is_slower_all_the_time_keeps_memory_constant(
    client: AsyncSSHClient, device: Device
) -> None:
    async with asyncio.timeout(100), client.follow(device, line(f"yes {'x' * 999}")) as lines:
        assert await anext(lines) == b"x" * 999
        before, peak, count = resident_bytes(), 0, 0
        async for _ in lines:
            count += 1
            if count % 500 == 0:
                await asyncio.sleep(0.01)
                peak = max(peak, resident_bytes())
            if count == 60_000:
                break
    assert peak - before < 20 << 20


async def test_a_command_is_talked_with(client: AsyncSSHClient, device: Device) -> None:
    text = 'echo ready; while read -r word; do echo "heard $word"; [ "$word" != end ] || break; done; cat >&2'
    async with asyncio.timeout(20), client.converse(device, line(text)) as conversation:
        lines = conversation.lines
        assert await anext(lines) == b"ready"
        conversation.send(b"one\n")
        assert await anext(lines) == b"heard one"
        conversation.send(b"x" * 300_000 + b"\nend\n")
        assert await anext(lines) == b"heard " + b"x" * 300_000
        assert await anext(lines) == b"heard end"


async def test_what_talks_ends_with_its_connection(client: AsyncSSHClient, sshd: Sshd) -> None:
    argument = "1234567878"
    host = sshd.device()
    async with client.converse(host, line(f"echo on; cat; sleep {argument}")) as conversation:
        assert await anext(conversation.lines) == b"on"
        sshd.kill_sessions()
        with pytest.raises(OutcomeUnknown):
            await anext(conversation.lines)
    await until(lambda: not running(argument))
