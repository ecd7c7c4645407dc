"""Where the CPU time of this process goes: its stack at each tick of its own CPU clock.

A tracing profiler would count a process that waits for a core as busy, and make small functions look large.
"""

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

INTERVAL_S = 0.001


class Profile:
    """Ticks by function: in it, and in it or what it called."""

    def __init__(self) -> None:
        self.own: Counter[str] = Counter()
        self.total: Counter[str] = Counter()

    @contextmanager
    def sampling(self) -> Iterator[None]:
        previous = signal.signal(signal.SIGPROF, self._tick)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, previous)

    def _tick(self, _number: int, frame: FrameType | None) -> None:
        if frame is not None:
            self.own[_name(frame)] += 1
        seen = set()
        while frame is not None:
            seen.add(_name(frame))
            frame = frame.f_back
        self.total.update(seen)

    def write(self, path: str, operations: float, client_us: float, top: int = 60) -> None:
        """The hottest functions, in µs of client CPU per operation."""
        ticks = sum(self.own.values())
        share = client_us / max(1, ticks)
        lines = [f"{ticks} ticks, {operations:.0f} operations, {client_us:.1f} µs each", "own µs  total µs  function"]
        for name, count in self.own.most_common(top):
            lines.append(f"{count * share:6.2f}  {self.total[name] * share:8.2f}  {name}")
        Path(path).write_text("\n".join(lines) + "\n")


def _name(frame: FrameType) -> str:
    code = frame.f_code
    path = Path(code.co_filename)
    return f"{path.parent.name}/{path.name}:{code.co_firstlineno} {code.co_qualname}"
