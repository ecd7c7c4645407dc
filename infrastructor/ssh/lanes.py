"""The lanes of one live connection: which request goes to which shell, and how many shells there may be."""

import asyncio
from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import Protocol

from infrastructor.errors import CommandFailed, CommandNotAvailable, CommandTimeout, InfrastructorError, SSHTimeout
from infrastructor.ports.ssh import Lane
from infrastructor.ssh.carrier import Carrier, Gone, Refused
from infrastructor.ssh.request import Request
from infrastructor.ssh.shell import ShellLane
from infrastructor.ssh.statistics import Counters
from infrastructor.ssh.texts import Text

SESSIONS = 8  # sshd's default MaxSessions is 10; others may use the connection's host too
RESIDENTS = 2  # sessions kept free for the resident shells, where there are enough
QUEUE_TIMEOUT_S = 60.0
REFUSALS = 12  # in a row without any session open: the device opens none at all
MADE_ROOM_S = 0.05  # until a session that was ended for us may be gone
GUEST_S = 0.25  # until who found no session has tried again
STARTS = 2  # further shells tried when one ends without a word
REPLAYS = 3  # of a request that stood behind a broken one; then it runs alone


class RequestOwner(Protocol):
    """The link: it knows who waits for a request."""

    @property
    def name(self) -> str: ...

    def finish(self, request: Request, duration_s: float) -> None: ...

    def fail(self, request: Request, error: InfrastructorError) -> None: ...

    def lost(self, head: list[Request], others: list[Request]) -> None:
        """The carrier ended under these requests."""
        ...


class Use(Enum):
    """What a session that was opened beside the lanes is good for just now."""

    FOLLOWING = auto()  # for as long as somebody wants: it gives way only to those who have no session at all
    ANSWERING = auto()  # for a moment: it is waited for
    IDLE = auto()  # kept for the next question: it gives way first


class Holder:
    """A session that somebody opened on the carrier himself, counted until `release`. `end` closes it."""

    __slots__ = ("_lanes", "_use", "end")

    def __init__(self, lanes: "LaneSet | None", end: Callable[[], None], use: Use) -> None:
        self._lanes = lanes
        self._use = use
        self.end = end
        if lanes is not None:
            lanes.holders.append(self)

    @property
    def use(self) -> Use:
        return self._use

    def turn(self, use: Use) -> None:
        """Say what it is good for now; an idle one is ended at once where a command waits for a session."""
        self._use = use
        if use is Use.IDLE and self._lanes is not None:
            self._lanes.spare()

    def release(self) -> None:
        if self._lanes is not None and self in self._lanes.holders:
            self._lanes.holders.remove(self)


