"""Lines of something that does not end by itself, with the brakes on when nobody reads."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from infrastructor.errors import InfrastructorError, ParseError

AHEAD = 1 << 20  # bytes kept for a slow reader before the device is slowed down
LONGEST = 4 << 20  # of one line


class Stream:
    """`feed` takes bytes as they come, `lines` gives them out line by line, without the newline."""

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._pause = pause
        self._resume = resume
        self._lines: deque[bytes] = deque()
        self._part = bytearray()
        self._ahead = 0
        self._paused = False
        self._ended = False
        self._error: InfrastructorError | None = None
        self._news = asyncio.Event()

    def feed(self, data: bytes) -> None:
        if self._ended:
            return
        head, newline, rest = data.partition(b"\n")
        self._part += head
        if newline:
            whole = [bytes(self._part), *rest.split(b"\n")]
            self._part = bytearray(whole.pop())
            self._lines.extend(whole)
            self._ahead += sum(map(len, whole)) + len(whole)  # an empty line takes room too
            self._news.set()
        if len(self._part) > LONGEST:
            self.end(ParseError(f"The device sent a line of more than {LONGEST} bytes."))
        elif self._ahead > AHEAD and not self._paused:
            self._paused = True
            self._pause()

    def end(self, error: InfrastructorError | None) -> None:
        """Nothing more comes. What has come is still given out, a last line without newline too."""
        if not self._ended:
            if self._part and error is None:
                self._lines.append(bytes(self._part))
                self._ahead += len(self._part) + 1
            self._ended = True
            self._error = error
            self._news.set()

    async def lines(self) -> AsyncIterator[bytes]:
        while True:
            while self._lines:
                line = self._lines.popleft()
                self._ahead -= len(line) + 1
                if self._paused and self._ahead < AHEAD // 2:
                    self._paused = False
                    self._resume()
                yield line
            if self._ended:
                if self._error is not None:
                    raise self._error
                return
            self._news.clear()
            await self._news.wait()
