"""Who may do what: every operation × every kind of caller × every door, checked against the written rule."""

import re
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from infrastructor.operation import Operation
from infrastructor.ports.callers import Effect, Interface, Role
from tests.doors.catalog import OPERATIONS, thing_search
from tests.doors.clients import ERAS, cli, mcp_http, raw_mcp, rest, stdio
from tests.doors.world import World

MAY = {
    "viewer": {Effect.READ},
    "operator": {Effect.READ, Effect.CHANGE},
    "admin": {Effect.READ, Effect.CHANGE, Effect.DESTROY},
}
UNKNOWN = ("none", "wrong", "revoked", "expired", "not a bearer")
ARGUMENTS = {"device": "nas", "pool": "tank"}


async def headers_of(world: World, kind: str) -> dict[str, str]:
    if kind == "none":
        return {}
    if kind == "not a bearer":
        return {"Authorization": f"Basic {await world.token(Role.ADMIN)}"}
    if kind == "wrong":
        return {"Authorization": "Bearer inf_" + "y" * 40}
    if kind in {"revoked", "expired"}:
        secret = await world.token(Role.ADMIN, kind, expired=kind == "expired")
        await world.token_store.revoke("revoked")
        return {"Authorization": f"Bearer {secret}"}
    return {"Authorization": f"Bearer {await world.token(Role(kind))}"}


def request_of(operation: Operation[Any, Any]) -> tuple[str, str]:
    path = re.sub(r"\{(\w+)(?::path)?\}", lambda match: ARGUMENTS[match[1]], operation.route.path)
    return operation.route.method, path


@pytest.mark.parametrize("kind", [*MAY, *UNKNOWN])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
async def test_rest_gives_each_role_what_it_may_do(world: World, operation: Operation[Any, Any], kind: str) -> None:
    method, path = request_of(operation)

    async with rest(world) as client:
        answer = await client.request(method, path, headers=await headers_of(world, kind))

    expected = 401 if kind in UNKNOWN else 200 if operation.effect in MAY[kind] else 403
    assert answer.status_code == expected
    if expected == 401:
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert world.outcomes == [("authenticate", "refused", "unauthenticated")]
    elif expected == 403:
        assert world.outcomes == [(operation.name, "refused", "permission_denied")]
        assert world.ssh.sent == []


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", MAY)
async def test_mcp_lists_each_role_what_it_may_do_in_one_order(world: World, kind: str, era: str) -> None:
    async with mcp_http(world, await world.token(Role(kind)), era=era) as client:
        listed = [tool.name for tool in await client.list_tools()]
        again = [tool.name for tool in await client.list_tools()]

    assert listed == again == sorted(operation.name for operation in OPERATIONS if operation.effect in MAY[kind])


@pytest.mark.parametrize("kind", MAY)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
async def test_a_hidden_tool_called_all_the_same_is_refused_and_audited(
    world: World, operation: Operation[Any, Any], kind: str
) -> None:
    arguments = {name: value for name, value in ARGUMENTS.items() if name in operation.params.model_fields}

    async with mcp_http(world, await world.token(Role(kind))) as client:
        result = await client.call_tool(operation.name, arguments, raise_on_error=False)

    allowed = operation.effect in MAY[kind]
    assert result.is_error is not allowed
    if not allowed:
        assert result.content[0].text.startswith("permission_denied: ")
        assert world.outcomes == [(operation.name, "refused", "permission_denied")]
        assert world.ssh.sent == []


@pytest.mark.parametrize("kind", UNKNOWN)
async def test_mcp_over_http_needs_a_token_and_says_how(world: World, kind: str) -> None:
    async with raw_mcp(world) as client:
        answer = await client.post("/mcp", json={}, headers=await headers_of(world, kind))

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "infrastructor token" in answer.json()["hint"]
    assert world.outcomes == [("authenticate", "refused", "unauthenticated")]


@pytest.mark.parametrize("role", Role)
async def test_stdio_takes_the_role_it_was_started_with(world: World, role: Role) -> None:
    async with stdio(world, role=role) as client:
        listed = [tool.name for tool in await client.list_tools()]
        await client.call_tool("thing_search", {})

    assert listed == sorted(operation.name for operation in OPERATIONS if operation.effect in MAY[role])
    assert world.records[0].caller.principal.startswith("stdio:")


