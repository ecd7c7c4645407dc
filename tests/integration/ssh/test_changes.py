"""What an operation runs twice runs twice; what is only sent again does not."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import Lane
from infrastructor.ssh import AsyncSSHClient
from tests.doors.world import World
from tests.fakes import FakeDevices
from tests.integration.ssh.slow_operations import OPERATIONS, slow_change
from tests.integration.ssh.test_stopping import ANNA
from tests.support.sshd import Sshd, line
from tests.support.wait import until


def world_of(client: AsyncSSHClient, device: Device) -> World:
    return World(operations=OPERATIONS, devices=FakeDevices(device), ssh=client)  # type: ignore[arg-type]


async def test_the_same_change_twice_in_one_operation_runs_twice(
    client: AsyncSSHClient, ssh_host: Device, tmp_path: Path
) -> None:
    world, path = world_of(client, ssh_host), tmp_path / "ran"
    script = f"echo x >>{path}; cat {path}"
    service = world.application().service
    await service.submit(slow_change, {"device": "host", "first": script, "second": script}, ANNA)

    assert path.read_text() == "x\nx\n"
    (record,) = world.records
    assert (record.outcome, len(record.commands)) == ("ok", 2)


@pytest.mark.parametrize("lost_in", ["first", "second"])
async def test_each_of_two_same_changes_runs_once_when_the_connection_dies_under_it(
    client: AsyncSSHClient, start_sshd: Callable[..., Sshd], tmp_path: Path, lost_in: str
) -> None:
    server, path = start_sshd(), tmp_path / "ran"
    world = world_of(client, server.device())
    script = f"echo x >>{path}; sleep 1.5"
    service = world.application().service
    task = asyncio.create_task(service.submit(slow_change, {"device": "host", "first": script, "second": script}, ANNA))
    expected = "x\n" if lost_in == "first" else "x\nx\n"
    await until(lambda: path.exists() and path.read_text() == expected, 20)
    assert server.kill_sessions() > 0
    await task

    assert path.read_text() == "x\nx\n"


async def test_the_same_step_asked_for_twice_runs_once(
    client: AsyncSSHClient, ssh_host: Device, tmp_path: Path
) -> None:
    path, operation_id = tmp_path / "ran", uuid4()
    text = f"echo x >>{path}; sleep 0.3; cat {path}"
    first, second, third = await asyncio.gather(
        client.execute_command(ssh_host, line(text, Lane.CHANGE, step=1), operation_id=operation_id),
        client.execute_command(ssh_host, line(text, Lane.CHANGE, step=1), operation_id=operation_id),
        client.execute_command(ssh_host, line(text, Lane.CHANGE, step=2), operation_id=operation_id),
    )
    assert (first.exit_status, first.stdout) == (second.exit_status, second.stdout)
    assert third.exit_status == 0
    assert path.read_text() == "x\nx\n"
