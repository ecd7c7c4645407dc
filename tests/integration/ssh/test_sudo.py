"""Lines that need root, for logins of every kind."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from infrastructor.catalog import CATALOG
from infrastructor.errors import CommandNotAvailable, CommandTimeout
from infrastructor.ports.callers import Caller, Interface, Role
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import Flow, Lane
from infrastructor.reference import sudoers_file
from infrastructor.service import UnifiedDataCollectionService
from infrastructor.ssh import AsyncSSHClient
from tests import fakes
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


@pytest.fixture
def limited() -> Iterator[str]:
    """A login that sudo lets run `id -u` and what the catalogue's sudoers file says, and nothing else."""
    program("sudo")
    name = add_user("/bin/sh")
    file = Path(f"/etc/sudoers.d/{name}")
    write(file, f"{name} ALL=(root) NOPASSWD: /usr/bin/id -u\n{sudoers_file(CATALOG, name)}")
    yield name
    remove(file)
    remove_user(name)


@pytest.mark.parametrize("lane", ALL_LANES)
@pytest.mark.parametrize("probed", [False, True])
async def test_a_single_allowed_program_runs_without_a_root_shell(
    client: AsyncSSHClient, sshd: Sshd, limited: str, lane: Lane, probed: bool
) -> None:
    host = sshd.device(ssh_username=limited)
    if probed:
        assert (await client.capabilities(host)).sudo == "limited"
    output = await client.execute_command(host, line("id -u", lane, sudo=True, plain=True, needs="id"))
    assert (output.exit_status, output.stdout) == (0, b"0\n")
    with pytest.raises(CommandNotAvailable, match="let the login user run id without") as caught:
        await client.execute_command(host, line("id -g", lane, sudo=True, plain=True, needs="id"))
    assert f"{limited} ALL=(root) NOPASSWD: /usr/sbin/id, /usr/bin/id." in caught.value.hint
    with pytest.raises(CommandNotAvailable, match="is a script") as caught:
        await client.execute_command(host, line("id -u; id -g", lane, sudo=True))
    assert f"{limited} ALL=(root) NOPASSWD: /bin/sh" in caught.value.hint
    with pytest.raises(CommandNotAvailable):
        await client.execute_command(host, line("nosuch", lane, sudo=True, plain=True, needs="nosuch"))


async def test_a_refused_root_shell_is_not_tried_again(client: AsyncSSHClient, sshd: Sshd, limited: str) -> None:
    host = sshd.device(ssh_username=limited)
    command = line("id -u", sudo=True, plain=True, needs="id")
    await client.execute_command(host, command)
    opened = client.statistics()["shells_opened"]
    for _ in range(3):
        assert (await client.execute_command(host, command)).stdout == b"0\n"
    assert client.statistics()["shells_opened"] == opened


def test_the_printed_rules_are_valid_sudoers(tmp_path: Path) -> None:
    file = tmp_path / "sudoers"
    file.write_text(sudoers_file(CATALOG, "infra"))
    done = subprocess.run([program("visudo"), "-cf", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "/usr/sbin/smartctl ^" in file.read_text()


async def test_the_printed_rules_are_enough_for_drive_health(client: AsyncSSHClient, sshd: Sshd, limited: str) -> None:
    program("smartctl")
    host = sshd.device(ssh_username=limited)
    service = UnifiedDataCollectionService(
        operations=CATALOG,
        devices=fakes.FakeDevices(host),
        ssh=client,
        cache=fakes.FakeCache(),
        audit=fakes.FakeAudit(),
        metrics=fakes.FakeMetrics(),
        plans=fakes.FakePlans(),
        events=fakes.FakeEvents(),
        containers=fakes.FakeContainers(),
        drives=fakes.FakeDrives(),
    )
    caller = Caller(principal="anna", role=Role.VIEWER, interface=Interface.CLI)
    answer = await service.submit(service.operation("drive_health"), {"device": host.hostname}, caller)
    assert answer.result.device == host.hostname
    device_file = line("smartctl --json --xall --nocheck=standby --device=sat -- /dev/null", sudo=True, plain=True)
    asked = await client.execute_command(host, device_file)
    assert b'"smartctl"' in asked.stdout
    with pytest.raises(CommandNotAvailable):
        await client.execute_command(host, line("smartctl -s off /dev/null", sudo=True, plain=True, needs="smartctl"))


@pytest.mark.parametrize("rule", ["ALL", "/usr/bin/id, /usr/bin/tee"], ids=["a shell", "single programs"])
async def test_both_ends_of_a_stream_run_as_root(client: AsyncSSHClient, sshd: Sshd, tmp_path: Path, rule: str) -> None:
    program("sudo")
    name = add_user("/bin/sh")
    file = write(Path(f"/etc/sudoers.d/{name}"), f"{name} ALL=(root) NOPASSWD: {rule}\n")
    host, flow = sshd.device(ssh_username=name), Flow()
    try:
        async with asyncio.timeout(30):
            await client.pipe(
                host, line("id -u", sudo=True), host, line(f"tee {tmp_path}/id", sudo=True, needs="tee"), flow
            )
    finally:
        remove(file)
        remove_user(name)
    assert ((tmp_path / "id").read_text(), (tmp_path / "id").stat().st_uid, flow.moved) == ("0\n", 0, 2)
