"""Three versions of a text into one: what one side changed is taken, what both changed differently is a conflict."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

_OURS = "<<<<<<< "
_MIDDLE = "======="
_THEIRS = ">>>>>>> "


@dataclass(frozen=True, slots=True)
class Merge:
    """The merged text; with `conflicts` it has marks of both sides and is of no use to a program."""

    text: str
    conflicts: int
    taken: int  # places where their change was taken


Span = tuple[int, int, int, int, int, int]  # the same lines in base, mine and theirs: start and end in each


def merge(base: str, mine: str, theirs: str, *, names: tuple[str, str] = ("mine", "theirs")) -> Merge:
    """Line by line. `names` stand at the marks of a conflict. Line ends of either kind are part of their lines."""
    lines = [lines_of(text) for text in (base, mine, theirs)]
    old, own, other = lines
    parts: list[str] = []
    conflicts = taken = 0
    at = (0, 0, 0)
    for span in _common(old, own, other):
        before = (old[at[0] : span[0]], own[at[1] : span[2]], other[at[2] : span[4]])
        text, clash, took = _gap(*before, names)
        parts += [*text, *old[span[0] : span[1]]]
        conflicts, taken = conflicts + clash, taken + took
        at = (span[1], span[3], span[5])
    return Merge("".join(parts), conflicts, taken)


def lines_of(text: str) -> list[str]:
    """Lines with their ends; nothing but a newline ends one, whatever else Unicode calls a line."""
    found = [f"{line}\n" for line in text.split("\n")]
    found[-1] = found[-1][:-1]
    return found if found[-1] else found[:-1]


def _gap(
    old: Sequence[str], mine: Sequence[str], theirs: Sequence[str], names: tuple[str, str]
) -> tuple[list[str], int, int]:
    """What stands between two common spans: the lines, whether they are a conflict, whether theirs were taken."""
    if theirs in (mine, old):
        return list(mine), 0, 0
    if mine == old:
        return list(theirs), 0, 1
    end = "\r\n" if any(line.endswith("\r\n") for line in (*mine, *theirs)) else "\n"
    return (
        [
            *(f"{_OURS}{names[0]}{end}", *_ended(mine, end)),
            *(f"{_MIDDLE}{end}", *_ended(theirs, end)),
            f"{_THEIRS}{names[1]}{end}",
        ],
        1,
        0,
    )


def _ended(lines: Sequence[str], end: str) -> list[str]:
    """The same with an end on the last line, so that a mark behind it starts a line."""
    return [line if line.endswith("\n") else line + end for line in lines]


def _common(old: Sequence[str], mine: Sequence[str], theirs: Sequence[str]) -> Iterator[Span]:
    """Spans that all three have in common, in order, and an empty one at the end."""
    ours = SequenceMatcher(None, old, mine, autojunk=False).get_matching_blocks()
    others = SequenceMatcher(None, old, theirs, autojunk=False).get_matching_blocks()
    first = second = 0
    while first < len(ours) and second < len(others):
        a, b = ours[first], others[second]
        start, end = max(a.a, b.a), min(a.a + a.size, b.a + b.size)
        if start < end:
            own, other = a.b + start - a.a, b.b + start - b.a
            yield start, end, own, own + end - start, other, other + end - start
        if a.a + a.size < b.a + b.size:
            first += 1
        else:
            second += 1
    yield len(old), len(old), len(mine), len(mine), len(theirs), len(theirs)
