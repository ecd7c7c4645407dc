"""Recommendations under real load: each is measured, its command is taken by zfs, and then it is gone."""

from collections.abc import AsyncIterator

import pytest

from infrastructor.domains.zfs.health_models import Recommendation
from tests.lab.zfs.filepools import FOLDER, files
from tests.lab.zfs.lab import Lab
from tests.lab.zfs.live_health import days_ago, found, mend, settled

CALLS = 101_000
DISKS = ("/dev/disk/by-id/virtio-lab-vdev5", "/dev/disk/by-id/virtio-lab-vdev6")
_FILL = """
import os
random, place = os.urandom(1 << 20), "/load/bad/big"
with open(place, "wb") as file:
    for _ in range(1060):
        file.write(random)
half = (random[: 96 << 10] + bytes(32 << 10)) * 8
with open("/load/good/big", "wb") as file:
    for _ in range(1430):
        file.write(half)
"""
_SMALL = f"""
import os
file, block = os.open("/load/bad/small", os.O_RDWR | os.O_CREAT), os.urandom(4096)
os.pwrite(file, bytes(8 << 20), 0)
for n in range({CALLS}):
    os.pwrite(file, block, n * 7919 % 2048 * 4096)
for n in range({CALLS}):
    os.pread(file, 4096, n * 7919 % 2048 * 4096)
up = float(open("/proc/uptime").read().split()[0])
for n in range(int(7 * up)):
    os.pwrite(file, block, n % 2048 * 4096)
    os.fsync(file)
"""
_AGAIN = """
for _ in range(10):
    with open("/load/bad/big", "rb") as file:
        for _ in range(340):
            file.read(1 << 20)
"""


async def python(lab: Lab, text: str) -> None:
    await lab.sh(f"python3 - <<'END'{text}END\nzpool sync")


@pytest.fixture(scope="module")
async def load(lab: Lab) -> AsyncIterator[None]:
    """The one pool, of disks, made 40 days ago: 1 GiB that does not compress and is set badly, 1 GiB that does."""
    await lab.sh(f"mkdir -p {FOLDER}; zpool export tank; zpool export backup")
    try:
        async with days_ago(lab, 40):
            await lab.sh(f"zpool create -f -O atime=off -O compression=off load $(readlink -f {' '.join(DISKS)})")
        await lab.sh(
            "zfs create -o recordsize=1M -o atime=on -o relatime=off -o xattr=dir -o acltype=posix load/bad; "
            "zfs create -o compression=lz4 load/good; zfs create -o sync=disabled load/risky; "
            "zfs create -o dedup=on load/alike"
        )
        await python(lab, _FILL)
        yield
    finally:
        await lab.sh("zpool destroy load; zpool import -a", fails=True)


async def advice(lab: Lab, pool: str | None = "load") -> dict[tuple[str, str | None], Recommendation]:
    """All recommendations by code and what they are about."""
    answer = await lab.ask("zfs_recommendations", pool=pool, force_refresh=True)
    assert answer.total == len(answer.recommendations)
    assert answer.not_measured == []
    for one in answer.recommendations:
        assert all((one.measured, one.effect, one.risk, one.command)), one
    return {(one.code, one.subject): one for one in answer.recommendations}


async def test_idle_pools_that_are_set_well_get_none(lab: Lab) -> None:
    for pool in ("tank", "backup"):
        assert await advice(lab, pool) == {}
    report = await lab.ask("zfs_report", force_refresh=True)
    assert [one.name for one in report.pools] == ["backup", "tank"]
    assert report.recommendations_total == 0
    assert [one for one in report.missing if not one.startswith("SMART")] == []


