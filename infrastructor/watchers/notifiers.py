"""Programs that say where something changed, but not what: inotifywait, inotifyd, and watchfiles on this machine."""

import asyncio
import re
import shlex
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

import watchfiles

from infrastructor.errors import CommandFailed
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import CommandLine, SSHClient

MOST_FOLDERS = 4000  # as arguments of one command
READY_S = 60.0
_BYSTANDING = re.compile(r"^(OPEN|ACCESS|CLOSE_NOWRITE|CLOSE|ISDIR|,)+$")
_MASK = "cewymndDMuo"
INOTIFYD_S = 0.3


@dataclass(frozen=True)
class Wake:
    """Look at this folder, `deep` with all below; None: at everything. `anew`: there are other folders to watch."""

    folder: bytes | None
    deep: bool = False
    anew: bool = False


class Notifier(Protocol):
    """`listen` watches folders, and of others (`alone`) only what is directly in them."""

    @property
    def follows_new(self) -> bool:
        """Whether it watches folders that come later."""
        ...

    def listen(
        self, tops: Sequence[str], alone: Sequence[str], folders: Collection[bytes]
    ) -> AbstractAsyncContextManager[AsyncIterator[Wake]]: ...


class Inotifywait:
    """It watches new folders by itself, too late for what is in them at once: those are looked at twice."""

    follows_new = True

    def __init__(self, device: Device, ssh: SSHClient, *, sudo: bool) -> None:
        self._device, self._ssh, self._sudo = device, ssh, sudo

    @asynccontextmanager
    async def listen(
        self, tops: Sequence[str], alone: Sequence[str], folders: Collection[bytes]
    ) -> AsyncIterator[AsyncIterator[Wake]]:
        # With a filter of events it does not tell of lost ones.
        calls = [
            f"inotifywait -m {option}--format '%e %w%f' -- {shlex.join(paths)} 2>&1"
            for option, paths in (("-r ", tops), ("", alone))
            if paths
        ]
        text = " & ".join(calls) + (" & wait" if len(calls) > 1 else "")
        line = CommandLine(text=text, needs="inotifywait", sudo=self._sudo)
        async with self._ssh.follow(self._device, line) as lines:
            waiting = len(calls)
            async with asyncio.timeout(READY_S):
                while waiting:
                    said = await _next(lines, self._device)
                    waiting -= said.startswith(b"Watches established")
                    if b"upper limit" in said or b"Couldn't watch" in said or b"Failed to watch" in said:
                        raise CommandFailed(f"inotifywait on {self._device.hostname} said: {said.decode()[:200]}")
            yield _wakes(lines)


async def _next(lines: AsyncIterator[bytes], device: Device) -> bytes:
    try:
        return await anext(lines)
    except StopAsyncIteration:
        raise CommandFailed(f"The watching program on {device.hostname} ended at once.") from None


async def _wakes(lines: AsyncIterator[bytes]) -> AsyncIterator[Wake]:
    async for line in lines:
        wake = parse_inotifywait(line)
        if wake is not None:
            yield wake


def parse_inotifywait(line: bytes) -> Wake | None:
    """`EVENTS PATH`; None for what changes nothing."""
    events, _, path = line.partition(b" ")
    names = events.decode("ascii", "replace")
    if _BYSTANDING.match(names) and path.startswith(b"/"):
        return None
    if not path.startswith(b"/") or not names.replace(",", "").replace("_", "").isalpha():
        return Wake(None)
    if "ISDIR" in names and ("CREATE" in names or "MOVED" in names):
        return Wake(path, deep=True)
    return Wake(_parent(path))


class Inotifyd:
    """BusyBox's and toybox's; it watches single folders, so new ones need it to start again."""

    follows_new = False

    def __init__(self, device: Device, ssh: SSHClient, *, sudo: bool) -> None:
        self._device, self._ssh, self._sudo = device, ssh, sudo

    @asynccontextmanager
    async def listen(
        self, tops: Sequence[str], alone: Sequence[str], folders: Collection[bytes]
    ) -> AsyncIterator[AsyncIterator[Wake]]:
        every = dict.fromkeys([*tops, *alone, *(path.decode("utf-8", "surrogateescape") for path in sorted(folders))])
        paths = [path for path in every if ":" not in path and "\n" not in path and path.isprintable()][:MOST_FOLDERS]
        words = " ".join(shlex.quote(f"{path}:{_MASK}") for path in paths)
        # It says nothing when it is ready: watches are added within a moment of its start.
        line = CommandLine(text=f"echo begin; exec inotifyd - {words} 2>&1", needs="inotifyd", sudo=self._sudo)
        async with self._ssh.follow(self._device, line) as lines:
            await _next(lines, self._device)
            await asyncio.sleep(INOTIFYD_S)
            yield self._wakes(lines)

    async def _wakes(self, lines: AsyncIterator[bytes]) -> AsyncIterator[Wake]:
        async for line in lines:
            wake = parse_inotifyd(line)
            if wake is None:
                raise CommandFailed(
                    f"inotifyd on {self._device.hostname} said: {line.decode('utf-8', 'replace')[:200]}"
                )
            yield wake


def parse_inotifyd(line: bytes) -> Wake | None:
    """`EVENTS<tab>FOLDER[<tab>NAME]`; None for anything else. It does not tell folders from files."""
    events, _, rest = line.partition(b"\t")
    folder, tab, name = rest.partition(b"\t")
    if not events.isalpha() or not folder.startswith(b"/"):
        return None
    if b"o" in events:
        return Wake(None)
    if not tab or not name:
        return Wake(_parent(folder), deep=True, anew=True)
    path = folder.rstrip(b"/") + b"/" + name
    # Created or moved here: perhaps a folder.
    return Wake(path, deep=True) if events in {b"n", b"y"} else Wake(folder)


class Watchfiles:
    """This machine's own."""

    follows_new = True

    @asynccontextmanager
    async def listen(
        self, tops: Sequence[str], alone: Sequence[str], folders: Collection[bytes]
    ) -> AsyncIterator[AsyncIterator[Wake]]:
        stop = asyncio.Event()

        async def wakes() -> AsyncIterator[Wake]:
            changes = watchfiles.awatch(
                *tops, *alone, watch_filter=None, debounce=50, step=5, stop_event=stop, ignore_permission_denied=True
            )
            async for found in changes:
                for change, path in found:
                    raw = path.encode("utf-8", "surrogateescape")
                    yield Wake(_parent(raw))
                    if change is watchfiles.Change.added:
                        yield Wake(raw, deep=True)

        try:
            yield wakes()
        finally:
            stop.set()


def _parent(path: bytes) -> bytes:
    return str(PurePosixPath(path.decode("utf-8", "surrogateescape")).parent).encode("utf-8", "surrogateescape")
