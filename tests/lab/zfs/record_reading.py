"""Record what the reading commands of ZFS print on the lab machine.

`python -m tests.lab.zfs.record_reading FOLDER MACHINE [STEP…]`: pools of disks and files are made and brought into
every state that `zpool status` tells apart; in each its text, and from OpenZFS 2.3 on its JSON, is kept below
`tests/fixtures/zfs`. What runs is held by the module's own settings, so that both forms are of the same moment. The
pools that were there are destroyed, and at the end a disk is torn off: the machine has to be started anew. Afterwards
keep what says something new, and remove the rest.
"""

import asyncio
import re
import sys
from pathlib import Path

from infrastructor.domains.zfs.arc_operations import ReadArc, SampleArc
from infrastructor.domains.zfs.commands import ExamineZfs, ListPools, ListPoolsJson, ReadPoolStatus, ReadPoolStatusJson
from infrastructor.domains.zfs.dataset_commands import (
    DiffSnapshots,
    GetProperties,
    GetPropertiesJson,
    ListDatasets,
    ListSnapshots,
)
from infrastructor.domains.zfs.event_operations import ReadEvents
from infrastructor.domains.zfs.fact_commands import FindDisks, GetPoolProperties, GetSettings, ReadCounters, ReadWaits
from infrastructor.domains.zfs.usage_operations import ReckonReclaim
from tests.lab.zfs.lab import opened
from tests.lab.zfs.record import FIXTURES, Recorder

PLAIN = "/dev/disk/by-id/virtio-lab-vdev"
NVME = "/dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_lab-vdev4"
MODULE = "/sys/module/zfs/parameters"


class Stage(Recorder):
    """Brings pools into a state, and keeps what is printed of them."""

    version = (0, 0)
    third = ""
    """The disk that is one of SATA where the kernel knows that."""

    @property
    def json(self) -> bool:
        return self.version >= (2, 3)

    async def begin(self) -> None:
        major, minor = re.findall(r"\d+", await self.lab.sh("zfs version"))[:2]
        self.version = (int(major), int(minor))
        self.third = (
            await self.lab.sh(
                "ls /dev/disk/by-id/*HARDDISK_lab-vdev3 /dev/disk/by-id/nvme*Ctrl_lab-vdev3 2>/dev/null", fails=True
            )
        ).strip()
        await self.lab.sh(
            "for pool in $(zpool list -H -o name); do zpool destroy -f $pool; done; mkdir -p /v && rm -f /v/* && "
            "cd /v && truncate -s 256M s1 s2 e1 e2 l1 c1 two r1 r2 r3 r4 r5 d1 d2 d3 d4 d5 a1 a2 x1 x2 x3 x4 y1 y2 y3"
        )

    async def sh(self, *steps: str) -> None:
        for step in steps:
            await self.lab.sh(step)

    async def hold(self, name: str, value: int) -> None:
        """Set a parameter of the module, e.g. one that keeps a scrub where it is."""
        await self.lab.sh(f"echo {value} >{MODULE}/{name}")

    async def status(self, pool: str, case: str, *, files: bool = True) -> None:
        await self.keep(ReadPoolStatus(pool=pool, files=files), case)
        if self.json:
            await self.keep(ReadPoolStatusJson(pool=pool, files=files), case)


async def classes(on: Stage) -> None:
    """A pool with a vdev of every class on disks of three kinds, in health."""
    await on.sh(
        f"zpool create -f -O atime=off tank mirror {on.third} {NVME} special mirror /v/s1 /v/s2 "
        f"dedup mirror /v/e1 /v/e2 log /v/l1 cache /v/c1 spare {PLAIN}1",
        "zfs create -o compression=off tank/data; zfs create -o recordsize=1M tank/media; zfs create -V 64M tank/vol",
        "zfs create -o quota=50M -o infrastructor:replication-max-age=26h 'tank/with space'",
        "echo password | zfs create -o encryption=on -o keyformat=passphrase tank/enc",
        "cd /tank/data; mkdir dir; head -c 5000000 /dev/urandom >dir/a; echo 1 >old",
        "head -c 30000000 /dev/urandom >/tank/data/big",
        "zfs snapshot -r tank@s1",
        "cd /tank/data; mv dir/a dir/b; rm old; echo x >'new file'; echo x >ü; zfs snapshot -r 'tank@s 2'; sync",
        "zfs clone 'tank/data@s 2' tank/cl; zpool sync",
    )
    await on.status("tank", "tank")


