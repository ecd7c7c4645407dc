"""Trials of the engine with an engine of their own each: cold starts, identical requests, a thousand links."""

import asyncio
import gc
import time
from pathlib import Path

from benchmarks.accounting import anonymous_mb, rss_mb
from benchmarks.clients.assignment import Assignment, Figures, Meter
from benchmarks.clients.ours import UPTIME, ask, devices, engine
from infrastructor.errors import InfrastructorError
from infrastructor.memory import settle
from infrastructor.ports.devices import Device
from infrastructor.ports.ssh import CommandLine, Lane


class Trials:
    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment

    async def cold(self, dead: list[str]) -> Figures:
        """Ask every host at once, the dead among the living; when came the first and the last answer?"""
        client = engine(self._assignment)
        living = devices(self._assignment)
        every = max(1, len(living) // len(dead)) if dead else 0
        order: list[Device] = []
        silent = devices(self._assignment, tuple(dead))
        for position, device in enumerate(living):
            if silent and position % every == 0:
                order.append(silent.pop())
            order.append(device)
        order += silent
        answers: list[float] = []
        failures: list[str] = []

        async def one(device: Device) -> None:
            try:
                await ask(client, device, UPTIME)
            except InfrastructorError as error:
                failures.append(error.code)
            else:
                answers.append(time.perf_counter() - begun)

        meter = Meter(self._assignment)
        begun = time.perf_counter()
        await asyncio.gather(*map(one, order))
        figures = meter.stop(len(order))
        await client.close()
        if len(answers) != len(living) or len(failures) != len(dead):
            raise RuntimeError(f"{len(answers)} of {len(living)} answered; failures: {failures}")
        return {**figures, "first_s": min(answers), "last_s": max(answers), "hosts": len(order)}

    async def identical(self, count: int, lane: str) -> Figures:
        """Ask one host the same thing so many times at once; the command counts its own executions in a file."""
        client = engine(self._assignment)
        device = devices(self._assignment)[0]
        await ask(client, device, UPTIME)
        counter = Path(self._assignment.folder) / f"counter-{lane}-{count}"
        counter.unlink(missing_ok=True)
        line = CommandLine(text=f"echo run >>{counter}; sleep 0.3; cat {counter}", lane=Lane(lane))
        meter = Meter(self._assignment)
        outputs = await asyncio.gather(*(client.execute_command(device, line) for _ in range(count)))
        figures = meter.stop(count)
        await client.close()
        if any(output != outputs[0] or output.exit_status for output in outputs):
            raise RuntimeError("not everybody got the same answer")
        return {**figures, "executions": counter.read_text().count("run")}

    async def links(self) -> Figures:
        """Memory of a process before its first link and with a warm link to every host."""
        client = engine(self._assignment)
        every = devices(self._assignment)
        settle()  # as the server does once it is ready; heap that imports have freed would take the links' memory in
        before = _memory()
        meter = Meter(self._assignment)
        await ask(client, every[0], UPTIME)
        gc.collect()
        first = _memory()
        await asyncio.gather(*(ask(client, device, UPTIME) for device in every))
        figures = meter.stop(len(every))
        settle()  # as the engine does within half a minute of so many connections
        after = _memory()
        states = client.statistics()["links"]
        await client.close()
        if states != {"ready": len(every)}:
            raise RuntimeError(f"links: {states}")
        return {
            **figures,
            "base_mb": before["own"],
            "first_link_mb": first["own"] - before["own"],
            "own_mb": after["own"] - before["own"],
            "rss_mb": after["rss"] - before["rss"],
            "link_kb": (after["own"] - first["own"]) * 1024 / max(1, len(every) - 1),
        }


def _memory() -> Figures:
    return {"own": anonymous_mb(), "rss": rss_mb()}