@pytest.mark.parametrize("over_http", [True, False])
async def test_read_only_hides_and_refuses_everything_but_reads(world: World, over_http: bool) -> None:
    token = await world.token(Role.ADMIN)
    connection = mcp_http(world, token, read_only=True) if over_http else stdio(world, read_only=True)

    async with connection as client:
        listed = [tool.name for tool in await client.list_tools()]
        result = await client.call_tool("zfs_scrub_start", ARGUMENTS, raise_on_error=False)

    assert listed == ["thing_search", "zfs_pool_list"]
    assert result.is_error
    assert [outcome for _, outcome, _ in world.outcomes] == ["refused"]
    assert world.ssh.sent == []


async def test_the_catalogue_over_rest_is_filtered_by_role(world: World) -> None:
    async with rest(world, await world.token(Role.VIEWER)) as client:
        listed = (await client.get("/api/operations")).json()["operations"]

    assert [entry["name"] for entry in listed] == ["zfs_pool_list", "thing_search"]
    assert listed[0]["params"]["required"] == ["device"]


async def test_a_read_only_rest_door_shows_what_reads_and_refuses_the_rest(world: World) -> None:
    async with rest(world, await world.token(Role.ADMIN), read_only=True) as client:
        documented = (await client.get("/openapi.json")).json()["paths"]
        listed = (await client.get("/api/operations")).json()["operations"]
        refused = await client.post("/api/zfs/nas/pools/tank/scrub", json={})

    del documented["/api/ws/ticket"]  # it buys a way to listen
    methods = {method for path in documented.values() for method in path}
    assert methods == {"get"}
    assert {entry["effect"] for entry in listed} == {"read"}
    assert (refused.status_code, refused.json()["code"]) == (403, "read_only")
    assert world.outcomes == [("zfs_scrub_start", "refused", "read_only")]


async def test_what_is_hidden_from_a_door_is_not_shown_and_refused_there(world: World) -> None:
    hidden = replace(thing_search, hidden_from=(Interface.MCP, Interface.REST), resource_uri=None, role=Role.ADMIN)
    world.operations = [hidden if operation is thing_search else operation for operation in OPERATIONS]
    token = await world.token(Role.ADMIN)

    async with rest(world, token) as client:
        documented = (await client.get("/openapi.json")).json()["paths"]
        listed = [entry["name"] for entry in (await client.get("/api/operations")).json()["operations"]]
        refused = await client.get("/api/things")
    async with mcp_http(world, token) as mcp:
        tools = [tool.name for tool in await mcp.list_tools()]
        called = await mcp.call_tool("thing_search", {}, raise_on_error=False)

    assert "/api/things" not in documented
    assert "thing_search" not in [*listed, *tools]
    assert refused.json()["code"] == "permission_denied"
    assert called.is_error
    assert (await cli(world, "thing", "search", "--json")).exit_code == 0


@pytest.mark.parametrize(("role", "status"), [(Role.VIEWER, 403), (Role.OPERATOR, 403), (Role.ADMIN, 200)])
async def test_an_operation_may_ask_for_a_higher_role_than_its_effect(world: World, role: Role, status: int) -> None:
    world.operations = [replace(thing_search, role=Role.ADMIN)]
    token = await world.token(role)

    async with rest(world, token) as client:
        assert (await client.get("/api/things")).status_code == status
    async with mcp_http(world, token) as mcp:
        assert bool(await mcp.list_tools()) is (status == 200)


@pytest.mark.parametrize("path", ["/api/health", "/api/operations", "/openapi.json"])
async def test_the_servers_own_routes_need_a_token_too(world: World, path: str) -> None:
    async with rest(world) as client:
        assert (await client.get(path)).status_code == 401
        assert (await client.get(path, headers=await world.bearer(Role.VIEWER))).status_code == 200


async def test_a_flood_of_wrong_tokens_leaves_a_bounded_number_of_records(world: World) -> None:
    async with rest(world) as client:
        answers = [await client.get("/api/things") for _ in range(200)]

    assert {answer.status_code for answer in answers} == {401}
    assert 10 <= len(world.records) <= 40


async def test_a_token_in_the_url_is_no_token(world: World) -> None:
    secret = await world.token(Role.ADMIN)

    async with rest(world) as client:
        answer: httpx2.Response = await client.get("/api/things", params={"token": secret, "access_token": secret})

    assert answer.status_code == 401
    assert secret not in answer.text
