"""The short way for received data gives what asyncssh's own gives."""

from collections.abc import Callable

import pytest

from infrastructor.ports.ssh import Lane
from infrastructor.ssh import AsyncSSHClient, receive
from tests.support.sshd import Sshd, line

MIXED = "i=0; while [ $i -lt 300 ]; do printf 'out %d\\n' $i; printf 'err %d\\n' $i >&2; i=$((i+1)); done"
LARGE = "yes 0123456789abcdef | head -c 6000000"


@pytest.mark.parametrize("releases", [receive.KNOWN, ("0.",)], ids=["short", "asyncssh"])
@pytest.mark.parametrize("lane", [Lane.FAST, Lane.SLOW])
async def test_large_and_mixed_answers_survive_new_keys_in_their_middle(
    releases: tuple[str, ...],
    lane: Lane,
    start_sshd: Callable[..., Sshd],
    client: AsyncSSHClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receive, "KNOWN", releases)
    device = start_sshd("RekeyLimit 256K").device()
    large = await client.execute_command(device, line(LARGE, lane, max_output_bytes=8 << 20))
    assert large.stdout == (b"0123456789abcdef\n" * 352942)[:6000000]
    mixed = await client.execute_command(device, line(MIXED, lane))
    assert mixed.stdout == b"".join(b"out %d\n" % number for number in range(300))
    assert mixed.stderr == b"".join(b"err %d\n" % number for number in range(300))


async def test_chacha_connections_take_asyncsshs_own_way(
    start_sshd: Callable[..., Sshd], client: AsyncSSHClient
) -> None:
    device = start_sshd("Ciphers chacha20-poly1305@openssh.com").device()
    output = await client.execute_command(device, line(LARGE, max_output_bytes=8 << 20))
    assert len(output.stdout) == 6000000
