"""Secrets in what is read line by line: env, ini, toml, nginx, Apache, plain text, and whatever does not parse."""

import re
from collections.abc import Iterator

from infrastructor.formats.names import is_harmless, is_secret
from infrastructor.formats.spans import Span, by_shape

_ASSIGNMENT = re.compile(
    r"[ \t]*(?:[-*][ \t]+)?(?:(?:#|;|//|!)[ \t]*)*(?:(?:export|set|setenv|declare(?:[ \t]-\w+)?|env|arg)[ \t]+)?"
    r"[\"']?(?P<name>\$?[A-Za-z_][\w.$/\[\]-]*)[\"']?[ \t]*(?P<sign>=>|:=|\+=|=|:)[ \t]*(?P<value>[^\r\n]*)",
    re.IGNORECASE,
)
_DIRECTIVE = re.compile(
    r"[ \t]*(?:#[ \t]*)?"
    r"(?:(?:set|setenv|define|fastcgi_param|uwsgi_param|scgi_param|env|export|"
    r"(?:proxy|grpc|uwsgi|more|fastcgi)_set_(?:input_)?headers?|proxy_set_header|add_header|"
    r"(?:request)?header(?:[ \t]+always)?[ \t]+(?:set|add|append|merge|setifempty))[ \t]+)?"
    r"[\"']?\$?(?P<name>[A-Za-z][\w-]*):?[\"']?[ \t]+(?P<value>\S[^\r\n]*)",
    re.IGNORECASE,
)
_SECTION = re.compile(r"[ \t]*\[([^\]\r\n]*)\]")
_NO_PASSWORD = re.compile(r"(?:proxy|fastcgi|grpc|uwsgi|scgi|memcached|js)_pass|ProxyPass\w*|location|include")
_WORDS_OF_A_DIRECTIVE = 2
_LONGEST_VALUE = 20_000
_BEGINNINGS = frozenset({"", "|", ">", "|-", ">-"})
_OF_SERVERS = frozenset({"nginx", "swag", "apache"})
_WITH_DIRECTIVES = _OF_SERVERS | {"text", "ini", "env"}
_QUOTES = ('"""', "'''", '"', "'")


def find(kind: str, text: str, *, everything: bool = False) -> Iterator[Span]:
    """Where the secrets are."""
    yield from by_shape(text, 0, len(text))
    position, follows = 0, False
    while position < len(text):
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        line = text[position:end]
        if follows and line[:1] in {" ", "\t"} and line.strip() and kind in {"ini", "text", "yaml", "compose"}:
            yield from _bare(text, position, end)
            position = end + 1
            continue
        follows = False
        span, follows = _of_line(kind, text, position, end, everything=everything)
        if span is not None:
            yield span
            end = max(end, text.find("\n", span.end) if text.find("\n", span.end) >= 0 else len(text))
        position = end + 1


def _of_line(kind: str, text: str, start: int, end: int, *, everything: bool) -> tuple[Span | None, bool]:
    """The secret of a line, and whether the indented lines after it belong to it."""
    line = text[start:end].rstrip("\r")
    match = _ASSIGNMENT.fullmatch(line)
    if match is None or not (everything or is_secret(match["name"])):
        return _of_directive(kind, text, start, line), False
    value = match["value"].strip()
    if value in _BEGINNINGS:
        return None, True
    if is_harmless(value.rstrip(",;")) and value not in _QUOTES:  # a quote alone is closed further down
        return None, False
    return _span(kind, text, start + match.start("value"), start + match.end("value")), kind == "ini"


def _of_directive(kind: str, text: str, start: int, line: str) -> Span | None:
    """`requirepass x`, `set $api_key x;`, `SetEnv DB_PASSWORD x`."""
    match = _DIRECTIVE.fullmatch(line) if kind in _WITH_DIRECTIVES else None
    if match is None or _NO_PASSWORD.fullmatch(match["name"]) or not is_secret(match["name"]):
        return None
    if kind not in _OF_SERVERS and len(line.strip().lstrip("# ").split()) > _WORDS_OF_A_DIRECTIVE:
        return None  # prose
    value = match["value"].rstrip().rstrip(";")
    begin = start + match.start("value")
    return None if is_harmless(value) else _span(kind, text, begin, begin + len(value))


def _span(kind: str, text: str, start: int, end: int) -> Span:
    """The value without its quotes; where they are not closed in this line, up to where they are."""
    for quote in _QUOTES:
        if not text.startswith(quote, start):
            continue
        closing = _closing(text, start + len(quote), quote)
        if closing is None:
            break
        # Words after the closing quote belong to the value too, but not a comment or a comma.
        rest = text[closing + len(quote) : max(end, closing + len(quote))].strip().rstrip(",;").strip()
        if not rest or rest.startswith(("#", ";", "//")):
            return Span(start + len(quote), closing)
        break
    value = text[start:end].rstrip()
    stripped = value.rstrip(",") if kind in {"json", "toml", "text"} else value
    if kind in {"nginx", "swag"}:
        stripped = stripped.rstrip(";")
    bare = kind == "toml" and not stripped.startswith(("[", "{"))
    return Span(start, start + len(stripped), quote=bare)


def _closing(text: str, position: int, quote: str) -> int | None:
    limit = min(len(text), position + _LONGEST_VALUE)
    while (found := text.find(quote, position, limit)) >= 0:
        backslashes = len(text[:found]) - len(text[:found].rstrip("\\")) if text[found - 1 : found] == "\\" else 0
        if backslashes % 2 == 0 or quote[0] == "'":
            return found
        position = found + 1
    return None


def _bare(text: str, start: int, end: int) -> Iterator[Span]:
    line = text[start:end]
    indent = len(line) - len(line.lstrip())
    if not is_harmless(line):
        yield Span(start + indent, start + len(line.rstrip()))
