"""Identical reads in flight run once.

A caller that goes away only detaches; the last one to go stops the run. A run that has already asked its
device cannot be joined by somebody who wants an answer from now on, nor by anybody after a change.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class Flight(Generic[T]):
    """One run that several callers may wait for."""

    scope: Hashable
    task: "asyncio.Task[T] | None" = None
    waiting: int = 0
    asked: bool = False
    """A command was sent: what comes back may be older than a new caller's request."""
    outdated: bool = False
    """The device was changed meanwhile: the result is not to be cached."""

    def joinable(self, *, fresh: bool) -> bool:
        return not self.outdated and self.waiting > 0 and not (fresh and self.asked)

    async def wait(self) -> T:
        """The run's result; raises what it raised. Cancelling the last waiter cancels the run."""
        if self.task is None:
            raise RuntimeError("flight was never started")
        self.waiting += 1
        try:
            return await asyncio.shield(self.task)
        except asyncio.CancelledError:
            if self.waiting == 1 and not self.task.done():
                self.task.cancel()
            raise
        finally:
            self.waiting -= 1


@dataclass
class Flights:
    """The runs under way, by key. `scope` groups them by device."""

    _by_key: dict[Hashable, Flight[Any]] = field(default_factory=dict)
    _flying: set[Flight[Any]] = field(default_factory=set)
    """All of them, those too whose key a newer one has taken."""

    def join(self, key: Hashable, *, fresh: bool) -> Flight[Any] | None:
        """A run under way that answers this request, or None."""
        flight = self._by_key.get(key)
        return flight if flight is not None and flight.joinable(fresh=fresh) else None

    def start(self, key: Hashable, scope: Hashable, run: Callable[[Flight[T]], Coroutine[Any, Any, T]]) -> Flight[T]:
        """Start a run under this key; later joiners meet this one."""
        flight: Flight[T] = Flight(scope=scope)
        self._by_key[key] = flight
        self._flying.add(flight)
        flight.task = asyncio.create_task(run(flight))
        flight.task.add_done_callback(lambda task: self._landed(key, flight, task))
        return flight

    def outdate(self, scope: Hashable) -> None:
        """The device changed: nobody new may join, and nothing of what is under way is kept."""
        for flight in self._flying:
            if flight.scope == scope:
                flight.outdated = True

    @contextmanager
    def alone(self, scope: Hashable) -> Iterator[Flight[Any]]:
        """A run that nobody joins, but that must know when the device changes under it."""
        flight: Flight[Any] = Flight(scope=scope)
        self._flying.add(flight)
        try:
            yield flight
        finally:
            self._flying.discard(flight)

    def _landed(self, key: Hashable, flight: Flight[Any], task: "asyncio.Task[Any]") -> None:
        self._flying.discard(flight)
        if self._by_key.get(key) is flight:
            del self._by_key[key]
        if not task.cancelled():
            task.exception()  # every waiter may be gone; the audit record has it
