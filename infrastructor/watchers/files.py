"""One watcher of one device's configuration files: every version that can be noticed, and every final state.

It picks the best way the device offers, begins each time with a comparison of everything, and writes down in which
times nobody watched.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from infrastructor.domains.configs.roots import roots_of
from infrastructor.errors import CommandFailed, CommandNotAvailable, InfrastructorError
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import SSHClient
from infrastructor.snapshot_store import BlindTime, ConfigWatch, SnapshotStore
from infrastructor.watchers.file_state import FileWatchState
from infrastructor.watchers.inotify import Monitor, WatchOptions
from infrastructor.watchers.version_outbox import VersionOutbox
from infrastructor.watchers.view import View
from infrastructor.watchers.ways import Way, ways_of

logger = logging.getLogger(__name__)

AGAIN_S, LONGEST_WAIT_S = 0.3, 60.0
FORGIVEN_S = 600.0  # after so long a way that failed is tried again
STOPPED = "Infrastructor did not watch."


class RemoteFileWatcher:
    """`run` goes on until cancelled. `connecting` limits how many of all watchers connect at once."""

    def __init__(
        self,
        device: Device,
        *,
        ssh: SSHClient,
        store: SnapshotStore,
        watches: Sequence[ConfigWatch],
        options: WatchOptions,
        connecting: asyncio.Semaphore,
        ways: Callable[..., Sequence[Way]] = ways_of,
    ) -> None:
        self.device = device
        self.state = FileWatchState()
        self._ssh = ssh
        self._store = store
        self._options = options
        self._connecting = connecting
        self._ways = ways
        self._chosen = ""
        self._failed: dict[str, tuple[float, str]] = {}
        self._loop = asyncio.get_running_loop()
        self._outbox = VersionOutbox(device.id, store, self._stored)
        self._view = View(roots_of(watches), self._outbox, self.state)

    @property
    def subjects(self) -> list[str]:
        """What is watched, for the audit."""
        return [f"watch {root.path}" for root in self._view.roots]

    def _stored(self, problem: str) -> None:
        self.state.storing = problem

    async def run(self) -> None:
        async with self._outbox:
            await self._recall()
            try:
                await self._keep_watching()
            finally:
                await self._mark_stop()

    async def _recall(self) -> None:
        """What the store knows of the device, and since when nobody watched it."""
        while True:
            try:
                heads = await self._store.heads(self.device.id)
                begin = await self._last_watched() if heads else None
            except InfrastructorError as error:
                self.state.storing = error.message
                await asyncio.sleep(LONGEST_WAIT_S / 20)
                continue
            self.state.storing = ""
            self._view.begin_with(heads, begin, STOPPED)
            return

    async def _last_watched(self) -> datetime | None:
        """When a watcher before this one stopped; after a crash, the last version it kept."""
        now = datetime.now(UTC)
        newest = await self._store.history(device_id=self.device.id, limit=1)
        since = newest[0].time if newest else now - timedelta(days=1)
        stops = [span.end for span in await self._store.blind(self.device.id, since, now)]
        return max([since, *stops]) if newest or stops else None

    async def _mark_stop(self) -> None:
        """An empty span says: until here somebody watched."""
        if self._view.synchronized:
            now = datetime.now(UTC)
            with contextlib.suppress(InfrastructorError, TimeoutError):
                async with asyncio.timeout(2.0):
                    await self._store.add_blind(self.device.id, BlindTime(begin=now, end=now, reason=STOPPED))

    # --- watching ------------------------------------------------------------------------------------

    async def _keep_watching(self) -> None:
        wait, told = AGAIN_S, False
        while True:
            worked, reason = await self._try()
            if worked:
                wait, told = AGAIN_S, False
                logger.info("Watching files interrupted", extra={"device": self.device.hostname, "reason": reason})
            elif not told:
                told = True
                logger.warning("Files are not watched", extra={"device": self.device.hostname, "reason": reason})
            self._view.lose(reason)
            self.state.error = reason
            self.state.become("waiting", reason)
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311
            wait = min(LONGEST_WAIT_S, wait * 2)

    async def _try(self) -> tuple[bool, str]:
        """Watch by the best way there is, until it ends: whether it had worked, and why it ended."""
        try:
            monitor = await self._choose()
            await monitor.run(self._view)
            reason = "The watching program ended."
        except InfrastructorError as error:
            reason = error.message
            if not self._view.synchronized and isinstance(error, CommandFailed | CommandNotAvailable):
                self._failed[self._chosen] = (self._loop.time(), reason)
        return self._view.synchronized, reason

    async def _choose(self) -> Monitor:
        found = await self._ssh.capabilities(self.device)
        now = self._loop.time()
        self._failed = {name: failed for name, failed in self._failed.items() if now - failed[0] < FORGIVEN_S}
        ways = self._ways(self.device, found)
        passed = []
        for way in ways:
            if way.missing is None and way.name not in self._failed:
                break
            passed.append(way.missing or f"{way.name} failed: {self._failed[way.name][1]}")
        self._chosen = way.name
        self.state.connects += 1
        self.state.why = "; ".join(passed) or "the best way there is"
        return way.build(self.device, self._ssh, self._options, self._connecting)
