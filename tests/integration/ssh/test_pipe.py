"""Streams from one device to another through us: real sshd, plain programs."""

import asyncio
import hashlib
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from infrastructor.errors import CommandFailed, CommandNotAvailable, CommandTimeout, OutcomeUnknown, SSHConnectionError
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import Flow
from infrastructor.ssh import AsyncSSHClient
from infrastructor.ssh.carrier import STREAM_WINDOW
from tests.support.programs import resident_bytes, running
from tests.support.sshd import Registry, Sshd, add_user, line, local_device, remove_user, settings
from tests.support.wait import until

MB = 1 << 20


@pytest.fixture
def other(sshd: Sshd) -> Device:
    return sshd.device("other", address="127.0.0.2")


async def passed(
    client: AsyncSSHClient, source: Device, send: str, sink: Device, receive: str, **values: object
) -> Flow:
    flow = Flow(**values)  # type: ignore[arg-type]
    async with asyncio.timeout(60):
        await client.pipe(source, line(send), sink, line(receive), flow)
    return flow


async def risen(client: AsyncSSHClient, source: Device, sink: Device, size: int, receive: str) -> int:
    """Bytes by which the memory of this process rises at most while so many pass."""
    before, peak, flow = resident_bytes(), 0, Flow()
    sending = asyncio.create_task(client.pipe(source, line(f"head -c {size} /dev/zero"), sink, line(receive), flow))
    while not sending.done():
        peak = max(peak, resident_bytes())
        await asyncio.sleep(0.02)
    await sending
    assert flow.moved == size
    return peak - before


@pytest.mark.parametrize("kinds", ["ssh to ssh", "ssh to local", "local to ssh"])
async def test_every_byte_passes_and_is_counted(
    client: AsyncSSHClient, ssh_host: Device, other: Device, kinds: str, tmp_path: Path
) -> None:
    source = local_device() if kinds == "local to ssh" else ssh_host
    sink = local_device() if kinds == "ssh to local" else other
    content = os.urandom(5 * MB + 17)
    (tmp_path / "from").write_bytes(content)
    flow = await passed(client, source, f"cat {tmp_path}/from", sink, f"cat >{tmp_path}/to")
    assert flow.moved == len(content)
    assert hashlib.sha256((tmp_path / "to").read_bytes()).digest() == hashlib.sha256(content).digest()


@pytest.mark.parametrize("content", [b"", b"\n", b"\0" * 100_000, bytes(range(256)) * 4], ids=range(4))
async def test_no_byte_is_taken_for_a_sign(
    client: AsyncSSHClient, ssh_host: Device, other: Device, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "from").write_bytes(content)
    flow = await passed(client, ssh_host, f"cat {tmp_path}/from", other, f"cat >{tmp_path}/to")
    assert (flow.moved, (tmp_path / "to").read_bytes()) == (len(content), content)


async def test_a_big_stream_takes_no_more_memory_than_a_window(
    client: AsyncSSHClient, ssh_host: Device, other: Device
) -> None:
    await passed(client, ssh_host, f"head -c {8 * MB} /dev/zero", other, "cat >/dev/null")
    assert await risen(client, ssh_host, other, 256 * MB, "cat >/dev/null") < 8 * STREAM_WINDOW


@pytest.mark.parametrize("kind", ["ssh", "local"])
async def test_a_slow_sink_lets_no_more_than_a_window_gather_here(
    client: AsyncSSHClient, ssh_host: Device, other: Device, kind: str
) -> None:
    """A sink that takes a little now and then, from a source that is always faster."""
    sink = other if kind == "ssh" else local_device()
    slowly = "while [ $(head -c 131072 | wc -c) = 131072 ]; do sleep 0.01; done"
    await passed(client, ssh_host, f"head -c {8 * MB} /dev/zero", sink, "cat >/dev/null")
    assert await risen(client, ssh_host, sink, 40 * MB, slowly) < 5 * STREAM_WINDOW


async def test_it_goes_on_over_new_keys(
    client: AsyncSSHClient, start_sshd: Callable[..., Sshd], tmp_path: Path
) -> None:
    """A long stream outlives the keys of its connections, which either side may want anew."""
    rekeying = start_sshd("RekeyLimit 4M\nLogLevel DEBUG1")
    source, sink = rekeying.device("source"), rekeying.device("sink", address="127.0.0.2")
    seed = os.urandom(1 * MB)
    (tmp_path / "from").write_bytes(seed)
    many = f"for n in {' '.join(map(str, range(24)))}; do cat {tmp_path}/from; done"
    flow = await passed(client, source, many, sink, f"sha256sum >{tmp_path}/sum")
    assert flow.moved == 24 * MB
    assert (tmp_path / "sum").read_text().split()[0] == hashlib.sha256(seed * 24).hexdigest()
    assert rekeying.logged("SSH2_MSG_NEWKEYS received") > 4  # two of which are the first


