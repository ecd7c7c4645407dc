"""How fast a snapshot gets from device to device, beside `zfs send | ssh | zfs receive` typed by hand in the same run.

Nothing is judged by the clock here: the figures are printed (`-rA` shows them) and written to the run's folder.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

import pytest

from tests.lab.zfs.lab import Lab

MB = int(os.environ.get("LAB_SPEED_MB", "200"))
ROUNDS = int(os.environ.get("LAB_SPEED_ROUNDS", "3"))
_SSH = "ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"


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
    seconds: dict[str, list[float]] = {
        name: [] for name in ("hand server", "ours server", "hand direct", "ours direct")
    }

    async def clear() -> None:
        await lab.sh("zfs destroy -r backup/speed/hand; zfs destroy -r backup/speed/ours; zpool sync", fails=True)

    async def ours(**how: object) -> float:
        sent = await lab.ask("zfs_snapshot_send", snapshot=f"{dataset}@s1", target="backup/speed/ours", **how)
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
                seconds[f"hand {name}"].append(await by_hand(hand))
                await clear()
                seconds[f"ours {name}"].append(await ours(target_device="vault", direct=name == "direct"))
    await lab.sh("zfs destroy -r backup/speed")

    figures: dict[str, object] = {"bytes": size, "seconds": seconds}
    for name in ("server", "direct"):
        hand, own = median(seconds[f"hand {name}"]), median(seconds[f"ours {name}"])
        figures[name] = {
            "hand_mb_per_second": round(size / hand / 1e6, 2),
            "ours_mb_per_second": round(size / own / 1e6, 2),
            "ratio": round(hand / own, 3),
        }
    print(json.dumps(figures, indent=1))
    (folder / "run" / "speed.json").write_text(json.dumps(figures, indent=1) + "\n")
    assert all(len(values) == ROUNDS for values in seconds.values())
