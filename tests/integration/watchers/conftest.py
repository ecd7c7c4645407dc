"""Devices whose files are watched in each of the ways there are."""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import Capabilities
from infrastructor.snapshot_store import Change, ConfigWatch, Snapshot
from infrastructor.ssh import AsyncSSHClient
from infrastructor.watchers import ways
from infrastructor.watchers.files import RemoteFileWatcher
from infrastructor.watchers.inotify import WatchOptions
from infrastructor.watchers.ways import Way
from tests.fake_snapshots import FakeSnapshots
from tests.support.programs import program
from tests.support.sshd import Sshd, local_device
from tests.support.wait import until

AGENTS = ("python3", "perl")
REMOTE = (*AGENTS, "inotifywait", "inotifyd", "polling")
ALL = (*REMOTE, "watchfiles")


@dataclass
class Watched:
    """A folder of a device, its watcher and what was stored."""

    mode: str
    device: Device
    client: AsyncSSHClient
    root: Path
    options: WatchOptions
    store: FakeSnapshots = field(default_factory=FakeSnapshots)
    watcher: RemoteFileWatcher | None = None

    @property
    def patience_s(self) -> float:
        """How long a change may take to arrive."""
        return 12.0

    @asynccontextmanager
    async def watching(self, *paths: str | Path, **fields: Any) -> AsyncIterator[RemoteFileWatcher]:
        watches = [
            ConfigWatch(device_id=self.device.id, path=str(path), source="user", **fields)
            for path in paths or [self.root]
        ]
        self.watcher = RemoteFileWatcher(
            self.device,
            ssh=self.client,
            store=self.store,
            watches=watches,
            options=self.options,
            connecting=asyncio.Semaphore(4),
            ways=self._only,
        )
        task = asyncio.create_task(self.watcher.run())
        try:
            await until(lambda: self.watcher.state.mode == self.mode or task.done(), 20)
            if task.done():
                task.result()
            yield self.watcher
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _only(self, device: Device, found: Capabilities) -> Sequence[Way]:
        return [way for way in ways.ways_of(device, found) if way.name == self.mode]

    # --- what was stored -----------------------------------------------------------------------------

    def versions(self, path: Path) -> list[Snapshot]:
        return [one for one in self.store.kept if one.path == str(path)]

    def changes(self, path: Path) -> list[Change]:
        return [one.change for one in self.versions(path)]

    def content(self, path: Path) -> bytes | None:
        found = self.versions(path)
        return self.store.raw.get(found[-1].content_hash or "") if found else None

    async def holds(self, path: Path, content: bytes | str | None, timeout_s: float | None = None) -> None:
        """Until the newest version of a file is this; None: it is gone."""
        wanted = content.encode() if isinstance(content, str) else content

        def there() -> bool:
            found = self.versions(path)
            if wanted is None:
                return bool(found) and found[-1].change is Change.DELETE
            return bool(found) and found[-1].change is not Change.DELETE and self.content(path) == wanted

        await until(there, timeout_s or self.patience_s)

    def stored(self) -> dict[str, bytes | None]:
        """The files the store believes in, with their contents; None where there is none."""
        return {path: self.store.raw.get(one.content_hash or "") for path, one in self.store.stored.items()}

    def real(self) -> dict[str, bytes | None]:
        paths = [Path(folder, name) for folder, _, names in os.walk(self.root) for name in names]
        return {str(path): None if path.is_symlink() else path.read_bytes() for path in paths}


@pytest.fixture
def watched_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="watched-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


Watch = Callable[..., Watched]


@pytest.fixture
def watch(client: AsyncSSHClient, sshd: Sshd, watched_folder: Path) -> Watch:
    """Make a `Watched` by its mode."""

    def make(mode: str, device: Device | None = None, **options: Any) -> Watched:
        need(mode)
        there = device or (local_device() if mode == "watchfiles" else sshd.device())
        defaults = {"poll_s": 0.5 if mode == "polling" else 5.0, "check_s": 30.0}
        return Watched(mode, there, client, watched_folder, WatchOptions(**{**defaults, **options}))

    return make


def need(mode: str) -> None:
    """toybox stands for the inotifyd of small devices, under the name they have it by."""
    if mode == "inotifyd" and shutil.which("inotifyd") is None:
        Path("/usr/local/bin/inotifyd").symlink_to(program("toybox"))
    elif mode in {"inotifywait", "perl"}:
        program(mode)


def agent_processes(mode: str) -> list[int]:
    """Process ids of agents under this worker's sshd; tests of other workers have agents of their own beside them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                name = mode.removesuffix("3").encode()
                ours = name in words[0] and any(b"infrastructor-agent" in word for word in words[1:6])
                if ours and _under_sshd(int(entry.name)):
                    found.append(int(entry.name))
    return found


def _under_sshd(pid: int) -> bool:
    names = []
    while pid > 1 and pid != os.getpid():
        name, _, fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
        names.append(name)
        pid = int(fields.split()[1])
    return pid == os.getpid() and any("(sshd" in name for name in names)
