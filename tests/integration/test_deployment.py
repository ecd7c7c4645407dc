"""docker-compose.yml means what it should, by docker compose itself."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.docker import compose_program

pytestmark = pytest.mark.xdist_group("deployment")  # they share one download

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The resolved configuration, from a copy with secrets made as the file says."""
    program = compose_program()
    copy = tmp_path_factory.mktemp("compose")
    (copy / "docker").mkdir()
    for name in ("docker-compose.yml", "docker/make-secrets.sh"):
        (copy / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(["bash", "docker/make-secrets.sh"], cwd=copy, check=True, capture_output=True)
    done = subprocess.run(
        [*program, "config", "--format", "json"], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    resolved: dict[str, Any] = json.loads(done.stdout)
    return resolved


def test_the_founding_ports_are_published_on_loopback_only(compose: dict[str, Any]) -> None:
    published = {
        name: [(port["host_ip"], port["published"], port["target"]) for port in service.get("ports", [])]
        for name, service in compose["services"].items()
    }
    assert published == {
        "postgres": [("127.0.0.1", "9100", 5432)],
        "redis": [("127.0.0.1", "9104", 6379)],
        "api": [("127.0.0.1", "9101", 9101)],
        "mcp": [("127.0.0.1", "9102", 9102)],
        "collector": [],
    }


def test_every_service_is_confined(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["user"] not in {"", "0", "root"}, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_what_serves_is_checked(compose: dict[str, Any]) -> None:
    checked = {name for name, service in compose["services"].items() if "healthcheck" in service}
    assert checked == {"postgres", "redis", "api", "mcp"}
    for name in ("api", "mcp", "collector"):
        assert {needed["condition"] for needed in compose["services"][name]["depends_on"].values()} == {
            "service_healthy"
        }


def test_no_secret_is_in_the_environment_or_a_command_line(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for value in map(str, (service.get("environment", {}) | {"": ""}).values()):
            assert "://" not in value
        assert "requirepass" not in str(service.get("command"))
    assert all(secret["file"] for secret in compose["secrets"].values())
