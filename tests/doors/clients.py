"""Clients of the three doors over one world, each as the real thing would come in."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from fastmcp import Client
from fastmcp.utilities.tests import ASGIServer, run_asgi_lifespan
from typer.testing import CliRunner

from api.app import create_app
from infrastructor.app import Application
from infrastructor.cli import build
from infrastructor.ports.callers import Role
from infrastructor.settings import Settings
from mcp_server.http import create_http_app
from mcp_server.server import create_server
from tests.doors.world import World

ERAS = ("auto", "legacy")


@asynccontextmanager
async def rest(world: World, token: str | None = None, **settings: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """An HTTP client of the REST app."""
    app = create_app(world.application(**settings))
    headers = {"User-Agent": "curl/8.0"} | ({"Authorization": f"Bearer {token}"} if token else {})
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:9101", headers=headers) as client:
        yield client


@asynccontextmanager
async def stdio(
    world: World, *, role: Role = Role.ADMIN, era: str = "auto", read_only: bool = False, **options: Any
) -> AsyncIterator[Client[Any]]:
    """An MCP client of a server that trusts it as stdio does."""
    server = create_server(world.application(), local_role=role, read_only=read_only)
    async with Client(server, mode=era, **options) as client:
        yield client


@asynccontextmanager
async def mcp_app(world: World, **settings: Any) -> AsyncIterator[ASGIServer]:
    """The MCP server's HTTP app, running."""
    application = world.application(**settings)
    app = create_http_app(create_server(application), application)
    async with run_asgi_lifespan(app):
        yield ASGIServer(url="http://127.0.0.1/mcp", app=app, transport_type="http")


@asynccontextmanager
async def mcp_http(
    world: World, token: str | None, *, era: str = "auto", message_handler: Any = None, **settings: Any
) -> AsyncIterator[Client[Any]]:
    """An MCP client over HTTP."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    options = {"headers": headers, "mode": era, "message_handler": message_handler}

    async with mcp_app(world, **settings) as server, server.client(**options) as client:
        yield client


@asynccontextmanager
async def raw_mcp(world: World, **settings: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A plain HTTP client of the MCP app, for what no MCP client would send."""
    async with mcp_app(world, **settings) as server, server.http_client() as client:
        yield client


@dataclass
class Ran:
    """What a command printed and how it ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


@dataclass
class CommandLine:
    """The CLI over a world."""

    world: World
    interactive: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    def __call__(self, *arguments: str, typed: str | None = None) -> Ran:
        @asynccontextmanager
        async def opener(settings: Settings) -> AsyncIterator[Application]:
            yield self.world.application(**self.settings)

        app = build(self.world.operations, opener, lambda: self.interactive)
        result = CliRunner().invoke(app, list(arguments), input=typed)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)


async def cli(world: World, *arguments: str, typed: str | None = None, interactive: bool = False) -> Ran:
    """Run a command from a test that has a loop of its own."""
    return await asyncio.to_thread(CommandLine(world, interactive), *arguments, typed=typed)
