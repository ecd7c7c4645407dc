"""Bad input at every door: a clear error with a hint, nothing sent to a device, exactly one audit record."""

from dataclasses import dataclass
from typing import Any

import pytest
from mcp import MCPError
from mcp_types import INVALID_PARAMS

from infrastructor.ports.callers import Role
from tests.doors.clients import cli, mcp_http, raw_mcp, rest, stdio
from tests.doors.world import World

MEGABYTES = "x" * (10 << 20)


@dataclass(frozen=True)
class Case:
    arguments: dict[str, Any]
    code: str
    status: int
    exit_code: int
    path: str = "/api/zfs/{device}/pools"


INVALID = {
    "unknown device": Case({"device": "nope"}, "device_not_found", 404, 3),
    "wrong type": Case({"device": "nas", "force_refresh": "perhaps"}, "validation_failed", 400, 2),
    "injection": Case({"device": "nas", "pool": "$(reboot)"}, "validation_failed", 400, 2),
    "injection in the device": Case({"device": ";reboot"}, "validation_failed", 400, 2),
    "option as a value": Case({"device": "nas", "pool": "--help"}, "validation_failed", 400, 2),
    "NUL": Case({"device": "nas", "pool": "ta\0nk"}, "validation_failed", 400, 2),
    "lone surrogate escape": Case({"device": "nas", "pool": "ta\\ud800"}, "validation_failed", 400, 2),
    "extra field": Case({"device": "nas", "colour": "blue"}, "validation_failed", 400, 2),
    "path traversal": Case({"device": "nas", "pool": "../../etc/passwd"}, "validation_failed", 400, 2),
}


def expect_one_refusal(world: World, code: str) -> None:
    assert world.outcomes == [("zfs_pool_list", "refused", code)]
    assert world.ssh.sent == []


@pytest.mark.parametrize("case", INVALID.values(), ids=INVALID.keys())
async def test_rest_refuses(world: World, case: Case) -> None:
    token = await world.token(Role.ADMIN)
    query = {name: value for name, value in case.arguments.items() if name != "device"}

    async with rest(world, token) as client:
        answer = await client.get(f"/api/zfs/{case.arguments['device']}/pools", params=query)

    problem = answer.json()
    assert answer.status_code == case.status
    assert answer.headers["content-type"] == "application/problem+json"
    assert (problem["code"], problem["status"]) == (case.code, case.status)
    assert problem["hint"]
    assert problem["operation_id"] == str(world.records[0].operation_id)
    expect_one_refusal(world, case.code)


@pytest.mark.parametrize("case", INVALID.values(), ids=INVALID.keys())
async def test_mcp_refuses(world: World, case: Case) -> None:
    async with mcp_http(world, await world.token(Role.ADMIN)) as client:
        result = await client.call_tool("zfs_pool_list", case.arguments, raise_on_error=False)

    assert result.is_error
    assert result.structured_content is None
    text = result.content[0].text
    assert text.startswith(f"{case.code}: ")
    assert "Hint: " in text
    assert "\n" not in text
    assert "pydantic" not in text
    assert result.meta["error"]["code"] == case.code
    assert result.meta["operation_id"] == str(world.records[0].operation_id)
    expect_one_refusal(world, case.code)


# What the option parser takes: the other cases it refuses itself, before there is an operation.
TYPED = {name: case for name, case in INVALID.items() if case.arguments.keys() <= {"device", "pool"}}


@pytest.mark.parametrize("case", TYPED.values(), ids=TYPED.keys())
async def test_the_command_line_refuses(world: World, case: Case) -> None:
    options = [f"--pool={case.arguments['pool']}"] if "pool" in case.arguments else []

    ran = await cli(world, "zfs", "pool-list", case.arguments["device"], *options)

    assert ran.exit_code == case.exit_code
    assert ran.stdout == ""
    assert ran.stderr.startswith(f"{case.code}: ")
    assert "Hint: " in ran.stderr
    expect_one_refusal(world, case.code)


async def test_a_resource_with_a_bad_uri_is_refused_and_audited(world: World) -> None:
    async with mcp_http(world, await world.token(Role.ADMIN)) as client:
        with pytest.raises(MCPError, match=r"validation_failed.*Hint") as caught:
            await client.read_resource("zfs://..%2f%00/pools")
    assert caught.value.error.code == INVALID_PARAMS
    expect_one_refusal(world, "validation_failed")


BODIES = {
    "malformed JSON": (b'{"priority": ', "application/json", "is not JSON"),
    "not an object": (b"[1]", "application/json", "not an object"),
    "not UTF-8": (b'{"note": "\xff"}', "application/json", "is not JSON"),
    "wrong content type": (b"priority=1", "text/plain", "text/plain"),
    "no content type": (b'{"priority": 1}', None, "no stated type"),
    "too deep": (b'{"note": ' * 5000, "application/json", "is not JSON"),
    "given twice": (b'{"pool": "tank"}', "application/json", "Given twice: pool"),
}


@pytest.mark.parametrize(("body", "kind", "said"), BODIES.values(), ids=BODIES.keys())
async def test_rest_refuses_a_body_it_cannot_read(world: World, body: bytes, kind: str | None, said: str) -> None:
    headers = await world.bearer() | ({"Content-Type": kind} if kind else {})

    async with rest(world) as client:
        answer = await client.post("/api/zfs/nas/pools/tank/scrub", content=body, headers=headers)

    assert answer.status_code == 400
    assert said in answer.json()["detail"]
    assert answer.json()["hint"]
    assert world.outcomes == [("zfs_scrub_start", "refused", "validation_failed")]
    assert world.ssh.sent == []


async def test_a_read_takes_no_body(world: World) -> None:
    async with rest(world, await world.token(Role.ADMIN)) as client:
        answer = await client.request("GET", "/api/zfs/nas/pools", json={"pool": "tank"})

    assert answer.status_code == 400
    expect_one_refusal(world, "validation_failed")


async def test_rest_refuses_ten_megabytes_without_reading_them_all(world: World) -> None:
    sent = 0

    async def body() -> Any:
        nonlocal sent
        for _ in range(10_000):
            sent += 1024
            yield b"x" * 1024

    headers = await world.bearer() | {"Content-Type": "application/json"}
    async with rest(world) as client:
        answer = await client.post("/api/zfs/nas/pools/tank/scrub", content=body(), headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large")
    assert sent < 3 << 20
    assert world.outcomes == [("zfs_scrub_start", "refused", "request_too_large")]
    assert world.ssh.sent == []


async def test_mcp_over_http_refuses_ten_megabytes(world: World) -> None:
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "zfs_pool_list", "arguments": {"device": "nas", "pool": MEGABYTES}},
    }
    async with raw_mcp(world) as client:
        answer = await client.post("/mcp", json=call, headers=await world.bearer())

    assert answer.status_code == 413
    assert "request_too_large" in answer.json()["error"]["message"]
    assert world.outcomes == [("unreadable_request", "refused", "request_too_large")]
    assert world.ssh.sent == []


async def test_stdio_refuses_ten_megabytes(world: World) -> None:
    async with stdio(world) as client:
        result = await client.call_tool("zfs_pool_list", {"device": "nas", "pool": MEGABYTES}, raise_on_error=False)

    assert result.meta["error"]["code"] == "request_too_large"
    expect_one_refusal(world, "request_too_large")


async def test_the_command_line_refuses_ten_megabytes(world: World) -> None:
    ran = await cli(world, "zfs", "pool-list", "nas", "--pool", MEGABYTES)

    assert ran.exit_code == 2
    assert len(ran.stderr) < 1000
    expect_one_refusal(world, "request_too_large")
