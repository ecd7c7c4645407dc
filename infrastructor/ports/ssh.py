"""The SSH engine: command lines and questions to container engines, what comes back, and the links they go over."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from infrastructor.ports.devices import Device, HostKey


class Lane(StrEnum):
    """Which channel of a device's connection a command takes."""

    FAST = "fast"  # resident shell: quick, catalogue-only READ commands
    SLOW = "slow"  # an exec channel of its own, under the remote watchdog
    CHANGE = "change"  # detached with a result folder on the device: at most once, outcome readable later


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """One rendered command: POSIX shell text in which every value is already one quoted word.

    timeout_s counts from the first byte written; max_output_bytes caps stdout and stderr each. Once `stop` is set,
    the processes of a CHANGE are ended on the device; it raises `Cancelled` when they had not ended by themselves.
    `step` tells the lines of one operation apart: a CHANGE sent again under the same operation id and step is the same
    change, and runs at most once.
    """

    text: str
    needs: str | None = None
    timeout_s: float = 30.0
    max_output_bytes: int = 1 << 20
    lane: Lane = Lane.FAST
    sudo: bool = False
    plain: bool = False  # one program with its arguments, no script: sudo can be asked for it alone
    stop: asyncio.Event | None = field(default=None, compare=False)
    step: int = field(default=0, compare=False)


@dataclass(slots=True, kw_only=True)  # not frozen: that costs a microsecond, on every command of every device
class CommandOutput:
    """What came back. `exit_status` is always known: a lost connection raises `OutcomeUnknown` instead."""

    exit_status: int
    stdout: bytes
    stderr: bytes = b""
    duration_s: float = 0.0
    truncated: bool = False

    @property
    def text(self) -> str:
        """stdout as text; bytes that are no UTF-8 become U+FFFD."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def error_text(self) -> str:
        return self.stderr.decode("utf-8", "replace").strip()


class Via(StrEnum):
    """The way to a device's container engine."""

    SOCKET = "socket"  # the engine's socket, through the SSH connection
    STDIO = "stdio"  # `docker system dial-stdio`: the same API through a program
    CLI = "cli"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCall:
    """One GET of the Docker Engine API; `target` is path and query, percent-encoded."""

    target: str
    timeout_s: float = 30.0
    max_output_bytes: int = 16 << 20


@dataclass(slots=True, kw_only=True)
class EngineReply:
    """The whole body, or its first max_output_bytes with `truncated` set."""

    status: int
    body: bytes
    via: Via
    truncated: bool = False


class Capabilities(BaseModel):
    """What one batch at first connect found out about a device. Unknown is None, never a guess."""

    model_config = ConfigDict(frozen=True)

    system: str | None = Field(default=None, description="uname -s, e.g. Linux.")
    kernel: str | None = Field(default=None, description="uname -r.")
    machine: str | None = Field(default=None, description="uname -m, e.g. x86_64.")
    os_id: str | None = Field(default=None, description="ID from os-release, e.g. debian.")
    os_version: str | None = Field(default=None, description="VERSION_ID from os-release.")
    os_name: str | None = Field(default=None, description="PRETTY_NAME from os-release.")
    user: str | None = Field(default=None, description="The login user.")
    is_root: bool = Field(default=False, description="Whether the login user is root.")
    sudo: str = Field(default="none", description="root, nopasswd, limited (single programs), password or none.")
    busybox: bool = Field(default=False, description="True when the common tools are BusyBox applets.")
    tools: frozenset[str] = Field(default=frozenset(), description="Programs found on the device's PATH.")
    docker_socket: str | None = Field(default=None, description="A Docker or Podman socket the user may use.")
    zfs_version: str | None = Field(default=None, description="Userland version of OpenZFS.")
    systemd: bool = Field(default=False, description="systemd runs as PID 1.")

    @property
    def has_engine(self) -> bool:
        """Whether there is a container engine, running or not."""
        return self.docker_socket is not None or not self.tools.isdisjoint({"docker", "podman"})


class LinkState(StrEnum):
    IDLE = "idle"
    CONNECTING = "connecting"
    READY = "ready"
    DRAINING = "draining"
    BACKOFF = "backoff"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStatus:
    """The state of one device's connection, as health and device_test show it."""

    state: LinkState
    reason: str | None = None  # error code of the last failure: why it is BACKOFF or BLOCKED
    message: str | None = None
    retry_in_s: float | None = None
    connected_since: datetime | None = None
    commands: int = 0
    failures: int = 0


class DeviceLinks(Protocol):
    """The parts of the SSH engine a handler may see: no way to run a command."""

    async def scan_host_keys(self, device: Device) -> tuple[HostKey, ...]:
        """Fetch the keys the device shows now, ed25519 first, without logging in or trusting anything."""
        ...

    async def capabilities(self, device: Device, *, refresh: bool = False) -> Capabilities: ...

    def status(self, device_id: UUID) -> LinkStatus: ...

    async def forget(self, device_id: UUID) -> None:
        """Close the connection and forget its state: its device changed or is gone."""
        ...


class Conversation(Protocol):
    """A command that runs on and listens."""

    @property
    def lines(self) -> AsyncIterator[bytes]:
        """The lines of its stdout, as `SSHClient.follow` gives them."""
        ...

    def send(self, data: bytes) -> None:
        """Write to its stdin; not before its first line has come. What is sent to a lost connection is lost."""
        ...


@dataclass(slots=True, kw_only=True)
class Flow:
    """A stream under way: `moved` bytes so far; at most so many a second; given up when none moves for `stall_s`."""

    bytes_per_second: int | None = None
    stall_s: float = 900.0
    moved: int = 0


class SSHClient(DeviceLinks, Protocol):
    """One path to every device. Founding name: `execute_command`."""

    async def execute_command(
        self, device: Device, line: CommandLine, *, operation_id: UUID | None = None
    ) -> CommandOutput:
        """Run one line. Raises `SSHConnectionError` and `DataCollectionError` kinds; never a silent None.

        `operation_id` and the line's step name the result folder of a CHANGE, so the same ones run at most once.
        Cancelling the caller stops the remote process of a FAST or SLOW command.
        """
        ...

    async def ask_engine(self, device: Device, call: EngineCall) -> EngineReply:
        """Ask the container engine by its socket, else through dial-stdio.

        Raises `EngineUnavailable` when the login user may use neither; the command line tool may still answer.
        """
        ...

    def follow(
        self, device: Device, source: CommandLine | EngineCall
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Follow what does not end by itself: the lines of a command's stdout, or of an API stream's body.

        Entering raises what `execute_command` and `ask_engine` raise. The lines end when the source ends well;
        `CommandFailed` when it ends with another status, `OutcomeUnknown` when the connection is lost. Leaving
        the context ends the remote process. A slow reader slows the device down; nothing piles up here.
        """
        ...

    def converse(self, device: Device, line: CommandLine) -> AbstractAsyncContextManager[Conversation]:
        """Follow a command that also reads its stdin. It must print a line before it reads any."""
        ...

    async def pipe(self, source: Device, send: CommandLine, sink: Device, receive: CommandLine, flow: Flow) -> None:
        """Hand on what `send` writes on its stdout to the stdin of `receive`, until both have ended well.

        Any number of bytes passes in constant memory; a slow sink slows the source down. Raises `CommandFailed`,
        `CommandNotAvailable`, `CommandTimeout`, `OutcomeUnknown` (a connection was lost); `side` in the details says
        whose fault it was: source or sink. Cancelling ends both commands; a reader sees the end of its stdin first.
        """
        ...

    def statistics(self) -> Mapping[str, Any]: ...

    async def close(self) -> None: ...
