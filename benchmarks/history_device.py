"""What an agent costs the device it runs on: memory and CPU while nothing happens, and each look at the whole tree."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from infrastructor.domains.configs.roots import roots_of
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import Conversation
from infrastructor.settings import Settings
from infrastructor.snapshot_store import ConfigWatch
from infrastructor.ssh import AsyncSSHClient
from infrastructor.watchers import agent_protocol as protocol
from infrastructor.watchers.agent import PROGRAMS, agent_line
from infrastructor.watchers.inotify import WatchOptions
from tests.support.sshd import Sshd

FILES, FOLDERS = 10_000, 100
IDLE_S = 20
CHECKS = 20

Figures = dict[str, list[float]]


async def agents(folder: Path, sshd: Sshd) -> Figures:
    """Of the agent for each interpreter, with 10,000 files."""
    tree = folder / "agents"
    for number in range(FILES):
        path = tree / f"app{number % FOLDERS}" / f"{number}.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"option = {number}\n" * 20)
    figures: Figures = {}
    for interpreter in PROGRAMS:
        async with agent(interpreter, sshd, tree, WatchOptions()) as (talk, pid):
            await looked(talk)
            figures[f"agent.{interpreter}.rss_mb"] = [resident_kb(pid) / 1024]
            before, begun = cpu_s(pid), time.perf_counter()
            await asyncio.sleep(IDLE_S)
            share = (cpu_s(pid) - before) / (time.perf_counter() - begun)
            figures[f"agent.{interpreter}.cpu_percent"] = [share * 100]
        async with agent(interpreter, sshd, tree, WatchOptions(check_s=0.3)) as (talk, pid):
            await looked(talk)
            before, sizes = cpu_s(pid), [await looked(talk) for _ in range(CHECKS)]
            figures[f"agent.{interpreter}.check_ms"] = [(cpu_s(pid) - before) / CHECKS * 1000]
            figures[f"agent.{interpreter}.check_bytes"] = [float(max(sizes))]
    return figures


@asynccontextmanager
async def agent(
    interpreter: str, sshd: Sshd, tree: Path, options: WatchOptions
) -> AsyncIterator[tuple[Conversation, int]]:
    """A conversation with an agent that watches the tree, and its process."""
    device = sshd.device("agents")

    async def find(hostname: str) -> Device | None:
        return None

    ssh = AsyncSSHClient(Settings(), find)
    before = set(descendants(sshd))
    try:
        async with ssh.converse(device, agent_line(interpreter)) as talk:
            await anext(talk.lines)
            watch = ConfigWatch(device_id=device.id, path=str(tree), source="user")
            talk.send(protocol.begin(options.limits(), roots_of([watch])))
            (pid,) = [pid for pid in descendants(sshd) if pid not in before and name_of(pid) == interpreter]
            yield talk, pid
    finally:
        await ssh.close()


async def looked(talk: Conversation) -> int:
    """Wait for a look at the whole tree; the bytes of what it said of it."""
    async with asyncio.timeout(60):
        async for line in talk.lines:
            if line.startswith(b"T "):
                return len(line) + 1
    raise RuntimeError("The agent ended.")


# --- processes ---------------------------------------------------------------------------------------


def descendants(sshd: Sshd) -> list[int]:
    found, todo = [], sshd.sessions()
    while todo:
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{todo.pop()}/task").glob("*/children"):
                pids = [int(pid) for pid in children.read_text().split()]
                found += pids
                todo += pids
    return list(dict.fromkeys(found))


def name_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def resident_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def cpu_s(pid: int) -> float:
    """Its CPU time, with that of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
