"""`python -m benchmarks.history`: from a change on a device to its stored version, beside what else notices changes.

Needs root, an OpenSSH server, inotify-tools and git. The whole application runs in this process, with PostgreSQL and
Valkey of its own; the devices are one sshd on loopback. A change counts as stored when its event comes out of the
event bus, which is after its version is durable. `--upheaval 100000` adds random work on a tree while connection,
agent, server and database are killed, in half an hour.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from uuid import UUID

import asyncssh
import watchfiles

from benchmarks import report
from benchmarks.goals import Goal, judge_all
from benchmarks.history_device import FILES, agents, descendants, name_of
from infrastructor.app import Application, open_application
from infrastructor.ports.callers import Caller, Interface, Role
from infrastructor.ports.devices import Device
from infrastructor.settings import Settings
from infrastructor.snapshot_store import ConfigWatch, Snapshot, Version
from infrastructor.ssh import AsyncSSHClient
from infrastructor.watchers.agent import PROGRAMS
from infrastructor.watchers.files import RemoteFileWatcher
from infrastructor.watchers.inotify import WatchOptions
from infrastructor.watchers.ways import ways_of
from tests.fake_snapshots import FakeSnapshots
from tests.support.programs import program
from tests.support.sshd import Sshd

US = Caller(principal="benchmark", role=Role.ADMIN, interface=Interface.CLI)
OFF = {
    "metrics_interval_s": 0,
    "containers_interval_s": 0,
    "drives_interval_s": 0,
    "watch_containers": False,
    "discover_configs": False,
}
FLEET, SECONDS = 100, 20
TREE = 10_000
POLL_S = 2.0
KILLS = 300  # of an upheaval of 100,000; of those that find nothing to kill, none is counted
GOALS = (
    Goal(title="change → stored version, p50", figure="change.ours.p50_ms", at_most=60, unit=" ms"),
    Goal(title="change → stored version, p99", figure="change.ours.p99_ms", at_most=250, unit=" ms"),
    Goal(title=f"{FLEET} devices × 1 change/s, p99", figure="fleet.ours.p99_ms", at_most=1000, unit=" ms"),
    Goal(title="stored after a reconnect", figure="reconnect.ours.p99_ms", at_most=2000, unit=" ms"),
    Goal(title="polling every 2 s, p99", figure="polling.ours.p99_ms", at_most=3000, unit=" ms"),
    Goal(title=f"stored of {TREE} files in brand-new folders", figure="storm.ours.stored", at_least=TREE),
    Goal(title=f"{TREE} files converge after an overflow", figure="overflow.ours.seconds", at_most=5, unit=" s"),
    Goal(title="stored of them", figure="overflow.ours.stored", at_least=TREE),
    *(
        Goal(title=f"{interpreter}, {FILES} files: {title}", figure=f"agent.{interpreter}.{figure}", **limit)
        for interpreter in PROGRAMS
        for title, figure, limit in (
            ("memory", "rss_mb", {"at_most": 15, "unit": " MB"}),
            ("share of a CPU, idle", "cpu_percent", {"at_most": 0.05, "unit": " %"}),
            ("CPU of a whole-tree check", "check_ms", {"at_most": 60, "unit": " ms"}),
            ("bytes of a whole-tree check", "check_bytes", {"at_most": 100}),
        )
    ),
    Goal(title="upheaval: operations", figure="upheaval.ours.operations", at_least=100_000),
    Goal(title="upheaval: kills", figure="upheaval.ours.kills", at_least=200),
    Goal(title="upheaval: final states wrong, missing or ghost", figure="upheaval.ours.bad", at_most=0),
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=400, help="changes measured one after the other")
    parser.add_argument("--upheaval", type=int, default=0, metavar="N", help="as many operations among kills")
    parser.add_argument("--results", action="store_true", help="write the tables into RESULTS.md")
    options = parser.parse_args(arguments)
    if os.geteuid() != 0:
        parser.error("this needs root, for an sshd of its own")
    folder = Path(tempfile.mkdtemp(prefix="infrastructor-bench-"))
    folder.chmod(0o755)
    try:
        figures = asyncio.run(measure(folder, options.changes))
        if options.upheaval:
            figures |= upheaval(folder / "upheaval", options.upheaval)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = describe(figures, options)
    print(text)
    if options.results:
        report.write_results("history", text)
    return 0


Figures = dict[str, list[float]]


async def measure(folder: Path, changes: int) -> Figures:
    figures: Figures = {}
    for name in ("sshd", "home"):
        (folder / name).mkdir()
    # An empty home: what the .bashrc of this machine does at a hundred logins at once is not ours to measure.
    options = f"MaxStartups 500:30:1000\nMaxSessions 100\nSetEnv HOME={folder / 'home'}"
    sshd = Sshd(folder / "sshd", options=options).start()
    try:
        async with serving(folder / "one") as application:
            device = sshd.device("one")
            stored = await watched(application, [(device, folder / "tree")])
            times = await one_by_one(folder / "tree", changes, stored.wait)
            note(figures, "change.ours", times)
            note(figures, "reconnect.ours", await reconnects(folder / "tree", sshd, stored))
            figures["storm.ours.stored"] = [await storm(folder / "tree", stored)]
            await stored.close()
        async with serving(folder / "two") as application:
            stored = await watched(application, [(sshd.device("two"), folder / "flood")])
            figures |= await overflow(folder / "flood", sshd, stored)
            await stored.close()
        figures |= await agents(folder, sshd)
        note(figures, "change.inotifywait", await by_inotifywait(folder / "peer", sshd, changes))
        note(figures, "change.watchfiles", await by_watchfiles(folder / "local", changes))
        note(figures, "change.git", await by_git(folder / "git", min(changes, 100)))
        note(figures, "polling.ours", await by_polling(folder / "polled", sshd.device("poll")))
        async with serving(folder / "many") as application:
            trees = [(sshd.device(f"d{number:03}"), folder / f"d{number:03}") for number in range(FLEET)]
            stored = await watched(application, trees)
            note(figures, "fleet.ours", await all_at_once([tree for _, tree in trees], stored))
            await stored.close()
    finally:
        sshd.stop()
    return figures


def note(figures: Figures, name: str, times: Sequence[float]) -> None:
    ordered = sorted(times)
    figures[f"{name}.p50_ms"] = [median(ordered)]
    figures[f"{name}.p99_ms"] = [ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]]
    figures[f"{name}.max_ms"] = [ordered[-1]]


@asynccontextmanager
async def serving(data_dir: Path, **settings: object) -> AsyncIterator[Application]:
    """A server that collects, with stores of its own."""
    async with AsyncExitStack() as stack:
        application = await stack.enter_async_context(
            open_application(Settings(data_dir=data_dir, **{**OFF, **settings}))
        )
        assert application.collect is not None
        collecting = asyncio.ensure_future(application.collect())
        try:
            yield application
        finally:
            collecting.cancel()
            await asyncio.wait({collecting})


class Stored:
    """Which paths' versions came out of the event bus, and when."""

    def __init__(self, application: Application) -> None:
        self.times: dict[str, float] = {}
        self._news = asyncio.Condition()
        self._task = asyncio.ensure_future(self._listen(application))

    async def _listen(self, application: Application) -> None:
        async with application.service.events.subscribe("configs") as events:
            async for event in events:
                async with self._news:
                    self.times[event.subject or ""] = time.perf_counter()
                    self._news.notify_all()

    async def wait(self, path: Path, since: float) -> float:
        """Milliseconds until a version of the file was stored."""
        async with asyncio.timeout(60), self._news:
            await self._news.wait_for(lambda: self.times.get(str(path), 0.0) > since)
        return (self.times[str(path)] - since) * 1000

    async def all(self, paths: Sequence[Path], timeout_s: float) -> None:
        async with asyncio.timeout(timeout_s), self._news:
            await self._news.wait_for(lambda: all(str(path) in self.times for path in paths))

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})


