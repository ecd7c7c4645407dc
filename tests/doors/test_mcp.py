"""The MCP door: what is listed, how answers and errors look, progress, cancellation, completions."""

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from fastmcp import Client
from jsonschema import validate
from mcp import MCPError
from mcp_types import ResourceTemplateReference

from infrastructor.catalog import CATALOG
from infrastructor.errors import ValidationFailed
from infrastructor.ports.callers import Role
from mcp_server.server import create_server
from tests.doors.clients import ERAS, mcp_http, stdio
from tests.doors.world import World


async def connection(world: World, over_http: bool, era: str) -> AbstractAsyncContextManager[Client[Any]]:
    return mcp_http(world, await world.token(Role.ADMIN), era=era) if over_http else stdio(world, era=era)


everywhere = pytest.mark.parametrize(
    ("over_http", "era"), [(http, era) for http in (True, False) for era in ERAS], ids=str
)


@everywhere
async def test_a_tool_answers_in_both_eras_and_over_both_transports(world: World, over_http: bool, era: str) -> None:
    async with await connection(world, over_http, era) as client:
        result = await client.call_tool("zfs_pool_list", {"device": "nas"})
        tool = next(tool for tool in await client.list_tools() if tool.name == "zfs_pool_list")

    assert result.structured_content == {"pools": [{"name": "tank", "health": "ONLINE", "size_bytes": 4000000000000}]}
    validate(result.structured_content, tool.output_schema)


async def test_a_tool_is_described_completely_and_briefly(world: World) -> None:
    async with stdio(world) as client:
        tool = next(tool for tool in await client.list_tools() if tool.name == "zfs_pool_destroy")

    assert tool.model_dump(mode="json", by_alias=True, exclude_none=True) == {
        "name": "zfs_pool_destroy",
        "title": "Zfs: pool destroy",
        "description": "Destroy a pool and everything in it. Returns the plan first; call again with its plan_token.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "device": {"type": "string"},
                "plan_token": {"type": "string", "description": "From the plan; without it only plans."},
                "pool": {"type": "string", "description": "The pool to destroy, e.g. tank."},
            },
            "required": ["device", "pool"],
        },
        "outputSchema": {
            "type": "object",
            "properties": {
                "status": {"type": "string", "enum": ["planned", "done"]},
                "plan": {
                    "anyOf": [
                        {
                            "type": "object",
                            "properties": {
                                "summary": {"type": "string"},
                                "effects": {"type": "array", "items": {"type": "string"}},
                                "commands": {"type": "array", "items": {"type": "string"}},
                                "reversible": {"type": "boolean"},
                                "plan_token": {"type": "string"},
                                "expires_at": {"type": "string", "format": "date-time"},
                                "plan_id": {"type": "string", "format": "uuid"},
                                "needs_approval": {"type": "boolean"},
                            },
                            "required": [
                                "summary",
                                "effects",
                                "commands",
                                "reversible",
                                "plan_id",
                                "plan_token",
                                "expires_at",
                            ],
                        },
                        {"type": "null"},
                    ]
                },
                "pool": {"type": ["string", "null"]},
            },
            "required": ["status"],
        },
        "annotations": {
            "title": "Zfs: pool destroy",
            "readOnlyHint": False,
            "destructiveHint": True,
            "idempotentHint": False,
            "openWorldHint": True,
        },
        "_meta": {"fastmcp": {"tags": ["zfs"]}},
    }


async def test_reads_with_a_uri_are_resources_and_templates(world: World) -> None:
    async with stdio(world) as client:
        plain = [(resource.uri, resource.mime_type) for resource in await client.list_resources()]
        templates = [(template.uri_template, template.name) for template in await client.list_resource_templates()]
        read = await client.read_resource("zfs://nas/pools")

    assert plain == [("thing://all", "application/json")]
    assert templates == [("zfs://{device}/pools", "zfs_pool_list")]
    assert json.loads(read[0].text)["pools"][0]["name"] == "tank"
    assert read[0].meta["cache"] == "miss"


@everywhere
async def test_destruction_is_planned_then_carried_out(world: World, over_http: bool, era: str) -> None:
    arguments = {"device": "nas", "pool": "tank"}

    async with await connection(world, over_http, era) as client:
        plan = (await client.call_tool("zfs_pool_destroy", arguments)).structured_content["plan"]
        acted_before = any("scrub" in line for _, line in world.ssh.sent)
        token = {"plan_token": plan["plan_token"]}
        done = await client.call_tool("zfs_pool_destroy", arguments | token)
        again = await client.call_tool("zfs_pool_destroy", arguments | token, raise_on_error=False)

    assert not acted_before
    assert done.structured_content["status"] == "done"
    assert again.content[0].text.startswith("plan_rejected: ")
    assert sum("scrub" in line for _, line in world.ssh.sent) == 1


