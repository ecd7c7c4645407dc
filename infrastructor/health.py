"""How the server is: alive, ready, and in detail."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

State = Literal["ok", "degraded", "down"]


class PartHealth(BaseModel):
    """One part: database, audit, cache, ssh, scheduler."""

    model_config = ConfigDict(frozen=True)

    state: State
    message: str = Field(default="", description="What is wrong and what to do, empty when ok.")
    facts: dict[str, Any] = Field(default_factory=dict)


class HealthReport(BaseModel):
    """The whole: down when a part without which nothing can be answered is down."""

    model_config = ConfigDict(frozen=True)

    status: State
    timestamp: datetime
    version: str
    uptime_seconds: float
    services: dict[str, PartHealth]
    metrics: dict[str, Any]

    @property
    def ready(self) -> bool:
        """Whether reads can be answered and recorded."""
        return self.status != "down"
