"""A host with a real engine and a real docker compose, a folder for stacks there, and images of several versions."""

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from infrastructor.ssh import AsyncSSHClient
from tests.support.containers import Host
from tests.support.docker import DockerEngine
from tests.support.sshd import Sshd


def _free_pair() -> int:
    """A port that is free together with the next one: other tests may run on this machine."""
    for port in range(18080 + os.getpid() % 1000 * 10, 65000, 10):
        with contextlib.suppress(OSError), socket.socket() as first, socket.socket() as second:
            first.bind(("0.0.0.0", port))
            second.bind(("0.0.0.0", port + 1))
            return port
    raise RuntimeError("no port is free")


PORT = _free_pair()
HEALTHY = f"""\
# The stack of these tests.
services:
  web:   # what is served
    image: app:1
    container_name: shop-web
    command: ["httpd", "-f", "-p", "80", "-h", "/bin"]
    ports:
      - "{PORT}:80"
    environment:
      TZ: Europe/Berlin
      DB_PASSWORD: hunter2-hunter2
    healthcheck:
      test: ["CMD", "true"]
      interval: 1s
    stop_grace_period: 1s
"""


class Stacks(Host):
    """The host, with what the tests look at behind its back."""

    folder: Path
    small: Path

    def image_of(self, container: str) -> str:
        return str(self.engine.inspect(container)["Image"])

    def identity_of(self, container: str) -> str:
        return str(self.engine.inspect(container)["Id"])

    def image_id(self, tag: str) -> str:
        return self.engine.docker("image", "inspect", "-f", "{{.Id}}", tag)

    def health_of(self, container: str) -> str:
        if not self.engine.docker("inspect", "-f", "{{.Id}}", container, check=False):
            return "gone"  # compose replaces it under another name first
        state: Any = self.state(container)
        return str((state.get("Health") or {}).get("Status") or state["Status"])


@pytest.fixture(scope="session")
def app_images(docker_engine: DockerEngine) -> dict[str, str]:
    """app:1 and app:2, which differ; their ids by name."""
    for tag in ("app:1", "app:2"):
        docker_engine.import_busybox(tag)
    return {tag: docker_engine.docker("image", "inspect", "-f", "{{.Id}}", tag) for tag in ("app:1", "app:2")}


@pytest.fixture
def images(docker_engine: DockerEngine, app_images: dict[str, str]) -> Iterator[dict[str, str]]:
    """The tags as they were, whatever a test does to them."""
    yield app_images
    for tag, identity in app_images.items():
        docker_engine.docker("tag", identity, tag, check=False)


@pytest.fixture
async def stacks(
    client: AsyncSSHClient, compose_host: Sshd, docker_engine: DockerEngine, images: dict[str, str], tmp_path: Path
) -> AsyncIterator[Stacks]:
    host = Stacks(client, compose_host.device("nas"), docker_engine)
    host.folder = tmp_path / "shop"
    host.small = docker_engine.folder.parent / "small"
    yield host
    docker_engine.remove_all()
