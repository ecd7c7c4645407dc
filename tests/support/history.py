"""Versions of files as a watcher hands them over."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from infrastructor.snapshot_store import Holding, Signature, Version

START = datetime(2026, 11, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def signature(seconds: float, **fields: Any) -> Signature:
    stamp = int(at(seconds).timestamp() * 1_000_000) * 1000
    values = {"inode": 7, "size_bytes": 0, "mtime_ns": stamp, "ctime_ns": stamp, "mode": 0o100644, "uid": 0, "gid": 0}
    return Signature(**{**values, **fields})


def saw(path: str, content: bytes | str, seconds: float, *, kind: str = "text", **fields: Any) -> Version:
    """A file with content."""
    raw = content.encode() if isinstance(content, str) else content
    stamp = {name: fields.pop(name) for name in ("mode", "uid", "gid", "inode", "ctime_ns") if name in fields}
    return Version(
        path=path,
        time=at(seconds),
        config_type=kind,
        signature=signature(seconds, size_bytes=len(raw), **stamp),
        holding=Holding.CONTENT,
        content=raw,
        content_hash=hashlib.sha256(raw).hexdigest(),
        **fields,
    )


def gone(path: str, seconds: float) -> Version:
    return Version(path=path, time=at(seconds), config_type="text", signature=None)
