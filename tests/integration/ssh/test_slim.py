"""A connection without what its handshake left behind is as good as one with it."""

import asyncio
import signal
from collections import deque
from collections.abc import Callable
from typing import Any

import asyncssh
import pytest

from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import Lane, LinkState
from infrastructor.ssh import AsyncSSHClient, slim
from tests.support.sshd import Registry, Sshd, keygen, line, settings
from tests.support.wait import until

COUNT = "seq 1 100000"  # 589 KB
NUMBERS = b"".join(b"%d\n" % number for number in range(1, 100001))


def connection_of(client: AsyncSSHClient, device: Device) -> Any:
    carrier: Any = client._links[device.id].carrier
    return carrier.connection


async def connect(client: AsyncSSHClient, device: Device) -> Any:
    await client.execute_command(device, line("true"))
    return connection_of(client, device)


def is_slim(connection: Any) -> bool:
    left = (connection._client_kexinit, connection._server_kexinit, connection._extensions_to_send)
    return not any(left) and not hasattr(connection._options, "kwargs") and connection._agent is None


@pytest.mark.parametrize("lane", [Lane.FAST, Lane.SLOW])
async def test_the_server_may_ask_for_new_keys(
    lane: Lane, start_sshd: Callable[..., Sshd], client: AsyncSSHClient
) -> None:
    device = start_sshd("RekeyLimit 64K").device()
    connection = await connect(client, device)
    assert is_slim(connection)
    for _ in range(3):
        keys = connection._recv_encryption
        output = await client.execute_command(device, line(COUNT, lane))
        assert output.stdout == NUMBERS
        assert connection._recv_encryption is not keys
    await client.execute_command(device, line("true"))
    await until(lambda: is_slim(connection))
    assert connection_of(client, device) is connection


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
async def test_we_may_ask_for_new_keys(kind: str, start_sshd: Callable[..., Sshd], client: AsyncSSHClient) -> None:
    device = start_sshd(host_key_kinds=(kind,)).device()
    connection = await connect(client, device)
    for number in range(3):
        keys = connection._send_encryption
        connection._rekey_bytes = 1
        answers = await asyncio.gather(
            *(client.execute_command(device, line(f"echo {number} {lane}", lane)) for lane in (Lane.FAST, Lane.SLOW))
        )
        assert [answer.stdout for answer in answers] == [b"%d fast\n" % number, b"%d slow\n" % number]
        connection._rekey_bytes = 1 << 30
        assert connection._send_encryption is not keys
    await until(lambda: is_slim(connection))
    assert (await client.execute_command(device, line(COUNT))).stdout == NUMBERS
    assert connection_of(client, device) is connection


async def test_another_host_key_is_refused_as_before(sshd: Sshd, client: AsyncSSHClient) -> None:
    connection = await connect(client, sshd.device())
    shown = connection.get_server_host_key()
    assert connection.validate_server_host_key(shown.public_data) == shown
    other = asyncssh.read_public_key(keygen(sshd.folder / "other").with_name("other.pub"))
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        connection.validate_server_host_key(other.public_data)


async def test_keepalives_go_on_and_tell_of_a_lost_connection(
    start_sshd: Callable[..., Sshd], registry: Registry
) -> None:
    server = start_sshd()
    device = server.device()
    client = AsyncSSHClient(settings(ssh_keepalive_s=0.2), registry.find)
    connection = await connect(client, device)
    await asyncio.sleep(1.5)
    assert connection_of(client, device) is connection

    server.kill_sessions(signal.SIGSTOP)
    await until(lambda: client.status(device.id).state is LinkState.IDLE)
    server.kill_sessions(signal.SIGKILL)
    assert await connect(client, device) is not connection
    server.kill_sessions()
    await until(lambda: client.status(device.id).state is LinkState.IDLE)
    await client.close()


async def test_many_channels_then_a_clean_end(start_sshd: Callable[..., Sshd], client: AsyncSSHClient) -> None:
    server = start_sshd()
    device = server.device()
    connection = await connect(client, device)
    await asyncio.gather(*(client.execute_command(device, line(f"echo {n}", Lane.SLOW)) for n in range(20)))
    await client.close()
    assert connection.is_closed()
    await asyncio.wait_for(connection.wait_closed(), 1)
    await until(lambda: not server.sessions())
    assert server.logged("Received disconnect from") == 1


async def test_other_releases_are_left_alone(
    sshd: Sshd, client: AsyncSSHClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncssh, "__version__", "2.25.0")
    untouched(await connect(client, sshd.device()))


async def test_the_setting_turns_it_off(sshd: Sshd, registry: Registry) -> None:
    client = AsyncSSHClient(settings(ssh_slim_links=False), registry.find)
    untouched(await connect(client, sshd.device()))
    await client.close()


def untouched(connection: Any) -> None:
    assert connection._client_kexinit
    assert connection._server_kexinit
    assert connection._options.kwargs
    assert "send_newkeys" not in vars(connection)
    for closing in (connection, *connection._channels.values()):
        assert type(closing._close_event._waiters) is deque


class Nothing:
    pass


def test_what_is_not_there_is_left_alone() -> None:
    nothing = Nothing()
    assert slim.install(nothing)
    slim.channel(nothing)
    assert vars(nothing) == {}
