"""A stream from a command on one device to a command on another, through us and in constant memory.

Each end is a shell of its own, both opened at once. The sink's command is started first; once it reads, the source's
begins, and what that writes is handed on as it comes. A sink that takes no more stops the source by the window of its
channel, so never more than a window is here. The exit status comes on stderr, so no byte of the stream is looked at.
"""

import asyncio
import re
import secrets
from collections.abc import Callable, Coroutine
from typing import Any

from infrastructor.errors import CommandFailed, CommandTimeout, OutcomeUnknown
from infrastructor.ports.ssh import CommandLine, Flow
from infrastructor.sanitize import clean
from infrastructor.ssh.carrier import STREAM_WINDOW, StreamChannel
from infrastructor.ssh.follow import NOISE, OPEN_TIMEOUT_S, SAID, open_session
from infrastructor.ssh.lanes import Holder, Use
from infrastructor.ssh.link import NOT_FOUND, DeviceLink
from infrastructor.ssh.texts import checked

TAG = "INFRASTRUCTOR_STREAM"  # variable that marks the processes of one sink
LAST_WORDS_S = 30.0  # for the other end, once one has ended badly
LOOK_S = 5.0  # between two looks at whether anything still moves
BURST_S = 0.25  # of a limited stream
SMALLEST_WINDOW = 64 << 10  # two packets
PARTING_S = 1.0  # for the source to end by itself, once the sink has taken all it wanted


async def pipe(source: "End", sink: "End", flow: Flow) -> None:
    """Run both commands and hand the stream on. Raises by the end that failed, which `details["side"]` names.

    `CommandFailed`, `CommandNotAvailable`, `CommandTimeout` when nothing moves for `flow.stall_s`, `OutcomeUnknown`
    when a connection is lost. Leaving by an exception ends both commands.
    """
    valve = Valve(source, sink, flow)
    try:
        await _both(sink.open(valve.ignore, valve), source.open(valve.hand_on, valve))
        await sink.start()
        await source.start()
        await _until_ended(source, sink, flow)
    finally:
        valve.close()
        source.close()
        sink.close()


async def _both(*work: Coroutine[Any, Any, None]) -> None:
    """Do these at once. The first that fails is raised, and ends the other."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _until_ended(source: "End", sink: "End", flow: Flow) -> None:
    await _moving({source.ended, sink.ended}, flow)
    if sink.ended.done():
        # It may have taken all it wanted, or not; either way nobody is left to write to.
        if sink.status == 0 and not source.ended.done():
            await asyncio.wait({source.ended}, timeout=PARTING_S)
        sink.check()
        return
    sink.write_eof()
    if source.status != 0:
        await asyncio.wait({sink.ended}, timeout=LAST_WORDS_S)
        source.check()
    await _moving({sink.ended}, flow)
    sink.check()


async def _moving(ends: "set[asyncio.Future[None]]", flow: Flow) -> None:
    """Wait for the first of these, for as long as bytes move."""
    loop = asyncio.get_running_loop()
    moved, since = flow.moved, loop.time()
    while True:
        done, _ = await asyncio.wait(ends, timeout=min(LOOK_S, flow.stall_s), return_when=asyncio.FIRST_COMPLETED)
        if done:
            return
        if flow.moved != moved:
            moved, since = flow.moved, loop.time()
        elif loop.time() - since >= flow.stall_s:
            raise CommandTimeout(f"No byte has moved for {flow.stall_s:g} s, so the stream was ended.")


def orphan_script(tag: str) -> str:
    """End what is left of a sink whose connection was lost: a server that heard nothing of that keeps it waiting."""
    return f"""
