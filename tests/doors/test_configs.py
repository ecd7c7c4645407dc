"""The history of configuration through the doors: resources, and who may see secrets."""

import json

import httpx2
import pytest
from fastmcp import Client

from api.app import create_app
from infrastructor.catalog import CATALOG
from infrastructor.ports.callers import Role
from mcp_server.server import create_server
from tests.doors.world import World
from tests.support.history import at, saw

SECRET = "hunter-two"


@pytest.fixture
async def world() -> World:
    made = World(operations=CATALOG)
    device = await made.devices.find("nas")
    assert device is not None
    await made.history.snapshots.add(
        device.id,
        [
            saw("/srv/app/app.json", '{"a": 1}', 1, kind="json"),
            saw("/srv/app/app.json", f'{{"a": 2, "password": "{SECRET}"}}', 2, kind="json"),
        ],
    )
    return made


async def test_resources_show_a_file_of_a_time_and_the_changes_of_a_device(world: World) -> None:
    async with Client(create_server(world.application(), local_role=Role.VIEWER)) as client:
        time = at(1.5).isoformat().replace("+00:00", "Z")
        (then,) = await client.read_resource(f"config://nas/srv/app/app.json?at={time}")
        (changes,) = await client.read_resource("changes://nas")
    found = json.loads(then.text)
    assert (found["text"], found["source"], found["path"]) == ('{"a": 1}', "history", "/srv/app/app.json")
    assert json.loads(changes.text)["next_cursor"] is None


async def test_no_door_shows_a_secret_to_an_operator(world: World) -> None:
    application = create_app(world.application())
    transport = httpx2.ASGITransport(app=application)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:9101") as client:
        headers = await world.bearer(Role.OPERATOR)
        asked = {"path": "/srv/app/app.json", "at": "1s"}
        masked = await client.get("/api/configs/nas/file", params=asked, headers=headers)
        refused = await client.get("/api/configs/nas/file", params={**asked, "reveal": "true"}, headers=headers)
        admin = await world.bearer(Role.ADMIN)
        shown = await client.get("/api/configs/nas/file", params={**asked, "reveal": "true"}, headers=admin)
        diff = await client.get("/api/configs/nas/diff", params={"path": "/srv/app/app.json"}, headers=headers)
    assert (masked.status_code, refused.status_code, shown.status_code, diff.status_code) == (200, 403, 200, 200)
    assert SECRET not in masked.text + refused.text + diff.text
    assert SECRET in shown.text
    assert "password: ‹masked-" in diff.json()["differences"][1]
    assert [(one.operation, one.outcome) for one in world.records] == [
        ("config_get", "ok"), ("config_get", "refused"), ("config_get", "ok"), ("config_diff", "ok"),
    ]  # fmt: skip
    assert SECRET not in str(world.records)
