"""Restoring what a container reads: tested there by `docker exec`, and undone when it is refused.

The container's `nginx` is a stand-in that refuses a word; what a real one prints is recorded in the fixtures.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from infrastructor.errors import ValidationFailed
from infrastructor.ssh import AsyncSSHClient
from tests.fake_history import fake_history
from tests.integration.configs.test_history_operations import World
from tests.support.containers import Host
from tests.support.docker import DockerEngine
from tests.support.sshd import Sshd

pytestmark = pytest.mark.xdist_group("docker")

NGINX = """#!/bin/sh
if grep -q nonsense /config/nginx/site-confs/*; then
  echo 'nginx: [emerg] unknown directive "nonsense" in /config/nginx/site-confs/default.conf:1' >&2
  exit 1
fi
echo 'nginx: configuration file /etc/nginx/nginx.conf test is successful' >&2
"""


@pytest.fixture
async def proxy(
    client: AsyncSSHClient, docker_host: Sshd, docker_engine: DockerEngine, tmp_path: Path
) -> AsyncIterator[Any]:
    """A device with a container `swag` that has the folder of the world mounted as /config."""
    device = docker_host.device("nas")
    world = World(client, device, tmp_path / "swag")
    (world.folder / "nginx" / "site-confs").mkdir(parents=True)
    (tmp_path / "nginx").write_text(NGINX)
    (tmp_path / "nginx").chmod(0o755)
    host = Host(client, device, docker_engine, history=fake_history())
    mounts = ("-v", f"{world.folder}:/config", "-v", f"{tmp_path / 'nginx'}:/bin/nginx:ro")
    host.run("swag", options=mounts)
    yield world
    docker_engine.remove_all()


async def test_nginx_judges_in_its_container_and_a_refusal_is_undone(proxy: World) -> None:
    target = proxy.folder / "nginx" / "site-confs" / "default.conf"
    now = "server { listen 80; }\n"
    target.write_text(now)
    good = await proxy.seen(str(target), "server { listen 81; }\n", 60)
    bad = await proxy.seen(str(target), "server { nonsense on; }\n", 30)

    dry = await proxy.ask("config_restore", path=str(target), version=str(bad), dry_run=True)
    assert dry.validated_by == "nginx -t in swag"
    with pytest.raises(ValidationFailed, match="unknown directive"):
        await proxy.ask("config_restore", path=str(target), version=str(bad))
    assert target.read_text() == now
    done = await proxy.ask("config_restore", path=str(target), version=str(good))
    assert (done.validated_by, target.read_text()) == ("nginx -t in swag", "server { listen 81; }\n")


async def test_a_file_that_was_not_there_is_removed_again(proxy: World) -> None:
    target = proxy.folder / "nginx" / "site-confs" / "new.conf"
    bad = await proxy.seen(str(target), "server { nonsense on; }\n", 30)
    with pytest.raises(ValidationFailed):
        await proxy.ask("config_restore", path=str(target), version=str(bad))
    assert not target.exists()