@everywhere
async def test_progress_reaches_the_client(world: World, over_http: bool, era: str) -> None:
    heard: list[tuple[float, float | None, str | None]] = []

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))

    async with await connection(world, over_http, era) as client:
        await client.call_tool("thing_search", {}, progress_handler=listen)

    said = [call for call in heard if call[2] in {"waiting", "done"}]
    assert said == [(0, 1, "waiting"), (1, 1, "done")]


@everywhere
async def test_an_operation_that_reports_by_itself_is_named_all_the_same(
    world: World, over_http: bool, era: str
) -> None:
    heard: list[tuple[float, str]] = []

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, message or ""))

    async with await connection(world, over_http, era) as client:
        result = await client.call_tool("thing_search", {"wait_s": 0.5}, progress_handler=listen)

    assert [message for _, message in heard if result.meta["operation_id"] in message] != []
    numbers = [number for number, _ in heard]
    assert numbers == sorted(set(numbers))


@everywhere
async def test_a_cancelled_call_stops_the_operation_and_is_audited(world: World, over_http: bool, era: str) -> None:
    running = asyncio.Event()

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        running.set()

    async with asyncio.timeout(10), await connection(world, over_http, era) as client:
        call = asyncio.create_task(client.call_tool("thing_search", {"wait_s": 60}, progress_handler=listen))
        await running.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await world.audit.seen(1)

    assert world.outcomes == [("thing_search", "cancelled", "cancelled")]


async def test_a_result_that_is_too_large_says_how_to_narrow_it(world: World) -> None:
    async with stdio(world) as client:
        large = await client.call_tool("thing_search", {"size": 50_000}, raise_on_error=False)
        fitting = await client.call_tool("thing_search", {"size": 39_000})

    assert large.is_error
    assert large.content[0].text.startswith("result_too_large: ")
    assert "names, where, kind" in large.content[0].text
    assert large.meta["operation_id"] == str(world.records[0].operation_id)
    assert len(fitting.structured_content["padding"]) == 39_000


@everywhere
async def test_device_names_are_completed(world: World, over_http: bool, era: str) -> None:
    reference = ResourceTemplateReference(type="ref/resource", uri="zfs://{device}/pools")

    async with await connection(world, over_http, era) as client:
        completion = await client.complete(reference, {"name": "device", "value": "w"})
        operations = await client.complete(reference, {"name": "operation", "value": "zfs"})
        unknown = await client.complete(reference, {"name": "pool", "value": ""})

    assert completion.values == ["web-1"]
    assert operations.values == ["zfs_pool_list"]
    assert unknown.values == []


async def test_instructions_map_the_toolsets(world: World) -> None:
    text = create_server(world.application()).instructions or ""
    reading = create_server(world.application(), read_only=True).instructions or ""

    assert len(text) <= 2000
    assert "zfs_pool_list" in text
    assert "plan_token" in text
    assert "zfs_scrub_start" not in reading
    assert "plan_token" not in reading


async def test_toolsets_limit_what_there_is(world: World) -> None:
    server = create_server(world.application(), toolsets=["thing"], local_role=Role.ADMIN)

    async with Client(server) as client:
        assert [tool.name for tool in await client.list_tools()] == ["thing_search"]
    with pytest.raises(ValidationFailed, match="toolset"):
        create_server(world.application(), toolsets=["nope"])


async def test_without_a_token_and_without_stdio_nobody_is_anybody(world: World) -> None:
    async with Client(create_server(world.application())) as client:
        with pytest.raises(Exception, match=r".+"):
            await client.list_tools()
        result = await client.call_tool("zfs_pool_list", {"device": "nas"}, raise_on_error=False)

    assert result.is_error
    assert world.ssh.sent == []


async def test_concurrent_identical_reads_run_once(world: World) -> None:
    async with stdio(world) as client:
        calls = [client.call_tool("zfs_pool_list", {"device": "nas"}) for _ in range(20)]
        results = await asyncio.gather(*calls)

    assert len({result.meta["operation_id"] for result in results}) == 20
    assert len(world.ssh.sent) == 1
    assert len(world.records) == 20


async def test_an_error_says_nothing_that_a_device_hid_in_it() -> None:
    row = {"Id": "a" * 64, "Names": ["/web\u202e\U000e0041\x1b[2J"], "Image": "i", "State": "running", "Status": "Up"}
    world = World(operations=CATALOG)
    world.ssh.replies["/containers/json"] = json.dumps([row | {"Created": 1}]).encode()
    async with stdio(world) as client:
        where = {"device": "nas", "container": "we"}
        result = await client.call_tool("container_get", where, raise_on_error=False)
        with pytest.raises(MCPError) as read:
            await client.read_resource("docker://nas/containers/we")

    told = json.dumps([result.content[0].text, result.meta, str(read.value)], ensure_ascii=False)
    assert "Near it: web[2J." in told
    assert not set("\u202e\U000e0041\x1b") & set(told)
