"""What listens on the port may be slow, rude or no SSH server at all: every wait is bounded, every fault named."""

import asyncio
from time import monotonic

import pytest

from infrastructor.errors import CircuitOpen, SSHConnectionError, SSHTimeout
from infrastructor.ports.ssh import LinkState
from infrastructor.ssh import AsyncSSHClient
from tests.support.proxy import serving
from tests.support.sshd import Registry, Sshd, free_port, line, settings

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def silent(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def banner_then_silence(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    await asyncio.Event().wait()


async def closes_at_once(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def banner_then_close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    await writer.drain()


async def http(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n")
    await writer.drain()


async def endless_banner(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"hello\r\n" * 100)
        await writer.drain()
        await asyncio.sleep(0)


async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in b"SSH-2.0-drip" * 100:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.1)


async def garbage(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-x\r\n" + bytes(range(256)) * 100)
    await writer.drain()
    await asyncio.Event().wait()


HANDLERS = [silent, banner_then_silence, closes_at_once, banner_then_close, http, endless_banner, drip, garbage]


@pytest.mark.parametrize("handler", HANDLERS, ids=lambda handler: handler.__name__)
async def test_no_wait_is_longer_than_the_login_deadline(registry: Registry, sshd: Sshd, handler: object) -> None:
    client = AsyncSSHClient(settings(ssh_login_timeout_s=1.0), registry.find)
    started = monotonic()
    try:
        async with serving(handler) as port:  # type: ignore[arg-type]
            for ask in (
                lambda: client.execute_command(sshd.device(ssh_port=port), line("true")),
                lambda: client.scan_host_keys(sshd.device(ssh_port=port)),
            ):
                with pytest.raises(SSHConnectionError) as caught:
                    await ask()
                assert f"127.0.0.1:{port}" in caught.value.message
                assert caught.value.hint
    finally:
        await client.close()
    assert monotonic() - started < 12


async def test_a_closed_port_is_said_at_once_and_then_left_alone(client: AsyncSSHClient, sshd: Sshd) -> None:
    host = sshd.device(ssh_port=free_port())
    with pytest.raises(SSHConnectionError, match="refused"):
        await client.execute_command(host, line("true"))
    kinds = set()
    for _ in range(20):
        with pytest.raises(SSHConnectionError) as caught:
            await client.execute_command(host, line("true"))
        kinds.add(type(caught.value))
    assert CircuitOpen in kinds
    assert client.status(host.id).state in {LinkState.BACKOFF, LinkState.IDLE}


async def test_an_unknown_name_is_said(client: AsyncSSHClient, sshd: Sshd) -> None:
    with pytest.raises(SSHConnectionError, match="cannot be resolved"):
        await client.execute_command(sshd.device(address="no-such-host.invalid"), line("true"))


async def test_silent_hosts_delay_nobody_else(registry: Registry, sshd: Sshd, plain_user: str) -> None:
    client = AsyncSSHClient(settings(ssh_connect_timeout_s=2.0, ssh_login_timeout_s=3.0), registry.find)
    try:
        async with serving(silent) as port:
            dead = [
                asyncio.create_task(client.execute_command(sshd.device(f"dead{n}", ssh_port=port), line("true")))
                for n in range(4)
            ]
            started = monotonic()
            live = [sshd.device(f"live{n}", ssh_username=plain_user) for n in range(10)]
            await asyncio.gather(*(client.execute_command(host, line("true")) for host in live))
            assert monotonic() - started < 3
            results = await asyncio.gather(*dead, return_exceptions=True)
            assert all(isinstance(result, SSHTimeout) for result in results)
    finally:
        await client.close()
