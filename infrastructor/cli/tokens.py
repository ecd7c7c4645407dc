"""`token`: print the admin token; make, list and revoke named ones."""

import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from infrastructor.cli.session import Session, fail, load_settings
from infrastructor.errors import NotFound, ValidationFailed
from infrastructor.ports.callers import Role
from infrastructor.settings import Settings
from infrastructor.tokens import ADMIN_TOKEN_FILE

if TYPE_CHECKING:
    from infrastructor.app import Application

_LIFETIME = re.compile(r"(\d{1,5})([mhdw])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def add_commands(app: typer.Typer, session: Session) -> None:
    """Register the group."""
    group = typer.Typer(help="Tokens for REST and MCP; alone: print the admin token.", rich_markup_mode=None)
    app.add_typer(group, name="token")

    @group.callback(invoke_without_command=True)
    def token(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            typer.echo(admin_token(load_settings()))

    @group.command()
    def create(
        name: Annotated[str, typer.Option(help="What it is for, e.g. grafana.")],
        role: Annotated[Role, typer.Option(help="What it may do.")],
        expires: Annotated[str | None, typer.Option(help="Lifetime, e.g. 30d or 12h; for ever else.")] = None,
    ) -> None:
        """Make a named token and print it. It is shown this once."""
        lifetime = _lifetime(expires)

        async def work(application: "Application") -> str:
            secret, _ = await application.tokens.issue(name, role, lifetime)
            return secret

        typer.echo(session.run(work))

    @group.command("list")
    def list_tokens(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
        """List the tokens; never the secrets, which nobody has."""

        async def work(application: "Application") -> list[dict[str, str | None]]:
            moments = ("created_at", "expires_at", "last_used_at", "revoked_at")
            return [
                {"name": token.name, "role": str(token.role)}
                | {name: value.isoformat() if (value := getattr(token, name)) else None for name in moments}
                for token in await application.tokens.all()
            ]

        rows = session.run(work)
        if as_json:
            typer.echo(json.dumps({"tokens": rows}))
        else:
            from infrastructor.cli.render import render  # noqa: PLC0415

            render({"tokens": rows})

    @group.command()
    def revoke(name: Annotated[str, typer.Argument(help="Name of the token.")]) -> None:
        """Revoke a token; every server refuses it within five seconds."""

        async def work(application: "Application") -> None:
            if not await application.tokens.revoke(name):
                raise NotFound(f"No valid token is named {name!r}.", hint="'infrastructor token list' names them.")

        session.run(work)
        typer.echo("Revoked.")


def admin_token(settings: Settings) -> str:
    """The token made on first start, from the data directory. Ends the program when there is none yet."""
    try:
        return (settings.data_dir / ADMIN_TOKEN_FILE).read_text().strip()
    except FileNotFoundError:
        fail(NotFound(f"There is no admin token in {settings.data_dir} yet.", hint="Start the server once."))
    except OSError as error:
        fail(NotFound(f"Cannot read the admin token: {error.strerror}.", hint="Run this as the server's user."))


def _lifetime(text: str | None) -> timedelta | None:
    if text is None:
        return None
    match = _LIFETIME.fullmatch(text.strip().lower())
    if match is None or int(match[1]) == 0:
        fail(ValidationFailed(f"{text!r} is no lifetime.", hint="Write a number and m, h, d or w, e.g. 30d."))
    return int(match[1]) * _UNITS[match[2]]
