"""The index for searching in text: what of a content may be searched, and which pieces a match must have. Pure."""

from dataclasses import dataclass

from infrastructor.formats.kinds import TEXT
from infrastructor.formats.secrets import Masker

MAX_BYTES = 1 << 20
_MASKER = Masker()  # without fingerprints: what lies in the database says nothing of a secret
_MAX_GRAMS = 24  # of a question: more narrow nothing down and each costs a look-up


@dataclass(frozen=True, slots=True)
class Searchable:
    text: str
    grams: str  # as PostgreSQL writes an array


def searchable(content: bytes, kind: str = TEXT, path: str = "") -> Searchable | None:
    """The masked text with its pieces; None for what is binary or too big."""
    text = masked_text(content, kind, path)
    return None if text is None else Searchable(text, "{" + ",".join(map(str, sorted(grams(text)))) + "}")


def masked_text(content: bytes, kind: str = TEXT, path: str = "") -> str | None:
    """The text of a content without its secrets, lines ending in a line feed; None for what is no text."""
    text = plain_text(content)
    return None if text is None else _MASKER.mask(kind, text, path).text


def plain_text(content: bytes) -> str | None:
    """The text of a content, secrets included; None for what is no text or too big."""
    if len(content) > MAX_BYTES or b"\0" in content:
        return None
    try:
        return content.decode().replace("\r\n", "\n")
    except UnicodeDecodeError:
        return None


def grams(text: str) -> set[int]:
    """16-bit hashes of its pieces of three ASCII letters, in lower case; no piece goes over the end of a line."""
    data = text.encode().lower()
    return {
        _hash(*piece)
        for piece in set(zip(data, data[1:], data[2:], strict=False))
        if max(piece) < 0x80 and 0x0A not in piece  # noqa: PLR2004
    }


def literal_grams(text: str) -> list[int]:
    """Pieces that every text with this in it has; none: the index cannot help."""
    return sorted(grams(text))[:_MAX_GRAMS]


def pattern_grams(pattern: str) -> list[int]:
    """Pieces that every text has in which this regular expression is found."""
    found: set[int] = set()
    for run in required(pattern):
        found |= grams(run)
    return sorted(found)[:_MAX_GRAMS]


def required(pattern: str) -> list[str]:
    """Runs of letters in every match of a PostgreSQL regular expression: some of them, but never one that is not."""
    runs: list[str] = []
    run, place = "", 0
    while place < len(pattern):
        char = pattern[place]
        after = place + 1
        if char == "|":
            return []  # either side may do without the other's
        if char == "\\":
            escaped = pattern[after : after + 1]
            if not escaped or escaped.isalnum() or escaped == "_":
                if escaped in ("x", "u", "U", "c") or escaped.isdecimal():
                    return []  # letters by number: not worth reading
                runs, run = [*runs, run], ""
            else:
                run += escaped
            place += 2
            continue
        if char in "[(":
            runs, run = [*runs, run], ""
            after = _end(pattern, place)
        elif char in "*?{":
            runs, run = [*runs, run[:-1]], ""
            after = max(after, pattern.find("}", place) + 1) if char == "{" else after
        elif char in ".^$+)":
            runs, run = [*runs, run], ""
        else:
            run += char
        place = after
    return [one for one in (*runs, run) if len(one) > 2]  # noqa: PLR2004


def _end(pattern: str, place: int) -> int:
    """Behind the bracket or group that begins here; the end of the pattern where that is not clear."""
    if pattern[place] == "[":
        return _end_of_bracket(pattern, place)
    depth = 0
    while place < len(pattern):
        if pattern[place] == "\\":
            place += 1
        elif pattern[place] == "[":
            place = _end(pattern, place) - 1
        elif pattern[place] in "()":
            depth += 1 if pattern[place] == "(" else -1
            if depth == 0:
                return place + 1
        place += 1
    return len(pattern)


def _end_of_bracket(pattern: str, place: int) -> int:
    place += 1 + (pattern[place + 1 : place + 2] == "^")
    place += pattern[place : place + 1] == "]"  # stands for itself there
    while place < len(pattern):
        if pattern[place] == "\\":
            place += 2
        elif pattern[place : place + 2] in ("[:", "[.", "[="):
            close = pattern.find(pattern[place + 1] + "]", place + 2)
            place = len(pattern) if close < 0 else close + 2
        elif pattern[place] == "]":
            return place + 1
        else:
            place += 1
    return len(pattern)


def _hash(first: int, second: int, third: int) -> int:
    return ((first << 14 ^ second << 7 ^ third) * 0x9E3779B1 >> 11 & 0xFFFF) - 0x8000
