"""HTTP/1.1 on a channel: one request at a time, kept alive between them. Enough for the Docker Engine API."""

import asyncio
from collections.abc import Callable

import httptools

from infrastructor.ssh.carrier import Channel
from infrastructor.ssh.lanes import Holder, Use

HEADERS = b" HTTP/1.1\r\nHost: docker\r\nUser-Agent: infrastructor\r\n\r\n"
OK = 200


class Lost(Exception):
    """The channel ended before the answer was whole. `answered` tells whether any of it had come."""

    def __init__(self, reason: str, *, answered: bool) -> None:
        super().__init__(reason)
        self.answered = answered


class HttpConnection:
    """A `Receiver` that speaks HTTP. `get` reads a whole body; with `on_body` pieces are handed on as they come."""

    __slots__ = (
        "_answered",
        "_body",
        "_cap",
        "_channel",
        "_done",
        "_keep",
        "_loop",
        "_on_body",
        "_on_headers",
        "_parser",
        "_status",
        "_truncated",
        "_waiter",
        "holder",
        "is_open",
        "said",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._channel: Channel | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.is_open = False
        self.holder: Holder | None = None  # of the session it goes through, when it is one
        self.said = b""  # on stderr, by a program in between
        self._reset(0)

    def _reset(self, cap: int) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self._cap = cap
        self._status = 0
        self._answered = False
        self._done = False
        self._keep = False
        self._truncated = False
        self._on_body: Callable[[bytes], None] | None = None
        self._on_headers: Callable[[int], None] | None = None

    def attach(self, channel: Channel) -> None:
        self._channel = channel
        self.is_open = True

    def turn(self, use: Use) -> None:
        if self.holder is not None:
            self.holder.turn(use)

    def close(self) -> None:
        self._leave()
        if self._channel is not None:
            self._channel.close()

    # --- asking --------------------------------------------------------------------------------------

    async def get(self, target: str, cap: int) -> tuple[int, bytes, bool]:
        """Status, body and whether the body was cut at `cap`. Raises `Lost`. Cancelling closes the channel."""
        try:
            await self._send(target, cap)
        except asyncio.CancelledError:
            self.close()
            raise
        if not self._keep:
            self.close()
        return self._status, bytes(self._body), self._truncated

    async def stream(
        self, target: str, cap: int, on_body: Callable[[bytes], None]
    ) -> tuple[int, bytes, "asyncio.Future[None]"]:
        """Status, the body of a refusal, and a future that is done when the answer ends. Raises `Lost`.

        With status 200 the body goes to `on_body`, piece by piece.
        """
        started: asyncio.Future[None] = self._loop.create_future()

        def headers(status: int) -> None:
            if status == OK:
                self._on_body = on_body
                if not started.done():
                    started.set_result(None)

        ended = self._send(target, cap)
        self._on_headers = headers
        try:
            await asyncio.wait({started, ended}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            ended.cancel()
            self.close()
            raise
        if not started.done():
            ended.result()
        return self._status, bytes(self._body), ended

    def _send(self, target: str, cap: int) -> "asyncio.Future[None]":
        if self._channel is None or not self.is_open:
            raise Lost("the channel is closed", answered=False)
        self._reset(cap)
        self._waiter = self._loop.create_future()
        self._channel.write(b"GET " + target.encode("ascii") + HEADERS)
        return self._waiter

    # --- Receiver ------------------------------------------------------------------------------------

    def data_received(self, data: bytes, is_stderr: bool) -> None:
        if is_stderr:
            self.said = (self.said + data)[-2000:]
            return
        if self._waiter is None or self._waiter.done():
            self.close()  # nobody asked: no answer after this could be trusted
            return
        self._answered = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(f"it does not speak HTTP: {error}")
            self.close()
            return
        if self._done or self._truncated:
            self._finish()

    def closed(self) -> None:
        self._leave()
        self._fail(self.said.decode("utf-8", "replace").strip()[-300:] or "the channel was closed")

    def _leave(self) -> None:
        self.is_open = False
        if self.holder is not None:
            self.holder.release()

    def pause(self) -> None:
        if self._channel is not None:
            self._channel.pause()

    def resume(self) -> None:
        if self._channel is not None:
            self._channel.resume()

    def _finish(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, reason: str) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(Lost(reason, answered=self._answered))

    # --- httptools calls these -----------------------------------------------------------------------

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        if self._on_headers is not None:
            self._on_headers(self._status)

    def on_body(self, body: bytes) -> None:
        if self._on_body is not None:
            self._on_body(body)
            return
        room = self._cap - len(self._body)
        self._body += body[:room]
        self._truncated = self._truncated or len(body) > room

    def on_message_complete(self) -> None:
        self._done = True
        self._keep = self._parser.should_keep_alive()  # only here does the parser know
