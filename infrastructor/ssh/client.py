"""One path to every device: the `SSHClient` of ports.py."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

from infrastructor.errors import InfrastructorError, SSHConnectionError
from infrastructor.memory import settle
from infrastructor.ports.devices import Device, HostKey, Transport
from infrastructor.ports.ssh import (
    Capabilities,
    CommandLine,
    CommandOutput,
    Conversation,
    EngineCall,
    EngineReply,
    Flow,
    Lane,
    LinkState,
    LinkStatus,
)
from infrastructor.settings import Settings
from infrastructor.ssh import probe
from infrastructor.ssh.connect import Dialer
from infrastructor.ssh.connection import SSHCarrier
from infrastructor.ssh.detached import DetachedRuns
from infrastructor.ssh.engine import Engine
from infrastructor.ssh.follow import converse, follow
from infrastructor.ssh.link import DeviceLink, LinkCarrier
from infrastructor.ssh.local import LocalCarrier
from infrastructor.ssh.pipe import End, orphan_script, pipe
from infrastructor.ssh.statistics import Counters
from infrastructor.ssh.sudo import Sudo
from infrastructor.ssh.texts import texts

logger = logging.getLogger(__name__)

Resolve = Callable[[str], Awaitable[Device | None]]
MAX_HOPS = 5
PROBE_FRESH_S = 300.0  # how long "not installed" is believed without asking again
LANE_IDLE_S = 300.0
ORPHANS = 8  # of one device that are looked for
STORM = 50  # connections since the last look that are worth tidying up after


class AsyncSSHClient:
    """Connections to all devices. `resolve` finds the registered device a jump names."""

    def __init__(self, settings: Settings, resolve: Resolve) -> None:
        self._settings = settings
        self._resolve = resolve
        self._dialer = Dialer(settings)
        self._links: dict[UUID, DeviceLink] = {}
        self._engines: dict[UUID, Engine] = {}
        self._counters = Counters()
        self._texts = texts()
        self._detached = DetachedRuns()
        self._sudo = Sudo()
        self._sweeper: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._orphans: dict[UUID, list[CommandLine]] = {}
        self._closed = False
        # asyncssh logs every command at INFO.
        library = logging.getLogger("asyncssh")
        if library.level == logging.NOTSET:
            library.setLevel(logging.WARNING)

    async def execute_command(
        self, device: Device, line: CommandLine, *, operation_id: UUID | None = None
    ) -> CommandOutput:
        """Run one line on the device; see `ports.SSHClient`."""
        link = self._links.get(device.id)
        if link is None or link.device is not device:
            link = self._link(device)
        if self._orphans:
            await self._end_orphans(device)
        if (
            line.needs is not None
            and link.capabilities is not None
            and line.needs in probe.TOOLS
            and line.needs not in link.capabilities.tools
            and asyncio.get_running_loop().time() - link.capabilities_at < PROBE_FRESH_S
        ):
            raise link.lacks(line.needs)
        if line.sudo:
            return await self._sudo.run(link, line, lambda sent: self._send(link, sent, operation_id))
        return await self._send(link, line, operation_id)

    async def _send(self, link: DeviceLink, line: CommandLine, operation_id: UUID | None) -> CommandOutput:
        if line.lane is Lane.CHANGE:
            return await self._detached.run(link, line, operation_id)
        return await link.read(line)

    async def ask_engine(self, device: Device, call: EngineCall) -> EngineReply:
        """Ask the device's container engine; see `ports.SSHClient`."""
        found = await self.capabilities(device)
        return await self._engine(device).ask(call, found)

    @asynccontextmanager
    async def follow(self, device: Device, source: CommandLine | EngineCall) -> AsyncIterator[AsyncIterator[bytes]]:
        """Follow what does not end by itself; see `ports.SSHClient`."""
        if isinstance(source, CommandLine):
            following = follow(self._link(device), source)
        else:
            found = await self.capabilities(device)
            following = self._engine(device).follow(source, found)
        async with following as lines:
            yield lines

    @asynccontextmanager
    async def converse(self, device: Device, line: CommandLine) -> AsyncIterator[Conversation]:
        """Talk with a command; see `ports.SSHClient`."""
        async with converse(self._link(device), line) as conversation:
            yield conversation

    async def pipe(self, source: Device, send: CommandLine, sink: Device, receive: CommandLine, flow: Flow) -> None:
        """Stream from one command into another; see `ports.SSHClient`."""
        out, into = await self._end(source, send, sink=False), await self._end(sink, receive, sink=True)
        await self._end_orphans(sink)
        try:
            await pipe(out, into, flow)
        finally:
            if into.left_behind:
                self._orphans.setdefault(sink.id, []).append(
                    CommandLine(text=orphan_script(into.tag), sudo=into.as_root)
                )

    async def _end_orphans(self, device: Device) -> None:
        """What an earlier stream left behind may hold what is asked for now, so it is ended first."""
        lines = self._orphans.pop(device.id, [])[-ORPHANS:]
        for line in lines:
            try:
                await self._link(device).read(line)
            except SSHConnectionError:
                self._orphans.setdefault(device.id, []).append(line)  # it is away; they may be there when it is back
            except InfrastructorError as error:
                logger.warning("What a stream left behind was not ended: %s", error, extra={"device": device.hostname})

    async def _end(self, device: Device, line: CommandLine, *, sink: bool) -> End:
        """One end, as root by a root shell where sudo gives one, else by sudo for the program alone."""
        root_shell = False
        if line.sudo:
            found = await self.capabilities(device)
            root_shell = found.is_root or found.sudo == "nopasswd"
            if not root_shell:
                line = replace(line, text=f"sudo -n -- {line.text}")
        return End(self._link(device), line, sink=sink, as_root=root_shell)

    async def capabilities(self, device: Device, *, refresh: bool = False) -> Capabilities:
        link = self._link(device)
        if link.capabilities is None or refresh:
            output = await link.read(probe.LINE)
            link.capabilities = probe.parse(output)
            link.capabilities_at = asyncio.get_running_loop().time()
        return link.capabilities

    async def scan_host_keys(self, device: Device) -> tuple[HostKey, ...]:
        """The key the device shows, as a tuple of one: a second connection for other types would be punished."""
        if device.transport is Transport.LOCAL:
            return ()
        jump = await self._jump_link(device)
        tunnel = await self._tunnel(device, jump) if jump is not None else None
        return (await self._dialer.scan(device, tunnel),)

    def status(self, device_id: UUID) -> LinkStatus:
        link = self._links.get(device_id)
        return LinkStatus(state=LinkState.IDLE) if link is None else link.status()

    def _engine(self, device: Device) -> Engine:
        link = self._link(device)
        engine = self._engines.get(device.id)
        if engine is None or engine.link is not link:
            engine = self._engines[device.id] = Engine(link)
        return engine

    async def forget(self, device_id: UUID) -> None:
        self._engines.pop(device_id, None)
        link = self._links.pop(device_id, None)
        self._sudo.forget(device_id)
        self._orphans.pop(device_id, None)
        if link is not None:
            await link.close()

    def statistics(self) -> Mapping[str, Any]:
        """`links` counts by state; the rest is counted since the start."""
        states = Counter(link.state().value for link in self._links.values())
        return {"links": dict(states), **self._counters.snapshot()}

    async def close(self) -> None:
        """Close every connection; nothing is left running here or on the devices."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        links = sorted(self._links.values(), key=lambda link: link.device.jump is None)
        self._links.clear()
        for tunnelled in (True, False):  # the jump hosts last
            await asyncio.gather(*(link.close() for link in links if (link.device.jump is not None) is tunnelled))
        await self._detached.close()
        if self._closing:
            await asyncio.wait(self._closing)

    # --- links ---------------------------------------------------------------------------------------

    def _link(self, device: Device) -> DeviceLink:
        if self._closed:
            raise SSHConnectionError("The SSH engine has been closed.")
        link = self._links.get(device.id)
        if link is not None:
            if link.device is device or _same_way(link.device, device):
                link.device = device
                return link
            task = asyncio.get_running_loop().create_task(link.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        link = self._links[device.id] = DeviceLink(
            device, self._connect, self._counters, self._texts, self._settings.ssh_login_timeout_s
        )
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep())
        return link

    async def _connect(self, device: Device) -> LinkCarrier:
        if device.transport is Transport.LOCAL:
            return LocalCarrier()
        jump = await self._jump_link(device)
        if jump is None:
            return await self._dialer.dial(device, None)
        tunnel = await self._tunnel(device, jump)
        jump.users += 1
        try:
            carrier = await self._dialer.dial(device, tunnel)
        except BaseException:
            jump.users -= 1
            raise
        carrier.when_lost(lambda: _left(jump))
        return carrier

    async def _jump_link(self, device: Device) -> DeviceLink | None:
        """The pooled link of the device's jump host, after following its own jumps for a circle."""
        seen = [device.hostname]
        name, first = device.jump, None
        while name is not None:
            if name in seen or len(seen) > MAX_HOPS:
                chain = " → ".join([*seen, name])
                raise SSHConnectionError(
                    f"The jump hosts of {device.hostname} form a circle or too long a chain: {chain}.",
                    hint="Correct the jump of one of them with device_update.",
                    attempted=False,
                )
            seen.append(name)
            found = await self._resolve(name)
            if found is None or found.transport is Transport.LOCAL:
                raise SSHConnectionError(
                    f"The jump host {name} of {seen[-2]} is not a registered SSH device.",
                    hint=f"Register it with device_add, or correct the jump of {seen[-2]}.",
                    attempted=False,
                )
            first = first or found
            name = found.jump
        return self._link(first) if first is not None else None

    async def _tunnel(self, device: Device, jump: DeviceLink) -> SSHCarrier:
        try:
            carrier = await jump.connected()
        except InfrastructorError as error:
            raise SSHConnectionError(
                f"{device.hostname} is reached through {jump.name}, which failed: {error.message}",
                hint=error.hint,
                jump=jump.name,
                reason=error.code,
            ) from error
        assert isinstance(carrier, SSHCarrier)  # noqa: S101
        return carrier

    async def _sweep(self) -> None:
        """Close connections and resident shells that nobody uses."""
        idle_s = self._settings.ssh_idle_timeout_s
        settled = 0
        while True:
            await asyncio.sleep(min(30.0, idle_s / 4))
            now = asyncio.get_running_loop().time()
            if self._counters.connects - settled >= STORM:
                settled = self._counters.connects
                settle()  # what their handshakes left behind is half as large as the links themselves
            for link in list(self._links.values()):
                if link.tidy(now, idle_s, min(LANE_IDLE_S, idle_s)):
                    await link.disconnect()


def _left(jump: DeviceLink) -> None:
    jump.users -= 1


def _same_way(old: Device, new: Device) -> bool:
    """Whether a changed device is still reached in the same way, so that its connection may stay."""
    return _way(old) == _way(new)


def _way(device: Device) -> tuple[object, ...]:
    return (
        device.hostname,
        device.transport,
        device.address,
        device.ssh_port,
        device.ssh_username,
        device.ssh_private_key_path,
        device.jump,
        device.host_keys,
    )