async def watched(application: Application, trees: Sequence[tuple[Device, Path]]) -> Stored:
    """Register devices, watch a tree on each, and wait until a first file of each is stored."""
    stored = Stored(application)
    for device, tree in trees:
        tree.mkdir()
        (tree / "first.conf").write_text("first\n")
        await application.service.devices.add(device)
        operation = application.service.operation("config_watch_add")
        await application.service.submit(operation, {"device": device.hostname, "path": str(tree)}, US)
    # A hundred logins and agents on the machine that also measures take their time.
    await stored.all([tree / "first.conf" for _, tree in trees], 300.0)
    return stored


async def one_by_one(tree: Path, changes: int, wait: Callable[[Path, float], Awaitable[float]]) -> list[float]:
    """Every other change by renaming over, as editors do; each waits for the one before. No file changes fast."""
    times = []
    for number in range(changes):
        path = tree / f"{number % 60}.conf"
        started = time.perf_counter()
        write(path, number)
        times.append(await wait(path, started))
        await asyncio.sleep(0.01)
    return times


def make(tree: Path) -> None:
    tree.mkdir()


def write(path: Path, number: int) -> None:
    text = f"option = {number}\n" * 20
    if number % 2:
        path.write_text(text)
    else:
        path.with_name(f".{path.name}.swp").write_text(text)
        path.with_name(f".{path.name}.swp").rename(path)


