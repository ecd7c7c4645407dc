"""One device: its connection, what waits for it, and whether it may be tried."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Protocol

from infrastructor.errors import (
    CommandNotAvailable,
    HostKeyUntrusted,
    InfrastructorError,
    OutcomeUnknown,
    SSHConnectionError,
)
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import Capabilities, CommandLine, CommandOutput, Lane, LinkState, LinkStatus
from infrastructor.ssh.backoff import Breaker
from infrastructor.ssh.carrier import Carrier
from infrastructor.ssh.lanes import Holder, LaneSet, Use
from infrastructor.ssh.request import Key, Request, again
from infrastructor.ssh.statistics import Counters
from infrastructor.ssh.texts import Text

NOT_FOUND = 127
logger = logging.getLogger(__name__)


class LinkCarrier(Carrier, Protocol):
    def when_lost(self, callback: Callable[[], None]) -> None: ...


Connector = Callable[[Device], Awaitable[LinkCarrier]]


class DeviceLink:
    """Idle until somebody asks; then one task connects, and every caller waits for that one."""

    __slots__ = (
        "_breaker",
        "_connecting",
        "_connector",
        "_counters",
        "_hello_timeout_s",
        "_inflight",
        "_lanes",
        "_loop",
        "_since",
        "_texts",
        "_waiting",
        "capabilities",
        "capabilities_at",
        "carrier",
        "closing",
        "commands",
        "device",
        "failures",
        "last_used",
        "users",
    )

    def __init__(
        self,
        device: Device,
        connector: Connector,
        counters: Counters,
        texts: Callable[[str], Text],
        hello_timeout_s: float,
    ) -> None:
        self.device = device
        self._texts = texts
        self._connector = connector
        self._counters = counters
        self._hello_timeout_s = hello_timeout_s
        self._loop = asyncio.get_running_loop()
        self._breaker = Breaker()
        self._connecting: asyncio.Task[None] | None = None
        self._inflight: dict[Key, Request] = {}
        self._waiting: list[Request | asyncio.Future[LinkCarrier]] = []
        self._lanes: LaneSet | None = None
        self._since: datetime | None = None
        self.carrier: LinkCarrier | None = None
        self.closing = False
        self.capabilities: Capabilities | None = None
        self.capabilities_at = 0.0
        self.commands = 0
        self.failures = 0
        self.users = 0  # links that are tunnelled through this one
        self.last_used = self._loop.time()

    @property
    def name(self) -> str:
        return self.device.hostname

    # --- asking --------------------------------------------------------------------------------------

    async def read(self, line: CommandLine) -> CommandOutput:
        """Run a READ line, or join the same one in flight. Cancelling stops it when nobody else waits."""
        key = (line.text, line.lane is Lane.FAST, line.sudo, line.max_output_bytes, line.timeout_s)
        waiter: asyncio.Future[CommandOutput] = self._loop.create_future()
        request = self._inflight.get(key)
        if request is not None:
            self._counters.coalesced += 1
            request.waiters.append(waiter)
        else:
            request = Request(line, key, self._texts(line.text))
            request.waiters.append(waiter)
            self._inflight[key] = request
            self._submit(request)
        output = await self._answer(request, waiter)
        if output.exit_status == NOT_FOUND and line.needs:
            raise self.lacks(line.needs)
        return output

    async def ask(self, request: Request) -> CommandOutput:
        """Run one request that nobody else may join."""
        waiter: asyncio.Future[CommandOutput] = self._loop.create_future()
        request.waiters.append(waiter)
        self._submit(request)
        return await self._answer(request, waiter)

    async def _answer(self, request: Request, waiter: asyncio.Future[CommandOutput]) -> CommandOutput:
        try:
            return await waiter
        except asyncio.CancelledError:
            self._leave(request, waiter)
            raise

    def lacks(self, program: str) -> CommandNotAvailable:
        return CommandNotAvailable(
            f"{self.name} has no {program}.",
            hint=f"Install {program} there, or ask for something that does not need it.",
            program=program,
        )

    async def connected(self) -> LinkCarrier:
        """The live carrier, connecting first when there is none. Raises what connecting raises."""
        if self.carrier is not None and self.carrier.alive:
            return self.carrier
        waiter: asyncio.Future[LinkCarrier] = self._loop.create_future()
        self._wait(waiter)
        return await waiter

    def hold(self, end: Callable[[], None], use: Use) -> Holder:
        """Count a session that somebody opened on the carrier himself; `end` is called when it must give way."""
        return Holder(self._lanes, end, use)

    def make_room(self) -> None:
        """Somebody who opens a session on the carrier himself found none free."""
        if self._lanes is not None:
            self._lanes.make_room()

    def _submit(self, request: Request) -> None:
        self.last_used = self._loop.time()
        if self._lanes is not None and self.carrier is not None and self.carrier.alive:
            self._lanes.dispatch(request)
        else:
            request.lane = None
            self._wait(request)

    def _wait(self, waiter: "Request | asyncio.Future[LinkCarrier]") -> None:
        if self.closing:
            refusal: InfrastructorError | None = SSHConnectionError(f"The connection to {self.name} is being closed.")
        elif self._connecting is None:
            refusal = self._breaker.refusal(self.name, self._loop.time())
        else:
            refusal = None
        if refusal is None:
            self._waiting.append(waiter)
            if self._connecting is None:
                self._connecting = self._loop.create_task(self._connect())
        elif isinstance(waiter, Request):
            self.fail(waiter, refusal)
        else:
            waiter.set_exception(refusal)

    def _leave(self, request: Request, waiter: asyncio.Future[CommandOutput]) -> None:
        if waiter in request.waiters:
            request.waiters.remove(waiter)
        if request.waiters:
            return
        request.abandoned = True
        self._drop(request)
        if request in self._waiting:
            self._waiting.remove(request)
        elif self._lanes is not None:
            self._lanes.abandon(request)

    def _drop(self, request: Request) -> None:
        if request.key is not None and self._inflight.get(request.key) is request:
            del self._inflight[request.key]

    # --- answers, from the lanes ---------------------------------------------------------------------

    def finish(self, request: Request, duration_s: float) -> None:
        self._drop(request)
        counters = self._counters
        counters.commands += 1
        counters.seconds += duration_s
        self.commands += 1
        if request.truncated:
            counters.truncated += 1
        request.succeed(
            CommandOutput(
                exit_status=request.status,
                stdout=request.out or b"",
                stderr=request.err or b"",
                duration_s=duration_s,
                truncated=request.truncated,
            )
        )

    def fail(self, request: Request, error: InfrastructorError) -> None:
        self._drop(request)
        if request.abandoned:
            return
        self._counters.commands += 1
        self._counters.failures += 1
        self.commands += 1
        self.failures += 1
        request.fail(error)

    def lost(self, head: list[Request], others: list[Request]) -> None:
        """The connection died under these. READs of which nothing had come are sent once more."""
        for request in [*head, *others]:
            if request.abandoned:
                continue
            if request.out or request.err or request.resent:
                error = OutcomeUnknown(
                    f"The connection to {self.name} died while the command ran.",
                    hint="It only reads, so it is safe to ask again.",
                )
                self.fail(request, error)
                continue
            if request.number:
                request.resent = True
                self._counters.replays += 1
            self._submit(request)

    # --- connecting ----------------------------------------------------------------------------------

    async def _connect(self) -> None:
        """The one task that makes this device's connection."""
        try:
            carrier = await self._connector(self.device)
        except InfrastructorError as error:
            self._connecting = None
            if not (isinstance(error, HostKeyUntrusted) or error.details.get("attempted") is False):
                self._breaker.failed(error, self._loop.time())
            self._fail_waiting(error)
            return
        except asyncio.CancelledError:
            self._connecting = None
            self._fail_waiting(SSHConnectionError(f"The connection to {self.name} is being closed."))
            raise
        except Exception as error:
            # A bug, ours or a library's: whoever waits must still hear of it.
            logger.exception("Connecting failed unexpectedly", extra={"device": self.name})
            self._connecting = None
            self._fail_waiting(SSHConnectionError(f"Connecting to {self.name} failed unexpectedly: {error!r}."))
            return
        self._connecting = None
        self._breaker.succeeded()
        self._counters.connects += 1
        if self._since is not None:
            self._counters.reconnects += 1
        self._since = datetime.now(UTC)
        self.carrier = carrier
        lanes = self._lanes = LaneSet(self, carrier, self._counters, self._hello_timeout_s)
        carrier.when_lost(lambda: self._carrier_lost(carrier, lanes))
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if isinstance(waiter, Request):
                if not waiter.abandoned:
                    lanes.dispatch(waiter)
            elif not waiter.done():
                waiter.set_result(carrier)

    def _fail_waiting(self, error: InfrastructorError) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if isinstance(waiter, Request):
                self.fail(waiter, error)
            elif not waiter.done():
                waiter.set_exception(again(error))

    def _carrier_lost(self, carrier: LinkCarrier, lanes: LaneSet) -> None:
        if self.carrier is carrier:
            self.carrier = None
            self._lanes = None
        left = lanes.stop()
        if left:
            self.lost([], left)

    # --- state ---------------------------------------------------------------------------------------

    def status(self) -> LinkStatus:
        now = self._loop.time()
        error = self._breaker.error
        wait = self._breaker.retry_at - now
        return LinkStatus(
            state=self.state(),
            reason=error.code if error else None,
            message=error.message if error else None,
            retry_in_s=round(wait, 1) if error and 0 < wait < float("inf") else None,
            connected_since=self._since if self.carrier is not None else None,
            commands=self.commands,
            failures=self.failures,
        )

    def state(self) -> LinkState:
        if self.closing:
            return LinkState.DRAINING
        if self.carrier is not None and self.carrier.alive:
            return LinkState.READY
        if self._connecting is not None:
            return LinkState.CONNECTING
        match self._breaker.state(self._loop.time()):
            case "blocked":
                return LinkState.BLOCKED
            case "backoff":
                return LinkState.BACKOFF
        return LinkState.IDLE

    def tidy(self, now: float, idle_s: float, lane_idle_s: float) -> bool:
        """Close what nobody uses. True when the whole connection may go."""
        if self._lanes is None or self._lanes.busy or self.users:
            return False
        if now - self.last_used >= idle_s:
            return True
        self._lanes.trim(now - lane_idle_s)
        return False

    async def disconnect(self) -> None:
        """Close the connection; the link may connect again when somebody asks."""
        carrier, self.carrier = self.carrier, None
        lanes, self._lanes = self._lanes, None
        if lanes is not None:
            left = lanes.stop()
            for request in left:
                self._submit(request)
        if carrier is not None:
            await carrier.close()

    async def close(self) -> None:
        """End everything for good; whoever waits gets an error."""
        self.closing = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        self._fail_waiting(SSHConnectionError(f"The connection to {self.name} is being closed."))
        await self.disconnect()
