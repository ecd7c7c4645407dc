"""Lines that need root, for logins of every kind."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from infrastructor.errors import CommandNotAvailable, CommandTimeout
from infrastructor.ports import Device, Lane
from infrastructor.ssh import AsyncSSHClient
from tests.support.programs import program, running
from tests.support.sshd import Sshd, add_user, line, local_device, remove_user
from tests.support.wait import remove, until, write

ALL_LANES = [Lane.FAST, Lane.SLOW, Lane.CHANGE]


@pytest.fixture(params=["nopasswd", "password", "none"])
def sudoer(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A user and what sudo lets it do."""
    program("sudo")
    name, mode = add_user("/bin/sh"), request.param
    rules = {"nopasswd": f"{name} ALL=(root) NOPASSWD: ALL\n", "password": f"{name} ALL=(root) ALL\n", "none": ""}
    file = Path(f"/etc/sudoers.d/{name}")
    file.write_text(rules[mode])
    file.chmod(0o440)
    yield name, mode
    file.unlink()
    remove_user(name)


@pytest.mark.parametrize("lane", ALL_LANES)
async def test_sudo_runs_or_says_why_not_and_never_hangs(
    client: AsyncSSHClient, sshd: Sshd, sudoer: tuple[str, str], lane: Lane
) -> None:
    name, mode = sudoer
    host = sshd.device(ssh_username=name)
    async with asyncio.timeout(10):
        if mode == "nopasswd":
            output = await client.execute_command(host, line("id -u; echo $LC_ALL; exit 4", lane, sudo=True))
            assert (output.exit_status, output.stdout) == (4, b"0\nC\n")
        else:
            with pytest.raises(CommandNotAvailable, match="sudo"):
                await client.execute_command(host, line("id -u", lane, sudo=True))
        # The login's own shells are not touched by it.
        assert (await client.execute_command(host, line("id -un"))).text.strip() == name
        assert (await client.capabilities(host)).sudo == {"nopasswd": "nopasswd"}.get(mode, "password")


@pytest.mark.parametrize("lane", ALL_LANES)
@pytest.mark.parametrize("transport", ["ssh", "local"])
async def test_root_needs_no_sudo(client: AsyncSSHClient, sshd: Sshd, lane: Lane, transport: str) -> None:
    host: Device = sshd.device() if transport == "ssh" else local_device()
    output = await client.execute_command(host, line("id -u; echo ${SUDO_USER:-nobody}", lane, sudo=True))
    assert output.stdout == b"0\nnobody\n"
    assert client.statistics()["shells_opened"] <= 2
    assert (await client.capabilities(host)).sudo == "root"


@pytest.mark.parametrize("lane", [Lane.FAST, Lane.SLOW])
async def test_what_sudo_started_is_stopped_too(client: AsyncSSHClient, sshd: Sshd, lane: Lane) -> None:
    program("sudo")
    name = add_user("/bin/sh")
    file = write(Path(f"/etc/sudoers.d/{name}"), f"{name} ALL=(root) NOPASSWD: ALL\n")
    host, argument = sshd.device(ssh_username=name), str(uuid4().int % 10**9 + 10**9)
    try:
        with pytest.raises(CommandTimeout):
            await client.execute_command(host, line(f"sleep {argument}; true", lane, sudo=True, timeout_s=0.5))
        await until(lambda: not running(argument))
        ask = asyncio.create_task(client.execute_command(host, line(f"sleep {argument}; false", lane, sudo=True)))
        await until(lambda: running(argument))
        ask.cancel()
        await asyncio.gather(ask, return_exceptions=True)
        await until(lambda: not running(argument))
    finally:
        remove(file)
        await client.forget(host.id)
        remove_user(name)
