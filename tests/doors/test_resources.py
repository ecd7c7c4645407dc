"""Resource URIs with several variables, and completions of them: decoded, screened, checked, recorded."""

import asyncio
import json
from typing import Annotated, Any

import pytest
from fastmcp import Client
from mcp_types import PromptReference, ResourceTemplateReference
from pydantic import Field, StringConstraints

from infrastructor.app import Application
from infrastructor.catalog import COMPLETIONS
from infrastructor.completion import Lookup, listed
from infrastructor.operation import PLAIN, CachedParams, Context, DeviceParams, Operation, Result, completes, operation
from infrastructor.ports.callers import Effect, Role
from infrastructor.ports.ssh import CommandOutput
from mcp_server.server import create_server
from tests.doors.catalog import OPERATIONS, pool_list
from tests.doors.clients import ERAS
from tests.doors.world import World

ContainerName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,60}$"),
    Field(description="Container.", json_schema_extra=PLAIN | completes("container")),
]
Pool = Annotated[str, Field(description="Pool.", json_schema_extra=completes("pool"))]


class Echo(Result):
    said: dict[str, Any] = Field(description="What was asked.")


class ContainerParams(DeviceParams):
    name: ContainerName


class StackParams(DeviceParams):
    stack: str = Field(description="Stack.")


class LogParams(CachedParams):
    source: str = Field(pattern=r"^[a-z]+$", description="Where from.")
    filter: str = Field(max_length=50, description="Text to look for.")


class ConfigParams(DeviceParams):
    path: str = Field(pattern=r"^/?[^\x00-\x1f]{1,200}$", description="File.")
    at: str | None = Field(default=None, description="When.")


class DatasetParams(DeviceParams):
    pool: Pool | None = None
    dataset: str = Field(description="Dataset.")


def echo(name: str, uri: str, params: Any) -> Operation[Any, Any]:
    async def handler(ctx: Context, params: Any) -> Echo:
        """Say what was asked. For these tests."""
        return Echo(said=params.model_dump(exclude={"force_refresh"}, exclude_none=True))

    handler.__annotations__["params"] = params
    return operation(name=name, effect=Effect.READ, route=f"GET /api/{name}/{{device}}", resource_uri=uri)(handler)


# The general ones first: which of two that match is meant must not hang on the order.
ECHOES = (
    echo("docker_stack", "docker://{device}/{stack}", StackParams),
    echo("config_get", "config://{device}/{path*}{?at}", ConfigParams),
    echo("zfs_dataset", "zfs://{device}/{pool}/{dataset*}", DatasetParams),
    echo("docker_container", "docker://{device}/containers/{name}", ContainerParams),
    echo("log_query", "logs://{device}/{source}/{filter}", LogParams),
)


@pytest.fixture
def world() -> World:
    return World(operations=(*OPERATIONS, *ECHOES))


def server(world: World) -> Any:
    async def containers(lookup: Lookup) -> list[str]:
        return [f"{lookup.arguments.get('device')}-web", "db"]

    async def slow(lookup: Lookup) -> list[str]:
        await asyncio.Event().wait()
        return []

    application = world.application()
    more = {
        "container": containers,
        "pool": listed(pool_list, lambda result: [pool.name for pool in result.pools]),
        "slow": slow,
    }
    return create_server(
        Application(**{**vars(application), "completions": {**COMPLETIONS, **more}}), local_role=Role.ADMIN
    )


GOOD = [
    ("docker://nas/media", {"stack": "media"}),
    ("docker://nas/containers/web_1", {"name": "web_1"}),
    ("docker://nas/containers/web%5F1", {"name": "web_1"}),
    ("logs://nas/journal/out%20of%2Fmemory%3F", {"source": "journal", "filter": "out of/memory?"}),
    ("logs://nas/journal/gr%C3%B6%C3%9Fe%20100%25", {"source": "journal", "filter": "größe 100%"}),
    ("config://nas/etc/nginx/nginx.conf", {"path": "etc/nginx/nginx.conf"}),
    ("config://nas/%2Fetc%2Fnginx.conf", {"path": "/etc/nginx.conf"}),
    ("config://nas/srv/a%20b/c..d?at=2026-11-20T10%3A00%3A00Z", {"path": "srv/a b/c..d", "at": "2026-11-20T10:00:00Z"}),
    ("zfs://nas/tank/media/films%20old", {"pool": "tank", "dataset": "media/films old"}),
]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(("uri", "expected"), GOOD, ids=[uri for uri, _ in GOOD])
async def test_variables_arrive_as_they_were_meant(world: World, era: str, uri: str, expected: dict[str, str]) -> None:
    async with Client(server(world), mode=era) as client:  # type: ignore[arg-type]
        (content,) = await client.read_resource(uri)

    assert json.loads(content.text)["said"] == {"device": "nas", **expected}


