"""The composition root: settings → stores → ports → service. The only module that sees concrete drivers."""

from collections.abc import Awaitable, Callable
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
