"""A lane: one resident POSIX shell that runs requests one after the other.

All requests of one loop tick go out in one write. Answers are cut out of the byte streams by searching for a
marker with a 128-bit nonce; nothing is decoded. Requests finish in order; the first unfinished one is the head.

Every request has an end marker on stdout. On stderr, neighbours known to be quick and silent share one, for each
marker is a packet to read. If a group has said something there after all, all of it runs again, each by itself.
"""

import asyncio
import secrets
from typing import Protocol

from infrastructor.ports.ssh import CommandLine
from infrastructor.ssh.carrier import Channel
from infrastructor.ssh.request import Request
from infrastructor.ssh.streams import Group, Stream, grouped
from infrastructor.ssh.texts import Text
from infrastructor.ssh.wire import frame, hello

WINDOW = 64  # requests written ahead
TAIL = 128  # longer than any marker line
SLACK = 1 << 20  # bytes over the cap that are read and dropped before the lane is ended
GRACE_S = 0.05  # what an abandoned request may still take before its lane is ended
OVERTAKE_S = 1.0  # how long a head may keep others waiting before they move to another lane
SLOW_S = 0.25  # a run this long keeps a text out of groups on its device, until it is quick there again
SLOW_KEPT = 64  # of such texts, for each connection


class LaneOwner(Protocol):
    """Who keeps the lanes of one connection."""

    slow: list[Text]  # quick elsewhere, but lately not on this device

    def finished(self, request: Request, duration_s: float) -> None: ...

    def idle(self, lane: "ShellLane") -> None:
        """Nothing runs or waits on the lane any more."""
        ...

    def timed_out(self, lane: "ShellLane", head: Request, others: list[Request]) -> None: ...

    def overflowed(self, lane: "ShellLane", head: Request, others: list[Request]) -> None: ...

    def blocked(self, lane: "ShellLane", others: list[Request]) -> None:
        """The head takes long; the others have been taken off the lane."""
        ...

    def unclear(self, request: Request) -> None:
        """Its stderr cannot be told from its group's: it must run once more."""
        ...

    def closed(self, lane: "ShellLane", head: Request | None, others: list[Request]) -> None:
        """The channel is gone; `head` was running, `others` had not begun."""
        ...


