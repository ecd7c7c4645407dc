"""One SSH connection as a carrier of lanes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncssh
from asyncssh.constants import MSG_IGNORE

from infrastructor.ssh import slim
from infrastructor.ssh.carrier import STREAM_WINDOW, Channel, Gone, Receiver, Refused, StreamChannel, StreamReceiver
from infrastructor.ssh.wire import LANE, SINK, SUDO_LANE, SUDO_SINK

CLOSE_TIMEOUT_S = 3.0


class Owner(asyncssh.SSHClient):
    """asyncssh's view of us: it learns which host key was shown, and when the connection ends."""

    def __init__(self) -> None:
        self.shown: asyncssh.SSHKey | None = None
        self.connected = False
        self._conn: asyncssh.SSHClientConnection | None = None
        self.lost = False
        self.reason: Exception | None = None
        self.on_lost: list[Callable[[], None]] = []

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self.connected = True
        self._conn = conn

    def server_algorithms(self) -> list[set[str]]:
        """What the server offered: key exchange, host key, then encryption and MAC in both directions.

        Empty when it said nothing. asyncssh keeps it in a private attribute; without it we know less, no more.
        """
        packet: bytes = getattr(self._conn, "_server_kexinit", b"")
        lists: list[set[str]] = []
        position = 17  # after the packet type and the cookie
        while position + 4 <= len(packet) and len(lists) < 6:  # noqa: PLR2004
            length = int.from_bytes(packet[position : position + 4], "big")
            names = packet[position + 4 : position + 4 + length].decode("ascii", "replace")
            lists.append(set(names.split(",")))
            position += 4 + length
        return lists

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Called for a key that is not trusted: note it for the error, refuse it."""
        self.shown = key
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.reason = exc
        for callback in self.on_lost:
            asyncio.get_running_loop().call_soon(callback)


def _silent(*_arguments: object) -> None:
    pass


def _no_packet_log(target: object) -> None:
    """asyncssh formats a log line for every packet even when nobody reads it: a tenth of a command's cost."""
    for name in ("log_sent_packet", "log_received_packet"):
        setattr(target, name, _silent)


def _no_empty_packets(connection: Any) -> None:
    """asyncssh sends an empty packet before every other one, against an attack on CBC of 2002.

    Encrypted and written by itself it doubles what sending costs. With every cipher but CBC it protects nothing.
    """
    if "-cbc" not in connection.get_extra_info("send_cipher", "-cbc"):
        connection.send_packet = _Spared(connection, type(connection).send_packet)


class _Spared:
    """Stands in for `SSHConnection.send_packet`."""

    __slots__ = ("_connection", "_send")

    def __init__(self, connection: Any, send: Callable[..., None]) -> None:
        self._connection = connection
        self._send = send

    def __call__(self, pkttype: int, *args: bytes, **keywords: Any) -> None:
        if pkttype != MSG_IGNORE:
            self._send(self._connection, pkttype, *args, **keywords)


