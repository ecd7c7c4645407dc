"""`reference` and `sudoers`: files generated from the catalogue."""

from pathlib import Path
from typing import Annotated

import typer

from infrastructor.cli.session import Session


def add_commands(app: typer.Typer, session: Session) -> None:
    """Register them."""
    del session

    @app.command()
    def reference(
        check: Annotated[bool, typer.Option("--check", help="Write nothing; exit code 1 when stale.")] = False,
        folder: Annotated[Path, typer.Option(help="Where the pages are.")] = Path("docs/reference"),
    ) -> None:
        """Write the reference pages of every operation and setting."""
        from infrastructor.catalog import CATALOG  # noqa: PLC0415
        from infrastructor.reference import pages, stale, write  # noqa: PLC0415

        wanted = pages(CATALOG)
        if not check:
            write(folder, wanted)
            typer.echo(f"{len(wanted)} pages in {folder}")
            return
        old = stale(folder, wanted)
        for name in old:
            typer.echo(f"stale: {folder / name}", err=True)
        if old:
            typer.echo("Run: infrastructor reference", err=True)
            raise typer.Exit(1)

    @app.command()
    def sudoers(
        user: Annotated[str, typer.Option(help="Login user of the devices.")] = "infrastructor",
    ) -> None:
        """Print a sudoers file for devices: exactly the commands that need root, and no others."""
        from infrastructor.catalog import CATALOG  # noqa: PLC0415
        from infrastructor.reference import sudoers_file  # noqa: PLC0415

        typer.echo(sudoers_file(CATALOG, user), nl=False)