async def lists(on: Stage) -> None:
    """What there is to ask of healthy pools, and of a machine."""
    await on.keep(ListPools())
    await on.keep(ListDatasets())
    await on.keep(ListSnapshots())
    await on.keep(GetProperties("tank/data"))
    if on.json:
        await on.keep(ListPoolsJson())
        await on.keep(GetPropertiesJson("tank/data"))
    await on.keep(GetSettings())
    await on.keep(GetPoolProperties())
    await on.keep(DiffSnapshots("tank/data@s1", "tank/data@s 2"))
    await on.keep(ReckonReclaim(spans="tank/data@s1"))
    await on.keep(ReckonReclaim(spans="tank/data@s1%s 2"), "cloned")
    await on.keep(ExamineZfs())
    await on.keep(ExamineZfs("tank/none"), "absent")
    await on.keep(FindDisks((f"{on.third}-part1", f"{NVME}-part1", f"{PLAIN}1-part1", "/dev/nowhere")))
    await on.keep(ReadWaits())
    await on.keep(ReadCounters())
    await on.keep(ReadArc())
    await on.keep(SampleArc(0.5))


async def scrubs(on: Stage) -> None:
    """A scrub held, paused and over; a mirror that was damaged, trimmed, and lost a side to its spare."""
    await on.sh("zpool trim -w tank")
    await on.hold("zfs_scan_suspend_progress", 1)
    await on.sh("zpool scrub tank; sleep 2")
    await on.status("tank", "scrubbing")
    await on.hold("zfs_scan_suspend_progress", 0)
    await on.sh(
        "zpool wait -t scrub tank", f"dd if=/dev/urandom of={on.third}-part1 bs=1M seek=8 count=200 status=none"
    )
    await on.sh("zpool scrub -w tank")
    await on.status("tank", "cksum")
    await on.sh(
        "zpool clear tank", f"zpool replace -w tank {NVME}-part1 {PLAIN}1-part1; zpool offline tank {on.third}-part1"
    )
    await on.status("tank", "degraded")
    await on.sh(f"zpool online tank {on.third}-part1; zpool wait -t resilver tank; zpool detach tank {PLAIN}1-part1")


async def damaged(on: Stage) -> None:
    """Files that are lost, and a scrub of the errors alone."""
    await on.sh(
        "zpool create hurt /v/two; head -c 40000000 /dev/urandom >/hurt/big; zfs snapshot hurt@s; zpool sync hurt",
        "dd if=/dev/urandom of=/v/two bs=1M seek=10 count=20 conv=notrunc status=none; zpool scrub -w hurt",
    )
    await on.status("hurt", "damaged")
    await on.status("hurt", "damaged-plain", files=False)
    if on.version >= (2, 2):
        await on.sh("zpool scrub -e -w hurt")
        await on.status("hurt", "error-scrubbed")
    await on.sh("zpool destroy hurt")


