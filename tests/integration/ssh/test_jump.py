"""Devices behind other devices."""

import asyncio
from collections.abc import Callable

import pytest

from infrastructor.errors import HostKeyMismatch, HostKeyUntrusted, SSHConnectionError
from infrastructor.ssh import AsyncSSHClient
from tests.support.sshd import Registry, Sshd, line


async def test_forty_devices_behind_one_jump_host_share_its_connection(
    client: AsyncSSHClient, registry: Registry, start_sshd: Callable[..., Sshd]
) -> None:
    jump, inner = start_sshd(), start_sshd()
    registry.devices["jump"] = jump.device("jump")
    hosts = [inner.device(f"host{n}", jump="jump") for n in range(40)]
    outputs = await asyncio.gather(*(client.execute_command(host, line("echo hi")) for host in hosts))

    assert {output.stdout for output in outputs} == {b"hi\n"}
    assert jump.logged("Accepted publickey") == 1
    assert (await client.scan_host_keys(hosts[0])) == inner.host_keys()


async def test_three_hops(client: AsyncSSHClient, registry: Registry, start_sshd: Callable[..., Sshd]) -> None:
    servers = [start_sshd() for _ in range(4)]
    for n, server in enumerate(servers[:3]):
        registry.devices[f"hop{n}"] = server.device(f"hop{n}", jump=f"hop{n - 1}" if n else None)
    host = servers[3].device("inner", jump="hop2")

    assert (await client.execute_command(host, line("echo deep"))).stdout == b"deep\n"
    assert [server.logged("Accepted publickey") for server in servers] == [1, 1, 1, 1]


async def test_when_the_jump_host_dies_its_devices_come_back_through_one_new_connection(
    client: AsyncSSHClient, registry: Registry, start_sshd: Callable[..., Sshd]
) -> None:
    jump, inner = start_sshd(), start_sshd()
    registry.devices["jump"] = jump.device("jump")
    hosts = [inner.device(f"host{n}", jump="jump") for n in range(5)]
    await asyncio.gather(*(client.execute_command(host, line("true")) for host in hosts))
    jump.kill_sessions()
    outputs = await asyncio.gather(*(client.execute_command(host, line("echo again")) for host in hosts))

    assert {output.stdout for output in outputs} == {b"again\n"}
    assert jump.logged("Accepted publickey") == 2


async def test_the_device_behind_is_checked_too(
    client: AsyncSSHClient, registry: Registry, start_sshd: Callable[..., Sshd]
) -> None:
    jump, inner = start_sshd(), start_sshd()
    registry.devices["jump"] = jump.device("jump")
    with pytest.raises(HostKeyMismatch):
        await client.execute_command(inner.device(jump="jump", host_keys=jump.host_keys()), line("true"))
    with pytest.raises(HostKeyUntrusted):
        await client.execute_command(inner.device(jump="jump", host_keys=()), line("true"))


async def test_jump_faults_name_the_jump_host(
    client: AsyncSSHClient, registry: Registry, start_sshd: Callable[..., Sshd]
) -> None:
    closed, inner = start_sshd("AllowTcpForwarding no"), start_sshd()
    registry.devices["closed"] = closed.device("closed")
    registry.devices["a"] = inner.device("a", jump="b")
    registry.devices["b"] = inner.device("b", jump="a")
    faults = {"closed": "jump host closed", "nowhere": "not a registered", "a": "circle"}
    for jump, message in faults.items():
        with pytest.raises(SSHConnectionError, match=message):
            await client.execute_command(inner.device(jump=jump), line("true"))
