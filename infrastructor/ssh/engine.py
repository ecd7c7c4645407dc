"""The container engine of one device: its API through the SSH connection.

Its socket is the first choice (one round trip, nothing started on the device); where the SSH server or the socket's
permissions refuse that, `docker system dial-stdio` carries the same HTTP over a session.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from infrastructor.errors import CommandFailed, CommandTimeout, EngineUnavailable, InfrastructorError, OutcomeUnknown
from infrastructor.ports.ssh import Capabilities, EngineCall, EngineReply, Via
from infrastructor.ssh.carrier import Carrier, Channel, Gone, Refused
from infrastructor.ssh.http import OK, HttpConnection, Lost
from infrastructor.ssh.lanes import Use
from infrastructor.ssh.link import DeviceLink
from infrastructor.ssh.stream import Stream

CHANNELS = 4  # at once, to one engine
STDIO_TIMEOUT_S = 10.0
OPEN_TIMEOUT_S = 30.0
FORBIDDEN_S = 300.0  # how long a way that the SSH server forbids is not tried again
REFUSED_S = 5.0  # the same for any other refusal: the engine may only be starting

CROWDED_S = 10.0  # how long a session is waited for where the device opens few
CROWDED_RETRY_S = 0.1

Way = tuple[Via, str, bool]  # the way, its socket or program, and whether it needs sudo


def ways(found: Capabilities) -> list[Way]:
    """The ways worth trying, best first."""
    choices: list[Way] = []
    if found.docker_socket is not None:
        choices.append((Via.SOCKET, found.docker_socket, False))
    for program in ("docker", "podman"):
        if program in found.tools and (found.docker_socket is None or program in found.docker_socket):
            sudo = found.docker_socket is None and not found.is_root and found.sudo == "nopasswd"
            choices.append((Via.STDIO, program, sudo))
    return choices


class Crowded(Refused):
    """The device opens no further session just now."""


class Engine:
    """One device's engine. Connections to it are kept alive, and end with the SSH connection."""

    def __init__(self, link: DeviceLink) -> None:
        self.link = link
        self._loop = asyncio.get_running_loop()
        self._slots = asyncio.Semaphore(CHANNELS)
        self._idle: list[tuple[HttpConnection, Via]] = []
        self._answering = 0
        self._freed = asyncio.Event()
        self._refused: dict[Way, tuple[float, str]] = {}

    async def ask(self, call: EngineCall, found: Capabilities) -> EngineReply:
        """The whole answer. Raises `EngineUnavailable`, `CommandTimeout`, `OutcomeUnknown`, or what connecting does."""
        self.link.users += 1
        try:
            async with asyncio.timeout(call.timeout_s), self._slots:
                return await self._ask(call, found)
        except TimeoutError as error:
            raise CommandTimeout(
                f"The container engine of {self.link.name} did not answer within {call.timeout_s:g} s."
            ) from error
        finally:
            self.link.users -= 1
            self.link.last_used = self._loop.time()

    async def _ask(self, call: EngineCall, found: Capabilities) -> EngineReply:
        for attempt in (1, 2):
            connection, via, fresh = await self._connection(found)
            self._answering += 1
            try:
                status, body, truncated = await connection.get(call.target, call.max_output_bytes)
            except Lost as error:
                # A kept connection may have been closed by the other side meanwhile; reading twice harms nobody.
                if attempt == 1 and not fresh and not error.answered:
                    self.close()
                    continue
                raise self._broken(error) from error
            finally:
                self._answering -= 1
                self._freed.set()
            if connection.is_open:
                self._idle.append((connection, via))
                connection.turn(Use.IDLE)
            return EngineReply(status=status, body=body, via=via, truncated=truncated)
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def follow(self, call: EngineCall, found: Capabilities) -> AsyncIterator[AsyncIterator[bytes]]:
        """The lines of an answer that goes on, on a connection of its own."""
        self.link.users += 1
        connection: HttpConnection | None = None
        try:
            async with asyncio.timeout(call.timeout_s):
                connection, _, _ = await self._connection(found, kept=False)
                connection.turn(Use.FOLLOWING)
                lines = await self._stream(connection, call)
        except BaseException as error:  # also when cancelled: nobody else closes it
            self._leave(connection)
            if isinstance(error, TimeoutError):
                raise CommandTimeout(f"The container engine of {self.link.name} did not answer.") from error
            raise
        try:
            yield lines
        finally:
            self._leave(connection)

    async def _stream(self, connection: HttpConnection, call: EngineCall) -> AsyncIterator[bytes]:
        stream = Stream(connection.pause, connection.resume)
        try:
            status, body, ended = await connection.stream(call.target, call.max_output_bytes, stream.feed)
        except Lost as error:
            raise self._broken(error) from error
        if status != OK:
            raise CommandFailed(
                f"The container engine of {self.link.name} refused {call.target} with HTTP {status}: {body[:300]!r}"
            )
        ended.add_done_callback(lambda future: stream.end(self._end_of(future)))
        return stream.lines()

    def _leave(self, connection: HttpConnection | None) -> None:
        if connection is not None:
            connection.close()
        self.link.users -= 1
        self.link.last_used = self._loop.time()

    def close(self) -> None:
        """Close the connections nobody uses just now."""
        for connection, _ in self._idle:
            connection.close()
        self._idle.clear()

    def _end_of(self, future: "asyncio.Future[None]") -> InfrastructorError | None:
        if future.cancelled():
            return None
        error = future.exception()
        return self._broken(error) if error is not None else None

    def _broken(self, error: BaseException) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"The connection to the container engine of {self.link.name} broke: {error}.",
            hint="It only reads, so it is safe to ask again.",
        )

    # --- connections ---------------------------------------------------------------------------------

    async def _connection(self, found: Capabilities, *, kept: bool = True) -> tuple[HttpConnection, Via, bool]:
        """A kept connection or a new one, and whether it is new. Waits a while where all sessions are taken."""
        until = self._loop.time() + CROWDED_S
        while True:
            while kept and self._idle:
                connection, via = self._idle.pop()
                if connection.is_open:
                    connection.turn(Use.ANSWERING)
                    return connection, via, False
            self._freed.clear()
            try:
                connection, via = await self._open(found)
            except Crowded as error:
                # Those who ask just now share theirs with us in a moment, however often others are first.
                if self._loop.time() > until and not (kept and self._answering):
                    raise EngineUnavailable(
                        f"The container engine of {self.link.name} cannot be reached: no session is free: {error}.",
                        hint="Raise MaxSessions on the device, or let sshd forward its socket.",
                    ) from error
                if not self._answering:
                    self.link.make_room()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CROWDED_RETRY_S):
                        await self._freed.wait()
                if not (kept and any(connection.is_open for connection, _ in self._idle)):
                    await asyncio.sleep(CROWDED_RETRY_S)  # it was ended for a command, whose turn it is
            else:
                return connection, via, True

    async def _open(self, found: Capabilities) -> tuple[HttpConnection, Via]:
        reasons = []
        for way in ways(found):
            until, reason = self._refused.get(way, (0.0, ""))
            if until > self._loop.time():
                reasons.append(reason)
                continue
            # In a task of its own: what is opened for a caller who has left must still be closed.
            opening = self._loop.create_task(self._open_way(way))
            try:
                return await asyncio.shield(opening), way[0]
            except asyncio.CancelledError:
                opening.add_done_callback(_close_late)
                raise
            except Crowded:
                raise
            except Refused as error:
                reasons.append(f"{way[1]}: {error}")
                forbidden = "prohibited" in str(error) or "unknown channel" in str(error).lower()
                self._refused[way] = (self._loop.time() + (FORBIDDEN_S if forbidden else REFUSED_S), reasons[-1])
        name = self.link.name
        if not reasons:
            raise EngineUnavailable(f"{name} has no container engine that this login can see.", program="docker")
        raise EngineUnavailable(f"The container engine of {name} cannot be reached: {'; '.join(reasons)}.")

    async def _open_way(self, way: Way) -> HttpConnection:
        via, place, sudo = way
        carrier = await self.link.connected()
        connection = HttpConnection(self._loop)
        try:
            # Bounded by itself, since it goes on when its caller has left.
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                if via is Via.SOCKET:
                    connection.attach(await carrier.open_socket(connection, place))
                else:
                    await self._dial(carrier, place, connection, sudo=sudo)
        except TimeoutError as error:
            raise Refused(f"it did not answer within {OPEN_TIMEOUT_S:g} s") from error
        except Gone as error:
            raise self._broken(error) from error
        except Lost as error:
            raise Refused(str(error)) from error
        return connection

    async def _dial(self, carrier: Carrier, program: str, connection: HttpConnection, *, sudo: bool) -> None:
        dial = Dial(self._loop, program, connection)
        try:
            channel = await carrier.open(dial, sudo=sudo)
        except Refused as error:
            raise Crowded(str(error)) from error
        connection.holder = self.link.hold(connection.close, Use.ANSWERING)
        try:
            await dial.ready(channel)
            await connection.get("/version", 1 << 16)  # only now is it known to have found its engine
        except BaseException:  # also when cancelled: nobody else closes it
            connection.close()
            raise