async def test_the_case_of_a_device_name_is_kept(world: World) -> None:
    from tests.fakes import device

    world.devices.rows["Web-Ä".replace("Ä", "A")] = device("Web-A")
    async with Client(server(world)) as client:
        (content,) = await client.read_resource("docker://Web-A/containers/Db")

    assert json.loads(content.text)["said"] == {"device": "Web-A", "name": "Db"}


BAD = [
    ("config://nas/etc/..%2f..%2fshadow", "validation_failed"),
    ("config://nas/%2e%2e%2fetc%2fshadow", "validation_failed"),
    ("config://nas/a%5c..%5cb", "validation_failed"),
    ("config://nas/etc/a%00b", "validation_failed"),
    ("config://nas/etc/a%0ab", "validation_failed"),
    ("docker://nas/containers/a%2Fb", "validation_failed"),
    ("docker://nas/containers/-f", "validation_failed"),
    ("docker://nas/containers/a%3Bid", "validation_failed"),
    ("logs://nas/JOURNAL/x", "validation_failed"),
    ("logs://nas/journal/" + "x" * 51, "validation_failed"),
    ("docker://n%20as/media", "validation_failed"),
    ("docker://nowhere/media", "device_not_found"),
]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(("uri", "code"), BAD, ids=[uri[:40] for uri, _ in BAD])
async def test_what_no_name_and_no_path_holds_is_refused_and_recorded(
    world: World, era: str, uri: str, code: str
) -> None:
    async with Client(server(world), mode=era) as client:  # type: ignore[arg-type]
        with pytest.raises(Exception, match=code):
            await client.read_resource(uri)

    assert [(outcome, error) for _, outcome, error in world.outcomes] == [("refused", code)]
    assert world.records[0].operation != "unreadable_request"


async def complete(world: World, uri: str, name: str, value: str, **given: str) -> list[str]:
    async with Client(server(world)) as client:
        reference = ResourceTemplateReference(type="ref/resource", uri=uri)
        completion = await client.complete(reference, {"name": name, "value": value}, context_arguments=given)
    return list(completion.values)


CONTAINER = "docker://{device}/containers/{name}"


async def test_a_field_names_its_source(world: World) -> None:
    assert await complete(world, CONTAINER, "device", "") == ["nas", "web-1"]
    assert await complete(world, CONTAINER, "name", "", device="nas") == ["db", "nas-web"]
    assert await complete(world, CONTAINER, "name", "n", device="nas") == ["nas-web"]
    assert await complete(world, "docker://{device}/{stack}", "stack", "") == []


async def test_a_list_operation_is_a_source(world: World) -> None:
    uri = "zfs://{device}/{pool}/{dataset*}"
    assert await complete(world, uri, "pool", "t", device="nas") == ["tank"]
    assert await complete(world, uri, "pool", "t") == []  # it does not know of which device
    assert world.outcomes == [("zfs_pool_list", "ok", None)]


async def test_a_source_that_fails_or_hangs_gives_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_server.completion.PATIENCE_S", 0.1)
    world.ssh.outputs["zpool"] = CommandOutput(exit_status=1, stdout=b"")
    uri = "zfs://{device}/{pool}/{dataset*}"
    assert await complete(world, uri, "pool", "", device="nas") == []
    assert await complete(world, uri, "pool", "", device="nowhere") == []
    assert await complete(world, uri, "slow", "") == []


async def test_the_arguments_of_a_prompt_are_completed_by_their_name(world: World) -> None:
    async with Client(server(world)) as client:
        reference = PromptReference(type="ref/prompt", name="diagnose")
        completion = await client.complete(reference, {"name": "device", "value": "w"})
    assert completion.values == ["web-1"]
