"""`mcp-config`: what to paste into an MCP client."""

import json
import shutil
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from infrastructor.cli.session import Session, load_settings
from infrastructor.cli.tokens import admin_token
from infrastructor.settings import Settings


class Client(StrEnum):
    GENERIC = "generic"
    CLAUDE = "claude"


class Transport(StrEnum):
    HTTP = "http"
    STDIO = "stdio"


def add_commands(app: typer.Typer, session: Session) -> None:
    """Register it."""
    del session

    @app.command("mcp-config")
    def mcp_config(
        client: Annotated[Client, typer.Option(help="Whose format.")] = Client.GENERIC,
        transport: Annotated[Transport, typer.Option(help="How the client connects.")] = Transport.HTTP,
        token: Annotated[str | None, typer.Option(help="A token of your own; the admin token else.")] = None,
    ) -> None:
        """Print the client configuration to paste. With HTTP it holds a token, so keep it as secret as that."""
        form = _stdio(client) if transport is Transport.STDIO else _http(load_settings(), token)
        typer.echo(json.dumps({"mcpServers": {"infrastructor": form}}, indent=2))
        if transport is Transport.HTTP:
            typer.echo("For a client that starts its servers itself: --transport stdio", err=True)


def _http(settings: Settings, token: str | None) -> dict[str, Any]:
    host = settings.host if settings.host not in {"0.0.0.0", "::"} else "127.0.0.1"  # noqa: S104
    return {
        "type": "http",
        "url": f"http://{host}:{settings.mcp_port}/mcp",
        "headers": {"Authorization": f"Bearer {token or admin_token(settings)}"},
    }


def _stdio(client: Client) -> dict[str, Any]:
    installed = shutil.which("infrastructor")
    form: dict[str, Any] = (
        {"command": installed, "args": ["mcp"]}
        if installed
        else {"command": sys.executable, "args": ["-m", "infrastructor", "mcp"]}
    )
    return {"type": "stdio", **form} if client is Client.CLAUDE else form
