"""The floor: a resident `sh` on each connection and the least Python that can ask it something.

No queue, no timeouts, no coalescing, no recovery. `RawShell` gives what the engine gives for each command: stdout,
stderr and exit status told apart. `RawShellStdout` is thinner still and gives stdout and exit status.
"""

import asyncio
import re
import secrets
import shlex
import time
from collections.abc import Sequence

import asyncssh

from benchmarks.clients.assignment import COMMANDS, SAMPLER, Assignment, Figures, Meter, latencies
from benchmarks.clients.conn_run import GCM, connect_all
from infrastructor.memory import settle


class Shell(asyncssh.SSHClientSession[bytes]):
    """Cuts answers at a line that holds the nonce and the exit status."""

    def __init__(self) -> None:
        self.nonce = secrets.token_hex(16)
        self.streams = (bytearray(), bytearray())
        self.missing = [0, 0]
        self.answer: asyncio.Future[None] | None = None

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self.channel = chan

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        which = 0 if datatype is None else 1
        buffer = self.streams[which]
        start = max(0, len(buffer) - 64)
        buffer += data
        mark = self.nonce.encode() + b"\n"
        self.missing[which] -= buffer.count(mark, start) - buffer.count(mark, start, len(buffer) - len(data))
        if self.missing == [0, 0] and self.answer and not self.answer.done():
            self.answer.set_result(None)

    async def ask(self, commands: Sequence[str], *, stderr: bool) -> list[tuple[int, bytes, bytes]]:
        """Run them one after the other; status, stdout and stderr of each."""
        mark = f"printf '\\n%d {self.nonce}\\n' $?"
        if stderr:
            mark += f";printf '\\n{self.nonce}\\n' >&2"
        self.missing = [len(commands), len(commands) if stderr else 0]
        self.answer = asyncio.get_running_loop().create_future()
        self.channel.write("".join(f"(eval {shlex.quote(text)}) </dev/null;{mark}\n" for text in commands).encode())
        await self.answer
        out, err = (bytes(stream) for stream in self.streams)
        for stream in self.streams:
            stream.clear()
        parts = re.split(rb"\n(\d+) " + self.nonce.encode() + rb"\n", out)
        errors = err.split(b"\n" + self.nonce.encode() + b"\n") if stderr else [b""] * (len(commands) + 1)
        return [(int(parts[2 * n + 1]), parts[2 * n], errors[n]) for n in range(len(commands))]


class RawShell:
    stderr = True

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._shells: list[Shell] = []

    async def connect(self) -> Figures:
        meter = Meter(self._assignment)
        connections = await connect_all(self._assignment, encryption_algs=[GCM])
        opened = await asyncio.gather(*(one.create_session(Shell, "exec sh", encoding=None) for one in connections))
        self._shells = [session for _, session in opened]
        figures = meter.stop(len(connections))
        settle()
        return figures

    async def fan_out(self, passes: int) -> Figures:
        return await self._each(COMMANDS, passes, facts=len(COMMANDS))

    async def sampler(self, passes: int) -> Figures:
        return await self._each((SAMPLER,), passes, facts=10)

    async def latency(self, count: int) -> Figures:
        shell, taken = self._shells[0], []
        meter = Meter(self._assignment)
        for _ in range(count):
            begun = time.perf_counter()
            await shell.ask(("uptime",), stderr=self.stderr)
            taken.append(time.perf_counter() - begun)
        return {**meter.stop(count), **latencies(taken)}

    async def _each(self, commands: Sequence[str], passes: int, facts: int) -> Figures:
        async def host(shell: Shell) -> None:
            for status, out, _ in await shell.ask(commands, stderr=self.stderr):
                if status or not out:
                    raise RuntimeError(f"status {status}: {out!r}")

        meter = Meter(self._assignment)
        for _ in range(passes):
            await asyncio.gather(*map(host, self._shells))
        return meter.stop(passes * facts * len(self._shells))


class RawShellStdout(RawShell):
    stderr = False
