"""Rows of the configuration history as records."""

from collections.abc import Iterable
from typing import Any

from infrastructor.snapshot_store import Change, Head, Holding, Signature, Snapshot
from infrastructor.storage.versions import Known, State, moment, original, unsigned_32, unsigned_64

CHANGES = {"c": Change.CREATE, "m": Change.MODIFY, "d": Change.DELETE}
HOLDINGS = {"c": Holding.CONTENT, "d": Holding.DIGEST, "l": Holding.LINK, "n": Holding.NONE}
# What a change is about is kept as bits: a place here is a bit in the database for ever (migration 0013).
CLASSES = (
    "cosmetic", "image", "env", "ports", "volumes", "networks", "health", "auth", "upstream", "service_added",
    "service_removed", "other",
)  # fmt: skip
_BITS = {name: 1 << place for place, name in enumerate(CLASSES)}


def snapshot(row: Any) -> Snapshot:
    (
        number, device_id, path, time, change, config_type, holding, digest, size_bytes, mode, uid, gid, mtime_ns,
        target, reason, bits, operation_id,
    ) = row  # fmt: skip
    return Snapshot(
        id=number,
        device_id=device_id,
        path=original(path),
        time=time,
        change=CHANGES[change],
        config_type=config_type,
        holding=HOLDINGS[holding],
        content_hash=None if digest is None else digest.hex(),
        size_bytes=size_bytes,
        mode=unsigned_32(mode),
        uid=unsigned_32(uid),
        gid=unsigned_32(gid),
        modified_at=moment(mtime_ns),
        target=None if target is None else original(target),
        reason=None if reason is None else original(reason),
        classes=tuple(name for name, bit in _BITS.items() if bits & bit) if bits else (),
        operation_id=operation_id,
    )


def bits_of(classes: Iterable[str]) -> int:
    """These classes as they are kept; one without a place has no bit."""
    return sum(_BITS.get(name, 0) for name in set(classes))


def head(row: Any) -> Head:
    return Head(
        path=original(row["path"]),
        signature=_signature(row),
        holding=HOLDINGS[row["holding"]],
        content_hash=None if row["hash"] is None else row["hash"].hex(),
        snapshot_id=row["id"],
    )


def known_of(row: Any) -> Known:
    return Known(
        id=row["head_id"],
        time=row["head_time"],
        state=state_in(row, gone=row["gone"]),
        signature=None if row["gone"] else _signature(row),
        config_type=row["config_type"],
    )


def state_in(row: Any, *, gone: bool) -> State | None:
    if gone:
        return None
    return State(
        holding=HOLDINGS[row["holding"]],
        digest=row["hash"],
        mode=row["version_mode"] & 0xFFFFFFFF,
        uid=row["version_uid"] & 0xFFFFFFFF,
        gid=row["version_gid"] & 0xFFFFFFFF,
        target=row["target"],
        reason=row["reason"],
    )


def _signature(row: Any) -> Signature:
    return Signature(
        inode=unsigned_64(row["inode"]),
        size_bytes=row["size_bytes"],
        mtime_ns=row["mtime_ns"],
        ctime_ns=row["ctime_ns"],
        mode=row["mode"],
        uid=row["uid"],
        gid=row["gid"],
    )