class _Bytes:
    """Hands a channel's bytes to their receiver."""

    __slots__ = ("_loop", "channel", "receiver")

    def __init__(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        self.receiver = receiver
        self._loop = loop
        self.channel: Any = None

    def connection_made(self, chan: Any) -> None:
        self.channel = chan
        _no_packet_log(chan)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self.receiver.data_received(data, datatype is not None)

    def connection_lost(self, exc: Exception | None) -> None:
        # In the next tick the connection's own end, if that is the cause, is known too.
        self._loop.call_soon(self.receiver.closed)


class _Session(_Bytes, asyncssh.SSHClientSession[bytes]):
    """A shell's."""


class _Stream(_Bytes, asyncssh.SSHClientSession[bytes]):
    """A shell's that is one end of a stream."""

    receiver: StreamReceiver

    def pause_writing(self) -> None:
        self.receiver.pause_writing()

    def resume_writing(self) -> None:
        self.receiver.resume_writing()


class _Socket(_Bytes, asyncssh.SSHUNIXSession[bytes]):
    """A Unix socket's."""


class _Channel:
    __slots__ = ("_chan", "_loop", "_paused")

    def __init__(self, chan: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._chan = chan
        self._loop = loop
        self._paused = False

    def write(self, data: bytes) -> None:
        if not self._chan.is_closing():
            self._chan.write(data)

    def write_eof(self) -> None:
        if not self._chan.is_closing():
            self._chan.write_eof()

    def pause(self) -> None:
        self._paused = True
        self._loop.call_soon(self._hold)

    def resume(self) -> None:
        self._paused = False
        self._loop.call_soon(self._hold)

    def _hold(self) -> None:
        """In a tick of its own, so everything that asyncssh kept while paused is taken before it is paused again.

        With the first packet that is taken it opens the whole window anew, whatever else it still keeps. Paused in
        the midst of that, it would keep one window more each time: all of a stream whose reader is slow.
        """
        if self._paused:
            self._chan.pause_reading()
        else:
            self._chan.resume_reading()

    def close(self) -> None:
        # abort() does not wait for unsent bytes, which a hung shell would never take.
        self._chan.abort()


class SSHCarrier:
    __slots__ = ("_lean", "_loop", "_owner", "connection", "is_root")

    def __init__(
        self, connection: asyncssh.SSHClientConnection, owner: Owner, *, is_root: bool, lean: bool = False
    ) -> None:
        _no_packet_log(connection)
        _no_empty_packets(connection)
        self.connection = connection
        self.is_root = is_root
        self._owner = owner
        self._lean = lean  # the connection has been slimmed, so are its channels
        self._loop = asyncio.get_running_loop()

    @property
    def alive(self) -> bool:
        return not self._owner.lost

    @property
    def reason(self) -> Exception | None:
        return self._owner.reason

    def when_lost(self, callback: Callable[[], None]) -> None:
        """Call back once the connection has ended, after its channels have been told."""
        if self._owner.lost:
            self._loop.call_soon(callback)
        else:
            self._owner.on_lost.append(callback)

    async def open(self, receiver: Receiver, *, sudo: bool) -> Channel:
        line = SUDO_LANE if sudo else LANE
        return await self._open(
            _Session(receiver, self._loop),
            lambda factory: self.connection.create_session(factory, command=line, encoding=None, request_pty=False),
        )

    async def open_stream(
        self, receiver: StreamReceiver, *, sudo: bool, sink: bool, window: int = STREAM_WINDOW
    ) -> StreamChannel:
        line = ((SINK, SUDO_SINK) if sink else (LANE, SUDO_LANE))[sudo]
        return await self._open(
            _Stream(receiver, self._loop),
            lambda factory: self.connection.create_session(
                factory, command=line, encoding=None, request_pty=False, window=window
            ),
        )

    async def open_socket(self, receiver: Receiver, path: str) -> Channel:
        return await self._open(
            _Socket(receiver, self._loop),
            lambda factory: self.connection.create_unix_connection(factory, path, encoding=None),
        )

    async def _open(
        self, session: Any, create: Callable[[Callable[[], Any]], Awaitable[tuple[Any, Any]]]
    ) -> "_Channel":
        try:
            chan, _ = await create(lambda: session)
        except asyncssh.ChannelOpenError as error:
            session.receiver = _NOBODY
            if self._owner.lost or self.connection.is_closed():
                raise Gone(str(error)) from error
            raise Refused(error.reason) from error
        except (asyncssh.Error, OSError) as error:
            raise Gone(str(error)) from error
        if self._lean:
            slim.channel(chan)
        return _Channel(chan, self._loop)

    async def close(self) -> None:
        self.connection.close()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.connection.wait_closed()
        except TimeoutError:
            self.connection.abort()
            await self.connection.wait_closed()


class _Nobody:
    """Receives for a session that was refused after it had been made."""

    def data_received(self, data: bytes, is_stderr: bool) -> None:
        pass

    def closed(self) -> None:
        pass

    def pause_writing(self) -> None:
        pass

    def resume_writing(self) -> None:
        pass


_NOBODY = _Nobody()
