"""Lines of several sources in one order of time, cut to what one answer may hold. Pure.

A cursor names the oldest line shown: its microsecond, and how many lines of that microsecond were shown. Each source
is asked again for what is not younger, and that many lines are dropped. So nothing is lost where many lines carry the
same second, and nothing is kept between two calls.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from infrastructor.domains.logs.models import LogLine
from infrastructor.domains.logs.times import micros
from infrastructor.paging import characters

MAX_CHARACTERS = 30_000  # of lines in one answer, as JSON

L = TypeVar("L", bound=LogLine)


@dataclass(frozen=True)
class Part(Generic[L]):
    """The newest lines of one source, oldest first. `complete`: it has no older ones that match."""

    lines: Sequence[L]
    complete: bool


def merge(parts: Sequence[Part[L]], limit: int, newest: int | None, shown: int) -> tuple[list[L], str | None]:
    """The newest lines of all parts, oldest first, and the cursor of the older rest or None."""
    # Older than what a cut source still holds, the order of the others would not be known.
    cut = [part.lines for part in parts if part.lines and not part.complete]
    horizon = max((min(micros(line.time) for line in lines) for lines in cut), default=0)
    everything = [line for part in parts for line in part.lines]
    everything.sort(key=lambda line: micros(line.time))
    candidates = [line for line in everything if newest is None or micros(line.time) <= newest]
    skipped = min(shown, sum(1 for line in candidates if micros(line.time) == newest)) if newest is not None else 0
    candidates = candidates[: len(candidates) - skipped]
    kept: list[L] = []
    size = 0
    for line in reversed(candidates):
        size += characters([line])
        if len(kept) == limit or (kept and size > MAX_CHARACTERS) or micros(line.time) < horizon:
            break
        kept.append(line)
    kept.reverse()
    more = len(kept) < len(candidates) or any(not part.complete for part in parts)
    if not more:
        return kept, None
    if not kept:
        # More lines of one moment than are read at a time: the rest of it is passed over, what is older is not.
        return kept, f"{newest - 1}-0" if newest else None
    oldest = micros(kept[0].time)
    same = sum(1 for line in kept if micros(line.time) == oldest)
    return kept, f"{oldest}-{same + (skipped if oldest == newest else 0)}"
