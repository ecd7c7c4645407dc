"""Stop asking a store that does not answer."""

import time
from collections.abc import Callable


class Breaker:
    """Opens after `failures` in a row; after `pause_s` lets one call through, whose outcome decides.

    state: closed (asks), open (does not), half_open (one call is trying).
    """

    def __init__(self, *, failures: int = 3, pause_s: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = failures
        self._pause_s = pause_s
        self._clock = clock
        self._failed = 0
        self._open_until: float | None = None
        self.state = "closed"

    def allows(self) -> bool:
        if self._open_until is None:
            return True
        if self._clock() < self._open_until or self.state == "half_open":
            return False
        self.state = "half_open"
        return True

    def succeeded(self) -> None:
        self._failed = 0
        self._open_until = None
        self.state = "closed"

    def failed(self) -> None:
        self._failed += 1
        if self._failed >= self._limit or self.state == "half_open":
            self.state = "open"
            self._open_until = self._clock() + self._pause_s
