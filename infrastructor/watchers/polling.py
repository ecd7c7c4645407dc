"""Watching by looking: a digest of everything now and then, or where a notifier says that something changed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath

from infrastructor.domains.configs.roots import Root, covered
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import CommandLine, CommandOutput, SSHClient
from infrastructor.watchers import polling_commands as commands
from infrastructor.watchers.agent_protocol import FileGone
from infrastructor.watchers.inotify import WatchOptions
from infrastructor.watchers.notifiers import Notifier, Wake
from infrastructor.watchers.view import View, as_shown, as_text

FETCHED = 40  # files in one command
FETCHED_BYTES = 4 << 20
TORN = 3  # times a file is read again that changed meanwhile
TORN_S = 0.1
LATER_S = 1.0  # a new folder is looked at again: its watch may have come late
COARSE_S = 2
COLLECTED = 1000  # folders to look at singly; more are looked at all together


class PollingMonitor:
    """Without a notifier it looks every `poll_s`; with one it does so as well, for what is not told."""

    def __init__(
        self, mode: str, device: Device, ssh: SSHClient, options: WatchOptions, notifier: Notifier | None = None
    ) -> None:
        self.mode = mode
        self._device = device
        self._ssh = ssh
        self._options = options
        self._notifier = notifier
        self._digest: str | None = None
        self._folders: frozenset[bytes] = frozenset()
        self._alone: list[str] = []
        self._coarse: set[bytes] = set()
        self._dirty: dict[bytes | None, bool] = {}
        self._news = asyncio.Event()
        self._anew = False
        self._follows_new = notifier is None or notifier.follows_new

    async def run(self, view: View) -> None:
        if self._notifier is None:
            await self._check_all(view)
            await self._go_on(view)
        while True:
            listing = await self._list(self._everything(view))
            self._folders = listing.folders
            tops, alone = _places(view.roots, listing)
            assert self._notifier is not None  # noqa: S101
            async with self._notifier.listen(tops, alone, listing.folders) as wakes:
                self._anew = False
                await self._check_all(view)
                reading = asyncio.create_task(self._read(wakes))
                looking = asyncio.create_task(self._go_on(view))
                try:
                    done, _ = await asyncio.wait({reading, looking}, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
                finally:
                    for task in (reading, looking):
                        task.cancel()
                    await asyncio.wait({reading, looking})
            if not self._anew:
                return

    async def _read(self, wakes: AsyncIterator[Wake]) -> None:
        async for wake in wakes:
            self._note(wake)

    def _note(self, wake: Wake) -> None:
        if wake.folder is None or len(self._dirty) > COLLECTED:
            self._dirty = {None: True}
        else:
            self._dirty[wake.folder] = self._dirty.get(wake.folder, False) or wake.deep
        self._anew = self._anew or wake.anew
        self._news.set()

    async def _go_on(self, view: View) -> None:
        options = self._options
        looked = asyncio.get_running_loop().time()
        while not self._anew:
            left = max(0.0, looked + options.poll_s - asyncio.get_running_loop().time())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._news.wait()
            if not self._news.is_set():
                await self._poll(view)
                looked = asyncio.get_running_loop().time()
                continue
            await asyncio.sleep(options.settle_s)
            self._news.clear()
            dirty, self._dirty = self._dirty, {}
            if None in dirty:
                view.lose("The kernel of the device lost events.")
                await self._check_all(view)
                continue
            await self._check(view, dirty)
            deep = [folder for folder, whole in dirty.items() if whole and folder is not None]
            if deep:
                asyncio.get_running_loop().call_later(LATER_S, self._again, deep)

    def _again(self, folders: Iterable[bytes]) -> None:
        for folder in folders:
            if folder in self._folders:
                self._dirty[folder] = False
                self._news.set()

    # --- looking -------------------------------------------------------------------------------------

    async def _poll(self, view: View) -> None:
        digest = commands.parse_digest(await self._run(commands.digest_line(self._everything(view), sudo=self._sudo)))
        view.hear()
        if digest != self._digest or self._coarse:
            await self._check_all(view)
            self._digest = digest
        view.state.compared = datetime.now(UTC)

    async def _check_all(self, view: View) -> None:
        listing = await self._list(self._everything(view))
        view.state.missing = tuple(as_shown(path) for path in listing.missing)
        view.state.folders = len(listing.folders)
        for path in [path for path in view.state.unreadable if path.endswith("/")]:
            del view.state.unreadable[path]
        for path in listing.denied:
            view.state.refuse(path + "/", "permission denied")
        if listing.folders - self._folders:
            self._anew = self._anew or not self._follows_new
        self._folders = listing.folders
        marks = self._wanted(view, listing.marks)
        view.state.files = len(marks)
        denied = tuple(path.encode() + b"/" for path in listing.denied)
        differing = [path for path in view.differing(marks) if path in marks or not path.startswith(denied)]
        await self._fetch(view, differing + [path for path in self._coarse if path in marks], marks)
        self._remember_coarse(listing, marks)
        await view.synchronize()
        view.state.become(self.mode, view.state.why)
        view.state.error = ""

    async def _check(self, view: View, dirty: dict[bytes | None, bool]) -> None:
        """The same of some folders."""
        scopes = [(0 if deep else 1, as_text(folder)) for folder, deep in dirty.items() if folder is not None]
        listing = await self._list(scopes)
        new = listing.folders - self._folders
        if new:
            self._folders |= new
            self._anew = self._anew or not self._follows_new
        marks = self._wanted(view, listing.marks)
        changed = [path for path, mark in marks.items() if view.marks.get(path) != mark or path in self._coarse]
        flat = {folder for folder, deep in dirty.items() if folder is not None}
        deep = tuple(folder + b"/" for folder, whole in dirty.items() if whole and folder is not None)
        gone = tuple(
            folder + b"/" for folder in self._folders if folder not in listing.folders and _parent(folder) in flat
        )
        lost = [
            path
            for path in view.marks
            if path not in marks and (_parent(path) in flat or path in flat or path.startswith(deep + gone))
        ]
        await self._fetch(view, changed + lost, marks)
        self._remember_coarse(listing, marks)
        view.hear()

    def _wanted(self, view: View, marks: dict[bytes, bytes]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        beyond = 0
        for path, mark in marks.items():
            if not covered(view.roots, as_text(path)):
                continue
            if len(found) >= self._options.max_files:
                beyond += 1
                continue
            found[path] = mark
        view.state.beyond = beyond
        return found

    def _remember_coarse(self, listing: commands.Listing, marks: dict[bytes, bytes]) -> None:
        """Where times have no fractions, a file changed just now may change again and look the same."""
        if not listing.coarse:
            self._coarse.clear()
            return
        newest = max((int(mark.split(b",")[3]) for mark in marks.values()), default=0)
        self._coarse = {
            path for path, mark in marks.items() if int(mark.split(b",")[3]) > newest - COARSE_S * 10**9
        } - self._coarse

    async def _fetch(self, view: View, paths: Sequence[bytes], marks: Mapping[bytes, bytes]) -> None:
        readable = [path for path in dict.fromkeys(paths) if b"\n" not in path and _decodes(path)]
        for path in set(paths) - set(readable):
            view.state.refuse(as_shown(path), "a name that cannot be asked for by commands")
        batch: list[bytes] = []
        size = 0
        for path in readable:
            batch.append(path)
            size += min(_size(marks.get(path)), self._options.max_file_bytes)
            if len(batch) == FETCHED or size > FETCHED_BYTES:
                await self._fetch_some(view, batch)
                batch, size = [], 0
        if batch:
            await self._fetch_some(view, batch)

    async def _fetch_some(self, view: View, paths: Sequence[bytes]) -> None:
        waiting = list(paths)
        for turn in range(TORN + 1):
            line = commands.fetch_line(waiting, self._options.max_file_bytes, sudo=self._sudo)
            found = commands.parse_contents(await self._run(line), waiting)
            again = []
            for message, same in found:
                settled = same and not (isinstance(message, FileGone) and turn == 0 and message.path in view.marks)
                if settled or turn == TORN:
                    await view.take(message)
                else:
                    again.append(message.path)
            if not again:
                return
            waiting = again
            await asyncio.sleep(self._options.gone_s if turn == 0 else TORN_S)

    def _everything(self, view: View) -> list[tuple[int, str]]:
        return [(0 if root.recursive else 1, root.path) for root in view.roots]

    @property
    def _sudo(self) -> bool:
        return self._options.sudo

    async def _list(self, scopes: Sequence[tuple[int, str]]) -> commands.Listing:
        return commands.parse_listing(await self._run(commands.list_line(scopes, sudo=self._sudo)))

    async def _run(self, line: CommandLine) -> CommandOutput:
        return await self._ssh.execute_command(self._device, line)


def _places(roots: Sequence[Root], listing: commands.Listing) -> tuple[list[str], list[str]]:
    """Folders to watch with all below, and such of which only single files are wanted."""
    there = {as_text(path) for path in listing.folders}
    tops = [root.path for root in roots if root.path in there and root.recursive]
    alone = [root.path for root in roots if root.path in there and not root.recursive]
    parents = [str(PurePosixPath(root.path).parent) for root in roots if root.path not in there]
    return tops, [path for path in dict.fromkeys([*alone, *parents]) if path not in tops]


def _parent(path: bytes) -> bytes:
    return path.rpartition(b"/")[0] or b"/"


def _size(mark: bytes | None) -> int:
    return int(mark.split(b",")[1]) if mark else 0


def _decodes(path: bytes) -> bool:
    try:
        path.decode()
    except UnicodeDecodeError:
        return False
    return True
