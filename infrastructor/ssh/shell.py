"""A lane: one resident POSIX shell that runs requests one after the other.

All requests of one loop tick go out in one write. Answers are cut out of the byte streams by searching for a
marker with a 128-bit nonce; nothing is decoded. Requests finish in order; the first unfinished one is the head.
"""

import asyncio
import secrets
from typing import Protocol

from infrastructor.ports import CommandLine
from infrastructor.ssh.carrier import Channel
from infrastructor.ssh.request import Request
from infrastructor.ssh.wire import frame, hello

WINDOW = 64  # requests written ahead
TAIL = 128  # longer than any marker line
SLACK = 1 << 20  # bytes over the cap that are read and dropped before the lane is ended
GRACE_S = 0.05  # what an abandoned request may still take before its lane is ended
OVERTAKE_S = 1.0  # how long a head may keep others waiting before they move to another lane


class LaneOwner(Protocol):
    """Who keeps the lanes of one connection."""

    def finished(self, request: Request, duration_s: float) -> None: ...

    def idle(self, lane: "ShellLane") -> None:
        """Nothing runs or waits on the lane any more."""
        ...

    def timed_out(self, lane: "ShellLane", head: Request, others: list[Request]) -> None: ...

    def overflowed(self, lane: "ShellLane", head: Request, others: list[Request]) -> None: ...

    def blocked(self, lane: "ShellLane", others: list[Request]) -> None:
        """The head takes long; the others have been taken off the lane."""
        ...

    def closed(self, lane: "ShellLane", head: Request | None, others: list[Request]) -> None:
        """The channel is gone; `head` was running, `others` had not begun."""
        ...


class Stream:
    """Bytes of the current head that have arrived, and where the search for a marker goes on.

    The queues are lists: an empty deque takes 700 bytes, on every lane of every link.
    """

    __slots__ = ("buffer", "dropped", "queue", "scanned")

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.scanned = 0
        self.dropped = 0
        self.queue: list[Request] = []


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
        self._out = Stream()
        self._err = Stream()
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
        return err[0] if err else None

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
        self._err.queue.append(greeting)
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
        for request in batch:
            self._number += 1
            request.reset()
            request.number = self._number
            request.started = now
            request.sent = True
            parts.append(frame(self._nonce, self._number, request.body))
            out.append(request)
            err.append(request)
            shortest = min(shortest, request.line.timeout_s)
        self._arm(now + shortest)
        self._channel.write("".join(parts).encode())

    # --- answers -------------------------------------------------------------------------------------

    def data_received(self, data: bytes, is_stderr: bool) -> None:
        stream = self._err if is_stderr else self._out
        if self._closing or not stream.queue:
            return
        marker = self._marker
        if stream.buffer:
            stream.buffer += data
            buffer: bytes | bytearray = stream.buffer
            start = stream.scanned
        else:
            buffer = data
            start = 0
        begin = 0
        while (at := buffer.find(marker, start)) >= 0:
            end = buffer.find(b"\n", at + len(marker))
            if end < 0 or not stream.queue:
                break
            if not self._mark(stream, bytes(buffer[begin:at]), buffer[at + len(marker) : end], is_stderr):
                return
            begin = start = end + 1
        if not stream.queue:
            stream.buffer.clear()
            return
        resume = (len(buffer) - len(marker) if at < 0 else at) - begin
        if buffer is stream.buffer:
            if begin:
                del stream.buffer[:begin]
        elif begin < len(buffer):
            stream.buffer += buffer[begin:] if begin else buffer
        stream.scanned = max(0, resume)
        if len(stream.buffer) > stream.queue[0].line.max_output_bytes + TAIL:
            self._trim(stream)

    def _trim(self, stream: Stream) -> None:
        """The head has said more than its cap: keep the answer, and a tail that may hold a beginning marker."""
        head = stream.queue[0]
        cap = head.line.max_output_bytes
        excess = len(stream.buffer) - cap - TAIL
        del stream.buffer[cap : cap + excess]
        stream.dropped += excess
        stream.scanned = max(0, stream.scanned - excess)
        if stream.dropped > SLACK:
            self._overflow(head)

    def _mark(self, stream: Stream, body: bytes, tail: bytes | bytearray, is_stderr: bool) -> bool:
        """An end marker: the head's part on this stream is complete. False when the lane is no use any more."""
        request = stream.queue.pop(0)
        number, _, status = bytes(tail).partition(b" ")
        if not number.isdigit() or int(number) != request.number or not (is_stderr or status.isdigit()):
            stream.queue.insert(0, request)
            self.close()  # somebody forged a marker; the lane is treated as broken by its head
            return False
        cap = request.line.max_output_bytes
        if stream.dropped or len(body) > cap:
            request.truncated = True
            body = body[:cap]
            stream.dropped = 0
        if is_stderr:
            request.err = body
        else:
            request.out = body
            request.status = int(status)
        if request.out is not None and request.err is not None:
            self._complete(request)
        return not self._closing

    def _complete(self, request: Request) -> None:
        now = self._head_since = self.last_used = self._loop.time()
        if request.number:
            self._owner.finished(request, now - request.started)
        else:
            self.ready = True
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
        others = self._take_others(request)
        for stream, name in ((self._out, "out"), (self._err, "err")):
            if request in stream.queue:
                setattr(request, name, bytes(stream.buffer[: request.line.max_output_bytes]))
        request.status = 141  # as if its reader had closed the pipe, which is what we are about to do
        request.truncated = True
        self._forget()
        self.close()
        self._owner.overflowed(self, request, others)

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
            others = self._take_others(head)
            self._keep_partial(head)
            self._forget()
            self.close()
            self._owner.timed_out(self, head, others)
            return
        if age >= OVERTAKE_S and not self.single and self.ready and self._has_others(head):
            self.retiring = True
            self._owner.blocked(self, self._take_others(head))
        until = self._head_since + head.line.timeout_s
        if head.abandoned:
            until = min(until, self._head_since + GRACE_S)
        if not self.single:
            until = min(until, max(now, self._head_since) + OVERTAKE_S)
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
        if self._err.queue and self._err.queue[0] is head:
            head.err = bytes(self._err.buffer)

    def _has_others(self, head: Request) -> bool:
        return len(self._out.queue) > 1 or len(self._err.queue) > 1 or bool(self._pending)

    def _take_others(self, head: Request | None) -> list[Request]:
        rest = {r.number: r for queue in (self._out.queue, self._err.queue) for r in queue if r is not head}
        others = [rest[number] for number in sorted(rest) if number]
        others += self._pending
        self._pending.clear()
        for stream in (self._out, self._err):
            stream.queue = [r for r in stream.queue if r is head]
        return others

    def _forget(self) -> None:
        for stream in (self._out, self._err):
            stream.queue.clear()
            stream.buffer.clear()
