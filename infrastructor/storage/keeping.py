"""What `infrastructor_keep_versions` is given: files, versions, contents, texts and events of one batch."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from infrastructor.events import GAP
from infrastructor.ids import uuid7
from infrastructor.snapshot_store import BlindTime, Holding, Signature, Snapshot, Version
from infrastructor.storage.contents import Plan
from infrastructor.storage.rows import CHANGES, HOLDINGS, bits_of
from infrastructor.storage.texts import Searchable, searchable
from infrastructor.storage.versions import Changes, Kept, moment, original, signed_32, signed_64, storable

_CHANGE = {change: letter for letter, change in CHANGES.items()}
_HOLDING = {holding: letter for letter, holding in HOLDINGS.items()}
_TOPIC = "configs"
_INFO, _WARNING = 10, 20
_MAX_TYPE = 100
_INT = 2**63 - 1


def text_of(version: Version) -> Searchable | None:
    """What is searched of a file in this version."""
    if version.signature is None or version.holding is not Holding.CONTENT:
        return None
    return searchable(version.content or b"", version.config_type, version.path)


def arguments(
    changed: Sequence[Changes],
    plan: Plan,
    texts: Mapping[UUID, Searchable | None],
    classes: Mapping[UUID, Sequence[str]],
) -> list[Any]:
    """The arguments behind the device's id, in their order. `texts` by file, `classes` by version."""
    kept = [one for file in changed for one in file.kept]
    text = {key: found for key, found in texts.items() if found is not None}
    return [
        [_file(file) for file in changed],
        [_version(one, plan, classes.get(one.seen.id)) for one in kept],
        sorted(plan.used),
        plan.sealed_with,
        *plan.columns(),
        list(text),
        [found.text for found in text.values()],
        [found.grams for found in text.values()],
        [_event(one) for one in kept],
    ]


def snapshot_of(device_id: UUID, kept: Kept, classes: Sequence[str]) -> Snapshot:
    """The version as it reads from now on."""
    version, state = kept.seen.version, kept.seen.state
    signature = version.signature
    return Snapshot(
        id=kept.seen.id,
        device_id=device_id,
        path=original(kept.seen.path),
        time=kept.time,
        change=kept.change,
        config_type=version.config_type[:_MAX_TYPE],
        holding=state.holding if state else Holding.NONE,
        content_hash=state.digest.hex() if state and state.digest else None,
        size_bytes=_size(version),
        mode=state.mode if state else None,
        uid=state.uid if state else None,
        gid=state.gid if state else None,
        modified_at=None if signature is None else moment(_whole(signature.mtime_ns)),
        target=original(state.target) if state and state.target is not None else None,
        reason=original(state.reason) if state and state.reason is not None else None,
        classes=tuple(classes),
        operation_id=version.operation_id,
    )


def _file(file: Changes) -> dict[str, Any]:
    last = file.kept[-1] if file.kept else None
    signature = file.signature
    if signature is None and file.known is not None:
        signature = file.known.signature
    if last is not None:
        head = {"head_id": str(last.seen.id), "head_time": last.time.isoformat()}
        config_type = last.seen.version.config_type[:_MAX_TYPE]
    elif file.known is not None:
        head = {"head_id": str(file.known.id), "head_time": file.known.time.isoformat()}
        config_type = file.known.config_type
    else:
        raise ValueError(f"nothing is known of {file.path!r}, and no version is new")
    return {
        "path_key": str(file.path_key),
        "path": file.path,
        "config_type": config_type,
        "expected": None if file.known is None else str(file.known.id),
        "gone": file.gone,
        **head,
        **({} if file.gone or signature is None else _signature(signature)),
    }


def _signature(signature: Signature) -> dict[str, int]:
    return {
        "inode": signed_64(signature.inode),
        "size_bytes": _whole(signature.size_bytes),
        "mtime_ns": _whole(signature.mtime_ns),
        "ctime_ns": _whole(signature.ctime_ns),
        "mode": _whole(signature.mode),
        "uid": _whole(signature.uid),
        "gid": _whole(signature.gid),
    }


def _version(kept: Kept, plan: Plan, classes: Sequence[str] | None) -> dict[str, Any]:
    version, state = kept.seen.version, kept.seen.state
    signature = version.signature
    row: dict[str, Any] = {
        "path_key": str(kept.seen.path_key),
        "time": kept.time.isoformat(),
        "id": str(kept.seen.id),
        "change": _CHANGE[kept.change],
        "holding": _HOLDING[state.holding if state else Holding.NONE],
        "config_type": version.config_type[:_MAX_TYPE],
        "operation_id": None if version.operation_id is None else str(version.operation_id),
    }
    if state is not None and signature is not None:
        row |= {
            "mtime_ns": _whole(signature.mtime_ns),
            "content": None if state.digest is None else plan.ids[state.digest],
            "mode": signed_32(state.mode),
            "uid": signed_32(state.uid),
            "gid": signed_32(state.gid),
            "target": state.target,
            "reason": state.reason,
            "classes": None if classes is None else bits_of(classes),
        }
    return row


def gap_event(span: BlindTime) -> dict[str, Any]:
    """Says that nobody watched; what was overwritten meanwhile is not known, so it is never complete."""
    return {
        "id": str(uuid7()),
        "at": span.begin.isoformat(),
        "severity": _WARNING,
        "topic": _TOPIC,
        "kind": GAP,
        "subject": _TOPIC,
        "data": {
            "begin": span.begin.isoformat(),
            "end": span.end.isoformat(),
            "reason": storable(span.reason),
            "complete": False,
        },
    }


def _event(kept: Kept) -> dict[str, Any]:
    version = kept.seen.version
    data = {
        "snapshot_id": str(kept.seen.id),
        "config_type": version.config_type[:_MAX_TYPE],
        "holding": kept.seen.state.holding.value if kept.seen.state else None,
        "size_bytes": _size(version),
        "operation_id": None if version.operation_id is None else str(version.operation_id),
    }
    return {
        "id": str(kept.seen.id),
        "at": kept.time.isoformat(),
        "severity": _INFO,
        "topic": _TOPIC,
        "kind": f"config.{kept.change.value.lower()}",
        "subject": kept.seen.path,
        "data": {key: value for key, value in data.items() if value is not None},
    }


def _size(version: Version) -> int | None:
    if version.signature is None:
        return None
    if version.holding is Holding.CONTENT:
        return len(version.content or b"")
    return _whole(version.signature.size_bytes) if version.holding is Holding.DIGEST else None


def _whole(value: int) -> int:
    return value if -_INT - 1 <= value <= _INT else max(-_INT - 1, min(_INT, value))
