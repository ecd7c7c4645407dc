"""One follower of one device's ZFS events: as ours, none lost that the module still has, and none twice.

`zpool events -H -v -f` prints the events that the kernel module still has (some hundred, since it was loaded), then
each as it comes: connecting again is catching up. Only root may read them. A root shell follows; where sudo allows
single programs only, what the module has is read every minute, for nothing could end a program of root's there.
Every interruption is written down as a gap, with whether anything may be missing from it.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

from infrastructor.domains.zfs.commands import ExamineZfs
from infrastructor.domains.zfs.digest import TOPIC, Digest
from infrastructor.domains.zfs.event_operations import ReadEvents
from infrastructor.domains.zfs.events import Reader, ZfsEvent
from infrastructor.domains.zfs.models import ZFS_ANSWERS
from infrastructor.errors import CommandFailed, CommandNotAvailable, InfrastructorError, ParseError
from infrastructor.events import GAP, Event, EventBus, EventFilter, Severity
from infrastructor.ids import uuid7
from infrastructor.ports.audit import AuditLog
from infrastructor.ports.devices import Device, DeviceRegistry
from infrastructor.ports.ssh import Capabilities, CommandLine, SSHClient
from infrastructor.watchers.fleet import Watchers
from infrastructor.watchers.outbox import Outbox
from infrastructor.watchers.running import running
from infrastructor.watchers.state import Gap, WatchState

logger = logging.getLogger(__name__)

AGAIN_S, LONGEST_WAIT_S = 1.0, 120.0
NO_ZFS_S = 3600.0
LOOK_S = 30.0  # how often we look whether a new analysis found ZFS
QUIET_S = 2.0  # what the module had is read
QUIET_AT_MOST_S = 20.0
POLL_S = 60.0
FLUSH_S = 5.0
FOLLOW = CommandLine(text="zpool events -H -v -f", needs="zpool", sudo=True)

Outdate = Callable[[Device], Awaitable[None]]


class ZfsWatcher:
    """`run` goes on until cancelled. `connecting` limits how many of all watchers connect at once.

    `outdate` is told when cached answers about the device's pools and datasets are no longer true.
    """

    subjects = ("zpool events -H -v -f",)

    def __init__(
        self,
        device: Device,
        *,
        ssh: SSHClient,
        bus: EventBus,
        outdate: Outdate,
        connecting: asyncio.Semaphore,
        poll_s: float = POLL_S,
    ) -> None:
        self.device = device
        self.state = WatchState()
        self._ssh = ssh
        self._bus = bus
        self._outdate = outdate
        self._connecting = connecting
        self._poll_s = poll_s
        self._outbox = Outbox(bus)
        self._digest = Digest(device)
        self._loop = asyncio.get_running_loop()
        self._happened = asyncio.Event()
        self._newest: tuple[int, int] | None = None  # time and number of the last event we had
        self._last: tuple[int, int] | None = None  # the same before listening was lost
        self._lost: tuple[datetime, str] | None = None  # since when nobody listens, and why
        self._met_again = False  # the last one we had came back, so all after it did
        self._replayed = 0
        self._heard = self._loop.time()

    async def run(self) -> None:
        async with self._outbox, running(self._keep_answers_true()), running(self._tell_ends()):
            await self._recall()
            await self._keep_following()

    async def _keep_answers_true(self) -> None:
        """However many events come meanwhile, one more round is enough for them."""
        while True:
            await self._happened.wait()
            self._happened.clear()
            await self._outdate(self.device)

    async def _tell_ends(self) -> None:
        """Of many events that said the same, the last is told once no more can come."""
        while True:
            await asyncio.sleep(FLUSH_S)
            if self._digest.waiting and self._loop.time() - self._heard >= FLUSH_S and self._newest is not None:
                silent_ns = int((self._loop.time() - self._heard) * 1e9)
                await self._publish(self._digest.over(self._newest[0] * 1000 + silent_ns))

    async def _recall(self) -> None:
        """Where this process before its restart, or another one, left off."""
        wanted = EventFilter(topics=(TOPIC,), device_id=self.device.id)
        while True:
            try:
                stored = await self._bus.latest(wanted, limit=1)
                break
            except InfrastructorError:
                await asyncio.sleep(LONGEST_WAIT_S / 10)
        if stored:
            eid = stored[0].data.get("eid")
            self._newest = self._last = (_microseconds(stored[0].at), eid if isinstance(eid, int) else 0)
            self._lost = (stored[0].recorded_at or stored[0].at, "Infrastructor was restarted")

    # --- connecting ----------------------------------------------------------------------------------

    async def _keep_following(self) -> None:
        wait, told = AGAIN_S, False
        while True:
            before = self.state.connects
            try:
                await self._try()
                reason = "zpool events ended."
            except InfrastructorError as error:
                reason = error.message
            if self.state.connects > before:
                wait, told = AGAIN_S, False
                logger.info("ZFS events interrupted", extra={"device": self.device.hostname, "reason": reason})
            elif not told:
                told = True
                logger.info("No ZFS events", extra={"device": self.device.hostname, "reason": reason})
            self._lost = self._lost or (datetime.now(UTC), reason)
            self._met_again, self._replayed = False, 0
            self.state.become("waiting", reason)
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311
            wait = min(LONGEST_WAIT_S, wait * 2)

    async def _try(self) -> None:
        """Follow by the best way there is, until it ends."""
        found = await self._ssh.capabilities(self.device)
        while (why := await self._hindrance(found)) is not None:
            await self._await_zfs(*why)
            found = await self._ssh.capabilities(self.device)
        if found.is_root or found.sudo == "nopasswd":
            with contextlib.suppress(CommandNotAvailable):  # a root shell is not allowed after all
                await self._follow()
                return
        await self._poll()

    async def _hindrance(self, found: Capabilities) -> tuple[str, str] | None:
        """Why there is nothing to follow: a mode, and in words."""
        if "zpool" not in found.tools:
            return "no_zfs", "There is no zpool."
        if not found.is_root and found.sudo not in {"nopasswd", "limited"}:
            return "no_permission", "Only root may read the events of ZFS, and the login cannot become root."
        output = await self._ssh.execute_command(self.device, ExamineZfs().render())
        access = ExamineZfs().parse(output)
        if access.module is None:
            return "no_zfs", "The ZFS module is not loaded."
        return None if access.device_file != "missing" else ("no_zfs", "There is no /dev/zfs.")

    async def _await_zfs(self, mode: str, message: str) -> None:
        """Leave the device alone until an analysis finds otherwise; ask it again every hour."""
        self.state.become(mode, message)
        before = await self._ssh.capabilities(self.device)
        until = self._loop.time() + NO_ZFS_S
        while self._loop.time() < until:
            await asyncio.sleep(LOOK_S)
            if await self._ssh.capabilities(self.device) != before:
                return
        await self._ssh.capabilities(self.device, refresh=True)

    async def _follow(self) -> None:
        async with contextlib.AsyncExitStack() as followed:
            async with self._connecting:
                lines = await followed.enter_async_context(self._ssh.follow(self.device, FOLLOW))
            synchronizing = await followed.enter_async_context(running(self._synchronize()))
            reader = Reader()
            self._heard = self._loop.time()
            async for line in lines:
                self._heard = self._loop.time()
                try:
                    event = reader.take(line.decode("utf-8", "replace"))
                except ParseError:
                    self.state.unreadable += 1
                    continue
                if event is not None:
                    await self._take(event)
            if synchronizing.done():
                synchronizing.result()

    async def _poll(self) -> None:
        """Read what the module has, again and again; the first time closes the gap."""
        command, polled_at = ReadEvents().as_root(), datetime.now(UTC)
        while True:
            async with self._connecting:
                output = await self._ssh.execute_command(self.device, command.render())
            if output.exit_status != 0:
                said = output.error_text[:300] or "nothing"
                raise CommandFailed(f"zpool events on {self.device.hostname} said: {said}")
            found = command.parse(output)
            if self._lost is None and self._newest is not None and all(_place(one) != self._newest for one in found):
                self._lost = (polled_at, "The module dropped events before they were read, or was loaded anew.")
                self._met_again, self._replayed = False, 0
            for event in found:
                self._heard = self._loop.time()
                await self._take(event)
            await self._close_gap(datetime.now(UTC))
            if self.state.mode != "poll":
                self.state.connects += 1
                self.state.become("poll")
            polled_at = datetime.now(UTC)
            await asyncio.sleep(self._poll_s)

    # --- events --------------------------------------------------------------------------------------

    async def _take(self, event: ZfsEvent) -> None:
        place = _place(event)
        if place == self._last:
            self._met_again = True
        elif self._lost is not None and (self._last is None or place > self._last):
            self._replayed += 1
        self._newest = place
        if self._lost is None:
            self._last = place
        told = self._digest.take(event)
        self._happened.set()
        self.state.last_event = event.at
        await self._publish(told)

    async def _publish(self, told: list[Event]) -> None:
        if told:
            self.state.events += len(told)
            await self._outbox.put(told)

    async def _synchronize(self) -> None:
        """What the module had has come once nothing comes for a while."""
        since = self._loop.time()
        while True:
            now = self._loop.time()
            left = QUIET_S - (now - max(self._heard, since))
            if left <= 0 or now - since > QUIET_AT_MOST_S:
                break
            await asyncio.sleep(left)
        await self._close_gap(datetime.now(UTC))
        self._happened.set()
        self.state.connects += 1
        self.state.become("follow")
        logger.info("Following ZFS events", extra={"device": self.device.hostname})

    async def _close_gap(self, now: datetime) -> None:
        if self._lost is None:
            return
        begin, reason = self._lost
        complete, first_time = self._met_again, self._last is None
        self._lost, self._last = None, self._newest
        if first_time:
            return  # nothing was had before, so nothing can be missing
        gap = Gap(begin=begin, end=now, reason=reason, complete=complete, replayed=self._replayed, resynced=0)
        self.state.gaps.append(gap)
        said = Event(
            id=uuid7(),
            topic="watchers",
            kind=GAP,
            at=begin,
            severity=Severity.INFO if complete else Severity.WARNING,
            device_id=self.device.id,
            device=self.device.hostname,
            subject=TOPIC,
            data={"to": now.isoformat(), "reason": reason, "complete": complete, "replayed": gap.replayed},
        )
        await self._outbox.put([said])


def _place(event: ZfsEvent) -> tuple[int, int]:
    """Time and number: together they name an event. No finer than the store keeps times."""
    return event.time_ns // 1000, event.eid


def _microseconds(at: datetime) -> int:
    return int(at.replace(microsecond=0).timestamp()) * 10**6 + at.microsecond


def zfs_watchers(
    *,
    devices: DeviceRegistry,
    audit: AuditLog,
    ssh: SSHClient,
    bus: EventBus,
    outdate: Callable[[UUID, Sequence[str]], Awaitable[None]],
) -> Watchers:
    """One a device; where there is no ZFS it looks once, and then again when the device is analysed anew."""

    async def changed(device: Device) -> None:
        await outdate(device.id, ZFS_ANSWERS)

    def watch(device: Device, _: None, connecting: asyncio.Semaphore) -> ZfsWatcher:
        return ZfsWatcher(device, ssh=ssh, bus=bus, outdate=changed, connecting=connecting)

    return Watchers(operation="zfs_watch", devices=devices, audit=audit, watch=watch)
