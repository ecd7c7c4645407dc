"""OpenSSH's own multiplexing: a master connection per host, an `ssh` process per command."""

import asyncio
import time
from pathlib import Path

from benchmarks.clients.assignment import COMMANDS, CONCURRENCY, Assignment, Figures, Meter, clean_environment

OPTIONS = """\
IdentitiesOnly yes
StrictHostKeyChecking no
UserKnownHostsFile /dev/null
LogLevel ERROR
ControlMaster auto
ControlPersist 600
"""


class ControlMaster:
    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._config = Path(assignment.folder) / "ssh_config"
        own = (
            f"Port {assignment.port}",
            f"User {assignment.user}",
            f"IdentityFile {assignment.key}",
            f"ControlPath {assignment.folder}/mux-%C",
        )
        self._config.write_text(OPTIONS + "\n".join(own) + "\n")
        self._environment = clean_environment()

    async def connect(self) -> Figures:
        meter = Meter(self._assignment)
        await self._each(("true",), 1)
        return meter.stop(len(self._assignment.hosts))

    async def fan_out(self, passes: int) -> Figures:
        meter = Meter(self._assignment)
        await self._each(COMMANDS, passes)
        return meter.stop(passes * len(COMMANDS) * len(self._assignment.hosts))

    async def latency(self, count: int) -> Figures:
        begun = time.perf_counter()
        for _ in range(count):
            await self._ssh(self._assignment.hosts[0], "uptime")
        return {"p50_ms": (time.perf_counter() - begun) / count * 1e3}

    async def close(self) -> Figures:
        """End the masters, which have left our process group."""
        await asyncio.gather(*(self._ssh(host, "-O", "exit", check=False) for host in self._assignment.hosts))
        return {}

    async def _each(self, commands: tuple[str, ...], passes: int) -> None:
        gate = asyncio.Semaphore(CONCURRENCY)

        async def host(name: str) -> None:
            async with gate:
                for command in commands:
                    await self._ssh(name, command)

        for _ in range(passes):
            await asyncio.gather(*map(host, self._assignment.hosts))

    async def _ssh(self, host: str, *words: str, check: bool = True) -> None:
        before, after = (words, ()) if words[0].startswith("-") else ((), words)
        process = await asyncio.create_subprocess_exec(
            "ssh",
            "-F",
            str(self._config),
            *before,
            host,
            *after,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=self._environment,
        )
        await process.communicate()
        if check and process.returncode:
            raise RuntimeError(f"ssh {host} {words} ended with {process.returncode}")
