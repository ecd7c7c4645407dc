"""Two sides compared: by lines and by meaning, with secrets masked. Pure, and slow enough for a thread."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from infrastructor.domains.configs.sides import Side, before, is_binary, sha256_of, shown_at, stored_all
from infrastructor.formats.secrets import Masker
from infrastructor.formats.semantic import Comparison, compare
from infrastructor.formats.text_diff import TextDiff, unified
from infrastructor.operation import Context
from infrastructor.snapshot_store import Change, Holding, Snapshot

_LARGEST = 256 << 10  # of contents that are compared by meaning for a row of a list
_LINES = 6
_PERMISSIONS = 0o7777


@dataclass(frozen=True, slots=True)
class Compared:
    """`comparison` None: they could not be compared by meaning, `problem` says why."""

    same: bool
    about: list[str]
    lines: list[str]
    omitted: int
    diff: TextDiff
    problem: str | None = None


async def compared(old: Side, new: Side, masker: Masker, *, context: int = 3, most: int = 24_000) -> Compared:
    """The whole comparison; in a thread."""
    return await asyncio.to_thread(_compared, old, new, masker, context, most)


def _compared(old: Side, new: Side, masker: Masker, context: int, most: int) -> Compared:
    attributes = _attributes(old, new)
    same = sha256_of(old) == sha256_of(new) and not attributes and _target(old) == _target(new)
    problem = next((f"{side.why}" for side in (old, new) if side.why), None)
    if not problem and any(side.exists and is_binary(side) for side in (old, new)):
        problem = "Its content is no text."
    if problem:
        lines = [*attributes, *(["the content is another"] if sha256_of(old) != sha256_of(new) else [])]
        return Compared(same, ["other"] if lines else [], lines, 0, TextDiff("", 0, 0), problem)
    before_text, after_text = old.masked(masker) or "", new.masked(masker) or ""
    diff = unified(before_text, after_text, old=_label(old), new=_label(new), context=context, most=most)
    if old.exists != new.exists:
        lines = [f"{new.path} {'added' if new.exists else 'removed'}"]
        return Compared(False, ["other"], lines, 0, diff)
    comparison = _by_meaning(old, new, before_text, after_text)
    about, lines = list(comparison.classes), [difference.line for difference in comparison.differences]
    if attributes and "other" not in about:
        about.append("other")
    if not comparison.parsed:
        problem = f"One of them is no {new.kind} that could be read: compared by lines only."
    shown = [*attributes, *lines]
    return Compared(same, about, shown[:100], comparison.omitted + max(0, len(shown) - 100), diff, problem)


def _by_meaning(old: Side, new: Side, before_text: str, after_text: str) -> Comparison:
    return compare(new.kind if new.kind == old.kind else "text", before_text, after_text)


def _target(side: Side) -> str | None:
    return side.snapshot.target if side.snapshot is not None else None


def _attributes(old: Side, new: Side) -> list[str]:
    """`mode 644 → 600`; of files on one device only, since owners are its own."""
    if not (old.exists and new.exists) or old.device != new.device or old.path != new.path:
        return []
    (mode, owner), (new_mode, new_owner) = _mode_and_owner(old), _mode_and_owner(new)
    lines = []
    if None not in (mode, new_mode) and mode != new_mode:
        lines.append(f"mode {mode:o} → {new_mode:o}")
    if None not in (owner, new_owner) and owner != new_owner:
        lines.append(f"owner {owner} → {new_owner}")
    return lines


def _mode_and_owner(side: Side) -> tuple[int | None, str | None]:
    if side.live is not None:
        return side.live.mode & _PERMISSIONS, f"{side.live.uid}:{side.live.gid}"
    one = side.snapshot
    if one is None or one.mode is None:
        return None, None
    return one.mode & _PERMISSIONS, f"{one.uid}:{one.gid}"


def _label(side: Side) -> str:
    when = "now" if side.snapshot is None else shown_at(side.snapshot.time)
    return f"{side.device}:{side.path} {when}" if side.exists else "/dev/null"


# --- rows of lists -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """A version in few words."""

    snapshot: Snapshot
    about: list[str]
    what: list[str]


async def tell(ctx: Context, snapshots: Sequence[Snapshot]) -> list[Told]:
    """What each version changed from the one before it. Contents are read once, and compared in a thread."""
    older = await asyncio.gather(*(_before(ctx, one) for one in snapshots))
    found = await differences(ctx, list(zip(snapshots, older, strict=True)))
    return [Told(one, about, what) for one, (about, what) in zip(snapshots, found, strict=True)]


async def _before(ctx: Context, snapshot: Snapshot) -> Snapshot | None:
    return None if snapshot.change is Change.CREATE else await before(ctx, snapshot)


async def differences(
    ctx: Context, pairs: Sequence[tuple[Snapshot, Snapshot | None]]
) -> list[tuple[list[str], list[str]]]:
    """Classes and lines of each pair of a version and the one it is compared with."""
    small = [one for new, old in pairs for one in (new, old) if one is not None and (one.size_bytes or 0) <= _LARGEST]
    found = await stored_all(ctx, small, sound=True)
    sides = {side.snapshot.id: side for side in found if side.snapshot is not None}
    masker = ctx.masker

    def work() -> list[tuple[list[str], list[str]]]:
        return [_row(new, old, sides.get(new.id), sides.get(old.id) if old else None, masker) for new, old in pairs]

    return await asyncio.to_thread(work)


def _row(
    new: Snapshot, old: Snapshot | None, new_side: Side | None, old_side: Side | None, masker: Masker
) -> tuple[list[str], list[str]]:
    if new.change is Change.DELETE:
        return ["other"], ["deleted"]
    if old is None or old.change is Change.DELETE:
        return ["other"], [_created(new, new_side)]
    about: list[str] = []
    lines: list[str] = []
    if new_side is not None and old_side is not None:
        lines += _attributes(old_side, new_side)
    if (new.holding, new.target) != (old.holding, old.target) and Holding.LINK in {new.holding, old.holding}:
        lines.append(f"link to {new.target}" if new.holding is Holding.LINK else "no longer a link")
    elif new.content_hash != old.content_hash:
        found = _content(old_side, new_side, masker)
        if found is None:
            lines.append(f"{old.size_bytes} → {new.size_bytes} bytes")
        else:
            about += found.classes
            lines += [difference.line for difference in found.differences]
    if not about and lines:
        about = ["other"]
    if len(lines) > _LINES:
        lines = [*lines[:_LINES], f"and {len(lines) - _LINES} more"]
    return about, lines


def _content(old: Side | None, new: Side | None, masker: Masker) -> Comparison | None:
    """None where one of them is no text, or is not at hand."""
    if new is None or old is None:
        return None
    before_text, after_text = old.masked(masker), new.masked(masker)
    if before_text is None or after_text is None:
        return None
    return _by_meaning(old, new, before_text, after_text)


def _created(new: Snapshot, side: Side | None) -> str:
    text = None if side is None else side.text
    if text is not None:
        return f"created, {len(text.splitlines())} lines"
    return f"created, a link to {new.target}" if new.holding is Holding.LINK else f"created, {new.size_bytes} bytes"
