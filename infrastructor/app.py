"""The composition root: settings → stores → ports → service. The only module that sees concrete drivers."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from infrastructor.health import HealthReport
from infrastructor.service import UnifiedDataCollectionService
from infrastructor.settings import Settings
from infrastructor.tokens import Tokens


@dataclass(frozen=True, kw_only=True)
class Application:
    """Everything a door needs."""

    settings: Settings
    service: UnifiedDataCollectionService
    tokens: Tokens
    health: Callable[[], Awaitable[HealthReport]]
    collect: Callable[[], Awaitable[None]] | None = None
    """Runs the scheduled jobs until cancelled; only processes that collect call it."""


def open_application(settings: Settings) -> AbstractAsyncContextManager[Application]:
    """Open every store and driver, and close them again in the right order."""
    raise NotImplementedError


def open_database(settings: Settings) -> AbstractAsyncContextManager[str]:
    """The database alone, for `migrate`: its DSN while it is open."""
    raise NotImplementedError
