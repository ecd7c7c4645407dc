"""The cache against a real Valkey, whole and broken: never an error, never slow, never wrong."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from redis.asyncio import Redis

from infrastructor.cache import RedisCacheManager
from infrastructor.cache.breaker import Breaker
from infrastructor.ids import uuid7
from infrastructor.ports.cache import CacheEntry, CacheKey, CacheState
from tests.support.toxic import Toxic
from tests.support.valkey import TestValkey

SECRET = b"k" * 32
TTL = timedelta(minutes=5)
LIMIT_S = 0.05
LOADED_S = 1.0  # what a busy test machine may add to a deadline; one test measures what it is when it adds nothing
T = TypeVar("T")


def entry(body: bytes = b'{"pools":[]}', schema: str = "s1", collected_at: datetime | None = None) -> CacheEntry:
    return CacheEntry(schema=schema, collected_at=collected_at or datetime.now(UTC), body=body)


def key(additional_key: str = "") -> CacheKey:
    return CacheKey(data_type="zfs_pools", device_id=str(uuid7()), additional_key=additional_key)


async def quick(call: Awaitable[T]) -> T:
    started = time.perf_counter()
    result = await call
    assert time.perf_counter() - started < LIMIT_S + LOADED_S
    return result


@pytest.fixture
async def cache(valkey_url: str) -> AsyncIterator[RedisCacheManager]:
    """Patient, because a busy test machine is no broken Redis."""
    manager = RedisCacheManager(valkey_url, secret=SECRET, deadline_s=10)
    yield manager
    await manager.close()


@pytest.fixture
async def raw(valkey_url: str) -> AsyncIterator[Any]:
    client = Redis.from_url(valkey_url)
    yield client
    await client.aclose()


async def test_an_entry_is_read_back_and_counted(cache: RedisCacheManager) -> None:
    here, stored = key("tank"), entry()
    assert await cache.get(here) == (CacheState.MISS, None)
    await cache.set(here, stored, TTL)
    assert await cache.get(here) == (CacheState.HIT, stored)
    facts = cache.statistics()
    assert (facts["hits"], facts["misses"], facts["bypasses"], facts["errors"]) == (1, 1, 0, 0)
    assert (facts["hit_ratio"], facts["state"]) == (0.5, "closed")
    assert 0 < facts["mean_ms"] <= facts["max_ms"]


async def test_the_key_in_redis_is_the_founding_one(cache: RedisCacheManager, raw: Any) -> None:
    here = CacheKey(data_type="containers", device_id=str(uuid7()))
    await cache.set(here, entry(), TTL)
    assert await raw.exists(f"infra_cache:containers:{here.device_id}:")
    assert 0 < await raw.pttl(str(here)) <= 300_000


async def test_an_entry_expires(cache: RedisCacheManager) -> None:
    here = key()
    await cache.set(here, entry(), timedelta(milliseconds=30))
    await asyncio.sleep(0.06)
    assert await cache.get(here) == (CacheState.MISS, None)


async def test_delete_forgets_one_and_invalidate_all_of_a_kind(cache: RedisCacheManager, raw: Any) -> None:
    first = key("a")
    second = CacheKey(data_type=first.data_type, device_id=first.device_id, additional_key="b")
    other_type = CacheKey(data_type="containers", device_id=first.device_id)
    for one in (first, second, other_type):
        await cache.set(one, entry(), TTL)
    await cache.delete(first)
    assert (await cache.get(first))[0] is CacheState.MISS
    await cache.invalidate(first.data_type, first.device_id)
    assert (await cache.get(second))[0] is CacheState.MISS
    assert (await cache.get(other_type))[0] is CacheState.HIT
    assert await raw.keys(f"infra_cache:zfs_pools:{first.device_id}:*") == []


async def test_an_answer_collected_before_the_change_is_not_kept_after_it(cache: RedisCacheManager) -> None:
    here, before = key(), entry()
    await cache.invalidate(here.data_type, here.device_id)
    await cache.set(here, before, TTL)
    assert (await cache.get(here))[0] is CacheState.MISS
    await cache.set(here, entry(), TTL)
    assert (await cache.get(here))[0] is CacheState.HIT


async def test_another_process_sees_the_invalidation(cache: RedisCacheManager, valkey_url: str) -> None:
    other = RedisCacheManager(valkey_url, secret=SECRET, deadline_s=10)
    here, before = key(), entry()
    await cache.invalidate(here.data_type, here.device_id)
    await other.set(here, before, TTL)
    assert (await other.get(here))[0] is CacheState.MISS
    await other.close()


@pytest.mark.parametrize("poison", ["list", "garbage", "empty", "future version", "another key's entry", "cut short"])
async def test_a_poisoned_key_is_a_miss_and_gone(cache: RedisCacheManager, raw: Any, poison: str) -> None:
    here, other = key(), key()
    await cache.set(other, entry(), TTL)
    good = await raw.get(str(other))
    if poison == "list":
        await raw.lpush(str(here), "x")
    else:
        await raw.set(
            str(here),
            {
                "garbage": b"\xff\x00" * 50,
                "empty": b"",
                "future version": good[:2] + b"\x63" + good[3:],
                "another key's entry": good,
                "cut short": good[:-1],
            }[poison],
        )
    assert await cache.get(here) == (CacheState.MISS, None)
    assert not await raw.exists(str(here))
    assert cache.statistics()["poisoned"] == 1
    await cache.set(here, entry(), TTL)
    assert (await cache.get(here))[0] is CacheState.HIT


async def test_set_heals_a_wrong_typed_key(cache: RedisCacheManager, raw: Any) -> None:
    here = key()
    await raw.lpush(str(here), "x")
    await cache.set(here, entry(), TTL)
    assert (await cache.get(here))[0] is CacheState.HIT


async def test_odd_values_raise_nothing(cache: RedisCacheManager) -> None:
    odd = CacheKey(data_type="t", device_id="\ud800", additional_key="a:b*c\r\n\0")
    await cache.set(odd, entry(schema="x" * 300), TTL)
    await cache.set(odd, entry(body=b"x" * (3 << 20)), TTL)
    await cache.set(odd, entry(), timedelta(0))
    assert (await cache.get(odd))[0] is CacheState.MISS
    await cache.set(odd, entry(), TTL)
    assert (await cache.get(odd))[0] is CacheState.HIT
    await cache.invalidate("t", "\ud800")
    assert (await cache.get(odd))[0] is CacheState.MISS


async def test_hundreds_of_calls_at_once_all_hit(cache: RedisCacheManager) -> None:
    keys = [key() for _ in range(300)]
    await asyncio.gather(*(cache.set(one, entry(str(one).encode()), TTL) for one in keys))
    answers = await asyncio.gather(*(cache.get(one) for one in keys))
    assert [found.body for _, found in answers if found] == [str(one).encode() for one in keys]


async def test_a_cancelled_read_does_not_shift_the_next_answer(cache: RedisCacheManager) -> None:
    keys = [key() for _ in range(20)]
    for one in keys:
        await cache.set(one, entry(str(one).encode()), TTL)
    for round_ in range(40):
        doomed = asyncio.create_task(cache.get(keys[round_ % 20]))
        for _ in range(round_ % 5):
            await asyncio.sleep(0)
        doomed.cancel()
        _, found = await cache.get(keys[(round_ + 1) % 20])
        assert found is not None
        assert found.body == str(keys[(round_ + 1) % 20]).encode()


async def test_memory_of_the_server_is_told(cache: RedisCacheManager) -> None:
    info = await cache.redis_info()
    assert info is not None
    assert info["max_memory_bytes"] == 100 << 20
    assert info["policy"] == "allkeys-lru"
    assert 0 < info["used_memory_bytes"] < 100 << 20


async def _all_methods(cache: RedisCacheManager) -> CacheState:
    here = key()
    state, found = await quick(cache.get(here))
    assert found is None
    await quick(cache.set(here, entry(), TTL))
    await quick(cache.delete(here))
    await quick(cache.invalidate(here.data_type, here.device_id))
    await quick(cache.redis_info())
    return state


async def test_killed_is_a_bypass_and_back_again(own_valkey: TestValkey) -> None:
    cache = RedisCacheManager(own_valkey.url, secret=SECRET, breaker=Breaker(pause_s=0.2))
    here = key()
    await cache.set(here, entry(), TTL)
    own_valkey.kill()
    for _ in range(5):
        assert await _all_methods(cache) is CacheState.BYPASS
    assert cache.statistics()["state"] == "open"
    await asyncio.to_thread(own_valkey.start)
    await asyncio.sleep(0.2)
    assert (await cache.get(here))[0] is CacheState.MISS
    await cache.set(here, entry(), TTL)
    assert (await cache.get(here))[0] is CacheState.HIT
    await cache.close()


async def test_frozen_is_a_bypass_within_the_deadline(own_valkey: TestValkey) -> None:
    cache = RedisCacheManager(own_valkey.url, secret=SECRET, breaker=Breaker(failures=10, pause_s=0.2))
    here = key()
    await cache.set(here, entry(), TTL)
    with own_valkey.frozen():
        took = []
        for _ in range(8):
            started = time.perf_counter()
            assert (await cache.get(here))[0] is CacheState.BYPASS
            took.append(time.perf_counter() - started)
        assert 0.04 < min(took) < LIMIT_S
        for _ in range(4):
            assert await _all_methods(cache) is CacheState.BYPASS
        assert cache.statistics()["state"] == "open"
    await asyncio.sleep(0.25)
    assert (await cache.get(here))[0] is CacheState.HIT
    await cache.close()


async def test_a_change_during_an_outage_counts_when_redis_is_back(own_valkey: TestValkey) -> None:
    cache = RedisCacheManager(own_valkey.url, secret=SECRET, breaker=Breaker(pause_s=0.05))
    other = RedisCacheManager(own_valkey.url, secret=SECRET, deadline_s=10)
    here, old = key(), entry()
    await cache.set(here, old, TTL)
    with own_valkey.frozen():
        await quick(cache.invalidate(here.data_type, here.device_id))
    await asyncio.sleep(0.1)
    assert (await cache.get(here))[0] is CacheState.MISS
    await cache.set(key(), entry(), TTL)  # the mark goes with the next write
    await other.set(here, old, TTL)
    assert (await other.get(here))[0] is CacheState.MISS
    await cache.close()
    await other.close()


async def held(cache: RedisCacheManager, here: CacheKey, stored: CacheEntry) -> None:
    """The cache holds the entry: on a busy machine an answer may take longer than the cache waits, so ask again."""
    async with asyncio.timeout(10):
        while (await cache.get(here))[0] is not CacheState.HIT:
            await cache.set(here, stored, TTL)


@pytest.mark.parametrize("fault", ["latency", "blackhole", "cut"])
async def test_a_bad_network_is_a_bypass(valkey: TestValkey, tmp_path: Path, fault: str) -> None:
    proxy = Toxic(valkey.socket)
    path = await proxy.start(tmp_path / "s")
    cache = RedisCacheManager(f"unix://{path}", secret=SECRET, breaker=Breaker(pause_s=0.05))
    here, stored = key(), entry()
    await held(cache, here, stored)
    if fault == "latency":
        proxy.latency_s = 0.2
    elif fault == "blackhole":
        proxy.blackhole = True
    if fault == "cut":
        proxy.cut()
        assert (await quick(cache.get(here)))[0] in {CacheState.BYPASS, CacheState.HIT}
    else:
        for _ in range(4):
            assert (await quick(cache.get(here)))[0] is CacheState.BYPASS
    proxy.latency_s, proxy.blackhole = 0.0, False
    deadline = time.monotonic() + 5
    while (await cache.get(here)) != (CacheState.HIT, stored):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    await cache.close()
    await proxy.close()


async def test_one_probe_at_a_time_while_it_is_frozen(own_valkey: TestValkey) -> None:
    cache = RedisCacheManager(own_valkey.url, secret=SECRET, breaker=Breaker(pause_s=60))
    await cache.set(key(), entry(), TTL)
    with own_valkey.frozen():
        for _ in range(3):
            await cache.get(key())
        started = time.perf_counter()
        answers = await asyncio.gather(*(cache.get(key()) for _ in range(1000)))
        assert time.perf_counter() - started < 0.5
        assert {state for state, _ in answers} == {CacheState.BYPASS}
    await cache.close()


async def test_a_full_server_that_evicts_nothing_still_answers(own_valkey: TestValkey) -> None:
    client = Redis.from_url(own_valkey.url)
    cache = RedisCacheManager(own_valkey.url, secret=SECRET, deadline_s=10)
    here = key()
    await cache.set(here, entry(), TTL)
    await client.config_set("maxmemory-policy", "noeviction")
    await client.config_set("maxmemory", "1")
    await quick(cache.set(key(), entry(b"x" * 1000), TTL))
    assert (await cache.get(here))[0] is CacheState.HIT
    await cache.invalidate(here.data_type, here.device_id)
    assert (await cache.get(here))[0] is CacheState.MISS, "a mark that Redis refused counts here all the same"
    assert cache.statistics()["errors"] == 2
    await client.aclose()
    await cache.close()
