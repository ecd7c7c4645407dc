"""What callers rely on, committed: a change here is a change of contract and is read as a diff.

`UPDATE_CONTRACTS=1 pytest tests/contract` writes the files anew.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import typer
from fastmcp import Client

from api.app import create_app
from infrastructor.catalog import CATALOG
from infrastructor.cli import build
from infrastructor.ports.callers import Role
from mcp_server.server import create_server
from tests.doors.world import World

FOLDER = Path(__file__).parent
TOOLS = FOLDER / "mcp_tools"
UPDATING = bool(os.environ.get("UPDATE_CONTRACTS"))
HOW = "UPDATE_CONTRACTS=1 .venv/bin/pytest tests/contract writes it; commit the difference if it is meant."


@pytest.fixture
def world() -> World:
    return World(operations=CATALOG)


def hold(path: Path, text: str) -> None:
    """The file says exactly this, or is made to."""
    if UPDATING:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = path.read_text() if path.exists() else None
    assert found == text, f"{path.relative_to(FOLDER)} is stale. {HOW}"


def as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def plain(model: Any) -> Any:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


async def test_every_mcp_tool_is_as_committed(world: World) -> None:
    async with Client(create_server(world.application(), local_role=Role.ADMIN)) as client:
        tools = await client.list_tools()

    for tool in tools:
        hold(TOOLS / f"{tool.name}.json", as_json(plain(tool)))
    gone = sorted({path.stem for path in TOOLS.glob("*.json")} - {tool.name for tool in tools})
    if UPDATING:
        for name in gone:
            (TOOLS / f"{name}.json").unlink()
        gone = []
    assert gone == [], f"No such tools any more. {HOW}"


async def test_the_mcp_resources_and_instructions_are_as_committed(world: World) -> None:
    async with Client(create_server(world.application(), local_role=Role.ADMIN)) as client:
        listed = {
            "instructions": (client.instructions or "").splitlines(),
            "resources": [plain(resource) for resource in await client.list_resources()],
            "templates": [plain(template) for template in await client.list_resource_templates()],
        }

    hold(FOLDER / "resources.json", as_json(listed))


def test_the_openapi_document_is_as_committed(world: World) -> None:
    document = create_app(world.application()).openapi()
    document["info"]["version"] = "*"

    hold(FOLDER / "openapi.json", as_json(document))


def test_the_command_line_is_as_committed(world: World) -> None:
    app = build(CATALOG, lambda settings: pytest.fail("opened"))

    hold(FOLDER / "cli_help.txt", "\n".join(_help(typer.main.get_command(app), "infrastructor")))


def _help(command: Any, path: str) -> list[str]:
    """The help of a command and of all below it."""
    context = typer.Context(command, info_name=path, terminal_width=100)
    lines = [f"$ {path} --help", command.get_help(context), ""]
    for name in sorted(getattr(command, "commands", {})):
        lines += _help(command.commands[name], f"{path} {name}")
    return lines
