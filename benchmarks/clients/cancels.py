"""A storm of requests that are cancelled or time out at a random moment; what is left of them?"""

import asyncio
import random
import time
from collections import Counter

from benchmarks.clients.assignment import Assignment, Figures, Meter
from benchmarks.clients.ours import UPTIME, ask, devices, engine
from benchmarks.lab import processes_with
from infrastructor.errors import InfrastructorError
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import CommandLine, Lane
from infrastructor.ssh.link import DeviceLink

AT_ONCE = 8  # requests at once on each host
MARK = "BENCH_MARK"
# What a caller may leave behind: a hang, a race with the end, output on its way, a background child, a deaf process.
TEXTS = (
    "sleep 60",
    "sleep 0.02",
    "cat /proc/loadavg",
    "head -c 400000 /dev/zero",
    "sleep 60 & wait",
    "trap '' TERM HUP INT; sleep 60",
)
SETTLE_S = 20.0


class Cancels:
    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._client = engine(assignment)
        self._devices = devices(assignment)
        self._ends: Counter[str] = Counter()
        self._mark = ""

    async def storm(self, count: int, seed: int, seconds: float) -> Figures:
        """So many requests, or as many as fit in the time; then wait until it is quiet and look."""
        choose = random.Random(seed)
        self._mark = f"{MARK}={seed}-{time.time_ns()}"
        await asyncio.gather(*(ask(self._client, device, UPTIME) for device in self._devices))
        todo = iter(range(count))
        deadline = time.monotonic() + seconds
        meter = Meter(self._assignment)

        async def worker(device: Device) -> None:
            for number in todo:
                await self._one(device, number, choose)
                if time.monotonic() > deadline:
                    return

        seen: list[int] = []
        watcher = asyncio.create_task(self._watch(seen))
        await asyncio.gather(*(worker(device) for device in self._devices for _ in range(AT_ONCE)))
        figures = meter.stop(count)
        watcher.cancel()
        settled = time.monotonic()
        left = await self._left()
        while any(left.values()) and time.monotonic() - settled < SETTLE_S:
            await asyncio.sleep(0.2)
            left = await self._left()
        usable = await self._usable()
        others = {name: ended for name, ended in self._ends.items() if name not in {"cancelled", "timeout", "answered"}}
        return {
            **figures,
            **left,
            "seen": max(seen),
            "done": sum(self._ends.values()),
            "cancelled": self._ends["cancelled"],
            "timeout": self._ends["timeout"],
            "answered": self._ends["answered"],
            "other": sum(others.values()),
            "unusable": len(self._devices) - usable,
            **{f"other {name}": ended for name, ended in others.items()},
        }

    async def close(self) -> Figures:
        await self._client.close()
        return {}

    async def _one(self, device: Device, number: int, choose: random.Random) -> None:
        text = f"export {self._mark}; : {number}; {choose.choice(TEXTS)}"
        lane = choose.choice((Lane.FAST, Lane.SLOW))
        moment = choose.choice((0.0, choose.expovariate(200.0), choose.uniform(0.0, 0.1)))
        by_timeout = choose.random() < 0.5
        timeout_s = max(moment, 0.001) if by_timeout else 30.0
        task = asyncio.ensure_future(
            self._client.execute_command(device, CommandLine(text=text, lane=lane, timeout_s=timeout_s))
        )
        if not by_timeout:
            await asyncio.sleep(moment)
            task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            self._ends["cancelled"] += 1
        except InfrastructorError as error:
            self._ends["timeout" if error.code == "command_timeout" else error.code] += 1
        else:
            self._ends["answered"] += 1

    async def _watch(self, seen: list[int]) -> None:
        """Count our processes during the storm: shows that the count afterwards could see one."""
        while True:
            seen.append(len(await asyncio.to_thread(processes_with, self._mark)))
            await asyncio.sleep(1.0)

    async def _left(self) -> Figures:
        """Channels beyond the resident shells, and processes that carry our mark."""
        links = [self._client._links[device.id] for device in self._devices]
        return {
            "channels": sum(map(_extra_channels, links)),
            "processes": len(await asyncio.to_thread(processes_with, self._mark)),
        }

    async def _usable(self) -> int:
        """Hosts that still answer on both lanes."""
        lines = (UPTIME, CommandLine(text="uptime", lane=Lane.SLOW))
        asked = [ask(self._client, device, line) for device in self._devices for line in lines]
        failed = [answer for answer in await asyncio.gather(*asked, return_exceptions=True) if answer is not None]
        return len(self._devices) - len(failed)


def _extra_channels(link: DeviceLink) -> int:
    """Channels open on the connection that are no resident shell in use."""
    lanes, carrier = link._lanes, link.carrier
    if lanes is None or carrier is None:
        return 0
    residents = sum(lane.is_open for lane in lanes._fast.values())
    return len(carrier.connection._channels) - residents  # type: ignore[attr-defined]
