"""This machine as a carrier: the same shells over pipes, in sessions of their own."""

import asyncio
import contextlib
import os
import pwd
import signal
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from infrastructor.ssh.carrier import STREAM_WINDOW, Channel, Receiver, Refused, StreamChannel, StreamReceiver
from infrastructor.ssh.wire import LANE_ARGV, SINK_ARGV, SUDO_ARGV, SUDO_SINK_ARGV

CLOSE_TIMEOUT_S = 3.0


def environment() -> dict[str, str]:
    """What a login would have, and nothing of our own: our variables hold passwords."""
    user = pwd.getpwuid(os.geteuid())
    values = {
        "HOME": user.pw_dir,
        "USER": user.pw_name,
        "LOGNAME": user.pw_name,
        "SHELL": "/bin/sh",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }
    runtime = Path(f"/run/user/{user.pw_uid}")
    if runtime.is_dir():
        values["XDG_RUNTIME_DIR"] = str(runtime)
    return values


class _Process(asyncio.SubprocessProtocol):
    """Hands a shell's bytes to a lane; done when the process has ended and both pipes are drained."""

    def __init__(self, receiver: Receiver, done: Callable[["_Process"], None]) -> None:
        self._receiver = receiver
        self._done = done
        self.transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)  # noqa: S101
        self.transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._receiver.data_received(data, fd == 2)  # noqa: PLR2004

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport is not None:
            self.transport.close()
        self._done(self)
        self._receiver.closed()

    # --- Channel -------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        pipe = self.transport.get_pipe_transport(0) if self.transport else None
        if isinstance(pipe, asyncio.WriteTransport) and not pipe.is_closing():
            pipe.write(data)

    def pause(self) -> None:
        self._reading("pause_reading")

    def resume(self) -> None:
        self._reading("resume_reading")

    def _reading(self, what: str) -> None:
        for number in (1, 2):
            pipe = self.transport.get_pipe_transport(number) if self.transport else None
            if isinstance(pipe, asyncio.ReadTransport) and not pipe.is_closing():
                getattr(pipe, what)()

    def close(self) -> None:
        """EOF ends the group; should someone have killed the guard, the pipes are closed all the same."""
        pipe = self.transport.get_pipe_transport(0) if self.transport else None
        if isinstance(pipe, asyncio.WriteTransport) and not pipe.is_closing():
            pipe.abort()


class _Stream(_Process):
    """A shell that is one end of a stream."""

    def __init__(self, receiver: StreamReceiver, done: Callable[["_Process"], None]) -> None:
        super().__init__(receiver, done)
        self._stream = receiver

    def pause_writing(self) -> None:
        self._stream.pause_writing()

    def resume_writing(self) -> None:
        self._stream.resume_writing()

    def write_eof(self) -> None:
        pipe = self.transport.get_pipe_transport(0) if self.transport else None
        if isinstance(pipe, asyncio.WriteTransport) and not pipe.is_closing():
            pipe.write_eof()

    def close(self) -> None:
        """A sink does not end with its stdin, so the whole group is told; what sudo started sees its pipes closed."""
        super().close()
        for number in (1, 2):
            pipe = self.transport.get_pipe_transport(number) if self.transport else None
            if pipe is not None:
                pipe.close()
        process_id = self.transport.get_pid() if self.transport else None
        if process_id is not None and self.transport is not None and self.transport.get_returncode() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process_id, signal.SIGKILL)


class _Socket(asyncio.Protocol):
    """Hands a socket's bytes to their receiver; the channel of itself."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._receiver.data_received(data, False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiver.closed()

    # --- Channel -------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


AnyProcess = TypeVar("AnyProcess", bound=_Process)


class LocalCarrier:
    __slots__ = ("_alive", "_idle", "_loop", "_processes", "_sockets", "is_root")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._processes: set[_Process] = set()
        self._sockets: weakref.WeakSet[_Socket] = weakref.WeakSet()
        self._alive = True
        self.is_root = os.geteuid() == 0
        self._idle = asyncio.Event()

    @property
    def alive(self) -> bool:
        return self._alive

    def when_lost(self, callback: Callable[[], None]) -> None:
        """A pipe to ourselves is never lost."""

    async def open(self, receiver: Receiver, *, sudo: bool) -> Channel:
        return await self._start(_Process(receiver, self._ended), SUDO_ARGV if sudo else LANE_ARGV)

    async def open_stream(
        self, receiver: StreamReceiver, *, sudo: bool, sink: bool, window: int = STREAM_WINDOW
    ) -> StreamChannel:
        # What is ahead of us is in the pipe of 64 KiB, so `window` says nothing new.
        argv = ((SINK_ARGV, SUDO_SINK_ARGV) if sink else (LANE_ARGV, SUDO_ARGV))[sudo]
        return await self._start(_Stream(receiver, self._ended), argv)

    async def _start(self, process: AnyProcess, argv: tuple[str, ...]) -> AnyProcess:
        try:
            await self._loop.subprocess_exec(
                lambda: process,
                *argv,
                env=environment(),
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise Refused(str(error)) from error
        self._processes.add(process)
        return process

    async def open_socket(self, receiver: Receiver, path: str) -> Channel:
        try:
            _, socket = await self._loop.create_unix_connection(lambda: _Socket(receiver), path)
        except OSError as error:
            raise Refused(str(error)) from error
        self._sockets.add(socket)
        return socket

    def _ended(self, process: _Process) -> None:
        self._processes.discard(process)
        if not self._processes:
            self._idle.set()

    async def close(self) -> None:
        self._alive = False
        for socket in list(self._sockets):
            socket.close()
        for process in list(self._processes):
            process.close()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                while self._processes:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            for process in list(self._processes):
                if process.transport is not None:
                    process.transport.close()
