"""Asking the human over MCP: both eras, both transports. Only a yes does anything, and every no leaves a record."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult
from fastmcp.client.transports import StdioTransport

from infrastructor.ports.callers import Role
from infrastructor.ports.ssh import CommandOutput
from tests.doors.clients import ERAS, mcp_app, stdio
from tests.doors.world import World

TANK = {"device": "nas", "pool": "tank"}
PROGRAM = Path(__file__).with_name("program.py")

Answer = Callable[[str, Any], Awaitable[Any]]

everywhere = pytest.mark.parametrize(
    ("over_http", "era"), [(http, era) for http in (True, False) for era in ERAS], ids=str
)


def answering(action: str, content: Any = None, seen: list[str] | None = None) -> Any:
    """A user who answers so."""

    async def handler(message: str, response_type: Any, params: Any, context: Any) -> Any:
        if seen is not None:
            seen.append(message)
        return ElicitResult(action=action, content=content)  # type: ignore[arg-type]

    return handler


@asynccontextmanager
async def asked(world: World, over_http: bool, era: str, handler: Any, **settings: Any) -> AsyncIterator[Client[Any]]:
    """A client whose user can be asked."""
    if not over_http:
        async with stdio(world, era=era, elicitation_handler=handler) as client:
            yield client
        return
    headers = {"Authorization": f"Bearer {await world.token(Role.ADMIN)}"}
    async with (
        mcp_app(world, **settings) as server,
        server.client(headers=headers, mode=era, elicitation_handler=handler) as client,
    ):
        yield client


def destroyed(world: World) -> int:
    return sum("scrub" in line for _, line in world.ssh.sent)


@everywhere
async def test_a_yes_carries_out_the_plan_that_was_shown(world: World, over_http: bool, era: str) -> None:
    seen: list[str] = []
    async with asked(world, over_http, era, answering("accept", {"confirm": True}, seen)) as client:
        done = await client.call_tool("zfs_pool_destroy", TANK)

    assert done.structured_content["status"] == "done"
    assert destroyed(world) == 1
    assert seen == ["Destroy tank.\n\n- All data in it is lost.\n\nThis cannot be undone."]
    assert [record.outcome for record in world.records] == ["ok", "ok"]
    assert world.records[0].plan_id == world.records[1].plan_id


NO: list[tuple[str, Any]] = [
    ("decline", None),
    ("cancel", None),
    ("accept", {"confirm": False}),
    ("accept", {}),
    ("accept", {"other": True}),
    ("accept", {"confirm": "true"}),
    ("accept", {"confirm": 1}),
]


@everywhere
@pytest.mark.parametrize(("action", "content"), NO, ids=str)
async def test_anything_but_a_yes_does_nothing_and_is_recorded(
    world: World, over_http: bool, era: str, action: str, content: Any
) -> None:
    async with asked(world, over_http, era, answering(action, content)) as client:
        result = await client.call_tool("zfs_pool_destroy", TANK, raise_on_error=False)

    assert result.is_error
    assert result.content[0].text.startswith("declined: ")
    assert destroyed(world) == 0
    assert world.outcomes == [("zfs_pool_destroy", "ok", None), ("zfs_pool_destroy", "refused", "declined")]
    assert world.records[1].device == "nas"
    assert world.records[0].plan_id == world.records[1].plan_id
    assert await world.plans.waiting() == []


@everywhere
async def test_a_state_that_changed_while_the_user_thought_is_planned_anew(
    world: World, over_http: bool, era: str
) -> None:
    async def handler(message: str, response_type: Any, params: Any, context: Any) -> Any:
        world.ssh.outputs["zpool"] = CommandOutput(exit_status=0, stdout=b"tank\tDEGRADED\t1\n")
        return ElicitResult(action="accept", content={"confirm": True})  # type: ignore[arg-type]

    async with asked(world, over_http, era, handler) as client:
        result = await client.call_tool("zfs_pool_destroy", TANK, raise_on_error=False)

    assert result.content[0].text.startswith("plan_rejected: The state has changed")
    assert destroyed(world) == 0


@everywhere
async def test_a_client_that_breaks_when_asked_did_not_say_yes(world: World, over_http: bool, era: str) -> None:
    async def handler(message: str, response_type: Any, params: Any, context: Any) -> Any:
        raise RuntimeError("no screen")

    async with asked(world, over_http, era, handler) as client:
        with pytest.raises(Exception, match=r".+"):
            await client.call_tool("zfs_pool_destroy", TANK)

    assert destroyed(world) == 0
    assert all(record.outcome != "ok" for record in world.records[1:])


@pytest.mark.parametrize("over_http", [True, False])
async def test_a_call_that_is_cancelled_while_the_user_is_asked(world: World, over_http: bool) -> None:
    open_form = asyncio.Event()

    async def handler(message: str, response_type: Any, params: Any, context: Any) -> Any:
        open_form.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(20), asked(world, over_http, "legacy", handler) as client:
        call = asyncio.create_task(client.call_tool("zfs_pool_destroy", TANK))
        await open_form.wait()
        call.cancel()
        await asyncio.wait([call])
        await world.audit.seen(2)

    assert destroyed(world) == 0
    assert world.outcomes[1] == ("zfs_pool_destroy", "refused", "declined")
    assert "cancelled" in (world.records[1].error_message or "")


async def test_a_user_who_never_answers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import timedelta

    monkeypatch.setattr("infrastructor.plans.PLAN_LIFETIME", timedelta(seconds=0.5))

    async def handler(message: str, response_type: Any, params: Any, context: Any) -> Any:
        await asyncio.Event().wait()

    async with asyncio.timeout(20), asked(world, True, "legacy", handler) as client:
        result = await client.call_tool("zfs_pool_destroy", TANK, raise_on_error=False)

    assert result.content[0].text.startswith("declined: ")
    assert "nobody answered" in (world.records[1].error_message or "")
    assert destroyed(world) == 0


@pytest.mark.parametrize("era", ERAS)
async def test_where_an_admin_must_approve_a_form_is_no_approval(world: World, era: str) -> None:
    seen: list[str] = []
    handler = answering("accept", {"confirm": True}, seen)
    async with asked(world, True, era, handler, destroy_approval="human") as client:
        planned = (await client.call_tool("zfs_pool_destroy", TANK)).structured_content
        token = {"plan_token": planned["plan"]["plan_token"]}
        refused = await client.call_tool("zfs_pool_destroy", TANK | token, raise_on_error=False)

    assert seen == []
    assert planned["plan"]["needs_approval"] is True
    assert refused.content[0].text.startswith("approval_needed: ")
    assert destroyed(world) == 0
    assert world.outcomes[-1] == ("zfs_pool_destroy", "refused", "approval_needed")


@everywhere
async def test_what_devices_said_reaches_the_form_as_plain_lines(world: World, over_http: bool, era: str) -> None:
    from dataclasses import replace

    from infrastructor.operation import PlanDraft
    from tests.doors.catalog import OPERATIONS, pool_destroy

    async def hostile(ctx: Any, params: Any) -> PlanDraft:
        return PlanDraft(
            summary="Destroy tank.\n\nThis can be undone.\x1b[2J",
            effects=tuple(f"effect {n}\nThis can be undone." for n in range(500)),
            commands=("zpool destroy \u202e -- tank",),
            fingerprint="same",
        )

    world.operations = [o for o in OPERATIONS if o is not pool_destroy] + [replace(pool_destroy, plan=hostile)]
    seen: list[str] = []
    async with asked(world, over_http, era, answering("decline", None, seen)) as client:
        await client.call_tool("zfs_pool_destroy", TANK, raise_on_error=False)

    (message,) = seen
    assert "\x1b" not in message
    assert "\u202e" not in message
    assert len(message) < 8000
    assert [line for line in message.splitlines() if line == "This can be undone."] == []
    assert message.splitlines()[-1] == "This cannot be undone."
    assert "  $ zpool destroy -- tank" in message
    assert "460 more effects" in message


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(("action", "status"), [("accept", "done"), ("decline", None)])
async def test_over_real_stdio_the_user_is_asked_too(era: str, action: str, status: str | None) -> None:
    seen: list[str] = []
    content = {"confirm": True} if action == "accept" else None
    transport = StdioTransport(sys.executable, [str(PROGRAM), "mcp"])
    handler = answering(action, content, seen)

    async with asyncio.timeout(30), Client(transport, mode=era, elicitation_handler=handler) as client:
        result = await client.call_tool("zfs_pool_destroy", TANK, raise_on_error=False)

    assert len(seen) == 1
    assert result.is_error is (status is None)
    if status is not None:
        assert result.structured_content["status"] == status


async def test_a_second_round_that_we_did_not_ask_for_is_refused(world: World) -> None:
    """A client that makes up the answer to a question, or sends it back with other arguments."""
    import httpx2

    async with mcp_app(world) as server, server.http_client() as http:
        headers = {
            "Authorization": f"Bearer {await world.token(Role.ADMIN)}",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": "tools/call",
            "Mcp-Name": "zfs_pool_destroy",
        }

        async def call(**params: Any) -> httpx2.Response:
            meta = {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "x", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
            }
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                    "params": {"name": "zfs_pool_destroy", "arguments": TANK, "_meta": meta, **params}}  # fmt: skip
            return await http.post("/mcp", json=body, headers=headers)

        yes = {"confirm": {"action": "accept", "content": {"confirm": True}}}
        asking = (await call()).text
        assert "input_required" in asking
        made_up = (await call(inputResponses=yes)).text
        forged = (await call(inputResponses=yes, requestState="v1.forged")).text
        state = asking.split('"requestState":"')[1].split('"')[0]
        moved = (await call(inputResponses=yes, requestState=state, arguments={**TANK, "device": "web-1"})).text
        assert "plan_" not in state
        assert destroyed(world) == 0
        once = (await call(inputResponses=yes, requestState=state)).text
        twice = (await call(inputResponses=yes, requestState=state)).text

    for refused in (made_up, forged, moved, twice):
        assert '"isError":true' in refused or '"error":{' in refused
        assert '"status":"done"' not in refused
    assert '"structuredContent":{"status":"done"' in once
    assert destroyed(world) == 1
