"""Lines of a container's log: from the engine's bytes to what an answer shows. Pure."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import merge
from typing import NamedTuple

from pydantic_core import SchemaError, SchemaValidator, core_schema

from infrastructor.domains.containers.models import LogLine
from infrastructor.errors import ValidationFailed
from infrastructor.masking import mask_secrets
from infrastructor.sanitize import clean

LONGEST_SHOWN = 2000
LONGEST_SEARCHED = 4000
_HEADER = 8
_RECORD = 16 << 10
_STREAMS = {0: "stdout", 1: "stdout", 2: "stderr"}
_TIME = re.compile(rb"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ?")
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
_NS = 1_000_000_000


class Line(NamedTuple):
    """One line; `ns` is nanoseconds since 1970, that of the line before where it has none."""

    ns: int
    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines oldest first. `truncated`: the newest are missing, because there were too many bytes.

    `records` is what the engine counts as `tail`: of a long line, every 16 KiB is one.
    """

    lines: tuple[Line, ...]
    records: int
    truncated: bool = False


def from_api(body: bytes, *, truncated: bool) -> Batch:
    """`GET /containers/{id}/logs`: frames of eight bytes and a payload; plain text from a container with a terminal."""
    frames = _frames(body)
    if frames is None:
        plain_lines = _split(body, truncated=truncated)
        return Batch(tuple(_lines(plain_lines, "stdout")), _records(plain_lines), truncated)
    return Batch(tuple(_of_frames(frames)), len(frames), truncated)


def from_program(stdout: bytes, stderr: bytes, *, truncated: bool) -> Batch:
    """`docker logs --timestamps`: each stream for itself, in order; together by their times."""
    out, err = _split(stdout, truncated=truncated), _split(stderr, truncated=truncated)
    both = merge(_lines(out, "stdout"), _lines(err, "stderr"), key=lambda line: line.ns)
    return Batch(tuple(both), _records([*out, *err]), truncated)


def _records(lines: Iterable[bytes]) -> int:
    return sum(1 + len(line) // _RECORD for line in lines)


def _frames(body: bytes) -> list[tuple[str, bytes]] | None:
    """The payloads in order, or None where the body is no sequence of frames. A cut last one is left out."""
    found, at = [], 0
    while at + _HEADER <= len(body):
        if body[at] not in _STREAMS or body[at + 1 : at + 4] != b"\0\0\0":
            return None
        size = int.from_bytes(body[at + 4 : at + _HEADER], "big")
        payload = body[at + _HEADER : at + _HEADER + size]
        if len(payload) < size:
            break
        found.append((_STREAMS[body[at]], payload))
        at += _HEADER + size
    return found if found or not body or body[0] in _STREAMS else None


def _of_frames(frames: Iterable[tuple[str, bytes]]) -> Iterable[Line]:
    """A frame without a newline at its end goes on in the next one of its stream, behind another time."""
    parts: dict[str, tuple[int, bytes]] = {}
    last = 0
    for stream, payload in frames:
        for piece in payload.splitlines(keepends=True) or [b""]:
            ns, text = _timed(piece, last)
            last = ns
            begun = parts.pop(stream, None)
            if begun is not None:
                ns, text = begun[0], begun[1] + text
            if text.endswith(b"\n"):
                yield Line(ns, stream, _text(text))
            else:
                parts[stream] = (ns, text)
    for stream, (ns, text) in parts.items():
        if text:
            yield Line(ns, stream, _text(text))


def _split(text: bytes, *, truncated: bool) -> list[bytes]:
    lines = text.split(b"\n")
    last = lines.pop()
    return lines if truncated or not last else [*lines, last]


def _lines(lines: Iterable[bytes], stream: str) -> Iterable[Line]:
    last = 0
    for line in lines:
        last, text = _timed(line, last)
        yield Line(last, stream, _text(text))


_seconds: dict[bytes, int] = {}  # most lines share their second with the one before


def _timed(line: bytes, before: int) -> tuple[int, bytes]:
    match = _TIME.match(line)
    if match is None:
        return before, line
    whole = match[1] + match[3].replace(b"Z", b"+00:00")
    seconds = _seconds.get(whole)
    if seconds is None:
        try:
            seconds = int(datetime.fromisoformat(whole.decode()).astimezone(UTC).timestamp())
        except (ValueError, OverflowError):
            return before, line
        if len(_seconds) > 1000:  # noqa: PLR2004
            _seconds.clear()
        _seconds[whole] = seconds
    fraction = int((match[2] or b"0").ljust(9, b"0"))
    return seconds * _NS + fraction, line[match.end() :]


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\r\n").decode("utf-8", "replace")


# --- what is shown -----------------------------------------------------------------------------------


def shown(line: Line) -> LogLine:
    """The line for an answer: no terminal codes, no controls, no secrets, not endless."""
    return LogLine(
        time=datetime.fromtimestamp(line.ns // _NS, UTC) + timedelta(microseconds=line.ns % _NS // 1000)
        if line.ns > 0
        else None,
        stream="stderr" if line.stream == "stderr" else "stdout",
        text=_shown(line.text),
    )


def _shown(text: str) -> str:
    # Cut first: masking takes its time on what nobody will see.
    kept = clean(mask_secrets(plain(text[:LONGEST_SEARCHED])), LONGEST_SHOWN)
    rest = len(text) - LONGEST_SEARCHED
    return kept if rest <= 0 else f"{kept} (and {rest} more behind those)"


def plain(text: str) -> str:
    return _ANSI.sub("", text)


def matcher(grep: str | None, *, regex: bool) -> Callable[[str], bool]:
    """Whether a line matches. Expressions run in an engine of linear time, so no line can make one hang."""
    if grep is None:
        return lambda text: True
    if not regex:
        return lambda text: _matches_unmasked(text, lambda seen: grep in seen)
    try:
        compiled = SchemaValidator(core_schema.str_schema(pattern=grep, regex_engine="rust-regex"))
    except SchemaError as error:
        raise ValidationFailed(
            f"grep is no regular expression: {clean(str(error), 200)}",
            hint="Look-around and back-references are not known here; regex=false searches plain text.",
        ) from error
    return lambda text: _matches_unmasked(text, compiled.isinstance_python)


def _matches_unmasked(text: str, matches: Callable[[str], bool]) -> bool:
    """A match must still be there once secrets are masked, or a search could guess them letter by letter."""
    text = plain(text[:LONGEST_SEARCHED])
    return matches(text) and matches(mask_secrets(text))


# --- places in a log ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """Where an answer ended: all lines newer than `ns` are behind it, and `same` of those with that very time.

    `depth` is how many lines that were, counted from the end of the log.
    """

    ns: int
    same: int
    depth: int

    def __str__(self) -> str:
        return f"{self.ns}-{self.same}-{self.depth}"

    @classmethod
    def of(cls, text: str) -> "Place":
        ns, same, depth = (int(part) for part in text.split("-"))
        return cls(ns, same, depth)


def before(lines: Sequence[Line], place: Place | None) -> Sequence[Line]:
    """The lines older than a place."""
    if place is None:
        return lines
    end = len(lines)
    while end and lines[end - 1].ns > place.ns:
        end -= 1
    same = place.same
    while end and same and lines[end - 1].ns == place.ns:
        end, same = end - 1, same - 1
    return lines[:end]


def place_of(lines: Sequence[Line], index: int) -> Place:
    """The place just before `lines[index]`."""
    ns = lines[index].ns
    same = 0
    for line in lines[index:]:
        if line.ns != ns:
            break
        same += 1
    return Place(ns, same, len(lines) - index)