@pytest.mark.usefixtures("load")
async def test_what_the_load_speaks_for_is_recommended_and_nothing_else(lab: Lab) -> None:
    assert ("recordsize", "load/bad") not in await advice(lab)  # nothing was measured yet
    await python(lab, _SMALL)
    given = await advice(lab)
    assert given.keys() == {
        *((code, "load/bad") for code in ("recordsize", "atime", "compression", "xattr", "snapshot_policy")),
        ("sync", "load/risky"),
        ("dedup", "load/alike"),
        ("device_names", None),
        ("log_vdev", None),
    }
    counters = await lab.sh("grep -h -A12 -E '^dataset_name.*load/bad$' /proc/spl/kstat/zfs/load/objset-*")
    known = {line.split()[0]: line.split()[-1] for line in counters.splitlines() if len(line.split()) == 3}
    assert int(known["writes"]) > CALLS
    assert f"{known['writes']} writes and {known['reads']} reads" in given["recordsize", "load/bad"].measured
    assert "recordsize is 1 MiB" in given["recordsize", "load/bad"].measured
    assert given["recordsize", "load/bad"].command == "zfs set recordsize=16K load/bad"
    commits = (await lab.sh("grep zil_commit_count /proc/spl/kstat/zfs/zil")).split()[-1]
    assert f"waited for {commits} synchronous commits" in given["log_vdev", None].measured
    assert "1.3" in given["compression", "load/bad"].measured

    logs = files("load", 2)
    await lab.sh(f"mkdir -p $(dirname {logs[0]}); truncate -s 80M {' '.join(logs)}")
    left = dict(given)
    for key, one in given.items():
        command = one.command.replace("NEW_DISK1", logs[0]).replace("NEW_DISK2", logs[1])
        assert "NEW_" not in command
        await lab.sh(command)
        del left[key]
    # A snapshot of the one leaves the other without.
    rest = await advice(lab)
    assert rest.keys() == {("snapshot_policy", "load/good")}
    await lab.sh(rest["snapshot_policy", "load/good"].command)
    assert await advice(lab) == {}


@pytest.mark.usefixtures("load")
async def test_flash_that_was_never_trimmed(lab: Lab) -> None:
    turning = f"for d in $(readlink -f {' '.join(DISKS)}); do echo %d >/sys/block/${{d#/dev/}}/queue/rotational; done"
    await lab.sh(turning % 0)
    try:
        given = await advice(lab)
        assert [code for code, _ in given] == ["trim"]
        await lab.sh(given["trim", None].command)
        await lab.sh("zpool wait -t trim load")
        assert await advice(lab) == {}
    finally:
        await lab.sh(turning % 1)


@pytest.mark.usefixtures("load")
async def test_an_arc_too_small_for_what_is_read_again_and_again(lab: Lab) -> None:
    parameter = "/sys/module/zfs/parameters/zfs_arc_max"
    was = (await lab.sh(f"cat {parameter}")).strip()
    # Counts from now on, as after a start of the machine.
    await lab.sh(
        "systemctl stop zfs-zed; zpool export load; modprobe -r zfs; modprobe zfs; udevadm settle; "
        f"zpool import -d /dev/disk/by-id -d {FOLDER} load; systemctl start zfs-zed"
    )
    await python(lab, _AGAIN)
    stats = await lab.ask("zfs_arc_stats", interval_seconds=0.5)
    kstat = dict(
        line.split()[::2]
        for line in (await lab.sh("cat /proc/spl/kstat/zfs/arcstats")).splitlines()
        if len(line.split()) == 3
    )
    assert stats.max_bytes == int(kstat["c_max"]) == int(was)
    assert abs(stats.since_boot.mru_ghost_hits + stats.since_boot.mfu_ghost_hits
               - int(kstat["mru_ghost_hits"]) - int(kstat["mfu_ghost_hits"])) < 1000  # fmt: skip
    given = await advice(lab, None)
    assert ("arc_size", None) in given, stats
    try:
        await lab.sh(given["arc_size", None].command)
        assert int(await lab.sh(f"cat {parameter}")) > int(was)
        assert ("arc_size", None) not in await advice(lab, None)
    finally:
        await lab.sh(f"echo {was} >{parameter}")


@pytest.mark.usefixtures("load")
async def test_a_pool_that_was_never_scrubbed_and_gets_full(lab: Lab) -> None:
    first = await found(lab, "load")
    assert first.keys() == {"no_redundancy", "scrub_never"}
    await mend(lab, first["scrub_never"])
    await settled(lab, "load")
    for percent, severity in ((84, "warning"), (92, "critical")):
        size = int(await lab.sh("zpool list -H -p -o size load"))
        used = int(await lab.sh("zpool list -H -p -o allocated load"))
        await python(
            lab,
            "\nimport os\nrandom = os.urandom(1 << 20)\n"
            f"with open('/load/good/more{percent}', 'wb') as file:\n"
            f"    for _ in range({(size * percent // 100 - used) >> 20}):\n        file.write(random)\n",
        )
        full = await found(lab, "load")
        assert full.keys() == {"no_redundancy", "capacity"}
        assert full["capacity"][0].severity == severity
        said = (await lab.sh("zpool list -H -p -o capacity load")).strip()
        assert f"{said} % full" in full["capacity"][0].evidence
    await lab.sh("rm /load/good/more*; zpool sync load")
    assert (await found(lab, "load")).keys() == {"no_redundancy"}
