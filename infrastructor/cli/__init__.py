"""`infrastructor …`: every operation of the catalogue as a command, and what runs and looks after the server.

Nothing heavy is imported until a command needs it, so `--help` is quick.
"""

import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import typer
from pydantic import ValidationError

from infrastructor.cli import clients, control, docs, keys, operations, server, store, tokens
from infrastructor.cli.session import Opener, Session
from infrastructor.operation import Operation
from infrastructor.settings import Settings
from infrastructor.version import installed_version

if TYPE_CHECKING:
    from infrastructor.app import Application


def build(
    catalog: Iterable[Operation[Any, Any]],
    opener: Opener,
    interactive: Callable[[], bool] | None = None,
    *,
    read_only: bool = False,
) -> typer.Typer:
    """The command line over these operations. `interactive` says whether a person can be asked.

    `read_only` lists only what reads; the rest is refused by the service all the same.
    """
    session = Session(opener, interactive or sys.stdin.isatty)
    app = typer.Typer(
        name="infrastructor",
        help="See, ask about and safely change every Linux machine you own.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    operations.add_commands(app, catalog, session, read_only=read_only)
    for module in (control, server, clients, tokens, keys, store, docs):
        module.add_commands(app, session)

    @app.command()
    def version() -> None:
        """Print the installed version."""
        typer.echo(installed_version())

    return app


def main() -> None:
    """The `infrastructor` command."""
    from infrastructor.catalog import CATALOG  # noqa: PLC0415 - after the command line is known to be ours

    build(CATALOG, _open, read_only=_reads_only())()


def _reads_only() -> bool:
    try:
        return Settings().read_only
    except ValidationError:
        return False  # the command says which setting is wrong


def _open(settings: Settings) -> AbstractAsyncContextManager["Application"]:
    from infrastructor.app import open_application  # noqa: PLC0415 - the drivers, a second of import

    return open_application(settings)
