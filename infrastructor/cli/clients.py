"""`mcp-config`: what to paste into an MCP client."""

import json
import shutil
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from infrastructor.cli.session import Session, load_settings
from infrastructor.cli.tokens import admin_token


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
        transport: Annotated[Transport | None, typer.Option(help="Only this one; both are printed else.")] = None,
        token: Annotated[str | None, typer.Option(help="A token of your own; the admin token else.")] = None,
    ) -> None:
        """Print the client configuration. It holds the token, so keep it as secret as that."""
        settings = load_settings()
        host = settings.host if settings.host not in {"0.0.0.0", "::"} else "127.0.0.1"  # noqa: S104
        wanted = [transport] if transport else list(Transport)
        forms: dict[Transport, Any] = {}
        if Transport.HTTP in wanted:
            forms[Transport.HTTP] = {
                "type": "http",
                "url": f"http://{host}:{settings.mcp_port}/mcp",
                "headers": {"Authorization": f"Bearer {token or admin_token(settings)}"},
            }
        if Transport.STDIO in wanted:
            forms[Transport.STDIO] = _stdio(client)
        if len(forms) == 1:
            typer.echo(json.dumps({"mcpServers": {"infrastructor": next(iter(forms.values()))}}, indent=2))
            return
        for kind, form in forms.items():
            typer.echo(f"{kind}:", err=True)
            typer.echo(json.dumps({"mcpServers": {"infrastructor": form}}, indent=2))


def _stdio(client: Client) -> dict[str, Any]:
    installed = shutil.which("infrastructor")
    form: dict[str, Any] = (
        {"command": installed, "args": ["mcp"]}
        if installed
        else {"command": sys.executable, "args": ["-m", "infrastructor", "mcp"]}
    )
    return {"type": "stdio", **form} if client is Client.CLAUDE else form
