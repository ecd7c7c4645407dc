"""One follower of one device's container engine: its events as ours, none lost and none twice.

Connect, replay from the last event on, and when the stream is quiet compare with a list of the containers. What a
replay cannot bring back (an engine keeps its last 256 events, and forgets them when it restarts) the list tells as
a difference of states. Every interruption is written down as a gap, with whether anything may be missing from it.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

from infrastructor.container_store import ContainerState, ContainerStore
from infrastructor.errors import EngineUnavailable, InfrastructorError, ParseError
from infrastructor.events import Event, EventBus, EventFilter, Severity
from infrastructor.ids import uuid7
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import CommandLine, EngineCall, SSHClient
from infrastructor.watchers.engine_events import api_call, cli_line, parse_event
from infrastructor.watchers.outbox import Outbox
from infrastructor.watchers.running import running
from infrastructor.watchers.state import Gap, WatchState
from infrastructor.watchers.tracker import TOPIC, Difference, Tracker

logger = logging.getLogger(__name__)

AGAIN_S, LONGEST_WAIT_S = 0.5, 60.0
NO_ENGINE_S = 3600.0
LOOK_S = 30.0  # how often we look whether a new analysis found an engine
PROBE_S = 300.0  # how often a device whose engine does not answer is asked what it has
SILENT_S = 3.0  # Podman shows no sign of life before its first event
QUIET_S = {"api": 0.3, "cli": 2.0}  # the replay has ended; a program takes its time to start
QUIET_AT_MOST_S = 15.0
STABLE_S = 1.0  # a difference must still be there after so long, with no event in between

Lister = Callable[[Device], Awaitable[Sequence[ContainerState]]]
Outdate = Callable[[Device], Awaitable[None]]


class ContainerWatcher:
    """`run` goes on until cancelled. `connecting` limits how many of all watchers connect at once.

    `outdate` is told when cached answers about the device's containers are no longer true.
    """

    subjects = ("engine GET /events", "engine GET /containers/json")

    def __init__(
        self,
        device: Device,
        *,
        ssh: SSHClient,
        bus: EventBus,
        store: ContainerStore,
        list_containers: Lister,
        outdate: Outdate,
        connecting: asyncio.Semaphore,
    ) -> None:
        self.device = device
        self.state = WatchState()
        self._ssh = ssh
        self._bus = bus
        self._store = store
        self._list = list_containers
        self._outdate = outdate
        self._happened = asyncio.Event()
        self._connecting = connecting
        self._outbox = Outbox(bus)
        self._tracker = Tracker(device)
        self._loop = asyncio.get_running_loop()
        self._newest: tuple[UUID, int] | None = None  # the last event we had, and its second
        self._last: tuple[UUID, int] | None = None  # the same before listening was lost: replays begin there
        self._lost: tuple[datetime, str] | None = None  # since when nobody listens, and why
        self._replayed: set[UUID] = set()
        self._heard = self._probed = self._loop.time()

    async def run(self) -> None:
        async with self._outbox, running(self._keep_answers_true()):
            await self._recall()
            await self._keep_following()

    async def _keep_answers_true(self) -> None:
        """However many events come meanwhile, one more round is enough for them."""
        while True:
            await self._happened.wait()
            self._happened.clear()
            await self._outdate(self.device)

    async def _recall(self) -> None:
        """Where this process before its restart, or another one, left off."""
        wanted = EventFilter(topics=(TOPIC,), device_id=self.device.id)
        while True:
            try:
                stored = await self._bus.latest(wanted, limit=100)
                self._tracker.begin_with(await self._store.states(self.device.id))
                break
            except InfrastructorError:
                await asyncio.sleep(LONGEST_WAIT_S / 10)
        last = next((event for event in stored if event.data.get("source") != "resync"), None)
        if last is not None:
            self._newest = self._last = (last.id, int(last.at.timestamp()))
            self._lost = (last.recorded_at or last.at, "Infrastructor was restarted")

    # --- connecting ----------------------------------------------------------------------------------

    async def _keep_following(self) -> None:
        wait, told = AGAIN_S, False
        while True:
            try:
                await self._try()
                reason = "The engine ended the stream."
            except InfrastructorError as error:
                reason = error.message
            if self.state.following:
                wait, told = AGAIN_S, False
                logger.info("Container events interrupted", extra={"device": self.device.hostname, "reason": reason})
            elif not told:
                told = True
                logger.warning("No container events", extra={"device": self.device.hostname, "reason": reason})
            self._lost = self._lost or (datetime.now(UTC), reason)
            self.state.become("waiting", reason)
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311
            wait = min(LONGEST_WAIT_S, wait * 2)

    async def _try(self) -> None:
        """Follow by the best way there is, until it ends."""
        found = await self._ssh.capabilities(self.device)
        while not found.has_engine:
            await self._await_engine()
            found = await self._ssh.capabilities(self.device)
        since = None if self._last is None else self._last[1]
        try:
            await self._follow("api", api_call(since))
        except EngineUnavailable:
            line = cli_line(found, since if since is not None else int(datetime.now(UTC).timestamp()))
            if line is None:
                await self._probe()
                raise
            await self._follow("cli", line)

    async def _probe(self) -> None:
        """Perhaps there is another engine by now, or none."""
        if self._loop.time() - self._probed > PROBE_S:
            self._probed = self._loop.time()
            await self._ssh.capabilities(self.device, refresh=True)

    async def _await_engine(self) -> None:
        """Leave the device alone until an analysis finds an engine; ask it again every hour."""
        self.state.become("no_engine", "No docker or podman was found there.")
        until = self._loop.time() + NO_ENGINE_S
        while self._loop.time() < until:
            await asyncio.sleep(LOOK_S)
            found = await self._ssh.capabilities(self.device)
            if found.has_engine:
                return
        await self._ssh.capabilities(self.device, refresh=True)

    async def _follow(self, mode: str, source: EngineCall | CommandLine) -> None:
        opened = asyncio.Event()
        async with contextlib.AsyncExitStack() as followed:
            async with self._connecting:
                reading = await followed.enter_async_context(running(self._read(source, opened)))
                async with running(opened.wait()) as opening:
                    await asyncio.wait({reading, opening}, timeout=SILENT_S, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    async with running(self._synchronize(mode)) as synchronizing:
                        await asyncio.wait({reading, synchronizing}, return_when=asyncio.FIRST_COMPLETED)
                        if synchronizing.done():
                            synchronizing.result()
            await reading

    async def _read(self, source: EngineCall | CommandLine, opened: asyncio.Event) -> None:
        async with self._ssh.follow(self.device, source) as lines:
            self._heard = self._loop.time()
            opened.set()
            async for line in lines:
                self._heard = self._loop.time()
                await self._take(line)

    async def _take(self, line: bytes) -> None:
        try:
            seen = parse_event(line)
        except ParseError:
            self.state.unreadable += 1
            return
        if seen is None:
            return
        self._newest = (self._tracker.key(seen), seen.time_ns // 10**9)
        if self._lost is None:
            self._last = self._newest
        else:
            self._replayed.add(self._newest[0])
        event = self._tracker.apply(seen)
        if event is not None:
            self._happened.set()
            self.state.events += 1
            self.state.last_event = seen.at
            await self._outbox.put([event])

    # --- comparing -----------------------------------------------------------------------------------

    async def _synchronize(self, mode: str) -> None:
        """Wait for the end of the replay, let a list tell what it did not, and close the gap."""
        await self._quiet(QUIET_S[mode])
        differences = await self._differences()
        now = datetime.now(UTC)
        self._happened.set()  # what came and went meanwhile leaves no difference
        await self._outbox.put(self._tracker.resolve(differences, now))
        if self._lost is not None:
            await self._close_gap(now, len(differences))
        self.state.connects += 1
        self.state.become(mode)
        logger.info("Following container events", extra={"device": self.device.hostname, "by": mode})

    async def _quiet(self, seconds: float) -> None:
        """Return once no line has come for so long."""
        since = self._loop.time()
        while True:
            now = self._loop.time()
            left = seconds - (now - max(self._heard, since))
            if left <= 0 or now - since > QUIET_AT_MOST_S:
                return
            await asyncio.sleep(left)

    async def _differences(self) -> list[Difference]:
        """What the list says otherwise twice, of containers no event tells of meanwhile."""
        mark = self._tracker.mark()
        states = await self._list(self.device)
        if not self._tracker.has_baseline:
            self._tracker.adopt(states, untouched_since=mark)
            return []
        first = self._tracker.compare(states, untouched_since=mark)
        if not first:
            return []
        await asyncio.sleep(STABLE_S)
        again = self._tracker.compare(await self._list(self.device), untouched_since=mark)
        return [difference for difference in again if difference in first]

    async def _close_gap(self, now: datetime, resynced: int) -> None:
        assert self._lost is not None  # noqa: S101
        begin, reason = self._lost
        # The last event we had came back: so did all that came after it.
        complete = resynced == 0 if self._last is None else self._last[0] in self._replayed
        known = 0 if self._last is None or not complete else 1
        gap = Gap(
            begin=begin,
            end=now,
            reason=reason,
            complete=complete,
            replayed=len(self._replayed) - known,
            resynced=resynced,
        )
        self.state.gaps.append(gap)
        self._lost, self._last, self._replayed = None, self._newest, set()
        data = {
            "to": now.isoformat(),
            "reason": reason,
            "complete": complete,
            "replayed": gap.replayed,
            "resynced": resynced,
        }
        said = Event(
            id=uuid7(),
            topic="watchers",
            kind="watch.gap",
            at=begin,
            severity=Severity.INFO if complete else Severity.WARNING,
            device_id=self.device.id,
            device=self.device.hostname,
            subject=TOPIC,
            data=data,
        )
        await self._outbox.put([said])
