"""Answers that are kept for a while."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol


class CacheState(StrEnum):
    HIT = "hit"
    MISS = "miss"
    BYPASS = "bypass"  # not cacheable, not asked for, or the cache did not answer in time


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheKey:
    """`infra_cache:{data_type}:{device_id}:{additional_key}`."""

    data_type: str
    device_id: str
    additional_key: str = ""

    def __str__(self) -> str:
        return f"infra_cache:{self.data_type}:{self.device_id}:{self.additional_key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """`body` is the JSON of a result; `schema` fingerprints the model that wrote it."""

    schema: str
    collected_at: datetime
    body: bytes


class CacheManager(Protocol):
    """Makes things faster and nothing else: no method raises, every one answers within its deadline."""

    async def get(self, key: CacheKey) -> tuple[CacheState, CacheEntry | None]: ...

    async def set(self, key: CacheKey, entry: CacheEntry, ttl: timedelta) -> None: ...

    async def delete(self, key: CacheKey) -> None: ...

    async def invalidate(self, data_type: str, device_id: str) -> None: ...

    def statistics(self) -> Mapping[str, Any]:
        """hits, misses, bypasses, errors, hit_ratio, mean_ms, state."""
        ...
