"""Infrastructor's engine, asked as the service asks it: everything at once, one call per command."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from benchmarks.clients.assignment import COMMANDS, SAMPLER, Assignment, Figures, Meter, latencies
from benchmarks.clients.sampling import Profile
from infrastructor.memory import settle
from infrastructor.ports.devices import Device, HostKey
from infrastructor.ports.ssh import CommandLine
from infrastructor.settings import Settings
from infrastructor.ssh import AsyncSSHClient

LINES = tuple(CommandLine(text=text) for text in COMMANDS)
SAMPLE = CommandLine(text=SAMPLER)
UPTIME = CommandLine(text="uptime")


async def no_jump(_name: str) -> Device | None:
    return None


def engine(assignment: Assignment) -> AsyncSSHClient:
    """With the settings it ships with."""
    settings = Settings(ssh_username=assignment.user, ssh_private_key_paths=(Path(assignment.key),))
    return AsyncSSHClient(settings, no_jump)


def devices(assignment: Assignment, addresses: tuple[str, ...] | None = None) -> list[Device]:
    """A registered device for each address, its key trusted."""
    algorithm, public_key, *_ = Path(f"{assignment.host_key}.pub").read_text().split()
    key = HostKey(algorithm=algorithm, public_key=public_key, fingerprint="SHA256:bench")
    now = datetime.now(UTC)
    return [
        Device(
            id=uuid4(),
            hostname=f"host-{address}",
            address=address,
            ssh_port=assignment.port,
            host_keys=(key,),
            created_at=now,
            updated_at=now,
        )
        for address in (assignment.hosts if addresses is None else addresses)
    ]


async def ask(client: AsyncSSHClient, device: Device, line: CommandLine) -> None:
    output = await client.execute_command(device, line)
    if output.exit_status or not output.stdout:
        raise RuntimeError(f"{line.text}: {output}")


class Ours:
    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._client = engine(assignment)
        self._devices = devices(assignment)

    async def connect(self) -> Figures:
        """And open the resident shells, which the first command does."""
        meter = Meter(self._assignment)
        await asyncio.gather(*(ask(self._client, device, UPTIME) for device in self._devices))
        figures = meter.stop(len(self._devices))
        settle()  # as the server does once it is ready
        return figures

    async def fan_out(self, passes: int) -> Figures:
        figures = await self._each(LINES, passes, facts=len(LINES))
        counted = self._client.statistics()
        return {**figures, "shells": counted["shells_opened"], "replays": counted["replays"]}

    async def sampler(self, passes: int) -> Figures:
        return await self._each((SAMPLE,), passes, facts=10)

    async def latency(self, count: int) -> Figures:
        client, device, taken = self._client, self._devices[0], []
        meter = Meter(self._assignment)
        for _ in range(count):
            begun = time.perf_counter()
            await client.execute_command(device, UPTIME)
            taken.append(time.perf_counter() - begun)
        return {**meter.stop(count), **latencies(taken)}

    async def profile(self, passes: int, path: str) -> Figures:
        """The fan-out with its hot spots written to a file."""
        profile = Profile()
        with profile.sampling():
            figures = await self.fan_out(passes)
        profile.write(path, figures["operations"], figures["client_us"])
        return figures

    async def _each(self, lines: tuple[CommandLine, ...], passes: int, facts: int) -> Figures:
        client = self._client
        meter = Meter(self._assignment)
        for _ in range(passes):
            await asyncio.gather(*(ask(client, device, line) for device in self._devices for line in lines))
        return meter.stop(passes * facts * len(self._devices))
