"""The ways to watch files, best first."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from infrastructor.ports import Capabilities, Device, SSHClient
from infrastructor.watchers.inotify import InotifyMonitor, Monitor, WatchOptions

Build = Callable[[Device, SSHClient, WatchOptions, asyncio.Semaphore], Monitor]


@dataclass(frozen=True)
class Way:
    """A monitor, and what is missing for it."""

    name: str
    missing: str | None
    build: Build


def ways_of(device: Device, found: Capabilities) -> Sequence[Way]:
    """All of them; the last one works wherever there is a shell."""
    return [
        Way(name, None if name in found.tools else f"no {name}", partial(_agent, name)) for name in ("python3", "perl")
    ]


def _agent(
    name: str, device: Device, ssh: SSHClient, options: WatchOptions, connecting: asyncio.Semaphore
) -> InotifyMonitor:
    return InotifyMonitor(name, device, ssh, options, connecting)
