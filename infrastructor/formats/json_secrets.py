"""Secrets in JSON, by key. Comments are looked through as well."""

import json
import re
from collections.abc import Iterable

from infrastructor.formats.names import is_harmless, is_secret
from infrastructor.formats.spans import Span, by_shape

_TOKEN = re.compile(
    r"(?P<space>[\s\ufeff]+)|(?P<comment>//[^\n]*|/\*.*?\*/)|(?P<sign>[{}\[\],:])"
    r'|(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<other>[^\s{}\[\],:"]+)',
    re.DOTALL,
)
_DEEPEST = 500
_NAMING = frozenset({"name", "key", "field"})  # {"name": "DB_PASSWORD", "value": "…"}


def find(text: str, *, everything: bool = False) -> Iterable[Span] | None:
    """Where the secrets are; None for a text that is no JSON."""
    spans: list[Span] = []
    # One frame for each open bracket: what its values are called, and whether all of them are secret.
    stack: list[_Frame] = [_Frame(everything, everything)]
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or len(stack) > _DEEPEST:
            return None
        position = match.end()
        frame = stack[-1]
        piece = match[0]
        if match.lastgroup == "comment":
            spans += by_shape(text, match.start(), match.end())
        elif piece in "{[":
            stack.append(_Frame(frame.secret, frame.secret, is_object=piece == "{"))
        elif piece in "}]":
            if len(stack) == 1:
                return None
            stack.pop()
            stack[-1].value_read()
        elif piece == ",":
            frame.value_read()
        elif match.lastgroup in {"string", "other"}:
            _value(text, match, frame, spans)
    return spans if len(stack) == 1 else None


class _Frame:
    """An object or array under way."""

    def __init__(self, inherited: bool, secret: bool, *, is_object: bool = False) -> None:
        self.inherited = inherited
        self.secret = secret  # of the value that comes
        self.is_object = is_object
        self.key: str | None = None
        self.named = False  # the object's "name" is that of a secret

    def value_read(self) -> None:
        self.key, self.secret = None, self.inherited


def _value(text: str, match: re.Match[str], frame: _Frame, spans: list[Span]) -> None:
    quoted = match.lastgroup == "string"
    start, end = (match.start() + 1, match.end() - 1) if quoted else match.span()
    if frame.is_object and frame.key is None:
        frame.key = _unescaped(match[0]) if quoted else match[0]
        frame.secret = frame.inherited or is_secret(frame.key) or (frame.named and frame.key.lower() == "value")
        return
    value = text[start:end]
    if frame.secret:
        if not is_harmless(value):
            spans.append(Span(start, end, quote=not quoted))
    elif quoted:
        spans += by_shape(text, start, end)
        if frame.key is not None and frame.key.lower() in _NAMING:
            frame.named = is_secret(value)


def _unescaped(string: str) -> str:
    try:
        return str(json.loads(string))
    except ValueError:
        return string.strip('"')
