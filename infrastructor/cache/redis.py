"""The cache: fast when Redis answers, absent when it does not, never wrong."""

import contextlib
import struct
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from redis.exceptions import RedisError

from infrastructor.cache.breaker import Breaker
from infrastructor.cache.frame import Unusable, decode, encode, microseconds
from infrastructor.cache.pipeline import CacheUnavailable, Pipeline
from infrastructor.ports.cache import CacheEntry, CacheKey, CacheState

DEADLINE_S = 0.045  # 50 ms to the caller, the rest is the event loop's
MAX_BODY_BYTES = 2 << 20  # more would not cross the wire within the deadline
MARK_TTL = timedelta(days=1)  # longer than any entry lives
_SCAN_PAGE = 1000


class RedisCacheManager:
    """`CacheManager` over Redis or Valkey.

    Invalidation writes a mark with the time; entries collected before it are misses, also those that a slow
    collection stores afterwards. A mark that could not be written counts in this process and is sent later.
    """

    def __init__(
        self, url: str, *, secret: bytes, deadline_s: float = DEADLINE_S, breaker: Breaker | None = None
    ) -> None:
        self._secret = secret
        self._breaker = breaker or Breaker()
        self._redis = Pipeline(url, self._breaker, deadline_s=deadline_s)
        self._unsent: dict[bytes, int] = {}  # mark key → microseconds
        self._counts = dict.fromkeys(("hits", "misses", "bypasses", "errors", "poisoned", "writes", "too_large"), 0)
        self._total_s = self._slowest_s = 0.0
        self._timed = 0

    async def get(self, key: CacheKey) -> tuple[CacheState, CacheEntry | None]:
        started, by = time.perf_counter(), self._redis.deadline()
        name, mark = _name(key), _mark(key.data_type, key.device_id)
        try:
            data, invalidated = await self._redis.run(("GET", name), ("GET", mark), by=by)
        except CacheUnavailable:
            self._count("bypasses", "errors")
            return CacheState.BYPASS, None
        self._time(time.perf_counter() - started)
        try:
            entry = self._decoded(name, data)
        except (Unusable, UnicodeError, OverflowError):
            self._count("poisoned", "errors")
            await self._write(("UNLINK", name), by=by)
            entry = None
        if entry is None or microseconds(entry.collected_at) <= self._invalidated_at(mark, invalidated):
            self._count("misses")
            return CacheState.MISS, None
        self._count("hits")
        return CacheState.HIT, entry

    async def set(self, key: CacheKey, entry: CacheEntry, ttl: timedelta) -> None:
        milliseconds = _milliseconds(ttl)
        if milliseconds <= 0:
            return
        if len(entry.body) > MAX_BODY_BYTES:
            self._count("too_large")
            return
        name = _name(key)
        try:
            data = encode(name, entry, self._secret)
        except (struct.error, UnicodeError):
            self._count("errors")
            return
        if await self._write(("SET", name, data, "PX", milliseconds), by=self._redis.deadline()):
            self._count("writes")

    async def delete(self, key: CacheKey) -> None:
        await self._write(("UNLINK", _name(key)), by=self._redis.deadline())

    async def invalidate(self, data_type: str, device_id: str) -> None:
        """Forget everything of one kind about one device, at once and in every process."""
        by = self._redis.deadline()
        self._unsent[_mark(data_type, device_id)] = microseconds(datetime.now(UTC))
        if not await self._write(by=by):
            return
        # The mark has done it. Freeing the memory is a courtesy within the time that is left.
        with contextlib.suppress(CacheUnavailable):
            await self._sweep(_bytes(f"infra_cache:{_escaped(data_type)}:{_escaped(device_id)}:*"), by)

    def statistics(self) -> Mapping[str, Any]:
        """Counters since the start; hit_ratio of hits to hits and misses, None before the first."""
        asked = self._counts["hits"] + self._counts["misses"]
        return {
            **self._counts,
            "hit_ratio": round(self._counts["hits"] / asked, 4) if asked else None,
            "mean_ms": round(self._total_s / self._timed * 1000, 3) if self._timed else None,
            "max_ms": round(self._slowest_s * 1000, 3) if self._timed else None,
            "state": self._breaker.state,
        }

    async def redis_info(self) -> Mapping[str, Any] | None:
        """Memory of the server in bytes and its evictions; None when it does not answer."""
        try:
            memory, stats = await self._redis.run(("INFO", "memory"), ("INFO", "stats"), by=self._redis.deadline())
        except CacheUnavailable:
            return None
        facts = {**_facts(memory), **_facts(stats)}
        return {
            "used_memory_bytes": _number(facts.get("used_memory")),
            "max_memory_bytes": _number(facts.get("maxmemory")),
            "evicted_keys": _number(facts.get("evicted_keys")),
            "policy": facts.get("maxmemory_policy"),
        }

    async def close(self) -> None:
        await self._redis.close()

    def _decoded(self, name: bytes, data: Any) -> CacheEntry | None:
        if data is None:
            return None
        if not isinstance(data, bytes):
            raise Unusable(str(data))  # WRONGTYPE: somebody made the key a list
        return decode(name, data, self._secret)

    def _invalidated_at(self, mark: bytes, stored: Any) -> int:
        try:
            known = int(stored) if isinstance(stored, bytes) else 0
        except ValueError:
            known = 0
        return max(known, self._unsent.get(mark, 0))

    async def _write(self, *commands: tuple[Any, ...], by: float) -> bool:
        """Send commands together with the marks still owed; whether all were taken."""
        owed = dict(self._unsent)
        marks = (("SET", mark, at, "PX", _milliseconds(MARK_TTL)) for mark, at in owed.items())
        try:
            answers = await self._redis.run(*commands, *marks, by=by)
        except CacheUnavailable:
            self._count("errors")
            return False
        if any(isinstance(answer, RedisError) for answer in answers):  # OOM, READONLY, NOPERM
            self._count("errors")
            return False
        for mark, at in owed.items():
            if self._unsent.get(mark) == at:
                del self._unsent[mark]
        return True

    async def _sweep(self, pattern: bytes, by: float) -> None:
        cursor: Any = 0
        while True:
            (page,) = await self._redis.run(("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_PAGE), by=by)
            if isinstance(page, RedisError):
                return
            cursor, found = page
            if found:
                await self._redis.run(("UNLINK", *found), by=by)
            if int(cursor) == 0:
                return

    def _count(self, *names: str) -> None:
        for name in names:
            self._counts[name] += 1

    def _time(self, seconds: float) -> None:
        self._timed += 1
        self._total_s += seconds
        self._slowest_s = max(self._slowest_s, seconds)


def _name(key: CacheKey) -> bytes:
    return _bytes(str(key))


def _mark(data_type: str, device_id: str) -> bytes:
    return _bytes(f"infra_cache_invalidated:{data_type}:{device_id}")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _milliseconds(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)


def _escaped(text: str) -> str:
    return "".join(f"\\{character}" if character in "*?[]^-\\" else character for character in text)


def _facts(reply: Any) -> dict[str, str]:
    if isinstance(reply, dict):
        return {str(name): str(value) for name, value in reply.items()}
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else ""
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None
