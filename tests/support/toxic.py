"""A proxy between a client and a Unix or TCP socket that can be told to misbehave."""

import asyncio
import contextlib
from pathlib import Path


class Toxic:
    """`latency_s` per chunk and direction, `blackhole` swallows, `lose_replies` eats answers, `cut()` resets."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.latency_s = 0.0
        self.blackhole = False
        self.lose_replies = False
        self.connections = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, path: Path) -> str:
        """Listen on a Unix socket; returns its path."""
        self._server = await asyncio.start_unix_server(self._accept, str(path))
        return str(path)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            up_reader, up_writer = await asyncio.open_unix_connection(self.upstream)
        except OSError:
            writer.transport.abort()
            self._tasks.discard(task)
            return
        self._writers |= {writer, up_writer}
        try:
            await asyncio.gather(self._pump(reader, up_writer), self._pump(up_reader, writer, replies=True))
        except asyncio.CancelledError:
            pass
        finally:
            for side in (writer, up_writer):
                side.transport.abort()
                self._writers.discard(side)
            self._tasks.discard(task)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, replies: bool = False) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                if self.latency_s:
                    await asyncio.sleep(self.latency_s)
                if self.blackhole or (replies and self.lose_replies):
                    continue
                sink.write(data)
                await sink.drain()
            if sink.can_write_eof():
                sink.write_eof()
