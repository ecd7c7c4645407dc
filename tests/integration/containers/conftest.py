"""The whole catalogue over real connections to a host with a real engine; only the stores are fakes."""

from collections.abc import AsyncIterator

import pytest

from infrastructor.ssh import AsyncSSHClient
from tests.support.containers import Host
from tests.support.docker import DockerEngine
from tests.support.sshd import Sshd


@pytest.fixture
async def host(client: AsyncSSHClient, docker_host: Sshd, docker_engine: DockerEngine) -> AsyncIterator[Host]:
    """The engine by its socket; every container is gone afterwards."""
    yield Host(client, docker_host.device("nas"), docker_engine)
    docker_engine.remove_all()


@pytest.fixture(params=["socket", "stdio", "cli"])
async def every_way(
    request: pytest.FixtureRequest,
    client: AsyncSSHClient,
    docker_host: Sshd,
    stdio_host: Sshd,
    docker_engine: DockerEngine,
) -> AsyncIterator[Host]:
    """The same engine by each of the three ways to it."""
    server = stdio_host if request.param == "stdio" else docker_host
    host = Host(client, server.device("nas"), docker_engine)
    if request.param == "cli":
        host.without_api()
    yield host
    docker_engine.remove_all()
