"""Results of the event operations."""

from datetime import datetime
from typing import Any

from pydantic import Field

from infrastructor.events import Event, Severity
from infrastructor.operation import Result


class EventRow(Result):
    """Something that happened; what it does not have is left out."""

    sequence: int = Field(description="Its place in the one order of all events.")
    at: datetime = Field(description="When, by the device's clock (UTC).")
    kind: str = Field(description="e.g. container.die.")
    severity: Severity = Field(
        default=Severity.INFO, exclude_if=lambda value: value is Severity.INFO, description="Absent: info."
    )
    device: str | None = Field(default=None, exclude_if=lambda value: value is None, description="Device name.")
    subject: str | None = Field(
        default=None, exclude_if=lambda value: value is None, description="What it happened to, e.g. a container."
    )
    data: dict[str, Any] = Field(
        default_factory=dict, exclude_if=lambda value: not value, description="What else is known of it."
    )

    @classmethod
    def of(cls, event: Event) -> "EventRow":
        return cls(
            sequence=event.sequence,
            at=event.at,
            kind=event.kind,
            severity=event.severity,
            device=event.device,
            subject=event.subject,
            data=dict(event.data),
        )


class EventList(Result):
    """Events, newest first; with `after`, oldest first."""

    events: list[EventRow] = Field(description="The rows of this page.")
    newest: int | None = Field(description="Highest sequence shown; pass as after to see what comes next.")
    next_cursor: str | None = Field(description="Pass as cursor for the rest.")
