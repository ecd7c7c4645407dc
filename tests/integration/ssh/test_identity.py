"""Who a device is, and who we are to it."""

import asyncio
from collections.abc import Callable

import pytest

from infrastructor.errors import HostKeyMismatch, HostKeyUntrusted, SSHAuthenticationError, SSHConnectionError
from infrastructor.ports.ssh import LinkState
from infrastructor.ssh import AsyncSSHClient
from tests.support.sshd import Registry, Sshd, host_key, keygen, line, local_device, settings
from tests.support.wait import exists, write


async def test_the_scan_shows_what_ssh_keygen_prints_and_does_not_log_in(
    client: AsyncSSHClient, start_sshd: Callable[..., Sshd]
) -> None:
    server = start_sshd(host_key_kinds=("rsa", "ecdsa", "ed25519"))
    shown = await client.scan_host_keys(server.device(host_keys=()))

    assert shown == (host_key(server.folder / "host_ed25519"),)
    assert server.logged("Connection from") == 1
    assert server.logged("Accepted") == server.logged("Failed") == 0
    assert await client.scan_host_keys(local_device()) == ()


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
async def test_a_host_with_one_kind_of_key_can_be_scanned_trusted_and_used(
    client: AsyncSSHClient, start_sshd: Callable[..., Sshd], kind: str
) -> None:
    server = start_sshd(host_key_kinds=(kind,))
    shown = await client.scan_host_keys(server.device(host_keys=()))
    output = await client.execute_command(server.device(host_keys=shown), line("echo hi"))

    assert output.stdout == b"hi\n"


async def test_nothing_is_sent_to_a_host_that_nobody_trusted(
    client: AsyncSSHClient, start_sshd: Callable[..., Sshd]
) -> None:
    server = start_sshd()
    with pytest.raises(HostKeyUntrusted):
        await client.execute_command(server.device(host_keys=()), line("touch /tmp/never"))
    assert server.logged("Connection from") == 0


@pytest.mark.parametrize("shown", ["another key", "another kind"])
async def test_a_changed_host_key_quarantines_until_forgotten(
    client: AsyncSSHClient, start_sshd: Callable[..., Sshd], shown: str
) -> None:
    server = start_sshd(host_key_kinds=("ed25519",) if shown == "another key" else ("rsa",))
    other = host_key(keygen(server.folder / "other"))
    host = server.device(host_keys=(other,))
    for _ in range(3):
        with pytest.raises(HostKeyMismatch) as caught:
            await client.execute_command(host, line("touch /tmp/never"))
    assert other.fingerprint in caught.value.message
    if shown == "another key":
        assert server.host_keys()[0].fingerprint in caught.value.message

    assert server.logged("Connection from") == 1
    assert server.logged("Accepted") == 0
    assert client.status(host.id).state is LinkState.BLOCKED
    assert client.status(host.id).reason == "host_key_mismatch"

    await client.forget(host.id)
    trusted = host.model_copy(update={"host_keys": server.host_keys()})
    assert (await client.execute_command(trusted, line("echo hi"))).stdout == b"hi\n"


async def test_a_revoked_key_is_tried_a_few_times_and_then_rarely(
    client: AsyncSSHClient, start_sshd: Callable[..., Sshd], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infrastructor.ssh.backoff.LOGIN_WAITS_S", (0.1, 0.2, 600.0))
    server = start_sshd()
    server.authorize(False)
    host = server.device()
    for _ in range(40):
        with pytest.raises(SSHAuthenticationError):
            await client.execute_command(host, line("true"))
        await asyncio.sleep(0.02)

    assert server.logged("Connection from") == 3
    status = client.status(host.id)
    assert status.state is LinkState.BLOCKED
    assert status.retry_in_s is not None
    assert status.retry_in_s > 590

    server.authorize(True)
    await client.forget(host.id)
    assert (await client.execute_command(host, line("echo hi"))).stdout == b"hi\n"


async def test_a_key_revoked_while_connected_is_noticed_at_the_next_connection(
    client: AsyncSSHClient, start_sshd: Callable[..., Sshd]
) -> None:
    server = start_sshd()
    host = server.device()
    await client.execute_command(host, line("true"))
    server.authorize(False)
    server.kill_sessions()
    with pytest.raises(SSHAuthenticationError):
        await client.execute_command(host, line("sleep 0.1"))


@pytest.mark.parametrize(
    ("fault", "hint"),
    [("missing", "Correct the path"), ("readable by others", "chmod 600"), ("garbage", "PASSPHRASE")],
)
async def test_a_bad_key_file_is_named_and_nothing_is_sent(
    client: AsyncSSHClient, start_sshd: Callable[..., Sshd], fault: str, hint: str
) -> None:
    server = start_sshd()
    path = server.folder / "bad"
    if fault == "readable by others":
        keygen(path).chmod(0o644)
    elif fault == "garbage":
        path.write_text("no key")
        path.chmod(0o600)
    with pytest.raises(SSHAuthenticationError) as caught:
        await client.execute_command(server.device(ssh_private_key_path=str(path)), line("true"))

    assert str(path) in caught.value.message
    assert hint in caught.value.hint
    assert server.logged("Connection from") == 0


async def test_the_users_ssh_config_runs_nothing(
    registry: Registry, start_sshd: Callable[..., Sshd], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_sshd()
    home, ran = server.folder / "home", server.folder / "ran"
    rules = f'Match exec "touch {ran}"\n  User nobody\nHost *\n  ProxyCommand touch {ran}\n  Port 1\n'
    write(home / ".ssh" / "config", rules)
    monkeypatch.setenv("HOME", str(home))
    client = AsyncSSHClient(settings(), registry.find)
    try:
        await client.scan_host_keys(server.device())
        assert (await client.execute_command(server.device(), line("echo hi"))).stdout == b"hi\n"
    finally:
        await client.close()
    assert not exists(ran)


@pytest.mark.parametrize(
    ("option", "legacy"),
    [
        ("Ciphers aes128-gcm@openssh.com", False),
        ("Ciphers chacha20-poly1305@openssh.com", False),
        ("Ciphers aes128-ctr\nMACs hmac-sha2-256", False),
        ("KexAlgorithms curve25519-sha256", False),
        ("KexAlgorithms diffie-hellman-group14-sha1\nCiphers aes128-cbc\nMACs hmac-sha1", True),
    ],
)
@pytest.mark.filterwarnings("ignore:Diffie-Hellman over finite fields")
async def test_servers_of_several_ages_agree_with_us_on_algorithms(
    registry: Registry, start_sshd: Callable[..., Sshd], option: str, legacy: bool
) -> None:
    host = start_sshd(option).device()
    client = AsyncSSHClient(settings(ssh_legacy_algorithms=legacy), registry.find)
    try:
        assert (await client.execute_command(host, line("echo hi"))).stdout == b"hi\n"
    finally:
        await client.close()


@pytest.mark.parametrize(
    "option",
    ["KexAlgorithms diffie-hellman-group14-sha1", "MACs umac-64@openssh.com\nCiphers aes128-ctr", "Ciphers aes128-cbc"],
)
async def test_weak_algorithms_are_refused_with_the_way_out(
    client: AsyncSSHClient, start_sshd: Callable[..., Sshd], option: str
) -> None:
    with pytest.raises(SSHConnectionError, match="no algorithm in common") as caught:
        await client.execute_command(start_sshd(option).device(), line("true"))
    assert "LEGACY_ALGORITHMS" in caught.value.hint
