"""Which of a run's command lines its audit record keeps: every one that changes something, and what the others were."""

import re
from collections import Counter
from collections.abc import Collection, Sequence

from infrastructor.storage.text import cut_masked

COMMAND_CHARS = 4096
COMMANDS = 200
ALIKE = 3  # lines kept of those that differ only in the id
CHANGE_CHARS = 400_000  # of all lines that change something together; beyond, each is cut shorter, none is dropped
_SHORTEST = 80

# A container, image, network or volume by its id, or a container by its name in the engine's API.
_ID = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{12,64}(?![0-9A-Za-z])|(?<=^engine GET /containers/)[^/?]+(?=/)")


def commands_kept(lines: Sequence[str], changes: Collection[int]) -> list[str]:
    """The lines in their order, secrets masked. Reads that differ only in an id are a few of them and a count.

    `changes` are the places of lines that change something: each of them is kept, whatever their number.
    """
    changes = set(changes)
    room = max(0, COMMANDS - len(changes))
    change_chars = min(COMMAND_CHARS, max(_SHORTEST, CHANGE_CHARS // max(1, len(changes))))
    shapes = [None if place in changes else _ID.sub("*", line[:COMMAND_CHARS]) for place, line in enumerate(lines)]
    total, seen, shown = Counter(shapes), Counter[str | None](), set[str]()
    kept: list[str] = []
    reads = dropped = 0
    for line, shape in zip(lines, shapes, strict=True):
        if shape is None:
            kept.append(cut_masked(line, change_chars))
            continue
        seen[shape] += 1
        if seen[shape] > ALIKE and total[shape] > ALIKE + 1:  # a single one is no longer than the count of it
            if seen[shape] == ALIKE + 1 and shape in shown:
                kept.append(f"… and {total[shape] - ALIKE} more like this: {cut_masked(shape, COMMAND_CHARS)}")
            dropped += shape not in shown
        elif reads < room:
            reads += 1
            shown.add(shape)
            kept.append(cut_masked(line, COMMAND_CHARS))
        else:
            dropped += 1
    return [*kept, f"… and {dropped} more"] if dropped else kept
