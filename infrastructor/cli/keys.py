"""`keys`: what the history of configuration files is sealed with."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import typer

from infrastructor.cli.session import Session, fail, load_settings
from infrastructor.errors import InfrastructorError

if TYPE_CHECKING:
    from infrastructor.storage.keys import Keyring
    from infrastructor.storage.pool import Database

T = TypeVar("T")


def add_commands(app: typer.Typer, session: Session) -> None:
    """Register the group."""
    del session
    group = typer.Typer(
        help="The keys that the history of configuration files is sealed with.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    app.add_typer(group, name="keys")

    @group.command()
    def status() -> None:
        """Say where the key file is, whether it fits the database, and how much each key has sealed."""

        async def work(database: "Database", keys: "Keyring") -> None:
            from infrastructor.storage.rotation import sealed_with  # noqa: PLC0415

            newest = await keys.newest()
            typer.echo(f"{keys.path} fits the database; key {newest.number} is the newest.")
            for number, count in (await sealed_with(database)).items():
                typer.echo(f"key {number}: {count:,} contents")

        _run(work)

    @group.command()
    def rotate() -> None:
        """Make a new key and seal everything with it. Servers go on meanwhile; stopped, it goes on when called again.

        Old keys stay in the file, for backups of the database. Servers with a copy of the file need the new one.
        """

        async def work(database: "Database", keys: "Keyring") -> None:
            from infrastructor.storage.rotation import rotate as rotated  # noqa: PLC0415

            done = await rotated(database, keys, lambda count: typer.echo(f"{count:,} contents", err=True))
            begun = "made" if done.made else "was made before; its rotation is finished now"
            typer.echo(f"Key {done.key} {begun}: {done.contents:,} contents sealed anew. Back up {keys.path}.")

        _run(work)


def _run(work: Callable[["Database", "Keyring"], Awaitable[T]]) -> T:
    from infrastructor.app import open_database  # noqa: PLC0415
    from infrastructor.storage import migrate  # noqa: PLC0415
    from infrastructor.storage.keys import Keyring, keys_path  # noqa: PLC0415
    from infrastructor.storage.pool import Database  # noqa: PLC0415

    settings = load_settings()

    async def opened() -> T:
        async with open_database(settings) as dsn:
            await migrate.upgrade(dsn)
            database = await Database.connect(dsn)
            try:
                return await work(database, Keyring(database, keys_path(settings)))
            finally:
                await database.close()

    try:
        return asyncio.run(opened())
    except InfrastructorError as error:
        fail(error)
