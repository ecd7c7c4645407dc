"""Random changes while connections and agents are killed: in the end the store and the folder are the same.

`WATCH_OPERATIONS` sets how many; 1,000 by default.
"""

import asyncio
import os
import random
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from infrastructor.snapshot_store import Change
from tests.integration.watchers.conftest import REMOTE, Watch, Watched, agent_processes
from tests.support.sshd import Sshd
from tests.support.wait import until

OPERATIONS = int(os.environ.get("WATCH_OPERATIONS", "1000"))
KILL_EVERY_S = 1.5
pytestmark = [pytest.mark.xdist_group("file_watchers"), pytest.mark.timeout(120 + OPERATIONS // 5)]


@pytest.mark.parametrize("mode", REMOTE)
async def test_final_states_are_never_wrong(mode: str, watch: Watch, sshd: Sshd) -> None:
    watched = watch(mode, check_s=5.0)
    chance = random.Random(f"{mode} 7")
    async with watched.watching() as watcher:
        changing = asyncio.create_task(change_at_random(watched.root, chance))
        kills = await kill_until(changing, watched, sshd, chance)
        await until(lambda: watcher.state.mode == mode, 30)
        await until(lambda: watched.stored() == watched.real(), 30)
        await asyncio.sleep(1.0)
        assert watched.stored() == watched.real()
    assert kills >= 1
    assert phantoms(watched) == []


async def kill_until(changing: "asyncio.Task[None]", watched: Watched, sshd: Sshd, chance: random.Random) -> int:
    kills = 0
    while not changing.done():
        await asyncio.wait({changing}, timeout=KILL_EVERY_S * chance.uniform(0.5, 1.5))
        agents = agent_processes(watched.mode)
        if agents and chance.random() < 0.3:
            os.kill(agents[0], 9)
            kills += 1
        elif sshd.kill_sessions():
            kills += 1
    await changing
    return kills


def phantoms(watched: Watched) -> list[str]:
    """Files with two versions in a row that are the same, or that begin or end as none can."""
    wrong = []
    by_path: dict[str, list] = {}
    for one in watched.store.kept:
        by_path.setdefault(one.path, []).append(one)
    for path, versions in by_path.items():
        if versions[0].change is not Change.CREATE:
            wrong.append(f"{path} begins with {versions[0].change}")
        for before, after in pairwise(versions):
            same = (before.content_hash, before.mode, before.uid, before.gid, before.target, before.holding)
            if same == (after.content_hash, after.mode, after.uid, after.gid, after.target, after.holding):
                wrong.append(f"{path} has {before.change}, {after.change}")
            if (before.change is Change.DELETE) is not (after.change is Change.CREATE):
                wrong.append(f"{path} has {before.change}, {after.change}")
    return wrong


async def change_at_random(root: Path, chance: random.Random) -> None:
    for number in range(OPERATIONS):
        one_change(root, number, chance)
        if number % 10 == 0:
            await asyncio.sleep(chance.uniform(0.0, 0.12))


def one_change(root: Path, number: int, chance: random.Random) -> None:
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    files = [path for path in root.rglob("*") if path.is_file()]
    body = f"{number} {'x' * chance.randrange(200)}\n"
    kind = chance.choice(
        ["write", "write", "new", "two", "over", "delete", "folder", "rename", "remove", "mode", "move"]
    )
    if not files or kind == "new":
        (chance.choice(folders) / f"f{number}").write_text(body)
    elif kind == "write":
        chance.choice(files).write_text(body)
    elif kind == "two":
        with chance.choice(files).open("w") as file:
            file.write(body)
            file.flush()
            file.write(body)
    elif kind == "over":
        target = chance.choice(files)
        temporary = target.with_name(f".tmp{number}")
        temporary.write_text(body)
        temporary.replace(target)
    elif kind == "delete":
        chance.choice(files).unlink()
    elif kind == "folder":
        folder = chance.choice(folders) / f"d{number}" / "e"
        folder.mkdir(parents=True)
        (folder / "file").write_text(body)
    elif kind == "rename" and len(folders) > 1:
        chosen = chance.choice(folders[1:])
        chosen.rename(chosen.with_name(f"r{number}"))
    elif kind == "remove" and len(folders) > 12:
        shutil.rmtree(chance.choice(folders[1:]))
    elif kind == "mode":
        chance.choice(files).chmod(chance.choice([0o600, 0o640, 0o644]))
    elif kind == "move":
        chance.choice(files).rename(chance.choice(folders) / f"m{number}")
