"""Watching by an agent in the device's memory, which the kernel tells of every change."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from infrastructor.errors import CommandFailed, OutcomeUnknown, ParseError
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import Conversation, SSHClient
from infrastructor.watchers import agent_protocol as protocol
from infrastructor.watchers.agent import agent_line
from infrastructor.watchers.view import REASONS, View, as_shown

HELLO_S = 20.0
FIRST_S = 300.0  # until the first look at everything is done
BEAT_S = 5.0
SILENT_S = 20.0
AT_ONCE = 500
MISUNDERSTOOD = 100  # malformed lines until an agent is given up


@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """Times in seconds. `check_s`: how often both sides compare all they know."""

    settle_s: float = 0.03
    unclosed_s: float = 0.5
    at_most_s: float = 2.0
    gone_s: float = 0.3
    burst: int = 5
    per_s: float = 1.0
    poll_s: float = 10.0
    check_s: float = 300.0
    max_files: int = 50_000
    max_file_bytes: int = 1 << 20
    max_hashed_bytes: int = 256 << 20
    sudo: bool = False

    def limits(self) -> tuple[float, ...]:
        """As an agent takes them."""
        moved = min(0.002, self.settle_s)
        times = (self.settle_s, moved, max(self.unclosed_s, self.settle_s), self.at_most_s, self.gone_s)
        sizes = (self.max_files, self.max_file_bytes, self.max_hashed_bytes)
        return (*sizes, *times, self.burst, self.per_s, self.poll_s, self.check_s, BEAT_S)


class Monitor(Protocol):
    """A way to watch. `run` goes on until it fails."""

    mode: str

    async def run(self, view: View) -> None: ...


class InotifyMonitor:
    """By an agent for python3 or perl. Raises what `SSHClient.converse` raises."""

    def __init__(
        self, interpreter: str, device: Device, ssh: SSHClient, options: WatchOptions, connecting: asyncio.Semaphore
    ) -> None:
        self.mode = interpreter
        self._device = device
        self._ssh = ssh
        self._options = options
        self._connecting = connecting
        self._listed: dict[bytes, bytes] = {}
        self._wanted: list[bytes] = []
        self._asked = 0

    async def run(self, view: View) -> None:
        line = agent_line(self.mode, sudo=self._options.sudo)
        async with contextlib.AsyncExitStack() as opened:
            async with self._connecting:
                talk = await opened.enter_async_context(self._ssh.converse(self._device, line))
                lines = talk.lines
                await self._hello(lines, view)
            talk.send(protocol.begin(self._options.limits(), view.roots))
            loop = asyncio.get_running_loop()
            try:
                async with asyncio.timeout(FIRST_S) as deadline:
                    async for line_said in lines:
                        deadline.reschedule(None)  # what we take to store it is not the agent's
                        await self._take(line_said, talk, view)
                        view.hear()
                        deadline.reschedule(loop.time() + (SILENT_S if view.synchronized else FIRST_S))
            except TimeoutError:
                raise OutcomeUnknown(f"The agent on {self._device.hostname} has fallen silent.") from None

    async def _hello(self, lines: AsyncIterator[bytes], view: View) -> None:
        try:
            async with asyncio.timeout(HELLO_S):
                said = protocol.parse_line(await anext(lines))
        except (TimeoutError, StopAsyncIteration, ParseError) as error:
            raise CommandFailed(f"{self.mode} on {self._device.hostname} did not become an agent.") from error
        if not isinstance(said, protocol.Hello):
            raise CommandFailed(f"{self.mode} on {self._device.hostname} did not become an agent.")
        view.hear(said.clock_ns)

    async def _take(self, line: bytes, talk: Conversation, view: View) -> None:  # noqa: PLR0912 - one case per kind
        try:
            said = protocol.parse_line(line)
        except ParseError:
            view.state.misunderstood += 1
            if view.state.misunderstood > MISUNDERSTOOD:
                raise
            return
        match said:
            case protocol.Listed(path, mark):
                if len(self._listed) >= self._options.max_files:
                    raise ParseError(
                        f"The agent on {self._device.hostname} lists more files than it was told to watch."
                    )
                self._listed[path] = mark
            case protocol.Tree():
                await self._compare(said, talk, view)
            case protocol.ListEnd():
                await self._ask(talk, view)
            case protocol.Answered(number):
                if number == self._asked and self._wanted:
                    self._ask_more(talk)
                elif number == self._asked:
                    await self._agreed(view)
            case protocol.EventsLost(reason):
                view.lose(f"The kernel of the device lost events ({reason}).")
            case protocol.FolderUnread(path, reason):
                view.state.refuse(as_shown(path) + "/", REASONS.get(reason, reason))
            case protocol.Beat(clock_ns):
                view.hear(clock_ns)
            case protocol.Hello() | protocol.ListEnd():
                pass
            case _:
                await view.take(said)

    async def _compare(self, tree: protocol.Tree, talk: Conversation, view: View) -> None:
        state = view.state
        state.files, state.folders = tree.files, tree.folders
        state.polled, state.beyond = tree.polled, tree.beyond
        if not tree.unreadable:
            for path in [path for path in state.unreadable if path.endswith("/")]:
                del state.unreadable[path]
        if tree.digest is not None and tree.digest == view.digest():
            await self._agreed(view)
        elif tree.digest is not None or not view.synchronized:
            self._listed.clear()
            talk.send(b"M\n")

    async def _ask(self, talk: Conversation, view: View) -> None:
        """Have told what differs, some files at a time: the agent keeps in mind what it was asked."""
        self._wanted = view.differing(self._listed)
        self._listed.clear()
        self._ask_more(talk)

    def _ask_more(self, talk: Conversation) -> None:
        part, self._wanted = self._wanted[:AT_ONCE], self._wanted[AT_ONCE:]
        self._asked += 1
        talk.send(protocol.ask(part, self._asked))

    async def _agreed(self, view: View) -> None:
        await view.synchronize()
        view.state.become(self.mode, view.state.why)
        view.state.error = ""