class Dial:
    """A receiver that starts `docker system dial-stdio` in a shell and then hands everything to the connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, program: str, connection: HttpConnection) -> None:
        self._program = program
        self._connection = connection
        self._marker = f"\n{secrets.token_hex(16)}\n".encode()
        self._before = b""
        self._started: asyncio.Future[None] = loop.create_future()

    async def ready(self, channel: Channel) -> None:
        """Raises `Refused` with what was said when the shell does not get that far."""
        # One line: the shell must have read no byte of what is meant for the program.
        channel.write(
            f"printf '\\n%s\\n' {self._marker.decode().strip()}; exec {self._program} system dial-stdio\n".encode()
        )
        try:
            async with asyncio.timeout(STDIO_TIMEOUT_S):
                await self._started
        except TimeoutError:
            channel.close()
            raise Refused(f"{self._program} was not started in time") from None
        self._connection.attach(channel)

    def data_received(self, data: bytes, is_stderr: bool) -> None:
        if self._started.done():
            self._connection.data_received(data, is_stderr)
            return
        self._before = (self._before + data)[-4000:]
        if not is_stderr and self._marker in self._before:
            self._started.set_result(None)

    def closed(self) -> None:
        if self._started.done():
            self._connection.closed()
        else:
            said = self._before.decode("utf-8", "replace").strip()[-300:]
            self._started.set_exception(Refused(said or "the login gives no shell"))


def _close_late(task: "asyncio.Task[HttpConnection]") -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
