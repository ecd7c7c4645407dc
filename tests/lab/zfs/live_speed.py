"""How fast a snapshot gets from device to device, beside `zfs send | ssh | zfs receive` typed by hand in the same run.

Nothing is judged by the clock here: the figures are printed (`-rA` shows them), and `LAB_RESULTS=1` writes them into
benchmarks/RESULTS.md, beside their goals.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import pytest

from benchmarks import report
from benchmarks.goals import Goal, judge_all
from tests.lab.zfs.lab import Lab

MB = int(os.environ.get("LAB_SPEED_MB", "200"))
ROUNDS = int(os.environ.get("LAB_SPEED_ROUNDS", "5"))
_SSH = "ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
WAYS = {"server": "through this machine", "direct": "from device to device"}
GOALS = [
    Goal(
        title=f"bytes a second {how}, to by hand",
        figure=f"ours.{way}.mb_per_s",
        over=f"hand.{way}.mb_per_s",
        at_least=0.9,
    )
    for way, how in WAYS.items()
]


def describe(seconds: dict[str, list[float]], looking: list[float], size: int, version: str) -> str:
    """The figures as a part of RESULTS.md. `looking`: seconds of our calls in which no stream was under way."""
    speeds = {f"{name}.mb_per_s": [size / 1e6 / value for value in values] for name, values in seconds.items()}
    rows = [
        [
            f"{WAYS[way]}, {'Infrastructor' if who == 'ours' else 'by hand'}",
            f"{median(speeds[f'{who}.{way}.mb_per_s']):.2f}",
        ]
        for way in WAYS
        for who in ("hand", "ours")
    ]
    return "\n".join(
        [
            "## ZFS from device to device",
            "",
            f"`LAB_RESULTS=1 ./dev.sh lab zfs tests/lab/zfs/live_speed.py`, {datetime.now(UTC):%Y-%m-%d}: "
            f"{size / 1e6:.0f} MB, {ROUNDS} rounds, {version} in an emulated machine of two processors. By hand is "
            "`zfs send | ssh | zfs receive` over connections that are open already. Ours is the stream too, from the "
            f"opening of its sessions to the end of both programs; looking at both ends before and after it takes "
            f"{median(looking):.1f} s more.",
            "",
            report.verdict_table(judge_all(speeds, GOALS)),
            report.table(("way", "MB/s"), rows),
        ]
    )


async def by_hand(text: str) -> float:
    """Seconds that a pipeline in a shell of this machine takes."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    process = await asyncio.create_subprocess_exec("bash", "-o", "pipefail", "-c", text)
    assert await process.wait() == 0, text
    return loop.time() - started


@asynccontextmanager
async def logged_in(folder: Path, sockets: Path) -> AsyncIterator[dict[int, str]]:
    """How to reach both devices over connections that are open already, as ours are."""
    ways = {
        port: f"{_SSH} -i {folder}/key -p {port} -o ControlPath={sockets}/{port} root@127.0.0.1"
        for port in (2222, 2223)
    }
    for way in ways.values():
        await by_hand(f"{way.replace('ssh ', 'ssh -o ControlMaster=yes -o ControlPersist=3600 ', 1)} true")
    try:
        yield ways
    finally:
        for way in ways.values():
            await by_hand(f"{way.replace(' root@', ' -O exit root@', 1)} 2>/dev/null")


@pytest.mark.timeout(3600)
async def test_the_speed_beside_that_of_a_pipe_by_hand(lab: Lab, folder: Path, dataset: str, tmp_path: Path) -> None:
    await lab.sh(
        f"zfs create backup/speed; head -c {MB << 20} /dev/urandom >'/{dataset}/big'; zfs snapshot '{dataset}@s1'"
    )
    size = int((await lab.sh(f"zfs send -nvP -L -c -e '{dataset}@s1'")).split("size\t")[1])
    send, receive = f"zfs send -L -c -e '{dataset}@s1'", "zfs receive -s -u backup/speed/hand"
    seconds: dict[str, list[float]] = {f"{who}.{way}": [] for way in WAYS for who in ("hand", "ours")}
    looking: list[float] = []
    loop = asyncio.get_running_loop()

    async def clear() -> None:
        await lab.sh("zfs destroy -r backup/speed/hand; zfs destroy -r backup/speed/ours; zpool sync", fails=True)

    async def ours(**how: object) -> float:
        started = loop.time()
        sent = await lab.ask("zfs_snapshot_send", snapshot=f"{dataset}@s1", target="backup/speed/ours", **how)
        looking.append(loop.time() - started - sent.steps[0].duration_seconds)
        assert sent.verified
        assert [step.kind for step in sent.steps] == ["full"]
        return float(sent.steps[0].duration_seconds)

    async with logged_in(folder, tmp_path) as ways:
        inner = f"{_SSH} -p 2223 root@127.0.0.1 {receive}"
        direct = f'{ways[2222]} "{send} | {inner}"'
        through = f'{ways[2222]} "{send}" | {ways[2223]} "{receive}"'
        for _ in range(ROUNDS):
            for name, hand in (("server", through), ("direct", direct)):
                await clear()
                seconds[f"hand.{name}"].append(await by_hand(hand))
                await clear()
                seconds[f"ours.{name}"].append(await ours(target_device="vault", direct=name == "direct"))
    await lab.sh("zfs destroy -r backup/speed")

    text = describe(seconds, looking, size, (await lab.sh("zfs version")).splitlines()[-1])
    print(text)
    if os.environ.get("LAB_RESULTS") == "1":
        report.write_results("zfs_speed", text)
    assert all(len(values) == ROUNDS for values in seconds.values())
