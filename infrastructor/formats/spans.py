"""Secrets by their shape, wherever they stand: tokens, keys, passwords in URLs, hashes of passwords."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from infrastructor.formats.names import is_about, is_harmless, is_secret, looks_random
from infrastructor.masking import secret_spans


class Span(NamedTuple):
    """A piece of a text. `quote`: what takes its place needs quotes to stay readable for programs."""

    start: int
    end: int
    quote: bool = False


# $apr1$, $2y$, $6$ … also with the dollar signs doubled for Compose; {SHA}, {SSHA}
_HASH = re.compile(
    r"\$\$?(?:apr1|1|2[abxy]|5|6|7|y|gy|argon2\w*|pbkdf2[\w-]*|scrypt)\$[^\s\"',;:]+|\{S?SHA\d*\}[A-Za-z0-9+/=]+"
)
_DEFAULT = re.compile(r"\$\{(\w+):?[-+=]([^{}\n]+)\}")
# Looking ahead only, so that a name within the value of another is found too: Environment=DB_PASSWORD=…
_ASSIGNED = re.compile(r"(?<![\w.-])-{0,2}([A-Za-z_][\w.-]{0,80})=(?=[^\s\"'&,;])")
_VALUE = re.compile(r"[^\s\"'&,;]+")
_IN_QUOTES = re.compile(r"(?=[\"'])(?=([\"'])([A-Za-z_][\w.-]{0,80})=((?:(?!\1)[^\n])+)\1)")
# "name": "value", name = 'value', ['name'] => 'value', ('name', 'value'), "name" "value"
_PAIR = re.compile(
    r"(?<![\w.-])(?P<open>[\"']?)(?P<name>[A-Za-z_][\w.-]{0,80})(?P=open)[\])]?"
    r"(?:[ \t]*(?:=>|:=|[:=,])[ \t]*|(?<=[\"'])[ \t]+)"
    r"(?P<quote>[\"'])(?P<value>(?:\\.|(?!(?P=quote))[^\\\n])+)(?P=quote)"
)
_ESCAPED_PAIR = re.compile(
    r"\\(?P<open>[\"'])(?P<name>[A-Za-z_][\w.-]{0,80})\\(?P=open)[ \t]*[:=][ \t]*"
    r"\\(?P<quote>[\"'])(?P<value>[^\n]+?)\\(?P=quote)"
)
_NETRC = re.compile(r"(?m)^[ \t]*(?:machine[ \t]+\S+|default)\b[^\n]*?\bpassword[ \t]+(\S+)")
_PGPASS = re.compile(r"(?m)^[^\s:#]+:(?:\d+|\*):[^:\s]+:[^:\s]+:(\S+)$")
_URL_PASSWORD = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]{0,30}://[^\s:/@\"']*:([^\s\"'<>]{1,400})@(?=[\w.\[$-])")
_LONG = re.compile(r"[A-Za-z0-9+_/-]{32,}={0,2}")
_LEAST = 5
_LONGEST_NAME = 160
# Without any of these no name stands for a secret and no token begins.
_HINT = re.compile(
    r"(?i)pass|pwd|pw|psk|secret|token|key|cred|salt|pepper|cookie|jwt|otp|pin|auth|seed|mnemonic|webhook|users|bearer"
    r"|://|inf_|gh[pousr]_|github_|glpat|xox|sk-|AIza|AKIA|ASIA|dckr_|hvs\.|eyJ|-----BEGIN|:.*:.*:"
    r"|(?m:^[ \t]*[A-Za-z0-9+/]{64}[ \t\r]*$)"
)


def by_shape(text: str, start: int, end: int) -> Iterator[Span]:
    """Secrets within a piece of the text that is one value, or one comment."""
    if end - start < _LEAST:
        return
    piece = text[start:end]
    if _HINT.search(piece) is not None:
        yield from (Span(start + first, start + last) for first, last in _named(piece))
    for match in _HASH.finditer(piece):
        yield Span(start + match.start(), start + match.end())
    for match in _URL_PASSWORD.finditer(piece):
        if not is_harmless(match[1]):
            yield Span(start + match.start(1), start + match.end(1))
    for match in _LONG.finditer(piece):
        if looks_random(match[0]) and piece[max(0, match.start() - 7) : match.start()] not in {"sha256:", "sha256-"}:
            yield Span(start + match.start(), start + match.end())


def _named(piece: str) -> Iterator[tuple[int, int]]:
    """What is a secret by the name before it, or begins as tokens begin."""
    for first, last, by_name in secret_spans(piece):
        if by_name:
            name, sign, above = _before(piece, first)
            # A value does not begin on the next line: what stands there is another key. Nor are the options of a
            # path a secret: /srv/secrets:ro
            if above or is_about(name) or (sign == ":" and name.startswith("/")) or is_harmless(piece[first:last]):
                continue
        yield first, last
    yield from _assigned(piece)
    for match in (*_NETRC.finditer(piece), *_PGPASS.finditer(piece)):
        yield match.span(1)


def _assigned(piece: str) -> Iterator[tuple[int, int]]:
    """Values of names that stand for secrets, in the ways of shells and programming languages."""
    for match in _DEFAULT.finditer(piece):
        if is_secret(match[1]) and not is_harmless(match[2]):
            yield match.span(2)
    reached = 0
    for match in _ASSIGNED.finditer(piece):
        if match.end() < reached or not is_secret(match[1]):
            continue
        value = _VALUE.match(piece, match.end())
        if value is not None and not is_harmless(value[0]):
            reached = value.end()
            yield value.span()
    for match in _IN_QUOTES.finditer(piece):
        if is_secret(match[2]) and not is_harmless(match[3]):
            yield match.span(3)
    for match in (*_PAIR.finditer(piece), *_ESCAPED_PAIR.finditer(piece)):
        if is_secret(match["name"]) and not is_harmless(match["value"]):
            yield match.span("value")


def _before(piece: str, position: int) -> tuple[str, str, bool]:
    """The name before a value, with a slash where it is the end of a path; the sign between; whether a line ended."""
    head = piece[max(0, position - _LONGEST_NAME) : position]
    bare = head.rstrip(" \t\r\n\"'\\=:>")
    between = head[len(bare) :]
    place = len(bare)
    while place and (bare[place - 1].isalnum() or bare[place - 1] in "_.-/"):
        place -= 1
    return bare[place:], between.strip(), "\n" in between
