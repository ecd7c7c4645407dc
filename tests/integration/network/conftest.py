"""The network operations through the real service, over real connections, on a host with a real engine."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from infrastructor.catalog import CATALOG
from infrastructor.errors import EngineUnavailable
from infrastructor.ports.callers import Caller, Interface, Role
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import EngineCall, EngineReply
from infrastructor.service import UnifiedDataCollectionService
from infrastructor.ssh import AsyncSSHClient
from tests.fakes import FakeAudit, FakeCache, FakeContainers, FakeDevices, FakeEvents, FakeMetrics, FakePlans
from tests.support.docker import DockerEngine
from tests.support.sshd import Sshd

VIEWER = Caller(principal="vera", role=Role.VIEWER, interface=Interface.MCP)

Ask = Callable[..., Any]


class NoApi:
    """A client for which no engine lets anybody near its API."""

    def __init__(self, real: AsyncSSHClient) -> None:
        self.real = real

    async def ask_engine(self, device: Device, call: EngineCall) -> EngineReply:
        raise EngineUnavailable(f"The container engine of {device.hostname} cannot be reached.")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def asker(ssh: Any, device: Device) -> Ask:
    """`await ask("port_list", match="x")` as a viewer, never from the cache."""
    service = UnifiedDataCollectionService(
        operations=CATALOG,
        devices=FakeDevices(device),
        ssh=ssh,
        cache=FakeCache(),
        audit=FakeAudit(),
        metrics=FakeMetrics(),
        plans=FakePlans(),
        events=FakeEvents(),
        containers=FakeContainers(),
    )

    async def ask(operation_name: str, /, **arguments: Any) -> Any:
        operation = service.operation(operation_name)
        fresh = {"force_refresh": True} if "force_refresh" in operation.params.model_fields else {}
        return (await service.submit(operation, {"device": device.hostname, **fresh, **arguments}, VIEWER)).result

    return ask


@pytest.fixture
async def ask(
    client: AsyncSSHClient,
    docker_host: Sshd,
    docker_engine: DockerEngine,
) -> AsyncIterator[Ask]:
    """The engine by its socket; every container is gone afterwards."""
    yield asker(client, docker_host.device("nas"))
    docker_engine.remove_all()
    docker_engine.docker("network", "prune", "-f")


@pytest.fixture(params=["socket", "stdio", "cli"])
async def ask_every_way(
    request: pytest.FixtureRequest,
    client: AsyncSSHClient,
    docker_host: Sshd,
    stdio_host: Sshd,
    docker_engine: DockerEngine,
) -> AsyncIterator[Ask]:
    """The same engine by each of the three ways to it."""
    server = stdio_host if request.param == "stdio" else docker_host
    yield asker(NoApi(client) if request.param == "cli" else client, server.device("nas"))
    docker_engine.remove_all()
    docker_engine.docker("network", "prune", "-f")
