"""Redis within a deadline: commands of one moment travel together, over one connection."""

import asyncio
import contextlib
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from infrastructor.cache.breaker import Breaker

Command = tuple[Any, ...]

_BATCH = 128  # commands in one round trip: large answers must fit the deadline


class CacheUnavailable(Exception):
    """No answer within the deadline, or the breaker is open and nobody was asked."""


class Pipeline:
    """`await pipeline.run(("GET", key))`: a list of answers, a `RedisError` in place of each refused command.

    A fan-out over hundreds of devices becomes a handful of round trips; redis-py's own defaults (retries, ten
    second timeouts) would make a lost Redis cost seconds per call.
    """

    def __init__(self, url: str, breaker: Breaker, *, deadline_s: float) -> None:
        self._breaker = breaker
        self._deadline_s = deadline_s
        self._client: Any = Redis.from_url(
            url,
            socket_timeout=deadline_s,
            socket_connect_timeout=deadline_s,
            retry=Retry(NoBackoff(), 0),
            max_connections=4,
            driver_info=None,  # no CLIENT SETINFO round trip at connect
        )
        self._waiting: list[tuple[tuple[Command, ...], asyncio.Future[list[Any]]]] = []
        self._sender: asyncio.Task[None] | None = None

    def deadline(self) -> float:
        """When a call made now has to be over, in the event loop's time."""
        return asyncio.get_running_loop().time() + self._deadline_s

    async def run(self, *commands: Command, by: float) -> list[Any]:
        """Raises `CacheUnavailable` at the moment `by` at the latest."""
        if not self._breaker.allows():
            raise CacheUnavailable("waiting before asking again")
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((commands, future))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send(), name="cache-pipeline")
        try:
            async with asyncio.timeout_at(by):
                return await future
        except TimeoutError:
            raise CacheUnavailable("no answer in time") from None

    async def close(self) -> None:
        if self._sender is not None:
            self._sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sender
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._client.aclose()

    async def _send(self) -> None:
        while self._waiting:
            batch = self._take()
            try:
                async with asyncio.timeout(self._deadline_s):
                    answers = await self._exchange([command for commands, _ in batch for command in commands])
            except Exception as error:  # noqa: BLE001 (redis-py lets parser and socket errors of any kind through)
                self._breaker.failed()
                for _, future in batch:
                    _settle(future, CacheUnavailable(str(error) or "no answer in time"))
                continue
            self._breaker.succeeded()
            start = 0
            for commands, future in batch:
                if not future.done():
                    future.set_result(answers[start : start + len(commands)])
                start += len(commands)

    def _take(self) -> list[tuple[tuple[Command, ...], asyncio.Future[list[Any]]]]:
        count = size = 0
        for commands, _ in self._waiting:
            if count and size + len(commands) > _BATCH:
                break
            count, size = count + 1, size + len(commands)
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _exchange(self, commands: list[Command]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return answers


def _settle(future: "asyncio.Future[list[Any]]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
