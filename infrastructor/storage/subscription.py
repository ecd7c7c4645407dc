"""One reader of events: a bounded queue, and a clear end for a reader who lags behind it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from infrastructor.errors import InfrastructorError, SubscriberTooSlow
from infrastructor.events import Event, EventFilter

MAX_BEHIND = 2000


class Subscription:
    """`offer` never waits: publishers and other readers do not pay for a slow one."""

    def __init__(self, wanted: EventFilter, position: int) -> None:
        self.wanted = wanted
        self.position = position  # the last sequence it was given, or that it does not want
        self.live = False  # what is offered counts only from where the stored events have been read
        self._queue: deque[Event] = deque()
        self._ended = False
        self._error: InfrastructorError | None = None
        self._news = asyncio.Event()

    def offer(self, event: Event) -> None:
        if not self.live or self._ended or event.sequence <= self.position:
            return
        if self.wanted.topics and event.topic not in self.wanted.topics:
            return
        if self.wanted.device_id is not None and event.device_id != self.wanted.device_id:
            return
        if len(self._queue) >= MAX_BEHIND:
            last = self._queue[-1].sequence
            self.end(SubscriberTooSlow(f"A reader of events was {MAX_BEHIND} events behind at {last}.", after=last))
            return
        self._queue.append(event)
        self._news.set()

    def end(self, error: InfrastructorError | None) -> None:
        """Nothing more comes; what has come is still given out, then `error` is raised."""
        if not self._ended:
            self._ended, self._error = True, error
            self._news.set()

    async def events(self) -> AsyncIterator[Event]:
        while True:
            while self._queue:
                event = self._queue.popleft()
                self.position = event.sequence
                yield event
            if self._ended:
                if self._error is not None:
                    raise self._error
                return
            self._news.clear()
            await self._news.wait()