class LaneSet:
    __slots__ = (
        "_budget",
        "_carrier",
        "_closed_at",
        "_counters",
        "_fast",
        "_hello_timeout_s",
        "_lanes",
        "_link",
        "_loop",
        "_opening",
        "_queue",
        "_retry",
        "_slow",
        "_tasks",
        "holders",
        "slow",
    )

    def __init__(self, link: RequestOwner, carrier: Carrier, counters: Counters, hello_timeout_s: float) -> None:
        self._link = link
        self._carrier = carrier
        self._counters = counters
        self._hello_timeout_s = hello_timeout_s
        self._loop = asyncio.get_running_loop()
        self._budget = SESSIONS
        self._fast: dict[bool, ShellLane] = {}  # by sudo
        self._lanes: set[ShellLane] = set()  # that hold a session, or are getting one
        self._opening = 0
        self._slow = 0  # single-use lanes among them
        self._queue: list[ShellLane] = []  # lanes waiting for a session
        self._closed_at = 0.0
        self._retry: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.holders: list[Holder] = []  # of sessions opened beside ours
        self.slow: list[Text] = []

    @property
    def busy(self) -> bool:
        return bool(self._queue) or any(not lane.is_idle for lane in self._lanes)

    @property
    def count(self) -> int:
        """Sessions held on the device, or being closed."""
        return len(self._lanes) + len(self.holders)

    @property
    def budget(self) -> int:
        return self._budget

    # --- requests ------------------------------------------------------------------------------------

    def dispatch(self, request: Request) -> None:
        sudo = request.line.sudo and not self._carrier.is_root
        if request.line.lane is not Lane.FAST or request.alone:
            self._begin(request, sudo=sudo, single=True)
            return
        lane = self._fast.get(sudo)
        if lane is not None and not lane.retiring:
            lane.submit(request)
        else:
            self._fast[sudo] = self._begin(request, sudo=sudo, single=False)

    def abandon(self, request: Request) -> None:
        lane = request.lane
        if not isinstance(lane, ShellLane):
            return
        if lane.single and lane in self._lanes:
            lane.take_all()
            lane.close()
        elif lane.single:
            lane.take_all()
            if lane in self._queue:
                self._queue.remove(lane)
        else:
            lane.abandon(request)

    def _begin(self, request: Request, *, sudo: bool, single: bool) -> ShellLane:
        """A new lane for the request, opened when there is a session for it."""
        lane = ShellLane(self, self._loop, sudo=sudo, single=single)
        lane.submit(request)
        if single:
            self._queue.append(lane)
        else:
            self._queue.insert(0, lane)
        self._pump()
        if lane in self._queue:
            self._loop.call_later(QUEUE_TIMEOUT_S, self._expire, lane)
        return lane

    def _expire(self, lane: ShellLane) -> None:
        if lane in self._queue:
            self._queue.remove(lane)
            lane.retiring = True
            error = SSHTimeout(
                f"{self._link.name} had no free session for {QUEUE_TIMEOUT_S:.0f} s.",
                hint="Longer commands hold all of them; ask again later.",
            )
            self._fail(lane.take_all(), error)

    # --- sessions ------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Open queued lanes while the budget lasts; where it does not, idle residents give way."""
        if self._retry is not None or not self._carrier.alive:
            return
        waiting: list[ShellLane] = []
        held = sum(holder.use is not Use.IDLE for holder in self.holders)
        slow_limit = max(1, self._budget - held - RESIDENTS)
        while self._queue and self.count < self._budget:
            lane = self._queue.pop(0)
            if lane.is_idle:
                lane.retiring = True  # everyone who waited for it has left
                continue
            if lane.single and self._slow >= slow_limit:
                waiting.append(lane)
                continue
            self._lanes.add(lane)
            self._slow += lane.single
            self._opening += 1
            task = self._loop.create_task(self._open(lane))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._queue[:0] = waiting
        if self._queue and self.count >= self._budget:
            self._give_way()

    def _give_way(self) -> None:
        """Let others make room, one for each lane that waits: idle sessions, then resident shells once they are idle.

        Who follows something gives way only when commands have no session at all.
        """
        wanted = len(self._queue)
        ending = [holder for holder in self.holders if holder.use is Use.IDLE][:wanted]
        if not ending and not self._lanes:
            ending = [holder for holder in self.holders if holder.use is Use.FOLLOWING][-1:]
        for holder in ending:
            holder.release()
            holder.end()
        if ending and self._retry is None:
            self._retry = self._loop.call_later(MADE_ROOM_S, self._try_again)
        wanted -= len(ending)
        for lane in [lane for lane in self._fast.values() if lane in self._lanes]:
            if wanted <= 0 or (self._budget > RESIDENTS and not lane.retiring):
                return
            wanted -= 1
            lane.retiring = True
            if lane.is_idle:
                lane.close()

    def spare(self) -> None:
        """A session beside ours became idle."""
        if self._queue:
            self._give_way()

    def make_room(self) -> None:
        """Somebody beside the lanes found no session: a resident shell ends, and the next free session is not taken."""
        if self._retry is None:
            self._retry = self._loop.call_later(GUEST_S, self._try_again)
        for lane in self._fast.values():
            if lane in self._lanes and not lane.retiring:
                lane.retiring = True
                if lane.is_idle and lane.ready:
                    lane.close()
                return

    async def _open(self, lane: ShellLane) -> None:
        """Runs in a task of its own, never cancelled: a session opened for nobody must still be closed."""
        try:
            channel = await self._carrier.open(lane, sudo=lane.sudo)
        except Refused as error:
            self._refused(lane, str(error))
        except Gone:
            self._opening -= 1
            lane.retiring = True
            self._release(lane)
            self._link.lost([], lane.take_all())
        else:
            self._opening -= 1
            self._counters.lanes_opened += 1
            unwanted = lane.is_idle and (lane.single or lane.retiring)
            lane.attach(channel, self._hello_timeout_s)
            if unwanted:
                lane.close()

    def _refused(self, lane: ShellLane, reason: str) -> None:
        """No more sessions now: learn the limit, wait for one to end, and try again."""
        self._opening -= 1
        self._release(lane)
        self._counters.refusals += 1
        own = len(self._lanes) - self._opening
        held = own + len(self.holders)
        if own and self._loop.time() - self._closed_at > 1.0:
            self._budget = max(1, min(self._budget, held))
        lane.refusals += 1
        if lane.refusals > REFUSALS and not held:
            lane.retiring = True
            error = CommandFailed(
                f"{self._link.name} accepts the login but opens no session: {reason}",
                hint="Look for MaxSessions 0, ForceCommand or a restricted key on the device.",
            )
            self._fail(lane.take_all(), error)
            return
        self._queue.insert(0, lane)
        if self._retry is None:
            self._retry = self._loop.call_later(min(1.0, 0.02 * 2**lane.refusals), self._try_again)
        if held:
            self._give_way()

    def _try_again(self) -> None:
        self._retry = None
        self._pump()

    def _release(self, lane: ShellLane) -> None:
        if lane in self._lanes:
            self._lanes.discard(lane)
            self._slow -= lane.single

    # --- what lanes report ---------------------------------------------------------------------------

    def finished(self, request: Request, duration_s: float) -> None:
        self._link.finish(request, duration_s)

    def idle(self, lane: ShellLane) -> None:
        if lane.single or lane.retiring:
            lane.close()
        elif self._queue:
            self._pump()

    def timed_out(self, lane: ShellLane, head: Request, others: list[Request]) -> None:
        if head.number == 0:
            self._no_shell(lane, others, "its login gives no shell in time")
            return
        limit = head.line.timeout_s
        self._link.fail(
            head,
            CommandTimeout(f"The command on {self._link.name} took longer than {limit:g} s and was stopped."),
        )
        self._again(others)

    def overflowed(self, lane: ShellLane, head: Request, others: list[Request]) -> None:
        del lane
        self._link.finish(head, self._loop.time() - head.started)
        self._again(others)

    def blocked(self, lane: ShellLane, others: list[Request]) -> None:
        del lane
        for request in others:
            self.dispatch(request)

    def unclear(self, request: Request) -> None:
        self._again([request])

    def closed(self, lane: ShellLane, head: Request | None, others: list[Request]) -> None:
        self._release(lane)
        self._closed_at = self._loop.time()
        if not self._carrier.alive:
            self._link.lost([head] if head else [], others)
            return
        if not lane.ready and others:
            if lane.greeting or any(request.replays >= STARTS for request in others):
                self._no_shell(lane, others, "its login gives no shell")
            else:
                self._again(others)  # a server under load may lose one (dropbear does)
        else:
            if head is not None:
                self._suspect(head)
            self._again(others)
        self._pump()

    def _suspect(self, head: Request) -> None:
        """Its shell died under it: once more in a shell of its own, then it is to blame."""
        if head.abandoned:
            self._link.fail(head, CommandTimeout("abandoned"))
        elif head.alone or head.line.lane is not Lane.FAST:
            error = CommandFailed(
                f"The command ended the shell it ran in on {self._link.name}.",
                hint="It was killed on the device, or it kills its own shell.",
            )
            self._link.fail(head, error)
        else:
            self._counters.replays += 1
            head.alone = True
            self.dispatch(head)

    def _again(self, requests: Iterable[Request]) -> None:
        """They stood behind one that broke the lane, and had not begun."""
        for request in requests:
            if request.abandoned:
                continue
            self._counters.replays += 1
            request.replays += 1
            request.alone = request.replays > REPLAYS
            self.dispatch(request)

    def _no_shell(self, lane: ShellLane, requests: list[Request], what: str) -> None:
        said = lane.greeting.decode("utf-8", "replace").strip()[-300:]
        if lane.sudo:
            self._fail(requests, no_sudo(self._link.name, said))
            return
        error = CommandFailed(
            f"{self._link.name} accepts the login but {what}" + (f": {said}" if said else "."),
            hint="The login needs a shell: look for nologin, ForceCommand or a restricted key on the device.",
        )
        self._fail(requests, error)

    def _fail(self, requests: Iterable[Request], error: InfrastructorError) -> None:
        for request in requests:
            self._link.fail(request, error)

    # --- the end -------------------------------------------------------------------------------------

    def trim(self, before: float) -> None:
        """Close resident shells that nobody has used since."""
        for sudo, lane in list(self._fast.items()):
            if lane.is_idle and lane.ready and lane.last_used < before:
                del self._fast[sudo]
                lane.close()

    def stop(self) -> list[Request]:
        """Take every request off, for the connection is being closed."""
        requests = [request for lane in self._queue for request in lane.take_all()]
        self._queue.clear()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        for lane in list(self._lanes):
            requests += lane.take_all()
            lane.close()
        return requests


def no_sudo(name: str, said: str) -> CommandNotAvailable:
    """sudo would not start a shell without a password."""
    lowered = said.lower()
    if "not found" in lowered or "no such file" in lowered:
        what = f"{name} has no sudo, and the login user is not root."
    else:
        what = f"sudo on {name} does not let the login user run this without a password" + (
            f": {said}" if said else "."
        )
    return CommandNotAvailable(
        what,
        hint="Log in as root, or allow it with a sudoers line such as 'USER ALL=(root) NOPASSWD: ALL'.",
        program="sudo",
        installed=not what.startswith(f"{name} has no sudo"),
    )
