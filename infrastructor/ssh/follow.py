"""Following a command that does not end: a shell of its own whose stdout is handed on line by line.

`converse` also writes to its stdin: the program must speak first, since until then the shell before it reads.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from infrastructor.errors import CommandFailed, CommandTimeout, InfrastructorError, OutcomeUnknown
from infrastructor.ports.ssh import CommandLine, Conversation
from infrastructor.sanitize import clean
from infrastructor.ssh.carrier import Channel, Gone, Refused
from infrastructor.ssh.lanes import Use
from infrastructor.ssh.link import NOT_FOUND, DeviceLink, LinkCarrier
from infrastructor.ssh.stream import Stream
from infrastructor.ssh.texts import checked
from infrastructor.ssh.wire import frame

OPEN_TIMEOUT_S = 30.0
RETRY_S = (0.1, 0.3, 1.0, 3.0)
SAID = 4096  # bytes kept of stderr
NOISE = 1 << 16  # bytes kept of what a login says before our shell begins
STATUS = 16  # characters of a status at most

AnyChannel = TypeVar("AnyChannel", bound=Channel)


@asynccontextmanager
async def follow(link: DeviceLink, line: CommandLine) -> AsyncIterator[AsyncIterator[bytes]]:
    """The lines of the command's stdout until it ends. Leaving ends it on the device."""
    async with _following(link, line, listens=False) as follower:
        yield follower.lines


@asynccontextmanager
async def converse(link: DeviceLink, line: CommandLine) -> AsyncIterator[Conversation]:
    """The same of a command that also listens. Nothing may be sent before its first line has come."""
    async with _following(link, line, listens=True) as follower:
        yield follower


@asynccontextmanager
async def _following(link: DeviceLink, line: CommandLine, *, listens: bool) -> AsyncIterator["Follower"]:
    link.users += 1
    follower = Follower(link.name, line, listens=listens)
    channel: Channel | None = None
    holder = None
    try:
        channel = await open_session(
            link, lambda carrier: carrier.open(follower, sudo=line.sudo and not carrier.is_root)
        )
        holder = link.hold(follower.give_way, Use.FOLLOWING)
        follower.start(channel, line)
        await follower.started()
        yield follower
    finally:
        if channel is not None:
            channel.close()
        if holder is not None:
            holder.release()
        link.users -= 1
        link.last_used = asyncio.get_running_loop().time()


async def open_session(link: DeviceLink, opener: Callable[[LinkCarrier], Awaitable[AnyChannel]]) -> AnyChannel:
    """A session beside the lanes. Raises `CommandFailed` when there is none, `OutcomeUnknown` when the device goes."""
    refusal: Refused | None = None
    for wait in (0.0, *RETRY_S):
        await asyncio.sleep(wait)
        carrier = await link.connected()
        # In a task of its own: what is opened for a caller who has left must still be closed.
        opening = asyncio.ensure_future(opener(carrier))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_late)
            raise
        except Refused as error:
            refusal = error
        except Gone as error:
            raise OutcomeUnknown(f"The connection to {link.name} died: {error}.") from error
    raise CommandFailed(
        f"{link.name} opens no further session: {refusal}.", hint="Raise MaxSessions on the device, or watch less."
    )


def _close_late(task: "asyncio.Future[Any]") -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


class Follower:
    """A `Receiver`: noise of the login, our start marker, the command's lines, the end marker with the status."""

    def __init__(self, name: str, line: CommandLine, *, listens: bool = False) -> None:
        self._name = name
        self._line = line
        self._listens = listens
        self._nonce = secrets.token_hex(16)
        self._begin = f"\n{self._nonce} 0\n".encode()
        self._before = bytearray()
        self._tail = b""
        self._said = b""
        self._within_line = False  # some programs write a line's newline by itself
        self._channel: Channel | None = None
        self._running: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.stream = Stream(self._pause, self._resume)

    @property
    def lines(self) -> AsyncIterator[bytes]:
        return self.stream.lines()

    def send(self, data: bytes) -> None:
        if self._channel is not None:
            self._channel.write(data)

    def start(self, channel: Channel, line: CommandLine) -> None:
        self._channel = channel
        begin = f"printf '\\n{self._nonce} 0\\n';"
        channel.write((begin + frame(self._nonce, 1, checked(line.text), listens=self._listens)).encode())

    async def started(self) -> None:
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await self._running
        except TimeoutError as error:
            raise CommandTimeout(f"{self._name} started no shell within {OPEN_TIMEOUT_S:.0f} s.") from error

    def data_received(self, data: bytes, is_stderr: bool) -> None:
        if is_stderr:
            self._said = (self._said + data)[-SAID:]
            return
        if not self._running.done():
            self._before += data
            at = self._before.find(self._begin)
            if at < 0:
                del self._before[: -NOISE - len(self._begin)]
                return
            data = bytes(self._before[at + len(self._begin) :])
            self._before.clear()
            self._running.set_result(None)
        self._take(data)

    def _take(self, data: bytes) -> None:
        """Hand on all but what may be the beginning of the end marker, or the newline before it."""
        data = self._tail + data
        marker = f"{self._nonce} 1 ".encode()
        at = data.find(marker)
        if at < 0:
            cut = data.rfind(b"\n") + 1
            if not marker.startswith(data[cut:]):
                cut = len(data)
            elif data[:cut].endswith(b"\n\n") or (data[:cut] == b"\n" and not self._within_line):
                cut -= 1
            self._tail = data[cut:]
            self._hand_on(data[:cut])
            return
        status, newline, _ = data[at + len(marker) :].partition(b"\n")
        if len(status) > STATUS:
            self.stream.end(self._outcome(b""))  # somebody forged a marker
            return
        cut = at if newline else max(0, at - 1)
        self._tail = data[cut:]
        self._hand_on(data[:cut].removesuffix(b"\n") if newline else data[:cut])
        if newline:
            self.stream.end(self._outcome(status))

    def _hand_on(self, data: bytes) -> None:
        if data:
            self._within_line = not data.endswith(b"\n")
            self.stream.feed(data)

    def _outcome(self, status: bytes) -> InfrastructorError | None:
        number = int(status) if status.isdigit() else -1
        if number == 0:
            return None
        said = clean(self._said.decode("utf-8", "replace").replace(self._nonce, "").strip(), 300) or "nothing"
        what = f"What was followed on {self._name} ended with status {number} and said: {said}"
        return CommandFailed(what, exit_status=number, missing=number == NOT_FOUND)

    def closed(self) -> None:
        error = OutcomeUnknown(
            f"The connection to {self._name} died while a command was followed.",
            hint="It only reads, so it is safe to follow it again.",
        )
        if not self._running.done():
            said = clean((bytes(self._before) + self._said).decode("utf-8", "replace"), 300).strip()
            self._running.set_exception(CommandFailed(f"{self._name} gives no shell: {said or 'no word'}."))
        self.stream.end(error)

    def give_way(self) -> None:
        self.stream.end(
            CommandFailed(
                f"{self._name} opens so few sessions that following had to make room for a command.",
                hint="Raise MaxSessions on the device.",
            )
        )
        if self._channel is not None:
            self._channel.close()

    def _pause(self) -> None:
        if self._channel is not None:
            self._channel.pause()

    def _resume(self) -> None:
        if self._channel is not None:
            self._channel.resume()