for environment in /proc/[0-9]*/environ; do
  if grep -q '{TAG}={tag}' "$environment" 2>/dev/null; then
    process=${{environment#/proc/}}; kill -9 "${{process%/environ}}" 2>/dev/null
  fi
done
:
"""


class Valve:
    """What stands between the ends: counts, keeps to the limit, and stops the source while the sink is full."""

    def __init__(self, source: "End", sink: "End", flow: Flow) -> None:
        self._source = source
        self._sink = sink
        self._flow = flow
        self._loop = asyncio.get_running_loop()
        self._free_at = 0.0  # when the limit allows the next byte
        self._full = False
        self._waiting: asyncio.TimerHandle | None = None

    @property
    def window(self) -> int:
        """Bytes that may be here at once. Under a limit no more than that of a moment: they go on in one burst."""
        limit = self._flow.bytes_per_second
        return STREAM_WINDOW if limit is None else max(SMALLEST_WINDOW, min(int(limit * BURST_S), STREAM_WINDOW))

    def ignore(self, data: bytes) -> None:
        """Of what a sink writes: the dots that show that somebody is still there."""

    def hand_on(self, data: bytes) -> None:
        self._sink.write(data)
        flow = self._flow
        flow.moved += len(data)
        if flow.bytes_per_second is not None:
            now = self._loop.time()
            self._free_at = max(self._free_at, now) + len(data) / flow.bytes_per_second
            if self._waiting is None:
                self._waiting = self._loop.call_at(self._free_at, self._may_go_on)
                self._source.pause()

    def _may_go_on(self) -> None:
        self._waiting = None
        if self._free_at > self._loop.time():
            self._waiting = self._loop.call_at(self._free_at, self._may_go_on)
        elif not self._full:
            self._source.resume()

    def fill(self) -> None:
        self._full = True
        self._source.pause()

    def drain(self) -> None:
        self._full = False
        if self._waiting is None:
            self._source.resume()

    def close(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()


class End:
    """One command of the two: a `StreamReceiver`. Its streams start with the noise of the login and our marker."""

    def __init__(self, link: DeviceLink, line: CommandLine, *, sink: bool, as_root: bool) -> None:
        self._link = link
        self._line = line
        self._sink = sink
        self.as_root = as_root
        self._nonce = secrets.token_hex(16)
        self.tag = secrets.token_hex(16)
        self._begin = f"\n{self._nonce} 0\n".encode()
        self._before = bytearray()
        self._said = b""
        self._channel: StreamChannel | None = None
        self._holder: Holder | None = None
        self._take: Callable[[bytes], None] = _nowhere
        self._valve: Valve | None = None
        self._running: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.status: int | None = None

    async def open(self, take: Callable[[bytes], None], valve: Valve) -> None:
        """Open a session and begin a shell in it; `take` gets what the command writes."""
        self._take, self._valve = take, valve
        link = self._link
        link.users += 1
        self._channel = await open_session(
            link,
            lambda carrier: carrier.open_stream(
                self, sudo=self.as_root and not carrier.is_root, sink=self._sink, window=valve.window
            ),
        )
        self._holder = link.hold(self._give_up, Use.ANSWERING)

    async def start(self) -> None:
        """Run the command; returns once it runs."""
        redirection = ">&2" if self._sink else "</dev/null"
        self.write(
            f"export {TAG}={self.tag};"
            f"printf '\\n{self._nonce} 0\\n';printf '\\n{self._nonce} 0\\n' >&2;"
            f"({checked(self._line.text)}) {redirection};"
            f"printf '\\n{self._nonce} 1 %d\\n' $? >&2;exit\n".encode()
        )
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await self._running
        except TimeoutError as error:
            raise CommandTimeout(f"{self._link.name} started no shell within {OPEN_TIMEOUT_S:.0f} s.") from error

    def _give_up(self) -> None:
        if self._channel is not None:
            self._channel.close()

    @property
    def left_behind(self) -> bool:
        """Whether its command was begun and never said how it ended."""
        return self._running.done() and self._running.exception() is None and self.status is None

    # --- StreamReceiver --------------------------------------------------------------------------------

    def data_received(self, data: bytes, is_stderr: bool) -> None:
        if is_stderr:
            self._said = (self._said + data)[-SAID:]
        elif self._running.done():
            self._take(data)
        else:
            self._before += data
            at = self._before.find(self._begin)
            if at < 0:
                del self._before[: -NOISE - len(self._begin)]
                return
            rest = bytes(self._before[at + len(self._begin) :])
            self._before.clear()
            self._running.set_result(None)
            if rest:
                self._take(rest)

    def closed(self) -> None:
        found = re.search(rb"\n%s 1 (\d{1,3})\n" % self._nonce.encode(), self._said)
        self.status = None if found is None else int(found[1])
        if not self._running.done():
            said = clean((bytes(self._before) + self._said).decode("utf-8", "replace"), 300).strip()
            self._running.set_exception(CommandFailed(f"{self._link.name} gives no shell: {said or 'no word'}."))
        if not self.ended.done():
            self.ended.set_result(None)

    def pause_writing(self) -> None:
        if self._valve is not None:
            self._valve.fill()

    def resume_writing(self) -> None:
        if self._valve is not None:
            self._valve.drain()

    # --- what the valve does with it -------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self._channel is not None and not self.ended.done():
            self._channel.write(data)

    def write_eof(self) -> None:
        if self._channel is not None and not self.ended.done():
            self._channel.write_eof()

    def pause(self) -> None:
        if self._channel is not None and not self.ended.done():
            self._channel.pause()

    def resume(self) -> None:
        if self._channel is not None and not self.ended.done():
            self._channel.resume()

    def check(self) -> None:
        """Raise unless it ended well."""
        if self.status == 0:
            return
        side = "sink" if self._sink else "source"
        if self.status is None:
            raise OutcomeUnknown(
                f"{self._link.name} was lost, or its command was killed, before the stream had ended.", side=side
            )
        if self.status == NOT_FOUND and self._line.needs:
            raise self._link.lacks(self._line.needs)
        *_, own = self._said.rpartition(self._begin)  # what a login says before is none of it
        said = re.sub(rb"\n%s 1 \d+\n" % self._nonce.encode(), b"", own).decode("utf-8", "replace").strip()
        raise CommandFailed(
            f"{self._line.needs or 'The command'} on {self._link.name} ended with status {self.status} and said: "
            f"{clean(said, 300) or 'nothing'}",
            side=side,
            exit_status=self.status,
        )

    def close(self) -> None:
        """End the command, if it still runs, and give the session back."""
        if self._running.done() and not self._running.cancelled():
            self._running.exception()  # the other end's failure may have been raised instead
        if self._channel is not None:
            self._channel.close()
        if self._holder is not None:
            self._holder.release()
            self._holder = None
        if self._valve is not None:
            self._valve = None
            self._link.users -= 1
            self._link.last_used = asyncio.get_running_loop().time()


def _nowhere(data: bytes) -> None:
    """Before it is known where the bytes go."""
