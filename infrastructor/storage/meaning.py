"""What new versions change: the classes that are kept with them. Pure; it takes longer than compressing does."""

import logging
from collections.abc import Callable, Mapping, Sequence
from time import thread_time
from uuid import UUID

from infrastructor.formats.kinds import TEXT, as_text
from infrastructor.snapshot_store import Change, Holding
from infrastructor.storage.contents import Digest
from infrastructor.storage.versions import Kept

logger = logging.getLogger(__name__)

Classify = Callable[[str, str, str], Sequence[str]]
"""Classes by type of configuration, text before and text after."""

LARGEST = 128 << 10  # of both texts; what is larger is compared when somebody asks
BUDGET_S = 1.0  # of a processor and one batch; versions must not wait longer to be kept
OTHER = "other"


def compared_bytes(kept: Sequence[Kept], contents: Mapping[Digest, bytes]) -> int:
    """How much there is to compare."""
    return sum(sum(map(len, pair)) for one in kept if (pair := _pair(one, contents)))


def classes_of(kept: Sequence[Kept], contents: Mapping[Digest, bytes], classify: Classify) -> dict[UUID, list[str]]:
    """Classes by version. One that is left out was too large, or its turn did not come; a bug in it costs only it."""
    end = thread_time() + BUDGET_S
    found: dict[UUID, list[str]] = {}
    for one in kept:
        if one.change is not Change.MODIFY:
            continue
        if not _is_rewritten(one):
            found[one.seen.id] = [OTHER]
            continue
        pair = _pair(one, contents)
        if pair is None or thread_time() > end:
            continue
        try:
            found[one.seen.id] = _compared(one, *pair, classify)
        except Exception as error:  # noqa: BLE001 - without its message, which may quote the file
            logger.error("A change was not understood", extra={"path": one.seen.path, "error": type(error).__name__})
    return found


def _compared(one: Kept, before: bytes, after: bytes, classify: Classify) -> list[str]:
    old, new, kind = as_text(before), as_text(after), one.seen.version.config_type
    if old is None or new is None:
        return [OTHER]
    return list(classify(kind if kind == one.after_type else TEXT, old, new)) or [OTHER]


def _is_rewritten(one: Kept) -> bool:
    """Its content is another than before, and both are kept."""
    state = one.seen.state
    return state is not None and state.holding is Holding.CONTENT and one.after not in {None, state.digest}


def _pair(one: Kept, contents: Mapping[Digest, bytes]) -> tuple[bytes, bytes] | None:
    """Both contents, where they are at hand and not too large."""
    if one.change is not Change.MODIFY or one.after is None or not _is_rewritten(one):
        return None
    before, after = contents.get(one.after), one.seen.version.content or b""
    return None if before is None or len(before) + len(after) > LARGEST else (before, after)