async def all_at_once(trees: Sequence[Path], stored: Stored) -> list[float]:
    """Each device one change a second, at moments of its own."""

    async def one(tree: Path, offset: float) -> list[float]:
        await asyncio.sleep(offset)
        times = []
        for number in range(SECONDS):
            started = time.perf_counter()
            write(tree / "app.conf", number)
            times.append(await stored.wait(tree / "app.conf", started))
            await asyncio.sleep(max(0.0, 1.0 - (time.perf_counter() - started)))
        return times

    found = await asyncio.gather(*(one(tree, at / len(trees)) for at, tree in enumerate(trees)))
    return [each for times in found for each in times]


async def reconnects(tree: Path, sshd: Sshd, stored: Stored) -> list[float]:
    """The connection is killed, then a file is changed: from the change until it is stored."""
    times = []
    for number in range(10):
        sshd.kill_sessions()
        started = time.perf_counter()
        write(tree / "after.conf", 2 * number + 1)
        times.append(await stored.wait(tree / "after.conf", started))
        await asyncio.sleep(1.0)
    return times


async def storm(tree: Path, stored: Stored) -> float:
    """Files written into folders that did not exist a moment ago; how many of them were stored."""

    def work() -> list[Path]:
        paths = []
        for number in range(TREE):
            folder = tree / f"n{number // 10}" / f"m{number % 10}"
            folder.mkdir(parents=True)
            (folder / "x.conf").write_text(f"{number}\n")
            paths.append(folder / "x.conf")
        return paths

    paths = await asyncio.to_thread(work)
    with contextlib.suppress(TimeoutError):
        await stored.all(paths, 60.0)
    return sum(str(path) in stored.times for path in paths)


async def overflow(tree: Path, sshd: Sshd, stored: Stored) -> Figures:
    """The agent stands still while more happens than the kernel keeps for it; from its going on until all is stored."""
    (pid,) = [pid for pid in descendants(sshd) if name_of(pid) in PROGRAMS]
    paths = [tree / f"{number}.conf" for number in range(TREE)]

    def work() -> None:
        for path in paths:
            path.write_text(f"{path.name}\n")

    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.to_thread(work)
    finally:
        os.kill(pid, signal.SIGCONT)
    started = time.perf_counter()
    with contextlib.suppress(TimeoutError):
        await stored.all(paths, 60.0)
    seconds = time.perf_counter() - started
    return {
        "overflow.ours.seconds": [seconds],
        "overflow.ours.stored": [float(sum(str(path) in stored.times for path in paths))],
    }


