"""Whatever comes in, a door answers in its own form, never with a bug, and leaves exactly one record."""

import asyncio
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infrastructor.ports.callers import Role
from tests.doors.catalog import OPERATIONS
from tests.doors.clients import rest, stdio
from tests.doors.world import World

SLOW = {"wait_s"}
names = st.sampled_from(
    ["device", "pool", "priority", "labels", "note", "names", "where", "kind", "size", "plan_token"]
)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.sampled_from(["nas", "tank"])
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3))
arguments = st.dictionaries(names | st.text(max_size=8), values, max_size=5)
texts = st.dictionaries(names, st.text(max_size=30), max_size=5)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(given_arguments=arguments, operation=st.sampled_from(OPERATIONS))
def test_mcp_survives_any_arguments(given_arguments: dict[str, Any], operation: Any) -> None:
    async def call() -> None:
        world = World()
        sent = json.loads(json.dumps({k: v for k, v in given_arguments.items() if k not in SLOW}, default=str))
        async with stdio(world) as client:
            result = await client.call_tool(operation.name, sent, raise_on_error=False)
        assert len(world.records) == 1
        if result.is_error:
            assert result.meta["error"]["code"] not in {"internal_error", "undeclared_command"}
            assert "Hint: " in result.content[0].text

    asyncio.run(call())


@quick
@given(query=texts, body=st.binary(max_size=60) | arguments.map(lambda value: json.dumps(value).encode()))
def test_rest_survives_any_query_and_body(query: dict[str, str], body: bytes) -> None:
    async def call() -> None:
        world = World()
        headers = {"Content-Type": "application/json"}
        async with rest(world, await world.token(Role.ADMIN)) as client:
            answers = [
                await client.get("/api/things", params=query),
                await client.get("/api/zfs/nas/pools", params=query),
                await client.post("/api/zfs/nas/pools/tank/scrub", params=query, content=body, headers=headers),
            ]
        assert len(world.records) == len(answers)
        for answer in answers:
            assert answer.status_code in {200, 400, 413}
            if answer.status_code != 200:
                assert answer.json()["hint"]

    asyncio.run(call())
