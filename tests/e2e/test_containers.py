"""What a new user asks of a machine with containers, and does to them, through all three doors."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from fastmcp import Client
from fastmcp.client.auth import BearerAuth
from fastmcp.client.elicitation import ElicitResult
from mcp_types import ResourceTemplateReference

from tests.e2e.conftest import Installation
from tests.support.docker import IMAGE, DockerEngine
from tests.support.programs import need_root
from tests.support.sshd import Sshd, free_port

pytestmark = [pytest.mark.xdist_group("docker"), pytest.mark.timeout(180)]

SERVE = "trap 'exit 0' TERM; echo ready to serve; httpd -p 80; while :; do sleep 0.05; done"
_PUBLIC = free_port()


@pytest.fixture(scope="module")
def token(installation: Installation) -> str:
    return installation.token


@pytest.fixture(scope="module")
def nas(installation: Installation, token: str, docker_engine: DockerEngine, docker_host: Sshd) -> str:
    """A device with a web server in a container and one that failed, known and trusted in one command."""
    docker_engine.remove_all()
    docker_engine.docker(
        *("run", "-d", "--name", "web", "-p", f"127.0.0.1:{_PUBLIC}:80", "-e", "API_TOKEN=hunter2secret"),
        *(IMAGE, "sh", "-c", SERVE),
    )
    docker_engine.docker("run", "--name", "broken", IMAGE, "sh", "-c", "exit 3", check=False)
    added = installation.ask(
        *("device", "add", "nas", "--address", "127.0.0.1", "--ssh-port", str(docker_host.port)),
        *("--ssh-username", "root", "--ssh-private-key-path", str(docker_host.login_key)),
        *("--fingerprint", docker_host.host_keys()[0].fingerprint),
    )
    assert added["trusted"] is True
    deadline = monotonic() + 60
    while not _is_followed(installation, token):  # from then on only what the tests do makes an answer old
        assert monotonic() < deadline, installation.log[-2000:]
        sleep(0.1)
    return "nas"


def _is_followed(installation: Installation, token: str) -> bool:
    url = f"http://127.0.0.1:{installation.api_port}/api/health"
    health = httpx2.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=10).json()
    return bool(health["services"]["watchers"]["facts"]["devices"].get("nas", {}).get("mode") == "api")


@pytest.fixture
async def rest(installation: Installation, token: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with installation.rest(token) as client:
        client.timeout = 60.0
        yield client


@pytest.fixture
async def mcp(installation: Installation, token: str) -> AsyncIterator[Client[Any]]:
    async with Client(installation.mcp_url, auth=BearerAuth(token)) as client:
        yield client


async def called(mcp: Client[Any], name: str, **arguments: Any) -> dict[str, Any]:
    answer: dict[str, Any] = (await mcp.call_tool(name, arguments)).structured_content
    return answer


async def got(rest: httpx2.AsyncClient, path: str, **query: Any) -> dict[str, Any]:
    answer = await rest.get(path, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def read(mcp: Client[Any], uri: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await mcp.read_resource(uri))[0].text)
    return found


async def test_containers_are_the_same_through_every_door(
    installation: Installation, nas: str, rest: httpx2.AsyncClient, mcp: Client[Any]
) -> None:
    listed = await got(rest, f"/api/containers/{nas}")
    assert [row["name"] for row in listed["containers"]] == ["broken", "web"]  # problems first
    assert listed["counts"] == {"exited": 1, "running": 1}
    assert "broken" in listed["problems"][0]
    assert await called(mcp, "container_list", device=nas) == listed
    assert await read(mcp, f"docker://{nas}") == listed
    assert installation.ask("container", "list", nas) == listed


async def test_one_container_is_the_same_through_every_door_without_its_secrets(
    installation: Installation, nas: str, rest: httpx2.AsyncClient, mcp: Client[Any]
) -> None:
    shown = await got(rest, f"/api/containers/{nas}/web")
    assert (shown["state"]["status"], shown["ports"][0]["host_port"]) == ("running", _PUBLIC)
    assert "hunter2secret" not in json.dumps(shown)
    assert await called(mcp, "container_get", device=nas, container="web") == shown
    assert await read(mcp, f"docker://{nas}/containers/web") == shown
    assert installation.ask("container", "get", nas, "web") == shown


async def test_statistics_are_measured_and_the_same_while_fresh(
    installation: Installation, nas: str, rest: httpx2.AsyncClient, mcp: Client[Any]
) -> None:
    used = await got(rest, f"/api/containers/{nas}/stats")
    assert used["running"] == 1
    assert used["containers"][0]["memory_bytes"] > 0
    assert await called(mcp, "container_stats", device=nas) == used
    by_cli = installation.ask("container", "stats", nas)
    assert by_cli["containers"][0]["name"] == "web"


async def test_log_lines_are_the_same_through_every_door(
    installation: Installation, nas: str, rest: httpx2.AsyncClient, mcp: Client[Any]
) -> None:
    printed = await got(rest, f"/api/containers/{nas}/web/logs")
    assert [line["text"] for line in printed["lines"]] == ["ready to serve"]
    assert await called(mcp, "container_logs", device=nas, container="web") == printed
    assert await read(mcp, f"docker://{nas}/containers/web/logs") == printed
    assert installation.ask("container", "logs", nas, "web") == printed
    # The same log, as one source among the logs of the device.
    queried = await got(rest, f"/api/system/{nas}/logs", source="container:web", grep="serve")
    assert [line["message"] for line in queried["lines"]] == ["ready to serve"]
    assert await read(mcp, f"logs://{nas}/container:web/serve") == queried


async def test_candidates_are_offered_for_what_is_being_typed(nas: str, mcp: Client[Any]) -> None:
    template = ResourceTemplateReference(uri="docker://{device}/containers/{container}")
    devices = await mcp.complete(template, {"name": "device", "value": "n"})
    containers = await mcp.complete(template, {"name": "container", "value": "w"}, context_arguments={"device": nas})
    assert (devices.values, containers.values) == ([nas], ["web"])


async def test_the_ports_of_a_device_name_the_container(
    installation: Installation, nas: str, rest: httpx2.AsyncClient, mcp: Client[Any]
) -> None:
    found = await got(rest, f"/api/network/{nas}/ports", match="web")
    assert [(row["port"], row["container"], row["container_port"]) for row in found["ports"]] == [(_PUBLIC, "web", 80)]
    assert await called(mcp, "port_list", device=nas, match="web") == found
    assert installation.ask("port", "list", nas, "--match", "web") == found
    scanned = await read(mcp, f"ports://{nas}/analysis")
    assert scanned == await got(rest, f"/api/network/{nas}/ports/scan")


async def test_the_drives_of_this_machine_are_judged_or_it_is_said_why_not(
    installation: Installation, rest: httpx2.AsyncClient, mcp: Client[Any]
) -> None:
    judged = await rest.get("/api/system/local/drives/health")
    by_mcp = await mcp.call_tool("drive_health", {"device": "local"}, raise_on_error=False)
    by_cli = installation.run("drive", "health", "local", "--json", check=False)
    if judged.status_code == 200:
        assert judged.json() == by_mcp.structured_content == json.loads(by_cli.stdout)
    else:
        error = judged.json()
        assert error["hint"]
        assert by_mcp.content[0].text.startswith(error["code"])
        assert error["code"] in by_cli.stderr


@pytest.fixture
def log() -> Iterator[Path]:
    need_root()
    path = Path(f"/var/log/infrastructor-e2e-{os.getpid()}.log")
    now = datetime.now(UTC).astimezone()
    lines = [f"{now - timedelta(minutes=9 - n):%b %e %H:%M:%S} here app[{n}]: needle {n}" for n in range(9)]
    path.write_text("\n".join(lines) + "\n")
    yield path
    path.unlink()


async def test_a_log_of_this_machine_is_the_same_through_every_door(
    installation: Installation, rest: httpx2.AsyncClient, mcp: Client[Any], log: Path
) -> None:
    source = f"file:{log}"
    queried = await got(rest, "/api/system/local/logs", source=source, grep="needle")
    assert [line["message"] for line in queried["lines"]] == [f"needle {n}" for n in range(9)]
    assert await called(mcp, "log_query", device="local", source=source, grep="needle") == queried
    assert await read(mcp, f"logs://local/{quote(source, safe='')}/needle") == queried
    assert installation.ask("log", "query", "local", "--source", source, "--grep", "needle") == queried


async def test_the_ports_of_this_machine_hold_our_own_doors(installation: Installation, mcp: Client[Any]) -> None:
    listed = await called(mcp, "port_list", device="local", match=str(installation.api_port))
    assert [row["port"] for row in listed["ports"]] == [installation.api_port]
    assert installation.ask("port", "list", "local", "--match", str(installation.api_port)) == listed


async def test_the_overview_counts_both_devices(
    installation: Installation, nas: str, rest: httpx2.AsyncClient, mcp: Client[Any]
) -> None:
    for _ in range(5):  # the server measures all by itself each minute, between two of these questions perhaps
        overview = await read(mcp, "fleet://overview")
        by_rest, by_mcp = await got(rest, "/api/fleet/overview"), await called(mcp, "fleet_overview")
        by_cli = installation.ask("fleet", "overview")
        if overview == by_rest == by_mcp == by_cli:
            break
    assert {row["device"] for row in overview["rows"]} >= {"local", nas}
    assert overview == by_rest == by_mcp == by_cli


async def events(rest: httpx2.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    return list((await got(rest, "/api/events", **query))["events"])


async def test_a_stop_is_answered_listed_and_kept_as_an_event(
    installation: Installation, nas: str, rest: httpx2.AsyncClient, mcp: Client[Any], docker_engine: DockerEngine
) -> None:
    began = datetime.now(UTC).isoformat()
    stopped = await called(mcp, "container_stop", device=nas, container="web")
    assert (stopped["changed"], stopped["after"]["status"]) == (True, "exited")
    assert (await got(rest, f"/api/containers/{nas}"))["counts"] == {"exited": 2}  # not what was cached before
    async with asyncio.timeout(10):
        while not (died := await events(rest, device=nas, kind="container.die", since=began)):
            await asyncio.sleep(0.1)
    assert (died[0]["subject"], died[0]["data"]["exit_code"]) == ("web", 0)
    listed = installation.ask("event", "list", "--device", nas, "--kind", "container.die", "--since", began)
    assert listed["events"] == died
    assert listed == await called(mcp, "event_list", device=nas, kind="container.die", since=began)
    started = installation.ask("container", "start", nas, "web")
    assert (started["changed"], started["after"]["status"]) == (True, "running")
    assert docker_engine.inspect("web")["State"]["Running"] is True  # type: ignore[index]
    again = await rest.post(f"/api/containers/{nas}/web/start")
    assert (again.status_code, again.json()["changed"]) == (200, False)


@pytest.mark.parametrize("door", ["rest", "mcp", "mcp asking", "cli"])
async def test_a_container_is_removed_by_its_plan_and_not_before(
    door: str, installation: Installation, token: str, nas: str, docker_engine: DockerEngine
) -> None:
    identity = docker_engine.docker("create", "--name", "old", IMAGE, "true")
    where = {"device": nas, "container": "old"}
    asked: list[str] = []

    async def human(message: str, *_: Any) -> Any:
        asked.append(message)
        assert docker_engine.docker("ps", "-aq", "--filter", "name=old")
        return ElicitResult(action="accept", content={"confirm": True})

    async def remove(plan_token: str | None) -> dict[str, Any]:
        given = {} if plan_token is None else {"plan_token": plan_token}
        if door == "rest":
            async with installation.rest(token) as rest:
                return dict((await rest.delete(f"/api/containers/{nas}/old", params=given)).json())
        if door == "cli":
            words = ("--plan-token", plan_token, "--yes") if plan_token else ()
            done = installation.run("container", "remove", nas, "old", *words, "--json", check=False)
            assert (done.returncode == 0) == (plan_token is not None)
            return dict(json.loads(done.stdout))
        handler = human if door == "mcp asking" else None
        async with Client(installation.mcp_url, auth=BearerAuth(token), elicitation_handler=handler) as mcp:
            return await called(mcp, "container_remove", **where, **given)

    done = await remove(None)
    if door == "mcp asking":
        assert "Remove the container old" in asked[0]
    else:
        assert (done["status"], done["plan"]["commands"]) == ("planned", [f"docker rm -- {identity}"])
        assert docker_engine.docker("ps", "-aq", "--filter", "name=old")
        done = await remove(done["plan"]["plan_token"])
    assert (done["status"], done["name"], done["id"]) == ("done", "old", identity)
    assert docker_engine.docker("ps", "-aq", "--filter", "name=old") == ""


async def test_what_is_wrong_is_said_with_the_next_step(
    installation: Installation, nas: str, rest: httpx2.AsyncClient, mcp: Client[Any]
) -> None:
    missing = (await rest.get(f"/api/containers/{nas}/webb")).json()
    assert missing["code"] == "not_found"
    assert "web" in missing["hint"]
    by_mcp = await mcp.call_tool("container_get", {"device": nas, "container": "webb"}, raise_on_error=False)
    assert by_mcp.content[0].text.startswith("not_found: ")
    assert missing["hint"] in by_mcp.content[0].text
    by_cli = installation.run("container", "get", nas, "webb", check=False)
    assert missing["hint"] in by_cli.stderr


def test_no_secret_is_in_the_log(installation: Installation, token: str, nas: str) -> None:
    assert "hunter2secret" not in installation.log
    assert token not in installation.log
