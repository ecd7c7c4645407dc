"""One READ command on its way: who waits for it and what of its answer has come."""

import asyncio
from functools import lru_cache

from infrastructor.errors import InfrastructorError, ValidationFailed
from infrastructor.ports import CommandLine, CommandOutput
from infrastructor.ssh.wire import body

SHORT = 4096

Key = tuple[str, bool, bool, int, float]


class Request:
    """A command in flight. Several callers may wait for it; the last one to leave abandons it."""

    __slots__ = (
        "abandoned",
        "alone",
        "body",
        "err",
        "key",
        "lane",
        "line",
        "number",
        "out",
        "replays",
        "resent",
        "sent",
        "started",
        "status",
        "truncated",
        "waiters",
    )

    def __init__(self, line: CommandLine, key: Key | None = None) -> None:
        self.line = line
        self.key = key
        self.body = _known(line.text) if len(line.text) < SHORT else checked(line.text)
        self.waiters: list[asyncio.Future[CommandOutput]] = []
        self.abandoned = False
        self.alone = False  # suspected of breaking its shell: runs in one of its own
        self.replays = 0  # because a neighbour broke its shell
        self.sent = False
        self.resent = False  # because the connection died
        self.lane: object | None = None
        self.reset()

    def reset(self) -> None:
        """Forget what arrived: the request is about to be sent (again)."""
        self.number = 0
        self.started = 0.0
        self.status = -1
        self.out: bytes | None = None
        self.err: bytes | None = None
        self.truncated = False

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


def checked(text: str) -> str:
    """The text as `wire.body` frames it. Raises `ValidationFailed` for what no shell text can carry."""
    if "\0" in text:
        raise ValidationFailed("The command contains a NUL byte.", hint="Remove it; no command can carry one.")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValidationFailed("The command is not valid Unicode text.") from error
    return body(text)


# A fleet is asked the same few questions again and again.
_known = lru_cache(maxsize=2048)(checked)
