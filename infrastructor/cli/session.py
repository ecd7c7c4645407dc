"""What every command shares: settings, an open application, and errors turned into exit codes."""

import asyncio
import getpass
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import typer
from pydantic import ValidationError

from infrastructor import errors
from infrastructor.errors import InfrastructorError
from infrastructor.ports.callers import Caller, Interface, Role
from infrastructor.sanitize import clean
from infrastructor.settings import Settings

if TYPE_CHECKING:
    from infrastructor.app import Application

T = TypeVar("T")

Opener = Callable[[Settings], AbstractAsyncContextManager["Application"]]

REFUSED = 4
_EXIT_CODES: Mapping[type[Exception], int] = {
    errors.ValidationFailed: 2,
    errors.NotFound: 3,
    errors.Unauthenticated: REFUSED,
    errors.PermissionDenied: REFUSED,
    errors.PlanRejected: REFUSED,
    errors.SSHConnectionError: 5,
    errors.DataCollectionError: 6,
    errors.DatabaseOperationError: 7,
    InfrastructorError: 1,
}


@dataclass(frozen=True)
class Session:
    """How commands reach the application, in this process and without HTTP."""

    opener: Opener
    interactive: Callable[[], bool]

    def run(self, work: Callable[["Application"], Awaitable[T]], **overrides: Any) -> T:
        """Open the application, do the work, close it. Deliberate errors end the program with their exit code."""
        settings = load_settings(**overrides)
        logging.basicConfig(level=logging.ERROR, stream=sys.stderr, format="%(levelname)s %(message)s")

        async def opened() -> T:
            async with self.opener(settings) as application:
                result = await work(application)
                await application.service.drain()
                return result

        try:
            return asyncio.run(opened())
        except InfrastructorError as error:
            fail(error)


def load_settings(**overrides: Any) -> Settings:
    """The settings of the environment. A wrong one ends the program with a line that names it."""
    try:
        settings = Settings()
    except ValidationError as error:
        problems = "; ".join(
            f"INFRASTRUCTOR_{'_'.join(map(str, problem['loc'])).upper()}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        )
        fail(errors.ValidationFailed(problems, hint="'infrastructor reference' explains every setting."))
    return settings.model_copy(update=overrides) if overrides else settings


def caller() -> Caller:
    """Whoever may run this program may read its data directory, so the operating system has vouched already."""
    return Caller(principal=f"cli:{getpass.getuser()}", role=Role.ADMIN, interface=Interface.CLI)


def fail(error: InfrastructorError) -> NoReturn:
    """Print the error and its hint to stderr and end with its exit code."""
    typer.echo(f"{error.code}: {clean(error.message)}", err=True)
    if error.hint:
        typer.echo(f"Hint: {clean(error.hint)}", err=True)
    raise typer.Exit(exit_code(error)) from error


def exit_code(error: InfrastructorError) -> int:
    """The code of the nearest class in the tree that has one."""
    return next(_EXIT_CODES[kind] for kind in type(error).__mro__ if kind in _EXIT_CODES)