async def test_a_sink_that_reads_nothing_stops_the_source(
    client: AsyncSSHClient, ssh_host: Device, other: Device, tmp_path: Path
) -> None:
    """What the source could write until it was stopped fits in the windows and the buffers of pipes and sockets."""
    go, count = tmp_path / "go", tmp_path / "count"
    os.mkfifo(go)
    flow = Flow()
    source = f"dd if=/dev/zero bs=64k count=2048 2>{count}"
    sending = asyncio.create_task(
        client.pipe(ssh_host, line(source), other, line(f"read x <{go}; wc -c >{tmp_path}/got"), flow)
    )
    moved = -1
    while moved != flow.moved or not flow.moved:
        moved = flow.moved
        await asyncio.sleep(0.5)
    assert moved < 64 * MB
    assert not sending.done()
    await asyncio.to_thread(go.write_text, "go\n")
    async with asyncio.timeout(30):
        await sending
    assert (flow.moved, (tmp_path / "got").read_text().strip()) == (128 * MB, str(128 * MB))


async def test_a_limit_is_kept(client: AsyncSSHClient, ssh_host: Device, other: Device) -> None:
    """However fast this machine is, the bytes may not come sooner than the limit lets them."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    await passed(client, ssh_host, f"head -c {6 * MB} /dev/zero", other, "cat >/dev/null", bytes_per_second=4 * MB)
    assert loop.time() - started >= 1.4


async def test_a_source_that_fails_is_named_with_what_it_said(
    client: AsyncSSHClient, ssh_host: Device, other: Device, tmp_path: Path
) -> None:
    with pytest.raises(CommandFailed, match=r"on host ended with status 3 and said: no such thing") as failed:
        await passed(client, ssh_host, "echo half; echo no such thing >&2; exit 3", other, f"cat >{tmp_path}/to")
    assert failed.value.details == {"side": "source", "exit_status": 3}
    assert (tmp_path / "to").read_text() == "half\n"


async def test_a_sink_that_fails_is_named_and_ends_the_source(
    client: AsyncSSHClient, ssh_host: Device, other: Device
) -> None:
    marker = str(uuid4().int % 10**9 + 10**12)
    with pytest.raises(CommandFailed, match=r"on other ended with status 4 and said: full") as failed:
        await passed(client, ssh_host, f"head -c {marker} /dev/zero", other, "head -c 99; echo full >&2; exit 4")
    assert failed.value.details["side"] == "sink"
    await until(lambda: not running(marker))


async def test_a_sink_may_have_enough(client: AsyncSSHClient, ssh_host: Device, other: Device) -> None:
    marker = str(uuid4().int % 10**9 + 10**12)
    await passed(client, ssh_host, f"head -c {marker} /dev/zero", other, "head -c 99 >/dev/null")
    await until(lambda: not running(marker))


@pytest.mark.parametrize("side", ["source", "sink"])
async def test_a_program_that_is_missing(client: AsyncSSHClient, ssh_host: Device, other: Device, side: str) -> None:
    lines = {"source": line("echo x"), "sink": line("cat >/dev/null")} | {side: line("zfsx", needs="zfsx")}
    with pytest.raises(CommandNotAvailable, match=f"{'host' if side == 'source' else 'other'} has no zfsx"):
        await client.pipe(ssh_host, lines["source"], other, lines["sink"], Flow())


@pytest.mark.parametrize("side", ["source", "sink"])
async def test_an_end_that_cannot_be_reached_keeps_nothing_open_at_the_other(
    client: AsyncSSHClient, sshd: Sshd, ssh_host: Device, side: str
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        away = sshd.device("away", ssh_port=free.getsockname()[1])
        ends = {"source": ssh_host, "sink": ssh_host} | {side: away}
        with pytest.raises(SSHConnectionError, match="refused the connection"):
            await passed(client, ends["source"], "echo x", ends["sink"], "cat >/dev/null")
    assert client._links[ssh_host.id].users == 0
    await passed(client, ssh_host, "echo x", ssh_host, "cat >/dev/null")


async def test_a_stream_that_stands_still_is_given_up(client: AsyncSSHClient, ssh_host: Device, other: Device) -> None:
    marker = str(uuid4().int % 10**9 + 10**9)
    with pytest.raises(CommandTimeout, match="No byte has moved"):
        await passed(client, ssh_host, f"echo x; sleep {marker}", other, "cat >/dev/null", stall_s=0.3)
    await until(lambda: not running(marker))


@pytest.mark.parametrize("kinds", ["ssh", "local"])
async def test_cancelling_leaves_no_process(
    client: AsyncSSHClient, ssh_host: Device, other: Device, kinds: str
) -> None:
    """Not even one that neither reads nor writes."""
    markers = [str(uuid4().int % 10**9 + 10**9) for _ in range(2)]
    source, sink = (ssh_host, other) if kinds == "ssh" else (local_device("a"), local_device("b"))
    sending = asyncio.create_task(
        client.pipe(source, line(f"echo x; sleep {markers[0]}"), sink, line(f"sleep {markers[1]}"), Flow())
    )
    await until(lambda: running(markers[0]) and running(markers[1]), 20)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await until(lambda: not running(markers[0]) and not running(markers[1]), 20)


@pytest.mark.parametrize("side", ["source", "sink"])
async def test_a_connection_that_is_lost_midway(
    client: AsyncSSHClient, start_sshd: Callable[..., Sshd], ssh_host: Device, side: str, tmp_path: Path
) -> None:
    """The caller hears which; the reader gets what had come, and then the end; nothing goes on anywhere."""
    marker = str(uuid4().int % 10**9 + 10**12)
    mortal = start_sshd()
    here, there = (mortal.device("mortal"), ssh_host) if side == "source" else (ssh_host, mortal.device("mortal"))
    flow = Flow()
    sending = asyncio.create_task(
        client.pipe(
            here, line(f"head -c {marker} /dev/zero"), there, line(f"cat >/dev/null; echo end >{tmp_path}/end"), flow
        )
    )
    await until(lambda: flow.moved > 4 * MB or sending.done(), 20)
    mortal.kill_sessions()
    with pytest.raises(OutcomeUnknown, match="mortal was lost") as lost:
        async with asyncio.timeout(40):
            await sending
    assert lost.value.details["side"] == side
    await until(lambda: not running(marker), 20)
    await until((tmp_path / "end").exists, 20)


async def test_a_sink_whose_server_heard_nothing_is_ended_before_anything_else_runs(
    registry: Registry, start_sshd: Callable[..., Sshd], ssh_host: Device
) -> None:
    """A half-open connection: its process waits for more, and would hold what is asked for next."""
    marker = str(uuid4().int % 10**9 + 10**12)
    deaf = start_sshd()
    there = deaf.device("deaf")
    client = AsyncSSHClient(settings(ssh_keepalive_s=0.5), registry.find)
    try:
        receive = f"sh -c 'cat >/dev/null' {marker}"
        sending = asyncio.create_task(
            client.pipe(ssh_host, line("head -c 5000000 /dev/zero; sleep 100"), there, line(receive), Flow())
        )
        await until(lambda: running(marker), 20)
        deaf.kill_sessions(signal.SIGSTOP)
        with pytest.raises(OutcomeUnknown, match="deaf was lost"):
            async with asyncio.timeout(40):
                await sending
        assert running(marker)
        assert (await client.execute_command(there, line("echo x"))).stdout == b"x\n"
        await until(lambda: not running(marker), 20)
    finally:
        deaf.kill_sessions()
        await client.close()


@pytest.mark.parametrize("shell", ["/usr/bin/fish", "/bin/tcsh"])
async def test_any_login_shell_carries_it(client: AsyncSSHClient, sshd: Sshd, shell: str, tmp_path: Path) -> None:
    user = add_user(shell)
    host = sshd.device("odd", ssh_username=user)
    try:
        with pytest.raises(CommandFailed, match=f"status 9 and said: {MB}"):
            await passed(client, host, f"head -c {MB} /dev/zero", host, "wc -c >&2; exit 9")
    finally:
        remove_user(user)


@pytest.mark.parametrize("side", ["source", "sink"])
async def test_what_a_login_says_is_none_of_what_its_command_said(
    client: AsyncSSHClient, sshd: Sshd, ssh_host: Device, side: str
) -> None:
    user = add_user("/usr/bin/zsh")
    try:
        await asyncio.to_thread(Path(f"/home/{user}/.zshenv").write_text, "echo welcome; echo careful >&2\n")
        ends = {"source": ssh_host, "sink": ssh_host} | {side: sshd.device("noisy", ssh_username=user)}
        texts = {"source": "echo x", "sink": "cat >/dev/null"} | {side: "echo broken >&2; exit 9"}
        with pytest.raises(CommandFailed, match=r"status 9 and said: broken$"):
            await passed(client, ends["source"], texts["source"], ends["sink"], texts["sink"])
    finally:
        remove_user(user)


async def test_it_holds_no_session_afterwards(client: AsyncSSHClient, start_sshd: Callable[..., Sshd]) -> None:
    narrow = start_sshd("MaxSessions 3")
    host = narrow.device()
    for _ in range(4):
        await passed(client, host, "echo x", host, "cat >/dev/null")
    assert (await client.execute_command(host, line("echo y"))).stdout == b"y\n"
