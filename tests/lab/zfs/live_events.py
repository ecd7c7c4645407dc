"""Events of the real kernel module, followed as they come and read back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from infrastructor.domains.zfs.event_operations import ZfsEventList
from infrastructor.events import GAP
from infrastructor.ports.devices import Device
from infrastructor.watchers.zfs import ZfsWatcher
from tests.fakes import FakeEvents
from tests.lab.zfs.filepools import FOLDER, marked, pool, spoil
from tests.lab.zfs.lab import Lab

EXPECTED = {
    f"zfs.{kind}"
    for kind in ("pool_export", "pool_import", "scrub_start", "scrub_finish", "checksum", "history", "pool_destroy")
}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(300):
        while not condition():
            await asyncio.sleep(0.2)


@asynccontextmanager
async def watching(lab: Lab, device: Device, bus: FakeEvents) -> AsyncIterator[tuple[ZfsWatcher, list[str]]]:
    outdated: list[str] = []

    async def outdate(device: Device) -> None:
        outdated.append(device.hostname)

    watcher = ZfsWatcher(device, ssh=lab.client, bus=bus, outdate=outdate, connecting=asyncio.Semaphore(1))
    task = asyncio.ensure_future(watcher.run())
    try:
        yield watcher, outdated
    finally:
        task.cancel()
        await asyncio.wait({task})


def places(answer: ZfsEventList) -> set[tuple[str, str]]:
    return {(one.kind, one.at.isoformat()) for one in answer.events}


async def test_what_happens_is_stored_as_it_happens(lab: Lab) -> None:
    bus = lab.world.events
    assert (await lab.ask("zfs_event_list")).source == "device"
    async with watching(lab, lab.nas, bus) as (watcher, outdated):
        await until(lambda: watcher.state.mode == "follow")
        before = len(bus.rows)
        outdated.clear()
        async with pool(lab, "told", "mirror {0} {1}", count=2, mb=80, more="-O compression=off"):
            await lab.sh(marked("/told/file"))
            await spoil(lab, f"{FOLDER}/told0")
            await lab.sh(f"zpool export told; zpool import -d {FOLDER} told; zpool scrub -w told")
            await until(lambda: "zfs.scrub_finish" in {row.kind for row in bus.rows[before:]})
        await until(lambda: {row.kind for row in bus.rows[before:] if row.subject == "told"} >= EXPECTED)
        assert outdated

        # Its program dies: what happened until it is followed again is had all the same.
        await lab.sh("pkill -x zpool; zfs snapshot tank@while-away", fails=True)
        await until(lambda: any(row.kind == GAP for row in bus.rows))
        await until(lambda: any(row.data.get("dataset") == "tank@while-away" for row in bus.rows[before:]))
        (gap,) = [row for row in bus.rows if row.kind == GAP]
        assert gap.data["complete"] is True
        await until(lambda: not watcher._digest.waiting)  # the end of a flood is told when its minute is over
    await lab.sh("zfs destroy tank@while-away")

    stored = await lab.ask("zfs_event_list", pool="told", limit=100)
    assert stored.source == "store"
    assert {one.kind for one in stored.events} >= EXPECTED
    wrong = await lab.ask("zfs_event_list", pool="told", severity="error")
    assert {(one.kind, one.vdev) for one in wrong.events} == {("zfs.checksum", f"{FOLDER}/told0")}
    assert (await lab.ask("zfs_event_list", pool="told", kind="scrub_finish")).events[0].kind == "zfs.scrub_finish"
    # The device tells the same, as long as its module has it.
    kept, bus.rows = bus.rows, []
    told = await lab.ask("zfs_event_list", pool="told", limit=100)
    bus.rows = kept
    assert told.source == "device"
    assert places(told) == places(stored)


async def test_a_login_that_may_not_follow_is_said_so(lab: Lab) -> None:
    async with watching(lab, lab.plain, FakeEvents()) as (watcher, _):
        await until(lambda: watcher.state.mode == "no_permission")
