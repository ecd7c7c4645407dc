"""What the operations on logs, packages, services and drives say of a real machine behind a real sshd."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from infrastructor.catalog import CATALOG
from infrastructor.ports import Caller, Device, Interface, Role
from infrastructor.service import UnifiedDataCollectionService
from infrastructor.ssh.client import AsyncSSHClient
from tests.fakes import FakeAudit, FakeCache, FakeDevices, FakeMetrics, FakePlans
from tests.support.sshd import client, registry, ssh_folder, ssh_host, sshd  # noqa: F401

VIEWER = Caller(principal="anna", role=Role.VIEWER, interface=Interface.CLI)


@pytest.fixture
async def service(client: AsyncSSHClient, ssh_host: Device) -> AsyncIterator[UnifiedDataCollectionService]:  # noqa: F811
    running = UnifiedDataCollectionService(
        operations=CATALOG,
        devices=FakeDevices(ssh_host),
        ssh=client,
        cache=FakeCache(),
        audit=FakeAudit(),
        metrics=FakeMetrics(),
        plans=FakePlans(),
    )
    yield running
    await running.drain()


async def ask(service: UnifiedDataCollectionService, name: str, **arguments: Any) -> Any:
    answer = await asyncio.wait_for(service.submit(service.operation(name), arguments, VIEWER), 60)
    return answer.result


async def test_drive_stats_measures_what_a_write_does(
    service: UnifiedDataCollectionService, tmp_path_factory: pytest.TempPathFactory
) -> None:
    first = await ask(service, "drive_stats", device="host", interval_seconds=0.2)
    assert 0.19 <= first.sampled_over_seconds <= 5
    await asyncio.sleep(1.1)
    since = await ask(service, "drive_stats", device="host")
    assert since.sampled_over_seconds >= 1.0
    names = {row.name for row in since.drives} | set(since.idle)
    assert names == {row.name for row in first.drives} | set(first.idle)
    assert not any(name.startswith("loop") for name in names)
