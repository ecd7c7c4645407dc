"""Pools of small files in the machine, and what zpool itself says of them."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from infrastructor.domains.zfs.models import PoolStatus, Vdev
from tests.lab.zfs.lab import Lab

FOLDER = "/var/tmp/vdevs"
MB = 1 << 20
_ROW = re.compile(r"^\t( *)(\S+)(?: +([A-Z]+)(?: +(\d+) +(\d+) +(\d+).*|.*))?$")
_HEADINGS = {"special", "dedup", "logs", "cache", "spares"}


@dataclass
class Told:
    """What the text of `zpool status` says: (depth, name, state, counters) a row, and its lines by heading."""

    rows: list[tuple[int, str, str, tuple[int, ...]]]
    lines: dict[str, str] = field(default_factory=dict)


def files(pool: str, count: int, first: int = 0) -> list[str]:
    return [f"{FOLDER}/{pool}{n}" for n in range(first, first + count)]


@asynccontextmanager
async def pool(
    lab: Lab, name: str, shape: str, *, mb: int = 128, count: int = 10, more: str = ""
) -> AsyncIterator[str]:
    """A pool of sparse files; `{0}`, `{1}` … in its shape are their paths."""
    paths = files(name, count)
    await gone(lab, name)
    await lab.sh(f"mkdir -p {FOLDER} && truncate -s {mb}M {' '.join(paths)}")
    try:
        await lab.sh(f"zpool create -f -O atime=off {more} {name} {shape.format(*paths)}")
        yield name
    finally:
        await gone(lab, name)


async def gone(lab: Lab, name: str) -> None:
    await lab.sh(f"zpool destroy -f {name} 2>/dev/null; rm -f {FOLDER}/{name}[0-9]*", fails=True)


async def told(lab: Lab, name: str) -> Told:
    """Read apart from the product: no name in these pools has a blank."""
    text = await lab.sh(f"TZ=UTC0 zpool status -P -p {name}")
    found, key = Told([]), ""
    for line in text.splitlines():
        if match := re.match(r" *([a-z]+): ?(.*)", line):
            key = match[1]
            found.lines[key] = match[2]
        elif key == "config" and (match := _ROW.match(line)):
            indent, word, state, *counts = match.groups()
            if word in _HEADINGS or word == "NAME":
                continue
            counted = tuple(int(count) for count in counts if count is not None)
            found.rows.append((len(indent) // 2, word, state, counted))
        else:
            found.lines[key] = found.lines.get(key, "") + "\n" + line.strip()
    return found


def counters(vdev: Vdev) -> tuple[int, ...]:
    values = (vdev.read_errors, vdev.write_errors, vdev.checksum_errors)
    return tuple(value for value in values if value is not None)


async def same_as_zpool(lab: Lab, name: str) -> PoolStatus:
    """Our answer, after it was held against the text of zpool status and the rows of zpool list -v."""
    answer: PoolStatus = await lab.ask("zfs_pool_status", pool=name, force_refresh=True)
    said = await told(lab, name)
    ours = [(vdev.depth, vdev.name, vdev.state, counters(vdev)) for vdev in answer.vdevs]
    assert ours == said.rows
    assert (answer.state, answer.total) == (said.lines["state"], len(said.rows))
    listed = await lab.sh(f"zpool list -v -H -p -P {name}")
    names = {line.split("\t")[1] for line in listed.splitlines() if line.startswith("\t")} - _HEADINGS
    assert {vdev.name for vdev in answer.vdevs[1:]} >= names - {"-"}
    assert (answer.message is None) == ("see" not in said.lines)
    row = next(one for one in (await lab.ask("zfs_pool_list", force_refresh=True)).pools if one.name == name)
    figures = (await lab.sh(f"zpool list -H -p -o health,size,allocated,capacity,guid {name}")).split()
    assert [row.state, str(row.size_bytes), str(row.capacity_percent), row.guid] == [figures[n] for n in (0, 1, 3, 4)]
    assert row.errors == sum(sum(counts) for *_, counts in said.rows)
    return answer


MARK = "to be spoiled. "
_SPOIL = """
import mmap, sys
mark, found = sys.argv[1].encode() * 8, 0
for path in sys.argv[2:]:
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as all:
        at = all.find(mark)
        while at >= 0:
            all[at : at + 4] = b"BAD!"
            at, found = all.find(mark, at + 65536), found + 1
print(found)
"""


def marked(path: str) -> str:
    """A command that writes a file which `spoil` finds, where nothing compresses it."""
    return f"yes '{MARK}' | tr -d '\\n' | head -c 3000000 >'{path}'; zpool sync"


async def spoil(lab: Lab, *paths: str) -> None:
    """Change what a file of these marks has on these vdevs, wherever it lies there."""
    found = await lab.sh(f"python3 - '{MARK}' {' '.join(paths)} <<'END'{_SPOIL}END\nsync")
    assert int(found) >= len(paths)
