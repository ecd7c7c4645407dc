"""One declaration, three doors: the same data, one audit record each, the same cache entry."""

import json

from infrastructor.ports.cache import CacheState
from infrastructor.ports.callers import Interface, Role
from tests.doors.clients import cli, mcp_http, rest
from tests.doors.world import World

POOLS = {"pools": [{"name": "tank", "health": "ONLINE", "size_bytes": 4000000000000}]}


async def test_a_read_gives_the_same_data_at_every_door(world: World) -> None:
    token = await world.token(Role.VIEWER)

    async with rest(world, token) as client:
        by_rest = (await client.get("/api/zfs/nas/pools", params={"force_refresh": True})).json()
    async with mcp_http(world, token) as client:
        answer = await client.call_tool("zfs_pool_list", {"device": "nas", "force_refresh": True})
        resource = await client.read_resource("zfs://nas/pools")
    by_cli = await cli(world, "zfs", "pool-list", "nas", "--force-refresh", "--json")

    assert by_rest == answer.structured_content == json.loads(resource[0].text) == by_cli.json == POOLS
    assert json.loads(answer.content[0].text) == POOLS


async def test_each_door_leaves_one_record_that_names_it(world: World) -> None:
    token = await world.token(Role.OPERATOR, "grafana")

    async with rest(world, token) as client:
        await client.get("/api/zfs/nas/pools")
    async with mcp_http(world, token) as client:
        await client.call_tool("zfs_pool_list", {"device": "nas"})
    await cli(world, "zfs", "pool-list", "nas", "--json")

    callers = [(record.operation, record.caller.interface, record.caller.role) for record in world.records]
    assert callers == [
        ("zfs_pool_list", Interface.REST, Role.OPERATOR),
        ("zfs_pool_list", Interface.MCP, Role.OPERATOR),
        ("zfs_pool_list", Interface.CLI, Role.ADMIN),
    ]
    assert [record.caller.principal for record in world.records][:2] == ["grafana", "grafana"]
    assert world.records[0].caller.client == "curl/8.0"
    assert (world.records[1].caller.client or "").startswith("mcp/")


async def test_the_doors_share_one_cache_entry(world: World) -> None:
    token = await world.token(Role.VIEWER)

    async with rest(world, token) as client:
        first = await client.get("/api/zfs/nas/pools")
    async with mcp_http(world, token) as client:
        second = await client.call_tool("zfs_pool_list", {"device": "nas"})
    await cli(world, "zfs", "pool-list", "nas", "--json")

    assert [record.cache for record in world.records] == [CacheState.MISS, CacheState.HIT, CacheState.HIT]
    assert len(world.ssh.sent) == 1
    assert second.meta["collected_at"] == first.headers["X-Collected-At"]


async def test_an_answer_says_where_it_came_from(world: World) -> None:
    token = await world.token(Role.VIEWER)

    async with rest(world, token) as client:
        headers = (await client.get("/api/zfs/nas/pools")).headers
    async with mcp_http(world, token) as client:
        meta = (await client.call_tool("zfs_pool_list", {"device": "nas"})).meta

    assert headers["X-Operation-Id"] == str(world.records[0].operation_id)
    assert (headers["X-Cache"], meta["cache"]) == ("miss", "hit")
    assert meta["operation_id"] == str(world.records[1].operation_id)
    assert float(headers["X-Duration-Ms"]) >= 0
    assert meta["duration_ms"] >= 0
