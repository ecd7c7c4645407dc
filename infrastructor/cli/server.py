"""`serve` and `mcp`: the doors in this process."""

from enum import StrEnum
from typing import Annotated

import typer

from infrastructor.cli.session import Session, load_settings
from infrastructor.ports.callers import Role

ReadOnly = Annotated[bool, typer.Option("--read-only", help="Refuse everything but READ operations.")]


class ServedPart(StrEnum):
    ALL = "all"
    API = "api"
    MCP = "mcp"
    COLLECTOR = "collector"


def add_commands(app: typer.Typer, session: Session) -> None:
    """Register them."""

    @app.command()
    def serve(
        part: Annotated[ServedPart, typer.Argument(help="Both doors and the scheduler, or one of them.")] = (
            ServedPart.ALL
        ),
        read_only: ReadOnly = False,
    ) -> None:
        """Run the server in the foreground until SIGTERM or Ctrl-C. Logs are JSON lines on stderr."""
        from infrastructor.serve import Part, run  # noqa: PLC0415

        settings = load_settings(**({"read_only": True} if read_only else {}))
        raise typer.Exit(run(settings, session.opener, Part(part)))

    @app.command()
    def mcp(
        read_only: ReadOnly = False,
        toolsets: Annotated[str | None, typer.Option(help="Only these, e.g. device,system.")] = None,
        role: Annotated[Role, typer.Option(help="What the client may do.")] = Role.ADMIN,
    ) -> None:
        """Serve MCP on stdin and stdout, for clients that start their servers themselves."""
        from infrastructor.serve import run_stdio  # noqa: PLC0415

        settings = load_settings(**({"read_only": True} if read_only else {}))
        chosen = None if toolsets is None else [name.strip() for name in toolsets.split(",") if name.strip()]
        raise typer.Exit(run_stdio(settings, session.opener, toolsets=chosen, role=role))
