"""The JSON of `zpool status -j --json-int -P -s -t [-v]` (OpenZFS 2.3 and newer), as the same pools as the text.

The manual's examples are not what the program prints; this reads what it prints. What the text does not tell (guids of
vdevs, exact sizes of a scrub) is left out or rounded alike, so that a pool reads the same on every version.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from infrastructor.domains.zfs import printed
from infrastructor.domains.zfs.models import PoolState
from infrastructor.domains.zfs.scan_json import Running, activities
from infrastructor.domains.zfs.vdevs import CORRUPTED, PROBLEMS, ROLES, Row, state_of, tree
from infrastructor.errors import ParseError
from infrastructor.sanitize import clean

Json = Mapping[str, Any]

_KEYS = {"cache": "l2cache"}  # a heading of the text, and its key where that is another
_COUNTERS = {
    "read_errors": "read_errors", "write_errors": "write_errors", "checksum_errors": "checksum_errors",
    "slow_ios": "slow_ios",
}  # fmt: skip
_TRIMS = {"ACTIVE": "running", "SUSPENDED": "suspended", "COMPLETE": "complete"}
_DEEPEST = 30


@dataclass(frozen=True)
class PoolReading:
    """A pool, and the figures from which the speed of what runs is told once the device's time is known."""

    state: PoolState
    running: tuple[Running, ...] = ()

    def at(self, now: int) -> PoolState:
        """The state, the device's clock showing `now`."""
        activities = list(self.state.activities)
        for one in self.running:
            activities[one.place] = one.at(activities[one.place], now)
        return self.state.model_copy(update={"activities": activities})


def pools(text: str) -> tuple[PoolReading, ...]:
    """Every pool in the JSON. Raises `ParseError` for anything else."""
    return tuple(_pool(pool) for pool in members(text, "pools"))


def members(text: str, key: str) -> list[Json]:
    """The objects under a key of the envelope that the ZFS programs put around their JSON."""
    if not text.strip():
        return []  # no pool, no dataset: nothing is printed
    try:
        found = json.loads(text)
        values = list(found[key].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ParseError(f"Not the JSON of a ZFS program, with {key}: {clean(text, 200)!r}") from error
    if not all(isinstance(value, dict) for value in values):
        raise ParseError(f"Not the JSON of a ZFS program, with {key}: {clean(text, 200)!r}")
    return values


def _pool(pool: Json) -> PoolReading:
    name, state = pool.get("name"), pool.get("state")
    if not isinstance(name, str) or not isinstance(state, str):
        raise ParseError(f"zpool status told a pool without name or state: {clean(str(pool), 200)!r}")
    going_on, running = activities(pool)
    created = _dict(pool, "checkpoint_stats")
    count, files = _errors(pool)
    resilvering = next((one.kind for one in going_on if one.state in {"running", "paused"} and one.vdev is None), None)
    return PoolReading(
        PoolState(
            name=clean(name),
            state=clean(state),
            status=_words(pool.get("status")),
            action=_words(pool.get("action")),
            message=_words(pool.get("msgid")),
            see=_words(pool.get("moreinfo")),
            activities=going_on,
            checkpoint_at=printed.moment(created.get("start_time")) if created.get("state") == "EXISTS" else None,
            checkpoint_bytes=_size(created.get("space")) if created.get("state") in {"EXISTS", "DISCARDING"} else None,
            data_errors=count,
            error_files=files,
            vdevs=tree(list(_rows(pool, resilvering))),
        ),
        running,
    )


def _errors(pool: Json) -> tuple[int | None, list[str]]:
    count, files = pool.get("error_count"), pool.get("errlist")
    if isinstance(files, list):
        names = [clean(str(name)) for name in files]
        return len(names), names
    return (count if _number(count) else None), []


def _rows(pool: Json, resilvering: str | None) -> Iterator[Row]:
    for vdev in _children(pool, "vdevs"):
        yield from _branch(vdev, 0, "normal", None, resilvering)
    for heading, role in ROLES.items():
        for vdev in _children(pool, _KEYS.get(heading, heading)):
            yield from _branch(vdev, 1, role, None, resilvering)


def _branch(vdev: Json, depth: int, role: str, parent: Row | None, resilvering: str | None) -> Iterator[Row]:
    children = _children(vdev, "vdevs")
    state, aux = (value if isinstance(value, str) else None for value in (vdev.get("state"), vdev.get("aux")))
    values = _values(vdev, leaf=not children, spare=role == "spare", resilvering=resilvering)
    row = Row(str(vdev.get("name", "")), depth, role, state_of(state, aux), parent, values)
    yield row
    if depth < _DEEPEST:
        for child in children:
            yield from _branch(child, depth + 1, role, row, resilvering)


def _values(vdev: Json, *, leaf: bool, spare: bool, resilvering: str | None) -> dict[str, object]:
    values: dict[str, object] = {name: vdev[key] for key, name in _COUNTERS.items() if _number(vdev.get(key))}
    aux = vdev.get("aux")
    if isinstance(vdev.get("was"), str):
        values["was"] = clean(vdev["was"])
    elif isinstance(aux, str) and aux != "NONE":
        values["problem"] = _problem(vdev, aux, leaf=leaf)
    elif spare and isinstance(vdev.get("used_by"), str):
        values["problem"] = f"in use by pool '{clean(vdev['used_by'])}'"
    configured, physical = vdev.get("configured_ashift"), vdev.get("physical_ashift")
    if _number(configured) and _number(physical) and max(configured, physical) < 64:  # noqa: PLR2004
        values |= {"configured_block_bytes": 1 << configured, "native_block_bytes": 1 << physical}
    trim = vdev.get("trim_state")
    if vdev.get("trim_notsup") == 1:
        values["trim"] = "unsupported"
    elif trim in _TRIMS:
        values |= {"trim": _TRIMS[trim], "trimmed_at": printed.moment(vdev.get("trim_time"))}
    elif isinstance(trim, str):
        values["trim"] = "never"
    return values | {"doing": list(_doing(vdev, leaf=leaf, resilvering=resilvering))}


def _problem(vdev: Json, aux: str, *, leaf: bool) -> str:
    if aux == "SPARED" and isinstance(vdev.get("used_by"), str):
        return f"in use by pool '{clean(vdev['used_by'])}'"
    counted = sum(vdev.get(name) or 0 for name in _COUNTERS if name != "slow_ios" and _number(vdev.get(name)))
    if aux == "ERR_EXCEEDED" and leaf and counted == 0 and vdev.get("slow_ios"):
        return "too many slow I/Os"
    return PROBLEMS.get(aux, CORRUPTED)


def _doing(vdev: Json, *, leaf: bool, resilvering: str | None) -> Iterator[str]:
    if vdev.get("removing"):
        yield "removing"
    elif vdev.get("noalloc"):
        yield "non-allocating"
    if resilvering is not None and leaf and vdev.get("state") == "ONLINE":
        if vdev.get("scan_processed"):
            yield "resilvering" if resilvering == "resilver" else "repairing"
        elif vdev.get("resilver_deferred"):
            yield "awaiting resilver"


def _children(item: Json, key: str) -> list[Json]:
    return [child for child in _dict(item, key).values() if isinstance(child, dict)]


def _dict(item: Json, key: str) -> Json:
    found = item.get(key)
    return found if isinstance(found, dict) else {}


def _number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _size(value: object) -> int | None:
    return printed.rounded(value) if isinstance(value, int) and value >= 0 else None


def _words(value: object) -> str | None:
    return (clean(" ".join(value.split())) or None) if isinstance(value, str) else None
