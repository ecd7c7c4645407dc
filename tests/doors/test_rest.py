"""The REST door: routes, health, problems, the OpenAPI document."""

from typing import Any

import pytest

from infrastructor.errors import (
    CircuitOpen,
    CommandFailed,
    CommandTimeout,
    Conflict,
    DatabaseOperationError,
    InfrastructorError,
    ParseError,
    SSHTimeout,
    UndeclaredCommand,
)
from infrastructor.ports.callers import Role
from tests.doors.clients import rest
from tests.doors.world import World


async def test_query_lists_may_repeat_and_objects_are_json(world: World) -> None:
    async with rest(world, await world.token(Role.VIEWER)) as client:
        answer = await client.get("/api/things", params={"names": ["a", "b"], "where": '{"role": "db"}', "size": "3"})

    assert answer.json() == {"names": ["a", "b"], "where": {"role": "db"}, "padding": "xxx"}


async def test_a_scalar_given_twice_is_refused(world: World) -> None:
    async with rest(world, await world.token(Role.VIEWER)) as client:
        answer = await client.get("/api/things", params={"size": ["1", "2"]})

    assert answer.status_code == 400
    assert "size" in answer.json()["detail"]


async def test_a_change_takes_path_and_body(world: World) -> None:
    async with rest(world, await world.token(Role.OPERATOR)) as client:
        answer = await client.post("/api/zfs/nas/pools/tank/scrub", json={"priority": 1, "labels": {"a": "b"}})

    assert (answer.status_code, answer.json()) == (200, {"done": True})
    assert world.records[0].params == {
        "device": "nas",
        "pool": "tank",
        "priority": 1,
        "labels": {"a": "b"},
        "note": None,
    }


async def test_a_change_needs_no_body_when_the_path_says_it_all(world: World) -> None:
    async with rest(world, await world.token(Role.OPERATOR)) as client:
        assert (await client.post("/api/zfs/nas/pools/tank/scrub")).status_code == 200


async def test_destruction_is_planned_then_carried_out(world: World) -> None:
    async with rest(world, await world.token(Role.ADMIN)) as client:
        planned = (await client.delete("/api/zfs/nas/pools/tank")).json()
        sent = [line for _, line in world.ssh.sent]
        done = await client.delete("/api/zfs/nas/pools/tank", params={"plan_token": planned["plan"]["plan_token"]})
        again = await client.delete("/api/zfs/nas/pools/tank", params={"plan_token": planned["plan"]["plan_token"]})

    assert planned["status"] == "planned"
    assert not any("scrub" in line for line in sent)
    assert done.json() == {"status": "done", "plan": None, "pool": "tank"}
    assert (again.status_code, again.json()["code"]) == (409, "plan_rejected")


ERRORS: list[tuple[InfrastructorError, int, str | None]] = [
    (CircuitOpen("It failed a moment ago."), 503, "5"),
    (SSHTimeout("No answer."), 504, None),
    (CommandTimeout("Too slow."), 504, None),
    (CommandFailed("Status 1."), 502, None),
    (ParseError("What is this?"), 502, None),
    (Conflict("It exists."), 409, None),
    (DatabaseOperationError("PostgreSQL is down."), 503, "5"),
    (UndeclaredCommand("A bug."), 500, None),
]


@pytest.mark.parametrize(("error", "status", "retry_after"), ERRORS, ids=lambda value: getattr(value, "code", ""))
async def test_an_error_becomes_a_problem(
    world: World, error: InfrastructorError, status: int, retry_after: str | None
) -> None:
    world.ssh.outputs["zpool"] = error

    async with rest(world, await world.token(Role.VIEWER)) as client:
        answer = await client.get("/api/zfs/nas/pools")

    body: dict[str, Any] = answer.json()
    expected = {
        "type": f"urn:infrastructor:problem:{error.code}",
        "title": error.code.replace("_", " ").capitalize(),
        "status": status,
        "detail": error.message,
        "code": error.code,
        "retryable": error.retryable,
        "operation_id": str(world.records[0].operation_id),
    }
    assert answer.status_code == status
    assert body | expected == body
    assert answer.headers.get("Retry-After") == retry_after
    assert answer.headers["X-Operation-Id"] == body["operation_id"]


async def test_a_bug_is_a_500_without_a_trace(world: World) -> None:
    world.ssh.outputs = {"zpool": None}  # type: ignore[dict-item]

    async with rest(world, await world.token(Role.VIEWER)) as client:
        answer = await client.get("/api/zfs/nas/pools")

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nope", 404), ("POST", "/api/things", 405), ("PUT", "/health", 405)]
)
async def test_an_unknown_route_or_method_is_a_problem(world: World, method: str, path: str, status: int) -> None:
    async with rest(world) as client:
        answer = await client.request(method, path)

    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert "GET /api/operations" in answer.json()["hint"]


async def test_liveness_and_readiness_say_nothing_more(world: World) -> None:
    async with rest(world) as client:
        assert (await client.get("/health")).json() == {"status": "ok"}
        assert (await client.get("/health/ready")).json() == {"ready": True}
        world.healthy = False
        down = await client.get("/health/ready")

    assert (down.status_code, down.json()) == (503, {"ready": False})
    assert world.records == []


async def test_the_detailed_health_names_the_parts(world: World) -> None:
    async with rest(world, await world.token(Role.VIEWER)) as client:
        report = (await client.get("/api/health")).json()

    assert report["status"] == "ok"
    assert report["services"]["database"]["state"] == "ok"


async def test_the_openapi_document_describes_every_operation(world: World) -> None:
    async with rest(world, await world.token(Role.VIEWER)) as client:
        document = (await client.get("/openapi.json")).json()

    listing = document["paths"]["/api/zfs/{device}/pools"]["get"]
    scrub = document["paths"]["/api/zfs/{device}/pools/{pool}/scrub"]["post"]
    assert listing["operationId"] == "zfs_pool_list"
    assert listing["tags"] == ["zfs"]
    assert {(p["name"], p["in"], p["required"]) for p in listing["parameters"]} == {
        ("device", "path", True),
        ("force_refresh", "query", False),
        ("pool", "query", False),
    }
    assert listing["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/PoolList")
    assert listing["responses"]["404"]["content"]["application/problem+json"]["schema"]["$ref"].endswith("/Problem")
    body = scrub["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"priority", "labels", "note"}
    assert document["security"] == [{"token": []}]
    assert document["paths"]["/health"]["get"]["security"] == []


async def test_no_reference_of_the_document_leads_nowhere(world: World) -> None:
    async with rest(world, await world.token(Role.VIEWER)) as client:
        document = (await client.get("/openapi.json")).json()

    references = set(_references(document))
    assert references
    assert {reference.rpartition("/")[2] for reference in references} <= set(document["components"]["schemas"])


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [found for value in node.values() for found in _references(value)]
    return [found for item in node for found in _references(item)] if isinstance(node, list) else []
