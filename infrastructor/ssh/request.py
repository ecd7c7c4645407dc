"""One READ command on its way: who waits for it and what of its answer has come."""

import asyncio

from infrastructor.errors import InfrastructorError
from infrastructor.ports.ssh import CommandLine, CommandOutput
from infrastructor.ssh.texts import Text

Key = tuple[str, bool, bool, int, float]


class Request:
    """A command in flight. Several callers may wait for it; the last one to leave abandons it."""

    __slots__ = (
        "abandoned",
        "alone",
        "err",
        "key",
        "lane",
        "line",
        "number",
        "out",
        "own",
        "replays",
        "resent",
        "sent",
        "started",
        "status",
        "text",
        "truncated",
        "unclear",
        "waiters",
    )

    def __init__(self, line: CommandLine, key: Key | None = None, text: Text | None = None) -> None:
        self.line = line
        self.key = key
        self.text = text or Text(line.text)
        self.waiters: list[asyncio.Future[CommandOutput]] = []
        self.abandoned = False
        self.alone = False  # suspected of breaking its shell: runs in one of its own
        self.own = False  # has been in a group that came to nothing: ends its stderr with a marker of its own
        self.replays = 0  # because a neighbour broke its shell
        self.sent = False
        self.resent = False  # because the connection died
        self.lane: object | None = None
        self.reset()

    @property
    def cap(self) -> int:
        return self.line.max_output_bytes

    def reset(self) -> None:
        """Forget what arrived: the request is about to be sent (again)."""
        self.number = 0
        self.started = 0.0
        self.status = -1
        self.out: bytes | None = None
        self.err: bytes | None = None
        self.truncated = False
        self.unclear = False  # its group said something on stderr, and nobody knows who

    def succeed(self, output: CommandOutput) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(output)

    def fail(self, error: InfrastructorError) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_exception(again(error))


def again(error: InfrastructorError) -> InfrastructorError:
    """A fresh copy, since one exception raised in several tasks would collect all their tracebacks."""
    copy = type(error)(error.message, hint=error.hint, **error.details)
    copy.__cause__ = error.__cause__
    return copy
