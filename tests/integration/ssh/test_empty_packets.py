"""No packet is sent for nothing, unless the cipher is one that it protects."""

from collections.abc import Callable
from typing import Any

import pytest

from infrastructor.ssh import AsyncSSHClient
from tests.support.sshd import Registry, Sshd, line, settings


@pytest.mark.parametrize(
    ("cipher", "packets"),
    [("aes128-gcm@openssh.com", 1), ("chacha20-poly1305@openssh.com", 1), ("aes256-ctr", 1), ("aes256-cbc", 2)],
)
async def test_a_warm_command_is_one_packet(
    cipher: str, packets: int, start_sshd: Callable[..., Sshd], registry: Registry
) -> None:
    device = start_sshd(f"Ciphers {cipher}").device()
    client = AsyncSSHClient(settings(ssh_legacy_algorithms=True), registry.find)
    try:
        await client.execute_command(device, line("true"))
        carrier: Any = client._links[device.id].carrier
        connection = carrier.connection
        assert connection.get_extra_info("send_cipher") == cipher
        before = connection._send_seq
        output = await client.execute_command(device, line("echo here"))
        assert output.stdout == b"here\n"
        assert connection._send_seq - before == packets
    finally:
        await client.close()
