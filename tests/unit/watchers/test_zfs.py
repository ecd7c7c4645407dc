"""The follower of ZFS events: what it stores when connections break, modules reload and logins may not."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from infrastructor.errors import OutcomeUnknown
from infrastructor.events import GAP, Event
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import Capabilities, CommandLine, CommandOutput, EngineCall
from infrastructor.watchers import zfs
from infrastructor.watchers.zfs import ZfsWatcher
from tests.fakes import FakeEvents, FakeSSH, device

NAS = device("nas")
ROOT = Capabilities(is_root=True, sudo="root", tools=frozenset({"zfs", "zpool"}))
LOADED = b"module 2.1.11-1\ndevice open\npool tank\n"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AGAIN_S": 0.005, "QUIET_S": 0.02, "QUIET_AT_MOST_S": 1.0, "LOOK_S": 0.005}.items():
        monkeypatch.setattr(zfs, name, value)


def block(eid: int, kind: str = "scrub_start", second: int = 0) -> bytes:
    return (
        f"Nov 20 2026 15:04:44.000000000\tsysevent.fs.zfs.{kind}\n"
        f'        class = "sysevent.fs.zfs.{kind}"\n        pool = "tank"\n'
        f"        time = 0x{1_795_000_000 + (second or eid):x} 0x0 \n        eid = 0x{eid:x}\n\n"
    ).encode()


@dataclass
class Machine(FakeSSH):
    """Each connection gives the next of `rings`, then goes on until `cut` or, at the last one, for ever."""

    rings: list[list[bytes]] = field(default_factory=list)
    found: Capabilities = ROOT
    examined: bytes = LOADED
    live: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    followed: int = 0

    async def execute_command(self, device: Device, line: CommandLine, **more: Any) -> CommandOutput:
        self.lines.append(line)
        if "zpool events" in line.text:
            ring = self.rings.pop(0) if len(self.rings) > 1 else self.rings[0]
            return CommandOutput(exit_status=0, stdout=b"".join(ring))
        return CommandOutput(exit_status=0, stdout=self.examined)

    @asynccontextmanager
    async def follow(self, device: Device, source: CommandLine | EngineCall) -> AsyncIterator[AsyncIterator[bytes]]:
        assert isinstance(source, CommandLine)
        assert (source.text, source.sudo) == ("zpool events -H -v -f", True)
        self.followed += 1

        async def lines() -> AsyncIterator[bytes]:
            for one in self.rings.pop(0) if self.rings else []:
                for line in one.split(b"\n")[:-1]:
                    yield line
            while (more := await self.live.get()) is not None:
                for line in more.split(b"\n")[:-1]:
                    yield line
            raise OutcomeUnknown("The connection to nas died.")

        yield lines()


@dataclass
class Watching:
    watcher: ZfsWatcher
    bus: FakeEvents
    outdated: list[str]

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.002)

    def kinds(self) -> list[tuple[str, int | None]]:
        return [(event.kind, event.data.get("eid")) for event in self.bus.rows]

    def gaps(self) -> list[Event]:
        return [event for event in self.bus.rows if event.kind == GAP]


@asynccontextmanager
async def watching(machine: Machine, bus: FakeEvents | None = None, **more: Any) -> AsyncIterator[Watching]:
    bus, outdated = bus or FakeEvents(), []  # type: ignore[var-annotated]

    async def outdate(device: Device) -> None:
        outdated.append(device.hostname)

    watcher = ZfsWatcher(NAS, ssh=machine, bus=bus, outdate=outdate, connecting=asyncio.Semaphore(1), **more)
    task = asyncio.ensure_future(watcher.run())
    try:
        yield Watching(watcher, bus, outdated)
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_events_are_stored_as_they_come() -> None:
    machine = Machine(rings=[[block(1), block(2, "config_sync")]])
    async with watching(machine) as seen:
        await seen.until(lambda: seen.watcher.state.mode == "follow")
        await machine.live.put(block(3, "scrub_finish"))
        await seen.until(lambda: len(seen.bus.rows) == 2)
    assert seen.kinds() == [("zfs.scrub_start", 1), ("zfs.scrub_finish", 3)]
    assert seen.outdated
    assert seen.gaps() == []


async def test_after_a_broken_connection_it_catches_up_without_a_double() -> None:
    machine = Machine(rings=[[block(1)], [block(1), block(2), block(3)]])
    async with watching(machine) as seen:
        await seen.until(lambda: seen.watcher.state.mode == "follow")
        await machine.live.put(None)
        await seen.until(lambda: seen.watcher.state.connects == 2 and seen.gaps())
    assert [eid for kind, eid in seen.kinds() if kind != GAP] == [1, 2, 3]
    (gap,) = seen.gaps()
    assert (gap.subject, gap.data["complete"], gap.data["replayed"], gap.severity) == ("zfs", True, 2, "info")


async def test_events_that_the_module_no_longer_has_are_a_gap_that_may_hold_more() -> None:
    machine = Machine(rings=[[block(1), block(2)], [block(1, second=900)]])  # loaded anew, it counts from 1
    async with watching(machine) as seen:
        await seen.until(lambda: seen.watcher.state.mode == "follow")
        await machine.live.put(None)
        await seen.until(seen.gaps)
    (gap,) = seen.gaps()
    assert (gap.data["complete"], gap.severity) == (False, "warning")
    assert len([kind for kind, _ in seen.kinds() if kind != GAP]) == 3


async def test_a_new_process_goes_on_where_the_last_one_stopped() -> None:
    bus = FakeEvents()
    async with watching(Machine(rings=[[block(1), block(2)]]), bus) as seen:
        await seen.until(lambda: len(bus.rows) == 2)
    async with watching(Machine(rings=[[block(1), block(2), block(3)]]), bus) as seen:
        await seen.until(seen.gaps)
    assert [eid for kind, eid in seen.kinds() if kind != GAP] == [1, 2, 3]
    assert seen.gaps()[0].data["complete"] is True


@pytest.mark.parametrize(
    ("found", "examined", "mode"),
    [
        (Capabilities(is_root=True), LOADED, "no_zfs"),
        (ROOT, b"", "no_zfs"),
        (ROOT, b"module 2.1.11-1\n", "no_zfs"),
        (ROOT.model_copy(update={"is_root": False, "sudo": "none"}), LOADED, "no_permission"),
        (ROOT.model_copy(update={"is_root": False, "sudo": "password"}), LOADED, "no_permission"),
    ],
)
async def test_a_machine_without_zfs_or_leave_is_left_alone(found: Capabilities, examined: bytes, mode: str) -> None:
    machine = Machine(found=found, examined=examined)
    async with watching(machine) as seen:
        await seen.until(lambda: seen.watcher.state.mode == mode)
        await asyncio.sleep(0.05)
    assert (machine.followed, seen.bus.rows) == (0, [])
    assert len(machine.lines) <= 1


async def test_it_follows_once_zfs_is_found() -> None:
    machine = Machine(found=Capabilities(is_root=True), rings=[[block(1)]])
    async with watching(machine) as seen:
        await seen.until(lambda: seen.watcher.state.mode == "no_zfs")
        machine.found = ROOT
        await seen.until(lambda: seen.watcher.state.mode == "follow")
    assert seen.kinds() == [("zfs.scrub_start", 1)]


def growing(count: int) -> Iterator[list[bytes]]:
    for last in range(1, count + 1):
        yield [block(eid) for eid in range(1, last + 1)]


async def test_where_sudo_allows_single_programs_it_reads_again_and_again() -> None:
    limited = ROOT.model_copy(update={"is_root": False, "sudo": "limited"})
    machine = Machine(found=limited, rings=list(growing(4)))
    async with watching(machine, poll_s=0.005) as seen:
        await seen.until(lambda: len(seen.bus.rows) == 4)
        assert seen.watcher.state.mode == "poll"
    assert [eid for _, eid in seen.kinds()] == [1, 2, 3, 4]
    assert seen.gaps() == []
    assert {(line.text, line.sudo, line.plain) for line in machine.lines if "events" in line.text} == {
        ("zpool events -H -v", True, True),
    }


async def test_a_reading_that_lost_touch_with_the_last_is_a_gap() -> None:
    limited = ROOT.model_copy(update={"is_root": False, "sudo": "limited"})
    machine = Machine(found=limited, rings=[[block(1)], [block(1)], [block(700), block(701)]])
    async with watching(machine, poll_s=0.005) as seen:
        await seen.until(seen.gaps)
    (gap,) = seen.gaps()
    assert gap.data["complete"] is False


async def test_lines_nobody_understands_are_counted_and_passed_over() -> None:
    machine = Machine(rings=[[b"what is this\n", block(1)]])
    async with watching(machine) as seen:
        await seen.until(lambda: len(seen.bus.rows) == 1)
    assert seen.watcher.state.unreadable == 1
