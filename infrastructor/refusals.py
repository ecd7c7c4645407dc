"""How many refused logins are written down: enough to see them, too few to fill a disk."""

from collections.abc import Callable
from time import monotonic

_BURST = 30
_EVERY_S = 10.0


class RefusalBudget:
    """A bucket of `burst` rows that gains one every `every_s` seconds."""

    def __init__(
        self, *, burst: int = _BURST, every_s: float = _EVERY_S, clock: Callable[[], float] = monotonic
    ) -> None:
        self._burst = burst
        self._every_s = every_s
        self._clock = clock
        self._left = float(burst)
        self._filled = clock()
        self._suppressed = 0

    def spend(self) -> int | None:
        """How many refusals went unwritten since the last written one; None when this one must too."""
        now = self._clock()
        self._left = min(float(self._burst), self._left + (now - self._filled) / self._every_s)
        self._filled = now
        if self._left < 1:
            self._suppressed += 1
            return None
        self._left -= 1
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed
