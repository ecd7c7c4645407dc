"""The doors as processes: both servers over one application, stopped without cutting anybody off."""

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from functools import partial
from typing import Any

import uvicorn

from infrastructor import logs
from infrastructor.app import Application
from infrastructor.daemon import Daemon
from infrastructor.errors import InfrastructorError
from infrastructor.memory import settle
from infrastructor.ports.callers import Role
from infrastructor.settings import Settings

logger = logging.getLogger(__name__)

GRACE_S = 20
"""How long requests under way may take to finish once the server is told to stop."""

Opener = Callable[[Settings], AbstractAsyncContextManager[Application]]


class Part(StrEnum):
    """What one process runs."""

    ALL = "all"
    API = "api"
    MCP = "mcp"
    COLLECTOR = "collector"


_DOORS: Mapping[Part, tuple[Part, ...]] = {
    Part.ALL: (Part.API, Part.MCP),
    Part.API: (Part.API,),
    Part.MCP: (Part.MCP,),
    Part.COLLECTOR: (),
}
_BACKLOG = 512
_WS_MAX_BYTES = 16 << 10  # of a message to us
_KEEP_ALIVE_S = 75


class PortTaken(InfrastructorError):
    code = "port_taken"


async def serve(settings: Settings, opener: Opener, part: Part = Part.ALL) -> None:
    """Serve until SIGTERM or SIGINT; a second signal drops what is still under way. Raises `PortTaken`."""
    listening = {door: listen(settings.host, _port(settings, door)) for door in _DOORS[part]}
    stopping = asyncio.Event()
    servers: list[_Server] = []
    with _signals(stopping, servers), contextlib.ExitStack() as closed_last:
        async with opener(settings) as application:
            servers += [_server(door, application, stopping) for door in listening]
            running = [
                asyncio.create_task(server.serve(sockets=[bound]))
                for server, bound in zip(servers, listening.values(), strict=True)
            ]
            await _any_of(asyncio.gather(*(server.answering.wait() for server in servers)), *running)
            closed_last.enter_context(_claimed(settings, part))
            _announce(settings, listening)
            settle()
            jobs = _collecting(application, part)
            await _any_of(asyncio.ensure_future(stopping.wait()), *running, *jobs)
            stopping.set()
            for server in servers:
                server.should_exit = True
            await asyncio.gather(*running)
            await _cancelled(jobs)
            await application.service.drain(GRACE_S)
    logger.info("Stopped")


async def serve_stdio(
    settings: Settings, opener: Opener, *, toolsets: Sequence[str] | None = None, role: Role = Role.ADMIN
) -> None:
    """Serve MCP on stdin and stdout until the client closes them or a signal comes."""
    from mcp_server.server import create_server  # noqa: PLC0415 - costs half a second to import

    stopping = asyncio.Event()
    with _signals(stopping, []):
        async with opener(settings) as application:
            server = create_server(application, toolsets=toolsets, read_only=settings.read_only, local_role=role)
            running = asyncio.create_task(server.run_stdio_async(show_banner=False))
            await _any_of(asyncio.ensure_future(stopping.wait()), running)
            await application.service.drain(GRACE_S)
    if stopping.is_set():
        # A thread still waits for a line on stdin, and Python would wait for it for ever.
        logging.shutdown()
        os._exit(0)
    await running


def listen(host: str, port: int) -> socket.socket:
    """A listening socket: callers wait until we are ready. Raises `PortTaken` with the way out."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off; else each answer may wait 40 ms for an ACK.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise PortTaken(
            f"Cannot listen on {host}:{port}: {error.strerror or error}.",
            hint="Is it running already? Else set INFRASTRUCTOR_API_PORT, INFRASTRUCTOR_MCP_PORT or "
            "INFRASTRUCTOR_HOST.",
        ) from error
    bound.setblocking(False)
    return bound


def run(settings: Settings, opener: Opener, part: Part = Part.ALL) -> int:
    """`serve` as a program: logs set up, errors as one line; the exit code."""
    logs.configure(settings.log_level)
    if not _is_loopback(settings.host):
        logger.warning(
            "Reachable from other machines: every request needs a token, but nothing encrypts it",
            extra={"host": settings.host},
        )
    return _finish(partial(serve, settings, opener, part))


def run_stdio(settings: Settings, opener: Opener, *, toolsets: Sequence[str] | None, role: Role) -> int:
    """`serve_stdio` as a program."""
    logs.configure(settings.log_level)
    return _finish(partial(serve_stdio, settings, opener, toolsets=toolsets, role=role))


def _finish(main: Callable[[], Any]) -> int:
    try:
        asyncio.run(main())
    except InfrastructorError as error:
        print(error.one_line(), file=sys.stderr)  # noqa: T201 - the one clear line
        return 1
    return 0


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: two servers share one process, and we stop them together."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answering = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.answering.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(door: Part, application: Application, stopping: asyncio.Event) -> _Server:
    return _Server(
        uvicorn.Config(
            _app(door, application, stopping),
            lifespan="on",
            # No page may open a WebSocket to the MCP door: it has none.
            ws="websockets-sansio" if door is Part.API else "none",
            ws_max_size=_WS_MAX_BYTES,
            ws_per_message_deflate=False,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
        )
    )


def _app(door: Part, application: Application, stopping: asyncio.Event) -> Any:
    if door is Part.API:
        from api.app import create_app  # noqa: PLC0415 - each door imports only its own framework

        return create_app(application)
    from mcp_server.http import create_http_app  # noqa: PLC0415
    from mcp_server.server import create_server  # noqa: PLC0415

    return create_http_app(create_server(application, stopping=stopping), application, stopping)


def _announce(settings: Settings, listening: Mapping[Part, socket.socket]) -> None:
    urls = {str(door): _url(door, settings.host, bound) for door, bound in listening.items()}
    logger.info("Ready", extra={"urls": urls, "data_dir": str(settings.data_dir), "pid": os.getpid()})


def _collecting(application: Application, part: Part) -> "list[asyncio.Task[None]]":
    """The scheduled jobs as a task, in the processes that collect."""
    if part not in {Part.ALL, Part.COLLECTOR} or application.collect is None:
        return []
    return [asyncio.ensure_future(application.collect())]


async def _any_of(awaited: "asyncio.Future[Any]", *running: "asyncio.Task[None]") -> None:
    """Wait for something, or for a task to end that should go on; its error comes out where it is awaited."""
    try:
        await asyncio.wait({awaited, *running}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        awaited.cancel()


async def _cancelled(jobs: "Sequence[asyncio.Task[None]]") -> None:
    """Stop the jobs. One that had ended by itself raises here what it ended with."""
    for job in jobs:
        job.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await job


@contextlib.contextmanager
def _claimed(settings: Settings, part: Part) -> Iterator[None]:
    """`infrastructor stop` and `status` find the whole server by its pid file, not its parts."""
    if part is not Part.ALL:
        yield
        return
    daemon = Daemon(settings)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    daemon.claim()
    try:
        yield
    finally:
        daemon.release()


def _url(door: Part, host: str, bound: socket.socket) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{bound.getsockname()[1]}{'/mcp' if door is Part.MCP else ''}"


def _port(settings: Settings, door: Part) -> int:
    return settings.api_port if door is Part.API else settings.mcp_port


@contextlib.contextmanager
def _signals(stopping: asyncio.Event, servers: Sequence[_Server]) -> Iterator[None]:
    """SIGTERM and SIGINT set `stopping`; a second one makes the servers drop their connections."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for server in servers if stopping.is_set() else ():
            server.force_exit = True
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
