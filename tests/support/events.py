"""Events as tests make and read them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from infrastructor.events import Event
from infrastructor.ids import uuid7


def event(kind: str = "container.start", **fields: Any) -> Event:
    values = {"topic": "containers", "at": datetime.now(UTC), "id": uuid7(), "subject": "web", **fields}
    return Event(kind=kind, **values)


async def take(stream: AsyncIterator[Event], count: int, within: float = 15.0) -> list[Event]:
    """The next events."""
    async with asyncio.timeout(within):
        return [await anext(stream) for _ in range(count)]
