"""`start`, `stop`, `status`, `logs`: the server in the background."""

import json
from typing import Annotated

import typer

from infrastructor.cli.session import Session, load_settings


def add_commands(app: typer.Typer, session: Session) -> None:
    """Register them."""

    @app.command()
    def start(
        foreground: Annotated[bool, typer.Option("--foreground", help="Stay attached; Ctrl-C stops it.")] = False,
    ) -> None:
        """Start the server in the background and print where it is."""
        from infrastructor.daemon import Daemon  # noqa: PLC0415

        settings = load_settings()
        daemon = Daemon(settings)
        running = daemon.running()
        if running is not None:
            typer.echo(f"It is running already (pid {running.pid}).", err=True)
        elif foreground:
            from infrastructor.serve import run  # noqa: PLC0415

            raise typer.Exit(run(settings, session.opener))
        else:
            typer.echo("Starting PostgreSQL, Valkey, the REST API and the MCP server …", err=True)
            running = daemon.start()
        typer.echo(f"REST API    http://127.0.0.1:{running.api_port}")
        typer.echo(f"MCP server  http://127.0.0.1:{running.mcp_port}/mcp")
        typer.echo(f"Data        {settings.data_dir}")
        typer.echo("Token       infrastructor token        Clients: infrastructor mcp-config")

    @app.command()
    def stop() -> None:
        """Stop the server in the background; requests under way may finish."""
        from infrastructor.daemon import Daemon  # noqa: PLC0415

        typer.echo("Stopped." if Daemon(load_settings()).stop() else "It is not running.")

    @app.command()
    def status(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
        """Say whether the server runs and answers. Exit code 0 when it is ready, 1 when not."""
        from infrastructor.daemon import Daemon, is_ready  # noqa: PLC0415

        settings = load_settings()
        running = Daemon(settings).running()
        ready = running is not None and is_ready(running.api_port)
        facts = {
            "running": running is not None,
            "ready": ready,
            "pid": running.pid if running else None,
            "api_url": f"http://127.0.0.1:{running.api_port}" if running else None,
            "mcp_url": f"http://127.0.0.1:{running.mcp_port}/mcp" if running else None,
            "data_dir": str(settings.data_dir),
        }
        if as_json:
            typer.echo(json.dumps(facts))
        else:
            from infrastructor.cli.render import render  # noqa: PLC0415

            render(facts)
        raise typer.Exit(0 if ready else 1)

    @app.command()
    def logs(
        lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many to begin with.")] = 50,
        follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Wait for new lines.")] = True,
    ) -> None:
        """Print the server's log and follow it."""
        from infrastructor.daemon import Daemon  # noqa: PLC0415

        for line in Daemon(load_settings()).follow(lines, forever=follow):
            typer.echo(line, nl=False)
