"""Which stream comes next, so that a target gets a snapshot: pure, from what both ends have.

Snapshots are compared by GUID, never by name: a name can be given to another snapshot.
"""

from dataclasses import dataclass, replace
from typing import Literal

from infrastructor.domains.zfs.replica import Point, Replica
from infrastructor.errors import Conflict, NotFound

_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What somebody wants to have sent. `raw` None: as the target has it, and for a new one where it is encrypted."""

    snapshot: str
    base: str | None = None
    intermediates: bool = False
    raw: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One stream: the flags it is sent with, and whether its target is new."""

    kind: Literal["full", "incremental", "resume"]
    snapshot: Point
    base: Point | None = None
    intermediates: bool = False
    raw: bool = False
    large: bool = False
    compressed: bool = False
    embedded: bool = False


@dataclass(frozen=True)
class Clash:
    """Why the target cannot take it as it is, and what forcing it would take."""

    message: str
    newer: tuple[Point, ...] = ()
    base: Point | None = None


def wanted_point(source: Replica, name: str, device: str) -> Point:
    """The snapshot by its name. Raises `NotFound`."""
    if not source.exists:
        raise NotFound(f"{device} has no dataset {source.name!r}.", hint="zfs_dataset_list tells which there are.")
    found = next((point for point in source.snapshots if point.name == name), None)
    if found is None:
        newest = ", ".join(point.short for point in source.snapshots[: -_NAMED - 1 : -1]) or "none"
        raise NotFound(f"{source.name} on {device} has no snapshot {name!r}.", hint=f"Its newest: {newest}.")
    return found


def has(target: Replica, point: Point) -> bool:
    """Whether the target has this very snapshot."""
    return any(one.guid == point.guid for one in target.snapshots)


def newest_common(source: Replica, target: Replica, before: Point) -> Point | None:
    """The newest snapshot or bookmark of the source, older than this one, that the target has as a snapshot.

    Of a snapshot and its bookmark the snapshot is taken: with it, all in between can be sent too.
    """
    there = {point.guid for point in target.snapshots}
    common = [
        point
        for point in source.points
        if point.guid in there and point.guid != before.guid and point.createtxg < before.createtxg
    ]
    return max(common, key=lambda point: (point.createtxg, point.kind == "snapshot"), default=None)


def clash(source: Replica, target: Replica, wanted: Point, wish: Wish) -> Clash | None:
    """What keeps the target from taking it without losing anything; None when nothing does."""
    if not target.exists:
        return None
    base = chosen_base(source, target, wanted, wish)
    if base is None:
        count = len(target.snapshots)
        return Clash(f"it exists, and none of its {count} snapshots is also at the source", target.snapshots)
    there = next(point for point in target.snapshots if point.guid == base.guid)
    newer = tuple(point for point in target.snapshots if point.createtxg > there.createtxg)
    if newer:
        named = ", ".join(point.short for point in newer[:_NAMED]) + (" …" if len(newer) > _NAMED else "")
        return Clash(f"it has {len(newer)} snapshots newer than the common {base.short}: {named}", newer, there)
    if target.written_bytes:
        return Clash(f"{target.written_bytes:,} bytes were written to it since {base.short}", (), there)
    return None


def chosen_base(source: Replica, target: Replica, wanted: Point, wish: Wish) -> Point | None:
    """Where an incremental stream starts: as asked for, else the newest common point. Raises `NotFound`, `Conflict`."""
    if wish.base is None:
        return newest_common(source, target, wanted)
    named = [point for point in source.points if wish.base in {point.name, point.short}]
    if not named:
        raise NotFound(f"{source.name} has no snapshot or bookmark {wish.base!r} to start from.")
    base = named[0]
    if base.createtxg >= wanted.createtxg:
        raise Conflict(f"{base.name} is not older than {wanted.name}, so no stream leads from it.")
    if not has(target, base):
        raise Conflict(f"{target.name} has no snapshot with the GUID of {base.name} ({base.guid}).")
    return base


def next_stream(source: Replica, target: Replica, wanted: Point, wish: Wish) -> Stream:
    """The stream that brings the target nearer to it, which takes it without loss. Raises `Conflict`."""
    raw = _raw(source, target, wish)
    full = Stream(
        kind="full",
        snapshot=source.snapshots[0] if wish.intermediates else wanted,
        raw=raw,
        # A raw stream is what is on disk; its flags follow from that.
        large=not raw and target.can("large_blocks"),
        embedded=not raw and target.can("embedded_data"),
        compressed=not raw and _can_compressed(source, target),
    )
    base = chosen_base(source, target, wanted, wish) if target.exists else None
    if base is not None:
        between = wish.intermediates and base.kind == "snapshot"
        if wish.intermediates and base.kind == "bookmark":
            raise Conflict(
                f"The newest common point is the bookmark {base.name}, from which only one snapshot can be sent.",
                hint="Leave intermediates out.",
            )
        return replace(full, kind="incremental", snapshot=wanted, base=base, intermediates=between)
    if wish.base is not None:
        raise Conflict(f"{target.name} does not exist, so it has no {wish.base} to start from.", hint="Leave base out.")
    return full


def _raw(source: Replica, target: Replica, wish: Wish) -> bool:
    raw = wish.raw
    if raw is None:
        # Streams into one dataset are all raw or none is.
        own_key = target.get("encryptionroot") == target.name
        raw = source.encrypted and (not target.exists or (target.encrypted and own_key))
    if raw and source.encrypted and not target.can("encryption"):
        raise Conflict(f"The pool of {target.name} cannot hold encrypted data: its feature encryption is not enabled.")
    if not raw and source.encrypted and source.get("keystatus") != "available":
        raise Conflict(
            f"The key of {source.name} is not loaded, so it can only be sent raw.",
            hint="Load it with 'zfs load-key', or send with raw=true to a new dataset.",
        )
    return raw


def _can_compressed(source: Replica, target: Replica) -> bool:
    """Whether blocks may stay as compressed as they are: the target must know how they were."""
    zstd = target.can("zstd_compress") or source.features.get("zstd_compress") != "active"
    return target.can("lz4_compress") and zstd
