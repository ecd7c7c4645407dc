"""`zpool list` as rows: one line a pool, or JSON."""

from collections.abc import Mapping
from typing import Any

from infrastructor.domains.zfs.models import Pool
from infrastructor.domains.zfs.status_json import members
from infrastructor.errors import ParseError
from infrastructor.sanitize import clean

COLUMNS = (
    "name", "health", "size", "allocated", "free", "capacity", "fragmentation", "dedupratio", "ashift", "autotrim",
    "readonly", "expandsize", "checkpoint", "freeing", "guid",
)  # fmt: skip
_LONGEST_NUMBER = 20


def from_text(text: str) -> tuple[Pool, ...]:
    """The lines of `zpool list -H -p -o …` with these columns. Raises `ParseError` for any other."""
    rows = [line.split("\t") for line in text.splitlines() if line]
    for row in rows:
        if len(row) != len(COLUMNS):
            raise ParseError(f"zpool list printed {len(row)} columns, not {len(COLUMNS)}: {clean(str(row), 200)}")
    return tuple(_pool(dict(zip(COLUMNS, row, strict=True))) for row in rows)


def from_json(text: str) -> tuple[Pool, ...]:
    """The pools of `zpool list -j --json-int -o …` with these columns. Raises `ParseError` for anything else."""
    found = []
    for pool in members(text, "pools"):
        properties = pool.get("properties")
        if not isinstance(properties, dict):
            raise ParseError(f"zpool list told a pool without properties: {clean(str(pool), 200)!r}")
        values = {name: one.get("value") for name, one in properties.items() if isinstance(one, dict)}
        # --json-int cuts the property guid at 2^63; the key beside it is whole.
        values |= {"name": pool.get("name"), "health": pool.get("state"), "guid": pool.get("pool_guid")}
        found.append(_pool(values))
    return tuple(found)


def _pool(values: Mapping[str, Any]) -> Pool:
    return Pool(
        name=clean(str(values.get("name") or "")),
        state=clean(str(values.get("health") or "")),
        size_bytes=number(values.get("size")),
        allocated_bytes=number(values.get("allocated")),
        free_bytes=number(values.get("free")),
        capacity_percent=number(values.get("capacity")),
        fragmentation_percent=number(values.get("fragmentation")),
        dedup_ratio=ratio(values.get("dedupratio")),
        ashift=number(values.get("ashift")),
        autotrim=switch(values.get("autotrim")),
        read_only=switch(values.get("readonly")),
        expandable_bytes=number(values.get("expandsize")),
        checkpoint_bytes=number(values.get("checkpoint")),
        freeing_bytes=number(values.get("freeing")) or None,
        guid=str(number(values.get("guid")) or 0),
    )


def number(value: object) -> int | None:
    """A whole number, as JSON or text, with `%` or without; None for `-`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = value.rstrip("%") if isinstance(value, str) else ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER else None


def ratio(value: object) -> float | None:
    """`1.23x`, `1.23` or 1.23."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    try:
        return float(value.rstrip("x")) if isinstance(value, str) and len(value) <= _LONGEST_NUMBER else None
    except ValueError:
        return None


def switch(value: object) -> bool | None:
    return {"on": True, "off": False}.get(value) if isinstance(value, str) else None
