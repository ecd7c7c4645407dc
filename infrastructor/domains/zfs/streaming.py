"""Watching a stream: how far it is, how long it will take, and whether it still moves."""

import asyncio
import re
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from infrastructor.errors import CommandFailed, CommandTimeout, OutcomeUnknown
from infrastructor.operation import Context
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import Flow
from infrastructor.sanitize import clean

EVERY_S = 1.0
_WINDOW = 30  # looks over which the speed is taken
_PROGRESS = re.compile(rb"^\d\d:\d\d:\d\d\t(\d+)\t")
_STATUS = re.compile(rb"^(send|receive) (\d{1,3})$")
_TOLD = re.compile(rb"^(full|incremental|size)\t|^resume token contents|^nvlist version|^\t\w+ = ")
_LOST = 255  # ssh's own status
_PIPE = {141, 13}  # ended because nobody read any more


@dataclass(kw_only=True)
class Watch:
    """A stream under way. `line` takes what `zfs send -vP` and the scripts around it tell."""

    flow: Flow
    size: int | None
    before: int
    name: str
    said: deque[bytes] = field(default_factory=lambda: deque(maxlen=5))
    statuses: dict[str, int] = field(default_factory=dict)

    def line(self, line: bytes) -> None:
        if progress := _PROGRESS.match(line):
            self.flow.moved = max(self.flow.moved, int(progress[1]))
        elif status := _STATUS.match(line):
            self.statuses[status[1].decode()] = int(status[2])
        elif line.strip() and not _TOLD.match(line):
            self.said.append(line)

    def check(self, source: Device, target: Device) -> None:
        """Raise unless both sides ended well: `OutcomeUnknown` when only the connection between them was lost."""
        send, receive = self.statuses.get("send"), self.statuses.get("receive")
        if (send, receive) == (0, 0):
            return
        said = clean(b" ".join(self.said).decode("utf-8", "replace"), 300) or "nothing"
        if receive in {None, _LOST} or send is None:
            raise OutcomeUnknown(f"The stream from {source.hostname} to {target.hostname} broke: {said}")
        side, status = ("receive", receive) if send == 0 or send in _PIPE else ("send", send)
        name = source.hostname if side == "send" else target.hostname
        raise CommandFailed(f"zfs {side} on {name} ended with status {status} and said: {said}", exit_status=status)

    def message(self, moved: int, speed: float) -> str:
        """`tank/data@monday: 1.5 of 4.0 GiB, 80 MiB/s, 32 s left`."""
        words = [f"{self.name}: {readable(moved)}" + (f" of {readable(self.size)}" if self.size else "")]
        words.append(f"{readable(speed)}/s")
        if self.size and speed and self.size > moved:
            words.append(f"{(self.size - moved) / speed:.0f} s left")
        return ", ".join(words)


async def watched(ctx: Context, watch: Watch, work: Coroutine[Any, Any, None]) -> None:
    """Run it, telling of its progress every second. Raises `CommandTimeout` when nothing moves for too long."""
    loop = asyncio.get_running_loop()
    flow = watch.flow
    marks: deque[tuple[float, int]] = deque([(loop.time(), 0)], maxlen=_WINDOW)
    moved_at = loop.time()
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=EVERY_S)
            now = loop.time()
            if flow.moved != marks[-1][1]:
                moved_at = now
            elif now - moved_at > flow.stall_s:
                raise CommandTimeout(f"No byte of {watch.name} has moved for {flow.stall_s:g} s.")
            marks.append((now, flow.moved))
            elapsed = now - marks[0][0]
            speed = (flow.moved - marks[0][1]) / elapsed if elapsed else 0.0
            total = None if watch.size is None else float(watch.before + max(watch.size, flow.moved))
            await ctx.progress(watch.before + flow.moved, total, watch.message(flow.moved, speed))
        await task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


def readable(count: float) -> str:
    """`1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:  # noqa: PLR2004
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
