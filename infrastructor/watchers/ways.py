"""The ways to watch files, best first."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from infrastructor.ports.devices import Device, Transport
from infrastructor.ports.ssh import Capabilities, SSHClient
from infrastructor.watchers.inotify import InotifyMonitor, Monitor, WatchOptions
from infrastructor.watchers.notifiers import Inotifyd, Inotifywait, Notifier, Watchfiles
from infrastructor.watchers.polling import PollingMonitor

Build = Callable[[Device, SSHClient, WatchOptions, asyncio.Semaphore], Monitor]


@dataclass(frozen=True)
class Way:
    """A monitor, and what is missing for it."""

    name: str
    missing: str | None
    build: Build


def ways_of(device: Device, found: Capabilities) -> Sequence[Way]:
    """All of them; the last one works wherever there is a shell."""
    agents = [Way(name, _missing(name, found), partial(_agent, name)) for name in ("python3", "perl")]
    notified = [Way(name, _missing(name, found), partial(_notified, name)) for name in ("inotifywait", "inotifyd")]
    local = [Way("watchfiles", None, partial(_notified, "watchfiles"))] if device.transport is Transport.LOCAL else []
    return [*agents, *local, *notified, Way("polling", None, _polling)]


def _missing(name: str, found: Capabilities) -> str | None:
    return None if name in found.tools else f"no {name}"


def _agent(
    name: str, device: Device, ssh: SSHClient, options: WatchOptions, connecting: asyncio.Semaphore
) -> InotifyMonitor:
    return InotifyMonitor(name, device, ssh, options, connecting)


def _notified(
    name: str, device: Device, ssh: SSHClient, options: WatchOptions, connecting: asyncio.Semaphore
) -> PollingMonitor:
    del connecting
    notifier: Notifier
    if name == "watchfiles":
        notifier = Watchfiles()
    else:
        kind = Inotifywait if name == "inotifywait" else Inotifyd
        notifier = kind(device, ssh, sudo=options.sudo)
    return PollingMonitor(name, device, ssh, options, notifier)


def _polling(device: Device, ssh: SSHClient, options: WatchOptions, connecting: asyncio.Semaphore) -> PollingMonitor:
    del connecting
    return PollingMonitor("polling", device, ssh, options)
