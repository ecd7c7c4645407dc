"""`zfs diff -F -H -t`: one changed thing a line, names with octal escapes."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from infrastructor.domains.zfs.dataset_models import Change, DirectoryChanges
from infrastructor.errors import ParseError
from infrastructor.sanitize import clean

CHANGES = {"+": "added", "-": "removed", "M": "modified", "R": "renamed"}
TYPES = {
    "F": "file", "/": "directory", "@": "symlink", "B": "block", "C": "character", "P": "event port", "|": "pipe",
    "=": "socket", ">": "door",
}  # fmt: skip
_ESCAPE = re.compile(rb"\\0([0-3][0-7]{2})")
_FEWEST, _MOST = 4, 5
_LATEST = 253402300799


class Changed(NamedTuple):
    """One line; paths still escaped."""

    seconds: float
    change: str
    type: str
    path: str
    new_path: str | None

    def shown(self) -> Change:
        return Change(
            change=CHANGES[self.change],
            type=TYPES.get(self.type, "other"),
            path=clean(unescaped(self.path)),
            new_path=None if self.new_path is None else clean(unescaped(self.new_path)),
            changed_at=datetime.fromtimestamp(self.seconds, UTC) if 0 < self.seconds <= _LATEST else None,
        )


@dataclass(frozen=True)
class Differences:
    """All changes that were read; `complete` when there are no more."""

    changes: tuple[Changed, ...]
    complete: bool


def parse(text: str, *, complete: bool) -> Differences:
    """Raises `ParseError` for what is no line of `zfs diff -F -H -t`. Of a cut text the last line does not count."""
    lines = text.split("\n")
    if not complete and lines:
        lines.pop()
    return Differences(tuple(_changed(line) for line in lines if line), complete)


def _changed(line: str) -> Changed:
    row = line.split("\t")
    if not _FEWEST <= len(row) <= _MOST or row[1] not in CHANGES:
        raise ParseError(f"zfs diff printed something that is no change: {clean(line, 200)!r}")
    try:
        seconds = float(row[0])
    except ValueError:
        seconds = 0.0
    return Changed(seconds, row[1], row[2], row[3], row[4] if len(row) == _MOST else None)


def unescaped(path: str) -> str:
    r"""`new\0040file` → `new file`; the bytes of a character may be escaped one by one."""
    raw = _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), path.encode())
    return raw.decode("utf-8", "replace")


def counts(changes: Iterable[Changed]) -> dict[str, int]:
    counted = Counter(one.change for one in changes)
    return {word: counted.get(sign, 0) for sign, word in CHANGES.items()}


def directories(changes: Sequence[Changed]) -> list[DirectoryChanges]:
    """What changed directly in each directory, the busiest first."""
    found: dict[str, Counter[str]] = {}
    for one in changes:
        # A directory is modified whenever something in it comes or goes: that is told by what came or went.
        if one.change == "M" and one.type == "/":
            continue
        found.setdefault(one.path.rstrip("/").rpartition("/")[0] or "/", Counter())[CHANGES[one.change]] += 1
    ranked = sorted(found.items(), key=lambda item: (-item[1].total(), item[0]))
    return [
        DirectoryChanges(
            path=clean(unescaped(path)),
            added=counted["added"],
            removed=counted["removed"],
            modified=counted["modified"],
            renamed=counted["renamed"],
        )
        for path, counted in ranked
    ]
