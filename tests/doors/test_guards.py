"""Neither a rebound name nor a foreign page reaches a door; answers carry the headers that keep browsers tame."""

import pytest

from infrastructor.ports.callers import Role
from tests.doors.clients import raw_mcp, rest
from tests.doors.world import World

EVIL = [
    {"Host": "evil.example"},
    {"Host": "127.0.0.1.evil.example"},
    {"Host": "localhost@evil.example"},
    {"Host": ""},
    {"Origin": "http://evil.example"},
    {"Origin": "http://localhost.evil.example:9101"},
    {"Origin": "null"},
]


@pytest.mark.parametrize("headers", EVIL, ids=str)
@pytest.mark.parametrize("path", ["/health", "/api/things", "/nope"])
async def test_rest_refuses_a_foreign_host_or_origin(world: World, headers: dict[str, str], path: str) -> None:
    async with rest(world, await world.token(Role.ADMIN)) as client:
        answer = await client.get(path, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert world.records == []


@pytest.mark.parametrize("headers", EVIL, ids=str)
async def test_mcp_refuses_a_foreign_host_or_origin(world: World, headers: dict[str, str]) -> None:
    async with raw_mcp(world) as client:
        answer = await client.post("/mcp", json={}, headers=await world.bearer() | headers)

    assert answer.status_code in {403, 421}
    assert world.records == []


@pytest.mark.parametrize("host", ["localhost", "localhost:9101", "127.0.0.1:9101", "[::1]:9101", "infra.lan"])
async def test_our_own_names_are_answered(world: World, host: str) -> None:
    async with rest(world, allowed_hosts=("infra.lan",)) as client:
        assert (await client.get("/health", headers={"Host": host})).status_code == 200


async def test_an_allowed_origin_gets_cors_and_others_none(world: World) -> None:
    allowed = "https://ui.example"
    preflight = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}

    async with rest(world, await world.token(Role.VIEWER), allowed_origins=(allowed,)) as client:
        asked = await client.options("/api/things", headers={"Origin": allowed} | preflight)
        answer = await client.get("/api/things", headers={"Origin": allowed})
        own = await client.get("/api/things", headers={"Origin": "http://localhost:9101"})

    assert asked.headers["access-control-allow-origin"] == allowed
    assert answer.headers["access-control-allow-origin"] == allowed
    assert "x-operation-id" in answer.headers["access-control-expose-headers"].lower()
    assert own.status_code == 200
    assert "access-control-allow-origin" not in own.headers


async def test_every_answer_carries_the_security_headers(world: World) -> None:
    async with rest(world) as client:
        answers = [await client.get("/health"), await client.get("/nope"), await client.get("/api/things")]

    for answer in answers:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_no_page_is_served_that_loads_scripts_from_elsewhere(world: World) -> None:
    async with rest(world, await world.token(Role.ADMIN)) as client:
        assert [(await client.get(path)).status_code for path in ("/docs", "/redoc")] == [404, 404]