class ShellLane:
    __slots__ = (
        "_channel",
        "_closing",
        "_err",
        "_flushing",
        "_head_since",
        "_loop",
        "_marker",
        "_nonce",
        "_number",
        "_out",
        "_owner",
        "_pending",
        "_timer",
        "_timer_at",
        "greeting",
        "last_used",
        "ready",
        "refusals",
        "retiring",
        "single",
        "sudo",
    )

    def __init__(self, owner: LaneOwner, loop: asyncio.AbstractEventLoop, *, sudo: bool, single: bool) -> None:
        self._owner = owner
        self._loop = loop
        self._nonce = secrets.token_hex(16)
        self._marker = f"\n{self._nonce} ".encode()
        self._number = 0
        self._channel: Channel | None = None
        self._closing = False
        self._flushing = False
        self._pending: list[Request] = []
        self._out: Stream[Request] = Stream()
        self._err: Stream[Group] = Stream()
        self._head_since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self.sudo = sudo
        self.single = single
        self.ready = False  # the shell has said hello
        self.retiring = False  # takes no new requests
        self.refusals = 0
        self.greeting = b""  # what came before hello, kept for the error when hello never comes
        self.last_used = loop.time()

    @property
    def is_idle(self) -> bool:
        return not (self._pending or self._out.queue or self._err.queue)

    @property
    def is_open(self) -> bool:
        return self._channel is not None and not self._closing

    def _head(self) -> Request | None:
        out, err = self._out.queue, self._err.queue
        if out and (not err or out[0].number <= err[0].number):
            return out[0]
        return err[0].requests[-1] if err else None

    # --- requests ------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        request.lane = self
        self._pending.append(request)
        if self._channel is not None and not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def attach(self, channel: Channel, hello_timeout_s: float) -> None:
        """The channel is open: greet, and send what waits."""
        self._channel = channel
        greeting = Request(CommandLine(text=":", timeout_s=hello_timeout_s))
        self._out.queue.append(greeting)
        self._err.queue.append(Group([greeting]))
        channel.write(hello(self._nonce))
        self._head_since = self._loop.time()
        self._arm(self._head_since + hello_timeout_s)
        self._flush()

    def abandon(self, request: Request) -> None:
        """Nobody waits for the request any more."""
        if request in self._pending:
            self._pending.remove(request)
            if self.is_idle:
                self._owner.idle(self)
        elif self._channel is not None:
            self._arm(max(self._head_since, self._loop.time()) + GRACE_S)

    def _flush(self) -> None:
        self._flushing = False
        if self._channel is None or self._closing:
            return
        room = WINDOW - len(self._out.queue)
        if room <= 0 or not self._pending:
            return
        out, err, pending = self._out.queue, self._err.queue, self._pending
        now = self._loop.time()
        if not out and not err:
            self._head_since = now
        parts = []
        shortest = OVERTAKE_S
        batch = pending[:room]
        del pending[:room]
        for group in grouped(batch, self._owner.slow):
            for request in group:
                self._number += 1
                request.reset()
                request.number = self._number
                request.started = now
                request.sent = True
                last = request is group[-1]
                parts.append(frame(self._nonce, self._number, request.text.body, ends_group=last))
                out.append(request)
                shortest = min(shortest, request.line.timeout_s)
            err.append(Group(group))
        self._arm(now + shortest)
        self._channel.write("".join(parts).encode())

    # --- answers -------------------------------------------------------------------------------------

    def data_received(self, data: bytes, is_stderr: bool) -> None:
        stream: Stream[Request] | Stream[Group] = self._err if is_stderr else self._out
        if self._closing or not stream.queue:
            return
        stream.buffer += data
        while stream.queue and (found := stream.cut(self._marker)) is not None:
            body, end = found
            number, _, status = end.partition(b" ")
            if not number.isdigit() or int(number) != stream.queue[0].number or not (is_stderr or status.isdigit()):
                self.close()  # somebody forged a marker; the lane is treated as broken by its head
            elif is_stderr:
                self._end_errors(body)
            else:
                self._end_output(body, int(status))
            if self._closing:
                return
        if not stream.queue:
            stream.buffer.clear()
        elif len(stream.buffer) > TAIL:
            self._trim(stream)

    def _trim(self, stream: Stream[Request] | Stream[Group]) -> None:
        """Once the head has said more than its cap, keep the answer, and a tail that may hold a beginning marker."""
        head = stream.queue[0]
        cap = head.cap
        excess = len(stream.buffer) - cap - TAIL
        if excess <= 0:
            return
        del stream.buffer[cap : cap + excess]
        stream.dropped += excess
        stream.scanned = max(0, stream.scanned - excess)
        if stream.dropped > SLACK:
            self._overflow(head.requests[0] if isinstance(head, Group) else head)

    def _end_output(self, body: bytes, status: int) -> None:
        """The head's marker on stdout."""
        request = self._out.queue.pop(0)
        request.out = self._cut(self._out, request, body)
        request.status = status
        if request.err is not None:
            now = self._loop.time()
            self._judge(request, now, own=not request.unclear)
            self._finish(request, now)
            self._advance(now)
        elif self._err.queue[0].shared and self._err.queue[0].number >= request.number:
            # Its group's stderr has not ended, but the time of the next one begins.
            now = self._loop.time()
            self._judge(request, now, own=False)
            self._advance(now)

    def _end_errors(self, body: bytes) -> None:
        """A group's marker on stderr."""
        group = self._err.queue.pop(0)
        now = self._loop.time()
        for request in group.requests:
            request.err = self._cut(self._err, request, body) if body else body
            if body and group.shared:
                request.own = request.unclear = True
            if request.out is not None:
                if not group.shared:
                    self._judge(request, now, own=True)
                self._finish(request, now)
        if group.requests[0].out is not None:
            self._advance(now)

    def _cut(self, stream: Stream[Request] | Stream[Group], request: Request, body: bytes) -> bytes:
        cap = request.line.max_output_bytes
        if not stream.dropped and len(body) <= cap:
            return body
        stream.dropped = 0
        request.truncated = True
        return body[:cap]

    def _judge(self, request: Request, now: float, *, own: bool) -> None:
        """Learn from the head's run how its text is to be sent next time; `own` if what was on stderr is its own."""
        took, text, slow = now - self._head_since, request.text, self._owner.slow
        if own:
            text.ran(took, spoke=bool(request.err))
        if took > SLOW_S:
            # The first of a group keeps nobody back, and its time holds the way there and any lateness of ours.
            if text.quiet and text not in slow and self._holds_back(request):
                slow.append(text)
                del slow[:-SLOW_KEPT]
        elif text.quiet and text in slow:
            slow.remove(text)

    def _holds_back(self, request: Request) -> bool:
        return bool(self._err.queue) and request in self._err.queue[0].requests[1:]

    def _finish(self, request: Request, now: float) -> None:
        if request.unclear:
            self._owner.unclear(request)
        elif request.number:
            self._owner.finished(request, now - request.started)
        else:
            self.ready = True

    def _advance(self, now: float) -> None:
        """The next one is the head."""
        self._head_since = self.last_used = now
        if self._pending and not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)
        head = self._head()
        if head is not None:
            # The next one's time begins now; the timer may have been set for a more patient one.
            due = self._head_since + (GRACE_S if head.abandoned else head.line.timeout_s)
            if due < self._timer_at:
                self._arm(due)
        elif not self._pending:
            self._owner.idle(self)

    def _overflow(self, request: Request) -> None:
        request.text.quiet = False
        group = next((group for group in self._err.queue if request in group.requests), None)
        if group is not None and group.shared:
            self._scatter(group)
            return
        self._keep_partial(request)
        cap = request.line.max_output_bytes
        request.out, request.err = (request.out or b"")[:cap], (request.err or b"")[:cap]
        others = self._take_others(request)
        request.status = 141  # as if its reader had closed the pipe, which is what we are about to do
        request.truncated = True
        self._forget()
        self.close()
        self._owner.overflowed(self, request, others)

    def _scatter(self, group: Group) -> None:
        """The group's stderr cannot be told apart, or does not end: all of it runs again, each by itself."""
        for member in group.requests:
            member.own = True
        everyone = self.take_all()
        self.close()
        for request in everyone:
            self._owner.unclear(request)

    # --- time ----------------------------------------------------------------------------------------

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._check)

    def _check(self) -> None:
        self._timer = None
        head = self._head()
        if head is None or self._closing:
            return
        now = self._loop.time()
        age = now - self._head_since
        if age >= head.line.timeout_s or (head.abandoned and age >= GRACE_S):
            head.text.quiet = False
            others = self._take_others(head)
            self._keep_partial(head)
            self._forget()
            self.close()
            self._owner.timed_out(self, head, others)
            return
        if age >= OVERTAKE_S and head.out is not None and self._err.queue[0].shared:
            self._scatter(self._err.queue[0])  # it waits for those after it, who have been moved and still run here
            return
        if age >= OVERTAKE_S and not self.single and self.ready and self._has_others():
            self._judge(head, now, own=False)
            self.retiring = True
            self._owner.blocked(self, self._take_others(head))
        until = self._head_since + head.line.timeout_s
        if head.abandoned:
            until = min(until, self._head_since + GRACE_S)
        if not self.single:
            until = min(until, (now if age >= OVERTAKE_S else self._head_since) + OVERTAKE_S)
        self._arm(max(until, now + 0.001))

    # --- the end -------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the shell and what it runs. `closed` follows when the channel is really gone."""
        self.retiring = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._channel is not None and not self._closing:
            self._closing = True
            self._channel.close()

    def closed(self) -> None:
        """The channel is gone."""
        self._closing = True
        self.retiring = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        head = self._head()
        others = self._take_others(head)
        if head is not None:
            self._keep_partial(head)
            head.text.quiet = False
            if head.number == 0:
                self.greeting = (head.err or b"") + (head.out or b"")
                head = None
        self._forget()
        self._owner.closed(self, head, others)

    def take_all(self) -> list[Request]:
        """Every request that is still on the lane, in order, the head first."""
        head = self._head()
        others = self._take_others(head)
        self._forget()
        return others if head is None or head.number == 0 else [head, *others]

    def _keep_partial(self, head: Request) -> None:
        """Note on the head what had arrived of its answer."""
        if self._out.queue and self._out.queue[0] is head:
            head.out = bytes(self._out.buffer)
        if self._err.queue and self._err.queue[0].requests[0] is head and not self._err.queue[0].shared:
            head.err = bytes(self._err.buffer)

    def _has_others(self) -> bool:
        errors = self._err.queue
        return (
            len(self._out.queue) > 1
            or bool(self._pending)
            or len(errors) > 1
            or bool(errors and errors[0].requests[1:])
        )

    def _take_others(self, head: Request | None) -> list[Request]:
        """Take everybody but the head off the lane, in order."""
        rest = {r.number: r for r in self._out.queue if r is not head}
        rest |= {r.number: r for group in self._err.queue for r in group.requests if r is not head}
        others = [rest[number] for number in sorted(rest) if number]
        for request in others:
            if request.out is not None:
                # It had finished, but for its group's stderr. As a READ it may run again; half an answer is no use.
                request.out = None
                request.own = True
        others += self._pending
        self._pending.clear()
        self._out.queue = [r for r in self._out.queue if r is head]
        self._err.queue = [group for group in self._err.queue if head in group.requests]
        for group in self._err.queue:
            group.requests = [r for r in group.requests if r is head]
        return others

    def _forget(self) -> None:
        self._out.clear()
        self._err.clear()
