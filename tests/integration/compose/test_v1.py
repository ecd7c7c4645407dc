"""Where only docker-compose 1 is there: the same promises."""

from pathlib import Path

import pytest

from infrastructor.errors import RolledBack
from infrastructor.ssh import AsyncSSHClient
from tests.integration.compose.conftest import PORT, Stacks
from tests.support.docker import DockerEngine
from tests.support.programs import program
from tests.support.sshd import Sshd

pytestmark = [pytest.mark.xdist_group("docker"), pytest.mark.timeout(240)]

OLD = f"""\
version: "3.7"
services:
  web:
    image: app:1
    command: ["httpd", "-f", "-p", "80", "-h", "/bin"]
    ports: ["{PORT}:80"]
    stop_grace_period: 1s
    healthcheck: {{test: ["CMD", "true"], interval: 1s}}
"""


async def test_it_deploys_puts_back_and_takes_down(
    client: AsyncSSHClient, docker_host: Sshd, docker_engine: DockerEngine, images: dict[str, str], tmp_path: Path
) -> None:
    program("docker-compose")
    host = Stacks(client, docker_host.device("nas"), docker_engine)
    try:
        first = await host.ask("compose_deploy", stack="old", folder=str(tmp_path), content=OLD, wait_seconds=30)
        assert first.outcome == "deployed"
        assert any("docker-compose 1." in note for note in first.notes)
        bad = OLD.replace("app:1", "app:2").replace('["CMD", "true"]', '["CMD", "false"]')
        with pytest.raises(RolledBack, match="unhealthy"):
            await host.ask("compose_deploy", stack="old", content=bad, wait_seconds=30)
        assert host.image_of("old_web_1") == images["app:1"]
        assert host.health_of("old_web_1") == "healthy"
        assert (tmp_path / "compose.yaml").read_text() == OLD
        newer = OLD.replace("app:1", "app:2")
        assert (await host.ask("compose_deploy", stack="old", content=newer, wait_seconds=30)).outcome == "deployed"
        detail = await host.ask("stack_get", stack="old")
        assert ([one.drift for one in detail.services], len(detail.versions)) == ([None], 1)
        assert (await host.ask("stack_rollback", stack="old", wait_seconds=30)).outcome == "deployed"
        assert host.image_of("old_web_1") == images["app:1"]
        plan = (await host.ask("stack_down", stack="old")).plan
        assert (await host.ask("stack_down", stack="old", plan_token=plan.plan_token)).removed == ["old_web_1"]
    finally:
        docker_engine.remove_all()