def upheaval(folder: Path, operations: int) -> Figures:
    """See `tests.support.upheaval`, which this runs."""
    folder.mkdir()
    command = [sys.executable, "-m", "tests.support.upheaval", "--data-dir", str(folder)]
    kills = max(1, round(KILLS * operations / 100_000))
    done = subprocess.run(
        [*command, "--operations", str(operations), "--kills", str(kills)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    print(done.stdout)
    found = json.loads(done.stdout.splitlines()[-1])
    bad = sum(found[name] for name in ("wrong", "missing", "ghosts", "phantoms", "contents_lost"))
    return {
        "upheaval.ours.operations": [float(found["operations"])],
        "upheaval.ours.kills": [float(sum(found["kills"].values()))],
        "upheaval.ours.bad": [float(bad)],
    }


class Times(FakeSnapshots):
    """A store that notes when what was handed to it."""

    def __init__(self) -> None:
        super().__init__()
        self.times: dict[str, float] = {}

    async def add(self, device_id: UUID, versions: Sequence[Version]) -> Sequence[Snapshot]:
        kept = await super().add(device_id, versions)
        self.times |= dict.fromkeys((one.path for one in kept), time.perf_counter())
        return kept


async def by_polling(tree: Path, device: Device) -> list[float]:
    """Where a device has nothing but a shell: looked at every two seconds. The store is one in memory."""
    make(tree)
    store, options = Times(), WatchOptions(poll_s=POLL_S)

    async def find(hostname: str) -> Device | None:
        return None

    async def wait(path: Path, since: float) -> float:
        async with asyncio.timeout(30):
            while store.times.get(str(path), 0.0) < since:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        return (store.times[str(path)] - since) * 1000

    ssh = AsyncSSHClient(Settings(), find)
    watcher = RemoteFileWatcher(
        device,
        ssh=ssh,
        store=store,
        watches=[ConfigWatch(device_id=device.id, path=str(tree), source="user")],
        options=options,
        connecting=asyncio.Semaphore(4),
        ways=lambda device, found: [way for way in ways_of(device, found) if way.name == "polling"],
    )
    running = asyncio.ensure_future(watcher.run())
    try:
        await asyncio.sleep(2 * POLL_S)
        return await one_by_one(tree, 10, wait)
    finally:
        running.cancel()
        await asyncio.wait({running})
        await ssh.close()


# --- peers -------------------------------------------------------------------------------------------


async def by_inotifywait(tree: Path, sshd: Sshd, changes: int) -> list[float]:
    """`inotifywait -m -r` over ssh: until its line is here. It has no content, and stores nothing."""
    make(tree)
    program("inotifywait")
    async with asyncssh.connect(
        "127.0.0.1", sshd.port, username="root", client_keys=[str(sshd.login_key)], known_hosts=None, config=None
    ) as connection:
        command = f"echo $$; exec inotifywait -m -r -q -e close_write,moved_to --format '%w%f' {tree}"
        process = await connection.create_process(command)
        pid = int(await process.stdout.readline())
        await asyncio.sleep(1.0)

        async def wait(path: Path, since: float) -> float:
            async with asyncio.timeout(10):
                while (await process.stdout.readline()).strip() != str(path):
                    pass
            return (time.perf_counter() - since) * 1000

        times = await one_by_one(tree, changes, wait)
        os.kill(pid, signal.SIGTERM)  # it is on this machine, and sshd passes no signals on
        await process.wait()
    return times


async def by_watchfiles(tree: Path, changes: int) -> list[float]:
    """`watchfiles` with its defaults, on this machine: until it tells. No content, no store."""
    make(tree)
    stop = asyncio.Event()
    watching = watchfiles.awatch(tree, stop_event=stop)

    async def wait(path: Path, since: float) -> float:
        async with asyncio.timeout(10):
            async for told in watching:
                if any(changed == str(path) for _, changed in told):
                    break
        return (time.perf_counter() - since) * 1000

    asyncio.get_running_loop().call_later(0.5, lambda: None)
    first = asyncio.ensure_future(anext(watching))
    await asyncio.sleep(0.5)
    (tree / "begin.conf").write_text("x")
    await first
    times = await one_by_one(tree, min(changes, 50), wait)
    stop.set()
    with contextlib.suppress(StopAsyncIteration):
        await anext(watching)
    return times


async def by_git(tree: Path, changes: int) -> list[float]:
    """A repository as etckeeper keeps one, committed at each change: only the commit, without noticing."""
    make(tree)
    git = ["git", "-C", str(tree), "-c", "user.name=b", "-c", "user.email=b@b", "-c", "commit.gpgsign=false"]
    await asyncio.to_thread(subprocess.run, [*git, "init", "-q"], check=True)

    async def wait(path: Path, since: float) -> float:
        for arguments in (["add", "-A"], ["commit", "-q", "-m", path.name]):
            done = await asyncio.create_subprocess_exec(*git, *arguments)
            await done.wait()
        return (time.perf_counter() - since) * 1000

    return await one_by_one(tree, changes, wait)


# --- report ------------------------------------------------------------------------------------------


def describe(figures: Figures, options: argparse.Namespace) -> str:
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    rows = []
    for client, title in (
        ("ours", "ours: content stored, durable and told"),
        ("inotifywait", "`inotifywait -m -r` over ssh: its line"),
        ("watchfiles", "`watchfiles`, defaults, locally: its line"),
        ("git", "`git add -A && git commit`: the commit alone"),
    ):
        times = [figures[f"change.{client}.{figure}_ms"][0] for figure in ("p50", "p99", "max")]
        rows.append([title, *(f"{value:.3g}" for value in times)])
    return "\n\n".join(
        [
            "## Configuration history",
            f"`python -m benchmarks.history --results`, {options.changes} changes one after the other, {made}.",
            report.verdict_table(judge_all(figures, GOALS)),
            report.table(("change → …", "p50 ms", "p99 ms", "max ms"), rows),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
