"""`migrate` and `doctor`: the database's schema, and what is wrong with the installation."""

import asyncio
import importlib
import inspect
import json
from typing import Annotated, Any

import typer

from infrastructor.cli.session import Session, fail, load_settings
from infrastructor.errors import InfrastructorError


def add_commands(app: typer.Typer, session: Session) -> None:
    """Register them."""
    del session
    group = typer.Typer(help="The schema of the database.", no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(group, name="migrate")

    @group.command()
    def upgrade(revision: Annotated[str, typer.Argument(help="Up to this one.")] = "head") -> None:
        """Apply the migrations that are missing."""
        typer.echo("Upgraded." if _migrate("upgrade", revision) else "It is up to date.")

    @group.command()
    def downgrade(revision: Annotated[str, typer.Argument(help="A revision, -1 for one step, or base.")]) -> None:
        """Go back to a revision. What only newer tables hold is lost."""
        _migrate("downgrade", revision)
        typer.echo("Downgraded.")

    @group.command()
    def current() -> None:
        """Print the revision that the database has."""
        typer.echo(_migrate("current") or "none")

    @group.command()
    def history() -> None:
        """Print every revision, oldest first."""
        for revision, summary in _migrations().history():
            typer.echo(f"{revision}  {summary}")

    @app.command()
    def doctor(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
        """Check the installation and name the fix of each fault. Exit code 1 when there is one."""
        checks = _checked()
        if as_json:
            rows = [{name: getattr(check, name) for name in ("name", "ok", "message", "fix")} for check in checks]
            typer.echo(json.dumps({"checks": rows}))
        else:
            for check in checks:
                typer.echo(f"{'ok   ' if check.ok else 'FAULT'}  {check.name}: {check.message}")
                if not check.ok and check.fix:
                    typer.echo(f"       fix: {check.fix}")
        raise typer.Exit(0 if all(check.ok for check in checks) else 1)


def _migrations() -> Any:
    return importlib.import_module("infrastructor.storage.migrate")


def _migrate(verb: str, *arguments: str) -> Any:
    from infrastructor.app import open_database  # noqa: PLC0415

    settings = load_settings()

    async def work() -> Any:
        async with open_database(settings) as dsn:
            return await getattr(_migrations(), verb)(dsn, *arguments)

    try:
        return asyncio.run(work())
    except InfrastructorError as error:
        fail(error)


def _checked() -> list[Any]:
    found = importlib.import_module("infrastructor.doctor").run_checks(load_settings())

    async def awaited() -> Any:
        return await found

    return list(asyncio.run(awaited()) if inspect.isawaitable(found) else found)
