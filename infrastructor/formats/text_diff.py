"""Unified differences of two texts, bounded in length and in work."""

import difflib
from dataclasses import dataclass

_MOST_LINES = 6000  # of each side, once what is alike at both ends is put aside


@dataclass(frozen=True, slots=True)
class TextDiff:
    """`added` and `removed` count lines; `omitted` those of the difference that were left out at its end."""

    text: str
    added: int
    removed: int
    omitted: int = 0


def unified(before: str, after: str, *, old: str, new: str, context: int = 3, most: int = 30_000) -> TextDiff:
    """`before` → `after` as a unified difference of at most so many characters. CR is shown as ␍."""
    if before == after:
        return TextDiff("", 0, 0)
    lines = [*_hunks(_split(before), _split(after), old, new, context)]
    added = sum(1 for line in lines[2:] if line.startswith("+"))
    removed = sum(1 for line in lines[2:] if line.startswith("-"))
    size = 0
    for number, line in enumerate(lines):
        size += len(line) + 1
        if size > most:
            return TextDiff("\n".join(lines[:number]), added, removed, len(lines) - number)
    return TextDiff("\n".join(lines), added, removed)


def _split(text: str) -> list[str]:
    """Lines; one that has no newline at its end is another than one that has."""
    lines = text.split("\n")
    last = lines.pop()
    return [*lines, f"{last}\n\\ No newline at end of file"] if last else lines


def _hunks(before: list[str], after: list[str], old: str, new: str, context: int) -> list[str]:
    start = 0
    shorter = min(len(before), len(after))
    while start < shorter and before[start] == after[start]:
        start += 1
    end = 0
    while end < shorter - start and before[-1 - end] == after[-1 - end]:
        end += 1
    middle = len(before) - start - end, len(after) - start - end
    if max(middle) <= _MOST_LINES:
        return [
            line.replace("\r", "␍") for line in difflib.unified_diff(before, after, old, new, n=context, lineterm="")
        ]
    # Aligning so much takes minutes: what is alike at the ends stays, the rest is shown as one change.
    gone, come = before[start : len(before) - end], after[start : len(after) - end]
    return [
        f"--- {old}",
        f"+++ {new}",
        f"@@ -{start + 1},{len(gone)} +{start + 1},{len(come)} @@",
        *(f"-{line}" for line in gone),
        *(f"+{line}" for line in come),
    ]
