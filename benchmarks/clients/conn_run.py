"""asyncssh as everybody writes it: `conn.run` for each command."""

import asyncio
import time
from typing import Any, ClassVar

import asyncssh

from benchmarks.clients.assignment import COMMANDS, CONCURRENCY, FACTS, Assignment, Figures, Meter, latencies

GCM = "aes128-gcm@openssh.com"
HANDSHAKES = 16


async def connect_all(assignment: Assignment, **options: Any) -> list[asyncssh.SSHClientConnection]:
    """One connection per host, in the hosts' order."""
    key = asyncssh.read_private_key(assignment.key)
    gate = asyncio.Semaphore(HANDSHAKES)

    async def connect(host: str) -> asyncssh.SSHClientConnection:
        async with gate:
            return await asyncssh.connect(
                host,
                assignment.port,
                username=assignment.user,
                client_keys=[key],
                known_hosts=None,
                config=None,
                agent_path=None,
                **options,
            )

    return await asyncio.gather(*map(connect, assignment.hosts))


class Run:
    """With the library's default settings."""

    options: ClassVar[dict[str, Any]] = {}

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._connections: list[asyncssh.SSHClientConnection] = []

    async def connect(self) -> Figures:
        meter = Meter(self._assignment)
        self._connections = await connect_all(self._assignment, **self.options)
        return meter.stop(len(self._connections))

    async def fan_out(self, passes: int) -> Figures:
        return await self._each(COMMANDS, passes)

    async def sampler(self, passes: int) -> Figures:
        return await self._each([f"cat {fact}" for fact in FACTS], passes)

    async def latency(self, count: int) -> Figures:
        connection = self._connections[0]
        taken = []
        meter = Meter(self._assignment)
        for _ in range(count):
            begun = time.perf_counter()
            await connection.run("uptime", check=True)
            taken.append(time.perf_counter() - begun)
        return {**meter.stop(count), **latencies(taken)}

    async def _each(self, commands: "list[str] | tuple[str, ...]", passes: int) -> Figures:
        gate = asyncio.Semaphore(CONCURRENCY)

        async def host(connection: asyncssh.SSHClientConnection) -> None:
            async with gate:
                for command in commands:
                    result = await connection.run(command)
                    if result.exit_status or not result.stdout:
                        raise RuntimeError(f"{command}: {result}")

        meter = Meter(self._assignment)
        for _ in range(passes):
            await asyncio.gather(*map(host, self._connections))
        return meter.stop(passes * len(commands) * len(self._connections))


class RunGcm(Run):
    """With the cipher that ours uses."""

    options: ClassVar[dict[str, Any]] = {"encryption_algs": [GCM]}