async def raids(on: Stage) -> None:
    """raidz2 with two disks missing, one being replaced; draid with its spare in use; a mirror rebuilt."""
    await on.sh(
        "zpool create wide raidz2 /v/r1 /v/r2 /v/r3 /v/r4; head -c 30000000 /dev/urandom >/wide/f; zpool sync wide",
        "zpool offline wide /v/r3; zpool export wide; rm /v/r4; zpool import -d /v wide",
    )
    await on.status("wide", "missing")
    await on.hold("zfs_scan_suspend_progress", 1)
    await on.sh("zpool replace wide /v/r4 /v/r5; sleep 3")
    await on.status("wide", "replaced")
    await on.hold("zfs_scan_suspend_progress", 0)
    await on.sh("zpool wait -t resilver wide", "zpool create dr draid1:2d:5c:1s /v/d1 /v/d2 /v/d3 /v/d4 /v/d5")
    await on.status("dr", "draid")
    await on.sh(
        # zed puts the spare in its place.
        "head -c 20000000 /dev/urandom >/dr/f; zpool offline -f dr /v/d2",
        "for try in $(seq 60); do zpool status dr | grep -q INUSE && break; sleep 1; done",
        "zpool wait -t resilver,scrub dr",
    )
    await on.status("dr", "draid-spare")
    await on.sh("zpool create seq mirror /v/y1 /v/y2; head -c 30000000 /dev/urandom >/seq/f")
    await on.sh("zpool replace -s -w seq /v/y2 /v/y3; zpool wait -t scrub seq")
    await on.status("seq", "rebuilt")
    await on.sh("zpool destroy seq; zpool destroy dr")


async def moves(on: Stage) -> None:
    """A vdev being evacuated and gone; a checkpoint; a raidz that grows by a disk."""
    await on.sh("zpool create gone /v/a1 /v/a2; head -c 30000000 /dev/urandom >/gone/f; zpool sync gone")
    await on.hold("zfs_removal_suspend_progress", 1)
    await on.sh("zpool remove gone /v/a1; sleep 2")
    await on.status("gone", "evacuating")
    await on.hold("zfs_removal_suspend_progress", 0)
    await on.sh("zpool wait -t remove gone; zpool checkpoint gone")
    await on.status("gone", "removal")
    await on.sh("zpool destroy gone")
    if on.version < (2, 3):
        return
    await on.sh("zpool create exp raidz1 /v/x1 /v/x2 /v/x3; head -c 60000000 /dev/urandom >/exp/f; zpool sync exp")
    await on.hold("raidz_expand_max_reflow_bytes", 20_000_000)
    await on.sh("zpool attach exp raidz1-0 /v/x4; sleep 20")
    await on.status("exp", "expanding")
    await on.hold("raidz_expand_max_reflow_bytes", 0)
    await on.sh("zpool wait -t raidz_expand,scrub exp")
    await on.status("exp", "expanded")
    await on.sh("zpool destroy exp")


async def events(on: Stage) -> None:
    """The last two events of each class."""
    await on.keep(ReadEvents(), "cut")
    out = FIXTURES / "ReadEvents" / f"{on.machine}-cut.out"
    blocks = [block for block in out.read_text().split("\n\n") if block.strip()]
    classes = [re.sub(r"\A.*\t", "", block.splitlines()[0]) for block in blocks]
    kept = [block for n, block in enumerate(blocks) if classes[n + 1 :].count(classes[n]) < 2]
    out.write_text("\n\n".join(kept) + "\n\n")


async def suspended(on: Stage) -> None:
    """A pool whose only disk was pulled out."""
    await on.sh(
        f"zpool create -f solo {PLAIN}2; head -c 3000000 /dev/urandom >/solo/f; zpool sync solo",
        f"d=$(basename $(readlink -f /sys/block/$(basename $(readlink -f {PLAIN}2))/device)); "
        "echo $d >/sys/bus/virtio/drivers/virtio_blk/unbind; "
        "(head -c 3000000 /dev/urandom >/solo/g; zpool sync solo) >/dev/null 2>&1 </dev/null & sleep 20",
    )
    await on.status("solo", "suspended", files=False)
    await on.keep(ListPools(), "suspended")
    await on.keep(ExamineZfs("solo"), "suspended")


STEPS = (classes, lists, scrubs, damaged, raids, moves, events, suspended)


async def main(folder: Path, machine: str, *only: str) -> None:
    async with opened(folder) as lab:
        stage = Stage(lab, machine)
        await stage.begin()
        for step in STEPS:
            if not only or step.__name__ in only:
                print(step.__name__, file=sys.stderr)
                await step(stage)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
